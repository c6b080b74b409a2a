//! What only some kinds do on the common paths, in one place, so the handlers stay generic.
//!
//! Services get their addresses, namespaces their two-step deletion, RBAC objects the check against
//! escalation. Everything else about a kind is in its file in the `api` crate.
use crate::{
    App,
    allocators::{Outcome, Reservation},
    chain::Ctx,
    registry::Endpoint,
};
use api::Object;
use apimachinery::{
    ApiError,
    field::{self, ErrorList},
};
use auth::rbac::PolicyWrite;
use k8s_openapi::api::core::v1::{Event, Namespace, Service};

/// What a write holds until it is known whether it happened.
#[derive(Default)]
pub struct Reserved(Option<Reservation>);

impl Reserved {
    /// `stored`: the write happened, and what was reserved is in use now; or why it did not.
    pub async fn settle(self, stored: Result<(), &ApiError>) {
        let Some(reservation) = self.0 else { return };
        let outcome = match stored {
            Ok(()) => Outcome::Stored,
            // A store that did not answer may have written.
            Err(error) if error.code >= 500 => Outcome::Unknown,
            Err(_) => Outcome::Refused,
        };
        reservation.settle(outcome).await;
    }

    /// Somebody else wrote first.
    pub async fn give_back(self) {
        if let Some(reservation) = self.0 {
            reservation.settle(Outcome::Refused).await;
        }
    }
}

/// # Errors
/// Addresses or ports asked for cannot be had.
pub async fn before_create(ctx: &Ctx<'_>, object: &mut dyn Object, dry_run: bool) -> Result<Reserved, ApiError> {
    let Some(service) = object.as_any_mut().downcast_mut::<Service>() else { return Ok(Reserved::default()) };
    let reservation = ctx.app.services.allocate(service, ctx.info.namespace, None, dry_run).await?;
    Ok(Reserved(Some(reservation)))
}

/// # Errors
/// Addresses or ports asked for cannot be had.
pub async fn before_update(
    ctx: &Ctx<'_>,
    new: &mut dyn Object,
    old: &dyn Object,
    dry_run: bool,
) -> Result<Reserved, ApiError> {
    let (Some(new), Some(old)) = (new.as_any_mut().downcast_mut::<Service>(), old.as_any().downcast_ref::<Service>())
    else {
        return Ok(Reserved::default());
    };
    let reservation = ctx.app.services.allocate(new, ctx.info.namespace, Some(old), dry_run).await?;
    Ok(Reserved(Some(reservation)))
}

/// The object is not stored any more.
pub async fn after_removal(app: &App, object: &dyn Object) {
    if let Some(service) = object.as_any().downcast_ref::<Service>() {
        app.services.removed(service).await;
    }
}

/// Events made through their own group are new ones; those made through the core group may be of the old kind.
pub fn check_event(endpoint: &Endpoint, object: &dyn Object, errors: &mut ErrorList) {
    if let Some(event) = object.as_any().downcast_ref::<Event>()
        && endpoint.served().group == "events.k8s.io"
        && event.event_time.is_none()
    {
        errors.push(field::Error::required(&field::Path::new("eventTime"), ""));
    }
}

/// Nobody may grant through RBAC what they do not hold.
///
/// # Errors
/// 403 naming the missing rules.
pub fn check_escalation(
    ctx: &Ctx<'_>,
    endpoint: &Endpoint,
    new: &dyn Object,
    old: Option<&dyn Object>,
) -> Result<(), ApiError> {
    if !ctx.app.rbac_enabled || endpoint.served().group != "rbac.authorization.k8s.io" {
        return Ok(());
    }
    let meta = new.metadata();
    let old = old.map(|o| o.to_json());
    let write = PolicyWrite {
        resource: &endpoint.info().plural,
        namespace: meta.namespace.as_deref().unwrap_or_default(),
        name: meta.name.as_deref().unwrap_or_default(),
        object: &new.to_json(),
        old: old.as_deref(),
    };
    ctx.app.rbac.check_escalation(&ctx.user, write, &*ctx.app.authorizer)
}

/// Kinds whose deletion answers with the object instead of a `Status` (`ReturnDeletedObject`).
pub fn returns_deleted_object(plural: &str) -> bool {
    matches!(
        plural,
        "csidrivers"
            | "csinodes"
            | "persistentvolumeclaims"
            | "persistentvolumes"
            | "pods"
            | "podtemplates"
            | "resourcequotas"
            | "serviceaccounts"
            | "services"
            | "storageclasses"
            | "volumeattachments"
    )
}

/// Kinds whose dependents stay unless the client says otherwise, for compatibility as upstream has it.
pub fn orphans_by_default(plural: &str) -> bool {
    matches!(plural, "replicationcontrollers" | "jobs")
}

/// Something besides `metadata.finalizers` keeps the object: a namespace's own finalizers.
pub fn held(object: &dyn Object) -> bool {
    object
        .as_any()
        .downcast_ref::<Namespace>()
        .and_then(|ns| ns.spec.as_ref())
        .is_some_and(|spec| spec.finalizers.as_ref().is_some_and(|f| !f.is_empty()))
}

/// What else changes when a deletion begins.
pub fn mark_deleted(object: &mut dyn Object) {
    if let Some(namespace) = object.as_any_mut().downcast_mut::<Namespace>() {
        namespace.status.get_or_insert_default().phase = Some("Terminating".into());
    }
}

/// The update took away the last thing that kept an object whose deletion had begun.
pub fn gone_after_update(new: &dyn Object, old: &dyn Object) -> bool {
    let (meta, before) = (new.metadata(), old.metadata());
    let none_left = |o: &dyn Object| o.metadata().finalizers.as_ref().is_none_or(Vec::is_empty) && !held(o);
    before.deletion_timestamp.is_some()
        && meta.deletion_grace_period_seconds.unwrap_or_default() == 0
        && none_left(new)
        && !none_left(old)
}
