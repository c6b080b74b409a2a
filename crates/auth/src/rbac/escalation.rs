//! Nobody may grant permissions they do not hold, by a role or by a binding.
//!
//! Source: "Privilege escalation prevention and bootstrapping" in the RBAC documentation.
use super::{
    Rbac, aggregate,
    index::{Binding, Role},
    rule::{Rule, quoted, uncovered},
};
use crate::{Attributes, Authorizer, Decision, UserInfo, groups};
use apimachinery::{ApiError, status::On};
use serde_json::Value;

const GROUP: &str = "rbac.authorization.k8s.io";

/// A write of one of the four RBAC kinds, before it is stored.
#[derive(Clone, Copy, Debug)]
pub struct PolicyWrite<'a> {
    /// `roles`, `clusterroles`, `rolebindings` or `clusterrolebindings`
    pub resource: &'a str,
    pub namespace: &'a str,
    pub name: &'a str,
    /// Storage-version JSON of the new object.
    pub object: &'a [u8],
    /// Storage-version JSON of the object it replaces.
    pub old: Option<&'a [u8]>,
}

impl PolicyWrite<'_> {
    fn forbidden(&self, why: &str) -> ApiError {
        ApiError::forbidden(On { group: GROUP, resource: self.resource }, self.name, why)
    }

    /// Only what the garbage collector and the server itself write has changed.
    fn changes_no_policy(&self) -> bool {
        let bare = |json: &[u8]| {
            let mut value: Value = serde_json::from_slice(json).ok()?;
            let metadata = value.get_mut("metadata")?.as_object_mut()?;
            for field in ["ownerReferences", "finalizers", "managedFields", "resourceVersion", "generation"] {
                metadata.remove(field);
            }
            Some(value)
        };
        self.old.and_then(bare).is_some_and(|old| bare(self.object) == Some(old))
    }
}

impl Rbac {
    /// A user may not grant what they do not hold, except with the `escalate` or `bind` verb or as `system:masters`.
    /// Call for creates and updates of the four RBAC kinds after admission, when RBAC is a mode.
    ///
    /// # Errors
    /// `Forbidden` listing the missing rules, `NotFound` for a role that a binding names.
    pub fn check_escalation(
        &self,
        user: &UserInfo,
        write: PolicyWrite<'_>,
        authorizer: &dyn Authorizer,
    ) -> Result<(), ApiError> {
        if user.in_group(groups::MASTERS) || write.changes_no_policy() {
            return Ok(());
        }
        match write.resource {
            "roles" | "clusterroles" => self.check_role(user, write, authorizer),
            "rolebindings" | "clusterrolebindings" => self.check_binding(user, write, authorizer),
            _ => Ok(()),
        }
    }

    fn check_role(&self, user: &UserInfo, write: PolicyWrite<'_>, authorizer: &dyn Authorizer) -> Result<(), ApiError> {
        let may_escalate = Attributes {
            version: "v1",
            namespace: write.namespace,
            name: write.name,
            ..Attributes::resource(user, "escalate", GROUP, write.resource)
        };
        if authorizer.authorize(&may_escalate).0 == Decision::Allow {
            return Ok(());
        }
        let role: Role = serde_json::from_slice(write.object).map_err(ApiError::internal)?;
        let rules = role.rules.unwrap_or_default();
        self.check_rules(user, write.namespace, &rules).map_err(|why| write.forbidden(&why))?;
        let old: Option<Role> = write.old.and_then(|json| serde_json::from_slice(json).ok());
        if role.aggregation_rule.is_some() || old.is_some_and(|old| old.aggregation_rule.is_some()) {
            let all = || vec!["*".to_owned()];
            let everything = [
                Rule { verbs: all(), api_groups: all(), resources: all(), ..Rule::default() },
                Rule { verbs: all(), non_resource_urls: all(), ..Rule::default() },
            ];
            let why = "must have cluster-admin privileges to use an aggregationRule";
            self.check_rules(user, "", &everything).map_err(|_| write.forbidden(why))?;
        }
        Ok(())
    }

    fn check_binding(
        &self,
        user: &UserInfo,
        write: PolicyWrite<'_>,
        authorizer: &dyn Authorizer,
    ) -> Result<(), ApiError> {
        let binding: Binding = serde_json::from_slice(write.object).map_err(ApiError::internal)?;
        let resource = if binding.role_ref.kind == "Role" { "roles" } else { "clusterroles" };
        let may_bind = Attributes {
            version: "v1",
            namespace: write.namespace,
            name: &binding.role_ref.name,
            ..Attributes::resource(user, "bind", GROUP, resource)
        };
        if authorizer.authorize(&may_bind).0 == Decision::Allow {
            return Ok(());
        }
        let rules = self.index().role_rules(&binding.role_ref, write.namespace).map_err(|missing| {
            let kind = binding.role_ref.kind.to_ascii_lowercase();
            let mut e = ApiError::not_found(On { group: GROUP, resource: &kind }, &binding.role_ref.name);
            e.message = missing.to_string();
            e
        })?;
        self.check_rules(user, write.namespace, &rules).map_err(|why| write.forbidden(&why))
    }

    /// The text of the refusal when `user` does not hold all of `rules`.
    fn check_rules(&self, user: &UserInfo, namespace: &str, rules: &[Rule]) -> Result<(), String> {
        let (held, errors) = self.held(user, namespace);
        let missing = uncovered(&held, rules);
        if missing.is_empty() {
            return Ok(());
        }
        let mut lines: Vec<String> = missing.iter().map(ToString::to_string).collect();
        lines.sort();
        lines.dedup();
        let mut text = format!(
            "user {:?} (groups={}) is attempting to grant RBAC permissions not currently held:\n{}",
            user.name,
            quoted(&user.groups),
            lines.join("\n")
        );
        if !errors.is_empty() {
            text.push_str("; resolution errors: ");
            text.push_str(&aggregate(&errors));
        }
        Err(text)
    }
}
