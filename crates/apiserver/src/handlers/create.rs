//! POST: a new object.
//!
//! Parse, default, admit, prepare, validate, validate admission, store with "must be absent".
//! Source of the order: `registry/generic/registry/store.go` and `rest/create.go` (behaviour).
use crate::{
    body::Body,
    chain::{
        Ctx,
        admit::{self, Change},
    },
    handlers::{decode, rules},
    limits,
    options::WriteOptions,
    registry::Endpoint,
    render,
    store::Put,
};
use admission::Operation;
use api::Object;
use apimachinery::{ApiError, names};
use bytes::Bytes;
use http::{Response, StatusCode};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use storage::Expect;

/// # Errors
/// The answer to the client.
pub async fn create(ctx: &mut Ctx<'_>, endpoint: &Endpoint, body: Bytes) -> Result<Response<Body>, ApiError> {
    let options = WriteOptions::parse(ctx.query, "CreateOptions")?;
    let object = decode::object(ctx, endpoint, body, options.field_validation)?;
    let json = create_object(ctx, endpoint, object, options).await?;
    render::object(ctx, endpoint, json, StatusCode::CREATED)
}

/// Creates a decoded object in the request's namespace; returns what is stored now.
///
/// # Errors
/// The answer to the client.
pub async fn create_object(
    ctx: &mut Ctx<'_>,
    endpoint: &Endpoint,
    mut object: Box<dyn Object>,
    options: WriteOptions,
) -> Result<Bytes, ApiError> {
    let namespace = if endpoint.namespaced() { ctx.info.namespace } else { "" };
    decode::place(endpoint, namespace, &mut *object)?;
    let version = object.metadata().resource_version.as_deref().unwrap_or_default();
    if !version.is_empty() && version != "0" {
        return Err(ApiError::new(500, "", "resourceVersion should not be set on objects to be created"));
    }
    let base = fill_metadata(&mut *object);
    let resource = endpoint.resource();
    resource.default(&mut *object);

    let name = object.metadata().name.clone().unwrap_or_default();
    let admitted_namespace = if endpoint.kind() == "Namespace" { name.clone() } else { namespace.to_owned() };
    let change = Change {
        operation: Operation::Create,
        subresource: "",
        namespace: &admitted_namespace,
        name: &name,
        old: None,
        dry_run: options.dry_run,
    };
    admit::mutate(ctx, endpoint, &change, Some(&mut *object)).await?;
    resource.prepare_create(&mut *object);
    let reserved = rules::before_create(ctx, &mut *object, options.dry_run).await?;
    let stored = match check(ctx, endpoint, &change, &mut *object).await {
        Ok(()) => store(endpoint, namespace, &mut *object, base.as_deref(), options).await,
        Err(error) => Err(error),
    };
    reserved.settle(stored.as_ref().map(drop)).await;
    stored
}

/// Validation of the kind, of RBAC and by admission.
async fn check(
    ctx: &mut Ctx<'_>,
    endpoint: &Endpoint,
    change: &Change<'_>,
    object: &mut dyn Object,
) -> Result<(), ApiError> {
    let resource = endpoint.resource();
    let mut errors = resource.validate_create(object);
    rules::check_event(endpoint, object, &mut errors);
    if !errors.is_empty() {
        return Err(ApiError::invalid(endpoint.on_kind(), change.name, &errors));
    }
    ctx.warnings.extend(resource.warnings(object, None));
    rules::check_escalation(ctx, endpoint, object, None)?;
    admit::validate(ctx, endpoint, change, Some(object)).await
}

/// What the server owns in metadata; returns the base of a generated name.
fn fill_metadata(object: &mut dyn Object) -> Option<String> {
    let meta = object.metadata_mut();
    meta.uid = Some(uuid::Uuid::new_v4().to_string());
    meta.creation_timestamp = Some(Time(whole_second()));
    meta.deletion_timestamp = None;
    meta.deletion_grace_period_seconds = None;
    meta.self_link = None;
    meta.managed_fields = None;
    meta.resource_version = None;
    let named = meta.name.as_deref().is_some_and(|n| !n.is_empty());
    let base = meta.generate_name.clone().filter(|b| !named && !b.is_empty())?;
    meta.name = Some(names::generate(&base, rand::random));
    Some(base)
}

/// The API's times have no fractions.
pub fn whole_second() -> jiff::Timestamp {
    let now = jiff::Timestamp::now();
    jiff::Timestamp::from_second(now.as_second()).unwrap_or(now)
}

async fn store(
    endpoint: &Endpoint,
    namespace: &str,
    object: &mut dyn Object,
    base: Option<&str>,
    options: WriteOptions,
) -> Result<Bytes, ApiError> {
    let store = &endpoint.store;
    for attempt in 1.. {
        let name = object.metadata().name.clone().unwrap_or_default();
        let key = store.key(namespace, &name);
        let other = if options.dry_run {
            match store.read(namespace, &name).await? {
                Some(other) => Some(other),
                None => return Ok(object.to_json().into()),
            }
        } else {
            match store.put(&key, Expect::Absent, object).await? {
                Put::Done(entry) => return Ok(entry.json.clone()),
                Put::Conflict(other) => other,
            }
        };
        match base {
            Some(base) if attempt < limits::GENERATE_NAME_ATTEMPTS => {
                object.metadata_mut().name = Some(names::generate(base, rand::random));
            }
            _ => {
                let mut error = ApiError::already_exists(endpoint.on(), &name);
                let other = other.and_then(|other| store.decode(&other).ok());
                if other.is_some_and(|o| o.metadata().deletion_timestamp.is_some()) {
                    error.message = format!("object is being deleted: {}", error.message);
                }
                return Err(error);
            }
        }
    }
    Err(ApiError::internal("no attempt was made"))
}
