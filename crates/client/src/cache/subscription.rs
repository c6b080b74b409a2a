//! Telling readers of a cache which keys changed.
//!
//! A subscription holds each key at most once and is bounded: past [`MAX_PENDING`] keys the watch
//! waits until the subscriber has caught up, so a stalled reader costs bounded memory and loses nothing.
use super::Observer;
use crate::Key;
use foldhash::HashSet;
use parking_lot::Mutex;
use std::{
    collections::VecDeque,
    sync::{Arc, Weak},
};
use tokio::sync::Notify;

/// Keys a subscriber may leave unread before the watch waits for it.
const MAX_PENDING: usize = 65_536;

#[derive(Default)]
struct Pending {
    order: VecDeque<Key>,
    present: HashSet<Key>,
    closed: bool,
}

#[derive(Default)]
struct Mailbox {
    pending: Mutex<Pending>,
    /// Woken when a key arrives or the cache ends.
    filled: Notify,
    /// Woken when the subscriber has made room.
    drained: Notify,
}

impl Mailbox {
    fn put(&self, key: Key) {
        let mut pending = self.pending.lock();
        if pending.present.insert(key.clone()) {
            pending.order.push_back(key);
            drop(pending);
            self.filled.notify_one();
        }
    }
}

/// The receiving end of [`super::Cache::subscribe`].
pub struct Subscription {
    mailbox: Arc<Mailbox>,
}

impl Subscription {
    /// The next changed key; `None` once the cache has been shut down and all keys are received.
    /// Cancel safe.
    pub async fn recv(&mut self) -> Option<Key> {
        loop {
            {
                let mut pending = self.mailbox.pending.lock();
                if let Some(key) = pending.order.pop_front() {
                    pending.present.remove(&key);
                    if pending.order.len() == MAX_PENDING / 2 {
                        self.mailbox.drained.notify_waiters();
                    }
                    return Some(key);
                }
                if pending.closed {
                    return None;
                }
            }
            self.mailbox.filled.notified().await;
        }
    }

    /// The next changed key if there is one now.
    pub fn try_recv(&mut self) -> Option<Key> {
        let mut pending = self.mailbox.pending.lock();
        let key = pending.order.pop_front()?;
        pending.present.remove(&key);
        if pending.order.len() == MAX_PENDING / 2 {
            self.mailbox.drained.notify_waiters();
        }
        Some(key)
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.mailbox.pending.lock().closed = true;
        self.mailbox.drained.notify_waiters();
    }
}

pub struct Listeners<K> {
    mailboxes: Mutex<Vec<Weak<Mailbox>>>,
    observers: Mutex<Vec<Arc<Observer<K>>>>,
}

impl<K> Default for Listeners<K> {
    fn default() -> Self {
        Self { mailboxes: Mutex::default(), observers: Mutex::default() }
    }
}

impl<K> Listeners<K> {
    pub fn subscribe(&self, present: impl Iterator<Item = Key>) -> Subscription {
        let mailbox = Arc::new(Mailbox::default());
        for key in present {
            mailbox.put(key);
        }
        self.mailboxes.lock().push(Arc::downgrade(&mailbox));
        Subscription { mailbox }
    }

    pub fn observe(&self, observer: Observer<K>) {
        self.observers.lock().push(Arc::new(observer));
    }

    pub fn tell(&self, key: &Key, old: Option<&Arc<K>>, new: Option<&Arc<K>>) {
        self.mailboxes.lock().retain(|mailbox| match mailbox.upgrade() {
            Some(mailbox) => {
                mailbox.put(key.clone());
                true
            }
            None => false,
        });
        let observers = self.observers.lock().clone();
        for observer in &observers {
            observer(old, new);
        }
    }

    /// Wait until no subscriber is further behind than it may be.
    pub async fn room(&self) {
        loop {
            let full = {
                let mailboxes = self.mailboxes.lock();
                let live = mailboxes.iter().filter_map(Weak::upgrade);
                live.into_iter().find(|mailbox| {
                    let pending = mailbox.pending.lock();
                    pending.order.len() >= MAX_PENDING && !pending.closed
                })
            };
            let Some(mailbox) = full else { return };
            let drained = mailbox.drained.notified();
            tokio::pin!(drained);
            drained.as_mut().enable();
            if mailbox.pending.lock().order.len() > MAX_PENDING / 2 {
                drained.await;
            }
        }
    }

    /// No change will follow: let subscribers end.
    pub fn close(&self) {
        for mailbox in self.mailboxes.lock().iter().filter_map(Weak::upgrade) {
            mailbox.pending.lock().closed = true;
            mailbox.filled.notify_one();
        }
    }
}

impl<K> Drop for Listeners<K> {
    fn drop(&mut self) {
        self.close();
    }
}
