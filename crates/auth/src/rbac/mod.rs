//! Role-based access control: the authorizer, rule reviews, and the guard against granting what one does not hold.
//!
//! A user may do what some rule of some binding allows; there are no denials. Source: "Using RBAC Authorization".
use crate::{Attributes, Authorizer, Decision, UserInfo};
use arc_swap::ArcSwap;
use index::Index;
use k8s_openapi::api::rbac::v1::PolicyRule;
use parking_lot::Mutex;
use rule::Rule;
use std::sync::Arc;
use storage::Lookup;

pub mod aggregation;
pub mod bootstrap;
mod escalation;
mod index;
mod rule;

pub use escalation::PolicyWrite;

/// The RBAC authorizer. Decisions are made on an index that is rebuilt when one of the four kinds has changed.
pub struct Rbac {
    lookup: Arc<dyn Lookup>,
    index: ArcSwap<Index>,
    rebuilding: Mutex<()>,
}

/// What a user may do in a namespace.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rules {
    pub resource: Vec<PolicyRule>,
    pub non_resource: Vec<PolicyRule>,
    /// Roles that bindings name but that do not exist, in upstream's words; joined they are `evaluationError`.
    pub errors: Vec<String>,
}

impl Rbac {
    pub fn new(lookup: Arc<dyn Lookup>) -> Self {
        let index = Index::default().rebuilt(&*lookup);
        Rbac { lookup, index: ArcSwap::from_pointee(index), rebuilding: Mutex::new(()) }
    }

    fn index(&self) -> Arc<Index> {
        let index = self.index.load_full();
        if index.is_current(&*self.lookup) {
            return index;
        }
        let _one = self.rebuilding.lock();
        let index = self.index.load_full();
        if index.is_current(&*self.lookup) {
            return index;
        }
        let fresh = Arc::new(index.rebuilt(&*self.lookup));
        self.index.store(Arc::clone(&fresh));
        fresh
    }

    fn held(&self, user: &UserInfo, namespace: &str) -> (Vec<Rule>, Vec<String>) {
        let mut seen: Vec<*const Rule> = Vec::new();
        let (mut rules, mut errors) = (Vec::new(), Vec::new());
        self.index().visit(user, namespace, |grant| {
            match &grant.rules {
                Ok(role) if !seen.contains(&role.as_ptr()) || role.is_empty() => {
                    seen.push(role.as_ptr());
                    rules.extend(role.iter().cloned());
                }
                Ok(_) => {}
                Err(error) => errors.push(error.to_string()),
            }
            true
        });
        (rules, errors)
    }

    /// For `SelfSubjectRulesReview`.
    pub fn rules_for(&self, user: &UserInfo, namespace: &str) -> Rules {
        let (held, errors) = self.held(user, namespace);
        let mut rules = Rules { errors, ..Rules::default() };
        for rule in &held {
            let whole = PolicyRule::from(rule);
            if !rule.resources.is_empty() {
                rules.resource.push(PolicyRule { non_resource_urls: None, ..whole.clone() });
            }
            if !rule.non_resource_urls.is_empty() {
                let verbs = whole.verbs;
                rules.non_resource.push(PolicyRule {
                    verbs,
                    non_resource_urls: whole.non_resource_urls,
                    ..PolicyRule::default()
                });
            }
        }
        rules
    }
}

/// Whether one rule allows the request.
pub(crate) fn rule_allows(rule: &PolicyRule, attributes: &Attributes<'_>) -> bool {
    Rule::from(rule).allows(attributes)
}

/// Several errors as upstream joins them: `[a, b]`.
fn aggregate(errors: &[String]) -> String {
    let mut unique: Vec<&str> = Vec::with_capacity(errors.len());
    for error in errors {
        if !unique.contains(&error.as_str()) {
            unique.push(error);
        }
    }
    match unique.as_slice() {
        [one] => (*one).to_owned(),
        many => format!("[{}]", many.join(", ")),
    }
}

impl Authorizer for Rbac {
    fn authorize(&self, attributes: &Attributes<'_>) -> (Decision, String) {
        let namespace = if attributes.is_resource { attributes.namespace } else { "" };
        let mut allowed = None;
        let mut errors = Vec::new();
        self.index().visit(attributes.user, namespace, |grant| {
            match &grant.rules {
                Ok(rules) if rules.iter().any(|r| r.allows(attributes)) => {
                    allowed = Some(format!("RBAC: allowed by {}", grant.describe()));
                }
                Ok(_) => {}
                Err(error) => errors.push(error.to_string()),
            }
            allowed.is_none()
        });
        match allowed {
            Some(reason) => (Decision::Allow, reason),
            None if errors.is_empty() => (Decision::NoOpinion, String::new()),
            None => (Decision::NoOpinion, format!("RBAC: {}", aggregate(&errors))),
        }
    }
}

#[cfg(test)]
mod tests;
