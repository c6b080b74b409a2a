//! `LimitRanger`: fills in and enforces a namespace's default, smallest and largest amounts.
//!
//! Source: "Limit Ranges"; texts as upstream's.
use crate::{Config, Operation, Plugin, Request, pod_resources as amounts};
use amounts::Amounts;
use apimachinery::{ApiError, quantity::Quantity};
use async_trait::async_trait;
use k8s_openapi::api::core::v1::{
    Container, LimitRange, LimitRangeItem, PersistentVolumeClaim, Pod, ResourceRequirements,
};
use std::sync::Arc;
use storage::Lookup;

const ANNOTATION: &str = "kubernetes.io/limit-ranger";

pub(crate) struct LimitRanger {
    lookup: Arc<dyn Lookup>,
}

impl LimitRanger {
    pub fn new(config: &Config) -> Self {
        LimitRanger { lookup: Arc::clone(&config.lookup) }
    }

    fn items(&self, namespace: &str) -> Vec<LimitRangeItem> {
        let ranges: Vec<LimitRange> = crate::lookup::list(&*self.lookup, "limitranges", Some(namespace));
        ranges.into_iter().filter_map(|r| r.spec).flat_map(|s| s.limits).collect()
    }
}

/// Fills what the container leaves open; what was set is noted as `cpu, memory request for container c`.
fn fill(container: &mut Container, what: &str, item: &LimitRangeItem, notes: &mut Vec<String>) {
    let resources = container.resources.get_or_insert_default();
    let ResourceRequirements { requests, limits, .. } = resources;
    for (defaults, into, kind) in [(&item.default_request, requests, "request"), (&item.default, limits, "limit")] {
        let mut set: Vec<&str> = Vec::new();
        for (name, amount) in defaults.iter().flatten() {
            let all = into.get_or_insert_default();
            if !all.contains_key(name) {
                all.insert(name.clone(), amount.clone());
                set.push(name);
            }
        }
        if !set.is_empty() {
            notes.push(format!("{} {kind} for {what} {}", set.join(", "), container.name));
        }
    }
}

fn fill_pod(pod: &mut Pod, items: &[LimitRangeItem]) {
    let mut notes = Vec::new();
    let Some(spec) = &mut pod.spec else { return };
    for item in items.iter().filter(|i| i.type_ == "Container") {
        for container in &mut spec.containers {
            fill(container, "container", item, &mut notes);
        }
        for container in spec.init_containers.iter_mut().flatten() {
            fill(container, "init container", item, &mut notes);
        }
    }
    if !notes.is_empty() {
        let note = format!("LimitRanger plugin set: {}", notes.join("; "));
        pod.metadata.annotations.get_or_insert_default().insert(ANNOTATION.into(), note);
    }
}

/// The subject of a check: `cpu usage per Container`.
struct Of<'a> {
    requests: &'a Amounts,
    limits: &'a Amounts,
    kind: &'a str,
}

impl Of<'_> {
    fn min(&self, name: &str, bound: Quantity, errors: &mut Vec<String>) {
        let (request, limit) = (self.requests.get(name), self.limits.get(name));
        let said = format!("minimum {name} usage per {} is {bound}", self.kind);
        match (request, limit) {
            (None, _) => errors.push(format!("{said}.  No request is specified")),
            (Some(r), _) if *r < bound => errors.push(format!("{said}, but request is {r}")),
            (_, Some(l)) if *l < bound => errors.push(format!("{said}, but limit is {l}")),
            _ => {}
        }
    }

    fn max(&self, name: &str, bound: Quantity, errors: &mut Vec<String>) {
        let (request, limit) = (self.requests.get(name), self.limits.get(name));
        let said = format!("maximum {name} usage per {} is {bound}", self.kind);
        match (request, limit) {
            (_, None) => errors.push(format!("{said}.  No limit is specified")),
            (_, Some(l)) if *l > bound => errors.push(format!("{said}, but limit is {l}")),
            (Some(r), _) if *r > bound => errors.push(format!("{said}, but request is {r}")),
            _ => {}
        }
    }

    /// Claims have no limits: the request alone counts.
    fn max_request(&self, name: &str, bound: Quantity, errors: &mut Vec<String>) {
        let said = format!("maximum {name} usage per {} is {bound}", self.kind);
        match self.requests.get(name) {
            None => errors.push(format!("{said}.  No request is specified")),
            Some(r) if *r > bound => errors.push(format!("{said}, but request is {r}")),
            _ => {}
        }
    }

    fn ratio(&self, name: &str, bound: Quantity, errors: &mut Vec<String>) {
        let said = format!("{name} max limit to request ratio per {} is {bound}", self.kind);
        let Some(request) = self.requests.get(name).filter(|r| !r.is_zero()) else {
            errors.push(format!("{said}, but no request is specified or request is 0"));
            return;
        };
        let Some(limit) = self.limits.get(name).filter(|l| !l.is_zero()) else {
            errors.push(format!("{said}, but no limit is specified or limit is 0"));
            return;
        };
        let ratio = limit.as_f64() / request.as_f64();
        if ratio > bound.as_f64() {
            errors.push(format!("{said}, but provided ratio is {ratio:.6}"));
        }
    }

    fn check(&self, item: &LimitRangeItem, errors: &mut Vec<String>) {
        for (name, bound) in amounts::parsed(item.min.as_ref()) {
            self.min(&name, bound, errors);
        }
        for (name, bound) in amounts::parsed(item.max.as_ref()) {
            self.max(&name, bound, errors);
        }
        for (name, bound) in amounts::parsed(item.max_limit_request_ratio.as_ref()) {
            self.ratio(&name, bound, errors);
        }
    }
}

