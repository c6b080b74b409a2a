//! WATCH: where it begins, and the stream that follows.
//!
//! Source: API concepts, "Efficient detection of changes" and "Streaming lists".
use crate::{
    body::Body,
    chain::Ctx,
    handlers::watch_stream::{Stream, Writer},
    negotiation::{Format, JSON, WATCH_PROTOBUF},
    options::WatchOptions,
    registry::Endpoint,
    store::unavailable,
};
use apimachinery::ApiError;
use http::{HeaderValue, Response, header};
use std::{collections::VecDeque, sync::Arc, time::Duration};
use storage::cache::{Entry, Snapshot};

/// # Errors
/// The options are wrong, or the revision asked for is not there yet.
pub async fn watch(ctx: &Ctx<'_>, endpoint: &Arc<Endpoint>) -> Result<Response<Body>, ApiError> {
    let mut options = WatchOptions::parse(ctx.query, endpoint)?;
    if !ctx.info.name.is_empty() {
        // `/watch/…/name` and `?watch` on one object.
        options.selector = options.selector.with_name(ctx.info.name);
    }
    let accept = ctx.accept.for_watch()?;
    let content_type = if accept.format == Format::Protobuf { WATCH_PROTOBUF } else { JSON };
    let writer = Writer::new(ctx, endpoint.clone())?;
    let timeout = options.timeout.unwrap_or_else(|| random_timeout(ctx.app.flags.min_request_timeout));
    let stream = match begin(ctx, endpoint, &options).await {
        Ok((initial, watcher)) => Stream::new(writer, initial, watcher, options.bookmarks, timeout),
        // As upstream: a version that is gone is told in the stream, where clients look for it.
        Err(error) if error.code == 410 => Stream::failed(writer, error),
        Err(error) => return Err(error),
    };
    let mut response = Response::new(Body::Pieces(Box::new(stream)));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    Ok(response)
}

/// What is sent before the first event.
pub struct Initial {
    pub entries: VecDeque<Arc<Entry>>,
    /// Ends with the bookmark that marks the end of the initial events, at this revision.
    pub marked: Option<u64>,
}

async fn begin(
    ctx: &Ctx<'_>,
    endpoint: &Endpoint,
    options: &WatchOptions,
) -> Result<(Initial, storage::cache::Watcher), ApiError> {
    let store = &endpoint.store;
    let namespace = if endpoint.namespaced() { ctx.info.namespace } else { "" };
    let filter = options.selector.filter(store, namespace);
    let mut initial = Initial { entries: VecDeque::new(), marked: None };
    let snapshot = match (options.initial_events, options.from) {
        (Some(true) | None, None) => {
            store.fresh().await?;
            Some(store.cache.snapshot())
        }
        (Some(true), Some(from)) => {
            store.wait_for(from).await?;
            Some(store.cache.snapshot())
        }
        (None, Some(0)) => Some(store.cache.snapshot()),
        (None | Some(false), Some(from)) if from > 0 => None,
        // No initial events, from whatever is newest.
        _ => {
            store.fresh().await?;
            let revision = store.cache.snapshot().revision();
            let watcher = store.cache.watch(revision, filter).map_err(|e| too_old(e, revision))?;
            return Ok((initial, watcher));
        }
    };
    let from = match &snapshot {
        Some(snapshot) => {
            initial.entries = entries(snapshot, endpoint, options, namespace);
            if options.initial_events == Some(true) && options.bookmarks {
                initial.marked = Some(snapshot.revision());
            }
            snapshot.revision()
        }
        None => options.from.unwrap_or_default(),
    };
    let watcher = store.cache.watch(from, filter).map_err(|e| too_old(e, from))?;
    Ok((initial, watcher))
}

fn entries(snapshot: &Snapshot, endpoint: &Endpoint, options: &WatchOptions, namespace: &str) -> VecDeque<Arc<Entry>> {
    let range = endpoint.store.range_prefix(namespace);
    snapshot.iter(&range).filter(|e| options.selector.matches(e)).cloned().collect()
}

fn too_old(error: storage::Error, from: u64) -> ApiError {
    match error {
        storage::Error::Compacted { requested, oldest } => ApiError::expired(format!(
            "too old resource version: {} ({})",
            from.max(requested.saturating_sub(1)),
            oldest.saturating_sub(1)
        )),
        other => unavailable(other),
    }
}

/// Spreads the reconnects of watchers: between the minimum and twice that.
fn random_timeout(min_seconds: u32) -> Duration {
    use rand::RngExt;
    let min = f64::from(min_seconds);
    Duration::from_secs_f64(min * (1.0 + rand::rng().random::<f64>()))
}
