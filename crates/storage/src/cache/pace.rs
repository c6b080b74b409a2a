//! When many watchers wait, they are woken together and not more often than they can be served.
//!
//! Waking a watcher costs a task switch, a TLS record and a write to its socket, whatever it has to say. A crowd
//! that was just woken is therefore left alone for a time that grows with it, so that serving it takes no more than
//! a part of one core, and what happens meanwhile goes out with one write. The first event after a pause is never
//! delayed, nor is a small audience.
use super::group::Group;
use parking_lot::Mutex;
use std::{
    sync::Arc,
    task::Waker,
    time::{Duration, Instant},
};
use tokio::runtime::Handle;

/// Fewer than these are woken at once.
const CROWD: usize = 64;
/// The pause for each of the crowd. Serving it takes an eighth of that (a `writev` on a TLS connection), which leaves the
/// rest to whoever reads it, if on the same machine, and to the requests that make the events.
const PAUSE_EACH: Duration = Duration::from_micros(200);
/// However many they are: what a watcher of a busy kind may lag behind. What comes in crowds gathers changes for as long
/// itself, as kube-proxy does, for a second unless told otherwise (`minSyncPeriod`).
const PAUSE_MAX: Duration = Duration::from_millis(100);

pub(super) struct Pacer {
    runtime: Handle,
    state: Mutex<State>,
}

struct State {
    /// To be delivered to by the task that sleeps until then; without such a task it is empty.
    waiting: Vec<Arc<Group>>,
    sleeping: bool,
    /// No crowd is woken before.
    next: Instant,
}

impl State {
    /// From now on the next crowd waits for as long as this one deserves.
    fn pause_for(&mut self, crowd: usize) {
        let pause = PAUSE_EACH.saturating_mul(u32::try_from(crowd).unwrap_or(u32::MAX));
        self.next = Instant::now() + pause.min(PAUSE_MAX);
    }
}

impl Pacer {
    pub(super) fn new(runtime: Handle) -> Arc<Pacer> {
        let state = State { waiting: Vec::new(), sleeping: false, next: Instant::now() };
        Arc::new(Pacer { runtime, state: Mutex::new(state) })
    }

    /// Called for each batch of changes with the groups that became due; does not block.
    pub(super) fn deliver(self: &Arc<Self>, mut due: Vec<Arc<Group>>) {
        let crowd = members(&due);
        if crowd < CROWD {
            return deliver_now(&due);
        }
        let mut state = self.state.lock();
        if state.sleeping {
            state.waiting.append(&mut due);
            return;
        }
        let next = state.next;
        if next <= Instant::now() {
            state.pause_for(crowd);
            drop(state);
            return deliver_now(&due);
        }
        state.sleeping = true;
        state.waiting = due;
        drop(state);
        let pacer = self.clone();
        self.runtime.spawn(async move {
            tokio::time::sleep_until(next.into()).await;
            pacer.deliver_waiting();
        });
    }

    fn deliver_waiting(&self) {
        let due = {
            let mut state = self.state.lock();
            state.sleeping = false;
            let due = std::mem::take(&mut state.waiting);
            state.pause_for(members(&due));
            due
        };
        deliver_now(&due);
    }
}

fn members(groups: &[Arc<Group>]) -> usize {
    groups.iter().map(|group| group.len()).sum()
}

fn deliver_now(groups: &[Arc<Group>]) {
    let mut wakers = Vec::new();
    groups.iter().for_each(|group| group.deliver(&mut wakers));
    wakers.into_iter().for_each(Waker::wake);
}

#[cfg(test)]
mod tests {
    use super::super::{
        Entry, Facts, Filter, Watcher,
        watch::{Change, Forms, Queue},
    };
    use super::*;
    use std::{
        sync::atomic::{AtomicUsize, Ordering},
        task::{Context, Poll},
    };

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl std::task::Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    struct Crowd {
        group: Arc<Group>,
        watchers: Vec<Watcher>,
        woken: Arc<Count>,
    }

    impl Crowd {
        fn of(members: usize) -> Crowd {
            let group = Group::new(Filter::prefix("/"));
            let watchers = (0..members).map(|_| {
                let queue = Arc::new(Queue::new(0, (100, 1 << 20), Vec::new()));
                group.join(queue.clone());
                let clock = tokio::sync::watch::channel(0).1;
                Watcher::new(queue, group.clone(), clock, 0, Box::new(|| ()))
            });
            Crowd { watchers: watchers.collect(), group, woken: Arc::default() }
        }

        /// The revisions that each has got since it was last asked; they all wait then.
        fn take(&mut self) -> Vec<u64> {
            let waker = Waker::from(self.woken.clone());
            let mut context = Context::from_waker(&waker);
            let mut got = self.watchers.iter_mut().map(|watcher| {
                let mut seen = Vec::new();
                while let Poll::Ready(Some(batch)) = watcher.poll_next(&mut context) {
                    seen.extend(batch.iter().map(|event| event.revision()));
                }
                seen
            });
            let first = got.next().unwrap_or_default();
            assert!(got.all(|other| other == first));
            first
        }

        fn woken(&self) -> usize {
            self.woken.0.load(Ordering::SeqCst)
        }

        /// What became due with a change of this revision.
        fn change(&self, revision: u64) -> Vec<Arc<Group>> {
            let entry = Entry::new("/a/b".into(), 3, revision, br#"{"metadata":{}}"#, Facts::default());
            let change = Change { revision, current: entry.map(Arc::new).ok(), previous: None };
            self.group.offer(&change, &Forms::default()).then(|| self.group.clone()).into_iter().collect()
        }
    }

    #[tokio::test]
    async fn a_crowd_is_woken_at_once_and_then_in_its_own_time() {
        let pacer = Pacer::new(Handle::current());
        let (mut crowd, mut few) = (Crowd::of(CROWD), Crowd::of(CROWD - 1));
        assert_eq!((crowd.take(), few.take()), (vec![], vec![]));
        let begun = Instant::now();
        pacer.deliver(crowd.change(1));
        assert_eq!((crowd.woken(), crowd.take()), (CROWD, vec![1]));
        // Nothing else runs before this test yields.
        pacer.deliver(crowd.change(2));
        pacer.deliver(crowd.change(3));
        assert_eq!((crowd.woken(), crowd.take()), (CROWD, vec![]));
        // A few do not wait for the many.
        pacer.deliver(few.change(4));
        assert_eq!((few.woken(), few.take()), (CROWD - 1, vec![4]));
        while crowd.woken() < 2 * CROWD {
            tokio::task::yield_now().await;
        }
        assert!(begun.elapsed() >= PAUSE_EACH * u32::try_from(CROWD).expect("small"));
        assert_eq!(crowd.take(), [2, 3]);
        while Instant::now() < pacer.state.lock().next {
            tokio::task::yield_now().await;
        }
        pacer.deliver(crowd.change(5));
        assert_eq!((crowd.woken(), crowd.take()), (3 * CROWD, vec![5]));
    }

    #[test]
    fn the_largest_crowd_still_hears_in_time() {
        let mut state = State { waiting: Vec::new(), sleeping: false, next: Instant::now() };
        state.pause_for(usize::MAX);
        assert!(state.next <= Instant::now() + PAUSE_MAX);
    }
}