fn check_pod(pod: &Pod, items: &[LimitRangeItem]) -> Vec<String> {
    let mut errors = Vec::new();
    let Some(spec) = &pod.spec else { return errors };
    for item in items {
        match item.type_.as_str() {
            "Container" => {
                for container in spec.containers.iter().chain(spec.init_containers.iter().flatten()) {
                    let resources = container.resources.as_ref();
                    let requests = amounts::parsed(resources.and_then(|r| r.requests.as_ref()));
                    let limits = amounts::parsed(resources.and_then(|r| r.limits.as_ref()));
                    Of { requests: &requests, limits: &limits, kind: "Container" }.check(item, &mut errors);
                }
            }
            "Pod" => {
                let (requests, limits) = (amounts::requests(spec), amounts::limits(spec));
                Of { requests: &requests, limits: &limits, kind: "Pod" }.check(item, &mut errors);
            }
            _ => {}
        }
    }
    errors
}

fn check_claim(claim: &PersistentVolumeClaim, items: &[LimitRangeItem]) -> Vec<String> {
    let mut errors = Vec::new();
    let resources = claim.spec.as_ref().and_then(|s| s.resources.as_ref());
    let requests = amounts::parsed(resources.and_then(|r| r.requests.as_ref()));
    let of = Of { requests: &requests, limits: &Amounts::new(), kind: "PersistentVolumeClaim" };
    for item in items.iter().filter(|i| i.type_ == "PersistentVolumeClaim") {
        for (name, bound) in amounts::parsed(item.min.as_ref()) {
            of.min(&name, bound, &mut errors);
        }
        for (name, bound) in amounts::parsed(item.max.as_ref()) {
            of.max_request(&name, bound, &mut errors);
        }
    }
    errors
}

