//! The log's thread: the only one that writes.
//!
//! It takes everything pending, writes it as one frame with one sync, makes it visible (index, then
//! sinks, then clock), and only then answers. In between it removes old files, whose still needed
//! records it copies to the log's end first.
use super::Shared;
use super::pending::{Durable, Failure, Item};
use super::record::{Frame, Location, Version};
use super::segment::{Appender, is_full};
use crate::{Event, KeyValue, Revision};
use bytes::Bytes;
use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// A group is cut at this many bytes of values, or this many items.
const GROUP_BYTES: usize = 4 << 20;
const GROUP_ITEMS: usize = 4096;
/// After a failure, the log does nothing of its own accord for this long.
const REST: Duration = Duration::from_secs(2);

pub(super) struct Writer {
    pub shared: Arc<Shared>,
    pub appender: Option<Appender>,
    /// Number of the newest file.
    pub number: u32,
    /// Of the next frame.
    pub sequence: u64,
    pub frame: Frame,
    pub cleaning: Option<super::cleaning::Cleaning>,
    /// Space has run out: clean even when little is to be gained.
    pub pressed: bool,
    rest_until: Option<Instant>,
}

/// A written item as the index and the sinks will know it.
struct Written {
    revision: Revision,
    key: Arc<str>,
    version: Option<Version>,
    value: Option<Bytes>,
}

impl Writer {
    pub(super) fn new(shared: Arc<Shared>, appender: Option<Appender>, number: u32, sequence: u64) -> Writer {
        Writer {
            shared,
            appender,
            number,
            sequence,
            frame: Frame::new(),
            cleaning: None,
            pressed: false,
            rest_until: None,
        }
    }

    /// Until the store is closed and nothing is pending.
    pub(super) fn run(mut self) {
        let _alarm = Alarm(self.shared.clone());
        while let Some(group) = self.next_group() {
            if !group.is_empty() {
                self.write(group);
            }
            if self.rest_until.is_none() {
                self.clean_a_little();
            }
        }
        if let Some(appender) = &mut self.appender {
            // Tidiness only: the zeros at the end are harmless.
            let _ = appender.finish();
        }
    }

    /// Waits for work. Empty when there is only the writer's own work to do.
    fn next_group(&mut self) -> Option<VecDeque<Item>> {
        let shared = self.shared.clone();
        let mut pending = shared.pending.lock();
        loop {
            let now = shared.time.now_ms();
            let resting = self.rest_until.map(|until| until.saturating_duration_since(Instant::now()));
            let resting = resting.filter(|rest| !rest.is_zero());
            if resting.is_none() {
                self.rest_until = None;
            }
            let mut sleep = resting;
            if pending.broken.is_none() && resting.is_none() {
                let durable = shared.durable.read();
                match durable.index.next_expiry() {
                    Some((at, id)) if at <= now => pending.expire(&durable, id),
                    Some((at, _)) => sleep = Some(Duration::from_millis(at - now)),
                    None => {}
                }
            }
            if pending.items.iter().any(|item| !matches!(item, Item::Lease { .. })) || pending.items.len() > 256 {
                return Some(take_group(&mut pending.items));
            }
            if pending.closing {
                return None;
            }
            if resting.is_none() && pending.broken.is_none() && self.wants_cleaning() {
                return Some(VecDeque::new());
            }
            match sleep {
                Some(sleep) => drop(shared.work.wait_for(&mut pending, sleep)),
                None => shared.work.wait(&mut pending),
            }
        }
    }

    fn write(&mut self, group: VecDeque<Item>) {
        self.frame.clear();
        let mut written = self.encode(&group);
        if !self.frame.is_empty() {
            match self.append() {
                Ok(start) => {
                    for version in written.iter_mut().filter_map(|written| written.version.as_mut()) {
                        version.location.offset += start;
                        version.location.segment = self.number;
                    }
                }
                Err(failure) => return self.fail(group, failure),
            }
            self.make_visible(&group, written);
        }
        for item in group {
            if let Item::Write { answer: Some(answer), .. } | Item::Wait { answer } = item {
                answer.send(Ok(()));
            }
        }
    }

