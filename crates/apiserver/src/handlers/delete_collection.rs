//! DELETE of all objects a selection names.
use super::{delete, list};
use crate::{
    body::Body,
    chain::Ctx,
    options::{At, ListOptions},
    registry::Endpoint,
};
use apimachinery::ApiError;
use bytes::Bytes;
use http::Response;
use std::sync::Arc;

/// # Errors
/// The answer to the client; objects deleted before the error stay deleted.
pub async fn delete_collection(
    ctx: &mut Ctx<'_>,
    endpoint: &Arc<Endpoint>,
    body: Bytes,
) -> Result<Response<Body>, ApiError> {
    let delete_options = delete::options(ctx, body)?;
    let mut list_options = ListOptions::parse(ctx.query, endpoint, endpoint.store.prefix())?;
    if list_options.at == At::Any {
        list_options.at = At::Newest;
    }
    let snapshot = list::snapshot(endpoint, &list_options.at).await?;
    let selected = list::select(endpoint, &snapshot, &list_options, ctx.info.namespace);
    for entry in &selected.entries {
        match delete::delete_object(ctx, endpoint, entry.namespace(), entry.name(), &delete_options).await {
            Ok(_) => {}
            // Somebody else was faster.
            Err(error) if error.code == 404 => {}
            Err(error) => return Err(error),
        }
    }
    list::respond(ctx, endpoint, selected)
}
