//! What the client wants to get and what it sent: `Accept`, `Content-Type`, `pretty`.
//!
//! Responses are JSON whenever the client takes JSON at all, whatever else it would like: JSON is what is
//! stored. YAML and protobuf go to clients that take nothing else.
//! Sources: API concepts "Alternate representations of resources", `endpoints/handlers/negotiation`.
use crate::query::Query;
use apimachinery::ApiError;
use http::{HeaderMap, header};

pub const JSON: &str = "application/json";
pub const YAML: &str = "application/yaml";
pub const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";
/// The content type of watches in protobuf.
pub const WATCH_PROTOBUF: &str = "application/vnd.kubernetes.protobuf;stream=watch";

/// What objects are served as.
pub const OBJECT_TYPES: [&str; 3] = [JSON, YAML, PROTOBUF];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    Json,
    Yaml,
    Protobuf,
}

/// The shape of the answer, from `as=` in the accepted type.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Form {
    #[default]
    Object,
    /// `meta.k8s.io` version of the table: `v1` or `v1beta1`.
    Table(&'static str),
    /// Metadata alone, of one object or of each in a list.
    Metadata(&'static str),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Accept {
    pub format: Format,
    pub form: Form,
    pub pretty: bool,
    pub gzip: bool,
}

/// One element of an `Accept` header.
#[derive(Debug, Default)]
struct Clause<'a> {
    media_type: &'a str,
    as_kind: &'a str,
    group: &'a str,
    version: &'a str,
    quality_milli: u32,
}

fn clauses(header: &str) -> Vec<Clause<'_>> {
    let mut all: Vec<Clause<'_>> = header
        .split(',')
        .filter_map(|text| {
            let mut parts = text.split(';').map(str::trim);
            let media_type = parts.next().filter(|m| !m.is_empty())?;
            let mut clause = Clause { media_type, quality_milli: 1000, ..Clause::default() };
            for (key, value) in parts.filter_map(|p| p.split_once('=')) {
                match key.trim() {
                    "as" => clause.as_kind = value,
                    "g" => clause.group = value,
                    "v" => clause.version = value,
                    "q" => {
                        clause.quality_milli =
                            value.parse::<f32>().map_or(1000, |q| (q.clamp(0.0, 1.0) * 1000.0) as u32)
                    }
                    _ => {}
                }
            }
            Some(clause)
        })
        .collect();
    // Stable: equals stay in the client's order.
    all.sort_by_key(|c| std::cmp::Reverse(c.quality_milli));
    all
}

/// The media types of an `Accept` header, without their parameters, the one liked best first.
pub fn accepted(header: &str) -> impl Iterator<Item = &str> {
    clauses(header).into_iter().map(|clause| clause.media_type)
}

fn format_of(media_type: &str) -> Option<Format> {
    match media_type {
        "*/*" | "application/*" | JSON => Some(Format::Json),
        YAML => Some(Format::Yaml),
        PROTOBUF => Some(Format::Protobuf),
        _ => None,
    }
}

fn version_of(version: &str) -> Option<&'static str> {
    match version {
        "v1" => Some("v1"),
        "v1beta1" => Some("v1beta1"),
        _ => None,
    }
}

impl Accept {
    /// # Errors
    /// 406 when nothing the client accepts can be produced.
    pub fn negotiate(headers: &HeaderMap, query: &Query<'_>) -> Result<Self, ApiError> {
        let header = headers.get(header::ACCEPT).and_then(|v| v.to_str().ok()).unwrap_or_default();
        let gzip = headers
            .get(header::ACCEPT_ENCODING)
            .and_then(|v| v.to_str().ok())
            .is_some_and(|v| v.split(',').any(|e| e.split(';').next().is_some_and(|e| e.trim() == "gzip")));
        let mut accept =
            Accept { format: Format::Json, form: Form::Object, pretty: wants_pretty(headers, query), gzip };
        if header.is_empty() || header == JSON || header == "*/*" {
            return Ok(accept);
        }
        let mut protobuf = None;
        for clause in clauses(header) {
            let Some(format) = format_of(clause.media_type) else { continue };
            let form = match (clause.as_kind, clause.group, version_of(clause.version)) {
                ("", ..) => Form::Object,
                // Tables have no protobuf form.
                ("Table", "meta.k8s.io", Some(version)) if format != Format::Protobuf => Form::Table(version),
                ("PartialObjectMetadata" | "PartialObjectMetadataList", "meta.k8s.io", Some(version)) => {
                    Form::Metadata(version)
                }
                _ => continue,
            };
            if format == Format::Protobuf {
                protobuf.get_or_insert(form);
                continue;
            }
            (accept.format, accept.form) = (format, form);
            return Ok(accept);
        }
        match protobuf {
            Some(form) => Ok(Accept { format: Format::Protobuf, form, ..accept }),
            None => Err(not_acceptable(&OBJECT_TYPES)),
        }
    }

