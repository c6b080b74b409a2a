//! The one generic set of handlers behind all kinds, and which of them a request goes to.
//!
//! Handlers see a kind only as [`crate::registry::Endpoint`]; whatever only one kind does is a
//! subresource ([`crate::subresources`]) or a rule in [`rules`].
pub mod continue_token;
pub mod create;
pub mod decode;
pub mod delete;
pub mod delete_collection;
pub mod get;
pub mod list;
pub mod patch;
pub mod rules;
pub mod update;
pub mod watch;
mod watch_stream;

use crate::{
    body::{self, Body, RequestBody},
    chain::Ctx,
    registry::Endpoint,
    reviews, subresources,
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
    body: RequestBody,
    upgrade: Option<OnUpgrade>,
) -> Result<Response<Body>, ApiError> {
    let info = ctx.info.clone();
    let Some(endpoint) = ctx.app.registry.find(info.group, info.version, info.resource).cloned() else {
        return Box::pin(reviews::dispatch(ctx, body)).await;
    };
    // A namespace lies in no other one: whoever is trusted with everything in one must not reach the rest that way.
    let placed = match info.resource {
        "namespaces" if info.group.is_empty() => info.namespace == info.name,
        _ => endpoint.namespaced() != info.namespace.is_empty(),
    };
    let everywhere = endpoint.namespaced() && info.name.is_empty() && matches!(info.verb, "list" | "watch");
    if !(placed || everywhere) {
        return Err(if info.name.is_empty() && endpoint.namespaced() {
            method_not_allowed()
        } else {
            ApiError::no_such_path()
        });
    }
    if !info.subresource.is_empty() {
        // `/watch/…` knows no subresources, whatever the method; only a proxied path goes on behind its subresource.
        if info.verb == "watch" || !(info.rest.is_empty() || info.subresource == "proxy") {
            return Err(ApiError::no_such_path());
        }
        return Box::pin(subresources::dispatch(ctx, &endpoint, body, upgrade)).await;
    }
    main_resource(ctx, &endpoint, body).await
}

async fn main_resource(
    ctx: &mut Ctx<'_>,
    endpoint: &Arc<Endpoint>,
    body: RequestBody,
) -> Result<Response<Body>, ApiError> {
    let verb = ctx.info.verb;
    if !endpoint.info().verbs.contains(&verb) {
        return Err(method_not_allowed());
    }
    match (verb, ctx.info.name.is_empty()) {
        ("get", false) => get::get(ctx, endpoint).await,
        ("list", true) => list::list(ctx, endpoint).await,
        ("watch", _) => watch::watch(ctx, endpoint).await,
        // On the heap, so that the state of a read is no larger than a read needs.
        _ => Box::pin(write(ctx, endpoint, body)).await,
    }
}

async fn write(ctx: &mut Ctx<'_>, endpoint: &Arc<Endpoint>, body: RequestBody) -> Result<Response<Body>, ApiError> {
    match (ctx.info.verb, ctx.info.name.is_empty()) {
        ("create", true) => {
            let body = body::read(body).await?;
            create::create(ctx, endpoint, body).await
        }
        ("update", false) => {
            let body = body::read(body).await?;
            update::update(ctx, endpoint, Target::Main, body).await
        }
        ("patch", false) => {
            let body = body::read(body).await?;
            patch::patch(ctx, endpoint, Target::Main, body).await
        }
        ("delete", false) => {
            let body = body::read(body).await?;
            delete::delete(ctx, endpoint, body).await
        }
        ("deletecollection", _) => {
            let body = body::read(body).await?;
            delete_collection::delete_collection(ctx, endpoint, body).await
        }
        _ => Err(method_not_allowed()),
    }
}

/// The path exists, the method does not.
pub fn method_not_allowed() -> ApiError {
    let mut error =
        ApiError::new(405, "MethodNotAllowed", "the server does not allow this method on the requested resource");
    error.details = Some(Box::default());
    error
}
