//! The policy every cluster starts with, and what has to be written for it to hold.
//!
//! The data is upstream's v1.36 policy with default feature gates; `policy.txt` shows it whole. Reconciliation only
//! ever adds: extra rules and subjects stay, a label or annotation somebody set stays, and
//! `rbac.authorization.kubernetes.io/autoupdate: "false"` keeps an object out of it. A binding to another role is made
//! anew, as a binding's role cannot be changed. Source: `pkg/registry/rbac/reconciliation` (behaviour).
use super::{aggregation::aggregated_rules, rule::Rule, rule::uncovered};
use k8s_openapi::{
    api::rbac::v1::{
        AggregationRule, ClusterRole, ClusterRoleBinding, PolicyRule, Role, RoleBinding, RoleRef, Subject,
    },
    apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta},
};
use serde::{Serialize, de::DeserializeOwned};
use std::collections::BTreeMap;
use storage::Lookup;

mod cluster_roles;
mod controller_roles;
mod namespaces;

const GROUP: &str = "rbac.authorization.k8s.io";
const AUTO_UPDATE: &str = "rbac.authorization.kubernetes.io/autoupdate";

/// One object to create or replace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Write {
    /// In `rbac.authorization.k8s.io/v1`: `clusterroles`, `clusterrolebindings`, `roles` or `rolebindings`; also the
    /// storage prefix.
    pub resource: &'static str,
    /// Empty for cluster-scoped objects; the namespace may not exist yet and must then be created first.
    pub namespace: String,
    pub name: String,
    /// Storage-version JSON; what exists keeps its `metadata`, what is new has no uid or creation time yet.
    pub json: Vec<u8>,
    pub action: Action,
}

/// How an object of the policy comes to be as it should.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    Create,
    Update,
    /// Delete what is there, then create.
    Recreate,
}

/// A rule as the tables write it: words separated by spaces; `core` is the group with the empty name.
struct RuleRow {
    verbs: &'static str,
    groups: &'static str,
    resources: &'static str,
    names: &'static str,
    urls: &'static str,
}

const fn rule(verbs: &'static str, groups: &'static str, resources: &'static str) -> RuleRow {
    RuleRow { verbs, groups, resources, names: "", urls: "" }
}

const fn named(verbs: &'static str, groups: &'static str, resources: &'static str, names: &'static str) -> RuleRow {
    RuleRow { verbs, groups, resources, names, urls: "" }
}

const fn urls(verbs: &'static str, urls: &'static str) -> RuleRow {
    RuleRow { verbs, groups: "", resources: "", names: "", urls }
}

/// A ClusterRole, or a Role of a namespace.
struct RoleRow {
    name: &'static str,
    /// The aggregated role this one is a part of.
    part_of: &'static str,
    /// The role is the sum of the parts of itself.
    aggregates: bool,
    rules: &'static [RuleRow],
}

const fn role(name: &'static str, rules: &'static [RuleRow]) -> RoleRow {
    RoleRow { name, part_of: "", aggregates: false, rules }
}

/// Subjects: `User:x`, `Group:x` or `ServiceAccount:namespace/x`, separated by spaces.
struct BindingRow {
    name: &'static str,
    role: &'static str,
    subjects: &'static str,
}

const fn bind(role: &'static str, subjects: &'static str) -> BindingRow {
    BindingRow { name: role, role, subjects }
}

const READ: &str = "get list watch";
const WRITE: &str = "create update patch delete deletecollection";
const READ_WRITE: &str = "get list watch create update patch delete deletecollection";
const READ_UPDATE: &str = "get list watch update patch";
const EVENTS: RuleRow = rule("create update patch", "core events.k8s.io", "events");

fn words(text: &str) -> Option<Vec<String>> {
    let mut list: Vec<String> =
        text.split_whitespace().map(|w| if w == "core" { String::new() } else { w.to_owned() }).collect();
    list.sort();
    (!list.is_empty()).then_some(list)
}

impl RuleRow {
    fn policy(&self) -> PolicyRule {
        PolicyRule {
            verbs: words(self.verbs).unwrap_or_default(),
            api_groups: words(self.groups),
            resources: words(self.resources),
            resource_names: words(self.names),
            non_resource_urls: words(self.urls),
        }
    }
}

