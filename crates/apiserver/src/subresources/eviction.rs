//! `pods/eviction`: a deletion that disruption budgets may refuse.
//!
//! Source: `pkg/registry/core/pod/storage/eviction.go` (behaviour), KEP-85, KEP-3017.
use crate::{
    body::{self, Body, RequestBody},
    chain::{Ctx, admit},
    codec,
    handlers::{create::whole_second, delete},
    limits,
    options::{DeleteOptions, WriteOptions},
    registry::Endpoint,
    render,
    store::{Put, ResourceStore},
};
use apimachinery::{
    ApiError, labels,
    status::{Cause, Details},
};
use http::{Response, StatusCode};
use k8s_openapi::{
    api::{
        core::v1::Pod,
        policy::v1::{Eviction, PodDisruptionBudget},
    },
    apimachinery::pkg::apis::meta::v1::Time,
};
use std::sync::Arc;
use storage::{Expect, Lookup};

/// The version clients used before `policy/v1`, with the same content; it is still taken.
const OLD_VERSION: &str = "policy/v1beta1";

fn parse(json: &[u8]) -> Result<Eviction, ApiError> {
    let bad = |e: serde_json::Error| ApiError::bad_request(e.to_string());
    let mut body: serde_json::Value = serde_json::from_slice(json).map_err(bad)?;
    if body.get("apiVersion").and_then(|v| v.as_str()) == Some(OLD_VERSION) {
        body["apiVersion"] = "policy/v1".into();
    }
    serde_json::from_value(body).map_err(bad)
}

const REFUSED: &str = "Cannot evict pod as it would violate the pod's disruption budget.";
/// More pods than this in a budget's `disruptedPods` means its controller does not keep up.
const MAX_DISRUPTED: usize = 2_000;

/// # Errors
/// 429 when a budget forbids it now.
pub async fn evict(ctx: &mut Ctx<'_>, endpoint: &Endpoint, body: RequestBody) -> Result<Response<Body>, ApiError> {
    let write = WriteOptions::parse(ctx.query, "CreateOptions")?;
    let json = codec::body_json(&ctx.parts.headers, body::read(body).await?)?;
    let eviction = parse(&json)?;
    let name = ctx.info.name;
    if eviction.metadata.name.as_deref().is_some_and(|n| !n.is_empty() && n != name) {
        return Err(ApiError::bad_request("name in URL does not match name in Eviction object"));
    }
    let mut options = match &eviction.delete_options {
        Some(options) => {
            let json = serde_json::to_vec(options).map_err(ApiError::internal)?;
            DeleteOptions::parse(&json.into(), ctx.query)?
        }
        None => DeleteOptions::default(),
    };
    options.dry_run |= write.dry_run;
    let mut eviction = admission::Body(eviction);
    admit::body(ctx, endpoint, &mut eviction, options.dry_run).await?;
    let namespace = ctx.info.namespace;
    let entry = endpoint.store.read(namespace, name).await?;
    let entry = entry.ok_or_else(|| ApiError::not_found(endpoint.on(), name))?;
    let object = endpoint.store.decode(&entry)?;
    let pod = object.as_any().downcast_ref::<Pod>().ok_or_else(|| ApiError::internal("not a pod"))?;
    if !exempt(pod) {
        charge_budget(ctx, pod, options.dry_run).await?;
    }
    delete::delete_object(ctx, endpoint, namespace, name, &options).await?;
    Ok(render::encoded(ctx.accept, StatusCode::CREATED, render::success_status("", "", "", "")))
}

/// A pod whose going disrupts nothing.
fn exempt(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|s| s.phase.as_deref()).unwrap_or_default();
    matches!(phase, "Succeeded" | "Failed" | "Pending") || pod.metadata.deletion_timestamp.is_some()
}

fn is_ready(pod: &Pod) -> bool {
    pod.status.iter().flat_map(|s| s.conditions.iter().flatten()).any(|c| c.type_ == "Ready" && c.status == "True")
}

