//! Reads the store into the cache, at the start and whenever its place in the history was lost.
use super::tree::Snapshot;
use super::{Cache, Entry, Phase, State};
use crate::{Error, RangeRequest, Revision, Sink, prefix_end};
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Keys read from the store at once.
const PAGE: usize = 1_000;
/// Events kept for a load in progress; with more the load starts over.
pub(super) const WAITING_LIMIT: usize = 65_536;
const RETRY_FIRST: Duration = Duration::from_millis(50);
const RETRY_MOST: Duration = Duration::from_secs(5);

pub(super) async fn run(cache: Weak<Cache>, stopped: CancellationToken) {
    let mut retry = RETRY_FIRST;
    loop {
        let Some(strong) = cache.upgrade() else { return };
        let loaded = tokio::select! {
            loaded = load(&strong) => loaded,
            () = stopped.cancelled() => return,
        };
        match loaded {
            Ok(()) => {
                retry = RETRY_FIRST;
                let mut ready = strong.ready.subscribe();
                drop(strong);
                tokio::select! {
                    reset = ready.wait_for(|ready| !ready) => if reset.is_err() { return },
                    () = stopped.cancelled() => return,
                }
            }
            Err(error) => {
                tracing::warn!(prefix = &*strong.prefix, %error, "the watch cache could not load; trying again");
                drop(strong);
                tokio::select! {
                    () = tokio::time::sleep(retry) => {}
                    () = stopped.cancelled() => return,
                }
                retry = (retry * 2).min(RETRY_MOST);
            }
        }
    }
}

async fn load(cache: &Arc<Cache>) -> Result<(), Error> {
    if cache.clock.get().is_none() {
        let weak: Weak<Cache> = Arc::downgrade(cache);
        let sink: Weak<dyn Sink> = weak;
        cache.attached(cache.backend.attach(&cache.prefix, sink).await?);
    }
    let (entries, revision) = read(cache, None, &cache.snapshot()).await?;
    let mut feed = cache.feed.lock();
    let Phase::Loading { waiting, overflow } = std::mem::replace(&mut feed.phase, Phase::loading()) else {
        return Ok(());
    };
    if overflow {
        return Err(Error::Unavailable("too many changes while loading".into()));
    }
    *cache.state.write() = State::new(entries, revision, &cache.options);
    cache.apply_to_state(&waiting);
    feed.phase = Phase::Ready;
    drop(feed);
    cache.ready.send_replace(true);
    Ok(())
}

/// All entries at `revision` (`None`: the newest), ascending by key, and the revision. Entries that
/// `known` has in the same version are shared with it.
pub(super) async fn read(
    cache: &Cache,
    revision: Option<Revision>,
    known: &Snapshot,
) -> Result<(Vec<Arc<Entry>>, Revision), Error> {
    let mut request = RangeRequest {
        start: cache.prefix.to_string(),
        end: prefix_end(&cache.prefix),
        revision,
        limit: PAGE,
        count_only: false,
    };
    let mut entries = Vec::new();
    loop {
        let page = cache.backend.range(request.clone()).await?;
        let full = page.items.len() >= PAGE;
        if let Some(last) = page.items.last() {
            request.start = format!("{}\0", last.key);
        }
        entries.extend(page.items.into_iter().filter_map(|kv| {
            let same = known.get(&kv.key).filter(|entry| entry.revision == kv.mod_revision);
            same.cloned().or_else(|| cache.entry(&kv.key, kv.mod_revision, &kv.value, None))
        }));
        // The following pages are of the first one's revision.
        request.revision = Some(page.revision);
        if !full {
            return Ok((entries, page.revision));
        }
    }
}
