//! Cutting node ranges out of a cluster's range. Addresses are numbers of 128 bits; IPv4 uses the low 32.
use std::{fmt, net::IpAddr, ops::Range, str::FromStr};

/// Most node ranges in a cluster range, as upstream limits them for its bitmap.
const MAX_BITS: u8 = 16;

/// An address range; host bits are zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    base: u128,
    prefix: u8,
    is_v6: bool,
}

impl Network {
    fn width(is_v6: bool) -> u8 {
        if is_v6 { 128 } else { 32 }
    }

    /// The last address.
    fn end(self) -> u128 {
        self.base | size_mask(Self::width(self.is_v6) - self.prefix)
    }

    /// Whether `other` is a part of this, or the same.
    pub fn covers(self, other: Network) -> bool {
        self.is_v6 == other.is_v6 && self.base <= other.base && other.end() <= self.end()
    }

    pub fn contains(self, address: IpAddr) -> bool {
        let (number, is_v6) = match address {
            IpAddr::V4(v4) => (u128::from(v4.to_bits()), false),
            IpAddr::V6(v6) => (v6.to_bits(), true),
        };
        self.is_v6 == is_v6 && self.base <= number && number <= self.end()
    }

    fn overlaps(self, other: Network) -> bool {
        self.is_v6 == other.is_v6 && self.base <= other.end() && other.base <= self.end()
    }
}

fn size_mask(host_bits: u8) -> u128 {
    if host_bits >= 128 { u128::MAX } else { (1 << host_bits) - 1 }
}

impl FromStr for Network {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bad = || format!("invalid CIDR address: {text}");
        let (address, prefix) = text.split_once('/').ok_or_else(bad)?;
        let (address, prefix): (IpAddr, u8) = (address.parse().map_err(|_| bad())?, prefix.parse().map_err(|_| bad())?);
        let (number, is_v6) = match address {
            IpAddr::V4(v4) => (u128::from(v4.to_bits()), false),
            IpAddr::V6(v6) => (v6.to_bits(), true),
        };
        if prefix > Self::width(is_v6) {
            return Err(bad());
        }
        Ok(Self { base: number & !size_mask(Self::width(is_v6) - prefix), prefix, is_v6 })
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let address = if self.is_v6 {
            IpAddr::from(self.base.to_be_bytes())
        } else {
            IpAddr::from(u32::try_from(self.base).unwrap_or(u32::MAX).to_be_bytes())
        };
        write!(f, "{address}/{}", self.prefix)
    }
}

/// One cluster range, cut into node ranges.
pub struct Pool {
    cluster: Network,
    node_prefix: u8,
    reserved: Vec<Network>,
}

impl Pool {
    /// Node ranges of `mask` bits (0 for 24 or 64); those overlapping `reserved` are never given out.
    pub fn new(cluster: Network, mask: u8, reserved: Vec<Network>) -> Result<Self, String> {
        let node_prefix = match (mask, cluster.is_v6) {
            (0, false) => 24,
            (0, true) => 64,
            (mask, _) => mask,
        };
        if node_prefix < cluster.prefix || node_prefix > Network::width(cluster.is_v6) {
            return Err(format!("--node-cidr-mask-size {node_prefix} does not fit --cluster-cidr {cluster}"));
        }
        if node_prefix - cluster.prefix > MAX_BITS {
            return Err(format!("the longest difference of --node-cidr-mask-size and --cluster-cidr is {MAX_BITS}"));
        }
        Ok(Self { cluster, node_prefix, reserved })
    }

    fn host_bits(&self) -> u32 {
        u32::from(Network::width(self.cluster.is_v6) - self.node_prefix)
    }

    fn count(&self) -> usize {
        1 << (self.node_prefix - self.cluster.prefix)
    }

    fn at(&self, index: usize) -> Network {
        let offset = (index as u128).checked_shl(self.host_bits()).unwrap_or(0);
        Network { base: self.cluster.base | offset, prefix: self.node_prefix, is_v6: self.cluster.is_v6 }
    }

    /// The node ranges that `network` touches.
    fn touched(&self, network: Network) -> Range<usize> {
        if !self.cluster.overlaps(network) {
            return 0..0;
        }
        let index = |address: u128| {
            let offset = address.clamp(self.cluster.base, self.cluster.end()) - self.cluster.base;
            usize::try_from(offset.checked_shr(self.host_bits()).unwrap_or(0)).unwrap_or(usize::MAX)
        };
        index(network.base)..index(network.end()) + 1
    }
}

