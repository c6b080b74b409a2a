//! `sortOptions: {order: legacy}`: what others need comes first.
use super::items::Item;

const FIRST: [&str; 22] = [
    "Namespace",
    "ResourceQuota",
    "StorageClass",
    "CustomResourceDefinition",
    "ServiceAccount",
    "PodSecurityPolicy",
    "Role",
    "ClusterRole",
    "RoleBinding",
    "ClusterRoleBinding",
    "ConfigMap",
    "Secret",
    "Endpoints",
    "Service",
    "LimitRange",
    "PriorityClass",
    "PersistentVolume",
    "PersistentVolumeClaim",
    "Deployment",
    "StatefulSet",
    "CronJob",
    "PodDisruptionBudget",
];

const LAST: [&str; 2] = ["MutatingWebhookConfiguration", "ValidatingWebhookConfiguration"];

pub fn legacy(items: &mut [Item]) {
    let rank = |item: &Item| {
        let at = |list: &[&str]| list.iter().position(|kind| *kind == item.kind());
        at(&FIRST).or_else(|| at(&LAST).map(|at| at + FIRST.len() + 1)).unwrap_or(FIRST.len())
    };
    items.sort_by(|a, b| {
        let key = |item: &Item| {
            let words = [item.kind(), item.group(), item.version(), item.namespace(), item.name()];
            (rank(item), words.map(str::to_owned))
        };
        key(a).cmp(&key(b))
    });
}
