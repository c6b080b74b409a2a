//! Bindings by subject, so that a decision looks only at what concerns the user.
//!
//! Built from the four RBAC kinds when one of them has changed; objects that have not changed are not parsed again.
use super::rule::Rule;
use crate::{UserInfo, users};
use bytes::Bytes;
use foldhash::HashMap;
use serde::{Deserialize, de::DeserializeOwned};
use std::sync::Arc;
use storage::{Lookup, Revision};

pub(super) const ROLES: &str = "roles";
pub(super) const CLUSTER_ROLES: &str = "clusterroles";
pub(super) const ROLE_BINDINGS: &str = "rolebindings";
pub(super) const CLUSTER_ROLE_BINDINGS: &str = "clusterrolebindings";
const PREFIXES: [&str; 4] = [ROLES, CLUSTER_ROLES, ROLE_BINDINGS, CLUSTER_ROLE_BINDINGS];

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Meta {
    pub name: String,
    pub namespace: String,
}

/// A Role or ClusterRole.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Role {
    pub metadata: Meta,
    pub rules: Option<Vec<Rule>>,
    pub aggregation_rule: Option<serde_json::Value>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Subject {
    pub kind: String,
    pub name: String,
    pub namespace: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct RoleRef {
    pub kind: String,
    pub name: String,
}

/// A RoleBinding or ClusterRoleBinding.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Binding {
    pub metadata: Meta,
    pub role_ref: RoleRef,
    pub subjects: Option<Vec<Subject>>,
}

impl Binding {
    /// `RoleBinding "b/ns" of ClusterRole "view" to ServiceAccount "a/ns"`
    fn describe(&self, subject: usize) -> String {
        let Meta { name, namespace } = &self.metadata;
        let RoleRef { kind, name: role } = &self.role_ref;
        let whom = match self.subjects.as_ref().and_then(|s| s.get(subject)) {
            Some(s) if s.kind == "ServiceAccount" => {
                let of = if s.namespace.is_empty() { namespace } else { &s.namespace };
                format!("ServiceAccount \"{}/{of}\"", s.name)
            }
            Some(s) => format!("{} {:?}", s.kind, s.name),
            None => String::new(),
        };
        if namespace.is_empty() {
            format!("ClusterRoleBinding {name:?} of {kind} {role:?} to {whom}")
        } else {
            format!("RoleBinding \"{name}/{namespace}\" of {kind} {role:?} to {whom}")
        }
    }
}

/// The rules a binding gives, or which role it lacks.
pub(super) type Granted = Result<Arc<[Rule]>, Arc<str>>;

/// One binding as one of its subjects has it.
#[derive(Clone)]
pub(super) struct Grant {
    binding: Arc<Binding>,
    subject: usize,
    pub rules: Granted,
}

impl Grant {
    pub fn describe(&self) -> String {
        self.binding.describe(self.subject)
    }
}

#[derive(Default)]
struct Subjects {
    users: HashMap<String, Vec<Grant>>,
    groups: HashMap<String, Vec<Grant>>,
}

impl Subjects {
    fn add(&mut self, binding: &Arc<Binding>, rules: &Granted) {
        for (i, subject) in binding.subjects.iter().flatten().enumerate() {
            let grant = || Grant { binding: Arc::clone(binding), subject: i, rules: rules.clone() };
            match subject.kind.as_str() {
                "User" => self.users.entry(subject.name.clone()).or_default().push(grant()),
                "Group" => self.groups.entry(subject.name.clone()).or_default().push(grant()),
                "ServiceAccount" => {
                    let namespace = match (subject.namespace.is_empty(), binding.metadata.namespace.as_str()) {
                        (false, _) => subject.namespace.as_str(),
                        (true, "") => continue,
                        (true, of_binding) => of_binding,
                    };
                    let name = format!("{}{namespace}:{}", users::SERVICE_ACCOUNT_PREFIX, subject.name);
                    self.users.entry(name).or_default().push(grant());
                }
                _ => {}
            }
        }
    }

    fn visit(&self, user: &UserInfo, visit: &mut impl FnMut(&Grant) -> bool) -> bool {
        let of_user = self.users.get(&user.name).into_iter();
        let of_groups = user.groups.iter().filter_map(|g| self.groups.get(g));
        of_user.chain(of_groups).flatten().all(visit)
    }
}

