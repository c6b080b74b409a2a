//! Authorization: [`Attributes`] of a request in, a [`Decision`] with its reason out.
//!
//! Authorizers are asked in order; the first that allows or denies decides, and no opinion from all of them is a
//! refusal. They never block and never write.
use crate::{Error, UserInfo, groups, node::NodeAuthorizer, rbac::Rbac};
use apimachinery::{ApiError, status::On};
use std::sync::Arc;
use storage::Lookup;

/// What a request wants to do.
#[derive(Clone, Copy, Debug)]
pub struct Attributes<'a> {
    pub user: &'a UserInfo,
    /// `get`, `list`, `watch`, `create`, `update`, `patch`, `delete`, `deletecollection`, …; for plain paths the
    /// method in lower case.
    pub verb: &'a str,
    /// Empty for the core group.
    pub group: &'a str,
    pub version: &'a str,
    pub resource: &'a str,
    pub subresource: &'a str,
    pub namespace: &'a str,
    pub name: &'a str,
    /// The URL path; decides when `is_resource` is false.
    pub path: &'a str,
    pub is_resource: bool,
    /// `fieldSelector` of a list, watch or deletecollection as it was given; empty for none.
    pub field_selector: &'a str,
    /// `labelSelector` of a list, watch or deletecollection as it was given; empty for none.
    pub label_selector: &'a str,
}

impl<'a> Attributes<'a> {
    /// A request to a resource; the rest is empty.
    pub fn resource(user: &'a UserInfo, verb: &'a str, group: &'a str, resource: &'a str) -> Self {
        Attributes { is_resource: true, group, resource, ..Self::path(user, verb, "") }
    }

    /// A request to a plain path.
    pub fn path(user: &'a UserInfo, verb: &'a str, path: &'a str) -> Self {
        Attributes {
            user,
            verb,
            group: "",
            version: "",
            resource: "",
            subresource: "",
            namespace: "",
            name: "",
            path,
            is_resource: false,
            field_selector: "",
            label_selector: "",
        }
    }

