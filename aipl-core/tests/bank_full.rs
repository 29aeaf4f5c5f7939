//! A full disk is told as one by every operation, changes nothing, and leaves a writer that goes on when there is room.

#![allow(clippy::expect_used, clippy::panic, reason = "a test says what it expects")]

#[path = "bank/events.rs"]
mod events;

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use aipl_core::analyses::{SnapshotParams, snapshot};
use aipl_core::bank::{BankError, DataBank, LinkParams, LinkRules, Mode};
use aipl_core::base::Zone;
use aipl_core::identity::{Guards, IdType, Reading, Unknown};
use aipl_core::source::memory::StreamSource;
use aipl_core::timeline::{Runtime, ScopeValue};
use arrow::array::{ArrayRef, RecordBatch, StringArray};
use events::{check_whole, create, day, ingest, model};

fn links(bank: &DataBank, runtime: &Runtime<'_>) -> Result<(), BankError> {
    let column = |name: &str| Arc::new(StringArray::from_iter_values((0..500).map(|row| format!("{name}{row}")))) as ArrayRef;
    let batch = RecordBatch::try_from_iter([("card", column("c")), ("account", column("u"))]).expect("a batch");
    let rules = LinkRules {
        types: vec![IdType::named("card"), IdType::named("account")],
        guards: Guards::default(),
        id_type: "account".to_owned(),
        unknown: Unknown::Keep,
    };
    let reading = Reading {
        seen_at: None,
        source: None,
        zone: Arc::new(Zone::named("UTC").expect("UTC")),
    };
    let rows = StreamSource::from_batches("links", batch.schema(), vec![batch]);
    bank.ingest_links(&rows, "links", Some(&rules), &reading, &LinkParams::default(), runtime)
        .map(drop)
}

/// Leaves so much room on the disk.
fn fill(disk: &Path, leave: u64) {
    let filling = disk.join("filling");
    let _ = fs::remove_file(&filling);
    let stat = rustix::fs::statvfs(disk).expect("a disk");
    let free = (stat.f_bavail * stat.f_frsize).saturating_sub(leave);
    fs::write(filling, vec![0; free as usize]).expect("fills");
}

fn all(disk: &Path) {
    let (path, runtime) = (disk.join("bank"), Runtime::with_threads(1).expect("threads"));
    let bank = create(&path);
    for batch in 1..=4 {
        ingest(&bank, batch).expect("takes the batch");
    }
    bank.materialize(day("2024-06-25"), None, &runtime).expect("keeps");
    let snap = snapshot(&bank, &model(), day("2024-06-20"), &SnapshotParams::default(), &runtime).expect("answers");
    let audience = snap.audience(&ScopeValue::of("b1"), "A").expect("an audience");
    bank.save_audience("kept", &audience, "", &runtime).expect("saves");
    let before = (bank.commit_seq(), bank.info()["rows"].clone());
    let copy = disk.join("copy");
    type Operation<'o> = (&'static str, Box<dyn Fn() -> Result<(), BankError> + 'o>);
    let operations: Vec<Operation<'_>> = vec![
        ("ingest", Box::new(|| ingest(&bank, 5).map(drop))),
        ("compact", Box::new(|| bank.compact(&runtime).map(drop))),
        ("expire", Box::new(|| bank.expire(day("2024-06-04"), &runtime).map(drop))),
        (
            "materialize",
            Box::new(|| bank.materialize(day("2024-06-20"), None, &runtime).map(drop)),
        ),
        (
            "save_audience",
            Box::new(|| bank.save_audience("more", &audience, "", &runtime).map(drop)),
        ),
        ("ingest_links", Box::new(|| links(&bank, &runtime))),
        ("drop_day", Box::new(|| bank.drop_day(day("2024-06-25"), None).map(drop))),
        ("drop_audience", Box::new(|| bank.drop_audience("kept").map(drop))),
        ("drop_batch", Box::new(|| bank.drop_batch("00002", &runtime).map(drop))),
        ("backup", Box::new(|| bank.backup(&copy, &runtime).map(drop))),
    ];
    for (name, operation) in &operations {
        // No room at all, and too little at several places of the operation.
        for leave in [0, 4096, 8192] {
            fill(disk, leave);
            match operation() {
                Err(BankError::NoSpace { .. }) => {}
                Err(other) => panic!("{name} with {leave} bytes: {other:?}"),
                Ok(()) => assert!(leave > 0, "{name} needs no room"),
            }
            if bank.commit_seq() != before.0 {
                break;
            }
            assert_eq!(bank.info()["rows"], before.1, "{name}");
            let left = fs::read_dir(path.join("tmp")).expect("a folder").count();
            assert_eq!(left, 0, "{name} leaves files");
        }
        if bank.commit_seq() != before.0 {
            panic!("{name} went in with 8192 bytes of room");
        }
    }
    drop(operations);
    // There is nothing to clean, and nothing to say of it; a bank can be opened to write, and none be made.
    fill(disk, 0);
    let refused = DataBank::create(&disk.join("new"), events::schema(), events::ZONE, Default::default()).expect_err("no room");
    assert!(matches!(refused, BankError::NoSpace { .. }), "{refused}");
    fs::remove_file(disk.join("filling")).expect("removes");
    ingest(&bank, 5).expect("goes on");
    check_whole(&bank);
    bank.compact(&runtime).expect("merges");
    fill(disk, 0);
    assert!(matches!(bank.vacuum(), Err(BankError::NoSpace { .. })));
    drop(bank);
    let bank = DataBank::open(&path, Mode::WRITE).expect("opens on a full disk");
    fs::remove_file(disk.join("filling")).expect("removes");
    bank.vacuum().expect("cleans");
    check_whole(&bank);
}

#[test]
fn every_operation_tells_of_a_full_disk_and_goes_on() {
    let folder = tempfile::tempdir().expect("a folder");
    let disk = folder.path().join("disk");
    fs::create_dir(&disk).expect("a folder");
    let mounted = Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=4m", "tmpfs"])
        .arg(&disk)
        .stderr(Stdio::null())
        .status();
    if !mounted.is_ok_and(|status| status.success()) {
        eprintln!("not run: no disk of its own can be mounted here");
        return;
    }
    let outcome = std::panic::catch_unwind(|| all(&disk));
    let unmounted = Command::new("umount").arg("-l").arg(&disk).status();
    assert!(unmounted.is_ok_and(|status| status.success()));
    outcome.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
}
