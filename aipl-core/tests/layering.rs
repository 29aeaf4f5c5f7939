//! The house keeps its floors: no upward or sideways `crate::` path, and no file over 500 lines of code.

#![allow(clippy::expect_used, reason = "a test says what it expects")]

use std::fs;
use std::path::{Path, PathBuf};

/// Floors, lowest first.
const FLOORS: [&str; 10] = [
    "base", "event", "model", "identity", "source", "timeline", "stage", "audience", "bank", "analyses",
];
const LONGEST: usize = 500;

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            found.push(path);
        }
    }
}

fn all_sources() -> Vec<PathBuf> {
    let mut found = Vec::new();
    sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut found);
    found
}

/// Lines that are neither blank nor comment, tests left out.
fn code_lines(text: &str) -> usize {
    let code = text.split("#[cfg(test)]").next().unwrap_or_default();
    code.lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with("//"))
        .count()
}

/// Floors that a line names by `crate::`.
fn floors_named(line: &str) -> impl Iterator<Item = &str> {
    line.split("crate::")
        .skip(1)
        .filter_map(|rest| rest.split(|c: char| !c.is_alphanumeric() && c != '_').next())
}

fn rank(floor: &str) -> Option<usize> {
    FLOORS.iter().position(|known| *known == floor)
}

#[test]
fn imports_go_strictly_downward() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut wrong = Vec::new();
    for path in all_sources() {
        let inner = path.strip_prefix(&root).expect("below src");
        let floor = inner
            .components()
            .next()
            .map(|part| part.as_os_str().to_string_lossy().into_owned())
            .unwrap_or_default();
        let Some(own) = rank(&floor) else { continue };
        let text = fs::read_to_string(&path).expect("a text");
        for line in text.lines().filter(|line| !line.trim_start().starts_with("//")) {
            for named in floors_named(line) {
                let allowed = named == floor || rank(named).is_some_and(|rank| rank < own);
                let sideways = floor == "analyses"
                    && named == "analyses"
                    && line.contains("crate::analyses::")
                    && !ALLOWED_WITHIN_ANALYSES.iter().any(|part| line.contains(part));
                if !allowed || sideways {
                    wrong.push(format!("{}: {}", inner.display(), line.trim()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "paths that do not go downward:\n{}", wrong.join("\n"));
}

/// What analyses share; everything else of one analysis is its own.
const ALLOWED_WITHIN_ANALYSES: [&str; 9] = [
    "analyses::dimensions",
    "analyses::asked",
    "analyses::flow::Flow;",
    "analyses::market;",
    "analyses::outcome",
    "analyses::labels",
    "analyses::snapshot::{Labels, PackedLabel, Snapshot}",
    "analyses::steps",
    "analyses::totals",
];

#[test]
fn files_stay_readable() {
    let long: Vec<String> = all_sources()
        .iter()
        .filter_map(|path| {
            let lines = code_lines(&fs::read_to_string(path).expect("a text"));
            (lines > LONGEST).then(|| format!("{}: {lines}", path.display()))
        })
        .collect();
    assert!(long.is_empty(), "files over {LONGEST} lines of code:\n{}", long.join("\n"));
}

#[test]
fn only_the_timeline_floor_spawns_threads() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    for path in all_sources() {
        let inner = path.strip_prefix(&root).expect("below src");
        if inner.starts_with("timeline") {
            continue;
        }
        let text = fs::read_to_string(&path).expect("a text");
        let mut code = text.split("#[cfg(test)]").next().unwrap_or_default().to_owned();
        if inner.starts_with("identity") {
            // Parallel iterators run on the pool that the caller is in; they start no thread.
            code = code.replace("use rayon::prelude::*;", "");
        }
        for word in ["rayon", "std::thread", "thread::spawn"] {
            assert!(!code.contains(word), "{} uses {word}", inner.display());
        }
    }
}
