//! When many watchers wait, they are woken together and not more often than they can be served.
//!
//! Waking a watcher costs a task switch, a TLS record and a write to its socket, whatever it has to say. A crowd
//! that was just served is therefore left alone for as long as serving it took, and what happens meanwhile goes
//! out with one write. The first event after a pause is never delayed, nor is a small audience.
use parking_lot::Mutex;
use std::{
    sync::Arc,
    task::Waker,
    time::{Duration, Instant},
};
use tokio::runtime::Handle;

/// Fewer than these are woken at once.
const CROWD: usize = 64;
const PAUSE_MAX: Duration = Duration::from_millis(5);

pub(super) struct Pacer {
    runtime: Handle,
    state: Mutex<State>,
}

struct State {
    /// To be woken by the task that is under way.
    waiting: Vec<Waker>,
    /// A task serves the crowd, or waits to.
    busy: bool,
    /// When not busy: nobody is woken before.
    next: Instant,
}

impl Pacer {
    pub(super) fn new(runtime: Handle) -> Arc<Pacer> {
        let state = State { waiting: Vec::new(), busy: false, next: Instant::now() };
        Arc::new(Pacer { runtime, state: Mutex::new(state) })
    }

    /// Called for each batch of events; does not block.
    pub(super) fn wake(self: &Arc<Self>, mut wakers: Vec<Waker>) {
        if wakers.len() < CROWD {
            return wakers.into_iter().for_each(Waker::wake);
        }
        let mut state = self.state.lock();
        if state.busy {
            state.waiting.append(&mut wakers);
            return;
        }
        state.busy = true;
        let now = Instant::now();
        let pause = state.next.saturating_duration_since(now);
        if pause.is_zero() {
            drop(state);
            wakers.into_iter().for_each(Waker::wake);
            self.runtime.spawn(self.clone().serve(now));
        } else {
            state.waiting = wakers;
            drop(state);
            let pacer = self.clone();
            self.runtime.spawn(async move {
                let now = pacer.wake_after(pause).await;
                pacer.serve(now).await;
            });
        }
    }

    /// From when a crowd was woken until there is none to wake.
    async fn serve(self: Arc<Self>, mut woken: Instant) {
        loop {
            // Comes back when those that were woken have had their turn.
            tokio::task::yield_now().await;
            let pause = woken.elapsed().min(PAUSE_MAX);
            {
                let mut state = self.state.lock();
                if state.waiting.is_empty() {
                    state.busy = false;
                    state.next = Instant::now() + pause;
                    return;
                }
            }
            woken = self.wake_after(pause).await;
        }
    }

    async fn wake_after(&self, pause: Duration) -> Instant {
        tokio::time::sleep(pause).await;
        let wakers = std::mem::take(&mut self.state.lock().waiting);
        let now = Instant::now();
        wakers.into_iter().for_each(Waker::wake);
        now
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
        pacer.wake(wakers(CROWD));
        assert_eq!(woken(), CROWD);
        // Those are being served: nothing else runs before this test yields.
        pacer.wake(wakers(CROWD));
        pacer.wake(wakers(CROWD));
        assert_eq!(woken(), CROWD);
        // A few do not wait for the many.
        pacer.wake(wakers(1));
        assert_eq!(woken(), CROWD + 1);
        while woken() < 3 * CROWD + 1 {
            tokio::task::yield_now().await;
        }
        while pacer.state.lock().busy {
            tokio::task::yield_now().await;
        }
        pacer.wake(wakers(CROWD));
        while woken() < 4 * CROWD + 1 {
            tokio::task::yield_now().await;
        }
    }
}