fn metadata(name: &str, namespace: &str, part_of: &str) -> ObjectMeta {
    let mut labels = BTreeMap::from([("kubernetes.io/bootstrapping".to_owned(), "rbac-defaults".to_owned())]);
    if !part_of.is_empty() {
        labels.insert(format!("{GROUP}/aggregate-to-{part_of}"), "true".into());
    }
    ObjectMeta {
        name: Some(name.into()),
        namespace: (!namespace.is_empty()).then(|| namespace.to_owned()),
        labels: Some(labels),
        annotations: Some(BTreeMap::from([(AUTO_UPDATE.to_owned(), "true".to_owned())])),
        ..ObjectMeta::default()
    }
}

impl RoleRow {
    fn cluster_role(&self) -> ClusterRole {
        let selector = || LabelSelector {
            match_labels: Some(BTreeMap::from([(format!("{GROUP}/aggregate-to-{}", self.name), "true".into())])),
            ..LabelSelector::default()
        };
        ClusterRole {
            metadata: metadata(self.name, "", self.part_of),
            aggregation_rule: self
                .aggregates
                .then(|| AggregationRule { cluster_role_selectors: Some(vec![selector()]) }),
            rules: Some(self.rules.iter().map(RuleRow::policy).collect()),
        }
    }

    fn role(&self, namespace: &str) -> Role {
        Role {
            metadata: metadata(self.name, namespace, ""),
            rules: Some(self.rules.iter().map(RuleRow::policy).collect()),
        }
    }
}

impl BindingRow {
    fn subjects(&self) -> Option<Vec<Subject>> {
        let subject = |word: &str| {
            let (kind, name) = word.split_once(':').unwrap_or(("User", word));
            let (namespace, name) = match (kind, name.split_once('/')) {
                ("ServiceAccount", Some((namespace, name))) => (Some(namespace.to_owned()), name),
                _ => (None, name),
            };
            let api_group = (kind != "ServiceAccount").then(|| GROUP.to_owned());
            Subject { kind: kind.into(), name: name.into(), namespace, api_group }
        };
        let list: Vec<Subject> = self.subjects.split_whitespace().map(subject).collect();
        (!list.is_empty()).then_some(list)
    }

    fn role_ref(&self, kind: &str) -> RoleRef {
        RoleRef { api_group: Some(GROUP.into()), kind: kind.into(), name: self.role.into() }
    }

    fn cluster_binding(&self) -> ClusterRoleBinding {
        ClusterRoleBinding {
            metadata: metadata(self.name, "", ""),
            role_ref: self.role_ref("ClusterRole"),
            subjects: self.subjects(),
        }
    }

    fn role_binding(&self, namespace: &str) -> RoleBinding {
        RoleBinding {
            metadata: metadata(self.name, namespace, ""),
            role_ref: self.role_ref("Role"),
            subjects: self.subjects(),
        }
    }
}

/// Upstream's default ClusterRoles, with the rules of the aggregated ones filled in.
pub fn cluster_roles() -> Vec<ClusterRole> {
    let rows = cluster_roles::ROLES.iter().chain(controller_roles::ROLES);
    let mut roles: Vec<ClusterRole> = rows.map(RoleRow::cluster_role).collect();
    fill_aggregated(&mut roles);
    roles
}

/// What every node may do, for the Node authorizer.
pub(crate) fn node_rules() -> Vec<PolicyRule> {
    cluster_roles::NODE_RULES.iter().map(RuleRow::policy).collect()
}

/// Upstream's default ClusterRoleBindings.
pub fn cluster_role_bindings() -> Vec<ClusterRoleBinding> {
    let mut bindings: Vec<ClusterRoleBinding> =
        cluster_roles::BINDINGS.iter().map(BindingRow::cluster_binding).collect();
    bindings.extend(controller_roles::ROLES.iter().map(|role| {
        let account = role.name.strip_prefix(controller_roles::PREFIX).unwrap_or(role.name);
        let mut binding = bind(role.name, "").cluster_binding();
        binding.subjects = Some(vec![Subject {
            kind: "ServiceAccount".into(),
            name: account.into(),
            namespace: Some("kube-system".into()),
            api_group: None,
        }]);
        binding
    }));
    bindings
}

