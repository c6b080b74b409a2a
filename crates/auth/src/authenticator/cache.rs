//! Accepted tokens, kept for ten seconds, so that a busy client does not cost a signature a request.
//!
//! Bounded; keyed by a digest, so that the memory holds no tokens. Refusals are not kept: what a token is bound to may
//! just be on its way.
use super::Accepted;
use foldhash::HashMap;
use parking_lot::Mutex;
use sha2::{Digest, Sha256};

const TTL_SECONDS: i64 = 10;
const CAPACITY: usize = 4096;

type Key = [u8; 32];

#[derive(Default)]
pub(super) struct TokenCache {
    /// The token's user and when it was found, in seconds since the epoch.
    known: Mutex<HashMap<Key, (Accepted, i64)>>,
}

fn key(token: &str) -> Key {
    Sha256::digest(token).into()
}

impl TokenCache {
    pub fn get(&self, token: &str, now: i64) -> Option<Accepted> {
        let known = self.known.lock();
        let (accepted, at) = known.get(&key(token))?;
        (now >= *at && now - at < TTL_SECONDS).then(|| accepted.clone())
    }

    pub fn put(&self, token: &str, accepted: &Accepted, now: i64) {
        let mut known = self.known.lock();
        if known.len() >= CAPACITY {
            known.retain(|_, (_, at)| now - *at < TTL_SECONDS);
            if known.len() >= CAPACITY {
                known.clear();
            }
        }
        known.insert(key(token), (accepted.clone(), now));
    }
}
