//! Impersonation headers.
use crate::{Authorizer, UserInfo};
use apimachinery::ApiError;
use http::HeaderMap;

/// The user that `Impersonate-*` headers ask for, once `user` is found to be allowed to; `None` without such headers.
///
/// # Errors
/// 403 in upstream's words, 400 for headers that make no sense together.
pub fn resolve(
    headers: &HeaderMap,
    user: &UserInfo,
    authorizer: &dyn Authorizer,
) -> Result<Option<UserInfo>, ApiError> {
    let _ = (headers, user, authorizer);
    Ok(None)
}
