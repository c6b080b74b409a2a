//! The form of every source file: module text, length, and no leftovers.
use super::root;
use std::{
    fs,
    path::{Path, PathBuf},
};

/// A file past this is asking to be two.
const MAX_LINES: usize = 800;

/// Words that say "unfinished", put together here so that this file does not hold them.
fn leftovers() -> Vec<String> {
    [["TO", "DO"], ["FIX", "ME"], ["XX", "X"], ["todo", "!("], ["unimplemented", "!("], ["dbg", "!("], ["#[ign", "ore"]]
        .iter()
        .map(|halves| halves.concat())
        .collect()
}

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("readable").flatten() {
        let path = entry.path();
        let name = entry.file_name();
        if path.is_dir() {
            if name != "target" && name != ".git" {
                sources(&path, found);
            }
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path);
        }
    }
}

/// Every complaint about a file.
fn complaints(path: &Path) -> Vec<String> {
    let text = fs::read_to_string(path).expect("UTF-8");
    let shown = path.strip_prefix(root()).unwrap_or(path).display();
    let mut out = Vec::new();
    if !text.starts_with("//!") {
        out.push(format!("{shown}: does not open with `//!`, what it is for and what always holds"));
    }
    let lines = text.lines().count();
    if lines > MAX_LINES {
        out.push(format!("{shown}: {lines} lines, {MAX_LINES} at most"));
    }
    for (number, line) in text.lines().enumerate() {
        for word in leftovers() {
            if line.contains(&word) {
                out.push(format!("{shown}:{}: {word}", number + 1));
            }
        }
        if line.ends_with(' ') || line.ends_with('\t') {
            out.push(format!("{shown}:{}: trailing blanks", number + 1));
        }
    }
    out
}

#[test]
fn every_source_file_is_tidy() {
    let mut files = Vec::new();
    sources(&root().join("crates"), &mut files);
    sources(&root().join("xtask"), &mut files);
    assert!(files.len() > 50, "the tree was not found");
    let found: Vec<String> = files.iter().flat_map(|path| complaints(path)).collect();
    assert!(found.is_empty(), "{}", found.join("\n"));
}
