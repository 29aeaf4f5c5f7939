//! Faults of the system under a child process: `faults.c` compiled, and what it is told.

#![allow(dead_code, reason = "each test uses a part")]

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Classes of calls, in the order in which `faults.c` counts them.
pub const CLASSES: [&str; 13] = [
    "write", "sync", "link", "rename", "unlink", "truncate", "create", "open", "close", "mkdir", "mode", "lock", "read",
];
/// How often the fault came stands behind the counts of the classes.
const FIRED: usize = CLASSES.len();

/// The compiled library, and a folder for what it writes.
pub struct Shim {
    folder: tempfile::TempDir,
    library: PathBuf,
}

/// What goes wrong, and when.
#[derive(Debug, Clone, Copy)]
pub struct Fault<'a> {
    /// Classes joined by commas, or `all`.
    pub calls: &'a str,
    /// `kill`, `tear`, `eio`, `enospc`, `eintr`, `short`.
    pub action: &'a str,
    /// At which call, from 1 on; 0 for never.
    pub at: u64,
    /// At every later call too.
    pub ever: bool,
}

impl Fault<'_> {
    /// No fault; calls are counted.
    pub const NONE: Fault<'static> = Fault {
        calls: "all",
        action: "eio",
        at: 0,
        ever: false,
    };
}

/// What a child has called.
pub struct Counts([u64; FIRED + 1]);

impl Counts {
    /// Calls of a class.
    pub fn of(&self, class: &str) -> u64 {
        let at = CLASSES.iter().position(|known| *known == class).expect("a class");
        self.0[at]
    }

    /// Calls of all classes that `all` stands for.
    pub fn all(&self) -> u64 {
        let read_only = ["open", "read"];
        let classes = CLASSES.iter().filter(|class| !read_only.contains(class));
        classes.map(|class| self.of(class)).sum()
    }

    /// How often the fault came.
    pub fn fired(&self) -> u64 {
        self.0[FIRED]
    }
}

impl Shim {
    /// Compiles the library; nothing where there is no C compiler.
    pub fn build() -> Option<Shim> {
        let folder = tempfile::tempdir().expect("a folder");
        let library = folder.path().join("faults.so");
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/shim/faults.c");
        let mut compiler = Command::new(std::env::var("CC").unwrap_or_else(|_| "cc".to_owned()));
        compiler.args(["-shared", "-fPIC", "-O1", "-Wall", "-Wextra", "-Werror", "-o"]);
        let compiled = compiler.arg(&library).arg(source).arg("-ldl").stdin(Stdio::null()).status();
        match compiled {
            Ok(status) => assert!(status.success(), "faults.c does not compile"),
            Err(error) => {
                eprintln!("not run: there is no C compiler ({error})");
                return None;
            }
        }
        Some(Shim { folder, library })
    }

    /// Puts a command under the library: calls on files below `root` count from the moment on when the command removes
    /// the file [`Shim::arm`], and until it removes [`Shim::disarm`].
    pub fn apply(&self, command: &mut Command, root: &Path, fault: Fault<'_>) {
        let counts = File::create(self.counts_file()).expect("a file");
        counts.set_len(8 * (FIRED as u64 + 1)).expect("has room");
        let root = fs::canonicalize(root).expect("the folder is there");
        command
            .env("LD_PRELOAD", &self.library)
            .env("AIPL_FAULT_ROOT", root)
            .env("AIPL_FAULT_CALLS", fault.calls)
            .env("AIPL_FAULT_AT", fault.at.to_string())
            .env("AIPL_FAULT_DO", fault.action)
            .env("AIPL_FAULT_UNTIL", if fault.ever { "ever" } else { "once" })
            .env("AIPL_FAULT_ARM", self.folder.path().join("arm"))
            .env("AIPL_FAULT_DISARM", self.folder.path().join("disarm"))
            .env("AIPL_FAULT_COUNTS", self.counts_file());
    }

    /// Lets `flock` do nothing for files below the root that [`Shim::apply`] was given.
    pub fn without_locks(command: &mut Command) {
        command.env("AIPL_FAULT_NOLOCK", "1");
    }

    /// What the last command has called.
    pub fn counts(&self) -> Counts {
        let file = File::open(self.counts_file()).expect("the counts are there");
        let mut counts = [0; FIRED + 1];
        for (number, count) in counts.iter_mut().enumerate() {
            let mut bytes = [0; 8];
            file.read_exact_at(&mut bytes, 8 * number as u64).expect("a count");
            *count = u64::from_ne_bytes(bytes);
        }
        Counts(counts)
    }

    fn counts_file(&self) -> PathBuf {
        self.folder.path().join("counts")
    }
}

/// Said by a child: calls count from here on. The library sees the removal and does not do it.
pub fn arm() {
    signal("AIPL_FAULT_ARM");
}

/// Said by a child: calls count no more.
pub fn disarm() {
    signal("AIPL_FAULT_DISARM");
}

fn signal(variable: &str) {
    if let Ok(path) = std::env::var(variable) {
        let _ = fs::remove_file(path);
    }
}
