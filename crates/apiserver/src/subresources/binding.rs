//! `pods/binding`: the scheduler gives a pod its node.
//!
//! Source: `pkg/registry/core/pod/storage/storage.go` (`assignPod`), behaviour.
use crate::{
    body::{self, Body, RequestBody},
    chain::{Ctx, admit},
    codec,
    handlers::{
        create::whole_second,
        update::{self, Plan},
    },
    limits,
    options::WriteOptions,
    registry::Endpoint,
    render,
    request_info::RequestInfo,
    store::{on, wrong_uid},
};
use api::Target;
use apimachinery::ApiError;
use bytes::Bytes;
use http::{Response, StatusCode};
use k8s_openapi::{
    api::core::v1::{Binding, Pod, PodCondition},
    apimachinery::pkg::apis::meta::v1::Time,
};

/// # Errors
/// 409 when the pod has a node already or is going away.
pub async fn bind(ctx: &mut Ctx<'_>, endpoint: &Endpoint, body: RequestBody) -> Result<Response<Body>, ApiError> {
    let json = codec::body_json(&ctx.parts.headers, body::read(body).await?)?;
    bind_json(ctx, endpoint, &json).await
}

/// `POST …/bindings`: the same, with the pod's name in the body alone.
///
/// # Errors
/// As [`bind`].
pub async fn collection(ctx: &mut Ctx<'_>, json: Bytes) -> Result<Response<Body>, ApiError> {
    let binding: Binding = serde_json::from_slice(&json).map_err(|e| ApiError::bad_request(e.to_string()))?;
    let name = binding.metadata.name.unwrap_or_default();
    let Some(pods) = ctx.app.registry.find("", "v1", "pods").cloned() else { return Err(ApiError::no_such_path()) };
    let info = RequestInfo { resource: "pods", subresource: "binding", name: &name, ..ctx.info.clone() };
    let mut ctx = Ctx {
        app: ctx.app,
        parts: ctx.parts,
        info,
        query: ctx.query,
        user: ctx.user.clone(),
        accept: ctx.accept,
        warnings: Vec::new(),
    };
    bind_json(&mut ctx, &pods, &json).await
}

async fn bind_json(ctx: &mut Ctx<'_>, endpoint: &Endpoint, json: &[u8]) -> Result<Response<Body>, ApiError> {
    let options = WriteOptions::parse(ctx.query, "CreateOptions")?;
    let binding: Binding = serde_json::from_slice(json).map_err(|e| ApiError::bad_request(e.to_string()))?;
    let name = ctx.info.name;
    if binding.metadata.name.as_deref().is_some_and(|n| !n.is_empty() && n != name) {
        return Err(ApiError::bad_request("name in URL does not match name in Binding object"));
    }
    let node = binding.target.name.clone().unwrap_or_default();
    let kind = binding.target.kind.as_deref().unwrap_or_default();
    if node.is_empty() || !matches!(kind, "" | "Node") {
        return Err(invalid(name, kind, &node));
    }
    let mut binding = admission::Body(binding);
    admit::body(ctx, endpoint, &mut binding, options.dry_run).await?;
    let admission::Body(binding) = binding;
    let plan = Plan {
        target: Target::Other("binding"),
        subresource: "binding",
        options,
        attempts: limits::UPDATE_ATTEMPTS,
        checked: false,
    };
    update::apply(ctx, endpoint, plan, |current| {
        let mut new = current.object.clone_box();
        let pod = new.as_any_mut().downcast_mut::<Pod>().ok_or_else(|| ApiError::internal("not a pod"))?;
        assign(pod, &binding, &node, name, &current.entry.key)?;
        Ok(new)
    })
    .await?;
    Ok(render::encoded(ctx.accept, StatusCode::CREATED, render::created_status()))
}

fn invalid(name: &str, kind: &str, node: &str) -> ApiError {
    use apimachinery::field::{Error, Path};
    let target = Path::new("target");
    let error = if node.is_empty() {
        Error::required(&target.child("name"), "")
    } else {
        Error::not_supported(&target.child("kind"), kind, &["Node", "<empty>"])
    };
    ApiError::invalid(on("", "Binding"), name, &[error].into_iter().collect())
}

/// `key` is the pod's in the store.
fn assign(pod: &mut Pod, binding: &Binding, node: &str, name: &str, key: &str) -> Result<(), ApiError> {
    let conflict = |why: &str| Err(ApiError::conflict(on("", "pods/binding"), name, why));
    if let (Some(wanted), Some(uid)) = (&binding.metadata.uid, &pod.metadata.uid)
        && wanted != uid
        && !wanted.is_empty()
    {
        return Err(ApiError::conflict(on("", "pods"), name, &wrong_uid(key, wanted, uid)));
    }
    if pod.metadata.deletion_timestamp.is_some() {
        return conflict(&format!("pod {name} is being deleted, cannot be assigned to a host"));
    }
    let spec = pod.spec.get_or_insert_default();
    if let Some(assigned) = spec.node_name.as_deref().filter(|n| !n.is_empty()) {
        return conflict(&format!("pod {name} is already assigned to node {assigned:?}"));
    }
    if spec.scheduling_gates.as_ref().is_some_and(|gates| !gates.is_empty()) {
        return conflict(&format!("pod {name} has non-empty .spec.schedulingGates"));
    }
    spec.node_name = Some(node.to_owned());
    if let Some(annotations) = &binding.metadata.annotations {
        pod.metadata.annotations.get_or_insert_default().extend(annotations.clone());
    }
    if let Some(labels) = &binding.metadata.labels {
        pod.metadata.labels.get_or_insert_default().extend(labels.clone());
    }
    let conditions = pod.status.get_or_insert_default().conditions.get_or_insert_default();
    let generation = pod.metadata.generation;
    let scheduled = PodCondition {
        type_: "PodScheduled".into(),
        status: "True".into(),
        last_transition_time: Some(Time(whole_second())),
        observed_generation: generation,
        ..PodCondition::default()
    };
    match conditions.iter_mut().find(|c| c.type_ == "PodScheduled") {
        Some(condition) => *condition = scheduled,
        None => conditions.push(scheduled),
    }
    Ok(())
}
