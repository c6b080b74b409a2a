//! Stored bytes to response bodies: as they are, in another version, as a table, as metadata alone.
//!
//! JSON in the storage version goes out without being looked at; everything else is computed here.
use crate::{
    body::Body,
    chain::Ctx,
    codec, limits,
    negotiation::{Accept, Form, Format, JSON, PROTOBUF, YAML},
    pretty,
    query::Query,
    registry::Endpoint,
};
use api::Object;
use apimachinery::{
    ApiError,
    codec::protobuf,
    table::{Cell, Column},
};
use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::io::Write;

/// JSON as the client wants it written.
pub fn encoded(accept: Accept, status: StatusCode, json: Bytes) -> Response<Body> {
    let (bytes, content_type) = match accept.format {
        Format::Yaml => match codec::json_to_yaml(&json) {
            Ok(yaml) => (Bytes::from(yaml), YAML),
            Err(_) => (json, JSON),
        },
        Format::Protobuf => match to_protobuf(&json) {
            Ok(bytes) => (bytes, PROTOBUF),
            Err(error) => {
                tracing::error!(%error, "an answer has no protobuf form");
                (json, JSON)
            }
        },
        Format::Json if accept.pretty => (pretty::indent(&json).into(), JSON),
        Format::Json => (json, JSON),
    };
    respond(accept, status, bytes, content_type)
}

/// The protobuf body of an object that is JSON.
///
/// # Errors
/// It has none.
pub fn to_protobuf(json: &[u8]) -> Result<Bytes, ApiError> {
    let mut object: serde_json::Map<String, serde_json::Value> =
        serde_json::from_slice(json).map_err(ApiError::internal)?;
    // `APIVersions` alone has none in JSON.
    object.entry("apiVersion").or_insert_with(|| "v1".into());
    protobuf::from_json(&object).map(Bytes::from).map_err(ApiError::internal)
}

/// An encoded answer, compressed if that is worth it and wanted.
pub fn respond(accept: Accept, status: StatusCode, mut bytes: Bytes, content_type: &'static str) -> Response<Body> {
    let mut zipped = false;
    if accept.gzip
        && bytes.len() >= limits::GZIP_BYTES
        && let Some(smaller) = gzip(&bytes)
    {
        (bytes, zipped) = (smaller, true);
    }
    let mut response = Response::new(Body::from(bytes));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    if zipped {
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        headers.insert(header::VARY, HeaderValue::from_static("Accept-Encoding"));
    }
    response
}

/// Level 1, as upstream: the server's CPU is dearer than the wire.
pub fn gzip(bytes: &[u8]) -> Option<Bytes> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::with_capacity(bytes.len() / 6), flate2::Compression::new(1));
    encoder.write_all(bytes).ok()?;
    encoder.finish().ok().map(Bytes::from)
}

/// One stored object.
///
/// # Errors
/// It cannot be expressed in the form asked for.
pub fn object(ctx: &Ctx<'_>, endpoint: &Endpoint, json: Bytes, status: StatusCode) -> Result<Response<Body>, ApiError> {
    let body = match ctx.accept.form {
        Form::Object => endpoint.convert_out(&json)?,
        Form::Table(version) => {
            let mut table = TableWriter::detached(endpoint, ctx, version)?;
            table.begin(&table_metadata(&json), true);
            table.push(&json)?;
            table.finish()
        }
        Form::Metadata(version) => partial_metadata(&json, version)?.into(),
    };
    Ok(encoded(ctx.accept, status, body))
}

#[derive(Deserialize)]
struct WithMetadata<'a> {
    #[serde(borrow)]
    metadata: &'a RawValue,
}

/// `PartialObjectMetadata` of a stored object.
///
/// # Errors
/// The bytes are not an object with metadata.
pub fn partial_metadata(json: &[u8], version: &str) -> Result<Vec<u8>, ApiError> {
    let parsed: WithMetadata<'_> = serde_json::from_slice(json).map_err(ApiError::internal)?;
    let head = format!("{{\"kind\":\"PartialObjectMetadata\",\"apiVersion\":\"meta.k8s.io/{version}\",\"metadata\":");
    Ok([head.as_bytes(), parsed.metadata.get().as_bytes(), b"}"].concat())
}

fn resource_version(json: &[u8]) -> String {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Meta {
        resource_version: Option<String>,
    }
    #[derive(Deserialize)]
    struct Head {
        metadata: Meta,
    }
    serde_json::from_slice::<Head>(json).ok().and_then(|h| h.metadata.resource_version).unwrap_or_default()
}

/// Columns of kinds that define none.
const DEFAULT_COLUMNS: &[Column] = &[
    Column {
        name: "Name",
        type_: "string",
        format: "name",
        description: "Name must be unique within a namespace.",
        priority: 0,
    },
    Column {
        name: "Created At",
        type_: "date",
        format: "",
        description: "CreationTimestamp is the server time when this object was created.",
        priority: 0,
    },
];