#[async_trait]
impl Plugin for LimitRanger {
    fn name(&self) -> &'static str {
        "LimitRanger"
    }

    fn handles(&self, operation: Operation) -> bool {
        matches!(operation, Operation::Create | Operation::Update)
    }

    fn concerns(&self, request: &Request<'_>) -> bool {
        if !request.group.is_empty() {
            return false;
        }
        match (request.resource, request.subresource) {
            // Containers of a pod do not change, except by resizing.
            ("pods", "") => request.operation == Operation::Create,
            ("pods", "resize") => request.operation == Operation::Update,
            ("persistentvolumeclaims", "") => true,
            _ => false,
        }
    }

    async fn admit(&self, request: &mut Request<'_>) -> Result<(), ApiError> {
        if request.operation != Operation::Create || request.resource != "pods" {
            return Ok(());
        }
        let items = self.items(request.namespace);
        if let Some(pod) = request.typed_mut::<Pod>().filter(|_| !items.is_empty()) {
            fill_pod(pod, &items);
        }
        Ok(())
    }

    async fn validate(&self, request: &mut Request<'_>) -> Result<(), ApiError> {
        let ending = request.old.is_some_and(|o| o.metadata().deletion_timestamp.is_some());
        if ending {
            return Ok(());
        }
        let items = self.items(request.namespace);
        if items.is_empty() {
            return Ok(());
        }
        let mut errors = match (request.typed::<Pod>(), request.typed::<PersistentVolumeClaim>()) {
            (Some(pod), _) => check_pod(pod, &items),
            (_, Some(claim)) => check_claim(claim, &items),
            _ => Vec::new(),
        };
        let mut seen = Vec::new();
        errors.retain(|e| {
            !seen.contains(e) && {
                seen.push(e.clone());
                true
            }
        });
        match errors.as_slice() {
            [] => Ok(()),
            [one] => Err(request.forbidden(one)),
            many => Err(request.forbidden(format!("[{}]", many.join(", ")))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Ask, Cluster};
    use serde_json::{Value, json};

    fn plugin(limits: Value) -> LimitRanger {
        let range = json!({"metadata": {"name": "r", "namespace": "ns"}, "spec": {"limits": limits}});
        LimitRanger::new(&Cluster::default().with("limitranges", range).config())
    }

    fn pod(resources: Value) -> Ask<Pod> {
        let spec = json!({"containers": [{"name": "c", "resources": resources}]});
        Ask::create("", "pods", json!({"metadata": {"name": "p", "namespace": "ns"}, "spec": spec}))
    }

    #[tokio::test]
    async fn defaults_are_filled_in_and_noted() {
        let plugin = plugin(json!([{"type": "Container",
            "default": {"cpu": "500m", "memory": "512Mi"}, "defaultRequest": {"cpu": "250m", "memory": "256Mi"}}]));
        let pod = pod(json!({"limits": {"cpu": "1"}})).result(&plugin).await.expect("admitted");
        assert_eq!(
            pod.metadata.annotations.expect("noted")[ANNOTATION],
            "LimitRanger plugin set: cpu, memory request for container c; memory limit for container c"
        );
        let resources = pod.spec.expect("spec").containers.remove(0).resources.expect("resources");
        assert_eq!(resources.limits.expect("limits")["cpu"].0, "1");
        assert_eq!(resources.requests.expect("requests")["memory"].0, "256Mi");
    }

    #[tokio::test]
    async fn bounds_are_enforced() {
        let cases = [
            (
                json!({"type": "Container", "min": {"cpu": "100m"}}),
                json!({}),
                "minimum cpu usage per Container is 100m.  No request is specified",
            ),
            (
                json!({"type": "Container", "min": {"cpu": "100m"}}),
                json!({"requests": {"cpu": "50m"}}),
                "minimum cpu usage per Container is 100m, but request is 50m",
            ),
            (
                json!({"type": "Container", "max": {"memory": "1Gi"}}),
                json!({"limits": {"memory": "2Gi"}}),
                "maximum memory usage per Container is 1Gi, but limit is 2Gi",
            ),
            (
                json!({"type": "Pod", "max": {"cpu": "1"}}),
                json!({}),
                "maximum cpu usage per Pod is 1.  No limit is specified",
            ),
            (
                json!({"type": "Container", "maxLimitRequestRatio": {"cpu": "2"}}),
                json!({"limits": {"cpu": "3"}, "requests": {"cpu": "1"}}),
                "cpu max limit to request ratio per Container is 2, but provided ratio is 3.000000",
            ),
        ];
        for (item, resources, want) in cases {
            let text = pod(resources).refusal(&plugin(json!([item]))).await;
            assert_eq!(text, format!("pods \"p\" is forbidden: {want}"));
        }
        let both = plugin(json!([{"type": "Container", "max": {"cpu": "1", "memory": "1Gi"}}]));
        let text = pod(json!({"limits": {"cpu": "2", "memory": "2Gi"}})).refusal(&both).await;
        assert!(text.ends_with(
            "[maximum cpu usage per Container is 1, but limit is 2, maximum memory usage per Container is 1Gi, but limit is 2Gi]"
        ));
    }

    #[tokio::test]
    async fn claims_have_their_own_bounds() {
        let plugin =
            plugin(json!([{"type": "PersistentVolumeClaim", "min": {"storage": "1Gi"}, "max": {"storage": "2Gi"}}]));
        let claim = |size: &str| {
            let spec = json!({"resources": {"requests": {"storage": size}}});
            let claim = json!({"metadata": {"name": "c", "namespace": "ns"}, "spec": spec});
            Ask::<PersistentVolumeClaim>::create("", "persistentvolumeclaims", claim)
        };
        claim("2Gi").run(&plugin).await.expect("within");
        assert!(
            claim("3Gi")
                .refusal(&plugin)
                .await
                .ends_with("maximum storage usage per PersistentVolumeClaim is 2Gi, but request is 3Gi")
        );
        assert!(claim("1Mi").refusal(&plugin).await.contains("minimum storage usage"));
    }
}
