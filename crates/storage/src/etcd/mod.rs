//! etcd as the store, over its v3 API.
//!
//! Keys are used as callers give them, in upstream's layout. What always holds: reads are
//! linearizable, each commit is one transaction, a watch survives lost connections without losing
//! or repeating an event, and one watch of everything under the root feeds all sinks.
mod compactor;
mod error;
mod hub;
mod newest;
mod watch;

use crate::embedded::VALUE_LIMIT;
use crate::{
    Attached, Backend, Commit, Error, Expect, KeyValue, LeaseId, Op, Range, RangeRequest, Revision, Sink, WatchStream,
};
use async_trait::async_trait;
use error::{of_read, of_write};
use etcd_client::{
    Certificate, Client, Compare, CompareOp, ConnectOptions, DeleteOptions, GetOptions, Identity, KvClient, PutOptions,
    TlsOptions, Txn, TxnOp, TxnOpResponse, WatchClient,
};
use hub::Hub;
use newest::Newest;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};
use tokio_util::sync::DropGuard;

/// For one call; upstream's client waits about as long.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const KEEP_ALIVE: Duration = Duration::from_secs(30);
/// Ranges and watch batches may be far longer than gRPC's default of 4 MiB.
const MESSAGE_LIMIT: usize = i32::MAX as usize;
/// A read is repeated on another connection when etcd is unavailable.
const READ_ATTEMPTS: u32 = 4;
/// Objects that share a lease: etcd deletes them all at once (upstream's `--lease-max-object-count`).
const LEASE_OBJECTS: u32 = 1000;
const READ_PAUSE: Duration = Duration::from_millis(100);

/// Where etcd is and how to prove who we are.
#[derive(Clone, Debug)]
pub struct Options {
    /// Such as `https://10.0.0.1:2379`; at least one.
    pub endpoints: Vec<String>,
    /// PEM files.
    pub ca: Option<PathBuf>,
    pub cert: Option<PathBuf>,
    pub key: Option<PathBuf>,
    /// Every attached prefix lies under this one.
    pub root: String,
    /// Revisions older than this are compacted away, as upstream's `--etcd-compaction-interval`; zero
    /// leaves that to others.
    pub compaction_interval: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            endpoints: Vec::new(),
            ca: None,
            cert: None,
            key: None,
            root: "/registry/".into(),
            compaction_interval: Duration::from_secs(300),
        }
    }
}

/// See the module text.
pub struct Etcd {
    client: Client,
    kv: KvClient,
    watch: WatchClient,
    hub: Hub,
    newest: Newest,
    recent_leases: Mutex<HashMap<u32, RecentLease>>,
    _compactor: Option<DropGuard>,
}

/// A lease young enough to be given out again.
struct RecentLease {
    id: LeaseId,
    until: Instant,
    /// How many more objects may share it.
    left: u32,
}

impl Etcd {
    /// Prepares the connection; that etcd answers is found out by the first call.
    ///
    /// # Errors
    /// [`Error::Unavailable`] with the file or endpoint that cannot be used.
    pub async fn connect(options: Options) -> Result<Arc<Etcd>, Error> {
        let mut connect = ConnectOptions::new()
            .with_connect_timeout(CONNECT_TIMEOUT)
            .with_keep_alive(KEEP_ALIVE, CALL_TIMEOUT)
            .with_keep_alive_while_idle(true)
            // A member cut off from the others must not leave a watch hanging, as upstream's client.
            .with_require_leader(true);
        if let Some(tls) = tls_options(&options)? {
            connect = connect.with_tls(tls);
        }
        let client = Client::connect(&options.endpoints, Some(connect))
            .await
            .map_err(|error| Error::Unavailable(format!("etcd at {}: {error}", options.endpoints.join(", "))))?;
        let kv = client.kv_client().max_decoding_message_size(MESSAGE_LIMIT);
        let watch = client.watch_client().max_decoding_message_size(MESSAGE_LIMIT);
        let hub = Hub::new(watch.clone(), kv.clone(), options.root);
        let compactor =
            (!options.compaction_interval.is_zero()).then(|| compactor::start(kv.clone(), options.compaction_interval));
        Ok(Arc::new(Etcd {
            client,
            kv,
            watch,
            hub,
            newest: Newest::default(),
            recent_leases: Mutex::default(),
            _compactor: compactor,
        }))
    }
}

