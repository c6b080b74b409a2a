//! LIST: a header, the cached bytes of every selected item, a footer.
//!
//! A list is made from one immutable snapshot and produced piece by piece as the connection takes it,
//! so its cost is one copy of the bytes. Source: API concepts, "Resource versions" and "Large lists".
use crate::{
    body::{Body, BoxError, Pieces},
    chain::Ctx,
    handlers::continue_token,
    limits,
    negotiation::{Form, Format, JSON, PROTOBUF},
    options::{At, ListOptions, Selector},
    pretty,
    registry::Endpoint,
    render::{self, TableWriter},
    store::unavailable,
};
use apimachinery::{ApiError, codec::protobuf::List};
use bytes::{BufMut, Bytes, BytesMut};
use flate2::{Compression, write::GzEncoder};
use http::{HeaderValue, Response, StatusCode, header};
use std::{
    io::Write,
    sync::Arc,
    task::{Context, Poll},
};
use storage::cache::{Entry, Snapshot};

const EXPIRED_CONTINUE: &str = "The provided continue parameter is too old to display a consistent list result. \
You can start a new list without the continue parameter, or use the continue token in this response to retrieve \
the remainder of the results. Continuing with the provided token results in an inconsistent list - objects that \
were created, modified, or deleted between the time the first chunk was returned and now may show up in the list.";

/// What a list consists of.
pub struct Selected {
    pub entries: Vec<Arc<Entry>>,
    pub revision: u64,
    /// Empty when this is the end.
    pub continue_token: String,
    pub remaining: Option<usize>,
}

/// # Errors
/// The options are wrong, or the revision asked for is gone or not there yet.
pub async fn list(ctx: &Ctx<'_>, endpoint: &Arc<Endpoint>) -> Result<Response<Body>, ApiError> {
    let options = ListOptions::parse(ctx.query, endpoint, endpoint.store.prefix())?;
    let snapshot = match snapshot(endpoint, &options.at).await {
        Ok(snapshot) => snapshot,
        Err(error) if error.code == 410 => return expired(ctx, endpoint, &options, error),
        Err(error) => return Err(error),
    };
    let selected = select(endpoint, &snapshot, &options, ctx.info.namespace);
    respond(ctx, endpoint, selected)
}

/// The state a list is to show.
///
/// # Errors
/// 410 when it is gone, 504 when it is not there yet.
pub async fn snapshot(endpoint: &Endpoint, at: &At) -> Result<Snapshot, ApiError> {
    let store = &endpoint.store;
    match at {
        At::Newest | At::Continue { revision: None, .. } => store.fresh().await?,
        At::Any => {}
        At::NotOlderThan(revision) => store.wait_for(*revision).await?,
        At::Exact(revision) | At::Continue { revision: Some(revision), .. } => {
            store.wait_for(*revision).await?;
            return store.cache.snapshot_at(*revision).await.map_err(unavailable);
        }
    }
    Ok(store.cache.snapshot())
}

/// An expired continue token is answered with one that goes on inconsistently.
fn expired(
    ctx: &Ctx<'_>,
    endpoint: &Endpoint,
    options: &ListOptions,
    error: ApiError,
) -> Result<Response<Body>, ApiError> {
    let At::Continue { after, .. } = &options.at else { return Err(error) };
    let token = continue_token::encode(after, endpoint.store.prefix(), None);
    let status = serde_json::json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {"continue": token}, "status": "Failure",
        "message": EXPIRED_CONTINUE, "reason": "Expired", "code": 410,
    });
    Ok(render::encoded(ctx.accept, StatusCode::GONE, status.to_string().into()))
}

/// The entries of a list, page by page.
pub fn select(endpoint: &Endpoint, snapshot: &Snapshot, options: &ListOptions, namespace: &str) -> Selected {
    let store = &endpoint.store;
    let selector = &options.selector;
    let mut selected =
        Selected { entries: Vec::new(), revision: snapshot.revision(), continue_token: String::new(), remaining: None };
    let namespace = match (&selector.namespace, namespace) {
        (Some(only), "") => only.as_str(),
        _ => namespace,
    };
    if let Some(name) = selector.name.as_deref()
        && (store.prefix_is_flat() || !namespace.is_empty())
    {
        let entry = snapshot.get(&store.key(namespace, name)).filter(|e| selector.matches(e));
        selected.entries.extend(entry.cloned());
        return selected;
    }
    let range = store.range_prefix(namespace);
    let after = match &options.at {
        At::Continue { after, .. } => Some(after.as_str()),
        _ => None,
    };
    if options.limit == 0 {
        if let (Some((position, value)), None, At::Newest | At::Any) = (&selector.index, after, &options.at) {
            return by_index(endpoint, selector, *position, value, &range);
        }
        let all = snapshot.iter_after(&range, after);
        if selector.is_everything() {
            selected.entries.extend(all.cloned());
        } else {
            selected.entries.extend(all.filter(|e| selector.matches(e)).cloned());
        }
        return selected;
    }
    page(endpoint, snapshot, options, &range, after, &mut selected);
    selected
}

