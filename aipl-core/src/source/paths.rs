//! From paths, patterns and folders to files: each file once, whatever the names and links that lead to it.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use glob::Pattern;

use crate::base::stop;
use crate::source::SourceError;
use crate::source::files::{Constant, hive_keys};

/// Folders within folders that are looked into.
const MAX_DEPTH: usize = 128;

/// Device and number of a file or folder, which all of its names share.
type Node = (u64, u64);

/// The files that paths, patterns and folders name, in order of path. Of several names of one file the one without
/// links is kept.
///
/// # Errors
/// A path or pattern that gives no file; a folder that cannot be read or is nested too deeply; a file that is no
/// regular one.
pub(super) fn expand(patterns: &[String], format: &'static str, endings: &[&str]) -> Result<Vec<PathBuf>, SourceError> {
    let none = |pattern: &str| SourceError::NoFiles {
        pattern: pattern.to_owned(),
        format,
    };
    let mut files = Files::default();
    for pattern in patterns {
        let before = files.seen;
        expand_one(pattern, endings, &mut files)?;
        if files.seen == before {
            return Err(none(pattern));
        }
    }
    if files.seen == 0 {
        return Err(none("an empty list of paths"));
    }
    // One order whatever the order of arguments, so that row numbers and answers repeat.
    let mut paths: Vec<PathBuf> = files.found.into_values().collect();
    paths.sort();
    Ok(paths)
}

/// Files found so far. A file stands for other rows where its path gives it other columns.
#[derive(Default)]
struct Files {
    found: HashMap<(Node, Vec<(String, Constant)>), PathBuf>,
    seen: usize,
}

impl Files {
    fn add(&mut self, path: PathBuf, node: Node) {
        self.seen += 1;
        // A name without a link in it comes first, then one that is no link itself.
        let links = |path: &Path| {
            let leads_elsewhere = fs::canonicalize(path).ok().as_deref() != std::path::absolute(path).ok().as_deref();
            (leads_elsewhere, fs::symlink_metadata(path).is_ok_and(|meta| meta.is_symlink()))
        };
        match self.found.entry((node, hive_keys(&path))) {
            Entry::Vacant(place) => drop(place.insert(path)),
            Entry::Occupied(mut known) if (links(&path), &path) < (links(known.get()), known.get()) => drop(known.insert(path)),
            Entry::Occupied(_) => {}
        }
    }
}

fn node_of(path: &Path) -> Result<(Node, fs::Metadata), SourceError> {
    let meta = fs::metadata(path).map_err(|error| SourceError::io(path, &error))?;
    Ok(((meta.dev(), meta.ino()), meta))
}

fn expand_one(pattern: &str, endings: &[&str], files: &mut Files) -> Result<(), SourceError> {
    let path = Path::new(pattern);
    if path.exists() {
        let (node, meta) = node_of(path)?;
        return match (meta.is_dir(), meta.is_file()) {
            (true, _) => walk(path, endings, files),
            (_, true) => {
                files.add(path.to_owned(), node);
                Ok(())
            }
            // A pipe or a device would block or never end.
            _ => Err(SourceError::not_regular(path)),
        };
    }
    let bad_pattern = |error: glob::PatternError| SourceError::Io {
        path: pattern.to_owned(),
        problem: error.to_string(),
    };
    Pattern::new(pattern).map_err(bad_pattern)?;
    let start = if path.is_absolute() { PathBuf::from("/") } else { PathBuf::new() };
    let parts = path.components().filter_map(|part| match part {
        std::path::Component::RootDir => None,
        other => other.as_os_str().to_str(),
    });
    let parts = parts
        .map(|part| Part::new(part).map_err(bad_pattern))
        .collect::<Result<Vec<_>, _>>()?;
    follow(start, &parts, endings, files)
}

/// A part of a pattern, between two slashes.
enum Part {
    /// One name.
    Name(String),
    /// All names that match.
    Matching(Pattern),
    /// `**`: this folder and all below it.
    Below,
}

