//! Which kernel parameters a pod may set: the safe ones, and those the node's administrator allows. Pure.
use k8s_openapi::api::core::v1::Pod;

use crate::spec;

/// Namespaced, and without effect on other pods (documentation: Using sysctls in a Kubernetes Cluster).
const SAFE: [&str; 12] = [
    "kernel.shm_rmid_forced",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.ip_unprivileged_port_start",
    "net.ipv4.ping_group_range",
    "net.ipv4.tcp_fin_timeout",
    "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes",
    "net.ipv4.tcp_keepalive_time",
    "net.ipv4.tcp_rmem",
    "net.ipv4.tcp_syncookies",
    "net.ipv4.tcp_wmem",
];

/// Why a pod may not run, if one of its sysctls is not for it to set. `more` are names, or prefixes ending in `*`.
pub fn forbidden(pod: &Pod, more: &[String]) -> Option<String> {
    let sysctls = spec::spec(pod).security_context.as_ref()?.sysctls.as_deref()?;
    sysctls.iter().find_map(|sysctl| {
        let name = normalized(&sysctl.name);
        refusal(pod, &name, more).map(|why| format!("forbidden sysctl: \"{name}\" {why}"))
    })
}

fn refusal(pod: &Pod, name: &str, more: &[String]) -> Option<&'static str> {
    let allowed = |pattern: &String| {
        let pattern = normalized(pattern);
        pattern.strip_suffix('*').map_or(pattern == name, |prefix| name.starts_with(prefix))
    };
    if !SAFE.contains(&name) && !more.iter().any(allowed) {
        return Some("not allowlisted");
    }
    if name.starts_with("net.") && spec::host_network(pod) {
        return Some("not allowed with host net enabled");
    }
    let of_ipc = name.starts_with("kernel.") || name.starts_with("fs.mqueue.");
    (of_ipc && spec::spec(pod).host_ipc == Some(true)).then_some("not allowed with host ipc enabled")
}

/// `net/ipv4/conf/eth0.1/x` is the same as `net.ipv4.conf.eth0/1.x`: the first separator says which form it is.
pub fn normalized(name: &str) -> String {
    match name.find(['.', '/']).map(|at| &name[at..=at]) {
        Some("/") => name
            .chars()
            .map(|c| {
                if c == '/' {
                    '.'
                } else if c == '.' {
                    '/'
                } else {
                    c
                }
            })
            .collect(),
        _ => name.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_safe_or_allowed() {
        for (spec, more, want) in [
            ("{securityContext: {sysctls: [{name: net.ipv4.tcp_syncookies, value: '1'}]}}", "", None),
            ("{securityContext: {sysctls: [{name: net/ipv4/tcp_syncookies, value: '1'}]}}", "", None),
            (
                "{securityContext: {sysctls: [{name: kernel.msgmax, value: '1'}]}}",
                "",
                Some("forbidden sysctl: \"kernel.msgmax\" not allowlisted"),
            ),
            ("{securityContext: {sysctls: [{name: kernel.msgmax, value: '1'}]}}", "kernel.msg*", None),
            (
                "{hostNetwork: true, securityContext: {sysctls: [{name: net.ipv4.tcp_rmem, value: '1'}]}}",
                "",
                Some("forbidden sysctl: \"net.ipv4.tcp_rmem\" not allowed with host net enabled"),
            ),
            (
                "{hostIPC: true, securityContext: {sysctls: [{name: kernel.shm_rmid_forced, value: '1'}]}}",
                "",
                Some("forbidden sysctl: \"kernel.shm_rmid_forced\" not allowed with host ipc enabled"),
            ),
        ] {
            let value = apimachinery::codec::yaml::parse(&format!("spec: {spec}")).expect("yaml");
            let pod: Pod = serde_json::from_value(value).expect("a pod");
            let more: Vec<String> = more.split(',').filter(|m| !m.is_empty()).map(str::to_owned).collect();
            assert_eq!(forbidden(&pod, &more).as_deref(), want, "{spec}");
        }
    }
}
