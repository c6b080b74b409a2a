//! The body of a watch: frames pulled by the connection straight from the cache.
//!
//! Frames that are ready together go out in one piece. Those in the storage version are built once and
//! shared by all watchers; other forms are computed here for each.
use super::watch::Initial;
use crate::{
    body::{BoxError, Pieces},
    chain::Ctx,
    limits,
    negotiation::{Form, Format},
    registry::Endpoint,
    render::{self, TableWriter},
};
use apimachinery::{ApiError, codec::protobuf};
use bytes::{BufMut, Bytes, BytesMut};
use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};
use storage::cache::{Batch, WatchEvent, Watcher};
use tokio::time::{Instant, Sleep};

/// Turns events into frames of the form the client accepts.
pub struct Writer {
    endpoint: Arc<Endpoint>,
    form: Form,
    protobuf: bool,
    include: Option<&'static str>,
    first_table: bool,
}

impl Writer {
    /// # Errors
    /// `BadRequest` for an unknown `includeObject`.
    pub fn new(ctx: &Ctx<'_>, endpoint: Arc<Endpoint>) -> Result<Self, ApiError> {
        let include = match ctx.accept.form {
            Form::Table(_) => Some(render::include_object(ctx.query)?),
            _ => None,
        };
        let protobuf = ctx.accept.format == Format::Protobuf;
        Ok(Writer { endpoint, form: ctx.accept.form, protobuf, include, first_table: true })
    }

    /// All watchers of this form send the same bytes.
    fn shares_frames(&self) -> bool {
        self.form == Form::Object && self.endpoint.served().convert.is_none()
    }

    fn frames(&mut self, batch: &Batch) -> Bytes {
        if !self.shares_frames() {
            let mut out = BytesMut::new();
            for event in batch.iter() {
                self.frame(&mut out, event.kind.as_str(), &event.entry.json);
            }
            return out.freeze();
        }
        if !self.protobuf {
            return batch.frames().clone();
        }
        let protobuf = |event: &WatchEvent| {
            let mut out = BytesMut::new();
            self.put_frame(&mut out, event.kind.as_str(), &event.entry.json);
            out.freeze()
        };
        batch.other_frames(protobuf).clone()
    }

    fn object(&mut self, json: &Bytes) -> Result<Bytes, ApiError> {
        match self.form {
            Form::Object => self.endpoint.convert_out(json),
            Form::Metadata(version) => render::partial_metadata(json, version).map(Bytes::from),
            Form::Table(version) => {
                let mut table = TableWriter::with_include(&self.endpoint, version, self.include.unwrap_or_default());
                table.begin(&render::table_metadata(json), std::mem::take(&mut self.first_table));
                table.push(json)?;
                Ok(table.take())
            }
        }
    }

    fn frame(&mut self, out: &mut BytesMut, kind: &str, json: &Bytes) {
        let object = match self.object(json) {
            Ok(object) => object,
            Err(error) => {
                tracing::error!(%error, "an object could not be sent to a watcher");
                return;
            }
        };
        self.put_frame(out, kind, &object);
    }

    fn bookmark(&mut self, out: &mut BytesMut, revision: u64, initial_end: bool) {
        let annotations = if initial_end { ",\"annotations\":{\"k8s.io/initial-events-end\":\"true\"}" } else { "" };
        let metadata = format!("{{\"resourceVersion\":\"{revision}\"{annotations}}}");
        let object = match self.form {
            Form::Object => format!(
                "{{\"kind\":\"{}\",\"apiVersion\":\"{}\",\"metadata\":{metadata}}}",
                self.endpoint.kind(),
                self.endpoint.api_version
            ),
            Form::Metadata(version) => format!(
                "{{\"kind\":\"PartialObjectMetadata\",\"apiVersion\":\"meta.k8s.io/{version}\",\"metadata\":{metadata}}}"
            ),
            Form::Table(version) => format!(
                "{{\"kind\":\"Table\",\"apiVersion\":\"meta.k8s.io/{version}\",\"metadata\":{{\"resourceVersion\":\"{revision}\"}},\
                 \"columnDefinitions\":null,\"rows\":[{{\"cells\":null,\"object\":{{\"kind\":\"PartialObjectMetadata\",\
                 \"apiVersion\":\"meta.k8s.io/{version}\",\"metadata\":{metadata}}}}}]}}"
            ),
        };
        self.put_frame(out, "BOOKMARK", object.as_bytes());
    }

    /// `object` is JSON.
    fn put_frame(&self, out: &mut BytesMut, kind: &str, object: &[u8]) {
        if !self.protobuf {
            return put_json_frame(out, kind, object);
        }
        match render::to_protobuf(object) {
            Ok(body) => out.put(&*protobuf::watch_frame(kind, &body)),
            Err(error) => tracing::error!(%error, "an object could not be sent to a watcher as protobuf"),
        }
    }
}

fn put_json_frame(out: &mut BytesMut, kind: &str, object: &[u8]) {
    let object = object.strip_suffix(b"\n").unwrap_or(object);
    out.put(&b"{\"type\":\""[..]);
    out.put(kind.as_bytes());
    out.put(&b"\",\"object\":"[..]);
    out.put(object);
    out.put(&b"}\n"[..]);
}

