//! etcd's errors as the contract's. Texts: etcd's `api/v3rpc/rpctypes`, which are part of its API.
use crate::embedded::VALUE_LIMIT;
use crate::{Error, Revision};
use etcd_client::Error as EtcdError;

/// For a call that changes nothing.
pub(super) fn of_read(error: &EtcdError, requested: Revision) -> Error {
    let text = text_of(error);
    if text.contains("required revision has been compacted") {
        // etcd does not say which one is the oldest; it is later than this.
        return Error::Compacted { requested, oldest: requested + 1 };
    }
    if text.contains("required revision is a future revision") {
        return Error::Future { requested, current: requested.saturating_sub(1) };
    }
    known(&text).unwrap_or(Error::Unavailable(format!("etcd: {text}")))
}

/// For a commit: unless etcd said that it refused, it may have happened.
pub(super) fn of_write(error: &EtcdError) -> Error {
    let text = text_of(error);
    known(&text).unwrap_or(Error::Timeout(format!("etcd: {text}")))
}

fn known(text: &str) -> Option<Error> {
    if text.contains("database space exceeded") {
        Some(Error::NoSpace(text.to_owned()))
    } else if text.contains("requested lease not found") {
        Some(Error::LeaseNotFound)
    } else if text.contains("request is too large") {
        Some(Error::TooLarge { size: VALUE_LIMIT + 1, limit: VALUE_LIMIT })
    } else if ["permission denied", "too many requests", "etcdserver: no leader"]
        .iter()
        .any(|refusal| text.contains(refusal))
    {
        Some(Error::Unavailable(format!("etcd: {text}")))
    } else {
        None
    }
}

fn text_of(error: &EtcdError) -> String {
    match error {
        EtcdError::GRpcStatus(status) => status.message().to_owned(),
        other => other.to_string(),
    }
}
