//! A fault at every system call of everything that writes to a bank: killed, cut off in the middle of a write, refused
//! once and for ever. Afterwards the bank is as before or as after, and what was acknowledged is there.
//!
//! Every call is tried with `AIPL_TEST_EXHAUSTIVE=1`; else a few of each deed.

#![allow(clippy::expect_used, clippy::panic, reason = "a test says what it expects")]

#[path = "bank/deeds.rs"]
mod deeds;
#[path = "bank/events.rs"]
mod events;
mod shim;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use aipl_core::bank::{DataBank, Mode};
use deeds::{DEEDS, act, age, backup_of, check_goes_on, copy, kind, names, reopen, say, template, told};
use shim::{Fault, Shim};

const PATH: &str = "AIPL_TEST_BANK";
const DEED: &str = "AIPL_TEST_DEED";
/// Calls that the disk can refuse for want of room.
const FILLING: &str = "write,link,rename,truncate,create,mkdir";
/// Calls that a signal can interrupt, or that may do a part of their work.
const INTERRUPTIBLE: &str = "write,read,create,open,truncate";
/// Tries of one deed and fault in the ordinary run.
const FEW: u64 = 2;

/// The child: does one thing and says how it went, whatever fails.
#[test]
#[ignore = "started by the other tests"]
fn child_that_does_one_thing() {
    let (Ok(path), Ok(deed)) = (std::env::var(PATH), std::env::var(DEED)) else {
        return;
    };
    if deed == "open" {
        shim::arm();
    }
    let bank = match DataBank::open(Path::new(&path), Mode::WRITE) {
        Ok(bank) => bank,
        Err(error) => return say(&format!("failed {}", kind(&error))),
    };
    if deed != "open" {
        shim::arm();
    }
    let done = act(&bank, &deed);
    if done.is_ok() {
        say("ack");
    }
    shim::disarm();
    if let Err(error) = done {
        say(&format!("failed {}", kind(&error)));
        // The disk works again: the handle still answers, and writes again unless it says why not.
        say(&format!("asked {}", told(&bank)));
        match act(&bank, &deed) {
            Ok(()) => say("ack"),
            Err(error) => say(&format!("again {}", kind(&error))),
        }
    }
    say("end");
}

/// What a child said.
struct Said {
    acknowledged: bool,
    failed: Option<String>,
    asked: Option<String>,
    again: Option<String>,
    ended: bool,
}

impl Said {
    fn of(text: &str) -> Said {
        let after = |word: &str| text.lines().find_map(|line| line.strip_prefix(word)).map(str::to_owned);
        Said {
            acknowledged: text.lines().any(|line| line == "ack"),
            failed: after("failed "),
            asked: after("asked "),
            again: after("again "),
            ended: text.lines().any(|line| line == "end"),
        }
    }
}

/// One deed, with banks as they are before and after it.
struct Stage {
    shim: Shim,
    folder: tempfile::TempDir,
    deed: &'static str,
    before: String,
    after: String,
}

