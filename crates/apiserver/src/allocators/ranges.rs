//! Address ranges of services: parsing, membership, and choosing a free address.
//!
//! As upstream, the lowest part of a range is used only when the rest is full, so that addresses chosen
//! by hand there rarely collide (KEP-3070).
use apimachinery::validation;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Bits of an IPv6 range that are used at most, as upstream bounds it.
const MAX_HOST_BITS: u32 = 20;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AddressRange {
    network: u128,
    host_bits: u32,
    v6: bool,
    prefix: u8,
}

impl std::fmt::Display for AddressRange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.address(0), self.prefix)
    }
}

impl AddressRange {
    /// # Errors
    /// A text saying what is wrong with the CIDR.
    pub fn parse(cidr: &str) -> Result<Self, String> {
        let (address, prefix) =
            validation::parse_cidr(cidr.trim()).ok_or_else(|| format!("invalid CIDR address: {cidr}"))?;
        let (bits, value, v6) = match address {
            IpAddr::V4(a) => (32, u128::from(u32::from(a)), false),
            IpAddr::V6(a) => (128, u128::from(a), true),
        };
        let host_bits = bits - u32::from(prefix);
        if host_bits < 3 {
            return Err(format!("the service cluster IP range {cidr} is too small, at least 8 addresses are needed"));
        }
        if !v6 && host_bits > 24 {
            return Err(format!("the service cluster IP range {cidr} is too large, at most /8"));
        }
        let network = if host_bits >= 128 { 0 } else { value >> host_bits << host_bits };
        Ok(AddressRange { network, host_bits, v6, prefix })
    }

    pub fn is_v6(&self) -> bool {
        self.v6
    }

    /// `IPv4` or `IPv6`.
    pub fn family(&self) -> &'static str {
        if self.v6 { "IPv6" } else { "IPv4" }
    }

    /// The address at an offset from the network's own.
    pub fn address(&self, offset: u128) -> IpAddr {
        let value = self.network.wrapping_add(offset);
        if self.v6 { IpAddr::V6(Ipv6Addr::from(value)) } else { IpAddr::V4(Ipv4Addr::from(value as u32)) }
    }

    fn offset(&self, address: IpAddr) -> Option<u128> {
        let value = match address {
            IpAddr::V4(a) if !self.v6 => u128::from(u32::from(a)),
            IpAddr::V6(a) if self.v6 => u128::from(a),
            _ => return None,
        };
        let offset = value.checked_sub(self.network)?;
        (offset < 1u128 << self.host_bits.min(127)).then_some(offset)
    }

    /// Usable for a service: inside, and neither the network's own nor the broadcast address.
    pub fn contains(&self, address: IpAddr) -> bool {
        let last = if self.v6 { u128::MAX } else { (1u128 << self.host_bits) - 1 };
        self.offset(address).is_some_and(|o| o != 0 && o != last)
    }

    /// A free address: random in the upper part, then anywhere.
    pub fn choose(&self, random: u64, taken: impl Fn(IpAddr) -> bool) -> Option<IpAddr> {
        let size = 1u64 << self.host_bits.min(MAX_HOST_BITS);
        // The first and, for IPv4, the last address are not usable.
        let end = if self.v6 { size } else { size - 1 };
        let static_part = (size / 16).clamp(16, 256).min(size / 2);
        let free = |offset: u64| {
            let address = self.address(u128::from(offset));
            (!taken(address)).then_some(address)
        };
        let upper = end - static_part;
        let upper = (0..upper).map(|i| static_part + (random.wrapping_add(i)) % upper);
        let lower = (1..static_part).rev();
        upper.chain(lower).find_map(free)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn a_range_gives_each_usable_address_once() {
        let range = AddressRange::parse("10.0.0.0/28").expect("a range");
        let mut taken = HashSet::new();
        while let Some(address) = range.choose(7, |a| taken.contains(&a)) {
            assert!(range.contains(address) && taken.insert(address), "{address}");
        }
        assert_eq!(taken.len(), 14);
        assert!(!range.contains("10.0.0.0".parse().expect("ip")));
        assert!(!range.contains("10.0.0.15".parse().expect("ip")));
        assert!(!range.contains("10.0.0.16".parse().expect("ip")));
        assert_eq!(range.to_string(), "10.0.0.0/28");
    }

    #[test]
    fn wrong_ranges() {
        for bad in ["", "10.0.0.0", "10.0.0.0/31", "10.0.0.0/4", "x/8"] {
            assert!(AddressRange::parse(bad).is_err(), "{bad}");
        }
        assert!(AddressRange::parse("fd00::/108").is_ok());
    }
}
