//! Keeps a cache current from a watch stream.
//!
//! The first list is streamed (`sendInitialEvents`, KEP-3157), which neither side has to hold in
//! memory as a whole; a server that refuses it is asked for an ordinary list, as client-go does.
use super::{Inner, Kept, Selection};
use crate::Key;
use foldhash::HashSet;
use futures::{Stream, StreamExt, pin_mut};
use kube::runtime::{
    WatchStreamExt,
    watcher::{self, Config, Event},
};
use std::sync::{Arc, Weak};
use tokio_util::sync::CancellationToken;

/// How the watch left [`follow`].
enum Left {
    Ended,
    /// The server does not stream lists.
    StreamingRefused,
}

/// Run the watch until `stop` or until nobody reads the cache any more.
pub async fn keep<K, S, F>(
    inner: Weak<Inner<K>>,
    open: F,
    selection: Selection,
    trim: impl Fn(&mut K) + Send + Sync + 'static,
    stop: CancellationToken,
) where
    K: Kept,
    S: Stream<Item = watcher::Result<Event<K>>> + Send + 'static,
    F: Fn(Config) -> S + Send + Sync + 'static,
{
    let mut config = Config { page_size: None, ..Config::default().any_semantic() };
    config.label_selector = selection.labels;
    config.field_selector = selection.fields;
    let streaming = Config { page_size: None, ..config.clone() }.streaming_lists();
    let run = async {
        if let Left::StreamingRefused = follow(&inner, open(streaming), &trim, true).await {
            follow(&inner, open(config), &trim, false).await;
        }
    };
    tokio::select! { () = stop.cancelled() => {}, () = run => {} }
    if let Some(inner) = inner.upgrade() {
        inner.listeners.close();
    }
}

/// Whether the error says that the server does not know streaming lists.
fn refused(error: &watcher::Error) -> bool {
    match error {
        watcher::Error::WatchStartFailed(kube::Error::Api(status))
        | watcher::Error::InitialListFailed(kube::Error::Api(status)) => matches!(status.code, 400 | 405 | 422 | 501),
        _ => false,
    }
}

async fn follow<K: Kept>(
    inner: &Weak<Inner<K>>,
    events: impl Stream<Item = watcher::Result<Event<K>>>,
    trim: &(impl Fn(&mut K) + Send + Sync),
    streaming: bool,
) -> Left {
    let events = events.default_backoff();
    pin_mut!(events);
    let mut listed = HashSet::default();
    let mut listing = false;
    while let Some(event) = events.next().await {
        let Some(inner) = inner.upgrade() else { return Left::Ended };
        let lean = |mut object: K| {
            object.meta_mut().managed_fields = None;
            trim(&mut object);
            object
        };
        match event {
            Ok(Event::Init) => {
                listed.clear();
                listing = true;
            }
            Ok(Event::InitApply(object)) => {
                listed.insert(Key::of(&object));
                apply_newer(&inner, lean(object));
            }
            Ok(Event::InitDone) => {
                remove_unlisted(&inner, &listed);
                listed = HashSet::default();
                listing = false;
                inner.synced.send_replace(true);
            }
            Ok(Event::Apply(object)) => {
                if listing {
                    listed.insert(Key::of(&object));
                }
                inner.apply(lean(object));
            }
            Ok(Event::Delete(object)) => {
                inner.remove(&Key::of(&object));
                inner.seen(&object);
            }
            Err(error) => {
                if streaming && !*inner.synced.borrow() && refused(&error) {
                    return Left::StreamingRefused;
                }
                tracing::debug!(
                    error = crate::told(&error),
                    kind = std::any::type_name::<K>(),
                    "watch broke, it is opened again"
                );
            }
        }
        inner.listeners.room().await;
    }
    Left::Ended
}

/// A re-list mostly finds what is there already: subscribers are told only of what differs.
fn apply_newer<K: Kept>(inner: &Arc<Inner<K>>, object: K) {
    let known = inner.store.read().objects.get(&Key::of(&object)).map(|known| known.meta().resource_version.clone());
    if known.is_none_or(|version| version.is_none() || version != object.meta().resource_version) {
        inner.apply(object);
    }
}

fn remove_unlisted<K: Kept>(inner: &Arc<Inner<K>>, listed: &HashSet<Key>) {
    let gone: Vec<Key> = inner.store.read().objects.keys().filter(|key| !listed.contains(*key)).cloned().collect();
    for key in gone {
        inner.remove(&key);
    }
}
