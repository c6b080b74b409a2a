//! ControllerRevisions: the templates a DaemonSet or StatefulSet has had, to tell old pods from new ones.
//!
//! Shared by both. A revision is found by its content, never by its hash (see [`crate::hash`]).
use crate::{
    hash::{self, patch},
    pods,
    runtime::{Plan, Write, owners},
};
use client::Key;
use k8s_openapi::{
    api::{apps::v1::ControllerRevision, core::v1::PodTemplateSpec},
    apimachinery::pkg::runtime::RawExtension,
};
use kube::{Resource, core::ObjectMeta};
use serde_json::json;
use std::{collections::BTreeMap, sync::Arc};

/// The current template's revision.
pub struct Current {
    pub name: String,
    pub hash: String,
    /// Its name belongs to another template: the owner's collision count must grow first.
    pub collides: bool,
}

/// Where the two kinds differ.
pub struct Style {
    /// Label of a revision that holds its hash.
    pub label: &'static str,
    /// The hash of a template after so many collisions.
    pub hash: fn(&PodTemplateSpec, Option<i32>) -> String,
}

/// As a DaemonSet's revisions are hashed.
pub const OF_STRUCT: fn(&PodTemplateSpec, Option<i32>) -> String = hash::of_template;

/// As a StatefulSet's revisions are hashed.
pub const OF_BYTES: fn(&PodTemplateSpec, Option<i32>) -> String =
    |template, collisions| hash::of_patch(&patch::text(&patch::of(template)), collisions.unwrap_or(0));

/// The template a revision holds.
pub fn template(revision: &ControllerRevision) -> Option<PodTemplateSpec> {
    let data = &revision.data.as_ref()?.0;
    serde_json::from_value(data.pointer("/spec/template")?.clone()).ok()
}

/// Revisions in the order they were made.
pub fn sorted(mut revisions: Vec<Arc<ControllerRevision>>) -> Vec<Arc<ControllerRevision>> {
    revisions.sort_by_key(|revision| (revision.revision, revision.metadata.name.clone()));
    revisions
}

/// Find the revision of `template` among `known` (sorted), or plan to make it; a revision that comes
/// back after a rollback becomes the newest again.
pub fn current<O: Resource<DynamicType = ()>>(
    plan: &mut Plan,
    owner: &O,
    style: &Style,
    template: &PodTemplateSpec,
    known: &[Arc<ControllerRevision>],
    collisions: Option<i32>,
) -> Current {
    let newest = known.last().map_or(0, |revision| revision.revision);
    let wanted = patch::of(template);
    let holds = |revision: &ControllerRevision| self::template(revision).is_some_and(|held| patch::of(&held) == wanted);
    let same = known.iter().rev().find(|revision| holds(revision));
    let named = |revision: &ControllerRevision| {
        let key = Key::of(revision);
        let hash = pods::labels(&revision.metadata).get(style.label).cloned();
        let hash = hash.unwrap_or_else(|| key.name.rsplit('-').next().unwrap_or_default().to_owned());
        Current { name: key.name.to_string(), hash, collides: false }
    };
    if let Some(revision) = same {
        if revision.revision < newest {
            let patch = json!({ "revision": newest + 1 });
            plan.write(Write::merge::<ControllerRevision>(Key::of(&**revision), patch));
        }
        return named(revision);
    }
    let hash = (style.hash)(template, collisions);
    let meta = owner.meta();
    let name = format!("{}-{hash}", meta.name.as_deref().unwrap_or_default());
    if known.iter().any(|revision| revision.metadata.name.as_ref() == Some(&name)) {
        return Current { name, hash, collides: true };
    }
    let mut labels: BTreeMap<String, String> =
        template.metadata.as_ref().map(|meta| pods::labels(meta).clone()).unwrap_or_default();
    labels.insert(style.label.to_owned(), hash.clone());
    let metadata = ObjectMeta {
        namespace: meta.namespace.clone(),
        name: Some(name.clone()),
        labels: Some(labels),
        annotations: meta.annotations.clone(),
        owner_references: Some(vec![owners::controller_reference(owner)]),
        ..Default::default()
    };
    let data = Some(RawExtension(wanted));
    plan.write(Write::create(&ControllerRevision { metadata, data, revision: newest + 1 }).or_exists());
    Current { name, hash, collides: false }
}

/// Delete the oldest revisions past `limit` that `live` does not name.
pub fn clean_up(plan: &mut Plan, known: &[Arc<ControllerRevision>], limit: Option<i32>, live: impl Fn(&str) -> bool) {
    let limit = usize::try_from(limit.unwrap_or(10)).unwrap_or(0);
    let unused = known.iter().filter(|revision| !live(&Key::of(&***revision).name));
    let unused: Vec<_> = unused.collect();
    let surplus = unused.len().saturating_sub(limit);
    for revision in unused.into_iter().take(surplus) {
        plan.write(Write::delete(&**revision, None));
    }
}
