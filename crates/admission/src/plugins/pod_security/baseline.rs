//! The checks of the baseline level, by id.
use super::{
    APP_ARMOR_PREFIX, Policy,
    evaluate::{Check, Forbidden, Subject, containers, plural, quoted, set, setters},
};
use k8s_openapi::api::core::v1::{LifecycleHandler, SELinuxOptions};

/// Sorted by id; they are reported in this order.
pub(super) const CHECKS: &[(&str, Check)] = &[
    ("appArmorProfile", app_armor_profile),
    ("capabilities_baseline", capabilities),
    ("hostNamespaces", host_namespaces),
    ("hostPathVolumes", host_path_volumes),
    ("hostPorts", host_ports),
    ("hostProbesAndHostLifecycle", host_probes),
    ("privileged", privileged),
    ("procMount", proc_mount),
    ("seLinuxOptions", se_linux_options),
    ("seccompProfile_baseline", seccomp_profile),
    ("sysctls", sysctls),
    ("windowsHostProcess", windows_host_process),
];

const CAPABILITIES: [&str; 13] = [
    "AUDIT_WRITE",
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "MKNOD",
    "NET_BIND_SERVICE",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_CHROOT",
];

/// Safe sysctls and the minor version since which they are.
const SYSCTLS: [(&str, u32); 12] = [
    ("kernel.shm_rmid_forced", 0),
    ("net.ipv4.ip_local_port_range", 0),
    ("net.ipv4.ip_unprivileged_port_start", 0),
    ("net.ipv4.ping_group_range", 0),
    ("net.ipv4.tcp_syncookies", 0),
    ("net.ipv4.ip_local_reserved_ports", 27),
    ("net.ipv4.tcp_fin_timeout", 29),
    ("net.ipv4.tcp_keepalive_intvl", 29),
    ("net.ipv4.tcp_keepalive_probes", 29),
    ("net.ipv4.tcp_keepalive_time", 29),
    ("net.ipv4.tcp_rmem", 32),
    ("net.ipv4.tcp_wmem", 32),
];

fn app_armor_profile(_: &Policy, subject: &Subject<'_>) -> Option<Forbidden> {
    let bad_type = |kind: &str| !matches!(kind, "RuntimeDefault" | "Localhost");
    let mut values: Vec<String> = Vec::new();
    let of_pod = subject.spec.security_context.as_ref().and_then(|s| s.app_armor_profile.as_ref());
    let pod = of_pod.filter(|p| bad_type(&p.type_));
    values.extend(pod.map(|p| p.type_.clone()));
    let views = subject.containers();
    let mut names = Vec::new();
    for view in &views {
        let profile = view.security.and_then(|s| s.app_armor_profile.as_ref());
        if let Some(profile) = profile.filter(|p| bad_type(&p.type_)) {
            names.push(view.name);
            values.push(profile.type_.clone());
        }
    }
    let mut annotations = Vec::new();
    for (key, value) in subject.metadata.annotations.iter().flatten() {
        let good = value.is_empty() || value == "runtime/default" || value.starts_with("localhost/");
        if key.starts_with(APP_ARMOR_PREFIX) && !good {
            annotations.push(key.as_str());
            values.push(value.clone());
        }
    }
    let mut who = setters(pod.is_some(), &names);
    if !annotations.is_empty() {
        if !who.is_empty() {
            who.push_str(" and ");
        }
        who.push_str(&format!("{} {}", plural("annotation", "annotations", annotations.len()), quoted(&annotations)));
    }
    if who.is_empty() {
        return None;
    }
    let values = set(values);
    let reason = plural("forbidden AppArmor profile", "forbidden AppArmor profiles", values.len());
    Forbidden::new(reason, format!("{who} must not set AppArmor profile type to {}", quoted(&values)))
}

fn capabilities(_: &Policy, subject: &Subject<'_>) -> Option<Forbidden> {
    let (mut names, mut bad) = (Vec::new(), Vec::new());
    let views = subject.containers();
    for view in &views {
        let added = view.capabilities().and_then(|c| c.add.as_ref()).into_iter().flatten();
        let wrong: Vec<&str> = added.map(String::as_str).filter(|c| !CAPABILITIES.contains(c)).collect();
        if !wrong.is_empty() {
            names.push(view.name);
            bad.extend(wrong);
        }
    }
    if names.is_empty() {
        return None;
    }
    let detail =
        format!("{} must not include {} in securityContext.capabilities.add", containers(&names), quoted(&set(bad)));
    Forbidden::new("non-default capabilities", detail)
}