impl Part {
    fn new(part: &str) -> Result<Self, glob::PatternError> {
        Ok(match part {
            "**" => Part::Below,
            part if part.contains(['*', '?', '[']) => Part::Matching(Pattern::new(part)?),
            name => Part::Name(name.to_owned()),
        })
    }
}

/// Files that match the parts of a pattern below a folder.
fn follow(start: PathBuf, parts: &[Part], endings: &[&str], files: &mut Files) -> Result<(), SourceError> {
    // A folder gives the same files for the same rest of the pattern, whichever link leads there.
    let mut visited: HashSet<(Node, usize)> = HashSet::new();
    let mut open = vec![(start, 0, 0)];
    while let Some((folder, place, depth)) = open.pop() {
        stop::checkpoint()?;
        let Some(part) = parts.get(place) else {
            take_match(folder, endings, files)?;
            continue;
        };
        let here = if folder.as_os_str().is_empty() { Path::new(".") } else { &folder };
        let Ok((node, meta)) = node_of(here) else { continue };
        if !meta.is_dir() || !visited.insert((node, place)) {
            continue;
        }
        match part {
            Part::Name(name) => open.push((folder.join(name), place + 1, depth)),
            Part::Matching(pattern) => {
                let matching = entries(here)?.into_iter().filter(|entry| pattern.matches(&entry.name));
                open.extend(matching.map(|entry| (folder.join(entry.name), place + 1, depth)));
            }
            Part::Below => {
                check_depth(here, depth)?;
                let below = entries(here)?
                    .into_iter()
                    .filter(|entry| entry.is_folder && !is_hidden(Path::new(&entry.name)));
                open.extend(below.map(|entry| (folder.join(entry.name), place, depth + 1)));
                open.push((folder, place + 1, depth));
            }
        }
    }
    Ok(())
}

/// Takes what a whole pattern matches: a file, or the files of a folder.
fn take_match(path: PathBuf, endings: &[&str], files: &mut Files) -> Result<(), SourceError> {
    let Ok((node, meta)) = node_of(&path) else { return Ok(()) };
    if meta.is_dir() {
        return walk(&path, endings, files);
    }
    if meta.is_file() && !is_hidden(&path) {
        files.add(path, node);
    }
    Ok(())
}

/// A name in a folder. A link to a folder is no folder: it could lead back and be read for ever.
struct Listed {
    name: String,
    is_folder: bool,
}

fn entries(folder: &Path) -> Result<Vec<Listed>, SourceError> {
    let failed = |error: std::io::Error| SourceError::io(folder, &error);
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        // Names that are no text cannot be given back as text.
        let Ok(name) = entry.file_name().into_string() else { continue };
        found.push(Listed {
            is_folder: entry.file_type().map_err(failed)?.is_dir(),
            name,
        });
    }
    Ok(found)
}

/// Files of the format below a folder; names that begin with `.` or `_` are left out, as query engines do.
fn walk(folder: &Path, endings: &[&str], files: &mut Files) -> Result<(), SourceError> {
    let mut open = vec![(folder.to_owned(), 0)];
    while let Some((folder, depth)) = open.pop() {
        stop::checkpoint()?;
        check_depth(&folder, depth)?;
        for entry in entries(&folder)? {
            let path = folder.join(&entry.name);
            if is_hidden(&path) {
                continue;
            }
            if entry.is_folder {
                open.push((path, depth + 1));
            } else if endings.iter().any(|ending| entry.name.to_lowercase().ends_with(ending))
                && let Ok((node, meta)) = node_of(&path)
                && meta.is_file()
            {
                files.add(path, node);
            }
        }
    }
    Ok(())
}

fn check_depth(folder: &Path, depth: usize) -> Result<(), SourceError> {
    if depth <= MAX_DEPTH {
        return Ok(());
    }
    Err(SourceError::Io {
        path: folder.display().to_string(),
        problem: format!("folders are nested more than {MAX_DEPTH} deep"),
    })
}

