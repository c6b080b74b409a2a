//! How the log looks on disk: frames, each an atomic group of records.
//!
//! A frame is `magic u32 · payload length u32 · sequence u64 · crc32 u32 · payload`, little endian; the
//! checksum covers length, sequence and payload. Sequences count up by one over the whole log, and
//! a frame is written only after the one before it is on disk: a damaged frame that has a valid
//! later one behind it is damage, one at the very end is a write that was never acknowledged.
//! Values carry a checksum of their own, checked at every read.
use crate::{LeaseId, Revision};

pub(super) const HEADER: usize = 20;
/// No valid frame has a longer payload; a group is cut well below.
pub(super) const PAYLOAD_LIMIT: usize = 64 << 20;
const MAGIC: u32 = u32::from_le_bytes(*b"FKfr");

/// Where a value lies, and its checksum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Location {
    pub segment: u32,
    pub offset: u32,
    pub len: u32,
    pub crc: u32,
}

/// One version of one key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Version {
    pub create: Revision,
    pub modified: Revision,
    pub lease: LeaseId,
    pub location: Location,
}

/// How a version came into its segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// By the commit itself.
    Written,
    /// Copied from an older segment while it was the key's newest version.
    Carried,
    /// Copied for the history only. It never becomes a key's current state again, so the tombstone
    /// or version that superseded it may be dropped before it.
    Past,
}

/// One entry of a frame's payload, as read back. `Put::value_at` is relative to the payload.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Record<'a> {
    Put {
        origin: Origin,
        key: &'a str,
        create: Revision,
        modified: Revision,
        lease: LeaseId,
        value_at: usize,
        value_len: usize,
        value_crc: u32,
    },
    Delete {
        origin: Origin,
        key: &'a str,
        revision: Revision,
    },
    /// `expires_ms`: Unix time.
    Lease {
        id: LeaseId,
        ttl_ms: u64,
        expires_ms: u64,
    },
    LeaseGone {
        id: LeaseId,
    },
    /// The store's revision, and the oldest one readable, at this point of the log.
    Head {
        revision: Revision,
        floor: Revision,
    },
}

const PUT: u8 = 1;
const DELETE: u8 = 2;
const LEASE: u8 = 3;
const LEASE_GONE: u8 = 4;
const HEAD: u8 = 5;

/// A frame under construction.
pub(super) struct Frame {
    bytes: Vec<u8>,
}

impl Frame {
    pub(super) fn new() -> Frame {
        Frame { bytes: vec![0; HEADER] }
    }

    pub(super) fn clear(&mut self) {
        self.bytes.clear();
        self.bytes.resize(HEADER, 0);
        // One big group must not pin its buffer forever.
        self.bytes.shrink_to(1 << 20);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.bytes.len() == HEADER
    }

    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Returns where the value starts in the frame, and its checksum.
    pub(super) fn put(
        &mut self,
        origin: Origin,
        key: &str,
        (create, modified, lease): (Revision, Revision, LeaseId),
        value: &[u8],
    ) -> (usize, u32) {
        let crc = crc32fast::hash(value);
        self.tag(PUT, origin);
        self.number(modified);
        self.number(create);
        self.number(lease as u64);
        self.bytes.extend_from_slice(&crc.to_le_bytes());
        self.bytes.extend_from_slice(&(value.len() as u32).to_le_bytes());
        self.key(key);
        let at = self.bytes.len();
        self.bytes.extend_from_slice(value);
        (at, crc)
    }

    pub(super) fn delete(&mut self, origin: Origin, key: &str, revision: Revision) {
        self.tag(DELETE, origin);
        self.number(revision);
        self.key(key);
    }

    pub(super) fn lease(&mut self, id: LeaseId, ttl_ms: u64, expires_ms: u64) {
        self.tag(LEASE, Origin::Written);
        self.number(id as u64);
        self.number(ttl_ms);
        self.number(expires_ms);
    }

    pub(super) fn lease_gone(&mut self, id: LeaseId) {
        self.tag(LEASE_GONE, Origin::Written);
        self.number(id as u64);
    }

    pub(super) fn head(&mut self, revision: Revision, floor: Revision) {
        self.tag(HEAD, Origin::Written);
        self.number(revision);
        self.number(floor);
    }

    /// The finished frame.
    pub(super) fn seal(&mut self, sequence: u64) -> &[u8] {
        let len = (self.bytes.len() - HEADER) as u32;
        let (header, payload) = self.bytes.split_at_mut(HEADER);
        let crc = checksum(len, sequence, payload);
        let fields = [&MAGIC.to_le_bytes()[..], &len.to_le_bytes(), &sequence.to_le_bytes(), &crc.to_le_bytes()];
        header.copy_from_slice(&fields.concat());
        &self.bytes
    }

    fn tag(&mut self, kind: u8, origin: Origin) {
        self.bytes.push(kind);
        self.bytes.push(origin as u8);
    }

    fn number(&mut self, number: u64) {
        self.bytes.extend_from_slice(&number.to_le_bytes());
    }