fn host_namespaces(_: &Policy, subject: &Subject<'_>) -> Option<Forbidden> {
    let spec = subject.spec;
    let set = [("hostNetwork", spec.host_network), ("hostPID", spec.host_pid), ("hostIPC", spec.host_ipc)];
    let list: Vec<String> =
        set.iter().filter(|(_, on)| *on == Some(true)).map(|(name, _)| format!("{name}=true")).collect();
    if list.is_empty() { None } else { Forbidden::new("host namespaces", list.join(", ")) }
}

fn host_path_volumes(_: &Policy, subject: &Subject<'_>) -> Option<Forbidden> {
    let volumes = subject.spec.volumes.iter().flatten();
    let names: Vec<&str> = volumes.filter(|v| v.host_path.is_some()).map(|v| v.name.as_str()).collect();
    if names.is_empty() {
        return None;
    }
    let detail = format!("{} {}", plural("volume", "volumes", names.len()), quoted(&names));
    Forbidden::new("hostPath volumes", detail)
}

fn host_ports(_: &Policy, subject: &Subject<'_>) -> Option<Forbidden> {
    let (mut names, mut ports) = (Vec::new(), Vec::new());
    let views = subject.containers();
    for view in views.iter().filter(|v| !v.host_ports.is_empty()) {
        names.push(view.name);
        ports.extend(view.host_ports.iter().map(ToString::to_string));
    }
    if names.is_empty() {
        return None;
    }
    let ports = set(ports);
    let what = plural("hostPort", "hostPorts", ports.len());
    let uses = plural("uses", "use", names.len());
    Forbidden::new(what, format!("{} {uses} {what} {}", containers(&names), ports.join(", ")))
}

fn host_probes(policy: &Policy, subject: &Subject<'_>) -> Option<Forbidden> {
    if !policy.since(34) {
        return None;
    }
    let set_host = |host: Option<&String>| host.filter(|h| !h.is_empty()).cloned();
    let of_handler = |h: &LifecycleHandler| {
        let http = set_host(h.http_get.as_ref().and_then(|g| g.host.as_ref()));
        http.into_iter().chain(set_host(h.tcp_socket.as_ref().and_then(|s| s.host.as_ref()))).collect::<Vec<_>>()
    };
    let (mut names, mut hosts) = (Vec::new(), Vec::new());
    let views = subject.containers();
    for view in &views {
        let mut bad: Vec<String> = Vec::new();
        for probe in view.probes.iter().flatten() {
            bad.extend(set_host(probe.http_get.as_ref().and_then(|g| g.host.as_ref())));
            bad.extend(set_host(probe.tcp_socket.as_ref().and_then(|s| s.host.as_ref())));
        }
        if let Some(lifecycle) = view.lifecycle {
            bad.extend([&lifecycle.post_start, &lifecycle.pre_stop].into_iter().flatten().flat_map(of_handler));
        }
        if !bad.is_empty() {
            names.push(view.name);
            hosts.extend(bad);
        }
    }
    if names.is_empty() {
        return None;
    }
    let (names, hosts) = (set(names), set(hosts));
    let uses = plural("uses", "use", names.len());
    let what = plural("probe or lifecycle host", "probe or lifecycle hosts", hosts.len());
    Forbidden::new("probe or lifecycle host", format!("{} {uses} {what} {}", containers(&names), quoted(&hosts)))
}

fn privileged(_: &Policy, subject: &Subject<'_>) -> Option<Forbidden> {
    let views = subject.containers();
    let bad = views.iter().filter(|v| v.security.is_some_and(|s| s.privileged == Some(true)));
    let names: Vec<&str> = bad.map(|v| v.name).collect();
    if names.is_empty() {
        return None;
    }
    Forbidden::new("privileged", format!("{} must not set securityContext.privileged=true", containers(&names)))
}

fn proc_mount(policy: &Policy, subject: &Subject<'_>) -> Option<Forbidden> {
    if policy.since(35) && subject.has_own_users() && policy.level == super::Level::Baseline {
        return None;
    }
    let (mut names, mut types) = (Vec::new(), Vec::new());
    let views = subject.containers();
    for view in &views {
        let value = view.security.and_then(|s| s.proc_mount.as_deref());
        if let Some(value) = value.filter(|v| *v != "Default") {
            names.push(view.name);
            types.push(value);
        }
    }
    if names.is_empty() {
        return None;
    }
    let types = quoted(&set(types));
    Forbidden::new("procMount", format!("{} must not set securityContext.procMount to {types}", containers(&names)))
}

