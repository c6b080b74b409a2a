//! Reads the log into an index when the store opens.
//!
//! A damaged last frame with nothing whole behind it was never acknowledged and is cut off; any other
//! damage, a gap in the sequence or in the history is refused.
use super::directory::Directory;
use super::index::Index;
use super::record::{Location, Origin, Record, Version, records};
use super::segment::{Appender, FILE_HEADER, Found, Scanner, Segment};
use crate::{Error, Revision};
use std::collections::{BTreeMap, HashMap};
use std::fs::OpenOptions;
use std::io;
use std::sync::Arc;
use std::time::Instant;

/// The revision of a new store, as etcd's: 0 has a meaning of its own in the API.
const FIRST_REVISION: Revision = 1;

pub(super) struct Recovered {
    pub index: Index,
    pub segments: BTreeMap<u32, Segment>,
    /// `None` when a new file has to be started.
    pub appender: Option<Appender>,
    /// Of the next frame.
    pub sequence: u64,
    /// Bytes of all files.
    pub size: u64,
}

/// One put or delete found in the log.
struct Row {
    revision: Revision,
    past: bool,
    key: Arc<str>,
    version: Option<Version>,
}

#[derive(Default)]
struct Log {
    rows: Vec<Row>,
    leases: HashMap<i64, (u64, u64)>,
    revision: Revision,
    floor: Revision,
    sequence: Option<u64>,
}

/// `now_ms` is Unix time.
pub(super) fn recover(directory: &Directory, now_ms: u64) -> Result<Recovered, Error> {
    let numbers = directory.segments()?;
    let mut log = Log::default();
    let mut segments = BTreeMap::new();
    let mut appender = None;
    let mut size = 0;
    for number in &numbers {
        let last = Some(number) == numbers.last();
        let path = directory.segment_path(*number);
        let unreadable = |error: io::Error| Error::Unavailable(format!("{}: {error}", path.display()));
        let damaged = |at: u64| Error::Corrupt(format!("{} is damaged at byte {at}", path.display()));
        let Some(mut scanner) = Scanner::open(&path, *number).map_err(unreadable)? else {
            if last && !Scanner::later_frame_behind(&path, 0, 0).map_err(unreadable)? {
                // Cut short while it was being created; nothing in it was ever acknowledged.
                directory.remove_segment(*number).map_err(unreadable)?;
                break;
            }
            return Err(damaged(0));
        };
        let end = scan(&mut scanner, &mut log)?;
        if end < scanner.len() {
            let next = log.sequence.map_or(0, |sequence| sequence + 1);
            if !last || Scanner::later_frame_behind(&path, end, next).map_err(unreadable)? {
                return Err(damaged(end));
            }
        }
        if end == FILE_HEADER && last {
            // Even its first frame never became durable.
            directory.remove_segment(*number).map_err(unreadable)?;
            break;
        }
        let file = OpenOptions::new().read(true).write(last).open(&path).map_err(unreadable)?;
        let segment = Segment { number: *number, file: Arc::new(file) };
        size += end;
        segments.insert(*number, segment.clone());
        if last {
            appender = Some(Appender::reopen(segment, end).map_err(unreadable)?);
        }
    }
    let sequence = log.sequence.map_or(1, |sequence| sequence + 1);
    Ok(Recovered { index: build(log, now_ms)?, segments, appender, sequence, size })
}

/// Returns where the whole frames end.
fn scan(scanner: &mut Scanner, log: &mut Log) -> Result<u64, Error> {
    let number = scanner.number();
    let broken = |what: &str| Error::Corrupt(format!("log file {number:010}: {what}"));
    loop {
        let (header, payload, payload_at) = match scanner.next() {
            Ok(Found::Frame { header, payload, payload_at }) => (header, payload, payload_at),
            Ok(Found::End { at }) => return Ok(at),
            Err(error) => return Err(Error::Unavailable(format!("log file {number:010}: {error}"))),
        };
        if log.sequence.is_some_and(|sequence| sequence + 1 != header.sequence) {
            return Err(broken(&format!("a frame is missing before number {}", header.sequence)));
        }
        log.sequence = Some(header.sequence);
        for record in records(payload) {
            let record = record.ok_or_else(|| broken("a record that this version cannot read"))?;
            log.add(record, number, payload_at).ok_or_else(|| broken("revisions are out of order"))?;
        }
    }
}

