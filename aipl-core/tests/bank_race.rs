//! No lock is trusted: where it is not honored, or its file is deleted, no batch that was acknowledged is lost and no
//! reader is disturbed.

#![allow(clippy::expect_used, clippy::panic, reason = "a test says what it expects")]

#[path = "bank/events.rs"]
mod events;

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant, SystemTime};

use aipl_core::bank::{BankError, DataBank, Mode};
use aipl_core::timeline::Runtime;
use events::{age, batches, check_whole, create, day, ingest};

const PATH: &str = "AIPL_TEST_BANK";
const ROLE: &str = "AIPL_TEST_ROLE";
const SECONDS: &str = "AIPL_TEST_SECONDS";
const UNLINK: &str = "AIPL_TEST_UNLINK";

/// How long writers and readers meet; longer before a release.
fn seconds() -> u64 {
    std::env::var("AIPL_TEST_RACE").ok().and_then(|text| text.parse().ok()).unwrap_or(6)
}

/// Says something to the parent.
fn say(text: &str) {
    let mut out = std::io::stdout();
    let _ = out.write_all(format!("{text}\n").as_bytes());
    let _ = out.flush();
}

/// A refusal that is right: somebody else writes.
fn is_refused(error: &BankError) -> bool {
    matches!(error, BankError::Locked { .. })
}

/// Writes, merges, cleans and keeps days until the time is over, from one opening to the next.
fn write(path: &Path, role: u64, until: Instant) {
    let (runtime, unlinks) = (Runtime::with_threads(1).expect("threads"), std::env::var(UNLINK).is_ok());
    let mut batch = role * 10_000;
    while Instant::now() < until {
        if unlinks {
            let _ = fs::remove_file(path.join("writer.lock"));
        }
        let timeout = Duration::from_millis(300);
        let bank = match DataBank::open(path, Mode::Write { timeout }) {
            Ok(bank) => bank,
            Err(error) if is_refused(&error) => continue,
            Err(error) => return say(&format!("fault {error}")),
        };
        for _ in 0..3 {
            match ingest(&bank, batch) {
                Ok(_) => say(&format!("ack {batch}")),
                Err(error) if is_refused(&error) => break,
                Err(error) => say(&format!("fault {error}")),
            }
            batch += 1;
            let done = match batch % 5 {
                0 => bank.compact(&runtime).map(drop),
                1 | 3 => bank.vacuum().map(drop),
                2 => bank.materialize(day("2024-06-20"), None, &runtime).map(drop),
                _ => Ok(()),
            };
            if let Err(error) = done
                && !is_refused(&error)
            {
                say(&format!("fault {error}"));
            }
        }
    }
}

/// Reads one state after another, each twice.
fn read(path: &Path, until: Instant) {
    let mut newest = 0;
    while Instant::now() < until {
        let bank = DataBank::open(path, Mode::Read).expect("opens beside writers");
        check_whole(&bank);
        std::thread::sleep(Duration::from_millis(50));
        check_whole(&bank);
        assert!(bank.refresh().expect("refreshes") >= newest);
        newest = bank.commit_seq();
        check_whole(&bank);
        say("read");
    }
}

#[test]
#[ignore = "started by the other tests"]
fn child_that_races() {
    let (Ok(path), Ok(role), Ok(seconds)) = (std::env::var(PATH), std::env::var(ROLE), std::env::var(SECONDS)) else {
        return;
    };
    let until = Instant::now() + Duration::from_secs(seconds.parse().expect("a number"));
    match role.parse::<u64>() {
        Ok(role) => write(Path::new(&path), role, until),
        Err(_) => read(Path::new(&path), until),
    }
}

/// Starts this program again as a writer or reader.
fn start(path: &Path, role: &str, shim: Option<&Path>, unlinks: bool) -> Child {
    let mut command = Command::new(std::env::current_exe().expect("this program"));
    command
        .args(["--exact", "child_that_races", "--ignored", "--nocapture", "--test-threads=1"])
        .env(PATH, path)
        .env(ROLE, role)
        .env(SECONDS, seconds().to_string())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    if let Some(shim) = shim {
        command.env("LD_PRELOAD", shim);
    }
    if unlinks {
        command.env(UNLINK, "1");
    }
    command.spawn().expect("starts")
}

/// A library in whose eyes every lock is free, as on some file systems.
fn no_flock(folder: &Path) -> Option<PathBuf> {
    let (source, shim) = (folder.join("shim.c"), folder.join("shim.so"));
    fs::write(
        &source,
        "int flock(int file, int operation) { (void)file; (void)operation; return 0; }\n",
    )
    .expect("writes");
    let made = Command::new("cc").args(["-shared", "-fPIC", "-o"]).arg(&shim).arg(&source).status();
    made.is_ok_and(|made| made.success()).then_some(shim)
}

