//! Runs the checks of a level and words what they find.
use super::{Level, Policy, baseline, restricted};
use k8s_openapi::{
    api::core::v1::{Capabilities, Container, EphemeralContainer, Lifecycle, PodSpec, Probe, SecurityContext},
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use std::fmt;

/// What is checked: a pod, or a workload's template.
#[derive(Clone, Copy)]
pub struct Subject<'a> {
    pub metadata: &'a ObjectMeta,
    pub spec: &'a PodSpec,
}

/// One thing the level forbids.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Forbidden {
    pub reason: String,
    /// May be empty.
    pub detail: String,
}

impl Forbidden {
    pub(super) fn new(reason: impl Into<String>, detail: impl Into<String>) -> Option<Self> {
        Some(Forbidden { reason: reason.into(), detail: detail.into() })
    }
}

impl fmt::Display for Forbidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.detail.is_empty() { f.write_str(&self.reason) } else { write!(f, "{} ({})", self.reason, self.detail) }
    }
}

/// A check: what it forbids, if anything.
pub(super) type Check = fn(&Policy, &Subject<'_>) -> Option<Forbidden>;

/// What `policy` forbids of `subject`, in the order of the checks; empty means allowed.
pub fn evaluate(policy: &Policy, subject: &Subject<'_>) -> Vec<Forbidden> {
    match policy.level {
        Level::Privileged => Vec::new(),
        Level::Baseline => baseline::CHECKS.iter().filter_map(|(_, check)| check(policy, subject)).collect(),
        Level::Restricted => {
            let kept = baseline::CHECKS.iter().filter(|(id, _)| !restricted::is_replaced(policy, id));
            kept.chain(restricted::CHECKS).filter_map(|(_, check)| check(policy, subject)).collect()
        }
    }
}

/// What checks look at in containers of all three sorts.
pub(super) struct View<'a> {
    pub name: &'a str,
    pub security: Option<&'a SecurityContext>,
    pub host_ports: Vec<i32>,
    pub probes: [Option<&'a Probe>; 3],
    pub lifecycle: Option<&'a Lifecycle>,
}

impl View<'_> {
    pub fn capabilities(&self) -> Option<&Capabilities> {
        self.security.and_then(|s| s.capabilities.as_ref())
    }
}

macro_rules! view {
    ($kind:ty) => {
        impl<'a> From<&'a $kind> for View<'a> {
            fn from(c: &'a $kind) -> Self {
                let ports = c.ports.iter().flatten().filter_map(|p| p.host_port).filter(|p| *p != 0);
                View {
                    name: &c.name,
                    security: c.security_context.as_ref(),
                    host_ports: ports.collect(),
                    probes: [c.liveness_probe.as_ref(), c.readiness_probe.as_ref(), c.startup_probe.as_ref()],
                    lifecycle: c.lifecycle.as_ref(),
                }
            }
        }
    };
}
view!(Container);
view!(EphemeralContainer);

impl<'a> Subject<'a> {
    /// Init containers first, then containers, then ephemeral ones, as upstream visits them.
    pub(super) fn containers(&self) -> Vec<View<'a>> {
        let spec = self.spec;
        let plain = spec.init_containers.iter().flatten().chain(&spec.containers).map(View::from);
        plain.chain(spec.ephemeral_containers.iter().flatten().map(View::from)).collect()
    }

    pub(super) fn is_windows(&self) -> bool {
        self.spec.os.as_ref().is_some_and(|os| os.name == "windows")
    }

    /// Pods in a user namespace of their own.
    pub(super) fn has_own_users(&self) -> bool {
        self.spec.host_users == Some(false)
    }
}

/// `"a", "b"`
pub(super) fn quoted<S: AsRef<str>>(items: &[S]) -> String {
    let items: Vec<String> = items.iter().map(|i| format!("\"{}\"", i.as_ref())).collect();
    items.join(", ")
}

pub(super) fn plural<'a>(one: &'a str, many: &'a str, count: usize) -> &'a str {
    if count == 1 { one } else { many }
}

/// `container "a"`, `containers "a", "b"`
pub(super) fn containers<S: AsRef<str>>(names: &[S]) -> String {
    format!("{} {}", plural("container", "containers", names.len()), quoted(names))
}

/// Sorted, each once.
pub(super) fn set<S: Ord>(mut items: Vec<S>) -> Vec<S> {
    items.sort();
    items.dedup();
    items
}

/// `pod and container "a"`: who sets something wrong.
pub(super) fn setters(pod: bool, names: &[&str]) -> String {
    let mut all = Vec::new();
    if pod {
        all.push("pod".to_owned());
    }
    if !names.is_empty() {
        all.push(containers(names));
    }
    all.join(" and ")
}
