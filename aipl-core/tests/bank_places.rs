//! Whatever stands in the place of a bank's file or folder is named, and nobody waits for it.

#![allow(clippy::expect_used, clippy::panic, reason = "a test says what it expects")]

#[path = "bank/events.rs"]
mod events;

use std::fs;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::Command;
use std::sync::mpsc;
use std::time::Duration;

use aipl_core::bank::{BankError, DataBank, Mode};
use aipl_core::timeline::Runtime;
use events::{check_whole, create, day, ingest};

/// What is put in a place.
const KINDS: [&str; 5] = ["pipe", "link", "socket", "folder", "device"];

fn put(kind: &str, at: &Path) {
    match kind {
        "pipe" => assert!(Command::new("mkfifo").arg(at).status().expect("runs").success()),
        "link" => std::os::unix::fs::symlink("/dev/zero", at).expect("links"),
        "socket" => drop(UnixListener::bind(at).expect("binds")),
        "folder" => fs::create_dir(at).expect("makes a folder"),
        // The device of /dev/null does nothing, whoever opens it; not everybody may make one.
        _ => drop(Command::new("mknod").arg(at).args(["c", "1", "3"]).output()),
    }
}

fn take_away(at: &Path) {
    if fs::symlink_metadata(at).is_ok_and(|data| data.is_dir()) {
        fs::remove_dir(at).expect("removes");
    } else {
        let _ = fs::remove_file(at);
    }
}

/// Opens a bank, asks it and cleans it, elsewhere: whoever waits for a pipe waits for ever.
fn use_all(path: &Path, mode: Mode) -> Result<(), BankError> {
    let (tell, told) = mpsc::channel();
    let path = path.to_owned();
    std::thread::spawn(move || {
        let done = || -> Result<(), BankError> {
            let (bank, runtime) = (DataBank::open(&path, mode)?, Runtime::with_threads(1).expect("threads"));
            bank.verify(&runtime)?;
            if bank.is_writer() {
                ingest(&bank, 1)?;
                bank.materialize(day("2024-06-25"), None, &runtime)?;
                bank.drop_day(day("2024-06-25"), None)?;
                bank.vacuum()?;
            }
            bank.backup(&path.with_extension("copy"), &runtime)?;
            fs::remove_dir_all(path.with_extension("copy")).expect("removes");
            Ok(())
        };
        let _ = tell.send(done());
    });
    told.recv_timeout(Duration::from_secs(30)).expect("nobody waits")
}

fn filled(path: &Path) {
    let (bank, runtime) = (create(path), Runtime::default());
    ingest(&bank, 1).expect("takes the batch");
    bank.materialize(day("2024-06-20"), None, &runtime).expect("keeps");
}

#[test]
fn whatever_stands_in_the_place_of_a_file_is_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("bank");
    filled(&path);
    let only = |name: &str| {
        let mut entries = fs::read_dir(path.join(name)).expect("a folder");
        format!(
            "{name}/{}",
            entries.next().expect("an entry").expect("an entry").file_name().to_string_lossy()
        )
    };
    let mut places: Vec<String> = ["segments", "ids", "bitmaps"].map(only).to_vec();
    let names = [
        "catalog.sqlite",
        "catalog.sqlite-journal",
        "catalog.sqlite-wal",
        "catalog.sqlite-shm",
        "catalog.sum",
        "writer.lock",
    ];
    places.extend(names.map(str::to_owned));
    places.extend(
        [
            "readers/0123456789abcdef0123456789abcdef",
            "tmp/0123456789abcdef0123456789abcdef.parquet",
        ]
        .map(str::to_owned),
    );
    for (place, kind) in places.iter().flat_map(|place| KINDS.map(|kind| (place, kind))) {
        let (at, away) = (path.join(place), folder.path().join("away"));
        let _ = fs::rename(&at, &away);
        put(kind, &at);
        let there = fs::symlink_metadata(&at).is_ok_and(|data| kind != "device" || !data.is_file());
        let nothing = kind == "folder" && (place.starts_with("tmp/"));
        for mode in [Mode::Read, Mode::WRITE] {
            if !there || nothing {
                continue;
            }
            match use_all(&path, mode) {
                Err(BankError::Corrupt { file, .. }) => assert_eq!(&file, place, "{kind}"),
                other => panic!("{kind} at {place}, {mode:?}: {other:?}"),
            }
        }
        take_away(&at);
        let _ = fs::rename(&away, &at);
    }
    for mode in [Mode::Read, Mode::WRITE] {
        use_all(&path, mode).expect("is whole again");
    }
    check_whole(&DataBank::open(&path, Mode::Read).expect("opens"));
}

#[test]
fn whatever_stands_in_the_place_of_a_folder_is_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("bank");
    filled(&path);
    for place in ["segments", "ids", "bitmaps", "links", "readers", "tmp"] {
        for kind in ["pipe", "socket", "device", "link", "link to itself"] {
            let (at, away) = (path.join(place), folder.path().join(place));
            fs::rename(&at, &away).expect("moves");
            match kind {
                // Even a link to the very folder leads out of the bank.
                "link to itself" => std::os::unix::fs::symlink(&away, &at).expect("links"),
                kind => put(kind, &at),
            }
            if fs::symlink_metadata(&at).is_ok() {
                for mode in [Mode::Read, Mode::WRITE] {
                    let refused = use_all(&path, mode).expect_err("is refused");
                    assert!(
                        matches!(&refused, BankError::Corrupt { file, .. } if file == place),
                        "{kind}: {refused}"
                    );
                }
            }
            take_away(&at);
            fs::rename(&away, &at).expect("moves back");
        }
    }
    use_all(&path, Mode::WRITE).expect("is whole again");
}

#[test]
fn nothing_is_created_or_copied_over_what_is_there() {
    let folder = tempfile::tempdir().expect("a folder");
    let (path, runtime) = (folder.path().join("bank"), Runtime::default());
    filled(&path);
    let bank = DataBank::open(&path, Mode::Read).expect("opens");
    for kind in ["pipe", "socket", "device", "link"] {
        let at = folder.path().join(kind);
        put(kind, &at);
        if fs::symlink_metadata(&at).is_err() {
            continue;
        }
        let refused = bank.backup(&at, &runtime).expect_err("is refused");
        assert!(matches!(&refused, BankError::Exists { path } if path.ends_with(kind)), "{refused}");
        let refused = DataBank::create(&at, events::schema(), events::ZONE, Default::default()).expect_err("is refused");
        assert!(matches!(&refused, BankError::Exists { .. }), "{refused}");
    }
    let begun = folder.path().join("begun");
    fs::create_dir(&begun).expect("makes a folder");
    put("pipe", &begun.join("catalog.sqlite"));
    let refused = DataBank::create(&begun, events::schema(), events::ZONE, Default::default()).expect_err("is refused");
    assert!(matches!(&refused, BankError::Exists { .. }), "{refused}");
}