/// Which part of the object each row of a table carries: `None`, `Metadata` or `Object`.
///
/// # Errors
/// `BadRequest` for anything else.
pub fn include_object(query: &Query<'_>) -> Result<&'static str, ApiError> {
    match query.text("includeObject") {
        "" | "Metadata" => Ok("Metadata"),
        "None" => Ok("None"),
        "Object" => Ok("Object"),
        other => Err(ApiError::bad_request(format!("unrecognized includeObject value: {other:?}"))),
    }
}

/// ListMeta of a table that shows one object.
pub fn table_metadata(json: &[u8]) -> String {
    format!("{{\"resourceVersion\":\"{}\"}}", resource_version(json))
}

/// Writes a `Table` row by row.
pub struct TableWriter<'a> {
    endpoint: &'a Endpoint,
    include: &'static str,
    version: &'static str,
    now: i64,
    out: Vec<u8>,
    rows: usize,
}

impl<'a> TableWriter<'a> {
    /// For the caller to [`TableWriter::begin`] each table.
    ///
    /// # Errors
    /// `BadRequest` for an unknown `includeObject`.
    pub fn detached(endpoint: &'a Endpoint, ctx: &Ctx<'_>, version: &'static str) -> Result<Self, ApiError> {
        Ok(Self::with_include(endpoint, version, include_object(ctx.query)?))
    }

    /// `include` is one of [`include_object`]'s.
    pub fn with_include(endpoint: &'a Endpoint, version: &'static str, include: &'static str) -> Self {
        TableWriter { endpoint, include, version, now: now(), out: Vec::new(), rows: 0 }
    }

    /// `metadata` is the table's ListMeta as JSON.
    pub fn begin(&mut self, metadata: &str, columns: bool) {
        self.rows = 0;
        self.now = now();
        self.out.extend_from_slice(b"{\"kind\":\"Table\",\"apiVersion\":\"meta.k8s.io/");
        self.out.extend_from_slice(self.version.as_bytes());
        self.out.extend_from_slice(b"\",\"metadata\":");
        self.out.extend_from_slice(metadata.as_bytes());
        self.out.extend_from_slice(b",\"columnDefinitions\":");
        if columns {
            let own = self.endpoint.resource().columns();
            let columns = if own.is_empty() { DEFAULT_COLUMNS } else { own };
            append(&mut self.out, &columns);
        } else {
            self.out.extend_from_slice(b"null");
        }
        self.out.extend_from_slice(b",\"rows\":[");
    }

    /// # Errors
    /// The stored bytes do not decode.
    pub fn push(&mut self, json: &Bytes) -> Result<(), ApiError> {
        let resource = self.endpoint.resource();
        let decoded = resource.decode_stored(json).map_err(|e| ApiError::internal(e.message))?;
        if self.rows > 0 {
            self.out.push(b',');
        }
        self.rows += 1;
        self.out.extend_from_slice(b"{\"cells\":");
        let cells = self.cells(&*decoded);
        append(&mut self.out, &cells);
        self.out.extend_from_slice(b",\"object\":");
        match self.include {
            "None" => self.out.extend_from_slice(b"null"),
            "Metadata" => self.out.extend_from_slice(&partial_metadata(json, self.version)?),
            _ => self.out.extend_from_slice(&self.endpoint.convert_out(json)?),
        }
        self.out.push(b'}');
        Ok(())
    }

    fn cells(&self, object: &dyn Object) -> Vec<Cell> {
        let resource = self.endpoint.resource();
        if !resource.columns().is_empty() {
            return resource.row(object, self.now);
        }
        let meta = object.metadata();
        let created = meta.creation_timestamp.as_ref().map(|t| apimachinery::time::rfc3339(t.0)).unwrap_or_default();
        vec![Cell::Text(meta.name.clone().unwrap_or_default()), Cell::Text(created)]
    }

    /// The table written since the last time, without a line break.
    pub fn take(&mut self) -> Bytes {
        self.out.extend_from_slice(b"]}");
        std::mem::take(&mut self.out).into()
    }

    pub fn finish(mut self) -> Bytes {
        self.out.extend_from_slice(b"]}\n");
        self.out.into()
    }
}

fn append(out: &mut Vec<u8>, value: &impl Serialize) {
    // Strings and numbers into memory: cannot fail.
    if serde_json::to_writer(&mut *out, value).is_err() {
        out.extend_from_slice(b"null");
    }
}

/// Seconds since the epoch.
pub fn now() -> i64 {
    jiff::Timestamp::now().as_second()
}

/// `Status` of success, as deletions answer it.
pub fn success_status(group: &str, resource: &str, name: &str, uid: &str) -> Bytes {
    success(None, group, resource, name, uid)
}

/// What creating a subresource answers that has no object of its own; its `code` is 201, as upstream has it.
pub fn created_status() -> Bytes {
    success(Some(201), "", "", "", "")
}

fn success(code: Option<u16>, group: &str, resource: &str, name: &str, uid: &str) -> Bytes {
    let mut details = serde_json::Map::new();
    for (key, value) in [("name", name), ("group", group), ("kind", resource), ("uid", uid)] {
        if !value.is_empty() {
            details.insert(key.into(), value.into());
        }
    }
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Status {
        kind: &'static str,
        api_version: &'static str,
        metadata: serde_json::Map<String, serde_json::Value>,
        status: &'static str,
        #[serde(skip_serializing_if = "serde_json::Map::is_empty")]
        details: serde_json::Map<String, serde_json::Value>,
        #[serde(skip_serializing_if = "Option::is_none")]
        code: Option<u16>,
    }
    let (kind, api_version) = ("Status", "v1");
    let status = Status { kind, api_version, metadata: Default::default(), status: "Success", details, code };
    let mut out = Vec::new();
    append(&mut out, &status);
    out.push(b'\n');
    out.into()
}
