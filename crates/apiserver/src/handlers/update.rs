//! PUT, and the read-change-write every other update goes through.
//!
//! A change is a pure function of the stored state, run again when somebody else wrote in between.
//! Source: `registry/generic/registry/store.go`, `rest/update.go` (behaviour).
use crate::{
    body::Body,
    chain::{
        Ctx,
        admit::{self, Change},
    },
    handlers::{create, decode, rules},
    limits,
    options::WriteOptions,
    registry::Endpoint,
    render,
    store::{self, Put},
};
use admission::Operation;
use api::{Object, Target};
use apimachinery::{ApiError, field, status::OBJECT_MODIFIED};
use bytes::Bytes;
use http::{Response, StatusCode};
use std::sync::Arc;
use storage::{Expect, cache::Entry};

/// How an update is made and what it goes through.
#[derive(Clone, Copy)]
pub struct Plan<'a> {
    pub target: Target,
    pub subresource: &'a str,
    pub options: WriteOptions,
    /// How often to try again with what others wrote in between, unless the change names a version.
    pub attempts: usize,
    /// The kind's rules and admission apply. Off only for what the server itself changes.
    pub checked: bool,
}

/// The stored object before and after.
pub struct Current<'a> {
    pub entry: &'a Arc<Entry>,
    pub object: &'a dyn Object,
}

/// # Errors
/// The answer to the client.
pub async fn update(
    ctx: &mut Ctx<'_>,
    endpoint: &Endpoint,
    target: Target,
    body: Bytes,
) -> Result<Response<Body>, ApiError> {
    let options = WriteOptions::parse(ctx.query, "UpdateOptions")?;
    let mut object = decode::object(ctx, endpoint, body, options.field_validation)?;
    let namespace = if endpoint.namespaced() { ctx.info.namespace } else { "" };
    decode::place(endpoint, namespace, &mut *object)?;
    check_name(ctx.info.name, &mut *object)?;
    endpoint.resource().default(&mut *object);
    let versionless = object.metadata().resource_version.as_deref().unwrap_or_default().is_empty();

    if endpoint.info().create_on_update && target == Target::Main {
        let exists = endpoint.store.read(namespace, ctx.info.name).await?.is_some();
        if !exists && versionless && object.metadata().uid.is_none() {
            let json = create::create_object(ctx, endpoint, object, options).await?;
            return render::object(ctx, endpoint, json, StatusCode::CREATED);
        }
    }
    if versionless && !endpoint.info().unconditional_update && target == Target::Main {
        let path = field::Path::new("metadata").child("resourceVersion");
        let error = field::Error::invalid(&path, 0, "must be specified for an update");
        return Err(ApiError::invalid(endpoint.on_kind(), ctx.info.name, &[error].into_iter().collect()));
    }
    let subresource = ctx.info.subresource;
    let plan = Plan { target, subresource, options, attempts: limits::UPDATE_ATTEMPTS, checked: true };
    let json = apply(ctx, endpoint, plan, |_| Ok(object.clone_box())).await?;
    render::object(ctx, endpoint, json, StatusCode::OK)
}

/// # Errors
/// `BadRequest` when body and path name different objects.
pub fn check_name(name: &str, object: &mut dyn Object) -> Result<(), ApiError> {
    let meta = object.metadata_mut();
    match meta.name.as_deref() {
        None | Some("") => {
            meta.name = Some(name.to_owned());
            Ok(())
        }
        Some(own) if own == name => Ok(()),
        Some(own) => Err(ApiError::bad_request(format!(
            "the name of the object ({own}) does not match the name on the URL ({name})"
        ))),
    }
}