/// All bindings at one version of the four kinds.
#[derive(Default)]
pub(super) struct Index {
    versions: [Revision; 4],
    cluster: Subjects,
    namespaces: HashMap<String, Subjects>,
    cluster_roles: HashMap<String, Arc<[Rule]>>,
    roles: HashMap<(String, String), Arc<[Rule]>>,
    parsed: Parsed,
}

/// A role as it is looked up.
type NamedRules = (Meta, Arc<[Rule]>);

/// What has been parsed, by where its bytes are; the bytes are kept, so that no address is used twice.
#[derive(Default, Clone)]
struct Parsed {
    roles: HashMap<usize, (Bytes, Arc<NamedRules>)>,
    bindings: HashMap<usize, (Bytes, Arc<Binding>)>,
}

fn parse<T: DeserializeOwned>(json: &[u8]) -> Option<T> {
    match serde_json::from_slice(json) {
        Ok(value) => Some(value),
        Err(error) => {
            tracing::error!(%error, "a stored RBAC object cannot be read and grants nothing");
            None
        }
    }
}

impl Index {
    pub fn is_current(&self, lookup: &dyn Lookup) -> bool {
        PREFIXES.iter().zip(self.versions).all(|(prefix, version)| lookup.version(prefix) == version)
    }

    /// The index of what `lookup` holds now; `self` is the one before it.
    pub fn rebuilt(&self, lookup: &dyn Lookup) -> Index {
        // Versions first: a write in between makes the index stale at once, never wrong for long.
        let mut next = Index { versions: PREFIXES.map(|p| lookup.version(p)), ..Index::default() };
        for prefix in [CLUSTER_ROLES, ROLES] {
            for json in lookup.list(prefix, None) {
                let at = json.as_ptr() as usize;
                let role = match self.parsed.roles.get(&at) {
                    Some((_, role)) => Arc::clone(role),
                    None => {
                        let Some(role) = parse::<Role>(&json) else { continue };
                        Arc::new((role.metadata, role.rules.unwrap_or_default().into()))
                    }
                };
                let (Meta { name, namespace }, rules) = &*role;
                if prefix == ROLES {
                    next.roles.insert((namespace.clone(), name.clone()), Arc::clone(rules));
                } else {
                    next.cluster_roles.insert(name.clone(), Arc::clone(rules));
                }
                next.parsed.roles.insert(at, (json, role));
            }
        }
        for prefix in [CLUSTER_ROLE_BINDINGS, ROLE_BINDINGS] {
            for json in lookup.list(prefix, None) {
                let at = json.as_ptr() as usize;
                let binding = match self.parsed.bindings.get(&at) {
                    Some((_, binding)) => Arc::clone(binding),
                    None => {
                        let Some(binding) = parse::<Binding>(&json) else { continue };
                        Arc::new(binding)
                    }
                };
                let namespace = &binding.metadata.namespace;
                let rules = next.role_rules(&binding.role_ref, namespace);
                if prefix == ROLE_BINDINGS {
                    next.namespaces.entry(namespace.clone()).or_default().add(&binding, &rules);
                } else {
                    next.cluster.add(&binding, &rules);
                }
                next.parsed.bindings.insert(at, (json, binding));
            }
        }
        next
    }

    /// The rules of the role that a binding in `namespace` (empty for a cluster binding) refers to.
    pub fn role_rules(&self, role: &RoleRef, namespace: &str) -> Granted {
        let found = match role.kind.as_str() {
            "Role" => self.roles.get(&(namespace.to_owned(), role.name.clone())),
            "ClusterRole" => self.cluster_roles.get(&role.name),
            other => return Err(format!("unsupported role reference kind: {other:?}").into()),
        };
        let kind = role.kind.to_ascii_lowercase();
        found.cloned().ok_or_else(|| format!("{kind}.rbac.authorization.k8s.io {:?} not found", role.name).into())
    }

    /// All bindings of `user`, cluster-wide ones first, until `visit` returns false. A user that is several subjects of
    /// one binding meets it as often.
    pub fn visit(&self, user: &UserInfo, namespace: &str, mut visit: impl FnMut(&Grant) -> bool) {
        if self.cluster.visit(user, &mut visit)
            && !namespace.is_empty()
            && let Some(subjects) = self.namespaces.get(namespace)
        {
            subjects.visit(user, &mut visit);
        }
    }
}
