//! `/scale`: replicas of whatever has them, as `autoscaling/v1` `Scale`.
use crate::{
    body::{self, Body, RequestBody},
    chain::Ctx,
    codec,
    handlers::{
        method_not_allowed,
        patch::Patch,
        update::{self, Plan},
    },
    limits,
    options::WriteOptions,
    registry::Endpoint,
    render,
    store::on,
};
use api::{Object, Target};
use apimachinery::{
    ApiError,
    field::{Error, Path},
    status::OBJECT_MODIFIED,
};
use bytes::Bytes;
use http::{Response, StatusCode};
use k8s_openapi::{
    api::autoscaling::v1::{Scale, ScaleSpec, ScaleStatus},
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};

/// # Errors
/// The answer to the client.
pub async fn scale(ctx: &mut Ctx<'_>, endpoint: &Endpoint, body: RequestBody) -> Result<Response<Body>, ApiError> {
    let json = match ctx.info.verb {
        "get" => {
            let entry = endpoint.store.read(ctx.info.namespace, ctx.info.name).await?;
            entry.ok_or_else(|| ApiError::not_found(endpoint.on(), ctx.info.name))?.json.clone()
        }
        "update" => {
            let options = WriteOptions::parse(ctx.query, "UpdateOptions")?;
            let json = codec::body_json(&ctx.parts.headers, body::read(body).await?)?;
            let scale: Scale = serde_json::from_slice(&json).map_err(|e| ApiError::bad_request(e.to_string()))?;
            let body_name = scale.metadata.name.as_deref().unwrap_or_default();
            if !body_name.is_empty() && body_name != ctx.info.name {
                return Err(ApiError::bad_request(format!(
                    "the name of the object ({body_name}) does not match the name on the URL ({})",
                    ctx.info.name
                )));
            }
            change(ctx, endpoint, options, limits::UPDATE_ATTEMPTS, |_| Ok(scale.clone())).await?
        }
        "patch" => {
            Patch::check_kind(ctx)?;
            let options = WriteOptions::parse(ctx.query, "PatchOptions")?;
            let body = body::read(body).await?;
            let patch = Patch::parse(ctx, &body)?;
            change(ctx, endpoint, options, limits::PATCH_ATTEMPTS, |scale| patched(&patch, &scale)).await?
        }
        _ => return Err(method_not_allowed()),
    };
    let object = endpoint.resource().decode_stored(&json).map_err(|e| ApiError::internal(e.message))?;
    let scale = view(endpoint, &*object)?;
    let mut out = serde_json::to_vec(&scale).map_err(ApiError::internal)?;
    out.push(b'\n');
    Ok(render::encoded(ctx.accept, StatusCode::OK, out.into()))
}

fn patched(patch: &Patch, scale: &Scale) -> Result<Scale, ApiError> {
    let document = serde_json::to_value(scale).map_err(ApiError::internal)?;
    let document = patch.apply("autoscaling", "v1", "Scale", document)?;
    serde_json::from_value(document).map_err(|e| ApiError::bad_request(e.to_string()))
}

fn view(endpoint: &Endpoint, object: &dyn Object) -> Result<Scale, ApiError> {
    let Some(view) = endpoint.resource().scale(object) else { return Err(ApiError::no_such_path()) };
    let meta = object.metadata();
    Ok(Scale {
        metadata: ObjectMeta {
            name: meta.name.clone(),
            namespace: meta.namespace.clone(),
            uid: meta.uid.clone(),
            resource_version: meta.resource_version.clone(),
            creation_timestamp: meta.creation_timestamp.clone(),
            ..ObjectMeta::default()
        },
        spec: Some(ScaleSpec { replicas: Some(view.spec_replicas) }),
        status: Some(ScaleStatus {
            replicas: view.status_replicas,
            selector: (!view.selector.is_empty()).then_some(view.selector),
        }),
    })
}

async fn change(
    ctx: &mut Ctx<'_>,
    endpoint: &Endpoint,
    options: WriteOptions,
    attempts: usize,
    wanted: impl Fn(Scale) -> Result<Scale, ApiError>,
) -> Result<Bytes, ApiError> {
    let name = ctx.info.name;
    let plan = Plan { target: Target::Main, subresource: "scale", options, attempts, checked: true };
    update::apply(ctx, endpoint, plan, |current| {
        let scale = wanted(view(endpoint, current.object)?)?;
        let version = scale.metadata.resource_version.as_deref().unwrap_or_default();
        if !version.is_empty() && version != current.entry.revision.to_string() {
            return Err(ApiError::conflict(endpoint.on(), name, OBJECT_MODIFIED));
        }
        let replicas = scale.spec.and_then(|s| s.replicas).unwrap_or_default();
        if replicas < 0 {
            let path = Path::new("spec").child("replicas");
            let error = Error::invalid(&path, replicas, "must be greater than or equal to 0");
            return Err(ApiError::invalid(on("autoscaling", "Scale"), name, &[error].into_iter().collect()));
        }
        let mut new = current.object.clone_box();
        endpoint.resource().set_scale(&mut *new, replicas);
        if version.is_empty() {
            new.metadata_mut().resource_version = None;
        }
        Ok(new)
    })
    .await
}
