//! What the API server says: lists and watches, decoded to what scheduling reads.
//!
//! One task a kind lists, then watches from the list's version, and starts over when the server no longer has the
//! history. All send into one bounded channel; order within a kind is the server's. A change carries the whole new
//! state of an object, so losing and repeating a list is always safe.
use crate::cluster::SelectorKind;
use crate::objects::{
    CsiNode, LabelSelecting, MapSelecting, Metadata, Namespace, Node, PersistentVolume, PersistentVolumeClaim, Pod,
    StorageClass,
};
use bytes::{Buf, BytesMut};
use http::{Request, StatusCode};
use http_body_util::BodyExt;
use kube::client::Body;
use serde::{Deserialize, de::DeserializeOwned};
use std::{marker::PhantomData, time::Duration};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// Changes that may wait to be taken.
pub const CAPACITY: usize = 4096;
/// Objects of one page of a list.
const PAGE: usize = 1000;
/// How long the server keeps one watch.
const WATCH_SECONDS: u64 = 480;
/// A watch that says nothing for so long after its end is taken for dead.
const GRACE: Duration = Duration::from_secs(30);
const MIN_RETRY: Duration = Duration::from_millis(200);
const MAX_RETRY: Duration = Duration::from_secs(10);
/// No object is as large: a line beyond it is not an event.
const MAX_LINE: usize = 16 << 20;

/// What became of objects of one kind.
#[derive(Debug)]
pub enum Delta<T> {
    /// All there are.
    Replaced(Vec<T>),
    Upserted(Box<T>),
    Deleted(Box<T>),
}

/// A change of one of the kinds we follow.
#[derive(Debug)]
pub enum Change {
    Pod(Delta<Pod>),
    Node(Delta<Node>),
    Namespace(Delta<Namespace>),
    Claim(Delta<PersistentVolumeClaim>),
    Volume(Delta<PersistentVolume>),
    Class(Delta<StorageClass>),
    CsiNode(Delta<CsiNode>),
    Map(SelectorKind, Delta<MapSelecting>),
    Labels(SelectorKind, Delta<LabelSelecting>),
}

impl Change {
    /// A whole list, rather than one object.
    pub fn is_list(&self) -> bool {
        fn list<T>(delta: &Delta<T>) -> bool {
            matches!(delta, Delta::Replaced(_))
        }
        match self {
            Change::Pod(delta) => list(delta),
            Change::Node(delta) => list(delta),
            Change::Namespace(delta) => list(delta),
            Change::Claim(delta) => list(delta),
            Change::Volume(delta) => list(delta),
            Change::Class(delta) => list(delta),
            Change::CsiNode(delta) => list(delta),
            Change::Map(_, delta) => list(delta),
            Change::Labels(_, delta) => list(delta),
        }
    }
}

/// How many kinds are followed: so many first lists arrive.
pub const KINDS: usize = 12;

trait Object: DeserializeOwned + Send + 'static {
    fn metadata(&self) -> &Metadata;
}

macro_rules! objects {
    ($($kind:ty),*) => { $(impl Object for $kind {
        fn metadata(&self) -> &Metadata {
            &self.metadata
        }
    })* };
}

objects!(
    Pod,
    Node,
    Namespace,
    PersistentVolumeClaim,
    PersistentVolume,
    StorageClass,
    CsiNode,
    MapSelecting,
    LabelSelecting
);

#[derive(Deserialize)]
#[serde(rename_all = "UPPERCASE", tag = "type", content = "object")]
enum Event<T> {
    Added(T),
    Modified(T),
    Deleted(T),
    Bookmark(Bookmark),
    Error(Status),
}

