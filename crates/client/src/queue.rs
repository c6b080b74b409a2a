//! The work queue: keys that need a look, each at most once, never handled by two workers at a time.
//!
//! As client-go's rate-limited work queue: a key added while it is handled is handed out again when
//! its worker is done; a failed key comes back after 5 ms, doubling to 1000 s, and no faster than ten
//! failures a second over all keys (burst 100). There is no background task; waiting is in [`Queue::next`].
//! Bounded by the number of distinct keys, which are those of objects that exist or just went.
use foldhash::{HashMap, HashSet};
use parking_lot::Mutex;
use std::{
    collections::{BTreeSet, VecDeque},
    fmt,
    hash::Hash,
    ops::Deref,
    sync::Arc,
    time::Duration,
};
use tokio::{sync::Notify, time::Instant};

/// First delay of a failing key.
pub const BASE_DELAY: Duration = Duration::from_millis(5);
/// Longest delay of a failing key.
pub const MAX_DELAY: Duration = Duration::from_secs(1000);
/// Failures a second over all keys.
const OVERALL_QPS: f64 = 10.0;
/// Failures that may be retried at once.
const OVERALL_BURST: f64 = 100.0;

struct State<K> {
    ready: VecDeque<K>,
    /// Keys to be handed out: in `ready`, or in flight and changed since.
    dirty: HashSet<K>,
    in_flight: HashSet<K>,
    failures: HashMap<K, u32>,
    /// When keys come back, by time; the number keeps equal times apart.
    later: BTreeSet<(Instant, u64)>,
    delayed: HashMap<u64, K>,
    due: HashMap<K, (Instant, u64)>,
    sequence: u64,
    bucket: Bucket,
    closed: bool,
}

/// A token bucket that lends: each taker is told how long to wait.
struct Bucket {
    tokens: f64,
    at: Instant,
}

impl Bucket {
    fn take(&mut self, now: Instant) -> Duration {
        let refill = now.saturating_duration_since(self.at).as_secs_f64() * OVERALL_QPS;
        self.tokens = (self.tokens + refill).min(OVERALL_BURST) - 1.0;
        self.at = now;
        if self.tokens >= 0.0 { Duration::ZERO } else { Duration::from_secs_f64(-self.tokens / OVERALL_QPS) }
    }
}

struct Inner<K> {
    state: Mutex<State<K>>,
    changed: Notify,
}

/// A work queue. Clones share.
pub struct Queue<K>(Arc<Inner<K>>);

impl<K> Clone for Queue<K> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<K: Clone + Eq + Hash> Default for Queue<K> {
    fn default() -> Self {
        Self::new()
    }
}

impl<K: Clone + Eq + Hash> Queue<K> {
    /// An empty queue.
    pub fn new() -> Self {
        let bucket = Bucket { tokens: OVERALL_BURST, at: Instant::now() };
        let state = State {
            ready: VecDeque::new(),
            dirty: HashSet::default(),
            in_flight: HashSet::default(),
            failures: HashMap::default(),
            later: BTreeSet::new(),
            delayed: HashMap::default(),
            due: HashMap::default(),
            sequence: 0,
            bucket,
            closed: false,
        };
        Self(Arc::new(Inner { state: Mutex::new(state), changed: Notify::new() }))
    }

    /// Have `key` handled soon.
    pub fn add(&self, key: K) {
        if self.0.state.lock().add(key) {
            self.0.changed.notify_one();
        }
    }

    /// Have `key` handled after `delay`; the earlier of two pending times counts.
    pub fn add_after(&self, key: K, delay: Duration) {
        if delay.is_zero() {
            return self.add(key);
        }
        let mut state = self.0.state.lock();
        state.add_at(key, Instant::now() + delay);
        drop(state);
        self.0.changed.notify_one();
    }

    /// Have `key` handled again after a failure, with exponential back-off.
    pub fn add_failed(&self, key: K) {
        let mut state = self.0.state.lock();
        let now = Instant::now();
        let failures = state.failures.entry(key.clone()).or_insert(0);
        let backoff = BASE_DELAY.saturating_mul(1_u32.checked_shl(*failures).unwrap_or(u32::MAX)).min(MAX_DELAY);
        *failures = failures.saturating_add(1);
        let overall = state.bucket.take(now);
        state.add_at(key, now + backoff.max(overall));
        drop(state);
        self.0.changed.notify_one();
    }

    /// `key` succeeded: its next failure starts at the first delay again.
    pub fn forget(&self, key: &K) {
        self.0.state.lock().failures.remove(key);
    }

    /// How often `key` has failed in a row.
    pub fn failures(&self, key: &K) -> u32 {
        self.0.state.lock().failures.get(key).copied().unwrap_or(0)
    }

    /// Keys ready to be handed out.
    pub fn len(&self) -> usize {
        self.0.state.lock().ready.len()
    }

    /// Whether no key is ready.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Let [`Queue::next`] return `None` once the ready keys are handed out; delayed keys are dropped.
    pub fn close(&self) {
        self.0.state.lock().closed = true;
        self.0.changed.notify_waiters();
        self.0.changed.notify_one();
    }

