//! Everything behind `/…/name/<subresource>`.
//!
//! Which subresources a kind has is in its `Info`; a subresource whose body is the kind itself takes the
//! ordinary update path with its own target, the others have a file here.
pub mod binding;
mod eviction;
mod scale;
mod token;

use crate::{
    body::{self, Body, RequestBody},
    chain::Ctx,
    handlers::{get, method_not_allowed, patch, update},
    proxy,
    registry::Endpoint,
};
use api::Target;
use apimachinery::ApiError;
use http::Response;
use hyper::upgrade::OnUpgrade;
use std::sync::Arc;

/// # Errors
/// The answer to the client.
pub async fn dispatch(
    ctx: &mut Ctx<'_>,
    endpoint: &Arc<Endpoint>,
    body: RequestBody,
    upgrade: Option<OnUpgrade>,
) -> Result<Response<Body>, ApiError> {
    let (name, verb) = (ctx.info.subresource, ctx.info.verb);
    let Some(known) = endpoint.subresource(name) else { return Err(ApiError::no_such_path()) };
    if ctx.info.name.is_empty() {
        return Err(ApiError::no_such_path());
    }
    // A watch of a subresource is a get upstream refuses.
    if name != "proxy" && !known.verbs.contains(&verb) {
        return Err(method_not_allowed());
    }
    match (ctx.info.resource, name) {
        (_, "scale") => scale::scale(ctx, endpoint, body).await,
        ("pods", "binding") => binding::bind(ctx, endpoint, body).await,
        ("pods", "eviction") => eviction::evict(ctx, endpoint, body).await,
        ("serviceaccounts", "token") => token::request(ctx, endpoint, body).await,
        ("pods", "log" | "exec" | "attach" | "portforward" | "proxy") | ("services" | "nodes", "proxy") => {
            proxy::serve(ctx, endpoint, body, upgrade).await
        }
        _ => generic(ctx, endpoint, target(name), body).await,
    }
}

fn target(name: &str) -> Option<Target> {
    match name {
        "status" => Some(Target::Status),
        "approval" => Some(Target::Other("approval")),
        "ephemeralcontainers" => Some(Target::Other("ephemeralcontainers")),
        "finalize" => Some(Target::Other("finalize")),
        "resize" => Some(Target::Other("resize")),
        _ => None,
    }
}

async fn generic(
    ctx: &mut Ctx<'_>,
    endpoint: &Arc<Endpoint>,
    target: Option<Target>,
    body: RequestBody,
) -> Result<Response<Body>, ApiError> {
    let Some(target) = target else {
        let what = format!("{}/{}", ctx.info.resource, ctx.info.subresource);
        return Err(ApiError::not_implemented(format!("{what} is not implemented by ferrokube yet")));
    };
    match ctx.info.verb {
        "get" => get::get(ctx, endpoint).await,
        "update" => update::update(ctx, endpoint, target, body::read(body).await?).await,
        "patch" => patch::patch(ctx, endpoint, target, body::read(body).await?).await,
        _ => Err(method_not_allowed()),
    }
}
