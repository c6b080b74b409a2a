//! The bitmap of used node ports as upstream stores it: a `RangeAllocation` whose data are the bytes of a big
//! number, most significant first, with a bit set for each used offset in the range.
//!
//! Source: `pkg/registry/core/service/allocator/bitmap.go`, `core/v1` `RangeAllocation` (format).
use crate::PortRange;
use apimachinery::codec::protobuf;
use base64::{Engine, prelude::BASE64_STANDARD};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

pub type Used = BTreeSet<u16>;

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct RangeAllocation {
    kind: String,
    api_version: String,
    #[serde(default)]
    metadata: serde_json::Map<String, serde_json::Value>,
    range: String,
    #[serde(default)]
    data: Option<String>,
}

/// The stored form of what is used of a range.
pub fn encode(range: PortRange, used: &Used) -> Vec<u8> {
    let allocation = RangeAllocation {
        kind: "RangeAllocation".to_owned(),
        api_version: "v1".to_owned(),
        metadata: serde_json::Map::new(),
        range: range.to_string(),
        data: Some(BASE64_STANDARD.encode(bits(range, used))),
    };
    // Strings and an empty map: serialising cannot fail.
    serde_json::to_vec(&allocation).unwrap_or_default()
}

fn bits(range: PortRange, used: &Used) -> Vec<u8> {
    let offsets = || used.range(range.first..=range.last).map(|port| usize::from(port - range.first));
    let mut data = vec![0u8; offsets().next_back().map_or(0, |last| last / 8 + 1)];
    for offset in offsets() {
        if let Some(byte) = data.iter_mut().rev().nth(offset / 8) {
            *byte |= 1 << (offset % 8);
        }
    }
    data
}

/// What a stored value says is used, JSON or protobuf; ports of its own range, whatever ours is.
///
/// # Errors
/// A text saying what is wrong with the value.
pub fn decode(value: &[u8]) -> Result<Used, String> {
    let (range, data) = if value.starts_with(protobuf::MAGIC) {
        from_protobuf(value).map_err(|e| e.to_string())?
    } else {
        let stored: RangeAllocation = serde_json::from_slice(value).map_err(|e| e.to_string())?;
        let data = BASE64_STANDARD.decode(stored.data.unwrap_or_default()).map_err(|e| e.to_string())?;
        (stored.range, data)
    };
    if range.is_empty() {
        return Ok(Used::new());
    }
    let range: PortRange = range.parse()?;
    let mut used = Used::new();
    for (i, byte) in data.iter().rev().enumerate() {
        let set = (0..8).filter(|bit| byte & (1 << bit) != 0).map(|bit| i * 8 + bit);
        used.extend(set.filter_map(|offset| u16::try_from(usize::from(range.first) + offset).ok()));
    }
    used.retain(|port| *port <= range.last);
    Ok(used)
}

fn from_protobuf(value: &[u8]) -> Result<(String, Vec<u8>), protobuf::Error> {
    let (mut range, mut data) = (String::new(), Vec::new());
    for (number, bytes) in protobuf::byte_fields(protobuf::unknown(value)?.raw)? {
        match number {
            2 => range = String::from_utf8_lossy(bytes).into_owned(),
            3 => data = bytes.to_vec(),
            _ => {}
        }
    }
    Ok((range, data))
}

/// A free port: at random in the upper part of the range, the lower part (left for ports chosen by hand,
/// KEP-3668) only when that is full.
pub fn choose(range: PortRange, used: &Used, random: u32) -> Option<u16> {
    let size = u32::from(range.last - range.first) + 1;
    let lower = if size <= 16 { 0 } else { (size / 32).clamp(16, 128) };
    let free = |start: u32, length: u32| {
        (0..length)
            .filter_map(|i| u16::try_from(u32::from(range.first) + start + (random.wrapping_add(i)) % length).ok())
            .find(|port| !used.contains(port))
    };
    free(lower, size - lower).or_else(|| free(0, lower))
}

#[cfg(test)]
mod tests {
    use super::*;

    const RANGE: PortRange = PortRange { first: 30000, last: 32767 };

    #[test]
    fn the_bytes_are_those_of_a_big_number() {
        for (ports, want) in [
            (&[][..], &[][..]),
            (&[30000], &[0x01]),
            (&[30001, 30007], &[0x82]),
            (&[30000, 30008, 30017], &[0x02, 0x01, 0x01]),
        ] {
            let used: Used = ports.iter().copied().collect();
            assert_eq!(bits(RANGE, &used), want, "{ports:?}");
            assert_eq!(decode(&encode(RANGE, &used)), Ok(used));
        }
    }

    #[test]
    fn what_upstream_stored_is_read() {
        // RangeAllocation{Range: "30000-32767", Data: [0x01, 0x04]} as its protobuf codec writes it.
        let mut value = b"k8s\0\n\x15\n\x02v1\x12\x0fRangeAllocation\x12\x13".to_vec();
        value.extend_from_slice(b"\n\x00\x12\x0b30000-32767\x1a\x02\x01\x04");
        // The inner length, by hand: 2 + 13 + 4.
        assert_eq!(decode(&value), Ok([30002, 30008].into_iter().collect()));
        assert!(decode(b"{}").is_err());
        assert!(decode(b"k8s\0\xff").is_err());
    }

    #[test]
    fn the_lower_part_is_the_last_to_go() {
        let range = PortRange { first: 100, last: 163 };
        let mut used = Used::new();
        while let Some(port) = choose(range, &used, 5) {
            assert_eq!(port >= 116, used.len() < 48, "{port}");
            assert!(used.insert(port));
        }
        assert_eq!(used.len(), 64);
    }
}