    /// The next key, in flight until the returned guard is dropped; `None` after [`Queue::close`].
    /// Cancel safe.
    pub async fn next(&self) -> Option<InFlight<K>> {
        loop {
            let changed = self.0.changed.notified();
            tokio::pin!(changed);
            // Registered before looking, so that a close in between is not missed.
            changed.as_mut().enable();
            let wake = {
                let mut state = self.0.state.lock();
                state.promote(Instant::now());
                if let Some(key) = state.ready.pop_front() {
                    state.dirty.remove(&key);
                    state.in_flight.insert(key.clone());
                    let more = !state.ready.is_empty() || !state.later.is_empty() || state.closed;
                    drop(state);
                    if more {
                        self.0.changed.notify_one();
                    }
                    return Some(InFlight { queue: self.clone(), key });
                }
                if state.closed {
                    self.0.changed.notify_one();
                    return None;
                }
                state.later.first().map(|(at, _)| *at)
            };
            match wake {
                None => changed.await,
                Some(at) => tokio::select! { () = changed => {}, () = tokio::time::sleep_until(at) => {} },
            }
        }
    }

    fn done(&self, key: &K) {
        let mut state = self.0.state.lock();
        state.in_flight.remove(key);
        if state.dirty.contains(key) {
            state.ready.push_back(key.clone());
            drop(state);
            self.0.changed.notify_one();
        }
    }
}

impl<K: Clone + Eq + Hash> State<K> {
    /// Whether a worker has something to take now that it had not before.
    fn add(&mut self, key: K) -> bool {
        if self.closed || !self.dirty.insert(key.clone()) {
            return false;
        }
        let ready = !self.in_flight.contains(&key);
        if ready {
            self.ready.push_back(key);
        }
        ready
    }

    fn add_at(&mut self, key: K, at: Instant) {
        if self.closed {
            return;
        }
        if let Some(pending) = self.due.get(&key).copied() {
            if pending.0 <= at {
                return;
            }
            self.later.remove(&pending);
            self.delayed.remove(&pending.1);
        }
        self.sequence += 1;
        self.later.insert((at, self.sequence));
        self.delayed.insert(self.sequence, key.clone());
        self.due.insert(key, (at, self.sequence));
    }

    fn promote(&mut self, now: Instant) {
        while let Some(first) = self.later.first().copied().filter(|(at, _)| *at <= now) {
            self.later.remove(&first);
            if let Some(key) = self.delayed.remove(&first.1) {
                self.due.remove(&key);
                self.add(key);
            }
        }
    }
}

/// A key being handled. Dropping it lets others handle the key again.
pub struct InFlight<K: Clone + Eq + Hash> {
    queue: Queue<K>,
    key: K,
}

impl<K: Clone + Eq + Hash> Deref for InFlight<K> {
    type Target = K;

    fn deref(&self) -> &K {
        &self.key
    }
}

impl<K: Clone + Eq + Hash + fmt::Debug> fmt::Debug for InFlight<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.key.fmt(f)
    }
}

impl<K: Clone + Eq + Hash> Drop for InFlight<K> {
    fn drop(&mut self) {
        self.queue.done(&self.key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;

    fn ready(queue: &Queue<&'static str>) -> Option<InFlight<&'static str>> {
        queue.next().now_or_never().flatten()
    }

    #[tokio::test(start_paused = true)]
    async fn a_key_is_handed_out_once_and_again_if_changed_meanwhile() {
        let queue = Queue::new();
        queue.add("a");
        queue.add("a");
        let first = ready(&queue).expect("added");
        assert!(ready(&queue).is_none(), "added twice, handed out once");
        queue.add("a");
        assert!(ready(&queue).is_none(), "in flight");
        drop(first);
        assert_eq!(ready(&queue).as_deref(), Some(&"a"));
        assert!(ready(&queue).is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn failures_back_off_exponentially_until_forgotten() {
        let queue = Queue::new();
        let mut waits = Vec::new();
        for _ in 0..20 {
            let start = Instant::now();
            queue.add_failed("a");
            drop(queue.next().await);
            waits.push(start.elapsed().as_millis());
        }
        assert_eq!(waits[..4], [5, 10, 20, 40]);
        assert_eq!(waits[19], 1_000_000);
        queue.forget(&"a");
        let start = Instant::now();
        queue.add_failed("a");
        drop(queue.next().await);
        assert_eq!(start.elapsed().as_millis(), 5);
    }

    #[tokio::test(start_paused = true)]
    async fn failures_of_many_keys_share_a_budget() {
        let queue = Queue::new();
        let start = Instant::now();
        for key in 0..120 {
            queue.add_failed(key);
        }
        for _ in 0..120 {
            drop(queue.next().await);
        }
        assert_eq!(start.elapsed().as_millis(), 2_000, "a hundred at once, then ten a second");
    }

    #[tokio::test(start_paused = true)]
    async fn the_earlier_of_two_delays_counts() {
        let queue = Queue::new();
        let start = Instant::now();
        queue.add_after("a", Duration::from_secs(10));
        queue.add_after("a", Duration::from_secs(3));
        queue.add_after("a", Duration::from_secs(7));
        drop(queue.next().await);
        assert_eq!(start.elapsed(), Duration::from_secs(3));
        assert!(tokio::time::timeout(Duration::from_secs(60), queue.next()).await.is_err(), "once");
    }

    #[tokio::test(start_paused = true)]
    async fn closing_wakes_every_worker() {
        let queue: Queue<&str> = Queue::new();
        let workers: Vec<_> = (0..4)
            .map(|_| {
                tokio::spawn({
                    let q = queue.clone();
                    async move { q.next().await.is_none() }
                })
            })
            .collect();
        tokio::task::yield_now().await;
        queue.close();
        for worker in workers {
            assert!(worker.await.expect("no panic"));
        }
    }
}
