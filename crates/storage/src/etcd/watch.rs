//! One watch over connections that may break: it goes on after the last revision delivered, so no
//! event is lost or repeated. etcd sends all events of a revision in one response.
use super::{key_value, revision_of, signed, unsigned};
use crate::{Error, Event, Revision, WatchMessage, WatchStream};
use etcd_client::{EventType, WatchClient, WatchOptions, WatchRequestSender, WatchResponse, WatchResponseStream};
use std::time::Duration;

const RETRY_FIRST: Duration = Duration::from_millis(50);
const RETRY_MOST: Duration = Duration::from_secs(2);

/// The connection-independent part of a watch.
pub(super) struct Follower {
    client: WatchClient,
    prefix: String,
    with_previous: bool,
    /// The next revision to be delivered.
    next: Revision,
    open: Option<(WatchRequestSender, WatchResponseStream)>,
    retry: Duration,
}

pub(super) fn follow(client: WatchClient, prefix: &str, from: Revision) -> WatchStream {
    let follower = Follower::new(client, prefix, from, true);
    Box::pin(futures::stream::unfold(Some(follower), |follower| async {
        let mut follower = follower?;
        let item = follower.next().await;
        let follower = item.is_ok().then_some(follower);
        Some((item, follower))
    }))
}

impl Follower {
    pub(super) fn new(client: WatchClient, prefix: &str, from: Revision, with_previous: bool) -> Follower {
        Follower { client, prefix: prefix.to_owned(), with_previous, next: from, open: None, retry: RETRY_FIRST }
    }

    /// The next message. Cancel safe.
    ///
    /// # Errors
    /// [`Error::Compacted`] only; lost connections are made anew.
    pub(super) async fn next(&mut self) -> Result<WatchMessage, Error> {
        loop {
            if self.open.is_none() {
                self.connect().await;
            }
            let Some((_, responses)) = &mut self.open else { continue };
            match responses.message().await {
                Ok(Some(response)) => {
                    if response.canceled() && response.compact_revision() == 0 {
                        let (prefix, reason) = (&self.prefix, response.cancel_reason());
                        tracing::warn!(prefix, reason, "etcd ended a watch; restarting it");
                        self.pause().await;
                    } else if let Some(message) = self.take(response)? {
                        self.retry = RETRY_FIRST;
                        return Ok(message);
                    }
                }
                Ok(None) => self.pause().await,
                Err(error) => {
                    tracing::debug!(prefix = self.prefix, %error, "an etcd watch broke; reconnecting");
                    self.pause().await;
                }
            }
        }
    }

    pub(super) fn is_open(&self) -> bool {
        self.open.is_some()
    }

    /// Ask for a progress message; without a connection there will be one anyway.
    pub(super) async fn request_progress(&mut self) {
        if let Some((requests, _)) = &mut self.open
            && requests.request_progress().await.is_err()
        {
            self.open = None;
        }
    }

    async fn connect(&mut self) {
        let mut options = WatchOptions::new().with_start_revision(signed(self.next)).with_progress_notify();
        options = if self.prefix.is_empty() { options.with_all_keys() } else { options.with_prefix() };
        if self.with_previous {
            options = options.with_prev_key();
        }
        match self.client.watch(self.prefix.as_str(), Some(options)).await {
            Ok(stream) => self.open = Some(stream.split()),
            Err(error) => {
                tracing::warn!(prefix = self.prefix, %error, "etcd cannot be watched; trying again");
                self.pause().await;
            }
        }
    }

    /// Give the connection up; the next one is made a while later, for one that breaks at once would
    /// otherwise be made without end.
    async fn pause(&mut self) {
        self.open = None;
        let pause = self.retry;
        self.retry = (self.retry * 2).min(RETRY_MOST);
        tokio::time::sleep(pause).await;
    }

    fn take(&mut self, response: WatchResponse) -> Result<Option<WatchMessage>, Error> {
        if response.compact_revision() > 0 {
            let oldest = unsigned(response.compact_revision());
            return Err(Error::Compacted { requested: self.next, oldest });
        }
        if response.created() {
            return Ok(None);
        }
        if response.events().is_empty() {
            let revision = revision_of(response.header());
            if revision < self.next {
                // Nothing new, but an answer nonetheless.
                return Ok(Some(WatchMessage::Progress(self.next - 1)));
            }
            self.next = revision + 1;
            return Ok(Some(WatchMessage::Progress(revision)));
        }
        let events: Vec<Event> = response.events().iter().filter_map(event).collect();
        let Some(last) = events.last() else { return Ok(None) };
        self.next = last.kv.mod_revision + 1;
        Ok(Some(WatchMessage::Events(events)))
    }
}

fn event(event: &etcd_client::Event) -> Option<Event> {
    let kv = key_value(event.kv()?.clone());
    let deleted = event.event_type() == EventType::Delete;
    Some(Event { kv, deleted, previous: event.prev_kv().cloned().map(key_value) })
}
