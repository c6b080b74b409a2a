//! The newest revision for many callers at once.
//!
//! Every consistent read needs a revision that was fetched after the read began. Callers that wait
//! for the same fetch share its answer, so any number of reads at once cost etcd two of them.
use super::{Revision, newest, read};
use crate::Error;
use etcd_client::KvClient;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::Mutex;

#[derive(Default)]
pub(super) struct Newest {
    /// Fetches begun so far.
    begun: AtomicU64,
    /// Number and answer of the last fetch that succeeded.
    last: Mutex<(u64, Revision)>,
}

impl Newest {
    /// A revision that was the newest at some time during this call.
    pub(super) async fn get(&self, kv: &KvClient, root: &str) -> Result<Revision, Error> {
        let before = self.begun.load(Ordering::Acquire);
        let mut last = self.last.lock().await;
        if last.0 > before {
            return Ok(last.1);
        }
        let number = self.begun.fetch_add(1, Ordering::AcqRel) + 1;
        let revision = read(0, || newest(kv.clone(), root.to_owned())).await?;
        *last = (number, revision);
        Ok(revision)
    }
}
