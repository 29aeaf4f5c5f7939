//! A bank survives whatever happens to the process that writes it.

#![allow(clippy::expect_used, clippy::panic, reason = "a test says what it expects")]

#[path = "bank/events.rs"]
mod events;

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use aipl_core::bank::{BankError, DataBank, Mode};
use aipl_core::timeline::Runtime;
use events::{age, batches, check_whole, create, day, ingest, writer};

const PATH: &str = "AIPL_TEST_BANK";
const FROM: &str = "AIPL_TEST_FROM";
const COUNT: &str = "AIPL_TEST_COUNT";

/// How many kills; more before a release.
fn kills() -> u64 {
    std::env::var("AIPL_TEST_KILLS")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(100)
}

/// Starts this program again, to write to a bank.
fn command(path: &Path, from: u64, count: u64) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("this program"));
    command
        .args(["--exact", "child_that_writes", "--ignored", "--nocapture", "--test-threads=1"])
        .env(PATH, path)
        .env(FROM, from.to_string())
        .env(COUNT, count.to_string())
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    command
}

/// Reads the batches that a child says are in.
fn acknowledged(child: &mut Child) -> Vec<u64> {
    let output = child.stdout.take().expect("piped");
    let lines = BufReader::new(output).lines().map_while(Result::ok);
    lines
        .filter_map(|line| line.rsplit("ack ").next().filter(|_| line.contains("ack "))?.parse().ok())
        .collect()
}

/// The child: takes in batches, merges, keeps a day, cleans up, and says what is done.
#[test]
#[ignore = "started by the other tests"]
fn child_that_writes() {
    let (Ok(path), Ok(from), Ok(count)) = (std::env::var(PATH), std::env::var(FROM), std::env::var(COUNT)) else {
        return;
    };
    let (from, count): (u64, u64) = (from.parse().expect("a number"), count.parse().expect("a number"));
    let bank = writer(Path::new(&path));
    let runtime = Runtime::with_threads(2).expect("threads");
    for batch in from..from + count {
        if ingest(&bank, batch).is_ok() {
            let _ = std::io::stdout().write_all(format!("ack {batch}\n").as_bytes());
            let _ = std::io::stdout().flush();
        }
        match batch % 6 {
            2 => drop(bank.compact(&runtime)),
            3 => drop(bank.materialize(day("2024-06-20"), None, &runtime)),
            5 => drop(bank.vacuum()),
            _ => {}
        }
    }
}

/// Numbers that repeat.
fn random(state: &mut u64) -> u64 {
    *state = state
        .wrapping_mul(6_364_136_223_846_793_005)
        .wrapping_add(1_442_695_040_888_963_407);
    *state >> 33
}

#[test]
fn no_kill_loses_or_doubles_a_batch() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("bank");
    drop(create(&path));
    let (mut seed, mut next, mut acknowledged_all) = (7, 0u64, Vec::new());
    for _ in 0..kills() {
        let mut child = command(&path, next, 1000).spawn().expect("starts");
        std::thread::sleep(Duration::from_micros(20_000 + random(&mut seed) % 120_000));
        child.kill().expect("is killed");
        let acknowledged = acknowledged(&mut child);
        child.wait().expect("ends");
        let started = Instant::now();
        let bank = DataBank::open(&path, Mode::WRITE).expect("opens without repair, and the lock is free");
        assert!(started.elapsed() < Duration::from_secs(1), "{:?}", started.elapsed());
        let held = batches(&bank);
        assert!(
            acknowledged.iter().all(|batch| held.contains_key(batch)),
            "{acknowledged:?} of {held:?}"
        );
        acknowledged_all.extend(acknowledged);
        // A job that does not know how far it came sends its batch again.
        next = acknowledged_all.iter().max().map_or(next, |last| last + 1);
        if let Some(last) = held.keys().max() {
            let again = ingest(&bank, *last).expect("takes it again");
            assert!(again.replayed);
        }
    }
    let bank = writer(&path);
    check_whole(&bank);
    assert!(
        acknowledged_all.len() > 20,
        "{} batches were taken in between",
        acknowledged_all.len()
    );
    age(&path);
    bank.vacuum().expect("cleans");
    assert_eq!(bank.verify(&Runtime::default()).expect("whole").orphans, 0);
}

/// Whether strace can inject faults here.
fn can_trace() -> bool {
    let mut traced = Command::new("strace");
    traced.args(["-o", "/dev/null", "-e", "inject=fsync:error=EIO:when=9999", "true"]);
    traced.stderr(Stdio::null()).status().is_ok_and(|status| status.success())
}

