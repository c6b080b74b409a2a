//! The scheduler's events, in the form of `events.k8s.io`: what was attempted (`action`), with a time in microseconds
//! and no source. `Scheduled` is written once for each pod; the others become a series when they repeat.
//!
//! Written by one task behind a bounded queue: past the bound events are dropped, never waited for.
use crate::{api, pod::PodInfo};
use foldhash::{HashMap, HashMapExt};
use jiff::Timestamp;
use serde_json::{Value, json};
use std::sync::Arc;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// Events that may wait to be written.
const QUEUE: usize = 1000;
/// Series that are remembered; then all are forgotten.
const SERIES_MAX: usize = 4096;
/// A series that went quiet for so long is over.
const SERIES_S: i64 = 6 * 60;
/// Longest text of an event, in bytes.
const NOTE_MAX: usize = 1024;
const CUT: &str = " ...";

/// One thing to be said about a pod.
pub struct Said {
    pub pod: Arc<PodInfo>,
    pub warning: bool,
    pub reason: &'static str,
    pub action: &'static str,
    pub message: String,
    /// Another pod this is about.
    pub related: Option<Arc<PodInfo>>,
    /// As whom it is said.
    pub scheduler: String,
}

/// Takes events to be written.
#[derive(Clone)]
pub struct Events(mpsc::Sender<Said>);

impl Events {
    /// Start the writing task.
    pub fn start(client: kube::Client, host: Arc<str>, shutdown: CancellationToken) -> Self {
        let (queue, mut said) = mpsc::channel(QUEUE);
        tokio::spawn(async move {
            let mut series = HashMap::new();
            loop {
                let next = tokio::select! {
                    () = shutdown.cancelled() => return,
                    next = said.recv() => next,
                };
                match next {
                    Some(said) => write(&client, &host, &said, &mut series, Timestamp::now()).await,
                    None => return,
                }
            }
        });
        Self(queue)
    }

    pub fn say(&self, said: Said) {
        if let Err(error) = self.0.try_send(said) {
            tracing::debug!(%error, "event dropped");
        }
    }
}

/// UID of the pod, reason and text.
type Same = (Arc<str>, &'static str, String);

/// An event that was written.
struct Series {
    path: String,
    count: i32,
    last: Timestamp,
}

async fn write(client: &kube::Client, host: &str, said: &Said, series: &mut HashMap<Same, Series>, now: Timestamp) {
    let same = (said.pod.uid.clone(), said.reason, said.message.clone());
    let running = series.get_mut(&same).filter(|known| now.as_second() - known.last.as_second() < SERIES_S);
    let result = if let Some(known) = running {
        known.count = known.count.saturating_add(1);
        known.last = now;
        let news = json!({
            "series": { "count": known.count, "lastObservedTime": apimachinery::time::rfc3339_micro(now) }
        });
        api::merge_patch(client, &known.path, &news).await
    } else {
        let namespace = &*said.pod.key.namespace;
        let collection = format!("/api/v1/namespaces/{namespace}/events");
        let event = event(said, host, now);
        let name = event["metadata"]["name"].as_str().unwrap_or_default();
        let path = format!("{collection}/{name}");
        if series.len() >= SERIES_MAX {
            series.clear();
        }
        series.insert(same, Series { path, count: 1, last: now });
        api::post(client, &collection, &event).await
    };
    if let Err(error) = result {
        tracing::debug!(pod = %said.pod.key, reason = said.reason, %error, "event not written");
    }
}

/// The Event as core/v1 shows it.
pub fn event(said: &Said, host: &str, now: Timestamp) -> Value {
    let (namespace, name) = (&*said.pod.key.namespace, &*said.pod.key.name);
    let mut event = json!({
        "apiVersion": "v1", "kind": "Event",
        "metadata": { "namespace": namespace, "name": format!("{name}.{:x}", now.as_nanosecond()) },
        "involvedObject": reference(&said.pod),
        "type": if said.warning { "Warning" } else { "Normal" },
        "reason": said.reason,
        "action": said.action,
        "message": shortened(&said.message),
        "eventTime": apimachinery::time::rfc3339_micro(now),
        "reportingComponent": said.scheduler,
        "reportingInstance": format!("{}-{host}", said.scheduler),
    });
    if let Some(related) = &said.related {
        event["related"] = reference(related);
    }
    event
}

fn reference(pod: &PodInfo) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod", "namespace": &*pod.key.namespace, "name": &*pod.key.name, "uid": &*pod.uid
    })
}

fn shortened(message: &str) -> String {
    if message.len() <= NOTE_MAX {
        return message.to_owned();
    }
    let mut end = NOTE_MAX - CUT.len();
    while !message.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}{CUT}", message.get(..end).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_texts_are_cut() {
        assert_eq!(shortened("short"), "short");
        let text = shortened(&"é".repeat(1000));
        assert!(text.len() <= NOTE_MAX && text.ends_with("é ..."), "{}", text.len());
    }
}