fn selects(budget: &PodDisruptionBudget, pod: &Pod) -> bool {
    let Some(selector) = budget.spec.as_ref().and_then(|s| s.selector.as_ref()) else { return false };
    let Ok(selector) = labels::from_label_selector(selector) else { return false };
    selector.matches_option(pod.metadata.labels.as_ref())
}

async fn charge_budget(ctx: &Ctx<'_>, pod: &Pod, dry_run: bool) -> Result<(), ApiError> {
    let Some(store) = ctx.app.registry.store("poddisruptionbudgets").cloned() else { return Ok(()) };
    let namespace = ctx.info.namespace;
    let budgets = ctx.app.registry.list("poddisruptionbudgets", Some(namespace));
    let mut names: Vec<String> = Vec::new();
    for json in budgets {
        let budget: PodDisruptionBudget = serde_json::from_slice(&json).map_err(ApiError::internal)?;
        if selects(&budget, pod) {
            names.extend(budget.metadata.name);
        }
    }
    match names.as_slice() {
        [] => Ok(()),
        [one] => charge(&store, namespace, one, pod, dry_run).await,
        _ => Err(ApiError::internal(
            "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.",
        )),
    }
}

async fn charge(
    store: &Arc<ResourceStore>,
    namespace: &str,
    name: &str,
    pod: &Pod,
    dry_run: bool,
) -> Result<(), ApiError> {
    for _ in 0..limits::UPDATE_ATTEMPTS {
        let Some(entry) = store.read(namespace, name).await? else { return Ok(()) };
        let mut object = store.decode(&entry)?;
        let Some(budget) = object.as_any_mut().downcast_mut::<PodDisruptionBudget>() else { return Ok(()) };
        if !decrement(budget, pod)? || dry_run {
            return Ok(());
        }
        match store.put(&entry.key, Expect::Revision(entry.revision), &mut *object).await? {
            Put::Done(_) => return Ok(()),
            Put::Conflict(_) => {}
        }
    }
    Err(refused(None))
}

/// Whether the budget has to be charged.
fn decrement(budget: &mut PodDisruptionBudget, pod: &Pod) -> Result<bool, ApiError> {
    let name = budget.metadata.name.clone().unwrap_or_default();
    let policy = budget.spec.as_ref().and_then(|s| s.unhealthy_pod_eviction_policy.clone());
    let generation = budget.metadata.generation.unwrap_or_default();
    let status = budget.status.get_or_insert_default();
    let (current, desired) = (status.current_healthy.unwrap_or_default(), status.desired_healthy.unwrap_or_default());
    let allowed = status.disruptions_allowed.unwrap_or_default();
    if !is_ready(pod) {
        let healthy = current >= desired && desired > 0;
        if policy.as_deref() == Some("AlwaysAllow") || healthy {
            return Ok(false);
        }
    }
    if status.observed_generation.unwrap_or_default() < generation {
        return Err(refused(Some(format!("The disruption budget {name} is still being processed by the server."))));
    }
    if status.disrupted_pods.as_ref().is_some_and(|p| p.len() > MAX_DISRUPTED) {
        let mut error = ApiError::new(
            403,
            "Forbidden",
            "DisruptedPods map too big - too many evictions not confirmed by PDB controller",
        );
        error.details = Some(Box::default());
        return Err(error);
    }
    if allowed <= 0 {
        return Err(refused(Some(format!(
            "The disruption budget {name} needs {desired} healthy pods and has {current} currently"
        ))));
    }
    status.disruptions_allowed = Some(allowed - 1);
    let pod_name = pod.metadata.name.clone().unwrap_or_default();
    status.disrupted_pods.get_or_insert_default().insert(pod_name, Time(whole_second()));
    Ok(true)
}

fn refused(cause: Option<String>) -> ApiError {
    let mut error = ApiError::too_many_requests(REFUSED, 0);
    let causes = cause
        .map(|message| Cause { reason: "DisruptionBudget".into(), message, field: String::new() })
        .into_iter()
        .collect();
    error.details = Some(Box::new(Details { causes, ..Details::default() }));
    error
}
