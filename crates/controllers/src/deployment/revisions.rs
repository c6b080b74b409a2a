//! Which ReplicaSet is the current revision, which are old ones, and the annotations that number them.
use super::arithmetic::{self, DESIRED, MAX};
use crate::{hash, pods, runtime::owners};
use client::Key;
use k8s_openapi::{
    api::{
        apps::v1::{Deployment, DeploymentSpec, ReplicaSet, ReplicaSetSpec},
        core::v1::PodTemplateSpec,
    },
    apimachinery::pkg::apis::meta::v1::LabelSelector,
};
use kube::core::ObjectMeta;
use std::{collections::BTreeMap, sync::Arc};

pub const HASH_LABEL: &str = "pod-template-hash";
pub const REVISION: &str = "deployment.kubernetes.io/revision";
const HISTORY: &str = "deployment.kubernetes.io/revision-history";
/// Longest revision history kept in an annotation, in bytes.
const MAX_HISTORY: usize = 2000;

/// Annotations of a Deployment that its ReplicaSets do not get.
const NOT_COPIED: [&str; 6] = [
    "kubectl.kubernetes.io/last-applied-configuration",
    REVISION,
    HISTORY,
    DESIRED,
    MAX,
    "deprecated.deployment.rollback.to",
];

type Annotations = BTreeMap<String, String>;

/// Whether two templates make the same pods; the hash label we add ourselves does not count.
fn same_template(a: &PodTemplateSpec, b: &PodTemplateSpec) -> bool {
    let comparable = |template: &PodTemplateSpec| {
        let mut meta = template.metadata.clone().unwrap_or_default();
        if let Some(labels) = &mut meta.labels {
            labels.remove(HASH_LABEL);
        }
        // Absent and empty are the same to the API.
        meta.labels = meta.labels.filter(|labels| !labels.is_empty());
        meta.annotations = meta.annotations.filter(|annotations| !annotations.is_empty());
        meta
    };
    let (a_meta, b_meta) = (comparable(a), comparable(b));
    if a.spec == b.spec && a_meta == b_meta {
        return true;
    }
    // The same template, as another manager wrote it: what is absent in one is empty in the other.
    let whole = |template: &PodTemplateSpec, meta| {
        hash::patch::of(&PodTemplateSpec { metadata: Some(meta), spec: template.spec.clone() })
    };
    whole(a, a_meta) == whole(b, b_meta)
}

/// When a set was made, and its name: oldest first.
fn age(set: &ReplicaSet) -> (Option<jiff::Timestamp>, Option<&str>) {
    (set.metadata.creation_timestamp.as_ref().map(|time| time.0), set.metadata.name.as_deref())
}

/// The set of the current template, the oldest if there are several, and all others, oldest first.
pub fn split(spec: &DeploymentSpec, sets: &[Arc<ReplicaSet>]) -> (Option<Arc<ReplicaSet>>, Vec<Arc<ReplicaSet>>) {
    let mut sorted = sets.to_vec();
    sorted.sort_by(|a, b| age(a).cmp(&age(b)));
    let current = |set: &Arc<ReplicaSet>| {
        let template = set.spec.as_ref().and_then(|spec| spec.template.as_ref());
        template.is_some_and(|template| same_template(template, &spec.template))
    };
    let new = sorted.iter().position(current).map(|at| sorted.remove(at));
    (new, sorted)
}

/// A set's revision; 0 if it has none.
pub fn revision(set: &ReplicaSet) -> i64 {
    let annotations = set.metadata.annotations.as_ref();
    annotations.and_then(|all| all.get(REVISION)).and_then(|revision| revision.parse().ok()).unwrap_or(0)
}

/// The revision that follows all `old` ones.
pub fn next(old: &[Arc<ReplicaSet>]) -> i64 {
    old.iter().map(|set| revision(set)).max().unwrap_or(0) + 1
}

/// The annotations of the set of the current template.
pub fn annotations(deployment: &Deployment, set: Option<&ReplicaSet>, revision: i64) -> Annotations {
    let mut annotations = set.and_then(|set| set.metadata.annotations.clone()).unwrap_or_default();
    for (name, value) in deployment.metadata.annotations.iter().flatten() {
        if !NOT_COPIED.contains(&name.as_str()) {
            annotations.insert(name.clone(), value.clone());
        }
    }
    let old = annotations.get(REVISION).cloned();
    let number = |text: &Option<String>| text.as_ref().and_then(|text| text.parse::<i64>().ok()).unwrap_or(0);
    if number(&old) < revision {
        annotations.insert(REVISION.to_owned(), revision.to_string());
        if let Some(old) = old {
            let mut past: Vec<String> =
                annotations.get(HISTORY).into_iter().flat_map(|h| h.split(',')).map(str::to_owned).collect();
            past.push(old);
            while past.join(",").len() > MAX_HISTORY {
                past.remove(0);
            }
            annotations.insert(HISTORY.to_owned(), past.join(","));
        }
    }
    annotations
}

/// What the sets say about the size of the whole rollout.
pub fn size_annotations(spec: &DeploymentSpec) -> [(&'static str, String); 2] {
    let wanted = arithmetic::wanted(spec);
    [(DESIRED, wanted.to_string()), (MAX, (wanted + arithmetic::max_surge(spec)).to_string())]
}

/// The set of the current template, before it exists.
pub fn make(
    deployment: &Deployment,
    spec: &DeploymentSpec,
    collisions: Option<i32>,
    revision: i64,
    total: i32,
) -> ReplicaSet {
    let hash = hash::of_template(&spec.template, collisions);
    let with_hash = |labels: &BTreeMap<String, String>| {
        let mut labels = labels.clone();
        labels.insert(HASH_LABEL.to_owned(), hash.clone());
        labels
    };
    let mut template = spec.template.clone();
    let meta = template.metadata.get_or_insert_default();
    let labels = with_hash(pods::labels(meta));
    meta.labels = Some(labels.clone());
    let mut annotations = annotations(deployment, None, revision);
    annotations.extend(size_annotations(spec).map(|(name, value)| (name.to_owned(), value)));
    let selector = LabelSelector {
        match_labels: Some(with_hash(&spec.selector.match_labels.clone().unwrap_or_default())),
        match_expressions: spec.selector.match_expressions.clone(),
    };
    let metadata = ObjectMeta {
        namespace: deployment.metadata.namespace.clone(),
        name: Some(format!("{}-{hash}", Key::of(deployment).name)),
        labels: Some(labels),
        annotations: Some(annotations),
        owner_references: Some(vec![owners::controller_reference(deployment)]),
        ..Default::default()
    };
    let spec = ReplicaSetSpec {
        replicas: Some(arithmetic::new_size(spec, total, 0)),
        min_ready_seconds: spec.min_ready_seconds,
        selector,
        template: Some(template),
    };
    ReplicaSet { metadata, spec: Some(spec), status: None }
}

/// Whether `set`, which has the name of the one we would make, is that one.
pub fn is_collision(deployment: &Deployment, spec: &DeploymentSpec, set: &ReplicaSet) -> bool {
    let template = set.spec.as_ref().and_then(|spec| spec.template.as_ref());
    let same = template.is_some_and(|template| same_template(template, &spec.template));
    !(same && owners::is_controlled_by(&set.metadata, deployment.metadata.uid.as_deref()))
}

/// Whether another controller, or none, has the set.
pub fn is_foreign(deployment: &Deployment, set: &ReplicaSet) -> bool {
    !owners::is_controlled_by(&set.metadata, deployment.metadata.uid.as_deref())
}
