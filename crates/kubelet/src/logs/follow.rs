//! Reading a log as a stream: its rotated files, the present one, and with `follow` what is still to come.
use std::fs::Metadata;
use std::future::Future;
use std::io::{self, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use tokio::fs::File;
use tokio::io::{AsyncReadExt, AsyncSeekExt};
use tokio::sync::mpsc;

use super::{CHUNK, Options};

/// How often a followed file is looked at.
const POLL: Duration = Duration::from_millis(200);
/// After how many looks that found nothing the container is asked for.
const POLLS_PER_CHECK: u32 = 5;
/// An entry longer than that is none (runtimes cut at 16 KiB).
const LONGEST_ENTRY: usize = 256 << 10;

/// Why reading ended early.
enum End {
    /// The reader went away, or has all that it wanted.
    Enough,
    Failed(io::Error),
}

impl From<io::Error> for End {
    fn from(error: io::Error) -> End {
        End::Failed(error)
    }
}

/// Sends what `options` asks for of the log at `path` to `sender`, until the end; when following, until
/// `stopped` says that the container no longer runs and the end is reached. Ends when the receiver is gone.
///
/// # Errors
/// The file cannot be read. What was read before has been sent.
pub async fn read<S, F>(path: &Path, options: &Options, sender: mpsc::Sender<Bytes>, stopped: S) -> io::Result<()>
where
    S: Fn() -> F,
    F: Future<Output = bool>,
{
    // Links are followed once, so that a rotation of the file itself is seen.
    let path = tokio::fs::canonicalize(path).await?;
    let mut writer = Writer { options, sender, remaining: options.limit_bytes, begins_line: true, out: Vec::new() };
    match run(&path, options, &mut writer, stopped).await {
        Ok(()) | Err(End::Enough) => Ok(()),
        Err(End::Failed(error)) => Err(error),
    }
}

async fn run<S, F>(path: &Path, options: &Options, writer: &mut Writer<'_>, stopped: S) -> Result<(), End>
where
    S: Fn() -> F,
    F: Future<Output = bool>,
{
    // Opened before the rotated files are listed: what is renamed in between is seen twice by nobody and missed by nobody.
    let mut file = File::open(path).await?;
    let (earlier, start) = positions(path, options, &file).await?;
    for (earlier, start) in earlier {
        // Gone in the meantime: the oldest is deleted when a new one comes.
        let Ok(mut opened) = File::open(&earlier).await else { continue };
        opened.seek(SeekFrom::Start(start)).await?;
        let mut reader = Reader::default();
        reader.drain(&mut opened, writer).await?;
        reader.finish(writer).await?;
    }
    file.seek(SeekFrom::Start(start)).await?;
    let mut reader = Reader { position: start, ..Reader::default() };
    let (mut idle, mut ending) = (0, false);
    loop {
        let before = reader.position;
        reader.drain(&mut file, writer).await?;
        if !options.follow || ending {
            return reader.finish(writer).await;
        }
        if reader.position == before {
            idle += 1;
        }
        match changed(path, &file, reader.position).await? {
            Change::Replaced(newer) => {
                // What came between the last read and the rename.
                reader.drain(&mut file, writer).await?;
                reader.finish(writer).await?;
                (file, reader) = (newer, Reader::default());
                continue;
            }
            Change::Truncated => {
                file.seek(SeekFrom::Start(0)).await?;
                reader = Reader::default();
                continue;
            }
            Change::None => {}
        }
        if idle >= POLLS_PER_CHECK {
            idle = 0;
            ending = stopped().await;
            if ending {
                continue;
            }
        }
        tokio::select! {
            () = writer.sender.closed() => return Err(End::Enough),
            () = tokio::time::sleep(POLL) => {}
        }
    }
}

enum Change {
    None,
    Replaced(File),
    Truncated,
}

/// Whether the log is still the open file.
async fn changed(path: &Path, open: &File, position: u64) -> io::Result<Change> {
    let ours = open.metadata().await?;
    // Between renaming and reopening there is none; the next look will find it.
    let Ok(theirs) = tokio::fs::metadata(path).await else { return Ok(Change::None) };
    if !same(&ours, &theirs) {
        return Ok(File::open(path).await.map_or(Change::None, Change::Replaced));
    }
    Ok(if ours.len() < position { Change::Truncated } else { Change::None })
}

fn same(a: &Metadata, b: &Metadata) -> bool {
    (a.dev(), a.ino()) == (b.dev(), b.ino())
}

/// The rotated files to read, oldest first, with where to begin in each; and where to begin in the present one.
async fn positions(path: &Path, options: &Options, present: &File) -> io::Result<(Vec<(PathBuf, u64)>, u64)> {
    let present = present.try_clone().await?.into_std().await;
    let (path, tail, since) = (path.to_owned(), options.tail, options.since);
    let found = tokio::task::spawn_blocking(move || plan(&path, tail, since, present)).await;
    found.map_err(io::Error::other)?
}

type Positions = (Vec<(PathBuf, u64)>, u64);

fn plan(path: &Path, tail: Option<i64>, since: Option<Timestamp>, mut present: std::fs::File) -> io::Result<Positions> {
    let ours = present.metadata()?;
    let mut missing = tail.map(|tail| u64::try_from(tail).unwrap_or(0));
    let mut start = 0;
    if let Some(lines) = missing {
        let (at, found) = super::tail_start(&mut present, lines)?;
        (start, missing) = (at, Some(lines - found.min(lines)));
    }
    let mut earlier = Vec::new();
    for file in super::rotated(path).into_iter().rev() {
        let Ok(metadata) = std::fs::metadata(&file) else { continue };
        let written = metadata.modified().ok().and_then(|time| Timestamp::try_from(time).ok());
        if missing == Some(0) || since.is_some_and(|since| written.is_some_and(|written| written < since)) {
            break;
        }
        if same(&ours, &metadata) {
            continue;
        }
        let mut at = 0;
        if let Some(lines) = missing {
            let Ok(mut opened) = std::fs::File::open(&file) else { continue };
            let (from, found) = super::tail_start(&mut opened, lines)?;
            (at, missing) = (from, Some(lines - found.min(lines)));
        }
        earlier.push((file, at));
    }
    earlier.reverse();
    Ok((earlier, start))
}

/// Cuts a file into entries.
#[derive(Default)]
struct Reader {
    /// Bytes of the file that were read.
    position: u64,
    /// The beginning of an entry whose end is still to come.
    carry: Vec<u8>,
    /// The present entry is too long and is left out.
    skipping: bool,
}

impl Reader {
    /// Reads to the end of what there is.
    async fn drain(&mut self, file: &mut File, writer: &mut Writer<'_>) -> Result<(), End> {
        let mut chunk = vec![0; CHUNK];
        loop {
            let size = file.read(&mut chunk).await?;
            if size == 0 {
                return writer.flush().await;
            }
            self.position += size as u64;
            let mut rest = chunk.get(..size).unwrap_or_default();
            while let Some(at) = rest.iter().position(|byte| *byte == b'\n') {
                let (entry, after) = rest.split_at(at);
                rest = after.get(1..).unwrap_or_default();
                if std::mem::take(&mut self.skipping) {
                    continue;
                }
                let enough = match self.carry.is_empty() {
                    true => writer.entry(entry),
                    false => {
                        self.carry.extend_from_slice(entry);
                        let enough = writer.entry(&self.carry);
                        self.carry.clear();
                        enough
                    }
                };
                if enough {
                    writer.flush().await?;
                    return Err(End::Enough);
                }
            }
            if !self.skipping {
                self.carry.extend_from_slice(rest);
            }
            if self.carry.len() > LONGEST_ENTRY {
                self.carry.clear();
                self.skipping = true;
            }
            writer.flush().await?;
        }
    }

    /// The file ends here: what has no newline is an entry too.
    async fn finish(&mut self, writer: &mut Writer<'_>) -> Result<(), End> {
        writer.entry(&std::mem::take(&mut self.carry));
        writer.flush().await
    }
}

/// Turns entries into what the reader of the log sees.
struct Writer<'a> {
    options: &'a Options,
    sender: mpsc::Sender<Bytes>,
    remaining: Option<u64>,
    /// The next entry begins a line, so its time is shown.
    begins_line: bool,
    /// At most what one chunk of the file comes to.
    out: Vec<u8>,
}

impl Writer<'_> {
    /// Adds an entry; true when nothing more is wanted.
    fn entry(&mut self, entry: &[u8]) -> bool {
        let Some(line) = super::parse(entry) else { return false };
        if self.options.stream.is_some_and(|stream| stream != line.stream) {
            return false;
        }
        if let Some(since) = self.options.since
            && line.time.parse::<Timestamp>().is_ok_and(|time| time < since)
        {
            return false;
        }
        let before = self.out.len();
        if self.options.timestamps && self.begins_line {
            push_time(&mut self.out, line.time);
        }
        self.out.extend_from_slice(line.text);
        if !line.partial {
            self.out.push(b'\n');
        }
        self.begins_line = !line.partial;
        let Some(remaining) = &mut self.remaining else { return false };
        let added = (self.out.len() - before) as u64;
        if added >= *remaining {
            self.out.truncate(before + usize::try_from(*remaining).unwrap_or(usize::MAX));
            *remaining = 0;
            return true;
        }
        *remaining -= added;
        false
    }

    async fn flush(&mut self) -> Result<(), End> {
        if self.out.is_empty() {
            return Ok(());
        }
        let out = Bytes::from(std::mem::take(&mut self.out));
        self.sender.send(out).await.map_err(|_| End::Enough)
    }
}

/// The time with all nine digits of its fraction, and a space (upstream's RFC3339NanoFixed).
fn push_time(out: &mut Vec<u8>, time: &str) {
    const DIGITS: usize = 9;
    let zone = time.find(['Z', '+']).or_else(|| time.rfind('-').filter(|at| *at > 10)).unwrap_or(time.len());
    let (moment, zone) = time.split_at(zone);
    let (seconds, fraction) = moment.split_once('.').unwrap_or((moment, ""));
    out.extend_from_slice(seconds.as_bytes());
    out.push(b'.');
    out.extend_from_slice(fraction.as_bytes());
    out.extend(std::iter::repeat_n(b'0', DIGITS.saturating_sub(fraction.len())));
    out.extend_from_slice(zone.as_bytes());
    out.push(b' ');
}