fn tls_options(options: &Options) -> Result<Option<TlsOptions>, Error> {
    // What the files are called where they are given.
    let read = |flag: &str, path: &Path| {
        let failed = |error| Error::Unavailable(format!("--{flag}: {}: {error}", path.display()));
        std::fs::read(path).map_err(failed)
    };
    let secure = options.endpoints.iter().any(|endpoint| endpoint.starts_with("https://"));
    if !secure && options.ca.is_none() && options.cert.is_none() {
        return Ok(None);
    }
    let mut tls = TlsOptions::new();
    if let Some(ca) = &options.ca {
        tls = tls.ca_certificate(Certificate::from_pem(read("etcd-cafile", ca)?));
    }
    match (&options.cert, &options.key) {
        (Some(cert), Some(key)) => {
            tls = tls.identity(Identity::from_pem(read("etcd-certfile", cert)?, read("etcd-keyfile", key)?))
        }
        (None, None) => {}
        _ => return Err(Error::Unavailable("etcd needs both a client certificate and its key, or neither".into())),
    }
    Ok(Some(tls))
}

#[async_trait]
impl Backend for Etcd {
    async fn range(&self, request: RangeRequest) -> Result<Range, Error> {
        let requested = request.revision.unwrap_or(0);
        let mut options = GetOptions::new().with_limit(i64::try_from(request.limit).unwrap_or(i64::MAX));
        // An empty end is no upper bound; etcd writes that as a single zero byte.
        options = options.with_range(if request.end.is_empty() { vec![0] } else { request.end.clone().into_bytes() });
        if let Some(revision) = request.revision {
            options = options.with_revision(signed(revision));
        }
        if request.count_only {
            options = options.with_count_only();
        }
        if !request.end.is_empty() && request.start >= request.end {
            let revision = self.revision().await?;
            return Ok(Range { revision: request.revision.unwrap_or(revision), items: Vec::new(), count: 0 });
        }
        let mut response = read(requested, || {
            let mut kv = self.kv.clone();
            let (start, options) = (request.start.clone(), options.clone());
            async move { kv.get(start, Some(options)).await }
        })
        .await?;
        let newest = revision_of(response.header());
        Ok(Range {
            revision: request.revision.unwrap_or(newest),
            count: unsigned(response.count()),
            items: response.take_kvs().into_iter().map(key_value).collect(),
        })
    }

    async fn get(&self, key: &str) -> Result<(Option<KeyValue>, Revision), Error> {
        let mut response = read(0, || {
            let mut kv = self.kv.clone();
            async move { kv.get(key, None).await }
        })
        .await?;
        let revision = revision_of(response.header());
        Ok((response.take_kvs().into_iter().next().map(key_value), revision))
    }

    async fn commit(&self, key: &str, expect: Expect, op: Op) -> Result<Commit, Error> {
        let compares = match expect {
            Expect::Any => Vec::new(),
            Expect::Absent => vec![Compare::mod_revision(key, CompareOp::Equal, 0)],
            Expect::Revision(revision) => vec![Compare::mod_revision(key, CompareOp::Equal, signed(revision))],
        };
        let operation = match op {
            Op::Put { value, .. } if value.len() > VALUE_LIMIT => {
                return Err(Error::TooLarge { size: value.len(), limit: VALUE_LIMIT });
            }
            Op::Put { value, lease } => {
                let options = PutOptions::new().with_prev_key().with_lease(lease);
                TxnOp::put(key, Vec::from(value), Some(options))
            }
            Op::Delete => TxnOp::delete(key, Some(DeleteOptions::new().with_prev_key())),
        };
        let transaction = Txn::new().when(compares).and_then([operation]).or_else([TxnOp::get(key, None)]);
        let mut kv = self.kv.clone();
        let response = tokio::time::timeout(CALL_TIMEOUT, kv.txn(transaction))
            .await
            .map_err(|_| timed_out())?
            .map_err(|error| of_write(&error))?;
        let kv = response.op_responses().into_iter().next().and_then(|response| match response {
            TxnOpResponse::Put(mut put) => put.take_prev_key(),
            TxnOpResponse::Delete(mut delete) => delete.take_prev_kvs().into_iter().next(),
            TxnOpResponse::Get(mut get) => get.take_kvs().into_iter().next(),
            TxnOpResponse::Txn(_) => None,
        });
        let kv = kv.map(key_value);
        Ok(if response.succeeded() {
            Commit::Done { revision: revision_of(response.header()), previous: kv }
        } else {
            Commit::Conflict { current: kv }
        })
    }

