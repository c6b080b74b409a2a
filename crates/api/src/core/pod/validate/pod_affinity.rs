//! Rules for which other pods are sought or shunned.
use super::{check, node_affinity};
use crate::meta;
use apimachinery::{
    field::{Error, ErrorList, Path},
    validation,
};
use k8s_openapi::api::core::v1::{Affinity, PodAffinityTerm, WeightedPodAffinityTerm};

const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";
const PREFERRED: &str = "preferredDuringSchedulingIgnoredDuringExecution";

pub fn validate(affinity: &Affinity, path: &Path, errors: &mut ErrorList) {
    if let Some(pods) = &affinity.pod_affinity {
        let path = path.child("podAffinity");
        required(pods.required_during_scheduling_ignored_during_execution.as_deref(), &path, errors);
        preferred(pods.preferred_during_scheduling_ignored_during_execution.as_deref(), &path, errors);
    }
    if let Some(pods) = &affinity.pod_anti_affinity {
        let path = path.child("podAntiAffinity");
        required(pods.required_during_scheduling_ignored_during_execution.as_deref(), &path, errors);
        preferred(pods.preferred_during_scheduling_ignored_during_execution.as_deref(), &path, errors);
    }
}

fn required(terms: Option<&[PodAffinityTerm]>, path: &Path, errors: &mut ErrorList) {
    for (i, one) in terms.unwrap_or_default().iter().enumerate() {
        term(one, &path.child(REQUIRED).index(i), errors);
    }
}

fn preferred(terms: Option<&[WeightedPodAffinityTerm]>, path: &Path, errors: &mut ErrorList) {
    for (i, one) in terms.unwrap_or_default().iter().enumerate() {
        let path = path.child(PREFERRED).index(i);
        node_affinity::weight(one.weight, &path, errors);
        term(&one.pod_affinity_term, &path.child("podAffinityTerm"), errors);
    }
}

fn term(term: &PodAffinityTerm, path: &Path, errors: &mut ErrorList) {
    if let Some(selector) = &term.label_selector {
        meta::validate_label_selector(selector, &path.child("labelSelector"), errors);
    }
    if let Some(selector) = &term.namespace_selector {
        meta::validate_label_selector(selector, &path.child("namespaceSelector"), errors);
    }
    for name in term.namespaces.iter().flatten() {
        check(name, validation::is_dns1123_label, || path.child("namespace"), errors);
    }
    if term.topology_key.is_empty() {
        errors.push(Error::required(&path.child("topologyKey"), "can not be empty"));
    }
    check(&term.topology_key, validation::is_qualified_name, || path.child("topologyKey"), errors);
}
