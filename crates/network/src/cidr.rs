//! IPv4 address ranges.
use crate::Error;
use std::{fmt, net::Ipv4Addr, str::FromStr};

/// A network address and the length of its prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cidr {
    pub network: Ipv4Addr,
    pub prefix: u8,
}

impl Cidr {
    /// The `n`th address of the range.
    pub fn host(&self, n: u32) -> Ipv4Addr {
        Ipv4Addr::from(u32::from(self.network).wrapping_add(n))
    }

    fn mask(&self) -> u32 {
        u32::MAX.checked_shl(32 - u32::from(self.prefix)).unwrap_or(0)
    }

    pub fn contains(&self, address: Ipv4Addr) -> bool {
        u32::from(address) & self.mask() == u32::from(self.network)
    }

    pub fn overlaps(&self, other: &Cidr) -> bool {
        self.contains(other.network) || other.contains(self.network)
    }

    /// The range of the same size that follows; `None` at the end of the address space.
    pub fn next(&self) -> Option<Cidr> {
        let size = 1_u32.checked_shl(32 - u32::from(self.prefix))?;
        Some(Cidr { network: u32::from(self.network).checked_add(size)?.into(), prefix: self.prefix })
    }
}

impl FromStr for Cidr {
    type Err = Error;

    /// Host bits are cleared.
    fn from_str(text: &str) -> Result<Self, Error> {
        let refused = || Error::Cidr(text.to_owned());
        let (address, prefix) = text.split_once('/').ok_or_else(refused)?;
        let prefix: u8 = prefix.parse().map_err(|_| refused())?;
        let address: Ipv4Addr = address.parse().map_err(|_| refused())?;
        if prefix > 32 {
            return Err(refused());
        }
        let mut out = Cidr { network: address, prefix };
        out.network = (u32::from(address) & out.mask()).into();
        Ok(out)
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.network, self.prefix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges() {
        let pods: Cidr = "10.244.3.7/16".parse().expect("a CIDR");
        assert_eq!(pods.to_string(), "10.244.0.0/16");
        assert_eq!(pods.host(1).to_string(), "10.244.0.1");
        assert_eq!(pods.next().expect("a next one").to_string(), "10.245.0.0/16");
        assert!(pods.overlaps(&"10.0.0.0/8".parse().expect("a CIDR")));
        assert!(!pods.overlaps(&"10.245.0.0/24".parse().expect("a CIDR")));
        for bad in ["", "10.0.0.0", "10.0.0.0/33", "a/8", "fd00::/8"] {
            assert!(bad.parse::<Cidr>().is_err(), "{bad}");
        }
    }
}
