//! GET of one object: the cached bytes.
use crate::{body::Body, chain::Ctx, options::parse_version, registry::Endpoint, render};
use apimachinery::ApiError;
use http::{Response, StatusCode};

/// # Errors
/// 404, or what reads at a resource version can end with.
pub async fn get(ctx: &Ctx<'_>, endpoint: &Endpoint) -> Result<Response<Body>, ApiError> {
    let store = &endpoint.store;
    match ctx.query.text("resourceVersion") {
        "" => store.fresh().await?,
        "0" => {}
        version => store.wait_for(parse_version(version)?).await?,
    }
    let key = store.key(ctx.info.namespace, ctx.info.name);
    match store.cache.get(&key) {
        Some(entry) => render::object(ctx, endpoint, entry.json.clone(), StatusCode::OK),
        None => Err(ApiError::not_found(endpoint.on(), ctx.info.name)),
    }
}
