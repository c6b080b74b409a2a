//! Adopting and releasing: which objects a controller manages, by selector and owner reference.
//!
//! Matching objects nobody controls are adopted, unless they or the controller are being deleted;
//! controlled ones that no longer match are released. Source: "Labels and ownership references".
use crate::{
    pods,
    runtime::{Plan, Write, owners},
};
use apimachinery::labels::Selector;
use client::Key;
use kube::Resource;
use serde_json::json;
use std::sync::Arc;

/// The objects among `candidates` that `owner` manages once `plan` is carried out.
pub fn claim<O, K>(plan: &mut Plan, owner: &O, selector: &Selector, candidates: &[Arc<K>]) -> Vec<Arc<K>>
where
    O: Resource<DynamicType = ()>,
    K: Resource<DynamicType = ()>,
{
    claim_some(plan, owner, selector, candidates, |_| true)
}

/// As [`claim`]; only orphans for which `adoptable` holds are adopted.
pub fn claim_some<O, K>(
    plan: &mut Plan,
    owner: &O,
    selector: &Selector,
    candidates: &[Arc<K>],
    adoptable: impl Fn(&K) -> bool,
) -> Vec<Arc<K>>
where
    O: Resource<DynamicType = ()>,
    K: Resource<DynamicType = ()>,
{
    claim_all(plan, owner, selector, candidates, adoptable, None)
}

/// As [`claim`]; what is adopted gets `finalizer`, what is released loses it.
pub fn claim_tracked<O, K>(
    plan: &mut Plan,
    owner: &O,
    selector: &Selector,
    candidates: &[Arc<K>],
    finalizer: &str,
) -> Vec<Arc<K>>
where
    O: Resource<DynamicType = ()>,
    K: Resource<DynamicType = ()>,
{
    claim_all(plan, owner, selector, candidates, |_| true, Some(finalizer))
}

fn claim_all<O, K>(
    plan: &mut Plan,
    owner: &O,
    selector: &Selector,
    candidates: &[Arc<K>],
    adoptable: impl Fn(&K) -> bool,
    finalizer: Option<&str>,
) -> Vec<Arc<K>>
where
    O: Resource<DynamicType = ()>,
    K: Resource<DynamicType = ()>,
{
    let ours = owner.meta().uid.as_deref();
    let leaving = owner.meta().deletion_timestamp.is_some();
    let mut claimed = Vec::new();
    let mut patches = Vec::new();
    let mut adopting = false;
    for object in candidates {
        let meta = object.meta();
        let matches = selector.matches(pods::labels(meta));
        match owners::controller_of(meta) {
            Some(controller) if Some(controller.uid.as_str()) != ours => {}
            Some(_) if matches => claimed.push(object.clone()),
            Some(_) if leaving => {}
            Some(_) => patches.push(release::<K>(Key::of(&**object), meta.uid.as_deref(), ours, finalizer)),
            None if matches && !leaving && meta.deletion_timestamp.is_none() && adoptable(object) => {
                adopting = true;
                patches.push(adopt(owner, &**object, finalizer));
                claimed.push(object.clone());
            }
            None => {}
        }
    }
    if adopting {
        // The cache may not know yet that the owner is gone: never adopt for the dead.
        plan.write(Write::check(owner));
    }
    plan.batch(patches);
    claimed
}

fn adopt<O: Resource<DynamicType = ()>, K: Resource<DynamicType = ()>>(
    owner: &O,
    object: &K,
    finalizer: Option<&str>,
) -> Write {
    let reference = owners::controller_reference(owner);
    let mut patch = json!({ "metadata": { "ownerReferences": [reference], "uid": object.meta().uid } });
    if let Some(finalizer) = finalizer {
        patch["metadata"]["finalizers"] = json!([finalizer]);
    }
    Write::strategic::<K>(Key::of(object), patch).or_gone()
}

fn release<K: Resource<DynamicType = ()>>(
    key: Key,
    uid: Option<&str>,
    owner: Option<&str>,
    finalizer: Option<&str>,
) -> Write {
    let mut patch = json!({ "metadata": { "uid": uid, "ownerReferences": [{ "$patch": "delete", "uid": owner }] } });
    if let Some(finalizer) = finalizer {
        patch["metadata"]["$deleteFromPrimitiveList/finalizers"] = json!([finalizer]);
    }
    Write::strategic::<K>(key, patch).or_gone()
}