    async fn watch(&self, prefix: &str, from: Revision) -> Result<WatchStream, Error> {
        Ok(watch::follow(self.watch.clone(), prefix, from.max(1)))
    }

    async fn revision(&self) -> Result<Revision, Error> {
        self.newest.get(&self.kv, &self.hub.root).await
    }

    async fn compact(&self, revision: Revision) -> Result<(), Error> {
        let mut kv = self.kv.clone();
        let compacted = tokio::time::timeout(CALL_TIMEOUT, kv.compact(signed(revision), None)).await;
        match compacted.map_err(|_| timed_out())? {
            Ok(_) => Ok(()),
            Err(error) => match of_read(&error, revision) {
                // By someone else, or further already.
                Error::Compacted { .. } => Ok(()),
                error => Err(error),
            },
        }
    }

    async fn grant_lease(&self, ttl_seconds: u32) -> Result<LeaseId, Error> {
        // As upstream's lease reuse, in the same measure as the embedded store's.
        let ttl = Duration::from_secs(u64::from(ttl_seconds.max(1)));
        let reuse = (ttl / 20).min(Duration::from_secs(60));
        let now = Instant::now();
        if let Some(lease) = self.recent_leases.lock().get_mut(&ttl_seconds)
            && lease.until > now
            && lease.left > 0
        {
            lease.left -= 1;
            return Ok(lease.id);
        }
        let mut client = self.client.lease_client();
        let seconds = i64::try_from((ttl + reuse).as_millis().div_ceil(1000)).unwrap_or(i64::MAX);
        let granted = tokio::time::timeout(CALL_TIMEOUT, client.grant(seconds, None))
            .await
            .map_err(|_| timed_out())?
            .map_err(|error| of_read(&error, 0))?;
        let mut recent = self.recent_leases.lock();
        recent.retain(|_, lease| lease.until > now);
        recent.insert(ttl_seconds, RecentLease { id: granted.id(), until: now + reuse, left: LEASE_OBJECTS - 1 });
        Ok(granted.id())
    }

    async fn size_on_disk(&self) -> Result<u64, Error> {
        let status = read(0, || {
            let mut client = self.client.maintenance_client();
            async move { client.status().await }
        })
        .await?;
        Ok(unsigned(status.db_size()))
    }

    async fn attach(&self, prefix: &str, sink: Weak<dyn Sink>) -> Result<Attached, Error> {
        self.hub.attach(prefix, sink).await
    }

    fn request_progress(&self) {
        self.hub.request_progress();
    }
}

/// A call that changes nothing, repeated while etcd is unavailable.
async fn read<T, F>(requested: Revision, call: impl Fn() -> F) -> Result<T, Error>
where
    F: Future<Output = Result<T, etcd_client::Error>>,
{
    let mut attempt = 1;
    loop {
        let outcome = match tokio::time::timeout(CALL_TIMEOUT, call()).await {
            Ok(outcome) => outcome.map_err(|error| of_read(&error, requested)),
            Err(_) => Err(timed_out()),
        };
        match outcome {
            Err(Error::Unavailable(_)) if attempt < READ_ATTEMPTS => {
                tokio::time::sleep(READ_PAUSE * attempt).await;
                attempt += 1;
            }
            outcome => return outcome,
        }
    }
}

/// The newest revision, linearizably.
async fn newest(mut kv: KvClient, root: String) -> Result<Revision, etcd_client::Error> {
    // Any key that may be read will do: the answer's header carries the revision.
    let response = kv.get(root, Some(GetOptions::new().with_count_only())).await?;
    Ok(revision_of(response.header()))
}

fn key_value(kv: etcd_client::KeyValue) -> KeyValue {
    let (create_revision, mod_revision, lease) =
        (unsigned(kv.create_revision()), unsigned(kv.mod_revision()), kv.lease());
    let (key, value) = kv.into_key_value();
    KeyValue {
        // Kubernetes' keys are text; anything else cannot be asked for, so the loss does not matter.
        key: String::from_utf8_lossy(&key).into(),
        value: value.into(),
        create_revision,
        mod_revision,
        lease,
    }
}

fn revision_of(header: Option<&etcd_client::ResponseHeader>) -> Revision {
    header.map_or(0, |header| unsigned(header.revision()))
}

fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn timed_out() -> Error {
    Error::Timeout(format!("etcd did not answer within {} s", CALL_TIMEOUT.as_secs()))
}