fn se_linux_options(policy: &Policy, subject: &Subject<'_>) -> Option<Forbidden> {
    let (mut types, mut user, mut role) = (Vec::new(), false, false);
    let mut is_bad = |options: &SELinuxOptions| {
        let kind = options.type_.as_deref().unwrap_or_default();
        let known = match kind {
            "" | "container_t" | "container_init_t" | "container_kvm_t" => true,
            "container_engine_t" => policy.since(31),
            _ => false,
        };
        let filled = |text: &Option<String>| text.as_ref().is_some_and(|t| !t.is_empty());
        if !known {
            types.push(kind.to_owned());
        }
        user |= filled(&options.user);
        role |= filled(&options.role);
        !known || filled(&options.user) || filled(&options.role)
    };
    let of_pod = subject.spec.security_context.as_ref().and_then(|s| s.se_linux_options.as_ref());
    let pod = of_pod.is_some_and(&mut is_bad);
    let views = subject.containers();
    let mut names = Vec::new();
    for view in &views {
        if view.security.and_then(|s| s.se_linux_options.as_ref()).is_some_and(&mut is_bad) {
            names.push(view.name);
        }
    }
    if !pod && names.is_empty() {
        return None;
    }
    let types = set(types);
    let mut data = Vec::new();
    if !types.is_empty() {
        data.push(format!("{} {}", plural("type", "types", types.len()), quoted(&types)));
    }
    if user {
        data.push("user may not be set".into());
    }
    if role {
        data.push("role may not be set".into());
    }
    let who = setters(pod, &names);
    Forbidden::new("seLinuxOptions", format!("{who} set forbidden securityContext.seLinuxOptions: {}", data.join("; ")))
}

fn seccomp_profile(_: &Policy, subject: &Subject<'_>) -> Option<Forbidden> {
    explicit_seccomp(subject)
}

/// Profiles that no level allows; shared with the restricted check.
pub(super) fn explicit_seccomp(subject: &Subject<'_>) -> Option<Forbidden> {
    let bad = |kind: &str| !matches!(kind, "RuntimeDefault" | "Localhost");
    let mut values: Vec<&str> = Vec::new();
    let of_pod = subject.spec.security_context.as_ref().and_then(|s| s.seccomp_profile.as_ref());
    let pod = of_pod.filter(|p| bad(&p.type_));
    values.extend(pod.map(|p| p.type_.as_str()));
    let views = subject.containers();
    let mut names = Vec::new();
    for view in &views {
        let profile = view.security.and_then(|s| s.seccomp_profile.as_ref());
        if let Some(profile) = profile.filter(|p| bad(&p.type_)) {
            names.push(view.name);
            values.push(&profile.type_);
        }
    }
    if values.is_empty() {
        return None;
    }
    let who = setters(pod.is_some(), &names);
    let values = quoted(&set(values));
    Forbidden::new("seccompProfile", format!("{who} must not set securityContext.seccompProfile.type to {values}"))
}

fn sysctls(policy: &Policy, subject: &Subject<'_>) -> Option<Forbidden> {
    let all = subject.spec.security_context.as_ref().and_then(|s| s.sysctls.as_ref()).into_iter().flatten();
    let safe = |name: &str| SYSCTLS.iter().any(|(known, since)| *known == name && policy.since(*since));
    let bad: Vec<&str> = all.map(|s| s.name.as_str()).filter(|name| !safe(name)).collect();
    if bad.is_empty() { None } else { Forbidden::new("forbidden sysctls", bad.join(", ")) }
}

fn windows_host_process(_: &Policy, subject: &Subject<'_>) -> Option<Forbidden> {
    let of_pod = subject.spec.security_context.as_ref().and_then(|s| s.windows_options.as_ref());
    let pod = of_pod.is_some_and(|w| w.host_process == Some(true));
    let views = subject.containers();
    let bad = views.iter().filter(|v| {
        let options = v.security.and_then(|s| s.windows_options.as_ref());
        options.is_some_and(|w| w.host_process == Some(true))
    });
    let names: Vec<&str> = bad.map(|v| v.name).collect();
    if !pod && names.is_empty() {
        return None;
    }
    let who = setters(pod, &names);
    Forbidden::new("hostProcess", format!("{who} must not set securityContext.windowsOptions.hostProcess=true"))
}