#[derive(Deserialize)]
struct Bookmark {
    metadata: Metadata,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Status {
    code: u16,
    message: String,
}

#[derive(Deserialize)]
struct List<T> {
    #[serde(default)]
    metadata: ListMetadata,
    items: Option<Vec<T>>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ListMetadata {
    resource_version: String,
    #[serde(rename = "continue")]
    next: String,
}

#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("the server no longer has this version")]
    Expired,
    #[error("{0}")]
    Api(#[from] crate::api::Error),
    #[error("{}", client::told(.0))]
    Transport(#[from] kube::Error),
    #[error("status {0}: {1}")]
    Status(u16, String),
    #[error("reading the watch: {0}")]
    Body(String),
    #[error("an event could not be read: {0}")]
    Decode(#[from] serde_json::Error),
    #[error("{0}")]
    Request(#[from] http::Error),
    #[error("nobody listens any more")]
    Closed,
}

/// Follows all kinds until `shutdown`.
pub fn start(client: &kube::Client, shutdown: &CancellationToken) -> mpsc::Receiver<Change> {
    let (sender, receiver) = mpsc::channel(CAPACITY);
    macro_rules! follow {
        ($path:literal, $wrap:expr) => {{
            let follower = Follower {
                client: client.clone(),
                path: $path,
                wrap: $wrap,
                sender: sender.clone(),
                kind: PhantomData,
            };
            let shutdown = shutdown.clone();
            tokio::spawn(async move {
                tokio::select! { () = shutdown.cancelled() => {}, () = follower.run() => {} }
            });
        }};
    }
    // Ended pods take no room; the selector turns their end into a deletion.
    follow!("/api/v1/pods?fieldSelector=status.phase!%3DSucceeded,status.phase!%3DFailed", Change::Pod);
    follow!("/api/v1/nodes?", Change::Node);
    follow!("/api/v1/namespaces?", Change::Namespace);
    follow!("/api/v1/persistentvolumeclaims?", Change::Claim);
    follow!("/api/v1/persistentvolumes?", Change::Volume);
    follow!("/apis/storage.k8s.io/v1/storageclasses?", Change::Class);
    follow!("/apis/storage.k8s.io/v1/csinodes?", Change::CsiNode);
    follow!("/api/v1/services?", |d| Change::Map(SelectorKind::Service, d));
    follow!("/api/v1/replicationcontrollers?", |d| Change::Map(SelectorKind::ReplicationController, d));
    follow!("/apis/apps/v1/replicasets?", |d| Change::Labels(SelectorKind::ReplicaSet, d));
    follow!("/apis/apps/v1/statefulsets?", |d| Change::Labels(SelectorKind::StatefulSet, d));
    follow!("/apis/policy/v1/poddisruptionbudgets?", |d| Change::Labels(SelectorKind::Budget, d));
    receiver
}

struct Follower<T, W: Fn(Delta<T>) -> Change> {
    client: kube::Client,
    /// With `?`, and perhaps parameters.
    path: &'static str,
    wrap: W,
    sender: mpsc::Sender<Change>,
    kind: PhantomData<fn(T)>,
}

impl<T: Object, W: Fn(Delta<T>) -> Change> Follower<T, W> {
    async fn run(self) {
        let mut version: Option<String> = None;
        let mut retry = MIN_RETRY;
        loop {
            let from = match &version {
                Some(version) => Ok(version.clone()),
                None => self.list().await,
            };
            let result = match from {
                Ok(mut seen) => {
                    let result = self.watch(&mut seen).await;
                    version = Some(seen);
                    result
                }
                Err(error) => Err(error),
            };
            match result {
                Ok(()) => {
                    retry = MIN_RETRY;
                    continue;
                }
                Err(Error::Closed) => return,
                Err(Error::Expired) => version = None,
                // A kind the server does not have is a kind without objects.
                Err(Error::Api(error)) if error.is_not_found() => {
                    if self.send(Delta::Replaced(Vec::new())).await.is_err() {
                        return;
                    }
                    retry = MAX_RETRY;
                }
                Err(error) => tracing::warn!(path = self.path, %error, "objects cannot be followed, trying again"),
            }
            tokio::time::sleep(retry).await;
            retry = (retry * 2).min(MAX_RETRY);
        }
    }

    async fn send(&self, delta: Delta<T>) -> Result<(), Error> {
        self.sender.send((self.wrap)(delta)).await.map_err(|_| Error::Closed)
    }

    async fn list(&self) -> Result<String, Error> {
        let mut items: Vec<T> = Vec::new();
        let mut next = String::new();
        loop {
            let from = if next.is_empty() { String::new() } else { format!("&continue={next}") };
            let page: List<T> = crate::api::get(&self.client, &format!("{}&limit={PAGE}{from}", self.path)).await?;
            items.extend(page.items.unwrap_or_default());
            if page.metadata.next.is_empty() {
                self.send(Delta::Replaced(items)).await?;
                return Ok(page.metadata.resource_version);
            }
            next = percent_encoded(&page.metadata.next);
        }
    }

    /// Watches until the server ends it. `version` moves on with what was seen.
    async fn watch(&self, version: &mut String) -> Result<(), Error> {
        let uri = format!(
            "{}&watch=true&allowWatchBookmarks=true&timeoutSeconds={WATCH_SECONDS}&resourceVersion={version}",
            self.path
        );
        let request = Request::builder().uri(uri).body(Body::empty())?;
        let response = self.client.send(request).await?;
        match response.status() {
            StatusCode::GONE => return Err(Error::Expired),
            status if !status.is_success() => return Err(Error::Status(status.as_u16(), self.path.to_owned())),
            _ => {}
        }
        let mut body = response.into_body();
        let mut lines = Lines::default();
        let end = tokio::time::Instant::now() + Duration::from_secs(WATCH_SECONDS) + GRACE;
        while let Some(frame) = tokio::time::timeout_at(end, body.frame()).await.unwrap_or(None) {
            let frame = frame.map_err(|error| Error::Body(error.to_string()))?;
            let Ok(data) = frame.into_data() else { continue };
            lines.push(&data)?;
            while let Some(line) = lines.next() {
                self.event(&line, version).await?;
            }
        }
        Ok(())
    }

    async fn event(&self, line: &[u8], version: &mut String) -> Result<(), Error> {
        let delta = match serde_json::from_slice(line)? {
            Event::Added(object) | Event::Modified(object) => Delta::Upserted(Box::new(object)),
            Event::Deleted(object) => Delta::Deleted(Box::new(object)),
            Event::Bookmark(bookmark) => {
                *version = bookmark.metadata.resource_version;
                return Ok(());
            }
            Event::Error(status) if status.code == 410 => return Err(Error::Expired),
            Event::Error(status) => return Err(Error::Status(status.code, status.message)),
        };
        let (Delta::Upserted(object) | Delta::Deleted(object)) = &delta else { return Ok(()) };
        let object: &T = object;
        version.clone_from(&object.metadata().resource_version);
        self.send(delta).await
    }
}

/// Splits a stream into lines.
#[derive(Default)]
struct Lines {
    buffer: BytesMut,
    /// Bytes at the start that are known to hold no line end.
    scanned: usize,
}

impl Lines {
    fn push(&mut self, data: &[u8]) -> Result<(), Error> {
        if self.buffer.len() + data.len() > MAX_LINE {
            return Err(Error::Body(format!("a line of more than {MAX_LINE} bytes")));
        }
        self.buffer.extend_from_slice(data);
        Ok(())
    }

    fn next(&mut self) -> Option<BytesMut> {
        let Some(at) = self.buffer[self.scanned..].iter().position(|b| *b == b'\n') else {
            self.scanned = self.buffer.len();
            return None;
        };
        let line = self.buffer.split_to(self.scanned + at);
        self.buffer.advance(1);
        self.scanned = 0;
        Some(line)
    }
}

/// For continue tokens, which may hold anything.
fn percent_encoded(text: &str) -> String {
    let encode = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => char::from(byte).to_string(),
        other => format!("%{other:02X}"),
    };
    text.bytes().map(encode).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn lines_come_whole_however_they_arrive() {
        let mut lines = Lines::default();
        let mut got = Vec::new();
        for piece in ["{\"a\"", ":1}\n{", "}\n\n", "x"] {
            lines.push(piece.as_bytes()).unwrap();
            while let Some(line) = lines.next() {
                got.push(String::from_utf8(line.to_vec()).unwrap());
            }
        }
        assert_eq!(got, ["{\"a\":1}", "{}", ""]);
    }

    #[test]
    fn events_are_told_apart() {
        let event = |text: &str| serde_json::from_str::<Event<Node>>(text).unwrap();
        let added = r#"{"type":"ADDED","object":{"kind":"Node","metadata":{"name":"n"}}}"#;
        assert!(matches!(event(added), Event::Added(node) if node.metadata.name == "n"));
        let gone = r#"{"type":"ERROR","object":{"kind":"Status","code":410,"message":"too old"}}"#;
        assert!(matches!(event(gone), Event::Error(status) if status.code == 410));
    }
}