/// Which node ranges of a pool are in use, and where to look for the next.
pub struct Slots {
    pool: Pool,
    /// How many networks touch each: a node's range may be of any size, or another node's too.
    used: Vec<u32>,
    next: usize,
}

impl Slots {
    pub fn new(pool: Pool) -> Self {
        let mut slots = Self { used: vec![0; pool.count()], next: 0, pool };
        for reserved in slots.pool.reserved.clone() {
            slots.occupy(reserved);
        }
        slots
    }

    pub fn occupy(&mut self, network: Network) {
        self.used[self.pool.touched(network)].iter_mut().for_each(|uses| *uses += 1);
    }

    /// Takes back what [`Slots::occupy`] did.
    pub fn release(&mut self, network: Network) {
        self.used[self.pool.touched(network)].iter_mut().for_each(|uses| *uses = uses.saturating_sub(1));
    }

    /// A free range, which then is in use. The search begins behind the one that was given last, as upstream's: a range
    /// that just became free is left alone for as long as there are others.
    pub fn give(&mut self) -> Option<Network> {
        let count = self.used.len();
        let index = (0..count).map(|step| (self.next + step) % count).find(|index| self.used[*index] == 0)?;
        self.next = (index + 1) % count;
        let network = self.pool.at(index);
        self.occupy(network);
        Some(network)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(text: &str) -> Network {
        text.parse().expect("a network")
    }

    fn slots(cluster: &str, mask: u8, reserved: &[&str], used: &[&str]) -> Slots {
        let reserved = reserved.iter().map(|text| network(text)).collect();
        let mut slots = Slots::new(Pool::new(network(cluster), mask, reserved).expect("fits"));
        used.iter().for_each(|text| slots.occupy(network(text)));
        slots
    }

    fn free(cluster: &str, mask: u8, reserved: &[&str], used: &[&str]) -> Option<String> {
        slots(cluster, mask, reserved, used).give().map(|n| n.to_string())
    }

    #[test]
    fn the_first_free_range_is_taken() {
        assert_eq!(free("10.244.0.0/16", 0, &[], &[]).as_deref(), Some("10.244.0.0/24"));
        assert_eq!(free("10.244.0.0/16", 0, &[], &["10.244.0.0/24"]).as_deref(), Some("10.244.1.0/24"));
        assert_eq!(free("10.0.0.0/8", 16, &["10.0.0.0/12"], &[]).as_deref(), Some("10.16.0.0/16"));
        assert_eq!(free("fd00::/56", 0, &[], &["fd00::/64"]).as_deref(), Some("fd00:0:0:1::/64"));
        assert_eq!(free("10.0.0.0/24", 25, &[], &["10.0.0.0/25", "10.0.0.128/25"]), None);
        // Ranges of other sizes and of elsewhere.
        assert_eq!(free("10.244.0.0/16", 0, &[], &["10.244.0.0/22", "10.9.0.0/16"]).as_deref(), Some("10.244.4.0/24"));
        assert_eq!(free("10.244.0.0/16", 0, &[], &["10.244.0.64/26"]).as_deref(), Some("10.244.1.0/24"));
        assert_eq!(free("10.244.0.0/16", 0, &[], &["10.0.0.0/8"]), None);
    }

    #[test]
    fn a_range_that_became_free_comes_last() {
        let mut slots = slots("10.0.0.0/24", 26, &[], &[]);
        let mut give = |back: Option<&str>| {
            if let Some(back) = back {
                slots.release(network(back));
            }
            slots.give().map(|n| n.to_string())
        };
        assert_eq!(give(None).as_deref(), Some("10.0.0.0/26"));
        assert_eq!(give(Some("10.0.0.0/26")).as_deref(), Some("10.0.0.64/26"));
        assert_eq!(give(None).as_deref(), Some("10.0.0.128/26"));
        assert_eq!(give(None).as_deref(), Some("10.0.0.192/26"));
        assert_eq!(give(None).as_deref(), Some("10.0.0.0/26"));
        assert_eq!(give(None), None);
    }

    #[test]
    fn nonsense_is_refused() {
        assert!("10.0.0.0/33".parse::<Network>().is_err());
        assert!(Pool::new(network("10.0.0.0/24"), 16, Vec::new()).is_err());
        assert!(Pool::new(network("10.0.0.0/8"), 30, Vec::new()).is_err());
        assert_eq!(network("10.1.2.3/16").to_string(), "10.1.0.0/16");
    }
}
