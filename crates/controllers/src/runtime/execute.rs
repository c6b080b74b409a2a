//! Carries plans out: the only place where controllers write.
//!
//! Every write that succeeded is remembered until the caches have seen it, so that the next plan for
//! the same key never builds on a view older than our own writes ([`Outcome::settle`]).
use super::plan::{Plan, Step, Told, Verb, Write};
use client::{Caches, Key, cache::Settled, events::Recorder, told};
use http::{Method, Request};
use serde::Deserialize;
use std::time::Duration;

/// Most writes of a batch under way at a time.
const MAX_BATCH: usize = 64;
/// A cache that has not seen a write after this time is read anyway: its watch is broken.
const SETTLE_LIMIT: Duration = Duration::from_secs(30);

/// Why a key could not be brought in order.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The server's own words if it refused.
    #[error("{}", told(.0))]
    Api(#[from] kube::Error),
    #[error("{0}")]
    Stale(String),
    #[error("{0}")]
    Invalid(String),
}

impl Failure {
    /// The `reason` of the server's refusal, such as `AlreadyExists`.
    pub fn reason(&self) -> &str {
        match self {
            Failure::Api(kube::Error::Api(status)) => &status.reason,
            _ => "",
        }
    }

    /// Whether trying again soon is the normal course and not worth a warning.
    pub fn is_conflict(&self) -> bool {
        matches!(self, Failure::Stale(_)) || self.reason() == "Conflict"
    }

    /// Whether the namespace is going away, so that nothing can be created in it.
    pub fn is_namespace_terminating(&self) -> bool {
        match self {
            Failure::Api(kube::Error::Api(status)) => {
                status.message.contains("because it is being terminated")
                    || status.details.iter().flat_map(|d| &d.causes).any(|c| c.reason == "NamespaceTerminating")
            }
            _ => false,
        }
    }
}

/// The part of a server's answer that matters here.
#[derive(Deserialize, Default)]
struct Answer {
    #[serde(default)]
    kind: String,
    #[serde(default)]
    metadata: AnswerMeta,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct AnswerMeta {
    name: Option<String>,
    uid: Option<String>,
    resource_version: Option<String>,
    deletion_timestamp: Option<String>,
}

/// What a cache must have seen for a write to count as seen.
enum Seen {
    Version(String),
    Gone { key: Key, uid: String },
}

/// What was written.
#[derive(Default)]
pub struct Outcome(Vec<(String, Seen)>);

impl Outcome {
    /// Wait until the caches have seen everything that was written.
    pub async fn settle(self, caches: &Caches) {
        for (collection, seen) in self.0 {
            let Some(cache) = caches.settled(&collection) else { continue };
            if tokio::time::timeout(SETTLE_LIMIT, catch_up(&*cache, &seen)).await.is_err() {
                tracing::warn!(collection, "own write not seen in the cache");
            }
        }
    }

    /// Whether nothing was written.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Returns when the cache has seen it, or tells of no more changes.
async fn catch_up(cache: &dyn Settled, seen: &Seen) {
    let mut ticks = cache.ticks();
    let has_seen = || match seen {
        Seen::Version(version) => cache.reached(version),
        Seen::Gone { key, uid } => !cache.alive(key, uid),
    };
    // Not `wait_for`: it holds the channel's lock while it asks, and asking takes it too, which ends in a deadlock when
    // the cache wants to write in between.
    loop {
        ticks.mark_unchanged();
        if has_seen() || ticks.changed().await.is_err() {
            return;
        }
    }
}

/// Writes as one controller.
#[derive(Clone)]
pub struct Executor {
    pub client: kube::Client,
    pub recorder: Recorder,
}

impl Executor {
    /// Carry `plan` out; what was written until the first failure is in `outcome`.
    ///
    /// # Errors
    /// The first write that failed.
    pub async fn run(&self, plan: Plan, outcome: &mut Outcome) -> Result<(), Failure> {
        for step in plan.steps {
            match step {
                Step::Tell(told) => self.tell(&told, "", ""),
                Step::Write(write) => outcome.0.extend(self.write(&write).await?),
                Step::Batch(writes) => self.batch(&writes, outcome).await?,
            }
        }
        Ok(())
    }

    async fn batch(&self, writes: &[Write], outcome: &mut Outcome) -> Result<(), Failure> {
        let (mut rest, mut size) = (writes, 1);
        while !rest.is_empty() {
            let (now, later) = rest.split_at(size.min(rest.len()).min(MAX_BATCH));
            let results = futures::future::join_all(now.iter().map(|write| self.write(write))).await;
            let mut failed = None;
            for result in results {
                match result {
                    Ok(seen) => outcome.0.extend(seen),
                    Err(failure) => failed = failed.or(Some(failure)),
                }
            }
            if let Some(failure) = failed {
                return Err(failure);
            }
            (rest, size) = (later, size * 2);
        }
        Ok(())
    }