enum State {
    Open(Box<Watcher>),
    Failed(Option<Bytes>),
}

pub struct Stream {
    writer: Writer,
    initial: Initial,
    state: State,
    bookmarks: bool,
    /// The revision of the last bookmark, or the one the watch began at.
    told: u64,
    ends: Pin<Box<Sleep>>,
    ends_at: Instant,
    next_bookmark: Pin<Box<Sleep>>,
}

impl Stream {
    pub fn new(writer: Writer, initial: Initial, mut watcher: Watcher, bookmarks: bool, timeout: Duration) -> Self {
        let ends_at = Instant::now() + timeout;
        // Upstream sends one shortly before the end, so that the next watch can go on from there.
        let early = timeout.saturating_sub(Duration::from_secs(2)).min(limits::BOOKMARK_INTERVAL);
        let told = watcher.revision();
        Stream {
            writer,
            initial,
            state: State::Open(Box::new(watcher)),
            bookmarks,
            told,
            ends: Box::pin(tokio::time::sleep_until(ends_at)),
            ends_at,
            next_bookmark: Box::pin(tokio::time::sleep(early)),
        }
    }

    /// A stream that consists of one ERROR event.
    pub fn failed(writer: Writer, error: ApiError) -> Self {
        let mut out = BytesMut::new();
        writer.put_frame(&mut out, "ERROR", &error.to_json());
        let now = Instant::now();
        Stream {
            writer,
            initial: Initial { entries: Default::default(), marked: None },
            state: State::Failed(Some(out.freeze())),
            bookmarks: false,
            told: 0,
            ends: Box::pin(tokio::time::sleep_until(now)),
            ends_at: now,
            next_bookmark: Box::pin(tokio::time::sleep_until(now)),
        }
    }

    fn initial_piece(&mut self) -> Option<Bytes> {
        if self.initial.entries.is_empty() && self.initial.marked.is_none() {
            return None;
        }
        let mut out = BytesMut::new();
        while out.len() < limits::WATCH_CHUNK_BYTES {
            let Some(entry) = self.initial.entries.pop_front() else {
                if let Some(revision) = self.initial.marked.take() {
                    self.writer.bookmark(&mut out, revision, true);
                }
                break;
            };
            self.writer.frame(&mut out, "ADDED", &entry.json);
        }
        Some(out.freeze())
    }

    fn poll_bookmark(&mut self, cx: &mut Context<'_>) -> Option<Bytes> {
        if !self.bookmarks || self.next_bookmark.as_mut().poll(cx).is_pending() {
            return None;
        }
        let now = Instant::now();
        let mut next = now + limits::BOOKMARK_INTERVAL;
        let last = self.ends_at.checked_sub(Duration::from_secs(2)).unwrap_or(self.ends_at);
        if now < last && next > last {
            next = last;
        }
        self.next_bookmark.as_mut().reset(next);
        // Arms the timer again.
        if self.next_bookmark.as_mut().poll(cx).is_ready() {
            cx.waker().wake_by_ref();
        }
        let State::Open(watcher) = &mut self.state else { return None };
        let revision = watcher.revision();
        if revision <= self.told {
            return None;
        }
        self.told = revision;
        let mut out = BytesMut::new();
        self.writer.bookmark(&mut out, revision, false);
        Some(out.freeze())
    }
}

impl Pieces for Stream {
    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, BoxError>>> {
        if let Some(piece) = self.initial_piece() {
            return Poll::Ready(Some(Ok(piece)));
        }
        if self.ends.as_mut().poll(cx).is_ready() && matches!(self.state, State::Open(_)) {
            return Poll::Ready(None);
        }
        let watcher = match &mut self.state {
            State::Failed(frame) => return Poll::Ready(frame.take().map(Ok)),
            State::Open(watcher) => watcher,
        };
        let mut piece = Piece::default();
        while piece.len() < limits::WATCH_CHUNK_BYTES {
            match watcher.poll_next(cx) {
                Poll::Ready(Some(batch)) => piece.add(self.writer.frames(&batch)),
                Poll::Ready(None) if piece.is_empty() => return Poll::Ready(None),
                Poll::Pending if piece.is_empty() => {
                    return match self.poll_bookmark(cx) {
                        Some(piece) => Poll::Ready(Some(Ok(piece))),
                        None => Poll::Pending,
                    };
                }
                Poll::Ready(None) | Poll::Pending => break,
            }
        }
        Poll::Ready(Some(Ok(piece.take())))
    }
}

/// Frames that go out together. The first are copied only when others join them.
#[derive(Default)]
struct Piece {
    first: Bytes,
    joined: BytesMut,
}

impl Piece {
    fn add(&mut self, frames: Bytes) {
        if self.is_empty() {
            self.first = frames;
            return;
        }
        if self.joined.is_empty() {
            self.joined.reserve(self.first.len() + frames.len());
            self.joined.put(&*self.first);
        }
        self.joined.put(&*frames);
    }

    fn len(&self) -> usize {
        self.first.len().max(self.joined.len())
    }

    fn is_empty(&self) -> bool {
        self.first.is_empty()
    }

    fn take(self) -> Bytes {
        if self.joined.is_empty() { self.first } else { self.joined.freeze() }
    }
}
