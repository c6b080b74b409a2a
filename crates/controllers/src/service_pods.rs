//! Which pods stand behind a service, and under which addresses and ports.
//!
//! Shared by the endpoints and endpointslice controllers. Source: "Services: selectors, named ports".
use crate::pods;
use client::{Cache, Key};
use k8s_openapi::{
    api::core::v1::{Container, ObjectReference, Pod, Service, ServicePort},
    apimachinery::pkg::util::intstr::IntOrString,
};
use std::sync::Arc;

/// Label of what belongs to a headless service.
pub const HEADLESS: &str = "service.kubernetes.io/headless";
/// Annotation with the time of the change that led to the endpoints, in RFC 3339.
pub const TRIGGER_TIME: &str = "endpoints.kubernetes.io/last-change-trigger-time";

/// Whether the service has no cluster IP.
pub fn is_headless(service: &Service) -> bool {
    service.spec.as_ref().and_then(|spec| spec.cluster_ip.as_deref()) == Some("None")
}

/// Whether we find its pods; services without a selector have endpoints of their own.
pub fn has_selector(service: &Service) -> bool {
    let selector = service.spec.as_ref().and_then(|spec| spec.selector.as_ref());
    selector.is_some_and(|selector| !selector.is_empty())
        && service.spec.as_ref().and_then(|spec| spec.type_.as_deref()) != Some("ExternalName")
}

fn selects(service: &Service, pod: &Pod) -> bool {
    let labels = pods::labels(&pod.metadata);
    let selector = service.spec.as_ref().and_then(|spec| spec.selector.as_ref());
    selector.is_some_and(|selector| selector.iter().all(|(key, value)| labels.get(key) == Some(value)))
}

/// The pods a service selects.
pub fn selected(service: &Service, pods: &Cache<Pod>) -> Vec<Arc<Pod>> {
    let namespace = service.metadata.namespace.as_deref().unwrap_or_default();
    pods.list_in(namespace).into_iter().filter(|pod| selects(service, pod)).collect()
}

/// Have the services looked at whose endpoints a changed pod is among, or was.
pub fn follow(
    services: &Cache<Service>,
) -> impl Fn(Option<&Pod>, Option<&Pod>, &mut dyn FnMut(Key)) + Send + Sync + 'static {
    let services = services.clone();
    move |old, new, add| {
        if let (Some(old), Some(new)) = (old, new)
            && !differs(old, new)
        {
            return;
        }
        let namespace = old.or(new).and_then(|pod| pod.metadata.namespace.clone()).unwrap_or_default();
        for service in services.list_in(&namespace) {
            if old.into_iter().chain(new).any(|pod| selects(&service, pod)) {
                add(Key::of(&*service));
            }
        }
    }
}

/// Whether a change of a pod can change endpoints: most status updates do not.
fn differs(old: &Pod, new: &Pod) -> bool {
    let ips = |pod: &Pod| pod.status.as_ref().map(|status| (status.pod_ip.clone(), status.pod_ips.clone()));
    old.metadata.labels != new.metadata.labels
        || old.metadata.uid != new.metadata.uid
        || old.metadata.deletion_timestamp.is_some() != new.metadata.deletion_timestamp.is_some()
        || pods::is_ready(old) != pods::is_ready(new)
        || pods::is_terminal(old) != pods::is_terminal(new)
        || pods::node(old) != pods::node(new)
        || ips(old) != ips(new)
}

/// Whether the pod can be an endpoint at all.
pub fn is_candidate(pod: &Pod, include_terminating: bool) -> bool {
    let has_address = pod.status.as_ref().and_then(|status| status.pod_ip.as_deref()).is_some_and(|ip| !ip.is_empty());
    has_address && !pods::is_terminal(pod) && (include_terminating || pod.metadata.deletion_timestamp.is_none())
}

/// The pod's addresses.
pub fn addresses(pod: &Pod) -> impl Iterator<Item = &str> {
    let status = pod.status.as_ref();
    let all = status.and_then(|status| status.pod_ips.as_ref()).into_iter().flatten().map(|ip| ip.ip.as_str());
    let first = status.and_then(|status| status.pod_ip.as_deref());
    let listed = status.and_then(|status| status.pod_ips.as_ref()).is_some_and(|ips| !ips.is_empty());
    all.chain(first.filter(|_| !listed)).filter(|ip| !ip.is_empty())
}

/// The pod's name in the service's DNS domain, if it has one.
pub fn hostname(pod: &Pod, service: &Service) -> Option<String> {
    let spec = pod.spec.as_ref()?;
    let subdomain = spec.subdomain.as_deref().filter(|subdomain| !subdomain.is_empty())?;
    (Some(subdomain) == service.metadata.name.as_deref())
        .then(|| spec.hostname.clone())?
        .filter(|name| !name.is_empty())
}

/// Which object an address stands for.
pub fn target(pod: &Pod) -> ObjectReference {
    ObjectReference {
        kind: Some("Pod".to_owned()),
        namespace: pod.metadata.namespace.clone(),
        name: pod.metadata.name.clone(),
        uid: pod.metadata.uid.clone(),
        ..Default::default()
    }
}

/// The port of the pod that a service's port stands for; `None` if it names one the pod does not have.
pub fn port(pod: &Pod, port: &ServicePort) -> Option<i32> {
    let protocol = port.protocol.as_deref().unwrap_or("TCP");
    match &port.target_port {
        None => Some(port.port),
        Some(IntOrString::Int(0)) => Some(port.port),
        Some(IntOrString::Int(number)) => Some(*number),
        Some(IntOrString::String(name)) => {
            let spec = pod.spec.as_ref()?;
            let sidecar = |container: &&Container| container.restart_policy.as_deref() == Some("Always");
            let sidecars = spec.init_containers.iter().flatten().filter(sidecar);
            let ports = spec.containers.iter().chain(sidecars).flat_map(|container| container.ports.iter().flatten());
            let same = |p: &&k8s_openapi::api::core::v1::ContainerPort| {
                p.name.as_ref() == Some(name) && p.protocol.as_deref().unwrap_or("TCP") == protocol
            };
            ports.into_iter().find(same).map(|port| port.container_port)
        }
    }
}

/// When the newest of what led to the endpoints happened: the service's creation or a pod's readiness.
pub fn trigger_time(service: &Service, pods: &[Arc<Pod>]) -> Option<String> {
    let ready = pods.iter().filter_map(|pod| {
        pods::condition(pod, "Ready").and_then(|ready| ready.last_transition_time.as_ref()).map(|time| time.0)
    });
    let newest = ready.chain(service.metadata.creation_timestamp.as_ref().map(|time| time.0)).max()?;
    Some(apimachinery::time::rfc3339(newest))
}
