//! The controllers there are: one line each.
//!
//! To add one: `docs/adding-a-controller.md`.
use crate::{
    Concurrency, bootstrap_tokens, clusterrole_aggregation, cronjob, csr, daemonset, deployment, disruption, endpoints,
    endpointslice, endpointslice_mirroring, garbage_collector, horizontal_pod_autoscaler, job, namespace,
    node_lifecycle, nodeipam, podgc, protection, replicaset, resourcequota, root_ca,
    runtime::{Controller, Registration, Setup},
    service_cidr, serviceaccount, serviceaccount_token, statefulset, taint_eviction, ttl, ttl_after_finished,
    volume_binder,
};
use std::sync::Arc;

/// Upstream's controllers that are not implemented yet; naming one in `--controllers` is an error.
pub const NOT_YET: &[(&str, &str)] = &[
    ("device-taint-eviction-controller", "device-taint-eviction-controller"),
    ("ephemeral-volume-controller", "ephemeral-volume"),
    ("legacy-serviceaccount-token-cleaner-controller", "legacy-service-account-token-cleaner"),
    ("node-route-controller", "route"),
    ("persistentvolume-attach-detach-controller", "attachdetach"),
    ("persistentvolume-expander-controller", "persistentvolume-expander"),
    ("resourceclaim-controller", "resourceclaim-controller"),
    ("selinux-warning-controller", "selinux-warning-controller"),
    ("service-lb-controller", "service"),
    ("storage-version-migrator-controller", "storage-version-migrator-controller"),
    ("storageversion-garbage-collector-controller", "storage-version-gc"),
    ("validatingadmissionpolicy-status-controller", "validatingadmissionpolicy-status-controller"),
    ("volumeattributesclass-protection-controller", "volumeattributesclass-protection-controller"),
];

/// All controllers: upstream's name, its older name, its service account, the source of its events,
/// how many keys it handles at a time, and how it starts.
#[rustfmt::skip]
pub const ALL: &[Registration] = &[
    controller("endpoints-controller", "endpoint", "endpoint-controller", "endpoint-controller", |f| f.concurrent_endpoint_syncs, endpoints::start),
    controller("endpointslice-controller", "endpointslice", "endpointslice-controller", "endpoint-slice-controller", |f| f.concurrent_service_endpoint_syncs, endpointslice::start),
    controller("endpointslice-mirroring-controller", "endpointslicemirroring", "endpointslicemirroring-controller", "endpoint-slice-mirroring-controller", |f| f.mirroring_concurrent_service_endpoint_syncs, endpointslice_mirroring::start),
    controller("replicationcontroller-controller", "replicationcontroller", "replication-controller", "replication-controller", |f| f.concurrent_rc_syncs, replicaset::start_replication),
    controller("pod-garbage-collector-controller", "podgc", "pod-garbage-collector", "pod-garbage-collector-controller", |_| 1, podgc::start),
    controller("namespace-controller", "namespace", "namespace-controller", "namespace-controller", |f| f.concurrent_namespace_syncs, namespace::start),
    controller("serviceaccount-controller", "serviceaccount", "service-account-controller", "service-account-controller", |_| 1, serviceaccount::start),
    controller("garbage-collector-controller", "garbagecollector", "generic-garbage-collector", "garbage-collector-controller", |f| f.concurrent_gc_syncs, garbage_collector::start),
    controller("daemonset-controller", "daemonset", "daemon-set-controller", "daemonset-controller", |f| f.concurrent_daemonset_syncs, daemonset::start),
    controller("job-controller", "job", "job-controller", "job-controller", |f| f.concurrent_job_syncs, job::start),
    controller("statefulset-controller", "statefulset", "statefulset-controller", "statefulset-controller", |f| f.concurrent_statefulset_syncs, statefulset::start),
    controller("cronjob-controller", "cronjob", "cronjob-controller", "cronjob-controller", |f| f.concurrent_cron_job_syncs, cronjob::start),
    controller("deployment-controller", "deployment", "deployment-controller", "deployment-controller", |f| f.concurrent_deployment_syncs, deployment::start),
    controller("replicaset-controller", "replicaset", "replicaset-controller", "replicaset-controller", |f| f.concurrent_replicaset_syncs, replicaset::start),
    controller("node-ipam-controller", "nodeipam", "node-controller", "cidrAllocator", |_| 1, nodeipam::start),
    controller("node-lifecycle-controller", "nodelifecycle", "node-controller", "node-controller", |_| 4, node_lifecycle::start),
    controller("taint-eviction-controller", "taint-eviction-controller", "node-controller", "taint-eviction-controller", |_| 4, taint_eviction::start),
    controller("horizontal-pod-autoscaler-controller", "horizontalpodautoscaling", "horizontal-pod-autoscaler", "horizontal-pod-autoscaler", |f| f.concurrent_horizontal_pod_autoscaler_syncs, horizontal_pod_autoscaler::start),
    controller("disruption-controller", "disruption", "disruption-controller", "controllermanager", |_| 1, disruption::start),
    controller("resourcequota-controller", "resourcequota", "resourcequota-controller", "resourcequota-controller", |f| f.concurrent_resource_quota_syncs, resourcequota::start),
    controller("clusterrole-aggregation-controller", "clusterrole-aggregation", "clusterrole-aggregation-controller", "clusterrole-aggregation-controller", |_| 5, clusterrole_aggregation::start),
    controller("certificatesigningrequest-signing-controller", "csrsigning", "certificate-controller", "certificate-controller", |_| 2, csr::start_signing),
    controller("certificatesigningrequest-approving-controller", "csrapproving", "certificate-controller", "certificate-controller", |_| 2, csr::start_approving),
    controller("certificatesigningrequest-cleaner-controller", "csrcleaner", "certificate-controller", "certificate-controller", |_| 1, csr::start_cleaning),
    controller("persistentvolume-binder-controller", "persistentvolume-binder", "persistent-volume-binder", "persistentvolume-controller", |_| 1, volume_binder::start),
    controller("persistentvolumeclaim-protection-controller", "pvc-protection", "pvc-protection-controller", "pvc-protection-controller", |_| 2, protection::start_claims),
    controller("persistentvolume-protection-controller", "pv-protection", "pv-protection-controller", "pv-protection-controller", |_| 2, protection::start_volumes),
    off(controller("bootstrap-signer-controller", "bootstrapsigner", "bootstrap-signer", "bootstrap-signer-controller", |_| 1, bootstrap_tokens::start_signing)),
    off(controller("token-cleaner-controller", "tokencleaner", "token-cleaner", "token-cleaner-controller", |_| 1, bootstrap_tokens::start_cleaning)),
    controller("ttl-controller", "ttl", "ttl-controller", "ttl-controller", |_| 1, ttl::start),
    controller("ttl-after-finished-controller", "ttl-after-finished", "ttl-after-finished-controller", "ttl-after-finished-controller", |f| f.concurrent_ttl_after_finished_syncs, ttl_after_finished::start),
    controller("service-cidr-controller", "service-cidr-controller", "service-cidrs-controller", "service-cidr-controller", |_| 5, service_cidr::start),
    controller("serviceaccount-token-controller", "serviceaccount-token", "", "serviceaccount-token-controller", |f| f.concurrent_serviceaccount_token_syncs, serviceaccount_token::start),
    controller("root-ca-certificate-publisher-controller", "root-ca-cert-publisher", "root-ca-cert-publisher", "root-ca-cert-publisher", |_| 1, root_ca::start),
];

