//! Compacts etcd's history, in turn with every other API server on the same etcd.
//!
//! They agree over one key: who wins the transaction on its version compacts, at the revision that
//! was current one interval ago, and the others only take note. Source: the compactor of upstream's
//! etcd3 storage (`compact_rev_key`), with which this has to get along.
use super::{revision_of, signed};
use crate::Revision;
use etcd_client::{Compare, CompareOp, KvClient, Txn, TxnOp, TxnOpResponse};
use std::time::Duration;
use tokio_util::sync::{CancellationToken, DropGuard};

const KEY: &str = "compact_rev_key";

/// Runs until the guard is dropped.
pub(super) fn start(kv: KvClient, interval: Duration) -> DropGuard {
    let stop = CancellationToken::new();
    let stopped = stop.clone();
    tokio::spawn(async move {
        tokio::select! {
            () = run(kv, interval) => {}
            () = stopped.cancelled() => {}
        }
    });
    stop.drop_guard()
}

/// What one turn learned: the key's version, and the revision to compact to in the next turn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Turn {
    version: i64,
    revision: Revision,
}

async fn run(mut kv: KvClient, interval: Duration) {
    let mut turn = Turn::default();
    loop {
        tokio::time::sleep(interval).await;
        match next(&mut kv, turn).await {
            Ok(next) => turn = next,
            Err(error) => tracing::warn!(%error, "etcd could not be compacted; trying again later"),
        }
    }
}

async fn next(kv: &mut KvClient, turn: Turn) -> Result<Turn, etcd_client::Error> {
    let transaction = Txn::new()
        .when([Compare::version(KEY, CompareOp::Equal, turn.version)])
        .and_then([TxnOp::put(KEY, turn.revision.to_string(), None)])
        .or_else([TxnOp::get(KEY, None)]);
    let response = kv.txn(transaction).await?;
    let revision = revision_of(response.header());
    if !response.succeeded() {
        let version = response.op_responses().iter().find_map(|response| match response {
            TxnOpResponse::Get(get) => get.kvs().first().map(etcd_client::KeyValue::version),
            _ => None,
        });
        return Ok(Turn { version: version.unwrap_or(0), revision });
    }
    if turn.revision > 0
        && let Err(error) = kv.compact(signed(turn.revision), None).await
    {
        tracing::warn!(%error, revision = turn.revision, "etcd could not be compacted");
    }
    Ok(Turn { version: turn.version + 1, revision })
}
