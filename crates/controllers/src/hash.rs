//! The hash by which revisions of a template are told apart in names and labels.
//!
//! Upstream hashes Go's dump of the struct, which changes from one Kubernetes version to the next, and
//! therefore finds an existing revision by its content, never by its hash. So do we; ours is over the
//! canonical JSON, in the same form (FNV-1a, 32 bits, name-safe digits).
use serde::Serialize;

/// FNV-1a over 32 bits.
fn fnv(bytes: impl IntoIterator<Item = u8>) -> u32 {
    bytes.into_iter().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}

/// The hash of `content`; `collisions` tells apart contents whose hashes met.
pub fn of(content: &impl Serialize, collisions: Option<i32>) -> String {
    // Through a value: its maps are ordered, so equal content has equal text.
    let text = serde_json::to_value(content).unwrap_or_default().to_string();
    let count = collisions.map(|count| i64::from(count).to_le_bytes());
    let sum = fnv(text.into_bytes().into_iter().chain(count.into_iter().flatten()));
    apimachinery::names::safe_encode(&sum.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_content_has_equal_hashes_until_collisions_are_counted() {
        assert_eq!(fnv(*b"foobar"), 0xbf9c_f968, "published test vector");
        let content = serde_json::json!({ "b": 1, "a": [2] });
        let again = serde_json::json!({ "a": [2], "b": 1 });
        assert_eq!(of(&content, None), of(&again, None));
        assert_ne!(of(&content, None), of(&content, Some(1)));
        assert!(of(&content, None).chars().all(|c| "bcdfghjklmnpqrstvwxz2456789".contains(c)));
    }
}