impl Stage {
    fn set(deed: &'static str) -> Option<Stage> {
        let shim = Shim::build()?;
        // In memory where that is to be had: nothing here waits for a disk.
        let memory = Path::new("/dev/shm");
        let folder = if memory.is_dir() {
            tempfile::tempdir_in(memory)
        } else {
            tempfile::tempdir()
        };
        let folder = folder.expect("a folder");
        let mut stage = Stage {
            shim,
            folder,
            deed,
            before: String::new(),
            after: String::new(),
        };
        let path = stage.path("template");
        template(&path);
        age(&path);
        if deed == "open" {
            stage.interrupt(&path);
        }
        let whole = stage.fresh();
        let bank = reopen(&whole, deed);
        stage.before = told(&bank);
        act(&bank, deed).expect("does it");
        stage.after = told(&bank);
        Some(stage)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A copy of the bank, with the age of its files.
    fn fresh(&self) -> PathBuf {
        let path = self.path("work/bank");
        let _ = std::fs::remove_dir_all(self.path("work"));
        copy(&self.path("template"), &path);
        age(&path);
        path
    }

    /// Leaves the bank as a writer does that is killed at the last moment at which its journal is still hot.
    fn interrupt(&mut self, path: &Path) {
        let deed = std::mem::replace(&mut self.deed, "ingest");
        let hot = (1..500).rev().step_by(2).find(|&at| {
            let fault = Fault {
                calls: "all",
                action: "kill",
                at,
                ever: false,
            };
            let tried = self.fresh();
            self.run(&tried, fault);
            let journal = std::fs::metadata(tried.join("catalog.sqlite-journal"));
            self.shim.counts().fired() > 0 && journal.is_ok_and(|data| data.len() > 512)
        });
        self.deed = deed;
        hot.expect("a kill leaves a journal");
        std::fs::remove_dir_all(path).expect("removes");
        copy(&self.path("work/bank"), path);
    }

    fn run(&self, path: &Path, fault: Fault<'_>) -> Said {
        let mut command = Command::new(std::env::current_exe().expect("this program"));
        command
            .args([
                "--exact",
                "child_that_does_one_thing",
                "--ignored",
                "--nocapture",
                "--test-threads=1",
            ])
            .env(PATH, path)
            .env(DEED, self.deed)
            .stderr(Stdio::null());
        self.shim.apply(&mut command, path.parent().expect("a folder"), fault);
        let output = command.output().expect("runs");
        Said::of(&String::from_utf8_lossy(&output.stdout))
    }

    /// Tries one fault, and looks at what is left. Gives whether it came.
    fn attempt(&self, fault: Fault<'_>) -> bool {
        let what = format!("{} {fault:?}", self.deed);
        let path = self.fresh();
        let said = self.run(&path, fault);
        let counts = self.shim.counts();
        if counts.fired() == 0 {
            assert!(said.acknowledged && said.ended, "{what}: nothing happened, and it did not end well");
            return false;
        }
        let killed = ["kill", "tear"].contains(&fault.action);
        assert_eq!(said.ended || said.failed.is_some(), !killed, "{what}: the child ended otherwise");
        if ["eintr", "short"].contains(&fault.action) {
            assert!(said.acknowledged && said.failed.is_none(), "{what}: failed as {:?}", said.failed);
        }
        // Where SQLite cannot make its journal it says that, and not why. If there is room again at once, nobody can
        // tell.
        let of_journal =
            |kind: &String| !fault.ever && kind.starts_with("Io:") && kind.ends_with("catalog.sqlite: unable to open database file");
        if fault.action == "enospc" && !said.failed.as_ref().is_some_and(of_journal) {
            let kinds = said.failed.iter().chain(&said.again);
            kinds.for_each(|kind| assert!(kind.starts_with("NoSpace:"), "{what}: a full disk is told as {kind}"));
            assert!(said.again.is_none(), "{what}: there is room again, and the writer is of no use");
        }
        if let Some(again) = &said.again {
            // A copy that could not be taken away again is in the way of the next one.
            let is_left = self.deed == "backup" && again.starts_with("Exists:");
            assert!(is_left || again.starts_with("Poisoned:"), "{what}: tried again: {again}");
        }
        if let Some(asked) = &said.asked {
            assert!([&self.before, &self.after].contains(&asked), "{what}: the handle answers\n{asked}");
        }
        self.check(&path, &said, &what);
        true
    }

    /// The bank is as before or as after, and goes on.
    fn check(&self, path: &Path, said: &Said, what: &str) {
        let bank = reopen(path, what);
        let now = told(&bank);
        assert!(
            now == self.after || (now == self.before && !said.acknowledged),
            "{what}: the bank tells\n{now}"
        );
        bank.verify(&aipl_core::timeline::Runtime::default())
            .unwrap_or_else(|error| panic!("{what}: {error}"));
        drop(bank);
        let copy = backup_of(path);
        if self.deed == "backup" && copy.join("catalog.sqlite").exists() && said.acknowledged {
            let copied = reopen(&copy, what);
            assert_eq!(told(&copied), self.after, "{what}: the copy");
        }
        check_goes_on(path, what);
    }

    /// Moves a fault on from call to call, until the deed is done before it comes.
    fn walk(&self, calls: &str, action: &str, ever: bool, wrong: &mut Vec<String>) -> u64 {
        let whole = self.fresh();
        self.run(
            &whole,
            Fault {
                calls,
                action,
                at: u64::MAX,
                ever,
            },
        );
        let counts = self.shim.counts();
        let total: u64 = shim::CLASSES
            .iter()
            .filter(|class| calls == "all" && !["open", "read"].contains(class) || calls.split(',').any(|call| call == **class))
            .map(|class| counts.of(class))
            .sum();
        let step = if std::env::var("AIPL_TEST_EXHAUSTIVE").is_ok() {
            1
        } else {
            (total / FEW).max(1)
        };
        let mut tried = 0;
        // Not the same calls for every deed and fault.
        let first = 1 + (self.deed.len() as u64 * 7 + action.len() as u64 * 3 + u64::from(ever)) % step;
        for at in (first..).step_by(step as usize) {
            let fault = Fault { calls, action, at, ever };
            match catch_unwind(AssertUnwindSafe(|| self.attempt(fault))) {
                Ok(false) => break,
                Ok(true) => {}
                Err(panic) => wrong.push(panic.downcast_ref::<String>().cloned().unwrap_or_default()),
            }
            tried += 1;
        }
        assert!(
            total == 0 || tried > 0,
            "{} {calls} {action}: {total} calls, none was hit",
            self.deed
        );
        tried
    }
}

/// All faults of one deed. Deeds are tests of their own, so that they run beside each other.
#[allow(clippy::print_stdout, reason = "what was tried is the figure of this test")]
fn walk_all(deed: &'static str) {
    let Some(stage) = Stage::set(deed) else { return };
    let (mut told, mut wrong) = (Vec::new(), Vec::new());
    for (calls, action, ever) in [
        ("all", "kill", false),
        ("write", "tear", false),
        ("all", "eio", false),
        ("all", "eio", true),
        (FILLING, "enospc", false),
        (FILLING, "enospc", true),
        (INTERRUPTIBLE, "eintr", false),
        ("write,read", "short", true),
    ] {
        told.push(format!(
            "{action}{} {}",
            if ever { " for ever" } else { "" },
            stage.walk(calls, action, ever, &mut wrong)
        ));
    }
    println!("{deed}: {}", told.join(", "));
    assert!(wrong.is_empty(), "{} faults:\n{}", wrong.len(), wrong.join("\n"));
}

macro_rules! walks {
    ($($name:ident),*) => {
        $(
            #[test]
            fn $name() {
                walk_all(stringify!($name));
            }
        )*

        #[test]
        fn every_deed_has_its_test() {
            assert_eq!([$(stringify!($name)),*], DEEDS);
        }
    };
}

walks!(
    ingest,
    compact,
    materialize,
    save_audience,
    drop_audience,
    expire,
    vacuum,
    links,
    drop_batch,
    backup,
    open
);

#[test]
fn the_calls_of_a_commit_pass_the_shim() {
    let Some(stage) = Stage::set("ingest") else { return };
    let path = stage.fresh();
    let said = stage.run(&path, Fault::NONE);
    assert!(said.acknowledged && said.ended);
    let counts = stage.shim.counts();
    // Two files are written, synced, linked and taken out of tmp/; SQLite writes and syncs its journal and its pages.
    for (class, least) in [
        ("write", 8),
        ("sync", 6),
        ("link", 2),
        ("unlink", 3),
        ("create", 3),
        ("lock", 4),
        ("read", 4),
    ] {
        assert!(counts.of(class) >= least, "{} calls of {class}", counts.of(class));
    }
    assert_eq!(counts.fired(), 0);
    assert!(names(&path, "tmp").is_empty());
}
