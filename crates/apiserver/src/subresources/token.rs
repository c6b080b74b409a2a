//! `serviceaccounts/token`: a token for a service account, bound to what the request names.
use crate::{
    body::{self, Body, RequestBody},
    chain::{Ctx, admit},
    codec,
    registry::Endpoint,
    render,
};
use apimachinery::ApiError;
use http::{Response, StatusCode};
use k8s_openapi::api::authentication::v1::TokenRequest;

/// # Errors
/// As `auth::service_account::Issuer::token_request`; 501 without a signing key.
pub async fn request(ctx: &mut Ctx<'_>, endpoint: &Endpoint, body: RequestBody) -> Result<Response<Body>, ApiError> {
    let json = codec::body_json(&ctx.parts.headers, body::read(body).await?)?;
    let request: TokenRequest = serde_json::from_slice(&json).map_err(|e| ApiError::bad_request(e.to_string()))?;
    let mut request = admission::Body(request);
    admit::body(ctx, endpoint, &mut request, false).await?;
    let admission::Body(request) = request;
    let Some(issuer) = &ctx.app.issuer else {
        return Err(ApiError::not_implemented("the server has no --service-account-signing-key-file"));
    };
    let lookup = &*ctx.app.registry;
    let mut answer = issuer.token_request(lookup, ctx.info.namespace, ctx.info.name, request, render::now())?;
    answer.metadata.name = Some(ctx.info.name.to_owned());
    answer.metadata.namespace = Some(ctx.info.namespace.to_owned());
    answer.metadata.creation_timestamp =
        Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(crate::handlers::create::whole_second()));
    let mut out = serde_json::to_vec(&answer).map_err(ApiError::internal)?;
    out.push(b'\n');
    Ok(render::encoded(ctx.accept, StatusCode::CREATED, out.into()))
}