/// Names that engines leave aside: `.crc`, `_SUCCESS`, and the like.
fn is_hidden(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(['.', '_']))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn found(patterns: &[String]) -> Result<Vec<PathBuf>, SourceError> {
        expand(patterns, "CSV", &[".csv"])
    }

    fn in_folder(folder: &Path, pattern: &str) -> Vec<PathBuf> {
        found(&[format!("{}/{pattern}", folder.display())]).expect("files")
    }

    #[test]
    fn links_to_folders_read_no_file_twice() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path();
        fs::create_dir(path.join("sub")).expect("a folder");
        for name in ["x.csv", "sub/y.csv", ".hidden.csv"] {
            fs::write(path.join(name), "a\n").expect("writes");
        }
        for link in ["a", "b", "c", "sub/up"] {
            symlink(path, path.join(link)).expect("links");
        }
        symlink(path.join("x.csv"), path.join("again.csv")).expect("links");
        fs::hard_link(path.join("x.csv"), path.join("z.csv")).expect("links");
        let all = [path.join("sub/y.csv"), path.join("x.csv")];
        for pattern in ["", "**/*.csv", "**", "*"] {
            assert_eq!(in_folder(path, pattern), all, "{pattern}");
        }
        // Links that are named by the pattern are followed, as often as it has parts.
        assert_eq!(in_folder(path, &format!("{}*.csv", "*/".repeat(24))).len(), 2, "*/ many times");
        assert_eq!(in_folder(path, "a/b/c/sub/up/*.csv"), [path.join("a/b/c/sub/up/x.csv")]);
    }

    #[test]
    fn a_file_in_two_partitions_is_two() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path();
        for part in ["a=view", "a=purchase", "a=like"] {
            fs::create_dir(path.join(part)).expect("a folder");
        }
        fs::write(path.join("a=view/x.csv"), "u\n").expect("writes");
        fs::hard_link(path.join("a=view/x.csv"), path.join("a=view/again.csv")).expect("links");
        fs::hard_link(path.join("a=view/x.csv"), path.join("a=purchase/x.csv")).expect("links");
        symlink(path.join("a=view/x.csv"), path.join("a=like/x.csv")).expect("links");
        let all = ["a=like/x.csv", "a=purchase/x.csv", "a=view/again.csv"].map(|name| path.join(name));
        for pattern in ["", "*/*.csv", "**/*.csv"] {
            assert_eq!(in_folder(path, pattern), all, "{pattern}");
        }
    }

    #[test]
    fn parts_match_as_patterns_do() {
        let folder = tempfile::tempdir().expect("a folder");
        for name in ["d=1/a1.csv", "d=2/a2.csv", "d=2/deep/b2.csv"] {
            let file = folder.path().join(name);
            fs::create_dir_all(file.parent().expect("a folder")).expect("folders");
            fs::write(file, "a\n").expect("writes");
        }
        let names = |pattern: &str| -> Vec<String> {
            let short = |path: PathBuf| path.strip_prefix(folder.path()).expect("below").display().to_string();
            in_folder(folder.path(), pattern).into_iter().map(short).collect()
        };
        assert_eq!(names("d=*/*.csv"), ["d=1/a1.csv", "d=2/a2.csv"]);
        assert_eq!(names("d=[2-9]"), ["d=2/a2.csv", "d=2/deep/b2.csv"]);
        assert_eq!(names("**/?2.csv"), ["d=2/a2.csv", "d=2/deep/b2.csv"]);
        assert_eq!(names("d=2/**/b*"), ["d=2/deep/b2.csv"]);
        assert!(found(&[format!("{}/***", folder.path().display())]).is_err());
    }

    #[test]
    fn folders_are_not_followed_without_end() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut deep = folder.path().to_owned();
        (0..140).for_each(|_| deep.push("d"));
        fs::create_dir_all(&deep).expect("folders");
        fs::write(deep.join("x.csv"), "a\n").expect("writes");
        for pattern in [folder.path().display().to_string(), format!("{}/**/*.csv", folder.path().display())] {
            let error = found(&[pattern]).expect_err("too deep");
            assert!(error.to_string().contains("nested more than 128 deep"), "{error}");
        }
    }
}