fn by_index(endpoint: &Endpoint, selector: &Selector, position: usize, value: &str, range: &str) -> Selected {
    let (mut entries, revision) = endpoint.store.cache.indexed(position, value);
    entries.retain(|e| e.key.starts_with(range) && selector.matches(e));
    Selected { entries, revision, continue_token: String::new(), remaining: None }
}

fn page(
    endpoint: &Endpoint,
    snapshot: &Snapshot,
    options: &ListOptions,
    range: &str,
    after: Option<&str>,
    selected: &mut Selected,
) {
    let selector = &options.selector;
    let mut more = false;
    if selector.is_everything() {
        let page = snapshot.range(range, after, options.limit);
        more = page.remaining > 0;
        selected.remaining = more.then_some(page.remaining);
        selected.entries = page.entries;
    } else {
        let mut matching = snapshot.iter_after(range, after).filter(|e| selector.matches(e));
        selected.entries.extend(matching.by_ref().take(options.limit).cloned());
        if matching.next().is_some() {
            more = true;
        }
    }
    if more && let Some(last) = selected.entries.last() {
        let prefix = endpoint.store.prefix();
        selected.continue_token = continue_token::encode(&last.key, prefix, Some(selected.revision));
    }
}

/// ListMeta without its braces: `"resourceVersion":"5"`.
fn list_metadata(selected: &Selected) -> String {
    let mut out = format!("\"resourceVersion\":\"{}\"", selected.revision);
    if !selected.continue_token.is_empty() {
        // The alphabet of base64 needs no escapes.
        out.push_str(&format!(",\"continue\":\"{}\"", selected.continue_token));
    }
    if let Some(remaining) = selected.remaining {
        out.push_str(&format!(",\"remainingItemCount\":{remaining}"));
    }
    out
}

/// The response for a selection, in the form the client accepts.
///
/// # Errors
/// An item cannot be expressed in that form.
pub fn respond(ctx: &Ctx<'_>, endpoint: &Arc<Endpoint>, selected: Selected) -> Result<Response<Body>, ApiError> {
    let metadata = list_metadata(&selected);
    if ctx.accept.format == Format::Protobuf {
        let body = protobuf(ctx, endpoint, &selected, &metadata)?;
        return Ok(render::respond(ctx.accept, StatusCode::OK, body, PROTOBUF));
    }
    match ctx.accept.form {
        Form::Table(version) => {
            let mut table = TableWriter::detached(endpoint, ctx, version)?;
            table.begin(&format!("{{{metadata}}}"), true);
            for entry in in_row_order(endpoint, selected.entries) {
                table.push(&entry.json)?;
            }
            Ok(render::encoded(ctx.accept, StatusCode::OK, table.finish()))
        }
        Form::Metadata(version) => {
            let mut out = format!(
                "{{\"kind\":\"PartialObjectMetadataList\",\"apiVersion\":\"meta.k8s.io/{version}\",\"metadata\":{{{metadata}}},\"items\":["
            )
            .into_bytes();
            for (i, entry) in selected.entries.iter().enumerate() {
                if i > 0 {
                    out.push(b',');
                }
                out.extend_from_slice(&render::partial_metadata(&entry.json, version)?);
            }
            out.extend_from_slice(b"]}\n");
            Ok(render::encoded(ctx.accept, StatusCode::OK, out.into()))
        }
        Form::Object => objects(ctx, endpoint, selected, &metadata),
    }
}

/// Tables of some kinds are sorted by more than the name.
fn in_row_order(endpoint: &Endpoint, mut entries: Vec<Arc<Entry>>) -> Vec<Arc<Entry>> {
    let rank = |entry: &Arc<Entry>| {
        let object = endpoint.store.decode(entry).ok()?;
        endpoint.resource().row_rank(&*object)
    };
    if entries.first().is_some_and(|first| rank(first).is_some()) {
        entries.sort_by_cached_key(rank);
    }
    entries
}

/// The list's protobuf body, of whole objects or of their metadata.
fn protobuf(ctx: &Ctx<'_>, endpoint: &Arc<Endpoint>, selected: &Selected, metadata: &str) -> Result<Bytes, ApiError> {
    let (api_version, kind) = match ctx.accept.form {
        Form::Metadata(version) => (format!("meta.k8s.io/{version}"), "PartialObjectMetadata"),
        _ => (endpoint.api_version.to_string(), endpoint.kind()),
    };
    let metadata = serde_json::from_str(&format!("{{{metadata}}}")).map_err(ApiError::internal)?;
    let mut list = List::new(&api_version, kind, &metadata).map_err(ApiError::internal)?;
    for entry in &selected.entries {
        let json = match ctx.accept.form {
            Form::Metadata(_) => entry.json.clone(),
            _ => endpoint.convert_out(&entry.json)?,
        };
        let item = serde_json::from_slice(&json).map_err(ApiError::internal)?;
        list.push(&item).map_err(ApiError::internal)?;
    }
    Ok(list.finish(&api_version, &format!("{kind}List")).into())
}