/// Upstream's default Roles (of `kube-system` and `kube-public`).
pub fn roles() -> Vec<Role> {
    namespaces::ROLES.iter().flat_map(|(namespace, rows)| rows.iter().map(|r| r.role(namespace))).collect()
}

/// Upstream's default RoleBindings (of `kube-system` and `kube-public`).
pub fn role_bindings() -> Vec<RoleBinding> {
    namespaces::BINDINGS.iter().flat_map(|(namespace, rows)| rows.iter().map(|r| r.role_binding(namespace))).collect()
}

/// Parts may be aggregated roles themselves (view is part of edit, edit of admin), hence the rounds.
fn fill_aggregated(roles: &mut [ClusterRole]) {
    for _ in 0..roles.len() {
        let wanted: Vec<(usize, Vec<PolicyRule>)> = {
            let all: Vec<&ClusterRole> = roles.iter().collect();
            let each = roles.iter().enumerate().filter_map(|(i, r)| Some((i, aggregated_rules(r, &all)?)));
            each.filter(|(i, rules)| roles.get(*i).is_some_and(|r| r.rules.as_ref() != Some(rules))).collect()
        };
        if wanted.is_empty() {
            return;
        }
        for (i, rules) in wanted {
            if let Some(role) = roles.get_mut(i) {
                role.rules = Some(rules);
            }
        }
    }
}

/// What has to be written for the stored policy to be upstream's default policy. Empty when nothing is to do; objects
/// with `rbac.authorization.kubernetes.io/autoupdate: "false"` are left alone, extra rules and subjects stay.
pub fn plan(lookup: &dyn Lookup) -> Vec<Write> {
    let mut writes = Vec::new();
    plan_cluster_roles(lookup, &mut writes);
    plan_each(lookup, "clusterrolebindings", cluster_role_bindings(), &mut writes, reconcile_cluster_binding);
    plan_each(lookup, "roles", roles(), &mut writes, reconcile_role);
    plan_each(lookup, "rolebindings", role_bindings(), &mut writes, reconcile_binding);
    writes
}

fn stored<T: DeserializeOwned>(lookup: &dyn Lookup, resource: &str, meta: &ObjectMeta) -> Option<T> {
    let namespace = meta.namespace.as_deref().unwrap_or_default();
    let json = lookup.get(resource, namespace, meta.name.as_deref().unwrap_or_default())?;
    serde_json::from_slice(&json).ok()
}

fn write(resource: &'static str, meta: &ObjectMeta, object: &impl Serialize, action: Action) -> Option<Write> {
    Some(Write {
        resource,
        namespace: meta.namespace.clone().unwrap_or_default(),
        name: meta.name.clone().unwrap_or_default(),
        json: serde_json::to_vec(object).ok()?,
        action,
    })
}

/// What the four kinds have in common here.
trait Object {
    fn meta(&self) -> &ObjectMeta;
    /// The role a binding gives; `None` of roles.
    fn role_ref(&self) -> Option<&RoleRef>;
}

macro_rules! object {
    ($kind:ty, $role_ref:expr) => {
        impl Object for $kind {
            fn meta(&self) -> &ObjectMeta {
                &self.metadata
            }

            fn role_ref(&self) -> Option<&RoleRef> {
                let of: fn(&$kind) -> Option<&RoleRef> = $role_ref;
                of(self)
            }
        }
    };
}
object!(ClusterRole, |_| None);
object!(Role, |_| None);
object!(ClusterRoleBinding, |binding| Some(&binding.role_ref));
object!(RoleBinding, |binding| Some(&binding.role_ref));

fn plan_each<T: Object + Clone + PartialEq + Serialize + DeserializeOwned>(
    lookup: &dyn Lookup,
    resource: &'static str,
    desired: Vec<T>,
    writes: &mut Vec<Write>,
    reconcile: impl Fn(&mut T, &T),
) {
    for want in desired {
        match stored::<T>(lookup, resource, want.meta()) {
            None => writes.extend(write(resource, want.meta(), &want, Action::Create)),
            Some(have) if is_protected(have.meta()) => {}
            Some(have) if have.role_ref() != want.role_ref() => {
                writes.extend(write(resource, want.meta(), &want, Action::Recreate));
            }
            Some(have) => {
                let mut next = have.clone();
                reconcile(&mut next, &want);
                if next != have {
                    writes.extend(write(resource, next.meta(), &next, Action::Update));
                }
            }
        }
    }
}