const fn controller(
    name: &'static str,
    alias: &'static str,
    service_account: &'static str,
    source: &'static str,
    workers: fn(&Concurrency) -> usize,
    start: fn(&mut Setup) -> Result<Arc<dyn Controller>, String>,
) -> Registration {
    Registration { name, alias, service_account, source, on_by_default: true, workers, start }
}

/// Runs only when it is named.
const fn off(registration: Registration) -> Registration {
    Registration { on_by_default: false, ..registration }
}

/// Which controllers `--controllers` selects.
///
/// # Errors
/// Upstream's text for a name nobody knows; another for one that only upstream has.
pub fn select(words: &[String]) -> Result<Vec<&'static Registration>, String> {
    for word in words {
        let name = word.trim_start_matches('-');
        if name == "*" || ALL.iter().any(|c| c.name == name || c.alias == name) {
            continue;
        }
        let known = NOT_YET.iter().any(|(n, alias)| *n == name || *alias == name);
        if known && word.starts_with('-') {
            continue;
        }
        return Err(if known {
            format!("{name:?} is known but not yet supported by ferrokube")
        } else {
            format!("{name:?} is not in the list of known controllers")
        });
    }
    Ok(ALL.iter().filter(|controller| enabled(controller, words)).collect())
}

fn enabled(controller: &Registration, words: &[String]) -> bool {
    let named = |word: &str| word == controller.name || word == controller.alias;
    let mut star = false;
    for word in words {
        if named(word) {
            return true;
        }
        if word.strip_prefix('-').is_some_and(named) {
            return false;
        }
        star |= word == "*";
    }
    star && controller.on_by_default
}

#[cfg(test)]
mod tests {
    use super::*;

    fn selected(words: &[&str]) -> Result<Vec<&'static str>, String> {
        let words: Vec<String> = words.iter().map(|w| (*w).to_owned()).collect();
        select(&words).map(|found| found.iter().map(|c| c.name).collect())
    }

    #[test]
    fn names_aliases_and_stars() {
        let all = selected(&["*"]).expect("known");
        assert_eq!(all.len(), ALL.iter().filter(|c| c.on_by_default).count());
        assert_eq!(selected(&["deployment"]).expect("known"), ["deployment-controller"]);
        let without = selected(&["*", "-deployment-controller"]).expect("known");
        assert_eq!(without.len(), all.len() - 1);
        assert_eq!(selected(&["-attachdetach", "replicaset"]).expect("known"), ["replicaset-controller"]);
    }

    #[test]
    fn unknown_names_are_refused() {
        let refusal = |word| selected(&[word]).expect_err("refused");
        assert_eq!(refusal("nope"), "\"nope\" is not in the list of known controllers");
        assert_eq!(refusal("attachdetach"), "\"attachdetach\" is known but not yet supported by ferrokube");
    }

    #[test]
    fn names_are_unique() {
        let mut names: Vec<_> = ALL.iter().map(|c| c.name).chain(NOT_YET.iter().map(|(n, _)| *n)).collect();
        names.sort_unstable();
        let count = names.len();
        names.dedup();
        assert_eq!(names.len(), count);
    }
}
