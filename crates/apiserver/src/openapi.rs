//! `/openapi/v2` and `/openapi/v3`: documents are made when first asked for and kept compressed.
use crate::{body::Body, chain::Ctx, negotiation, reviews, version::GIT_VERSION};
use api::openapi::{Document, Documents, ServedResource, served};
use apimachinery::ApiError;
use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use std::sync::{Arc, OnceLock};

/// The documents of what is served, listed when first asked for.
#[derive(Default)]
pub struct OpenApi(OnceLock<Arc<Documents>>);

/// # Errors
/// 404 for a group and version that is not served.
pub fn serve(ctx: &Ctx<'_>, path: &str) -> Result<Response<Body>, ApiError> {
    let documents = ctx.app.openapi.0.get_or_init(|| Arc::new(documents(ctx)));
    let failed = |e: std::io::Error| ApiError::internal(e);
    match path.trim_start_matches("/openapi/") {
        "v3" => {
            let mut response = Response::new(Body::from(documents.index()));
            response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(negotiation::JSON));
            Ok(response)
        }
        "v2" => {
            let Some(content_type) = v2_content_type(&ctx.parts.headers) else {
                let mut response = Response::new(Body::empty());
                *response.status_mut() = StatusCode::NOT_ACCEPTABLE;
                response.headers_mut().insert(header::VARY, HeaderValue::from_static("Accept"));
                return Ok(response);
            };
            let document = if content_type == PROTOBUF { documents.v2_protobuf() } else { documents.v2() };
            answer(ctx, &*document.map_err(failed)?, content_type)
        }
        other => {
            let path = other.strip_prefix("v3/").ok_or_else(ApiError::no_such_path)?;
            let document = documents.v3(path).map_err(failed)?.ok_or_else(ApiError::no_such_path)?;
            if let Some(asked) = ctx.parts.uri.query().and_then(asked_hash)
                && asked != document.hash
            {
                return Ok(moved(path, &document));
            }
            answer(ctx, &document, negotiation::JSON)
        }
    }
}

/// What clients ask for the v2 document in protobuf by; Go cannot parse it as a content type.
const PROTOBUF_ASKED: &str = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf";
/// What it is answered as, and may be asked for by, too.
const PROTOBUF: &str = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf";

/// The form of the v2 document that the client prefers; `None` when it takes none of them.
fn v2_content_type(headers: &http::HeaderMap) -> Option<&'static str> {
    let accept = headers.get(header::ACCEPT).and_then(|v| v.to_str().ok()).filter(|a| !a.is_empty()).unwrap_or("*/*");
    negotiation::accepted(accept).find_map(|media_type| match media_type {
        negotiation::JSON | "application/*" | "*/*" => Some(negotiation::JSON),
        PROTOBUF_ASKED | PROTOBUF => Some(PROTOBUF),
        _ => None,
    })
}

fn documents(ctx: &Ctx<'_>) -> Documents {
    let mut resources: Vec<ServedResource> =
        ctx.app.registry.stores().iter().flat_map(|store| served(store.resource.info())).collect();
    for (group, version, resource) in reviews::discovered() {
        resources.push(ServedResource {
            group: group.into(),
            version: version.into(),
            resource: resource.name.into(),
            kind: resource.kind.into(),
            namespaced: resource.namespaced,
            verbs: resource.verbs.into_iter().map(Into::into).collect(),
            subresources: Vec::new(),
        });
    }
    Documents::new(resources, Vec::new(), GIT_VERSION)
}

fn asked_hash(query: &str) -> Option<&str> {
    query.split('&').find_map(|pair| pair.strip_prefix("hash="))
}

/// The client knows an older document: it is told where the present one is.
fn moved(path: &str, document: &Document) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::MOVED_PERMANENTLY;
    if let Ok(location) = HeaderValue::from_str(&format!("/openapi/v3/{path}?hash={}", document.hash)) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    response
}

fn answer(ctx: &Ctx<'_>, document: &Document, content_type: &'static str) -> Result<Response<Body>, ApiError> {
    let etag = format!("\"{}\"", document.hash);
    let request = &ctx.parts.headers;
    let known = request.get(header::IF_NONE_MATCH).and_then(|v| v.to_str().ok());
    let unchanged = known.is_some_and(|k| k.split(',').any(|tag| tag.trim() == etag));
    let gzip = request
        .get(header::ACCEPT_ENCODING)
        .and_then(|v| v.to_str().ok())
        .is_some_and(|v| v.split(',').any(|e| e.split(';').next().is_some_and(|e| e.trim() == "gzip")));
    let body = match (unchanged, gzip) {
        (true, _) => Body::empty(),
        (false, true) => Body::from(document.gzip.clone()),
        (false, false) => Body::from(Bytes::from(document.body().map_err(ApiError::internal)?)),
    };
    let mut response = Response::new(body);
    if unchanged {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
    }
    let headers = response.headers_mut();
    if let Ok(etag) = HeaderValue::from_str(&etag) {
        headers.insert(header::ETAG, etag);
    }
    headers.insert(header::VARY, HeaderValue::from_static("Accept-Encoding, Accept"));
    if ctx.parts.uri.query().and_then(asked_hash).is_some() {
        // The hash is in the address: this document never changes.
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("public, immutable"));
    }
    if !unchanged {
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
        if gzip {
            headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
    }
    Ok(response)
}
