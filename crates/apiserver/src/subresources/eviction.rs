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
    status::{Cause, Details, OBJECT_MODIFIED},
};
use http::{Response, StatusCode};
use k8s_openapi::{
    api::{
        core::v1::{Pod, PodCondition},
        policy::v1::{Eviction, PodDisruptionBudget, PodDisruptionBudgetStatus},
    },
    apimachinery::pkg::apis::meta::v1::{Condition, Time},
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
    if !options.dry_run {
        mark(endpoint, namespace, name, &mut options).await?;
    }
    delete::delete_object(ctx, endpoint, namespace, name, &options).await?;
    Ok(render::encoded(ctx.accept, StatusCode::CREATED, render::created_status()))
}

/// Say on the pod why it goes, for whoever owns it (KEP-3329). A version that the client insists on is that of the pod
/// before this.
async fn mark(endpoint: &Endpoint, namespace: &str, name: &str, options: &mut DeleteOptions) -> Result<(), ApiError> {
    let store = &endpoint.store;
    for _ in 0..limits::UPDATE_ATTEMPTS {
        let entry = store.read(namespace, name).await?;
        let entry = entry.ok_or_else(|| ApiError::not_found(endpoint.on(), name))?;
        if options.resource_version.as_ref().is_some_and(|version| *version != entry.revision.to_string()) {
            // The deletion refuses, in its own words.
            return Ok(());
        }
        let mut object = store.decode(&entry)?;
        let Some(pod) = object.as_any_mut().downcast_mut::<Pod>() else { return Ok(()) };
        if options.uid.is_some() && options.uid != pod.metadata.uid {
            return Ok(());
        }
        set_disruption_target(pod);
        if let Put::Done(written) = store.put(&entry.key, Expect::Revision(entry.revision), &mut *object).await? {
            if options.resource_version.is_some() {
                options.resource_version = Some(written.revision.to_string());
            }
            return Ok(());
        }
    }
    Err(ApiError::conflict(endpoint.on(), name, OBJECT_MODIFIED))
}

fn set_disruption_target(pod: &mut Pod) {
    let observed_generation = pod.metadata.generation;
    let conditions = pod.status.get_or_insert_default().conditions.get_or_insert_default();
    let old = conditions.iter().position(|c| c.type_ == "DisruptionTarget").map(|at| conditions.remove(at));
    let since = old.filter(|c| c.status == "True").and_then(|c| c.last_transition_time);
    conditions.push(PodCondition {
        type_: "DisruptionTarget".into(),
        status: "True".into(),
        reason: Some("EvictionByEvictionAPI".into()),
        message: Some("Eviction API: evicting".into()),
        last_transition_time: since.or_else(|| Some(Time(whole_second()))),
        observed_generation,
        ..PodCondition::default()
    });
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
        let mut error = refused(Some(format!("The disruption budget {name} is still being processed by the server.")));
        if let Some(details) = &mut error.details {
            details.retry_after_seconds = 10;
        }
        return Err(error);
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
    if allowed == 1 {
        forbid(status, generation);
    }
    let pod_name = pod.metadata.name.clone().unwrap_or_default();
    status.disrupted_pods.get_or_insert_default().insert(pod_name, Time(whole_second()));
    Ok(true)
}

/// The last disruption is taken: the condition says so before the budget's controller does.
fn forbid(status: &mut PodDisruptionBudgetStatus, generation: i64) {
    let conditions = status.conditions.get_or_insert_default();
    let old = conditions.iter().position(|c| c.type_ == "DisruptionAllowed").map(|at| conditions.remove(at));
    let since = old.filter(|c| c.status == "False").map(|c| c.last_transition_time);
    conditions.push(Condition {
        type_: "DisruptionAllowed".into(),
        status: "False".into(),
        reason: "InsufficientPods".into(),
        message: String::new(),
        last_transition_time: since.unwrap_or_else(|| Time(whole_second())),
        observed_generation: Some(generation),
    });
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
