//! Noticing what happens in the runtime: its events where it has some, and a look now and then, which alone counts.
//!
//! An event only makes the next look come sooner, so a lost one costs time and nothing else. Either way only the pods
//! concerned are woken; they look for themselves. The name is upstream's: pod lifecycle event generator.
use std::collections::{HashMap, HashSet};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use cri::v1;
use futures::StreamExt;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::kubelet::Kubelet;
use crate::labels;

/// Between two looks.
const RELIST: Duration = Duration::from_secs(1);
/// With events, in case one was lost.
const RELIST_WITH_EVENTS: Duration = Duration::from_secs(10);
/// However many events there are.
const RELIST_AT_MOST: Duration = Duration::from_millis(25);
/// The pauses between the looks that follow an event: what it tells of may take a moment to show in the lists.
const AFTER_AN_EVENT: [Duration; 3] = [Duration::from_millis(100), Duration::from_millis(400), RELIST];
const RECONNECT: Duration = Duration::from_secs(1);
/// A runtime that does not refuse to tell its events for so long will tell them.
const SILENCE: Duration = Duration::from_secs(1);

/// What the events say to the looks.
struct Events {
    happened: Notify,
    /// Between two looks, now.
    interval: watch::Sender<Duration>,
}

impl Events {
    fn new() -> Events {
        Events { happened: Notify::new(), interval: watch::channel(RELIST).0 }
    }
}

/// Runs until `shutdown`.
pub async fn run(kubelet: Arc<Kubelet>, shutdown: CancellationToken) {
    let events = Events::new();
    tokio::select! {
        () = shutdown.cancelled() => {}
        () = listen(|| stream(&kubelet), &events, || kubelet.pods.wake_all()) => {}
        () = relist(&kubelet, &events) => {}
    }
}

async fn listen<Opening>(open: impl Fn() -> Opening, events: &Events, wake_all: impl Fn())
where
    Opening: Future<Output = Result<cri::HintStream, cri::Error>>,
{
    let listening = || {
        events.interval.send_replace(RELIST_WITH_EVENTS);
        // What happened before there was somebody to hear it.
        wake_all();
    };
    loop {
        let mut opening = pin!(open());
        // A runtime says at once what it cannot do, and answers the rest with its first event.
        let opened = match tokio::time::timeout(SILENCE, opening.as_mut()).await {
            Ok(opened) => opened,
            Err(_) => {
                listening();
                opening.await
            }
        };
        let unimplemented = opened.as_ref().is_err_and(cri::Error::is_unimplemented);
        if let Ok(mut stream) = opened {
            listening();
            while let Some(Ok(())) = stream.next().await {
                events.happened.notify_one();
            }
        }
        events.interval.send_replace(RELIST);
        if unimplemented {
            std::future::pending().await
        }
        tokio::time::sleep(RECONNECT).await;
    }
}

/// CRI's own events, else the runtime's.
async fn stream(kubelet: &Kubelet) -> Result<cri::HintStream, cri::Error> {
    match kubelet.runtime.container_events().await {
        Ok(stream) => Ok(stream.map(|event| event.map(drop)).boxed()),
        Err(error) if error.is_unimplemented() => kubelet.runtime.container_hints().await,
        Err(error) => Err(error),
    }
}

/// When to look next.
struct Looks {
    last: Instant,
    next: Instant,
    after: std::slice::Iter<'static, Duration>,
}

impl Looks {
    fn new(now: Instant, interval: Duration) -> Looks {
        Looks { last: now, next: now + interval, after: [].iter() }
    }

    fn something_happened(&mut self) {
        self.after = AFTER_AN_EVENT.iter();
        self.next = self.next.min(self.last + RELIST_AT_MOST);
    }

    fn interval_is(&mut self, interval: Duration) {
        self.next = self.next.min(self.last + interval);
    }

    fn looked(&mut self, now: Instant, interval: Duration) {
        self.last = now;
        self.next = now + self.after.next().copied().unwrap_or(interval);
    }
}

type Snapshot = HashMap<String, (String, i32)>;

async fn relist(kubelet: &Kubelet, events: &Events) {
    let mut interval = events.interval.subscribe();
    let mut looks = Looks::new(Instant::now(), *interval.borrow_and_update());
    let mut last: Option<Snapshot> = None;
    loop {
        tokio::select! {
            () = tokio::time::sleep_until(looks.next) => {}
            () = events.happened.notified() => {
                looks.something_happened();
                continue;
            }
            _ = interval.changed() => {
                looks.interval_is(*interval.borrow_and_update());
                continue;
            }
        }
        // While the runtime is away nothing changes; what is different when it is back counts from before.
        if let Ok(snapshot) = snapshot(kubelet).await {
            if let Some(last) = &last {
                changed(last, &snapshot).into_iter().for_each(|uid| kubelet.pods.wake(uid));
            }
            last = Some(snapshot);
        }
        looks.looked(Instant::now(), *interval.borrow());
    }
}

