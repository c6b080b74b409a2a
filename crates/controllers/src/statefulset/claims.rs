//! Who owns the claims of a StatefulSet's pods: what the retention policy says is deleted together.
//!
//! With `whenDeleted: Delete` a claim belongs to the set; with `whenScaled: Delete` the claim of a pod past the range
//! belongs to that pod, and goes with it. Source: KEP-1847.
use super::identity;
use crate::runtime::{Write, owners};
use client::Key;
use k8s_openapi::{
    api::{
        apps::v1::{StatefulSet, StatefulSetSpec},
        core::v1::{PersistentVolumeClaim, Pod},
    },
    apimachinery::pkg::apis::meta::v1::OwnerReference,
};
use kube::Resource;
use std::{collections::BTreeMap, sync::Arc};

/// The claims there are, by name.
pub type Claims = BTreeMap<String, Arc<PersistentVolumeClaim>>;

fn deletes(policy: Option<&String>) -> bool {
    policy.is_some_and(|policy| policy == "Delete")
}

/// Whether claims go when the set goes, and when it is made smaller.
fn policy(spec: &StatefulSetSpec) -> (bool, bool) {
    let policy = spec.persistent_volume_claim_retention_policy.as_ref();
    let when = |of: fn(&_) -> Option<&String>| deletes(policy.and_then(of));
    (
        when(|policy: &k8s_openapi::api::apps::v1::StatefulSetPersistentVolumeClaimRetentionPolicy| {
            policy.when_deleted.as_ref()
        }),
        when(|policy| policy.when_scaled.as_ref()),
    )
}

/// Whether the reference names an object of `kind` with this name, whatever its UID.
fn names<K: Resource<DynamicType = ()>>(owner: &OwnerReference, name: &str) -> bool {
    owner.kind == K::kind(&()) && owner.api_version == K::api_version(&()) && owner.name == name
}

/// The owners `claim` is to have, where `pod` is inside or outside of the set's range.
fn owners_of(
    claim: &PersistentVolumeClaim,
    set: &StatefulSet,
    spec: &StatefulSetSpec,
    pod: &Pod,
    in_range: bool,
) -> Vec<OwnerReference> {
    let (set_name, pod_name) = (Key::of(set).name, Key::of(pod).name);
    let ours = |owner: &OwnerReference| names::<StatefulSet>(owner, &set_name) || names::<Pod>(owner, &pod_name);
    let given = claim.metadata.owner_references.iter().flatten();
    let mut kept: Vec<OwnerReference> = given.filter(|owner| !ours(owner)).cloned().collect();
    if kept.iter().any(|owner| owner.controller == Some(true)) {
        return kept;
    }
    match policy(spec) {
        (_, true) if !in_range => kept.push(owners::controller_reference(pod)),
        (true, _) => kept.push(owners::controller_reference(set)),
        _ => {}
    }
    kept
}

/// The writes after which the claims of `pod` have the owners they are to have.
pub fn adjust(
    known: &Claims,
    set: &StatefulSet,
    spec: &StatefulSetSpec,
    pod: &Pod,
    ordinal: i32,
    in_range: bool,
) -> Vec<Write> {
    let claims = identity::claims(set, spec, ordinal);
    let existing = claims.iter().filter_map(|claim| known.get(claim.metadata.name.as_deref()?));
    let writes = existing.filter_map(|claim| {
        let wanted = owners_of(claim, set, spec, pod, in_range);
        let given = claim.metadata.owner_references.clone().unwrap_or_default();
        (wanted != given).then(|| {
            // The role of this controller may update claims, not patch them.
            let mut owned = PersistentVolumeClaim::clone(claim);
            owned.metadata.owner_references = Some(wanted).filter(|owners| !owners.is_empty());
            Write::replace(&owned).or_gone()
        })
    });
    writes.collect()
}

/// What a claim to be created is owned by: its pod does not exist yet.
pub fn own(claim: &mut PersistentVolumeClaim, set: &StatefulSet, spec: &StatefulSetSpec) {
    if policy(spec).0 {
        claim.metadata.owner_references = Some(vec![owners::controller_reference(set)]);
    }
}

/// Whether a claim still belongs to the pod's predecessor, with which it will go: the pod has to wait for that.
pub fn is_stale(known: &Claims, set: &StatefulSet, spec: &StatefulSetSpec, ordinal: i32) -> bool {
    let pod = format!("{}-{ordinal}", Key::of(set).name);
    let claims = identity::claims(set, spec, ordinal);
    let mut existing = claims.iter().filter_map(|claim| known.get(claim.metadata.name.as_deref()?));
    policy(spec).1
        && existing.any(|claim| claim.metadata.owner_references.iter().flatten().any(|owner| names::<Pod>(owner, &pod)))
}
