//! DELETE of one object: grace, finalizers, propagation, preconditions.
//!
//! Source: `registry/generic/registry/store.go` (`Delete`, `deletionFinalizersForGarbageCollection`) and
//! `rest/delete.go` (`BeforeDelete`), behaviour.
use crate::{
    body::Body,
    chain::{
        Ctx,
        admit::{self, Change},
    },
    codec,
    handlers::{create::whole_second, rules},
    limits,
    options::{DeleteOptions, Propagation},
    registry::Endpoint,
    render,
    store::Put,
};
use admission::Operation;
use api::{Grace, Object};
use apimachinery::{ApiError, status::OBJECT_MODIFIED};
use bytes::Bytes;
use http::{Response, StatusCode};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use std::sync::Arc;
use storage::{Expect, cache::Entry};

pub const ORPHAN: &str = "orphan";
pub const FOREGROUND: &str = "foregroundDeletion";

/// What a deletion led to.
pub struct Deleted {
    /// The object as it stands now, or as it stood last.
    pub json: Bytes,
    pub uid: String,
    /// It is not stored any more.
    pub gone: bool,
}

/// # Errors
/// The answer to the client.
pub async fn delete(ctx: &mut Ctx<'_>, endpoint: &Endpoint, body: Bytes) -> Result<Response<Body>, ApiError> {
    let options = options(ctx, body)?;
    let name = ctx.info.name;
    let namespace = if endpoint.namespaced() { ctx.info.namespace } else { "" };
    let deleted = delete_object(ctx, endpoint, namespace, name, &options).await?;
    let info = endpoint.info();
    if deleted.gone && !rules::returns_deleted_object(&info.plural) {
        let json = render::success_status(&endpoint.served().group, &info.plural, name, &deleted.uid);
        return Ok(render::encoded(ctx.accept, StatusCode::OK, json));
    }
    let status = if !deleted.gone && options.old_cascade { StatusCode::ACCEPTED } else { StatusCode::OK };
    render::object(ctx, endpoint, deleted.json, status)
}

/// # Errors
/// As [`DeleteOptions::parse`].
pub fn options(ctx: &Ctx<'_>, body: Bytes) -> Result<DeleteOptions, ApiError> {
    let json = if body.is_empty() { body } else { codec::body_json(&ctx.parts.headers, body)? };
    DeleteOptions::parse(&json, ctx.query)
}

/// Deletes, or starts the deletion of, one object.
///
/// # Errors
/// The answer to the client.
pub async fn delete_object(
    ctx: &mut Ctx<'_>,
    endpoint: &Endpoint,
    namespace: &str,
    name: &str,
    options: &DeleteOptions,
) -> Result<Deleted, ApiError> {
    let store = &endpoint.store;
    let mut current = store.read(namespace, name).await?;
    for _ in 0..limits::UPDATE_ATTEMPTS {
        let Some(entry) = current else { return Err(ApiError::not_found(endpoint.on(), name)) };
        let old = store.decode(&entry)?;
        check_preconditions(endpoint, name, &entry, &*old, options)?;
        let admitted_namespace = if endpoint.kind() == "Namespace" { name } else { namespace };
        let change = Change {
            operation: Operation::Delete,
            subresource: "",
            namespace: admitted_namespace,
            name,
            old: Some(&*old),
            dry_run: options.dry_run,
        };
        admit::mutate(ctx, endpoint, &change, None).await?;
        admit::validate(ctx, endpoint, &change, None).await?;
        let plan = plan(endpoint, &*old, options);
        match carry_out(endpoint, &entry, &*old, plan, options.dry_run).await? {
            Ok(deleted) => {
                if deleted.gone && !options.dry_run {
                    rules::after_removal(ctx.app, &*old).await;
                }
                return Ok(deleted);
            }
            Err(_) if options.resource_version.is_some() => {
                return Err(ApiError::conflict(endpoint.on(), name, OBJECT_MODIFIED));
            }
            Err(newer) => current = newer,
        }
    }
    Err(ApiError::conflict(endpoint.on(), name, OBJECT_MODIFIED))
}

fn check_preconditions(
    endpoint: &Endpoint,
    name: &str,
    entry: &Entry,
    old: &dyn Object,
    options: &DeleteOptions,
) -> Result<(), ApiError> {
    let conflict = |what: &str, wanted: &str, found: &str, guess: &str| {
        let why = format!(
            "the {what} in the precondition ({wanted}) does not match the {what} in record ({found}). The object might \
             have been {guess}"
        );
        // Upstream names the kind here, not the resource.
        Err(ApiError::conflict(endpoint.on_kind(), name, &why))
    };
    let uid = old.metadata().uid.as_deref().unwrap_or_default();
    if let Some(wanted) = options.uid.as_deref().filter(|w| *w != uid) {
        return conflict("UID", wanted, uid, "deleted and then recreated");
    }
    let version = entry.revision.to_string();
    if let Some(wanted) = options.resource_version.as_deref().filter(|w| *w != version) {
        return conflict("ResourceVersion", wanted, &version, "modified");
    }
    Ok(())
}

