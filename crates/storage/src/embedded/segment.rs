//! The log's files: appending to the newest, reading values, scanning them at the start.
//!
//! Each begins with a header naming it. The newest is kept a step longer than its content, filled
//! with zeros, so that most syncs change no file size. All others have no byte beyond their last
//! frame.
use super::record::{HEADER, Header, Location};
use crate::Error;
use bytes::Bytes;
use std::fs::{File, OpenOptions};
use std::io::{self, BufReader, Read};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

const MAGIC: &[u8; 8] = b"FKlog\0\0\x01";
pub(super) const FILE_HEADER: u64 = 12;
/// How far the newest file is extended at once.
const STEP: usize = 512 << 10;

/// A segment that can be read.
#[derive(Clone)]
pub(super) struct Segment {
    pub number: u32,
    pub file: Arc<File>,
}

impl Segment {
    pub(super) fn read(&self, location: &Location) -> Result<Bytes, Error> {
        let mut value = vec![0; location.len as usize];
        let place = || format!("{} bytes at {} of log file {:010}", location.len, location.offset, self.number);
        self.file
            .read_exact_at(&mut value, u64::from(location.offset))
            .map_err(|error| Error::Unavailable(format!("reading {}: {error}", place())))?;
        if crc32fast::hash(&value) != location.crc {
            return Err(Error::Corrupt(format!("{} have changed on disk", place())));
        }
        Ok(value.into())
    }
}

/// The segment being written.
pub(super) struct Appender {
    pub segment: Segment,
    /// Where the next frame goes; everything before is durable.
    end: u64,
    /// The file's length; zeros lie between `end` and it.
    allocated: u64,
    buffer: Vec<u8>,
}

impl Appender {
    /// A new file. The caller syncs the directory.
    pub(super) fn create(path: &Path, number: u32) -> io::Result<Appender> {
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(true).open(path)?;
        file.write_all_at(&[&MAGIC[..], &number.to_le_bytes()].concat(), 0)?;
        let segment = Segment { number, file: Arc::new(file) };
        Ok(Appender { segment, end: FILE_HEADER, allocated: FILE_HEADER, buffer: Vec::new() })
    }

    /// An existing file, whose content ends at `end`; what lies behind is cut off.
    pub(super) fn reopen(segment: Segment, end: u64) -> io::Result<Appender> {
        if segment.file.metadata()?.len() != end {
            segment.file.set_len(end)?;
            segment.file.sync_all()?;
        }
        Ok(Appender { segment, end, allocated: end, buffer: Vec::new() })
    }

    pub(super) fn end(&self) -> u64 {
        self.end
    }

    /// Returns where the frame starts, once it is durable.
    ///
    /// # Errors
    /// `Err((error, true))`: nothing was written. `Err((error, false))`: it may reappear after a crash,
    /// and nothing must be appended any more.
    pub(super) fn append(&mut self, frame: &[u8]) -> Result<u64, (io::Error, bool)> {
        let start = self.end;
        let end = start + frame.len() as u64;
        let written = self.write(frame, start, end).and_then(|()| self.segment.file.sync_data());
        match written {
            Ok(()) => {
                self.end = end;
                Ok(start)
            }
            Err(error) => {
                let undone = self.segment.file.set_len(start).and_then(|()| self.segment.file.sync_all());
                self.allocated = start;
                Err((error, undone.is_ok()))
            }
        }
    }

    fn write(&mut self, frame: &[u8], start: u64, end: u64) -> io::Result<()> {
        if end <= self.allocated {
            return self.segment.file.write_all_at(frame, start);
        }
        self.buffer.clear();
        self.buffer.extend_from_slice(frame);
        self.buffer.resize(frame.len() + STEP, 0);
        let extended = self.segment.file.write_all_at(&self.buffer, start);
        self.buffer.shrink_to(2 * STEP);
        match extended {
            Ok(()) => {
                self.allocated = end + STEP as u64;
                Ok(())
            }
            // There may be room for the frame alone.
            Err(error) if is_full(&error) => {
                self.segment.file.set_len(start)?;
                self.segment.file.write_all_at(frame, start)?;
                self.allocated = end;
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// Cut the zeros off; nothing is appended afterwards.
    pub(super) fn finish(&mut self) -> io::Result<()> {
        self.allocated = self.end;
        self.segment.file.set_len(self.end)?;
        self.segment.file.sync_all()
    }
}

pub(super) fn is_full(error: &io::Error) -> bool {
    use io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
    matches!(error.kind(), StorageFull | QuotaExceeded | FileTooLarge)
}

/// Reads a segment's frames in order.
pub(super) struct Scanner {
    number: u32,
    reader: BufReader<File>,
    at: u64,
    len: u64,
    payload: Vec<u8>,
}

/// What a scan found next.
pub(super) enum Found<'a> {
    /// A whole frame; `payload_at` is its payload's place in the file.
    Frame { header: Header, payload: &'a [u8], payload_at: u64 },
    /// Nothing readable from here on.
    End { at: u64 },
}

impl Scanner {
    /// `None` when the file's own header is not whole.
    pub(super) fn open(path: &Path, number: u32) -> io::Result<Option<Scanner>> {
        let file = File::open(path)?;
        let len = file.metadata()?.len();
        let mut reader = BufReader::with_capacity(256 << 10, file);
        let mut header = [0; FILE_HEADER as usize];
        if len < FILE_HEADER {
            return Ok(None);
        }
        reader.read_exact(&mut header)?;
        let right = header.starts_with(MAGIC) && header.ends_with(&number.to_le_bytes());
        Ok(right.then_some(Scanner { number, reader, at: FILE_HEADER, len, payload: Vec::new() }))
    }

    pub(super) fn next(&mut self) -> io::Result<Found<'_>> {
        let at = self.at;
        let mut bytes = [0; HEADER];
        if at + HEADER as u64 > self.len {
            return Ok(Found::End { at });
        }
        self.reader.read_exact(&mut bytes)?;
        let Some(header) = Header::parse(&bytes) else { return Ok(Found::End { at }) };
        let payload_at = at + HEADER as u64;
        if payload_at + header.len as u64 > self.len {
            return Ok(Found::End { at });
        }
        self.payload.resize(header.len, 0);
        self.reader.read_exact(&mut self.payload)?;
        if !header.fits(&self.payload) {
            return Ok(Found::End { at });
        }
        self.at = payload_at + header.len as u64;
        Ok(Found::Frame { header, payload: &self.payload, payload_at })
    }

    pub(super) fn at(&self) -> u64 {
        self.at
    }

    pub(super) fn len(&self) -> u64 {
        self.len
    }

    pub(super) fn number(&self) -> u32 {
        self.number
    }

    /// Whether a whole frame later than `sequence` lies behind `at`: then what is at `at` was durable
    /// once, and has been damaged since.
    pub(super) fn later_frame_behind(path: &Path, at: u64, sequence: u64) -> io::Result<bool> {
        let file = File::open(path)?;
        let mut rest = vec![0; usize::try_from(file.metadata()?.len().saturating_sub(at)).unwrap_or(0)];
        file.read_exact_at(&mut rest, at)?;
        let mut from = 0;
        while let Some(start) = Header::find(&rest, from) {
            let frame = rest.get(start..).unwrap_or_default();
            let whole = Header::parse(frame).is_some_and(|header| {
                let payload = frame.get(HEADER..HEADER + header.len).unwrap_or_default();
                header.sequence > sequence && header.fits(payload)
            });
            if whole {
                return Ok(true);
            }
            from = start + 1;
        }
        Ok(false)
    }
}