    async fn write(&self, write: &Write) -> Result<Option<(String, Seen)>, Failure> {
        match self.request(write).await {
            Ok(answer) => {
                if let Some(told) = &write.told {
                    self.tell(told, answer.metadata.name.as_deref().unwrap_or(&write.target.key.name), "");
                }
                Ok(seen(write, answer))
            }
            Err(Failure::Api(kube::Error::Api(status))) if tolerated(write, &status) => Ok(None),
            Err(failure) => {
                if let Some(told) = &write.told_failed
                    && !failure.is_namespace_terminating()
                {
                    self.tell(told, &write.target.key.name, &failure.to_string());
                }
                Err(failure)
            }
        }
    }

    async fn request(&self, write: &Write) -> Result<Answer, Failure> {
        let mut path = write.target.path();
        if write.verb != Verb::Create || write.subresource.is_some() {
            path = format!("{path}/{}", write.target.key.name);
        }
        if let Some(subresource) = write.subresource {
            path = format!("{path}/{subresource}");
        }
        let (method, content) = match write.verb {
            Verb::Create => (Method::POST, "application/json"),
            Verb::Replace => (Method::PUT, "application/json"),
            Verb::Patch(content) => (Method::PATCH, content),
            Verb::Delete => (Method::DELETE, "application/json"),
            Verb::Check => (Method::GET, "application/json"),
        };
        let body = if write.verb == Verb::Check {
            Vec::new()
        } else {
            serde_json::to_vec(&write.body).map_err(|error| Failure::Invalid(error.to_string()))?
        };
        let request = Request::builder().method(method).uri(&path).header("Content-Type", content);
        let request = request.body(body).map_err(|error| Failure::Invalid(format!("{path}: {error}")))?;
        let answer: Answer = self.client.request(request).await?;
        if write.verb == Verb::Check {
            let key = &write.target.key;
            if answer.metadata.uid != write.uid {
                return Err(Failure::Stale(format!("original {} {key} is gone", write.target.kind)));
            }
            if answer.metadata.deletion_timestamp.is_some() {
                return Err(Failure::Stale(format!("{key} has just been deleted")));
            }
        }
        Ok(answer)
    }

    fn tell(&self, told: &Told, name: &str, error: &str) {
        let message = told.message.replace("{name}", name).replace("{error}", error);
        self.recorder.event(&told.about, told.kind, told.reason, &message);
    }
}

fn tolerated(write: &Write, status: &kube::core::Status) -> bool {
    match status.reason.as_str() {
        "AlreadyExists" => write.exists_is_fine,
        "NotFound" => write.gone_is_fine,
        // A deletion's precondition failed: the object meant is gone, another has its name.
        "Conflict" => write.conflict_is_fine || (write.verb == Verb::Delete && write.gone_is_fine),
        _ => false,
    }
}

fn seen(write: &Write, answer: Answer) -> Option<(String, Seen)> {
    let collection = write.target.collection.clone();
    match write.verb {
        Verb::Check => None,
        // The version in an answer to a deletion may be that of before it.
        Verb::Delete => {
            let uid = write.uid.clone()?;
            Some((collection, Seen::Gone { key: write.target.key.clone(), uid }))
        }
        // Subresources like `eviction` answer with something else.
        _ if answer.kind == "Status" || write.subresource.is_some_and(|s| s != "status") => None,
        _ => Some((collection, Seen::Version(answer.metadata.resource_version?))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        sync::{Arc, mpsc},
        thread,
        time::Duration,
    };
    use tokio::sync::watch;

    /// A cache that changes whenever it is asked something, from another thread, and waits for that.
    struct Busy(Arc<watch::Sender<u64>>);

    impl Settled for Busy {
        fn reached(&self, version: &str) -> bool {
            let (sender, (done, changed)) = (self.0.clone(), mpsc::channel());
            thread::spawn(move || {
                sender.send_modify(|revision| *revision += 1);
                done.send(()).expect("somebody waits for it");
            });
            changed.recv_timeout(Duration::from_secs(10)).expect("the cache can change while it is asked");
            version.parse::<u64>().is_ok_and(|version| *self.0.borrow() >= version)
        }

        fn alive(&self, _: &Key, _: &str) -> bool {
            true
        }

        fn ticks(&self) -> watch::Receiver<u64> {
            self.0.subscribe()
        }
    }

    #[tokio::test]
    async fn waiting_for_a_cache_never_holds_it_up() {
        let cache = Busy(Arc::new(watch::Sender::new(0)));
        catch_up(&cache, &Seen::Version("5".to_owned())).await;
        assert_eq!(*cache.0.borrow(), 5);
    }
}
