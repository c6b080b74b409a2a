//! What a namespace under deletion says, and when it may go.
use super::content::Found;
use crate::{
    conditions::{self, Condition},
    runtime::{
        Plan, Write,
        plan::{Target, Verb},
    },
};
use client::Key;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Namespace, NamespaceCondition, NamespaceStatus};
use std::{collections::BTreeMap, time::Duration};

const FINALIZER: &str = "kubernetes";

/// Whether the namespace still waits for us.
pub fn is_ours(namespace: &Namespace) -> bool {
    let finalizers = namespace.spec.iter().flat_map(|spec| spec.finalizers.iter().flatten());
    finalizers.into_iter().any(|finalizer| finalizer == FINALIZER)
}

/// What to do after a round of deletions.
pub fn plan(namespace: &Namespace, found: &Found, now: Timestamp) -> Plan {
    let mut plan = Plan::nothing();
    let mut status = namespace.status.clone().unwrap_or_default();
    status.phase = Some("Terminating".to_owned());
    for condition in conditions(found, now) {
        conditions::replace(&mut status.conditions, condition);
    }
    let done = found.discovery.is_none() && found.errors.is_empty() && found.remaining.is_empty();
    if done {
        plan.write(finalize(namespace));
        return plan;
    }
    if Some(&status) != namespace.status.as_ref() {
        plan.write(write_status(namespace, status));
    }
    // Half of the time, as upstream: what is left is mostly pods that end sooner than they may.
    let seconds = if found.estimate_s > 0 { found.estimate_s / 2 + 1 } else { 5 };
    plan.again_in(Duration::from_secs(seconds.unsigned_abs()));
    plan
}

fn write_status(namespace: &Namespace, status: NamespaceStatus) -> Write {
    let (metadata, spec) = (namespace.metadata.clone(), namespace.spec.clone());
    Write::replace_status(&Namespace { metadata, spec, status: Some(status) }).or_gone().or_conflict()
}

/// Take our finalizer away; the server then deletes the namespace.
fn finalize(namespace: &Namespace) -> Write {
    let mut namespace = namespace.clone();
    if let Some(finalizers) = namespace.spec.as_mut().and_then(|spec| spec.finalizers.as_mut()) {
        finalizers.retain(|finalizer| finalizer != FINALIZER);
    }
    let body = serde_json::to_value(&namespace).unwrap_or_default();
    Write::raw(Verb::Replace, Target::of::<Namespace>(Key::of(&namespace)), body).at("finalize").or_gone()
}

fn listed(counts: &BTreeMap<String, usize>, text: impl Fn(&str, usize) -> String) -> String {
    counts.iter().map(|(name, count)| text(name, *count)).collect::<Vec<_>>().join(", ")
}

/// All five conditions, in upstream's words.
fn conditions(found: &Found, now: Timestamp) -> [NamespaceCondition; 5] {
    let make = |kind: &str, failing: Option<(&str, String)>, fine: (&str, &str)| match failing {
        Some((reason, message)) => NamespaceCondition::make(kind, true, reason, message, now),
        None => NamespaceCondition::make(kind, false, fine.0, fine.1.to_owned(), now),
    };
    let discovery = found
        .discovery
        .as_ref()
        .map(|why| ("DiscoveryFailed", format!("Discovery failed for some groups, 1 failing: {why}")));
    let refused = (!found.errors.is_empty()).then(|| {
        let why = format!(
            "Failed to delete all resource types, {} remaining: {}",
            found.errors.len(),
            found.errors.join(", ")
        );
        ("ContentDeletionFailed", why)
    });
    let remaining = (!found.remaining.is_empty()).then(|| {
        let what = listed(&found.remaining, |name, count| format!("{name} has {count} resource instances"));
        ("SomeResourcesRemain", format!("Some resources are remaining: {what}"))
    });
    let finalizers = (!found.finalizers.is_empty()).then(|| {
        let what = listed(&found.finalizers, |name, count| format!("{name} in {count} resource instances"));
        ("SomeFinalizersRemain", format!("Some content in the namespace has finalizers remaining: {what}"))
    });
    let deleted = "All content successfully deleted, may be waiting on finalization";
    [
        make(
            "NamespaceDeletionDiscoveryFailure",
            discovery,
            ("ResourcesDiscovered", "All resources successfully discovered"),
        ),
        make(
            "NamespaceDeletionGroupVersionParsingFailure",
            None,
            ("ParsedGroupVersions", "All legacy kube types successfully parsed"),
        ),
        make("NamespaceDeletionContentFailure", refused, ("ContentDeleted", deleted)),
        make("NamespaceContentRemaining", remaining, ("ContentRemoved", "All content successfully removed")),
        make(
            "NamespaceFinalizersRemaining",
            finalizers,
            ("ContentHasNoFinalizers", "All content-preserving finalizers finished"),
        ),
    ]
}