/// The UIDs of pods of which something is new, gone or in another state.
fn changed<'a>(last: &'a Snapshot, now: &'a Snapshot) -> HashSet<&'a String> {
    let changed = now.iter().filter(|(id, state)| last.get(*id) != Some(state)).map(|(_, (uid, _))| uid);
    let gone = last.iter().filter(|(id, _)| !now.contains_key(*id)).map(|(_, (uid, _))| uid);
    changed.chain(gone).collect()
}

async fn snapshot(kubelet: &Kubelet) -> Result<Snapshot, cri::Error> {
    let (sandboxes, containers) = tokio::try_join!(
        kubelet.runtime.list_pod_sandbox(v1::PodSandboxFilter::default()),
        kubelet.runtime.list_containers(v1::ContainerFilter::default()),
    )?;
    let uid = |labels: &HashMap<String, String>| labels.get(labels::POD_UID).cloned();
    let sandboxes = sandboxes.into_iter().filter_map(|s| Some((s.id, (uid(&s.labels)?, s.state))));
    let containers = containers.into_iter().filter_map(|c| Some((c.id, (uid(&c.labels)?, c.state))));
    Ok(sandboxes.chain(containers).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;
    use std::cell::Cell;

    #[tokio::test(start_paused = true)]
    async fn an_event_brings_looks_forward_and_many_do_not_put_them_off() {
        let begun = Instant::now();
        let mut looks = Looks::new(begun, RELIST_WITH_EVENTS);
        assert_eq!(looks.next, begun + RELIST_WITH_EVENTS);
        (0..100).for_each(|_| looks.something_happened());
        assert_eq!(looks.next, begun + RELIST_AT_MOST);
        let mut now = looks.next;
        for pause in AFTER_AN_EVENT {
            looks.looked(now, RELIST_WITH_EVENTS);
            assert_eq!(looks.next, now + pause);
            now = looks.next;
        }
        looks.looked(now, RELIST_WITH_EVENTS);
        assert_eq!(looks.next, now + RELIST_WITH_EVENTS);
        looks.interval_is(RELIST);
        assert_eq!(looks.next, now + RELIST);
    }

    #[tokio::test(start_paused = true)]
    async fn a_runtime_that_says_nothing_is_listened_to() {
        let events = Events::new();
        let error = |code| cri::Error::Rpc { method: "Subscribe", code, message: String::new() };
        let tried = Cell::new(0);
        // Once away, then silent until its first event, with which it ends, then unable.
        let open = || async {
            tried.set(tried.get() + 1);
            match tried.get() {
                1 => Err(error(cri::Code::Unavailable)),
                2 => {
                    tokio::time::sleep(10 * SILENCE).await;
                    Ok(futures::stream::iter([Ok(())]).boxed())
                }
                _ => Err(error(cri::Code::Unimplemented)),
            }
        };
        let mut listen = pin!(listen(open, &events, || {}));
        let mut at = async |milliseconds| {
            let _ = tokio::time::timeout(Duration::from_millis(milliseconds), listen.as_mut()).await;
            (*events.interval.borrow(), tried.get())
        };
        assert_eq!(at(500).await, (RELIST, 1));
        assert_eq!(at(2_000).await, (RELIST_WITH_EVENTS, 2));
        assert_eq!(at(20_000).await, (RELIST, 3));
        assert_eq!(at(20_000).await, (RELIST, 3));
        assert!(events.happened.notified().now_or_never().is_some());
    }

    #[test]
    fn pods_of_what_changed() {
        let snapshot = |all: &[(&str, &str, i32)]| -> Snapshot {
            all.iter().map(|(id, uid, state)| ((*id).to_owned(), ((*uid).to_owned(), *state))).collect()
        };
        let last = snapshot(&[("a", "same", 1), ("b", "ended", 1), ("c", "gone", 1)]);
        let now = snapshot(&[("a", "same", 1), ("b", "ended", 2), ("d", "new", 0)]);
        let (ended, gone, new) = ("ended".to_owned(), "gone".to_owned(), "new".to_owned());
        assert_eq!(changed(&last, &now), HashSet::from([&ended, &gone, &new]));
        assert_eq!(changed(&now, &now), HashSet::new());
    }
}