/// Three writers and two readers at once; afterwards everything that was acknowledged is there.
fn race(shim: Option<&Path>, unlinks: bool) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("bank");
    drop(create(&path));
    let roles = ["1", "2", "3", "reader", "reader"];
    let children: Vec<(&str, Child)> = roles.iter().map(|role| (*role, start(&path, role, shim, unlinks))).collect();
    let (mut acknowledged, mut reads) = (Vec::new(), 0);
    for (role, child) in children {
        let output = child.wait_with_output().expect("ends");
        let told = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(
            output.status.success(),
            "{role}: {told}\n{}",
            String::from_utf8_lossy(&output.stderr)
        );
        for line in told.lines() {
            assert!(!line.contains("fault "), "{role}: {line}");
            reads += u64::from(line == "read");
            acknowledged.extend(
                line.rsplit("ack ")
                    .next()
                    .filter(|_| line.contains("ack "))
                    .and_then(|text| text.parse::<u64>().ok()),
            );
        }
    }
    let bank = DataBank::open(&path, Mode::WRITE).expect("opens");
    let held = batches(&bank);
    let lost: Vec<&u64> = acknowledged.iter().filter(|batch| !held.contains_key(batch)).collect();
    assert!(lost.is_empty(), "{lost:?} of {} batches are lost", acknowledged.len());
    check_whole(&bank);
    assert!(acknowledged.len() > 3 && reads > 1, "{} batches, {reads} reads", acknowledged.len());
    eprintln!("{} batches acknowledged, {reads} reads", acknowledged.len());
}

#[test]
fn nothing_is_lost_where_the_lock_file_is_deleted() {
    race(None, true);
}

#[test]
fn nothing_is_lost_where_locks_are_not_honored() {
    let folder = tempfile::tempdir().expect("a folder");
    let Some(shim) = no_flock(folder.path()) else {
        eprintln!("not run: there is no C compiler");
        return;
    };
    race(Some(&shim), true);
}

#[test]
fn a_lock_outlives_its_file() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("bank");
    let bank = create(&path);
    fs::remove_file(path.join("writer.lock")).expect("removes");
    let refused = DataBank::open(&path, Mode::WRITE).expect_err("is taken");
    assert!(is_refused(&refused), "{refused}");
    // Another directory in the place of the one that is locked is another bank.
    let moved = folder.path().join("moved");
    fs::rename(&path, &moved).expect("moves");
    assert!(matches!(DataBank::open(&path, Mode::WRITE), Err(BankError::NotABank { .. })));
    assert!(is_refused(&DataBank::open(&moved, Mode::WRITE).expect_err("is taken")));
    drop(bank);
    DataBank::open(&moved, Mode::WRITE).expect("is free at once");
}

#[test]
fn a_commit_needs_its_files_and_those_that_it_builds_on() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("bank");
    let bank = create(&path);
    ingest(&bank, 1).expect("takes the batch");
    let segment = bank.files("segments").expect("files").remove(0);
    let (away, before) = (folder.path().join("away"), bank.commit_seq());
    fs::rename(&segment, &away).expect("moves");
    let refused = ingest(&bank, 2).expect_err("a file is gone");
    let name = segment.file_name().expect("a name").to_string_lossy().into_owned();
    assert!(
        matches!(&refused, BankError::Corrupt { file, cure, .. } if file.ends_with(&name) && cure.contains("\"00001\"")),
        "{refused}"
    );
    // Cut short, it is as good as gone.
    fs::write(&segment, "x").expect("writes");
    assert!(matches!(ingest(&bank, 2), Err(BankError::Corrupt { .. })));
    assert_eq!(DataBank::open(&path, Mode::Read).expect("opens").commit_seq(), before);
    fs::rename(&away, &segment).expect("moves back");
    ingest(&bank, 2).expect("takes the batch");
    check_whole(&bank);
}

#[test]
fn cleaning_leaves_young_files_to_whoever_may_commit_them() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("bank");
    let bank = create(&path);
    ingest(&bank, 1).expect("takes the batch");
    let name = "0123456789abcdef0123456789abcdef";
    let orphans = [
        format!("segments/{name}.parquet"),
        format!("bitmaps/{name}.rb"),
        format!("tmp/{name}.parquet"),
        "tmp/other".to_owned(),
    ];
    orphans.iter().for_each(|orphan| fs::write(path.join(orphan), "x").expect("writes"));
    let told = bank.vacuum().expect("cleans");
    assert_eq!((told.files, told.kept_young), (0, 4));
    // A clock that was set back a little makes files of the future, which are young too; those of a far future are not.
    let now = SystemTime::now();
    let touch = |orphan: &str, time| {
        fs::File::open(path.join(orphan))
            .and_then(|file| file.set_modified(time))
            .expect("sets its time")
    };
    touch(&orphans[0], now + Duration::from_secs(300));
    touch(&orphans[1], now + Duration::from_secs(86_400));
    let told = bank.vacuum().expect("cleans");
    assert_eq!((told.files, told.kept_young), (1, 3));
    age(&path);
    assert_eq!(bank.vacuum().expect("cleans").files, 3);
    // What a commit names and no later one needs goes at once.
    ingest(&bank, 2).expect("takes the batch");
    bank.compact(&Runtime::default()).expect("merges");
    assert_eq!(bank.vacuum().expect("cleans").files, 4);
    check_whole(&bank);
}