fn objects(
    ctx: &Ctx<'_>,
    endpoint: &Arc<Endpoint>,
    selected: Selected,
    metadata: &str,
) -> Result<Response<Body>, ApiError> {
    let head = format!("{}{metadata}}},\"items\":[", endpoint.list_head);
    let mut items = Items::new(endpoint.clone(), head, selected.entries);
    if ctx.accept.format == Format::Yaml || ctx.accept.pretty {
        let mut whole = BytesMut::new();
        while let Some(piece) = items.next_piece()? {
            whole.put(piece);
        }
        if ctx.accept.format == Format::Json {
            let mut response = render::encoded(
                crate::negotiation::Accept { pretty: false, ..ctx.accept },
                StatusCode::OK,
                pretty::indent(&whole).into(),
            );
            response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(JSON));
            return Ok(response);
        }
        return Ok(render::encoded(ctx.accept, StatusCode::OK, whole.freeze()));
    }
    let known_length = items.length();
    let zip = ctx.accept.gzip && known_length.unwrap_or(usize::MAX) >= limits::GZIP_BYTES;
    let mut response = match known_length {
        // Small lists in one piece: no streaming machinery, an exact length.
        Some(length) if length <= limits::LIST_CHUNK_BYTES => {
            let piece = items.next_piece()?.unwrap_or_default();
            Response::new(Body::from(piece))
        }
        _ if zip => Response::new(Body::Pieces(Box::new(Zipped::new(items)))),
        _ => Response::new(Body::Pieces(Box::new(items))),
    };
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(JSON));
    match known_length {
        _ if zip => {
            headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
            headers.insert(header::VARY, HeaderValue::from_static("Accept-Encoding"));
        }
        Some(length) if length > limits::LIST_CHUNK_BYTES => {
            headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
        }
        _ => {}
    }
    Ok(response)
}

/// The bytes of a list, made as they are asked for.
struct Items {
    endpoint: Arc<Endpoint>,
    head: String,
    entries: Vec<Arc<Entry>>,
    next: usize,
    done: bool,
}

impl Items {
    fn new(endpoint: Arc<Endpoint>, head: String, entries: Vec<Arc<Entry>>) -> Self {
        Items { endpoint, head, entries, next: 0, done: false }
    }

    /// As list items are written: without the leading `apiVersion` and `kind`, which the list's own tell.
    fn item<'a>(&self, json: &'a [u8]) -> (&'static [u8], &'a [u8]) {
        match json.strip_prefix(self.endpoint.item_head.as_bytes()) {
            Some(rest) => (b"{", rest),
            None => (b"", json),
        }
    }

    /// Bytes of the whole body, when items need no conversion.
    fn length(&self) -> Option<usize> {
        if self.endpoint.served().convert.is_some() {
            return None;
        }
        let items: usize = self
            .entries
            .iter()
            .map(|e| {
                let (open, rest) = self.item(&e.json);
                open.len() + rest.len()
            })
            .sum();
        Some(self.head.len() + items + self.entries.len().saturating_sub(1) + 3)
    }

    fn next_piece(&mut self) -> Result<Option<Bytes>, ApiError> {
        if self.done {
            return Ok(None);
        }
        let mut out = BytesMut::with_capacity(limits::LIST_CHUNK_BYTES + 16 * 1024);
        if self.next == 0 {
            out.put(self.head.as_bytes());
        }
        while let Some(entry) = self.entries.get(self.next) {
            if self.next > 0 {
                out.put_u8(b',');
            }
            self.next += 1;
            if self.endpoint.served().convert.is_some() {
                out.put(self.endpoint.convert_out(&entry.json)?);
            } else {
                let (open, rest) = self.item(&entry.json);
                out.put(open);
                out.put(rest);
            }
            if out.len() >= limits::LIST_CHUNK_BYTES {
                return Ok(Some(out.freeze()));
            }
        }
        self.done = true;
        out.put(&b"]}\n"[..]);
        Ok(Some(out.freeze()))
    }
}

impl Pieces for Items {
    fn poll_piece(&mut self, _: &mut Context<'_>) -> Poll<Option<Result<Bytes, BoxError>>> {
        Poll::Ready(self.next_piece().map_err(BoxError::from).transpose())
    }
}

/// The same, compressed on the way.
struct Zipped {
    items: Items,
    encoder: Option<GzEncoder<Vec<u8>>>,
}

impl Zipped {
    fn new(items: Items) -> Self {
        Zipped { items, encoder: Some(GzEncoder::new(Vec::new(), Compression::new(1))) }
    }

    fn next(&mut self) -> Result<Option<Bytes>, BoxError> {
        while let Some(encoder) = &mut self.encoder {
            match self.items.next_piece()? {
                Some(piece) => {
                    encoder.write_all(&piece)?;
                    if !encoder.get_ref().is_empty() {
                        return Ok(Some(std::mem::take(encoder.get_mut()).into()));
                    }
                }
                None => {
                    let rest = self.encoder.take().map(GzEncoder::finish).transpose()?;
                    return Ok(rest.map(Bytes::from));
                }
            }
        }
        Ok(None)
    }
}

impl Pieces for Zipped {
    fn poll_piece(&mut self, _: &mut Context<'_>) -> Poll<Option<Result<Bytes, BoxError>>> {
        Poll::Ready(self.next().transpose())
    }
}
