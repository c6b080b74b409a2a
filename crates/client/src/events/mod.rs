//! The event recorder: core/v1 Events about objects, as `kubectl describe` shows them.
//!
//! Recording never blocks and never fails: past the bound of the queue events are dropped, as
//! upstream does. Repeats are counted on one Event object instead of written anew, similar ones are
//! combined, and one object's chatter is limited; see [`correlate`](self).
mod correlate;
mod write;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::ObjectReference;
use kube::Resource;
use std::{fmt, sync::Arc};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// Events that may wait to be written (client-go's queue length).
const QUEUE: usize = 1000;

/// Whether an event is worth a look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EventType {
    Normal,
    Warning,
}

impl fmt::Display for EventType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            EventType::Normal => "Normal",
            EventType::Warning => "Warning",
        })
    }
}

/// One thing that happened to an object.
#[derive(Clone, Debug)]
struct Occurrence {
    object: ObjectReference,
    kind: EventType,
    reason: String,
    message: String,
    at: Timestamp,
    component: Arc<str>,
    host: Arc<str>,
}

/// Records events of one component. Clones share the queue and its writer.
#[derive(Clone)]
pub struct Recorder {
    component: Arc<str>,
    host: Arc<str>,
    queue: mpsc::Sender<Occurrence>,
}

impl Recorder {
    /// A recorder that writes through `client` until `shutdown`.
    ///
    /// `component` and `host` become the events' source, such as `kubelet` and the node's name;
    /// components that are not bound to a node pass `""` as host.
    pub fn new(client: kube::Client, component: &str, host: &str, shutdown: CancellationToken) -> Self {
        let (queue, occurrences) = mpsc::channel(QUEUE);
        tokio::spawn(write::run(client, occurrences, shutdown));
        Self { component: component.into(), host: host.into(), queue }
    }

    /// A recorder whose events can be read from the returned receiver as `<type> <reason> <message>`.
    /// For tests.
    pub fn fake() -> (Self, FakeEvents) {
        let (queue, occurrences) = mpsc::channel(QUEUE);
        (Self { component: "test".into(), host: "".into(), queue }, FakeEvents(occurrences))
    }

    /// The same queue and writer under another component's name.
    #[must_use]
    pub fn named(&self, component: &str) -> Self {
        Self { component: component.into(), ..self.clone() }
    }

    /// Record an event about `object`; see [`reference`].
    pub fn event(&self, object: &ObjectReference, kind: EventType, reason: &str, message: &str) {
        let occurrence = Occurrence {
            object: object.clone(),
            kind,
            reason: reason.to_owned(),
            message: message.to_owned(),
            at: Timestamp::now(),
            component: self.component.clone(),
            host: self.host.clone(),
        };
        if self.queue.try_send(occurrence).is_err() {
            tracing::debug!(reason, "event dropped: too many are waiting");
        }
    }

    /// Record a `Normal` event about `object`.
    pub fn normal<K: Resource<DynamicType = ()>>(&self, object: &K, reason: &str, message: &str) {
        self.event(&reference(object), EventType::Normal, reason, message);
    }

    /// Record a `Warning` event about `object`.
    pub fn warning<K: Resource<DynamicType = ()>>(&self, object: &K, reason: &str, message: &str) {
        self.event(&reference(object), EventType::Warning, reason, message);
    }
}

/// What an event says it is about, resource version included.
pub fn reference<K: Resource<DynamicType = ()>>(object: &K) -> ObjectReference {
    ObjectReference { resource_version: object.meta().resource_version.clone(), ..object.object_ref(&()) }
}

/// What a [`Recorder::fake`] was told.
pub struct FakeEvents(mpsc::Receiver<Occurrence>);

impl FakeEvents {
    /// Everything recorded since the last call.
    pub fn take(&mut self) -> Vec<String> {
        let mut taken = Vec::new();
        while let Ok(occurrence) = self.0.try_recv() {
            taken.push(format!("{} {} {}", occurrence.kind, occurrence.reason, occurrence.message));
        }
        taken
    }
}
