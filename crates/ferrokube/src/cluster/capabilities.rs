//! What this process may do, and so at most what containers started on its behalf can be given.
//!
//! Source: capabilities(7); containerd, `oci.defaultUnixCaps`.

/// Mounts and namespaces need it.
pub const SYS_ADMIN: u32 = 21;
/// Without it `oom_score_adj` cannot be lowered.
pub const SYS_RESOURCE: u32 = 24;

/// What containerd gives every container, by name and number.
const DEFAULTS: [(&str, u32); 14] = [
    ("CAP_CHOWN", 0),
    ("CAP_DAC_OVERRIDE", 1),
    ("CAP_FOWNER", 3),
    ("CAP_FSETID", 4),
    ("CAP_KILL", 5),
    ("CAP_SETGID", 6),
    ("CAP_SETUID", 7),
    ("CAP_SETPCAP", 8),
    ("CAP_NET_BIND_SERVICE", 10),
    ("CAP_NET_RAW", 13),
    ("CAP_SYS_CHROOT", 18),
    ("CAP_MKNOD", 27),
    ("CAP_AUDIT_WRITE", 29),
    ("CAP_SETFCAP", 31),
];

/// A set of capabilities, one bit each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Set(u64);

/// What we have, and may pass on.
pub fn ours() -> Set {
    parse(&std::fs::read_to_string("/proc/self/status").unwrap_or_default())
}

fn parse(status: &str) -> Set {
    let mask = |name: &str| {
        let hex = status.lines().find_map(|line| line.strip_prefix(name))?;
        u64::from_str_radix(hex.trim(), 16).ok()
    };
    // Unreadable: nothing is restricted, and whatever cannot be done says so itself.
    Set(mask("CapEff:").unwrap_or(u64::MAX) & mask("CapBnd:").unwrap_or(u64::MAX))
}

impl Set {
    pub fn has(self, capability: u32) -> bool {
        self.0 >> capability & 1 == 1
    }

    /// What containers get unless they ask for less, and we cannot give them: runc then refuses every one.
    pub fn missing_defaults(self) -> Vec<&'static str> {
        DEFAULTS.iter().filter(|(_, number)| !self.has(*number)).map(|(name, _)| *name).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_effective_and_not_bounded_away_counts() {
        let status = "Name:\tx\nCapEff:\t000001fffeffffff\nCapBnd:\t000001ffdeffffff\n";
        let set = parse(status);
        assert!(!set.has(SYS_RESOURCE) && !set.has(29) && set.has(27));
        assert_eq!(set.missing_defaults(), ["CAP_AUDIT_WRITE"]);
        assert!(parse("").missing_defaults().is_empty(), "unreadable: nothing is said to be missing");
    }
}