    /// Leave the disk alone for a while, except for commits.
    pub(super) fn rest(&mut self) {
        self.rest_until = Some(Instant::now() + REST);
    }

    fn encode(&mut self, group: &VecDeque<Item>) -> Vec<Written> {
        let mut written = Vec::with_capacity(group.len());
        for item in group {
            match item {
                Item::Write { revision, key, create, lease, value, .. } => {
                    let version = value.as_ref().map(|value| {
                        let facts = (*create, *revision, *lease);
                        let (at, crc) = self.frame.put(super::record::Origin::Written, key, facts, value);
                        let location = Location { segment: 0, offset: at as u32, len: value.len() as u32, crc };
                        Version { create: *create, modified: *revision, lease: *lease, location }
                    });
                    if version.is_none() {
                        self.frame.delete(super::record::Origin::Written, key, *revision);
                    }
                    written.push(Written { revision: *revision, key: key.clone(), version, value: value.clone() });
                }
                Item::Lease { id, ttl_ms, expires_ms } => self.frame.lease(*id, *ttl_ms, *expires_ms),
                Item::LeaseGone { id } => self.frame.lease_gone(*id),
                Item::Floor => {
                    let durable = self.shared.durable.read();
                    // The writes of this group that stand before this item count already.
                    let revision = written.last().map_or(durable.index.revision(), |written| written.revision);
                    self.frame.head(revision, durable.index.floor());
                }
                Item::Wait { .. } => {}
            }
        }
        written
    }

    /// Write the frame. Returns where it starts, once it is durable.
    ///
    /// # Errors
    /// After [`Failure::Unknown`] nothing is written any more: what stands at the log's end is not known.
    pub(super) fn append(&mut self) -> Result<u32, Failure> {
        if let Some(broken) = &self.shared.pending.lock().broken {
            return Err(Failure::Unavailable(broken.clone()));
        }
        let appended = self.append_frame();
        if let Err(Failure::Unknown(text)) = &appended {
            self.shared.pending.lock().broken =
                Some(format!("the log cannot be written any more, restart to recover: {text}"));
        }
        appended
    }

    fn append_frame(&mut self) -> Result<u32, Failure> {
        let limit = self.shared.options.segment_bytes;
        let fits =
            |appender: &Appender, len: usize| appender.end() + (len as u64) <= limit || appender.end() < limit / 2;
        if !self.appender.as_ref().is_some_and(|appender| fits(appender, self.frame.len())) {
            self.rotate().map_err(|(error, undone)| self.shared.failure(&error, undone))?;
        }
        let Some(appender) = &mut self.appender else {
            return Err(Failure::Unavailable("the log has no file".into()));
        };
        let frame = self.frame.seal(self.sequence);
        let len = frame.len() as u64;
        match appender.append(frame) {
            Ok(start) => {
                self.sequence += 1;
                self.shared.size.fetch_add(len, Ordering::Relaxed);
                u32::try_from(start).map_err(|_| Failure::Unavailable("the log file is too long".into()))
            }
            Err((error, undone)) => Err(self.shared.failure(&error, undone)),
        }
    }

    /// Start the next file. It begins with the store's revision, so that older files can go.
    ///
    /// # Errors
    /// As [`Appender::append`]: `(error, false)` when the new file may reappear after a crash.
    fn rotate(&mut self) -> Result<(), (io::Error, bool)> {
        if let Some(old) = &mut self.appender {
            old.finish().map_err(|error| (error, true))?;
        }
        let number = self.number + 1;
        let path = self.shared.directory.segment_path(number);
        let start = || -> io::Result<Appender> {
            let mut appender = Appender::create(&path, number)?;
            let mut head = Frame::new();
            {
                let durable = self.shared.durable.read();
                head.head(durable.index.revision(), durable.index.floor());
            }
            appender.append(head.seal(self.sequence)).map_err(|(error, _)| error)?;
            self.shared.directory.sync()?;
            Ok(appender)
        };
        let appender = match start() {
            Ok(appender) => appender,
            Err(error) => {
                // Left behind, it would claim the number that the next frame of the old file may get.
                let undone = self.shared.directory.remove_segment(number);
                return Err((error, undone.is_ok()));
            }
        };
        self.sequence += 1;
        self.number = number;
        self.shared.size.fetch_add(appender.end(), Ordering::Relaxed);
        self.shared.durable.write().segments.insert(number, appender.segment.clone());
        self.appender = Some(appender);
        Ok(())
    }

