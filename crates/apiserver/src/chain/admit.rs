//! The handlers' way to the admission chain: fills in what plugins see of a request.
use super::Ctx;
use crate::registry::Endpoint;
use admission::{Operation, Request};
use api::Object;
use apimachinery::ApiError;
use std::collections::BTreeMap;

/// What is about to be done to one object.
pub struct Change<'a> {
    pub operation: Operation,
    pub subresource: &'a str,
    pub namespace: &'a str,
    pub name: &'a str,
    pub old: Option<&'a dyn Object>,
    pub dry_run: bool,
}

#[derive(Clone, Copy)]
enum Phase {
    Admit,
    Validate,
}

async fn run(
    ctx: &mut Ctx<'_>,
    endpoint: &Endpoint,
    change: &Change<'_>,
    object: Option<&mut dyn Object>,
    phase: Phase,
) -> Result<(), ApiError> {
    let served = endpoint.served();
    let mut annotations = BTreeMap::new();
    let mut request = Request {
        operation: change.operation,
        group: &served.group,
        version: &served.version,
        kind: &served.kind,
        resource: &endpoint.info().plural,
        subresource: change.subresource,
        namespace: change.namespace,
        name: change.name,
        user: &ctx.user,
        object,
        old: change.old,
        dry_run: change.dry_run,
        warnings: &mut ctx.warnings,
        audit_annotations: &mut annotations,
    };
    match phase {
        Phase::Admit => ctx.app.admission.admit(&mut request).await,
        Phase::Validate => ctx.app.admission.validate(&mut request).await,
    }
}

/// First phase; plugins may change the object.
///
/// # Errors
/// A plugin's refusal.
pub async fn mutate(
    ctx: &mut Ctx<'_>,
    endpoint: &Endpoint,
    change: &Change<'_>,
    object: Option<&mut dyn Object>,
) -> Result<(), ApiError> {
    run(ctx, endpoint, change, object, Phase::Admit).await
}

/// Second phase, right before the store.
///
/// # Errors
/// A plugin's refusal.
pub async fn validate(
    ctx: &mut Ctx<'_>,
    endpoint: &Endpoint,
    change: &Change<'_>,
    object: Option<&mut dyn Object>,
) -> Result<(), ApiError> {
    run(ctx, endpoint, change, object, Phase::Validate).await
}

/// Both phases for a body that is not the kind itself: a token request, an eviction, a binding.
///
/// # Errors
/// A plugin's refusal.
pub async fn body(
    ctx: &mut Ctx<'_>,
    endpoint: &Endpoint,
    object: &mut dyn Object,
    dry_run: bool,
) -> Result<(), ApiError> {
    let info = ctx.info.clone();
    let change = Change {
        operation: Operation::Create,
        subresource: info.subresource,
        namespace: info.namespace,
        name: info.name,
        old: None,
        dry_run,
    };
    mutate(ctx, endpoint, &change, Some(&mut *object)).await?;
    validate(ctx, endpoint, &change, Some(object)).await
}
