//! `AlwaysAdmit` and `AlwaysDeny`, for tests of clients.
use crate::{Operation, Plugin, Request};
use apimachinery::ApiError;
use async_trait::async_trait;

pub(crate) struct Admit;

#[async_trait]
impl Plugin for Admit {
    fn name(&self) -> &'static str {
        "AlwaysAdmit"
    }

    fn handles(&self, _: Operation) -> bool {
        false
    }
}

pub(crate) struct Deny;

#[async_trait]
impl Plugin for Deny {
    fn name(&self) -> &'static str {
        "AlwaysDeny"
    }

    fn handles(&self, _: Operation) -> bool {
        true
    }

    async fn admit(&self, request: &mut Request<'_>) -> Result<(), ApiError> {
        Err(request.forbidden("admission control is denying all modifications"))
    }
}