    fn make_visible(&mut self, group: &VecDeque<Item>, written: Vec<Written>) {
        let shared = &self.shared;
        let now = Instant::now();
        {
            let mut durable = shared.durable.write();
            for written in &written {
                durable.index.commit(written.key.clone(), written.version, now);
            }
            for item in group {
                if let Item::LeaseGone { id } = item {
                    durable.index.remove_lease(*id);
                }
            }
            durable.index.trim(shared.options.history_events, shared.options.history_age, now);
        }
        let newest = written.last().map(|written| written.revision);
        {
            let mut pending = shared.pending.lock();
            pending.settled(newest.unwrap_or(0), written.iter().map(|written| &written.key));
            for item in group {
                if let Item::LeaseGone { id } = item {
                    pending.lease_settled(*id);
                }
            }
        }
        let Some(revision) = newest else { return };
        let events: Vec<Event> = written.into_iter().map(Written::into_event).collect();
        let mut sinks = shared.sinks.lock();
        sinks.apply(&events);
        // Under the lock, so that whoever attaches knows exactly where it starts.
        shared.clock.send_replace(revision);
    }

    fn fail(&mut self, group: VecDeque<Item>, failure: Failure) {
        tracing::error!(?failure, "a group of commits could not be written");
        self.pressed |= matches!(failure, Failure::NoSpace(_));
        self.rest();
        let mut pending = self.shared.pending.lock();
        let behind = pending.fail(self.shared.durable.read().index.revision());
        for item in group.into_iter().chain(behind) {
            match item {
                Item::Write { answer: Some(answer), .. } | Item::Wait { answer } => {
                    answer.send(Err(failure.clone()));
                }
                // Not durable, but nothing durable refers to it either; it has to be there for what will.
                lease @ Item::Lease { .. } if pending.broken.is_none() => pending.items.push_back(lease),
                _ => {}
            }
        }
    }
}

impl Written {
    fn into_event(self) -> Event {
        let version = self.version;
        Event {
            deleted: version.is_none(),
            kv: KeyValue {
                key: self.key,
                value: self.value.unwrap_or_default(),
                create_revision: version.map_or(0, |version| version.create),
                mod_revision: self.revision,
                lease: version.map_or(0, |version| version.lease),
            },
            previous: None,
        }
    }
}

/// Makes commits fail instead of wait forever, should the thread die of a fault.
struct Alarm(Arc<Shared>);

impl Drop for Alarm {
    fn drop(&mut self) {
        let mut pending = self.0.pending.lock();
        pending.broken.get_or_insert_with(|| "the store is closed".into());
        pending.items.clear();
    }
}

fn take_group(items: &mut VecDeque<Item>) -> VecDeque<Item> {
    let mut bytes = 0;
    let mut count = 0;
    while let Some(item) = items.get(count) {
        if let Item::Write { value: Some(value), .. } = item {
            bytes += value.len();
        }
        if count >= GROUP_ITEMS || (bytes > GROUP_BYTES && count > 0) {
            break;
        }
        count += 1;
    }
    let rest = items.split_off(count);
    std::mem::replace(items, rest)
}

impl Shared {
    pub(super) fn failure(&self, error: &io::Error, undone: bool) -> Failure {
        let text = error.to_string();
        if !undone {
            return Failure::Unknown(text);
        }
        if is_full(error) { Failure::NoSpace(text) } else { Failure::Unavailable(text) }
    }
}

/// Whether so much of the log is garbage that its oldest file should go.
pub(super) fn too_much_garbage(durable: &Durable, size: u64, slack: u64) -> bool {
    durable.segments.len() > 1 && size > 2 * durable.index.live_bytes() + slack
}