    fn key(&mut self, key: &str) {
        self.bytes.extend_from_slice(&(key.len() as u16).to_le_bytes());
        self.bytes.extend_from_slice(key.as_bytes());
    }
}

fn checksum(len: u32, sequence: u64, payload: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&len.to_le_bytes());
    hasher.update(&sequence.to_le_bytes());
    hasher.update(payload);
    hasher.finalize()
}

/// A frame's header.
#[derive(Clone, Copy, Debug)]
pub(super) struct Header {
    pub len: usize,
    pub sequence: u64,
    crc: u32,
}

impl Header {
    /// `None` when these bytes are no header.
    pub(super) fn parse(bytes: &[u8]) -> Option<Header> {
        let mut input = Input(bytes);
        if input.u32()? != MAGIC {
            return None;
        }
        let header = Header { len: input.u32()? as usize, sequence: input.u64()?, crc: input.u32()? };
        (header.len <= PAYLOAD_LIMIT).then_some(header)
    }

    pub(super) fn fits(&self, payload: &[u8]) -> bool {
        payload.len() == self.len && checksum(self.len as u32, self.sequence, payload) == self.crc
    }

    /// First place at or after `from` where a frame's magic stands.
    pub(super) fn find(bytes: &[u8], from: usize) -> Option<usize> {
        let rest = bytes.get(from..)?;
        rest.windows(4).position(|window| window == MAGIC.to_le_bytes()).map(|at| from + at)
    }
}

/// The records of a payload whose checksum was right. `None` as an item: it was written by
/// something that is not this code.
pub(super) fn records(payload: &[u8]) -> impl Iterator<Item = Option<Record<'_>>> {
    let mut input = Input(payload);
    std::iter::from_fn(move || {
        if input.0.is_empty() {
            return None;
        }
        let record = record(&mut input, payload.len());
        if record.is_none() {
            input.0 = &[];
        }
        Some(record)
    })
}

fn record<'a>(input: &mut Input<'a>, payload_len: usize) -> Option<Record<'a>> {
    let kind = input.u8()?;
    let origin = match input.u8()? {
        0 => Origin::Written,
        1 => Origin::Carried,
        2 => Origin::Past,
        _ => return None,
    };
    Some(match kind {
        PUT => {
            let (modified, create, lease) = (input.u64()?, input.u64()?, input.u64()? as LeaseId);
            let (value_crc, value_len) = (input.u32()?, input.u32()? as usize);
            let key = input.key()?;
            let value_at = payload_len - input.0.len();
            input.take(value_len)?;
            Record::Put { origin, key, create, modified, lease, value_at, value_len, value_crc }
        }
        DELETE => {
            let revision = input.u64()?;
            Record::Delete { origin, key: input.key()?, revision }
        }
        LEASE => Record::Lease { id: input.u64()? as LeaseId, ttl_ms: input.u64()?, expires_ms: input.u64()? },
        LEASE_GONE => Record::LeaseGone { id: input.u64()? as LeaseId },
        HEAD => Record::Head { revision: input.u64()?, floor: input.u64()? },
        _ => return None,
    })
}

/// Bytes yet to be read.
struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(taken)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    fn u8(&mut self) -> Option<u8> {
        self.array().map(|[byte]| byte)
    }

    fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    fn key(&mut self) -> Option<&'a str> {
        let len = u16::from_le_bytes(self.array()?);
        std::str::from_utf8(self.take(usize::from(len))?).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_reads_back_and_any_flipped_bit_is_noticed() {
        let mut frame = Frame::new();
        let (at, crc) = frame.put(Origin::Past, "/a", (3, 9, -7), b"value");
        frame.delete(Origin::Written, "/b", 10);
        frame.lease(5, 60_000, u64::MAX);
        frame.lease_gone(5);
        frame.head(10, 2);
        let bytes = frame.seal(77).to_vec();
        let header = Header::parse(&bytes).expect("a header");
        assert_eq!(header.sequence, 77);
        assert!(header.fits(&bytes[HEADER..]));
        assert_eq!(crc, crc32fast::hash(b"value"));
        let value_at = at - HEADER;
        assert_eq!(
            records(&bytes[HEADER..]).collect::<Option<Vec<_>>>().expect("records"),
            [
                Record::Put {
                    origin: Origin::Past,
                    key: "/a",
                    create: 3,
                    modified: 9,
                    lease: -7,
                    value_at,
                    value_len: 5,
                    value_crc: crc
                },
                Record::Delete { origin: Origin::Written, key: "/b", revision: 10 },
                Record::Lease { id: 5, ttl_ms: 60_000, expires_ms: u64::MAX },
                Record::LeaseGone { id: 5 },
                Record::Head { revision: 10, floor: 2 },
            ]
        );
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let intact = Header::parse(&flipped).is_some_and(|header| header.fits(&flipped[HEADER..]));
            assert!(!intact, "bit {bit}");
        }
    }
}