/// Changes the object the request names; returns what is stored now.
///
/// # Errors
/// The answer to the client.
pub async fn apply(
    ctx: &mut Ctx<'_>,
    endpoint: &Endpoint,
    plan: Plan<'_>,
    mut change: impl FnMut(Current<'_>) -> Result<Box<dyn Object>, ApiError>,
) -> Result<Bytes, ApiError> {
    let namespace = if endpoint.namespaced() { ctx.info.namespace } else { "" };
    let name = ctx.info.name;
    let store = &endpoint.store;
    let mut current = store.read(namespace, name).await?;
    for attempt in 1.. {
        let Some(entry) = current else { return Err(ApiError::not_found(endpoint.on(), name)) };
        let old = store.decode(&entry)?;
        let mut new = change(Current { entry: &entry, object: &*old })?;
        reconcile_metadata(endpoint, name, &entry, &*old, &mut *new)?;
        let mut reserved = rules::Reserved::default();
        let written = match prepare(ctx, endpoint, &plan, namespace, &*old, &mut *new, &mut reserved).await {
            Ok(()) => write(endpoint, &plan, &entry, &*old, &mut *new).await,
            Err(error) => Err(error),
        };
        match &written {
            Ok(Outcome::Raced(_)) => reserved.give_back().await,
            Ok(_) => reserved.settle(Ok(())).await,
            Err(error) => reserved.settle(Err(error)).await,
        }
        let written = written?;
        match written {
            Outcome::Stored(json) => return Ok(json),
            Outcome::Removed(json) => {
                rules::after_removal(ctx.app, &*old).await;
                return Ok(json);
            }
            // A change that names a version fails on the newer object by itself.
            Outcome::Raced(_) if attempt >= plan.attempts => {
                return Err(ApiError::conflict(endpoint.on(), name, OBJECT_MODIFIED));
            }
            Outcome::Raced(newer) => current = newer,
        }
    }
    Err(ApiError::internal("no attempt was made"))
}

/// Checks the versions the change names and keeps what no update may touch.
fn reconcile_metadata(
    endpoint: &Endpoint,
    name: &str,
    entry: &Entry,
    old: &dyn Object,
    new: &mut dyn Object,
) -> Result<(), ApiError> {
    let before = old.metadata();
    let meta = new.metadata_mut();
    let version = meta.resource_version.take().filter(|v| !v.is_empty() && v != "0");
    if let Some(version) = &version {
        let version: u64 = version.parse().map_err(|_| {
            let path = field::Path::new("metadata").child("resourceVersion");
            let error = field::Error::invalid(&path, version, "must be an unsigned integer");
            ApiError::invalid(endpoint.on_kind(), name, &[error].into_iter().collect())
        })?;
        if version != entry.revision {
            return Err(ApiError::conflict(endpoint.on(), name, OBJECT_MODIFIED));
        }
    }
    if let (Some(uid), Some(own)) = (&meta.uid, &before.uid)
        && uid != own
        && !uid.is_empty()
    {
        return Err(ApiError::conflict(endpoint.on(), name, &store::wrong_uid(&entry.key, uid, own)));
    }
    meta.uid.clone_from(&before.uid);
    meta.creation_timestamp.clone_from(&before.creation_timestamp);
    meta.deletion_timestamp.clone_from(&before.deletion_timestamp);
    meta.deletion_grace_period_seconds = before.deletion_grace_period_seconds;
    meta.generation = before.generation;
    meta.generate_name.clone_from(&before.generate_name);
    meta.self_link = None;
    meta.managed_fields = None;
    Ok(())
}

/// The kind's own preparation and validation, between the two phases of admission.
async fn prepare(
    ctx: &mut Ctx<'_>,
    endpoint: &Endpoint,
    plan: &Plan<'_>,
    namespace: &str,
    old: &dyn Object,
    new: &mut dyn Object,
    reserved: &mut rules::Reserved,
) -> Result<(), ApiError> {
    if !plan.checked {
        return Ok(());
    }
    let name = ctx.info.name;
    let admitted_namespace = if endpoint.kind() == "Namespace" { name } else { namespace };
    let change = Change {
        operation: Operation::Update,
        subresource: plan.subresource,
        namespace: admitted_namespace,
        name,
        old: Some(old),
        dry_run: plan.options.dry_run,
    };
    admit::mutate(ctx, endpoint, &change, Some(new)).await?;
    let resource = endpoint.resource();
    resource.prepare_update(plan.target, new, old);
    if plan.target == Target::Main {
        *reserved = rules::before_update(ctx, new, old, plan.options.dry_run).await?;
    }
    let errors = resource.validate_update(plan.target, new, old);
    if !errors.is_empty() {
        return Err(ApiError::invalid(endpoint.on_kind(), name, &errors));
    }
    ctx.warnings.extend(resource.warnings(new, Some(old)));
    rules::check_escalation(ctx, endpoint, new, Some(old))?;
    admit::validate(ctx, endpoint, &change, Some(new)).await
}

enum Outcome {
    Stored(Bytes),
    /// The update took away the last thing that kept it.
    Removed(Bytes),
    /// Somebody else wrote first; this is what stands there now.
    Raced(Option<Arc<Entry>>),
}

async fn write(
    endpoint: &Endpoint,
    plan: &Plan<'_>,
    entry: &Arc<Entry>,
    old: &dyn Object,
    new: &mut dyn Object,
) -> Result<Outcome, ApiError> {
    let store = &endpoint.store;
    new.metadata_mut().resource_version.clone_from(&old.metadata().resource_version);
    if new.to_json() == old.to_json() {
        // Nothing changed: no write, no event, the same version, as upstream.
        return Ok(Outcome::Stored(entry.json.clone()));
    }
    if plan.options.dry_run {
        return Ok(Outcome::Stored(new.to_json().into()));
    }
    if rules::gone_after_update(&*new, old) {
        return match store.remove(entry).await? {
            Ok(()) => {
                new.metadata_mut().resource_version.clone_from(&old.metadata().resource_version);
                Ok(Outcome::Removed(new.to_json().into()))
            }
            Err(current) => Ok(Outcome::Raced(current)),
        };
    }
    match store.put(&entry.key, Expect::Revision(entry.revision), new).await? {
        Put::Done(entry) => Ok(Outcome::Stored(entry.json.clone())),
        Put::Conflict(current) => Ok(Outcome::Raced(current)),
    }
}
