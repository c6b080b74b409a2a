//! Outcomes of token checks, kept for ten seconds, so that a busy client does not cost a signature a request.
//!
//! Bounded; keyed by a digest, so that the memory holds no tokens.
use super::{Accepted, Rejected};
use foldhash::HashMap;
use parking_lot::Mutex;
use sha2::{Digest, Sha256};

const TTL_SECONDS: i64 = 10;
const CAPACITY: usize = 4096;

type Key = [u8; 32];
type Outcome = Result<Accepted, Rejected>;

#[derive(Default)]
pub(super) struct TokenCache {
    /// The outcome and when it was found, in seconds since the epoch.
    known: Mutex<HashMap<Key, (Outcome, i64)>>,
}

fn key(token: &str) -> Key {
    Sha256::digest(token).into()
}

impl TokenCache {
    pub fn get(&self, token: &str, now: i64) -> Option<Outcome> {
        let known = self.known.lock();
        let (outcome, at) = known.get(&key(token))?;
        (now >= *at && now - at < TTL_SECONDS).then(|| outcome.clone())
    }

    pub fn put(&self, token: &str, outcome: &Outcome, now: i64) {
        let mut known = self.known.lock();
        if known.len() >= CAPACITY {
            known.retain(|_, (_, at)| now - *at < TTL_SECONDS);
            if known.len() >= CAPACITY {
                known.clear();
            }
        }
        known.insert(key(token), (outcome.clone(), now));
    }
}