impl Log {
    /// `None` when a commit's revision is not the next one.
    fn add(&mut self, record: Record<'_>, segment: u32, payload_at: u64) -> Option<()> {
        match record {
            Record::Put { origin, key, create, modified, lease, value_at, value_len, value_crc } => {
                let location = Location {
                    segment,
                    offset: u32::try_from(payload_at + value_at as u64).ok()?,
                    len: u32::try_from(value_len).ok()?,
                    crc: value_crc,
                };
                let version = Version { create, modified, lease, location };
                self.row(origin, key, modified, Some(version))
            }
            Record::Delete { origin, key, revision } => self.row(origin, key, revision, None),
            Record::Lease { id, ttl_ms, expires_ms } => {
                self.leases.insert(id, (ttl_ms, expires_ms));
                Some(())
            }
            Record::LeaseGone { id } => {
                self.leases.remove(&id);
                Some(())
            }
            Record::Head { revision, floor } => {
                self.floor = self.floor.max(floor);
                if self.revision == 0 {
                    self.revision = revision;
                }
                (self.revision == revision).then_some(())
            }
        }
    }

    fn row(&mut self, origin: Origin, key: &str, revision: Revision, version: Option<Version>) -> Option<()> {
        if origin == Origin::Written {
            if revision != self.revision + 1 {
                return None;
            }
            self.revision = revision;
        }
        self.rows.push(Row { revision, past: origin == Origin::Past, key: key.into(), version });
        Some(())
    }
}

/// The index that the rows amount to.
fn build(mut log: Log, now_ms: u64) -> Result<Index, Error> {
    let newest = log.revision.max(FIRST_REVISION);
    let floor = log.floor.max(FIRST_REVISION);
    // The sort is stable: of several copies of one version, the last one stays the last.
    log.rows.sort_by_key(|row| row.revision);
    let oldest_complete = complete_from(&log.rows, newest);
    if oldest_complete > floor + 1 {
        return Err(Error::Corrupt(format!("the changes between revisions {floor} and {oldest_complete} are missing")));
    }
    // The event at the floor itself can be watched, where there ever was one.
    let mut index = Index::new(if oldest_complete <= floor { floor - 1 } else { floor });
    for (id, (ttl_ms, expires_ms)) in &log.leases {
        // The clock may have been set back since: no lease lives longer than it was given.
        index.add_lease(*id, *ttl_ms, (*expires_ms).min(now_ms.saturating_add(*ttl_ms)));
    }
    let now = Instant::now();
    let mut superseded: HashMap<Arc<str>, Version> = HashMap::new();
    let mut rows = log.rows.into_iter().peekable();
    while let Some(mut row) = rows.next() {
        while let Some(copy) = rows.next_if(|next| next.revision == row.revision) {
            row = Row { past: row.past && copy.past, ..copy };
        }
        let current = index.get(&row.key).map(|(_, version)| *version);
        let previous = [current, superseded.get(&row.key).copied()].into_iter().flatten().max_by_key(|v| v.modified);
        let key = index.get(&row.key).map(|(key, _)| key.clone()).unwrap_or(row.key);
        if row.past {
            match row.version {
                Some(version) => drop(superseded.insert(key.clone(), version)),
                None => drop(superseded.remove(&key)),
            }
        } else {
            index.set(&key, row.version);
            superseded.remove(&key);
        }
        if row.revision > index.revision() {
            index.push(key, row.version, previous, now);
        }
    }
    index.compact(floor);
    Ok(index)
}

/// From which revision on the rows, ascending, hold every revision up to `newest`.
fn complete_from(rows: &[Row], newest: Revision) -> Revision {
    let mut oldest = newest + 1;
    for row in rows.iter().rev() {
        if row.revision + 1 == oldest {
            oldest = row.revision;
        } else if row.revision < oldest {
            break;
        }
    }
    oldest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_was_set_back_does_not_make_leases_last() {
        let leases = HashMap::from([(1, (60_000, 1_000_000)), (2, (60_000, 110_000)), (3, (60_000, 500))]);
        let index = build(Log { leases, ..Log::default() }, 100_000).expect("an index");
        let ends = [1, 2, 3].map(|id| index.leases.get(&id).map(|lease| lease.expires_ms));
        assert_eq!(ends, [Some(160_000), Some(110_000), Some(500)]);
    }
}