/// What a deletion comes to.
enum Plan {
    Remove,
    /// Stays for now, in this state.
    Mark(Box<dyn Object>),
    /// Is being deleted already, and nothing about that changes.
    Nothing,
}

fn plan(endpoint: &Endpoint, old: &dyn Object, options: &DeleteOptions) -> Plan {
    let mut new = old.clone_box();
    let finalizers = garbage_collection_finalizers(endpoint, old, options);
    let grace = endpoint.resource().grace(old, options.grace_seconds);
    let held = !finalizers.is_empty() || rules::held(old);
    let marked = old.metadata().deletion_timestamp.is_some();
    let seconds = match grace {
        Grace::Immediate if !held => return Plan::Remove,
        Grace::Immediate => 0,
        Grace::Seconds(seconds) => seconds.max(0),
    };
    let meta = new.metadata_mut();
    meta.finalizers = (!finalizers.is_empty()).then_some(finalizers);
    let shorter = meta.deletion_grace_period_seconds.is_none_or(|before| seconds < before);
    if !marked || shorter {
        let since = if marked { deletion_began(old) } else { whole_second() };
        let due = jiff::SignedDuration::from_secs(seconds);
        meta.deletion_timestamp = Some(Time(since.checked_add(due).unwrap_or(since)));
        meta.deletion_grace_period_seconds = Some(seconds);
    }
    if !marked && let Some(generation) = meta.generation.filter(|g| *g > 0) {
        meta.generation = Some(generation + 1);
    }
    rules::mark_deleted(&mut *new);
    if new.to_json() == old.to_json() { Plan::Nothing } else { Plan::Mark(new) }
}

/// When the grace period of an object that is being deleted started.
fn deletion_began(old: &dyn Object) -> jiff::Timestamp {
    let meta = old.metadata();
    let seconds = meta.deletion_grace_period_seconds.unwrap_or_default();
    let due = meta.deletion_timestamp.as_ref().map_or_else(whole_second, |t| t.0);
    due.checked_sub(jiff::SignedDuration::from_secs(seconds)).unwrap_or(due)
}

/// The finalizers an object keeps while it is deleted this way.
fn garbage_collection_finalizers(endpoint: &Endpoint, old: &dyn Object, options: &DeleteOptions) -> Vec<String> {
    let mut all: Vec<String> = old.metadata().finalizers.clone().unwrap_or_default();
    let has = |name: &str| old.metadata().finalizers.iter().flatten().any(|f| f == name);
    let (orphan, foreground) = match options.propagation {
        Some(Propagation::Orphan) => (true, false),
        Some(Propagation::Foreground) => (false, true),
        Some(Propagation::Background) => (false, false),
        None if has(ORPHAN) || has(FOREGROUND) => (has(ORPHAN), has(FOREGROUND)),
        None => (rules::orphans_by_default(&endpoint.info().plural), false),
    };
    all.retain(|f| f != ORPHAN && f != FOREGROUND);
    for (wanted, name) in [(orphan, ORPHAN), (foreground, FOREGROUND)] {
        if wanted {
            all.push(name.to_owned());
        }
    }
    all
}

/// `Ok(Err(newer))`: somebody else wrote first.
async fn carry_out(
    endpoint: &Endpoint,
    entry: &Arc<Entry>,
    old: &dyn Object,
    plan: Plan,
    dry_run: bool,
) -> Result<Result<Deleted, Option<Arc<Entry>>>, ApiError> {
    let uid = old.metadata().uid.clone().unwrap_or_default();
    let deleted = |json: Bytes, gone| Ok(Ok(Deleted { json, uid: uid.clone(), gone }));
    match plan {
        Plan::Nothing => deleted(entry.json.clone(), false),
        Plan::Remove if dry_run => deleted(entry.json.clone(), true),
        Plan::Mark(new) if dry_run => deleted(new.to_json().into(), false),
        Plan::Remove => match endpoint.store.remove(entry).await? {
            Ok(()) => deleted(entry.json.clone(), true),
            Err(current) => Ok(Err(current)),
        },
        Plan::Mark(mut new) => {
            match endpoint.store.put(&entry.key, Expect::Revision(entry.revision), &mut *new).await? {
                Put::Done(entry) => deleted(entry.json.clone(), false),
                Put::Conflict(current) => Ok(Err(current)),
            }
        }
    }
}
