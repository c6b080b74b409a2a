//! `PodSecurity`: the Pod Security Standards, as a namespace's labels ask for them.
//!
//! `enforce` refuses pods, `warn` and `audit` tell; pod templates of workloads are only ever told about.
//! Source: "Pod Security Admission"; check ids, order and texts as upstream's v1.36.
use crate::{Config, Operation, Plugin, Request};
use apimachinery::{ApiError, field, status::On};
use async_trait::async_trait;
use k8s_openapi::{
    api::core::v1::{Namespace, Pod},
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use policy::Policies;
use serde::Deserialize;
use std::{collections::BTreeMap, sync::Arc};
use storage::Lookup;

mod baseline;
mod evaluate;
mod policy;
mod restricted;

pub use evaluate::{Forbidden, Subject, evaluate};
pub use policy::{Level, Policy};

const AUDIT_PREFIX: &str = "pod-security.kubernetes.io/";
const APP_ARMOR_PREFIX: &str = "container.apparmor.security.beta.kubernetes.io/";
/// Pods looked at when the level of a namespace changes.
const MAX_EXISTING_PODS: usize = 3000;

pub(crate) struct PodSecurity {
    lookup: Arc<dyn Lookup>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Labelled {
    metadata: Labels,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Labels {
    labels: BTreeMap<String, String>,
}

/// All that is wrong, as one text.
fn joined(forbidden: &[Forbidden]) -> String {
    let texts: Vec<String> = forbidden.iter().map(ToString::to_string).collect();
    texts.join(", ")
}

/// Validation lets a pod update change nothing that matters here but annotations and ephemeral containers.
fn is_significant(new: &Pod, old: &Pod) -> bool {
    let app_armor = |pod: &Pod| -> BTreeMap<String, String> {
        let all = pod.metadata.annotations.clone().unwrap_or_default();
        all.into_iter().filter(|(k, _)| k.starts_with(APP_ARMOR_PREFIX)).collect()
    };
    let ephemeral = |pod: &Pod| pod.spec.as_ref().and_then(|s| s.ephemeral_containers.as_ref()).map_or(0, Vec::len);
    app_armor(new) != app_armor(old) || ephemeral(new) != ephemeral(old)
}

impl PodSecurity {
    pub fn new(config: &Config) -> Self {
        PodSecurity { lookup: Arc::clone(&config.lookup) }
    }

    fn policies(&self, namespace: &str) -> Policies {
        let found: Labelled = crate::lookup::get(&*self.lookup, "namespaces", "", namespace).unwrap_or_default();
        Policies::from_labels(&found.metadata.labels).0
    }

    fn check(&self, request: &mut Request<'_>) -> Result<(), ApiError> {
        let policies = self.policies(request.namespace);
        if policies.all_privileged() {
            return Ok(());
        }
        let pod = request.typed::<Pod>();
        if let (Some(new), Some(old)) = (pod, request.typed_old::<Pod>())
            && !is_significant(new, old)
        {
            return Ok(());
        }
        let (metadata, spec, enforced) = match (pod, request.object.as_deref().and_then(|object| object.pod_template()))
        {
            (Some(pod), _) => (Some(&pod.metadata), pod.spec.as_ref(), true),
            (None, Some(template)) => (template.metadata.as_ref(), template.spec.as_ref(), false),
            (None, None) => return Ok(()),
        };
        let Some(spec) = spec else { return Ok(()) };
        let nothing = ObjectMeta::default();
        let subject = Subject { metadata: metadata.unwrap_or(&nothing), spec };
        let told = |policy: &Policy| {
            let forbidden = evaluate(policy, &subject);
            (!forbidden.is_empty()).then(|| format!("PodSecurity \"{policy}\": {}", joined(&forbidden)))
        };
        let refused = if enforced { told(&policies.enforce) } else { None };
        let (audit, warn) = (told(&policies.audit), told(&policies.warn));
        let refusal = refused.map(|text| request.forbidden(format!("violates {text}")));
        if enforced {
            request.audit_annotations.insert(format!("{AUDIT_PREFIX}enforce-policy"), policies.enforce.to_string());
        }
        if let Some(text) = audit {
            request
                .audit_annotations
                .insert(format!("{AUDIT_PREFIX}audit-violations"), format!("would violate {text}"));
        }
        if let Some(refusal) = refusal {
            return Err(refusal);
        }
        request.warnings.extend(warn.map(|text| format!("would violate {text}")));
        Ok(())
    }

    /// Labels of a namespace must make sense; a stricter level warns of the pods that are there.
    fn check_namespace(&self, request: &mut Request<'_>) -> Result<(), ApiError> {
        let Some(new) = request.typed::<Namespace>() else { return Ok(()) };
        let labels = |n: &Namespace| n.metadata.labels.clone().unwrap_or_default();
        let (policies, errors) = Policies::from_labels(&labels(new));
        let old = request.typed_old::<Namespace>().map(|old| Policies::from_labels(&labels(old)));
        if !errors.is_empty() {
            // What was wrong before does not stop other changes.
            let known = old.as_ref().map(|(_, errors)| errors);
            if known.is_some_and(|known| errors.iter().all(|e| known.iter().any(|k| k == e))) {
                return Ok(());
            }
            let errors: field::ErrorList = errors.into_iter().collect();
            return Err(ApiError::invalid(On { group: "", resource: "Namespace" }, request.shown_name(), &errors));
        }
        let Some((old, _)) = old else { return Ok(()) };
        if policies.enforce == old.enforce
            || policies.enforce.level <= old.enforce.level && same_version(&policies, &old)
        {
            return Ok(());
        }
        let warnings = self.existing(request.name, &policies.enforce);
        request.warnings.extend(warnings);
        Ok(())
    }

    /// One warning a group of pods with the same violations, as upstream words them.
    fn existing(&self, namespace: &str, policy: &Policy) -> Vec<String> {
        let mut groups: BTreeMap<String, Vec<String>> = BTreeMap::new();
        let stored = self.lookup.list("pods", Some(namespace));
        let mut controllers: Vec<String> = Vec::new();
        for json in stored.iter().take(MAX_EXISTING_PODS) {
            let Ok(pod) = serde_json::from_slice::<Pod>(json) else { continue };
            // Pods of one controller are alike.
            let owner = pod.metadata.owner_references.iter().flatten().find(|o| o.controller == Some(true));
            if let Some(owner) = owner {
                if controllers.contains(&owner.uid) {
                    continue;
                }
                controllers.push(owner.uid.clone());
            }
            let Some(spec) = &pod.spec else { continue };
            let forbidden = evaluate(policy, &Subject { metadata: &pod.metadata, spec });
            if !forbidden.is_empty() {
                let reasons: Vec<&str> = forbidden.iter().map(|f| f.reason.as_str()).collect();
                groups.entry(reasons.join(", ")).or_default().push(pod.metadata.name.clone().unwrap_or_default());
            }
        }
        if groups.is_empty() {
            return Vec::new();
        }
        let mut out = vec![format!(
            "existing pods in namespace {namespace:?} violate the new PodSecurity enforce level \"{policy}\""
        )];
        for (reasons, mut pods) in groups {
            pods.sort();
            let first = pods.first().cloned().unwrap_or_default();
            out.push(match pods.len() {
                1 => format!("{first}: {reasons}"),
                2 => format!("{first} (and 1 other pod): {reasons}"),
                n => format!("{first} (and {} other pods): {reasons}", n - 1),
            });
        }
        out
    }
}

fn same_version(a: &Policies, b: &Policies) -> bool {
    a.enforce.version == b.enforce.version
}

#[async_trait]
impl Plugin for PodSecurity {
    fn name(&self) -> &'static str {
        "PodSecurity"
    }

    fn handles(&self, operation: Operation) -> bool {
        matches!(operation, Operation::Create | Operation::Update)
    }

    fn concerns(&self, request: &Request<'_>) -> bool {
        match (request.group, request.resource) {
            ("", "pods") => matches!(request.subresource, "" | "ephemeralcontainers"),
            ("", "namespaces" | "replicationcontrollers" | "podtemplates")
            | ("apps", "deployments" | "replicasets" | "statefulsets" | "daemonsets")
            | ("batch", "jobs" | "cronjobs") => request.subresource.is_empty(),
            _ => false,
        }
    }

    async fn validate(&self, request: &mut Request<'_>) -> Result<(), ApiError> {
        if request.is("", "namespaces") { self.check_namespace(request) } else { self.check(request) }
    }
}

#[cfg(test)]
mod tests;
