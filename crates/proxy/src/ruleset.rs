//! What one service needs in a table: chains with their rules, sets, and elements of the table's maps.
//!
//! Plain data with a total order, so that two rule sets can be compared and the difference carried out.
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;

/// nftables' limit is 255; longer names are cut and stay unique by their hash.
const MAX_NAME: usize = 240;

/// The sets and maps of the table that services put elements into.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Collection {
    ClusterIps,
    FirewallIps,
    NodePortIps,
    NoEndpointNodePorts,
    NoEndpointServices,
    ServiceIps,
    ServiceNodePorts,
}

impl Collection {
    pub fn name(self) -> &'static str {
        match self {
            Collection::ClusterIps => "cluster-ips",
            Collection::FirewallIps => "firewall-ips",
            Collection::NodePortIps => "nodeport-ips",
            Collection::NoEndpointNodePorts => "no-endpoint-nodeports",
            Collection::NoEndpointServices => "no-endpoint-services",
            Collection::ServiceIps => "service-ips",
            Collection::ServiceNodePorts => "service-nodeports",
        }
    }
}

/// An element's comment, and its verdict if it is one of a map.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Value {
    pub comment: String,
    pub verdict: String,
}

/// The rules of one service.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    pub chains: BTreeMap<String, Vec<String>>,
    /// Name and definition.
    pub sets: BTreeMap<String, String>,
    pub elements: BTreeMap<(Collection, String), Value>,
}

impl Rules {
    pub fn is_empty(&self) -> bool {
        self.chains.is_empty() && self.sets.is_empty() && self.elements.is_empty()
    }

    pub(crate) fn element(&mut self, collection: Collection, key: String, verdict: &str, comment: &str) {
        let value = Value { comment: comment.to_owned(), verdict: verdict.to_owned() };
        self.elements.entry((collection, key)).or_insert(value);
    }

    /// A reference to an element for deleting it, and its text for adding it.
    pub(crate) fn element_text(key: &str, value: &Value) -> String {
        let mut text = key.to_owned();
        if !value.comment.is_empty() {
            text.push_str(&format!(" comment \"{}\"", value.comment));
        }
        if !value.verdict.is_empty() {
            text.push_str(&format!(" : {}", value.verdict));
        }
        text
    }
}

/// A chain or set name: `kind-HASH-base`, as upstream forms it, so that tools that know those names work.
pub fn name(kind: &str, base: &str) -> String {
    let digest = Sha256::digest(base.as_bytes());
    let name = format!("{}-{base}", base32(&digest[..5]));
    // `-` after the kind belongs to the limit's other side, as upstream.
    if name.len() > MAX_NAME {
        let mut end = MAX_NAME - 3;
        while !name.is_char_boundary(end) {
            end -= 1;
        }
        return format!("{kind}-{}...", &name[..end]);
    }
    format!("{kind}-{name}")
}

/// RFC 4648 base32 of five bytes: eight characters, no padding.
fn base32(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    let number = bytes.iter().fold(0u64, |sum, byte| sum << 8 | u64::from(*byte));
    let character = |at: u32| char::from(ALPHABET[(number >> (35 - 5 * at) & 31) as usize]);
    (0..8).map(character).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_upstreams() {
        assert_eq!(name("service", "ns1/svc1/tcp/p80"), "service-ULMVA6XW-ns1/svc1/tcp/p80");
        let endpoint = name("endpoint", "ns1/svc1/tcp/p80__10.180.0.1/80");
        assert_eq!(endpoint, "endpoint-5OJB2KTY-ns1/svc1/tcp/p80__10.180.0.1/80");
        let long = name("endpoint", &"x".repeat(300));
        assert!(long.len() <= 250 && long.ends_with("..."), "{long}");
    }
}
