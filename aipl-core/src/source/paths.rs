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

/// A file or folder with the columns that its path gives: it stands for other rows where those are others.
type Place = (Node, Vec<(String, Constant)>);

fn place(node: Node, path: &Path) -> Place {
    let mut keys: Vec<(String, Constant)> = Vec::new();
    for key in hive_keys(path) {
        if !keys.contains(&key) {
            keys.push(key);
        }
    }
    (node, keys)
}

/// Files found so far.
#[derive(Default)]
struct Files {
    found: HashMap<Place, PathBuf>,
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
        match self.found.entry(place(node, &path)) {
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
    let mut visited: HashSet<(Place, usize)> = HashSet::new();
    let mut open = vec![(start, 0, 0)];
    while let Some((folder, at, depth)) = open.pop() {
        stop::checkpoint()?;
        let Some(part) = parts.get(at) else {
            take_match(folder, endings, files)?;
            continue;
        };
        let here = if folder.as_os_str().is_empty() { Path::new(".") } else { &folder };
        let Ok((node, meta)) = node_of(here) else { continue };
        if !meta.is_dir() || !visited.insert((place(node, &folder.join("file")), at)) {
            continue;
        }
        match part {
            Part::Name(name) => open.push((folder.join(name), at + 1, depth)),
            Part::Matching(pattern) => {
                let matching = entries(here)?.into_iter().filter(|entry| pattern.matches(&entry.name));
                let matching = matching.map(|entry| entry.named(here)).collect::<Result<Vec<_>, _>>()?;
                let matching = matching.into_iter();
                open.extend(matching.map(|entry| (folder.join(entry.name), at + 1, depth)));
            }
            Part::Below => {
                check_depth(here, depth)?;
                let below = entries(here)?
                    .into_iter()
                    .filter(|entry| entry.is_folder && !is_hidden(Path::new(&entry.name)));
                open.extend(below.map(|entry| (folder.join(entry.name), at, depth + 1)));
                open.push((folder, at + 1, depth));
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

/// A name in a folder. A link to a folder is no folder, since it could lead anywhere, unless it is a partition.
struct Listed {
    name: String,
    /// Whether the name is UTF-8 as it stands.
    is_text: bool,
    is_folder: bool,
}

impl Listed {
    /// The same, if its name can be given back as text.
    fn named(self, folder: &Path) -> Result<Self, SourceError> {
        if self.is_text {
            return Ok(self);
        }
        Err(SourceError::Io {
            path: folder.display().to_string(),
            problem: "it holds a name that is not UTF-8; rename it".to_owned(),
        })
    }
}

fn entries(folder: &Path) -> Result<Vec<Listed>, SourceError> {
    let failed = |error: std::io::Error| SourceError::io(folder, &error);
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let (kind, own) = (entry.file_type().map_err(failed)?, entry.file_name());
        let name = own.to_string_lossy().into_owned();
        found.push(Listed {
            is_folder: kind.is_dir() || (kind.is_symlink() && name.contains('=') && entry.path().is_dir()),
            is_text: own.to_str().is_some(),
            name,
        });
    }
    Ok(found)
}

/// Files of the format below a folder; names that begin with `.` or `_` are left out, as query engines do.
fn walk(folder: &Path, endings: &[&str], files: &mut Files) -> Result<(), SourceError> {
    let mut visited: HashSet<Place> = HashSet::new();
    let mut open = vec![(folder.to_owned(), 0)];
    while let Some((folder, depth)) = open.pop() {
        stop::checkpoint()?;
        check_depth(&folder, depth)?;
        if !visited.insert(place(node_of(&folder)?.0, &folder.join("file"))) {
            continue;
        }
        for entry in entries(&folder)? {
            let path = folder.join(&entry.name);
            if is_hidden(&path) {
                continue;
            }
            if entry.is_folder {
                open.push((folder.join(entry.named(&folder)?.name), depth + 1));
            } else if endings.iter().any(|ending| entry.name.to_lowercase().ends_with(ending)) {
                let path = folder.join(entry.named(&folder)?.name);
                if let Ok((node, meta)) = node_of(&path)
                    && meta.is_file()
                {
                    files.add(path, node);
                }
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
    fn partitions_can_be_links_and_names_must_be_text() {
        use std::os::unix::ffi::OsStrExt;
        let folder = tempfile::tempdir().expect("a folder");
        let (path, real) = (folder.path().join("table"), folder.path().join("real"));
        (0..2).for_each(|at| fs::create_dir([&path, &real][at]).expect("a folder"));
        fs::write(real.join("x.csv"), "u\n").expect("writes");
        symlink(&real, path.join("a=view")).expect("links");
        symlink(&real, path.join("elsewhere")).expect("links");
        symlink(&path, path.join("b=again")).expect("links");
        let all = ["a=view/b=again/a=view/x.csv", "a=view/x.csv", "b=again/a=view/x.csv"];
        for pattern in ["", "**/*.csv"] {
            let found = in_folder(&path, pattern);
            assert!(
                found.contains(&path.join(all[1])) && found.len() <= all.len(),
                "{pattern}: {found:?}"
            );
        }
        fs::write(path.join(std::ffi::OsStr::from_bytes(b"\xff.csv")), "u\n").expect("writes");
        for pattern in ["", "*.csv", "**/*.csv"] {
            let error = found(&[format!("{}/{pattern}", path.display())]).expect_err("no text");
            assert!(error.to_string().contains("a name that is not UTF-8"), "{error}");
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