    /// # Errors
    /// 406 for YAML, which has no form for streams.
    pub fn for_watch(self) -> Result<Self, ApiError> {
        if self.format == Format::Yaml { Err(not_acceptable(&[JSON, WATCH_PROTOBUF])) } else { Ok(self) }
    }
}

/// 406, with the types that can be had.
pub fn not_acceptable(types: &[&str]) -> ApiError {
    ApiError::not_acceptable(format!("only the following media types are accepted: {}", types.join(", ")))
}

/// Whether the client takes `media_type;g=group;v=version;as=kind`, and not plain JSON before it.
pub fn accepts_discovery(headers: &HeaderMap, group: &str, kind: &str) -> Option<&'static str> {
    let header = headers.get(header::ACCEPT)?.to_str().ok()?;
    for clause in clauses(header) {
        if clause.media_type != JSON {
            continue;
        }
        match (clause.as_kind, clause.group, clause.version) {
            ("", ..) => return None,
            (k, g, "v2") if k == kind && g == group => return Some("v2"),
            _ => {}
        }
    }
    None
}

fn wants_pretty(headers: &HeaderMap, query: &Query<'_>) -> bool {
    if let Some(value) = query.optional_flag("pretty") {
        return value;
    }
    // As upstream: people with these get readable output.
    headers
        .get(header::USER_AGENT)
        .and_then(|v| v.to_str().ok())
        .is_some_and(|agent| agent.starts_with("curl") || agent.starts_with("Wget") || agent.starts_with("Mozilla/5.0"))
}

/// Encoding of a request's body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    Json,
    Yaml,
    Protobuf,
}

/// The media type without its parameters; JSON when there is none.
pub fn content_type(headers: &HeaderMap) -> &str {
    let full = headers.get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or(JSON);
    let bare = full.split(';').next().unwrap_or_default().trim();
    if bare.is_empty() { JSON } else { bare }
}

/// # Errors
/// 415 for anything but JSON, YAML and protobuf.
pub fn body_encoding(headers: &HeaderMap) -> Result<Encoding, ApiError> {
    match content_type(headers) {
        JSON | "*/*" => Ok(Encoding::Json),
        YAML => Ok(Encoding::Yaml),
        PROTOBUF => Ok(Encoding::Protobuf),
        _ => Err(ApiError::unsupported_media_type(format!(
            "the body of the request was in an unknown format - accepted media types include: {JSON}, {YAML}, {PROTOBUF}"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn negotiate(accept: &'static str) -> Result<(Format, Form), u16> {
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT, HeaderValue::from_static(accept));
        Accept::negotiate(&headers, &Query::default()).map(|a| (a.format, a.form)).map_err(|e| e.code)
    }

    #[test]
    fn what_official_clients_send() {
        let cases = [
            ("application/json", Ok((Format::Json, Form::Object))),
            ("application/vnd.kubernetes.protobuf,application/json", Ok((Format::Json, Form::Object))),
            (
                "application/json;as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json",
                Ok((Format::Json, Form::Table("v1"))),
            ),
            (
                "application/vnd.kubernetes.protobuf;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json",
                Ok((Format::Json, Form::Metadata("v1"))),
            ),
            ("application/yaml", Ok((Format::Yaml, Form::Object))),
            ("text/html,*/*;q=0.8", Ok((Format::Json, Form::Object))),
            ("application/yaml;q=0.5,application/json", Ok((Format::Json, Form::Object))),
            ("application/vnd.kubernetes.protobuf", Ok((Format::Protobuf, Form::Object))),
            ("application/vnd.kubernetes.protobuf;stream=watch", Ok((Format::Protobuf, Form::Object))),
            (
                "application/vnd.kubernetes.protobuf;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1",
                Ok((Format::Protobuf, Form::Metadata("v1"))),
            ),
            ("application/vnd.kubernetes.protobuf;as=Table;g=meta.k8s.io;v=v1", Err(406)),
            ("application/cbor", Err(406)),
            ("application/json;as=Table;v=v9;g=meta.k8s.io", Err(406)),
        ];
        for (header, want) in cases {
            assert_eq!(negotiate(header), want, "{header}");
        }
    }
}
