//! Node ports in the store: one value for the whole range, changed by compare-and-set.
use super::bitmap::{self, Used};
use crate::{PortRange, store::unavailable};
use apimachinery::ApiError;
use bytes::Bytes;
use std::sync::Arc;
use storage::{Backend, Commit, Expect, KeyValue, Op, Revision};
use tokio::sync::Mutex;

/// Lost races after which a change is given up.
const ATTEMPTS: usize = 32;

pub struct Ports {
    backend: Arc<dyn Backend>,
    key: String,
    pub range: PortRange,
    /// What was stored when last looked at. Others may have written since; the compare finds out.
    known: Mutex<Option<Known>>,
}

struct Known {
    used: Used,
    /// 0: not stored yet.
    revision: Revision,
}

impl Known {
    fn of(stored: Option<KeyValue>) -> Result<Known, ApiError> {
        let Some(stored) = stored else { return Ok(Known { used: Used::new(), revision: 0 }) };
        let used = bitmap::decode(&stored.value)
            .map_err(|why| ApiError::internal(format!("the stored node ports cannot be read: {why}")))?;
        Ok(Known { used, revision: stored.mod_revision })
    }
}

impl Ports {
    pub fn new(backend: Arc<dyn Backend>, root: &str, range: PortRange) -> Self {
        Ports { backend, key: format!("{root}/ranges/servicenodeports"), range, known: Mutex::default() }
    }

    /// What is stored now.
    ///
    /// # Errors
    /// The store's.
    pub async fn stored(&self) -> Result<Used, ApiError> {
        let known = Known::of(self.backend.get(&self.key).await.map_err(unavailable)?.0)?;
        let used = known.used.clone();
        *self.known.lock().await = Some(known);
        Ok(used)
    }

    /// Applies a change to what is used. It is run again when somebody else wrote in between, and an error of
    /// it stands only if it holds for what is stored now.
    ///
    /// # Errors
    /// The change's own, or the store's.
    pub async fn change<T>(
        &self,
        dry_run: bool,
        mut change: impl FnMut(&mut Used) -> Result<T, ApiError>,
    ) -> Result<T, ApiError> {
        let mut guard = self.known.lock().await;
        let mut fresh = false;
        for _ in 0..ATTEMPTS {
            let known = match guard.take() {
                Some(known) => known,
                None => {
                    fresh = true;
                    Known::of(self.backend.get(&self.key).await.map_err(unavailable)?.0)?
                }
            };
            let mut used = known.used.clone();
            let result = match change(&mut used) {
                Ok(result) => result,
                Err(error) if fresh => return Err(error),
                Err(_) => continue,
            };
            let unchanged = used == known.used && known.revision != 0;
            if unchanged && !fresh && !dry_run {
                // What is to be given back may have been taken since through another server.
                continue;
            }
            if dry_run || unchanged {
                *guard = Some(known);
                return Ok(result);
            }
            let expect = if known.revision == 0 { Expect::Absent } else { Expect::Revision(known.revision) };
            let value = Bytes::from(bitmap::encode(self.range, &used));
            match self.backend.commit(&self.key, expect, Op::Put { value, lease: 0 }).await.map_err(unavailable)? {
                Commit::Done { revision, .. } => {
                    *guard = Some(Known { used, revision });
                    return Ok(result);
                }
                Commit::Conflict { current } => {
                    *guard = Some(Known::of(current)?);
                    fresh = true;
                }
            }
        }
        Err(ApiError::unavailable("cannot allocate resources of type servicenodeports at this time"))
    }
}
