//! A bank survives power cuts: the disk is a file, which is copied while a process writes to the file system on it. The
//! copy holds what had come to the disk by then, as after a cut; it is mounted, and the bank on it is opened.
//!
//! Needs leave to mount, and mkfs.ext4. `AIPL_TEST_CUTS` says how many cuts.

#![allow(clippy::expect_used, clippy::panic, reason = "a test says what it expects")]

#[path = "bank/events.rs"]
mod events;

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use aipl_core::bank::{DataBank, Mode};
use aipl_core::timeline::Runtime;
use events::{batches, check_whole, create, day, ingest, writer};

const PATH: &str = "AIPL_TEST_BANK";
const IMAGE_BYTES: u64 = 24 << 20;

/// How many cuts; more before a release.
fn cuts() -> u64 {
    let asked = std::env::var("AIPL_TEST_CUTS").ok().and_then(|text| text.parse().ok());
    asked.unwrap_or(6)
}

/// The child: takes in batches, merges, keeps days, cleans up, and says which batches are in.
#[test]
#[ignore = "started by the other test"]
fn child_that_writes() {
    let Ok(path) = std::env::var(PATH) else { return };
    let (bank, runtime) = (writer(Path::new(&path)), Runtime::with_threads(1).expect("threads"));
    let first = batches(&bank).keys().max().map_or(0, |last| last + 1);
    for batch in first..first + 10_000 {
        if ingest(&bank, batch).is_err() {
            return;
        }
        let _ = std::io::stdout().write_all(format!("\nack {batch}\n").as_bytes());
        let _ = std::io::stdout().flush();
        match batch % 5 {
            1 => drop(bank.materialize(day("2024-06-20"), None, &runtime)),
            2 => drop(bank.compact(&runtime)),
            4 => drop(bank.vacuum()),
            _ => {}
        }
    }
}

fn ran(program: &str, arguments: &[&str]) -> bool {
    let mut command = Command::new(program);
    command.args(arguments).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

/// A file system on a file, until it is dropped.
struct Disk {
    place: PathBuf,
}

impl Disk {
    fn mount(image: &Path, place: &Path) -> Option<Disk> {
        fs::create_dir_all(place).expect("a folder");
        let (from, to) = (image.to_str()?, place.to_str()?);
        // Journals are committed each second, so that more than the synced bytes are on the disk, in whatever order.
        ran("mount", &["-o", "loop,commit=1", from, to]).then(|| Disk { place: place.to_owned() })
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        ran("umount", &["-l", self.place.to_str().unwrap_or_default()]);
    }
}

/// A child that ends with the test, however that ends.
struct Writer(Child);

impl Drop for Writer {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn start(path: &Path) -> Writer {
    let mut command = Command::new(std::env::current_exe().expect("this program"));
    command.args(["--exact", "child_that_writes", "--ignored", "--nocapture", "--test-threads=1"]);
    command.env(PATH, path).stdout(Stdio::piped()).stderr(Stdio::null());
    Writer(command.spawn().expect("starts"))
}

fn signal(child: &Child, name: &str) {
    assert!(
        ran("kill", &[&format!("-{name}"), &child.id().to_string()]),
        "the child cannot be stopped"
    );
}

/// Copies the image as it is at one moment. A copy that a write crossed is made anew; where writes come too thick the
/// child is stopped for it, while the file system below goes on as it likes.
fn cut(image: &Path, target: &Path, child: &Child) {
    let changed = || fs::metadata(image).and_then(|data| data.modified()).expect("a time");
    for attempt in 0..100 {
        if attempt == 3 {
            signal(child, "STOP");
        }
        let before = changed();
        fs::copy(image, target).expect("copies");
        if changed() == before {
            if attempt >= 3 {
                signal(child, "CONT");
            }
            return;
        }
    }
    panic!("the disk is never at rest");
}

#[allow(clippy::print_stdout, reason = "how many cuts there were is the figure of this test")]
#[test]
fn no_power_cut_loses_a_batch() {
    let folder = tempfile::tempdir().expect("a folder");
    let (image, copy) = (folder.path().join("disk"), folder.path().join("copy"));
    File::create(&image).and_then(|file| file.set_len(IMAGE_BYTES)).expect("has room");
    let made = ran("mkfs.ext4", &["-q", "-F", image.to_str().expect("a path")]);
    let Some(disk) = made.then(|| Disk::mount(&image, &folder.path().join("mounted"))).flatten() else {
        eprintln!("not run: no file system on a file can be made and mounted here");
        return;
    };
    let path = disk.place.join("bank");
    drop(create(&path));
    let said = AtomicI64::new(-1);
    let mut longest = Duration::ZERO;
    std::thread::scope(|scope| {
        let mut child = start(&path);
        let output = child.0.stdout.take().expect("piped");
        let said = &said;
        scope.spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if let Some(batch) = line.strip_prefix("ack ").and_then(|text| text.parse().ok()) {
                    said.store(batch, Ordering::SeqCst);
                }
            }
        });
        for number in 0..cuts() {
            std::thread::sleep(Duration::from_micros(20_000 + number * 37_331 % 90_000));
            // What was acknowledged before the cut must be in the copy.
            let acknowledged = said.load(Ordering::SeqCst);
            cut(&image, &copy, &child.0);
            longest = longest.max(check(&copy, &folder.path().join("cut"), acknowledged, number));
        }
    });
    let taken = said.load(Ordering::SeqCst);
    println!("{} cuts, {taken} batches, opened in {longest:?} at most", cuts());
    assert!(taken > 3, "{taken} batches were taken in between");
}

/// Mounts a copy and looks at the bank on it.
fn check(copy: &Path, place: &Path, acknowledged: i64, number: u64) -> Duration {
    let disk = Disk::mount(copy, place).unwrap_or_else(|| panic!("cut {number}: the copy cannot be mounted"));
    let path = disk.place.join("bank");
    let started = Instant::now();
    let bank = DataBank::open(&path, Mode::WRITE).unwrap_or_else(|error| panic!("cut {number}: {error}"));
    // Opening rolls a journal back, and waits for a disk that others write to.
    let took = started.elapsed();
    assert!(took < Duration::from_secs(5), "cut {number}: opening took {took:?}");
    let held = batches(&bank);
    let last = held.keys().max().map_or(-1, |last| *last as i64);
    assert!(
        last >= acknowledged,
        "cut {number}: batch {acknowledged} is acknowledged, the newest is {last}"
    );
    // None is missing in between.
    assert_eq!(held.len() as i64, last + 1, "cut {number}");
    check_whole(&bank);
    ingest(&bank, (last + 1) as u64).unwrap_or_else(|error| panic!("cut {number}: the next batch: {error}"));
    check_whole(&bank);
    took
}
