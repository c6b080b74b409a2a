//! Removing the oldest log file, after what is still needed of it was copied to the log's end.
//!
//! Always the oldest: a tombstone can then be dropped with its file, since the version it hides is in
//! the same file or was in one removed before. Removals are made durable one by one, in order.
use super::index::Reference;
use super::record::{Frame, Location, Origin, Record, records};
use super::segment::{Found, Scanner};
use super::writer::{Writer, too_much_garbage};
use crate::Revision;
use std::collections::HashMap;
use std::sync::atomic::Ordering;

/// Bytes copied between two groups of commits.
const STEP: usize = 1 << 20;

/// A file being emptied.
pub(super) struct Cleaning {
    scanner: Scanner,
}

/// A version copied into the frame under construction.
struct Moved {
    key: Box<str>,
    modified: Revision,
    references: Vec<Reference>,
    to: Location,
}

impl Writer {
    pub(super) fn wants_cleaning(&self) -> bool {
        let slack = self.shared.options.slack_bytes;
        let slack = if self.pressed { slack.min(self.shared.options.segment_bytes) / 4 } else { slack };
        let size = self.shared.size.load(Ordering::Relaxed);
        self.cleaning.is_some() || too_much_garbage(&self.shared.durable.read(), size, slack)
    }

    /// One step, if there is something to clean.
    pub(super) fn clean_a_little(&mut self) {
        if !self.wants_cleaning() {
            self.pressed = false;
            return;
        }
        let cleaned = match self.cleaning.take() {
            Some(cleaning) => self.clean_step(cleaning),
            None => self.clean_start(),
        };
        if let Err(error) = cleaned {
            tracing::error!(%error, "an old log file could not be removed; trying again later");
            self.rest();
        }
    }

    fn clean_start(&mut self) -> Result<(), String> {
        let oldest = self.shared.durable.read().segments.keys().next().copied();
        let Some(number) = oldest.filter(|number| *number != self.number) else { return Ok(()) };
        let path = self.shared.directory.segment_path(number);
        let scanner = Scanner::open(&path, number).map_err(|error| error.to_string())?;
        let scanner = scanner.ok_or_else(|| format!("{} has changed on disk", path.display()))?;
        self.cleaning = Some(Cleaning { scanner });
        Ok(())
    }

    fn clean_step(&mut self, mut cleaning: Cleaning) -> Result<(), String> {
        let number = cleaning.scanner.number();
        let past = self.shared.durable.read().index.past_in(number);
        self.frame.clear();
        let mut moved = Vec::new();
        let mut finished = false;
        while self.frame.len() < STEP && !finished {
            match cleaning.scanner.next().map_err(|error| error.to_string())? {
                Found::Frame { payload, payload_at, .. } => {
                    let place = |offset: usize| (number, payload_at + offset as u64);
                    self.shared.carry(&mut self.frame, payload, place, &past, &mut moved)?;
                }
                Found::End { .. } => finished = true,
            }
        }
        if finished && cleaning.scanner.at() < cleaning.scanner.len() {
            return Err(format!("log file {number:010} is damaged at byte {}", cleaning.scanner.at()));
        }
        if !self.frame.is_empty() {
            let start = self.append().map_err(|failure| format!("{failure:?}"))?;
            let mut durable = self.shared.durable.write();
            for Moved { key, modified, references, mut to } in moved {
                to.segment = self.number;
                to.offset += start;
                durable.index.moved(&key, modified, &references, to);
            }
        }
        if !finished {
            self.cleaning = Some(cleaning);
            return Ok(());
        }
        self.remove(number, cleaning.scanner.len())
    }

    /// The file stays known until it is durably gone: the ones after it must not go before.
    fn remove(&mut self, number: u32, len: u64) -> Result<(), String> {
        if self.shared.durable.read().index.refers_to(number) {
            return Err(format!("log file {number:010} is still needed"));
        }
        self.shared.directory.remove_segment(number).map_err(|error| error.to_string())?;
        self.shared.durable.write().segments.remove(&number);
        self.shared.size.fetch_sub(len, Ordering::Relaxed);
        Ok(())
    }
}

impl super::Shared {
    /// Copy what is still needed of one frame's payload.
    fn carry(
        &self,
        frame: &mut Frame,
        payload: &[u8],
        place: impl Fn(usize) -> (u32, u64),
        past: &HashMap<Revision, Vec<Reference>>,
        moved: &mut Vec<Moved>,
    ) -> Result<(), String> {
        let durable = self.durable.read();
        if frame.is_empty() {
            // What history was dropped has to be known before its records are gone.
            frame.head(durable.index.revision(), durable.index.floor());
        }
        for record in records(payload) {
            match record.ok_or("a record that this version cannot read")? {
                Record::Put { key, create, modified, lease, value_at, value_len, value_crc, .. } => {
                    let (segment, offset) = place(value_at);
                    let here = |location: &Location| {
                        location.segment == segment && u64::from(location.offset) == offset && location.crc == value_crc
                    };
                    let current = durable.index.get(key).is_some_and(|(_, version)| here(&version.location));
                    let references = past.get(&modified).cloned().unwrap_or_default();
                    if !current && references.is_empty() {
                        continue;
                    }
                    let value = payload.get(value_at..value_at + value_len).ok_or("a value out of bounds")?;
                    let origin = if current { Origin::Carried } else { Origin::Past };
                    let (at, crc) = frame.put(origin, key, (create, modified, lease), value);
                    let to = Location { segment: 0, offset: at as u32, len: value_len as u32, crc };
                    moved.push(Moved { key: key.into(), modified, references, to });
                }
                Record::Delete { key, revision, .. } => {
                    if durable.index.event(revision).is_some_and(|event| event.current.is_none() && *event.key == *key)
                    {
                        frame.delete(Origin::Carried, key, revision);
                    }
                }
                Record::Lease { id, .. } => {
                    if let Some(lease) = durable.index.leases.get(&id) {
                        frame.lease(id, lease.ttl_ms, lease.expires_ms);
                    }
                }
                Record::LeaseGone { .. } | Record::Head { .. } => {}
            }
        }
        Ok(())
    }
}
