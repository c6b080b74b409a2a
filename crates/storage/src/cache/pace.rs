//! When many watchers wait, they are woken together and not more often than they can be served.
//!
//! Waking a watcher costs a task switch, a TLS record and a write to its socket, whatever it has to say. A crowd
//! that was just woken is therefore left alone for a time that grows with it, so that serving it takes no more than
//! a part of one core, and what happens meanwhile goes out with one write. The first event after a pause is never
//! delayed, nor is a small audience.
use parking_lot::Mutex;
use std::{
    sync::Arc,
    task::Waker,
    time::{Duration, Instant},
};
use tokio::runtime::Handle;

/// Fewer than these are woken at once.
const CROWD: usize = 64;
/// The pause for each that was woken. Serving it takes an eighth of that (a `writev` on a TLS connection), which leaves the
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
    /// To be woken by the task that sleeps until then; without such a task it is empty.
    waiting: Vec<Waker>,
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

    /// Called for each batch of events; does not block.
    pub(super) fn wake(self: &Arc<Self>, mut wakers: Vec<Waker>) {
        if wakers.len() < CROWD {
            return wakers.into_iter().for_each(Waker::wake);
        }
        let mut state = self.state.lock();
        if state.sleeping {
            state.waiting.append(&mut wakers);
            return;
        }
        let next = state.next;
        if next <= Instant::now() {
            state.pause_for(wakers.len());
            drop(state);
            return wakers.into_iter().for_each(Waker::wake);
        }
        state.sleeping = true;
        state.waiting = wakers;
        drop(state);
        let pacer = self.clone();
        self.runtime.spawn(async move {
            tokio::time::sleep_until(next.into()).await;
            pacer.wake_waiting();
        });
    }

    fn wake_waiting(&self) {
        let wakers = {
            let mut state = self.state.lock();
            state.sleeping = false;
            let wakers = std::mem::take(&mut state.waiting);
            state.pause_for(wakers.len());
            wakers
        };
        wakers.into_iter().for_each(Waker::wake);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl std::task::Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    #[tokio::test]
    async fn a_crowd_is_woken_at_once_and_then_in_its_own_time() {
        let pacer = Pacer::new(Handle::current());
        let count = Arc::new(Count::default());
        let woken = || count.0.load(Ordering::SeqCst);
        let wakers = |n: usize| vec![Waker::from(count.clone()); n];
        let begun = Instant::now();
        pacer.wake(wakers(CROWD));
        assert_eq!(woken(), CROWD);
        // Nothing else runs before this test yields.
        pacer.wake(wakers(CROWD));
        pacer.wake(wakers(CROWD));
        assert_eq!(woken(), CROWD);
        // A few do not wait for the many.
        pacer.wake(wakers(1));
        assert_eq!(woken(), CROWD + 1);
        while woken() < 3 * CROWD + 1 {
            tokio::task::yield_now().await;
        }
        assert!(begun.elapsed() >= PAUSE_EACH * u32::try_from(CROWD).expect("small"));
        while Instant::now() < pacer.state.lock().next {
            tokio::task::yield_now().await;
        }
        pacer.wake(wakers(CROWD));
        assert_eq!(woken(), 4 * CROWD + 1);
    }

    #[test]
    fn the_largest_crowd_still_hears_in_time() {
        let mut state = State { waiting: Vec::new(), sleeping: false, next: Instant::now() };
        state.pause_for(usize::MAX);
        assert!(state.next <= Instant::now() + PAUSE_MAX);
    }
}