#[test]
fn a_fault_at_any_system_call_of_a_commit_leaves_the_bank_whole() {
    if !can_trace() {
        eprintln!("not run: strace cannot inject faults here");
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("bank");
    let bank = create(&path);
    ingest(&bank, 0).expect("takes the batch");
    drop(bank);
    let every = std::env::var("AIPL_TEST_EXHAUSTIVE").is_ok();
    let faults = ["error=EIO", "error=ENOSPC", "signal=KILL"];
    let calls = [
        "fsync,fdatasync",
        "pwrite64",
        "write",
        "link,linkat",
        "rename,renameat,renameat2",
        "unlink,unlinkat",
    ];
    let (mut batch, mut tried, mut in_vain) = (1u64, 0u32, 0u32);
    for (calls, fault) in calls.iter().flat_map(|calls| faults.map(|fault| (*calls, fault))) {
        // Every call of a commit, or every third of them.
        for at in (1..if every { 40 } else { 14 }).step_by(if every { 1 } else { 3 }) {
            // Once at this call, and from this call on.
            for until in if every { &["", "+"][..] } else { &["+"][..] } {
                let own = command(&path, batch, 1);
                let mut traced = Command::new("strace");
                traced.args(["-f", "-qq", "-o", "/dev/null", "-e"]);
                traced
                    .arg(format!("inject={calls}:{fault}:when={at}{until}"))
                    .arg(own.get_program())
                    .args(own.get_args());
                traced.envs(own.get_envs().filter_map(|(name, value)| Some((name, value?))));
                let mut child = traced.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("starts");
                let acknowledged = acknowledged(&mut child);
                child.wait().expect("ends");
                let bank = DataBank::open(&path, Mode::WRITE).expect("opens without repair");
                let held = batches(&bank);
                assert!(
                    acknowledged.iter().all(|done| held.contains_key(done)),
                    "{calls} {fault} at {at}{until}"
                );
                assert_eq!(bank.info()["rows"], held.values().sum::<u64>(), "{calls} {fault} at {at}{until}");
                tried += 1;
                in_vain += u32::from(held.contains_key(&batch));
                // The disk works again, and so does the bank.
                ingest(&bank, batch).expect("takes the batch");
                batch += 1;
            }
        }
    }
    assert!(tried > 50 && in_vain < tried, "{in_vain} of {tried} faults hit nothing");
    let bank = writer(&path);
    bank.vacuum().expect("cleans");
    check_whole(&bank);
}

#[test]
fn a_full_disk_changes_nothing_and_room_heals_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let disk = folder.path().join("disk");
    std::fs::create_dir(&disk).expect("a folder");
    let mount = |options: &str| {
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", options, "tmpfs"])
            .arg(&disk)
            .stderr(Stdio::null())
            .status();
        mounted.is_ok_and(|status| status.success())
    };
    if !mount("size=3m") {
        eprintln!("not run: no disk of its own can be mounted here");
        return;
    }
    let outcome = std::panic::catch_unwind(|| {
        let path = disk.join("bank");
        let bank = create(&path);
        let mut batch = 0;
        let refused = loop {
            match ingest(&bank, batch) {
                Ok(_) => batch += 1,
                Err(error) => break error,
            }
            assert!(batch < 5000, "the disk is never full");
        };
        assert!(matches!(refused, BankError::NoSpace { .. }), "{refused}");
        check_whole(&bank);
        drop(bank);
        let bank = writer(&path);
        assert_eq!(batches(&bank).len() as u64, batch);
        assert!(mount("remount,size=64m"));
        ingest(&bank, batch).expect("takes the batch now");
        check_whole(&bank);
    });
    let unmounted = Command::new("umount").arg(&disk).status();
    assert!(unmounted.is_ok_and(|status| status.success()));
    outcome.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
}

#[test]
fn one_writes_and_many_read() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("bank");
    let bank = create(&path);
    let refused = DataBank::open(&path, Mode::WRITE).expect_err("is taken");
    assert!(
        matches!(&refused, BankError::Locked { holder, .. } if holder.contains("process")),
        "{refused}"
    );
    let waited = Instant::now();
    let timeout = Duration::from_millis(200);
    assert!(DataBank::open(&path, Mode::Write { timeout }).is_err() && waited.elapsed() >= timeout);
    drop(bank);

    // Four processes write in turn; each waits for the lock.
    let mut children: Vec<Child> = (0..4)
        .map(|child| command(&path, child * 100, 12).spawn().expect("starts"))
        .collect();
    let mut acknowledged_all = Vec::new();
    let mut seen = 0;
    while children.iter_mut().any(|child| child.try_wait().expect("a child").is_none()) {
        // A reader sees whole commits, whatever goes on beside it, and its files stay while it looks.
        let reader = DataBank::open(&path, Mode::Read).expect("opens beside a writer");
        check_whole(&reader);
        assert!(reader.commit_seq() >= seen);
        seen = reader.commit_seq();
    }
    children.iter_mut().for_each(|child| acknowledged_all.extend(acknowledged(child)));
    let bank = writer(&path);
    assert_eq!(acknowledged_all.len(), 48);
    assert_eq!(batches(&bank).len(), 48);
    check_whole(&bank);
}

#[test]
fn a_reader_keeps_its_state_until_it_refreshes() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("bank");
    let bank = create(&path);
    ingest(&bank, 1).expect("takes the batch");
    ingest(&bank, 2).expect("takes the batch");
    let reader = DataBank::open(&path, Mode::Read).expect("opens");
    assert!(matches!(ingest(&reader, 3), Err(BankError::ReadOnly { .. })));
    bank.compact(&Runtime::default()).expect("merges");
    let cleaned = bank.vacuum().expect("cleans");
    assert!(cleaned.kept_for_readers >= 2, "{cleaned:?}");
    check_whole(&reader);
    ingest(&bank, 3).expect("takes the batch");
    assert_eq!(batches(&reader).len(), 2);
    reader.refresh().expect("refreshes");
    assert_eq!(batches(&reader).len(), 3);
    check_whole(&reader);
    drop(reader);
    assert!(bank.vacuum().expect("cleans").files >= 2);
    check_whole(&bank);
}
