//! What events say of a pod whose resources change: the resources of each container, as JSON.
//!
//! Source: `pkg/kubelet/events/event_messages.go`.
use k8s_openapi::api::core::v1::{Container, Pod, ResourceRequirements};
use serde::Serialize;

use super::resize::Pending;
use crate::spec;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Summary<'a> {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    init_containers: Vec<Allocated<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    containers: Vec<Allocated<'a>>,
    generation: i64,
    #[serde(skip_serializing_if = "str::is_empty")]
    error: &'a str,
}

#[derive(Serialize)]
struct Allocated<'a> {
    name: &'a str,
    resources: ResourceRequirements,
}

/// The pod's spec of that generation was allocated, and is carried out from now on.
pub fn started(pod: &Pod, generation: i64) -> String {
    message("Pod resize started", pod, generation, "")
}

/// All running containers have what the spec of that generation allocates to them.
pub fn completed(pod: &Pod, generation: i64) -> String {
    message("Pod resize completed", pod, generation, "")
}

/// The runtime or the system refused.
pub fn failed(pod: &Pod, generation: i64, error: &str) -> String {
    message("Pod resize error", pod, generation, error)
}

/// The node does not have what the pod asks for.
pub fn pending(pod: &Pod, generation: i64, pending: &Pending) -> String {
    message(&format!("Pod resize {}", pending.reason()), pod, generation, &pending.message)
}

fn message(what: &str, pod: &Pod, generation: i64, error: &str) -> String {
    let summary = Summary {
        init_containers: spec::init_containers(pod).iter().map(allocated).collect(),
        containers: spec::spec(pod).containers.iter().map(allocated).collect(),
        generation,
        error,
    };
    // Names and quantities always serialise.
    format!("{what}: {}", serde_json::to_string(&summary).unwrap_or_default())
}

fn allocated(container: &Container) -> Allocated<'_> {
    Allocated { name: &container.name, resources: container.resources.clone().unwrap_or_default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_show_what_every_container_has() {
        let yaml = "spec: {initContainers: [{name: i}], containers: [{name: c, resources: {limits: {cpu: 200m}, requests: {cpu: 100m}}}]}";
        let value = apimachinery::codec::yaml::parse(yaml).expect("yaml");
        let pod: Pod = serde_json::from_value(value).expect("a pod");
        let all = r#""initContainers":[{"name":"i","resources":{}}],"containers":[{"name":"c","resources":{"limits":{"cpu":"200m"},"requests":{"cpu":"100m"}}}],"generation":2"#;
        assert_eq!(started(&pod, 2), format!("Pod resize started: {{{all}}}"));
        assert_eq!(completed(&pod, 2), format!("Pod resize completed: {{{all}}}"));
        assert_eq!(failed(&pod, 2, "no"), format!("Pod resize error: {{{all},\"error\":\"no\"}}"));
        let wait = Pending { infeasible: false, message: "later".into() };
        assert_eq!(pending(&pod, 2, &wait), format!("Pod resize Deferred: {{{all},\"error\":\"later\"}}"));
    }
}