    /// The 403 for this request, in upstream's words.
    pub fn forbidden(&self, reason: &str) -> ApiError {
        let user = &self.user.name;
        let mut what = if !self.is_resource {
            format!("User {user:?} cannot {} path {:?}", self.verb, self.path)
        } else {
            let resource = if self.subresource.is_empty() {
                self.resource.to_owned()
            } else {
                format!("{}/{}", self.resource, self.subresource)
            };
            let place = if self.namespace.is_empty() {
                "at the cluster scope".to_owned()
            } else {
                format!("in the namespace {:?}", self.namespace)
            };
            let (verb, group) = (self.verb, self.group);
            format!("User {user:?} cannot {verb} resource {resource:?} in API group {group:?} {place}")
        };
        if !reason.is_empty() {
            what.push_str(": ");
            what.push_str(reason);
        }
        let on = if self.is_resource {
            On { group: self.group, resource: self.resource }
        } else {
            On { group: "", resource: "" }
        };
        ApiError::forbidden(on, self.name, &what)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    Allow,
    Deny,
    /// The next authorizer is asked.
    NoOpinion,
}

/// Says whether a request may go on.
pub trait Authorizer: Send + Sync {
    /// The decision and its reason (may be empty), which goes into 403 texts and access reviews.
    fn authorize(&self, attributes: &Attributes<'_>) -> (Decision, String);

    /// Allowed or the 403 to answer with.
    ///
    /// # Errors
    /// `Forbidden` in upstream's words.
    fn require(&self, attributes: &Attributes<'_>) -> Result<(), ApiError> {
        match self.authorize(attributes) {
            (Decision::Allow, _) => Ok(()),
            (_, reason) => Err(attributes.forbidden(&reason)),
        }
    }
}

/// Allows everything (`--authorization-mode=AlwaysAllow`).
pub struct AlwaysAllow;

impl Authorizer for AlwaysAllow {
    fn authorize(&self, _: &Attributes<'_>) -> (Decision, String) {
        (Decision::Allow, String::new())
    }
}

/// Has no opinion on anything, with the reason upstream gives (`--authorization-mode=AlwaysDeny`).
pub struct AlwaysDeny;

impl Authorizer for AlwaysDeny {
    fn authorize(&self, _: &Attributes<'_>) -> (Decision, String) {
        (Decision::NoOpinion, "Everything is forbidden.".into())
    }
}

/// `system:masters` may do anything; no opinion on anyone else.
struct Privileged;

impl Authorizer for Privileged {
    fn authorize(&self, attributes: &Attributes<'_>) -> (Decision, String) {
        if attributes.user.in_group(groups::MASTERS) {
            return (Decision::Allow, String::new());
        }
        (Decision::NoOpinion, String::new())
    }
}

/// Authorizers asked in order; `system:masters` is allowed before any of them.
pub struct Union(Vec<Arc<dyn Authorizer>>);

impl Authorizer for Union {
    fn authorize(&self, attributes: &Attributes<'_>) -> (Decision, String) {
        let mut reasons: Vec<String> = Vec::new();
        for authorizer in &self.0 {
            match authorizer.authorize(attributes) {
                (Decision::NoOpinion, reason) if reason.is_empty() => {}
                (Decision::NoOpinion, reason) => reasons.push(reason),
                decided => return decided,
            }
        }
        (Decision::NoOpinion, reasons.join("\n"))
    }
}

/// What the authorization modes add up to.
pub struct Modes {
    pub authorizer: Arc<dyn Authorizer>,
    /// Rules, access reviews and escalation checks work with this one even when RBAC is not a mode.
    pub rbac: Arc<Rbac>,
    /// RBAC is one of the modes: bootstrap its policy and guard against escalation.
    pub rbac_enabled: bool,
}

/// The authorizer that `--authorization-mode` names, in that order.
///
/// # Errors
/// An unknown or repeated mode, and modes that are known but not supported yet.
pub fn from_modes(modes: &[String], lookup: Arc<dyn Lookup>) -> Result<Modes, Error> {
    if modes.is_empty() {
        return Err(Error::Mode("at least one authorization-mode must be passed".into()));
    }
    let rbac = Arc::new(Rbac::new(Arc::clone(&lookup)));
    let mut union: Vec<Arc<dyn Authorizer>> = vec![Arc::new(Privileged)];
    for (i, mode) in modes.iter().enumerate() {
        if modes.iter().take(i).any(|m| m == mode) {
            return Err(Error::Mode(format!("authorization-mode {modes:?} has mode specified more than once")));
        }
        union.push(match mode.as_str() {
            "AlwaysAllow" => Arc::new(AlwaysAllow),
            "AlwaysDeny" => Arc::new(AlwaysDeny),
            "RBAC" => Arc::clone(&rbac) as Arc<dyn Authorizer>,
            "Node" => Arc::new(NodeAuthorizer::new(Arc::clone(&lookup))),
            "ABAC" | "Webhook" => {
                let why = format!("authorization-mode {mode:?} is known but not yet supported by ferrokube");
                return Err(Error::Mode(why));
            }
            _ => return Err(Error::Mode(format!("authorization-mode {mode:?} is not a valid mode"))),
        });
    }
    let rbac_enabled = modes.iter().any(|m| m == "RBAC");
    Ok(Modes { authorizer: Arc::new(Union(union)), rbac, rbac_enabled })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Objects;

    fn modes(list: &[&str]) -> Result<Modes, String> {
        let list: Vec<String> = list.iter().map(|m| (*m).to_owned()).collect();
        from_modes(&list, Arc::new(Objects::default())).map_err(|e| e.to_string())
    }

    #[test]
    fn masters_are_allowed_whatever_the_modes() {
        let master = UserInfo::new("root", ["system:masters"]);
        let user = UserInfo::new("u", ["g"]);
        fn ask(user: &UserInfo) -> Attributes<'_> {
            Attributes::resource(user, "delete", "", "nodes")
        }
        for list in [&["RBAC"][..], &["Node", "RBAC"], &["AlwaysDeny"]] {
            let authorizer = modes(list).expect("valid").authorizer;
            assert_eq!(authorizer.authorize(&ask(&master)).0, Decision::Allow, "{list:?}");
            assert_ne!(authorizer.authorize(&ask(&user)).0, Decision::Allow, "{list:?}");
        }
        let open = modes(&["AlwaysAllow"]).expect("valid");
        assert_eq!(open.authorizer.authorize(&ask(&user)).0, Decision::Allow);
        assert!(!open.rbac_enabled);
    }

    #[test]
    fn unknown_and_unsupported_modes_are_told_apart() {
        let text = |list: &[&str]| modes(list).err().unwrap_or_default();
        assert_eq!(text(&["X"]), "authorization-mode \"X\" is not a valid mode");
        assert_eq!(text(&["Webhook"]), "authorization-mode \"Webhook\" is known but not yet supported by ferrokube");
        assert!(text(&["RBAC", "RBAC"]).contains("more than once"));
        assert!(text(&[]).contains("at least one"));
    }

    #[test]
    fn refusals_are_worded_as_upstream() {
        let user = UserInfo::new("jane", ["g"]);
        let pods = Attributes { namespace: "ns", name: "web", ..Attributes::resource(&user, "get", "", "pods") };
        let texts = [
            (
                Attributes { subresource: "log", ..pods },
                "pods \"web\" is forbidden: User \"jane\" cannot get resource \"pods/log\" in API group \"\" in the \
                 namespace \"ns\"",
            ),
            (
                Attributes::resource(&user, "list", "apps", "deployments"),
                "deployments.apps is forbidden: User \"jane\" cannot list resource \"deployments\" in API group \"apps\" \
                 at the cluster scope",
            ),
            (Attributes::path(&user, "get", "/metrics"), "forbidden: User \"jane\" cannot get path \"/metrics\""),
        ];
        for (attributes, want) in texts {
            assert_eq!(AlwaysAllow.require(&attributes), Ok(()));
            assert_eq!(attributes.forbidden("").message, want);
        }
        let error = AlwaysDeny.require(&pods).expect_err("denied");
        assert!(error.message.ends_with(": Everything is forbidden."), "{}", error.message);
    }
}
