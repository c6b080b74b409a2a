//! Values of flags that are no plain text or number.
use std::{str::FromStr, time::Duration};

/// A duration in Go's notation: `1h0m0s`, `300ms`, `0`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GoDuration(pub Duration);

impl FromStr for GoDuration {
    type Err = String;

    fn from_str(s: &str) -> Result<Self, String> {
        let bad = || format!("time: invalid duration {s:?}");
        if s == "0" {
            return Ok(GoDuration(Duration::ZERO));
        }
        let mut rest = s;
        let mut total = 0f64;
        if rest.is_empty() {
            return Err(bad());
        }
        while !rest.is_empty() {
            let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(bad)?;
            let (number, tail) = rest.split_at(digits);
            let number: f64 = number.parse().map_err(|_| bad())?;
            let unit_length = tail.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(tail.len());
            let (unit, tail) = tail.split_at(unit_length);
            total += number
                * match unit {
                    "h" => 3600.0,
                    "m" => 60.0,
                    "s" => 1.0,
                    "ms" => 1e-3,
                    "us" | "µs" => 1e-6,
                    "ns" => 1e-9,
                    _ => return Err(bad()),
                };
            rest = tail;
        }
        Duration::try_from_secs_f64(total).map(GoDuration).map_err(|_| bad())
    }
}

/// An inclusive range of ports: `30000-32767`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortRange {
    pub first: u16,
    pub last: u16,
}

impl PortRange {
    pub fn contains(self, port: i32) -> bool {
        (i32::from(self.first)..=i32::from(self.last)).contains(&port)
    }
}

impl std::fmt::Display for PortRange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}-{}", self.first, self.last)
    }
}

impl FromStr for PortRange {
    type Err = String;

    fn from_str(s: &str) -> Result<Self, String> {
        let bad = || format!("{s:?} is not a valid port range: want \"first-last\" or \"first+size\"");
        let (first, last) = if let Some((first, last)) = s.split_once('-') {
            (first.trim().parse::<u16>().map_err(|_| bad())?, last.trim().parse::<u16>().map_err(|_| bad())?)
        } else if let Some((first, size)) = s.split_once('+') {
            let first = first.trim().parse::<u16>().map_err(|_| bad())?;
            (first, first.checked_add(size.trim().parse::<u16>().map_err(|_| bad())?).ok_or_else(bad)?)
        } else {
            return Err(bad());
        };
        if first == 0 || last < first { Err(bad()) } else { Ok(PortRange { first, last }) }
    }
}

/// A probability from 0 to 0.02.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GoawayChance(pub f64);

impl FromStr for GoawayChance {
    type Err = String;

    fn from_str(s: &str) -> Result<Self, String> {
        let chance: f64 = s.parse().map_err(|_| format!("strconv.ParseFloat: parsing {s:?}: invalid syntax"))?;
        match (0.0..=0.02).contains(&chance) {
            true => Ok(GoawayChance(chance)),
            false => Err("--goaway-chance can not be less than 0 or greater than 0.02".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_go_durations() {
        let cases = [("1h0m0s", 3_600_000), ("300ms", 300), ("5m", 300_000), ("0", 0), ("1.5s", 1500)];
        for (text, want_ms) in cases {
            assert_eq!(text.parse::<GoDuration>(), Ok(GoDuration(Duration::from_millis(want_ms))), "{text}");
        }
        for bad in ["", "5", "5x", "m", "-3s", "1e400h"] {
            assert!(bad.parse::<GoDuration>().is_err(), "{bad}");
        }
    }

    #[test]
    fn port_ranges() {
        assert_eq!("30000-32767".parse(), Ok(PortRange { first: 30000, last: 32767 }));
        assert_eq!("30000+10".parse(), Ok(PortRange { first: 30000, last: 30010 }));
        for bad in ["", "0-5", "9-8", "1-99999", "a-b"] {
            assert!(bad.parse::<PortRange>().is_err(), "{bad}");
        }
    }

    #[test]
    fn chances() {
        for (text, want) in [("0", 0.0), ("0.02", 0.02), (".001", 0.001)] {
            assert_eq!(text.parse(), Ok(GoawayChance(want)));
        }
        for bad in ["-0.1", "0.021", "1", "x", "NaN"] {
            assert!(bad.parse::<GoawayChance>().is_err(), "{bad}");
        }
    }
}
