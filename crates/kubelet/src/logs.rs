//! Container logs as runtimes write them, `<RFC 3339 time> stdout|stderr F|P <text>`: reading and rotating.
//!
//! Always true: memory is bounded whatever the file holds; lines that are not in the format are skipped; a
//! rotated file is `<path>.<YYYYMMDD-HHMMSS>`, so that names sort by age; compressed ones are not read.
mod follow;
mod options;
mod rotate;
#[cfg(test)]
mod tests;

pub use follow::read;
pub use options::{Options, Refusal, Stream};
pub use rotate::rotate;

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

/// How much is read of a file at once, in bytes.
const CHUNK: usize = 64 << 10;
/// The end of a log of which [`last_lines`] makes its answer, in bytes.
const LONGEST_END: u64 = 512 << 10;

/// One entry of a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Line<'a> {
    /// As the runtime wrote it.
    pub time: &'a str,
    pub stream: Stream,
    /// The line goes on in the next entry of its stream.
    pub partial: bool,
    /// Without a newline.
    pub text: &'a [u8],
}

/// Reads one entry, given without its newline.
pub fn parse(entry: &[u8]) -> Option<Line<'_>> {
    let mut parts = entry.splitn(4, |byte| *byte == b' ');
    let time = std::str::from_utf8(parts.next()?).ok().filter(|time| !time.is_empty())?;
    let stream = match parts.next()? {
        b"stdout" => Stream::Stdout,
        b"stderr" => Stream::Stderr,
        _ => return None,
    };
    // Tags are separated by colons; the first says whether the line is whole.
    let partial = match parts.next()?.split(|byte| *byte == b':').next()? {
        b"F" => false,
        b"P" => true,
        _ => return None,
    };
    Some(Line { time, stream, partial, text: parts.next().unwrap_or_default() })
}

/// What the last entries of a log say: at most `lines` entries, of which at most the last `bytes` bytes.
///
/// `None` when there is no log to read.
pub fn last_lines(path: &str, lines: usize, bytes: usize) -> Option<String> {
    let mut file = File::open(path).ok()?;
    let length = file.metadata().ok()?.len();
    let (start, _) = tail_start(&mut file, lines as u64).ok()?;
    let cut = length.saturating_sub(LONGEST_END);
    file.seek(SeekFrom::Start(start.max(cut))).ok()?;
    let mut raw = Vec::new();
    file.take(LONGEST_END).read_to_end(&mut raw).ok()?;
    let mut text = Vec::new();
    let entries = raw.split(|byte| *byte == b'\n').skip(usize::from(cut > start));
    for line in entries.filter_map(parse) {
        text.extend_from_slice(line.text);
        if !line.partial {
            text.push(b'\n');
        }
    }
    let kept = text.split_off(text.len().saturating_sub(bytes));
    Some(String::from_utf8_lossy(&kept).into_owned())
}

/// Where the last `lines` entries of a file begin, and how many there are (fewer when the file has no more).
fn tail_start(file: &mut File, lines: u64) -> io::Result<(u64, u64)> {
    let length = file.seek(SeekFrom::End(0))?;
    if lines == 0 || length == 0 {
        return Ok((length, 0));
    }
    let mut block = vec![0; CHUNK];
    let (mut end, mut found) = (length, 0);
    while end > 0 {
        let start = end.saturating_sub(CHUNK as u64);
        let size = usize::try_from(end - start).unwrap_or(CHUNK);
        let Some(part) = block.get_mut(..size) else { break };
        file.seek(SeekFrom::Start(start))?;
        file.read_exact(part)?;
        for (at, _) in part.iter().enumerate().rev().filter(|(_, byte)| **byte == b'\n') {
            let after = start + at as u64 + 1;
            // The newline that ends the file begins no entry.
            if after == length {
                continue;
            }
            found += 1;
            if found == lines {
                return Ok((after, found));
            }
        }
        end = start;
    }
    Ok((0, found + 1))
}

/// The readable rotated files of a log, oldest first.
fn rotated(path: &Path) -> Vec<PathBuf> {
    let mut all = every_rotated(path);
    all.retain(|file| is_stamp(&suffix(path, file)));
    all
}

/// All that is left of a log's earlier files, compressed or not, oldest first.
fn every_rotated(path: &Path) -> Vec<PathBuf> {
    let Some(entries) = path.parent().and_then(|folder| std::fs::read_dir(folder).ok()) else { return Vec::new() };
    let mut all: Vec<PathBuf> = entries.filter_map(|entry| entry.ok().map(|entry| entry.path())).collect();
    all.retain(|file| is_stamp(suffix(path, file).trim_end_matches(".gz")));
    all.sort();
    all
}

/// What a file's name has beyond the log's and a dot; empty when it is another's.
fn suffix(path: &Path, file: &Path) -> String {
    let name = |path: &Path| path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    name(file).strip_prefix(&name(path)).and_then(|rest| rest.strip_prefix('.')).unwrap_or_default().to_owned()
}

/// `YYYYMMDD-HHMMSS`
fn is_stamp(text: &str) -> bool {
    text.len() == 15
        && text.bytes().enumerate().all(|(at, byte)| if at == 8 { byte == b'-' } else { byte.is_ascii_digit() })
}
