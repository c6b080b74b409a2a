//! A panic while handling one request becomes a 500 for that request alone.
use apimachinery::ApiError;
use futures::FutureExt;
use std::panic::AssertUnwindSafe;

/// Runs the handler; shared state stays usable because it is only changed through the store.
pub(super) async fn caught<T>(handler: impl Future<Output = Result<T, ApiError>>) -> Result<T, ApiError> {
    match AssertUnwindSafe(handler).catch_unwind().await {
        Ok(result) => result,
        Err(panic) => {
            let text = panic
                .downcast_ref::<&str>()
                .map(|s| (*s).to_owned())
                .or_else(|| panic.downcast_ref::<String>().cloned())
                .unwrap_or_default();
            tracing::error!(panic = %text, "a request handler panicked");
            Err(ApiError::internal("the request could not be handled"))
        }
    }
}