/// All cluster roles together, because what a user has labelled for aggregation counts too.
fn plan_cluster_roles(lookup: &dyn Lookup, writes: &mut Vec<Write>) {
    let mut before: BTreeMap<Option<String>, ClusterRole> = BTreeMap::new();
    for json in lookup.list("clusterroles", None) {
        if let Ok(role) = serde_json::from_slice::<ClusterRole>(&json) {
            before.insert(role.metadata.name.clone(), role);
        }
    }
    let mut after = before.clone();
    for want in cluster_roles() {
        match after.get_mut(&want.metadata.name) {
            Some(have) if is_protected(&have.metadata) => {}
            Some(have) => reconcile_cluster_role(have, &want),
            None => {
                after.insert(want.metadata.name.clone(), want);
            }
        }
    }
    let mut after: Vec<ClusterRole> = after.into_values().collect();
    fill_aggregated(&mut after);
    for role in &after {
        let have = before.get(&role.metadata.name);
        if have != Some(role) {
            let action = if have.is_none() { Action::Create } else { Action::Update };
            writes.extend(write("clusterroles", &role.metadata, role, action));
        }
    }
}

fn is_protected(meta: &ObjectMeta) -> bool {
    meta.annotations.as_ref().and_then(|a| a.get(AUTO_UPDATE)).is_some_and(|v| v == "false")
}

fn reconcile_meta(have: &mut ObjectMeta, want: &ObjectMeta) {
    for (key, value) in want.labels.iter().flatten() {
        have.labels.get_or_insert_default().entry(key.clone()).or_insert_with(|| value.clone());
    }
    for (key, value) in want.annotations.iter().flatten() {
        have.annotations.get_or_insert_default().entry(key.clone()).or_insert_with(|| value.clone());
    }
}

fn add_missing_rules(have: &mut Option<Vec<PolicyRule>>, want: Option<&Vec<PolicyRule>>) {
    let held: Vec<Rule> = have.iter().flatten().map(Rule::from).collect();
    let wanted: Vec<Rule> = want.into_iter().flatten().map(Rule::from).collect();
    let missing = uncovered(&held, &wanted);
    if !missing.is_empty() {
        have.get_or_insert_default().extend(missing.iter().map(PolicyRule::from));
    }
}

fn reconcile_cluster_role(have: &mut ClusterRole, want: &ClusterRole) {
    reconcile_meta(&mut have.metadata, &want.metadata);
    if let Some(wanted) = &want.aggregation_rule {
        let selectors = have.aggregation_rule.get_or_insert_default().cluster_role_selectors.get_or_insert_default();
        for selector in wanted.cluster_role_selectors.iter().flatten() {
            if !selectors.contains(selector) {
                selectors.push(selector.clone());
            }
        }
        return;
    }
    add_missing_rules(&mut have.rules, want.rules.as_ref());
}

fn reconcile_role(have: &mut Role, want: &Role) {
    reconcile_meta(&mut have.metadata, &want.metadata);
    add_missing_rules(&mut have.rules, want.rules.as_ref());
}

fn add_missing_subjects(have: &mut Option<Vec<Subject>>, want: Option<&Vec<Subject>>) {
    for subject in want.into_iter().flatten() {
        if !have.iter().flatten().any(|s| s == subject) {
            have.get_or_insert_default().push(subject.clone());
        }
    }
}

fn reconcile_cluster_binding(have: &mut ClusterRoleBinding, want: &ClusterRoleBinding) {
    reconcile_meta(&mut have.metadata, &want.metadata);
    add_missing_subjects(&mut have.subjects, want.subjects.as_ref());
}

fn reconcile_binding(have: &mut RoleBinding, want: &RoleBinding) {
    reconcile_meta(&mut have.metadata, &want.metadata);
    add_missing_subjects(&mut have.subjects, want.subjects.as_ref());
}

#[cfg(test)]
mod tests;
