//! One watch of everything under the root, shared by all sinks, and the clock it drives.
use super::watch::Follower;
use super::{Revision, newest, read};
use crate::sinks::Sinks;
use crate::{Attached, Error, Sink, WatchMessage};
use etcd_client::{KvClient, WatchClient};
use parking_lot::Mutex;
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::sync::{Notify, OnceCell, watch};
use tokio_util::sync::{CancellationToken, DropGuard};

const RETRY: Duration = Duration::from_millis(500);

pub(super) struct Hub {
    watch: WatchClient,
    kv: KvClient,
    pub root: String,
    started: OnceCell<Running>,
    progress: Arc<Notify>,
}

struct Running {
    shared: Arc<Shared>,
    _stop: DropGuard,
}

struct Shared {
    sinks: Mutex<Sinks>,
    clock: watch::Sender<Revision>,
}

impl Hub {
    pub(super) fn new(watch: WatchClient, kv: KvClient, root: String) -> Hub {
        Hub { watch, kv, root, started: OnceCell::new(), progress: Arc::default() }
    }

    pub(super) async fn attach(&self, prefix: &str, sink: Weak<dyn Sink>) -> Result<Attached, Error> {
        if !prefix.starts_with(&self.root) {
            return Err(Error::Unavailable(format!("{prefix} does not lie under {}", self.root)));
        }
        let running = self.started.get_or_try_init(|| self.start()).await?;
        let mut sinks = running.shared.sinks.lock();
        sinks.attach(prefix, sink);
        let clock = running.shared.clock.subscribe();
        let revision = *clock.borrow();
        Ok(Attached { revision, clock })
    }

    pub(super) fn request_progress(&self) {
        self.progress.notify_one();
    }

    async fn start(&self) -> Result<Running, Error> {
        let revision = read(0, || newest(self.kv.clone(), self.root.clone())).await?;
        let shared = Arc::new(Shared { sinks: Mutex::default(), clock: watch::Sender::new(revision) });
        let stop = CancellationToken::new();
        let follower = Follower::new(self.watch.clone(), &self.root, revision + 1, false);
        let feed = feed(
            shared.clone(),
            follower,
            self.progress.clone(),
            self.watch.clone(),
            self.kv.clone(),
            self.root.clone(),
        );
        let stopped = stop.clone();
        tokio::spawn(async move {
            tokio::select! {
                () = feed => {}
                () = stopped.cancelled() => {}
            }
        });
        Ok(Running { shared, _stop: stop.drop_guard() })
    }
}

async fn feed(
    shared: Arc<Shared>,
    mut follower: Follower,
    progress: Arc<Notify>,
    watch: WatchClient,
    kv: KvClient,
    root: String,
) {
    loop {
        let message = tokio::select! {
            message = follower.next() => message,
            // Never while connecting: asking again and again would never let it finish.
            () = progress.notified(), if follower.is_open() => {
                follower.request_progress().await;
                continue;
            }
        };
        match message {
            Ok(WatchMessage::Events(events)) => {
                let Some(revision) = events.last().map(|event| event.kv.mod_revision) else { continue };
                let mut sinks = shared.sinks.lock();
                sinks.apply(&events);
                shared.clock.send_replace(revision);
            }
            Ok(WatchMessage::Progress(revision)) => {
                shared.clock.send_if_modified(|clock| {
                    let moved = revision > *clock;
                    *clock = (*clock).max(revision);
                    moved
                });
            }
            // Too much happened while the connection was lost: everyone reads anew.
            Err(error) => {
                tracing::warn!(%error, "the etcd watch fell behind; the caches are loaded anew");
                let revision = loop {
                    match read(0, || newest(kv.clone(), root.clone())).await {
                        Ok(revision) => break revision,
                        Err(_) => tokio::time::sleep(RETRY).await,
                    }
                };
                let mut sinks = shared.sinks.lock();
                sinks.reset();
                shared.clock.send_replace(revision);
                follower = Follower::new(watch.clone(), &root, revision + 1, false);
            }
        }
    }
}
