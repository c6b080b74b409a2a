//! Kernel settings the proxy depends on. Raised or switched on, never lowered or switched off: other clusters and
//! other programs may depend on them too.
use crate::config::Conntrack;
use std::path::Path;

/// Is a translated answer between two pods of one bridge seen by our rules? Tries to make it so.
pub fn bridge_netfilter() -> bool {
    let path = Path::new("/proc/sys/net/bridge/bridge-nf-call-iptables");
    if !path.exists() {
        let _ = std::process::Command::new("modprobe").arg("br_netfilter").output();
    }
    for name in ["bridge-nf-call-iptables", "bridge-nf-call-ip6tables"] {
        let _ = std::fs::write(path.with_file_name(name), "1");
    }
    std::fs::read_to_string(path).is_ok_and(|value| value.trim() == "1")
}

/// Packets to pods are forwarded.
pub fn forwarding() {
    let path = "/proc/sys/net/ipv4/ip_forward";
    if std::fs::read_to_string(path).is_ok_and(|value| value.trim() == "1") {
        return;
    }
    if let Err(error) = std::fs::write(path, "1") {
        tracing::warn!(%error, "{path} is off and cannot be switched on: pods on other nodes will not be reached");
    }
}

/// Does this kernel speak IPv6?
pub fn ipv6() -> bool {
    Path::new("/proc/net/if_inet6").exists()
}

fn raise(name: &str, wanted: u64) {
    let path = format!("/proc/sys/net/netfilter/{name}");
    let now: Option<u64> = std::fs::read_to_string(&path).ok().and_then(|value| value.trim().parse().ok());
    if now.is_some_and(|now| now < wanted)
        && let Err(error) = std::fs::write(&path, wanted.to_string())
    {
        tracing::warn!(%error, wanted, "{name} could not be raised");
    }
}

/// The connection table is large enough, by the rules of `conntrack` in the configuration.
pub fn conntrack(settings: &Conntrack) {
    let per_core = u64::from(settings.max_per_core());
    if per_core > 0 {
        let cores = std::thread::available_parallelism().map_or(1, |n| n.get() as u64);
        raise("nf_conntrack_max", (per_core * cores).max(u64::from(settings.min())));
    }
    for (name, timeout) in settings.timeouts() {
        let path = format!("/proc/sys/net/netfilter/{name}");
        if let Err(error) = std::fs::write(&path, timeout.as_secs().to_string()) {
            tracing::warn!(%error, "{name} could not be set");
        }
    }
}
