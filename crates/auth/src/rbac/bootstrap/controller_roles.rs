//! One ClusterRole a controller, bound to the service account of that name in `kube-system`
//! (`--use-service-account-credentials`).
use super::{EVENTS, READ, RoleRow, named, role, rule};

pub(super) const PREFIX: &str = "system:controller:";

const SLICES: &str = "get list watch create update delete";

pub(super) const ROLES: &[RoleRow] = &[
    role(
        "system:controller:attachdetach-controller",
        &[
            rule("list watch", "core", "persistentvolumes persistentvolumeclaims"),
            rule(READ, "core", "nodes"),
            rule("patch update", "core", "nodes/status"),
            rule("list watch", "core", "pods"),
            EVENTS,
            rule("get create delete list watch", "storage.k8s.io", "volumeattachments"),
            rule(READ, "storage.k8s.io", "csidrivers"),
            rule(READ, "storage.k8s.io", "csinodes"),
        ],
    ),
    role(
        "system:controller:clusterrole-aggregation-controller",
        &[rule("escalate get list watch update patch", "rbac.authorization.k8s.io", "clusterroles")],
    ),
    role(
        "system:controller:cronjob-controller",
        &[
            rule("get list watch update", "batch", "cronjobs"),
            rule("get list watch create update delete patch", "batch", "jobs"),
            rule("update", "batch", "cronjobs/status"),
            rule("update", "batch", "cronjobs/finalizers"),
            rule("list watch delete", "core", "pods"),
            EVENTS,
        ],
    ),
    role(
        "system:controller:daemon-set-controller",
        &[
            rule(READ, "extensions apps", "daemonsets"),
            rule("update", "extensions apps", "daemonsets/status"),
            rule("update", "extensions apps", "daemonsets/finalizers"),
            rule("list watch", "core", "nodes"),
            rule("list watch create delete patch", "core", "pods"),
            rule("create", "core", "pods/binding"),
            rule("get list watch create delete update patch", "apps", "controllerrevisions"),
            EVENTS,
        ],
    ),
    role(
        "system:controller:deployment-controller",
        &[
            rule("get list watch update", "extensions apps", "deployments"),
            rule("update", "extensions apps", "deployments/status"),
            rule("update", "extensions apps", "deployments/finalizers"),
            rule("get list watch create update patch delete", "apps extensions", "replicasets"),
            rule("get list watch update", "core", "pods"),
            EVENTS,
        ],
    ),
    role(
        "system:controller:disruption-controller",
        &[
            rule(READ, "extensions apps", "deployments"),
            rule(READ, "apps extensions", "replicasets"),
            rule(READ, "core", "replicationcontrollers"),
            rule(READ, "policy", "poddisruptionbudgets"),
            rule(READ, "apps", "statefulsets"),
            rule("update", "policy", "poddisruptionbudgets/status"),
            rule("patch update", "core", "pods/status"),
            rule("get", "*", "*/scale"),
            EVENTS,
        ],
    ),
    role(
        "system:controller:endpoint-controller",
        &[
            rule(READ, "core", "services pods"),
            rule(SLICES, "core", "endpoints"),
            rule("create", "core", "endpoints/restricted"),
            EVENTS,
        ],
    ),
    role(
        "system:controller:endpointslice-controller",
        &[
            rule(READ, "core", "services pods nodes"),
            rule("update", "core", "services/finalizers"),
            rule(SLICES, "discovery.k8s.io", "endpointslices"),
            EVENTS,
        ],
    ),
    role(
        "system:controller:endpointslicemirroring-controller",
        &[
            rule(READ, "core", "services endpoints"),
            rule("update", "core", "services/finalizers"),
            rule("update", "core", "endpoints/finalizers"),
            rule(SLICES, "discovery.k8s.io", "endpointslices"),
            EVENTS,
        ],
    ),
    role(
        "system:controller:expand-controller",
        &[
            rule("get list watch update patch", "core", "persistentvolumes"),
            rule("update patch", "core", "persistentvolumeclaims/status"),
            rule(READ, "core", "persistentvolumeclaims"),
            EVENTS,
        ],
    ),
    role(
        "system:controller:ephemeral-volume-controller",
        &[
            rule(READ, "core", "pods"),
            rule("update", "core", "pods/finalizers"),
            rule("get list watch create", "core", "persistentvolumeclaims"),
            EVENTS,
        ],
    ),
    role(
        "system:controller:resource-claim-controller",
        &[
            rule(READ, "core", "pods"),
            rule("update", "core", "pods/finalizers"),
            rule("get list watch create delete", "resource.k8s.io", "resourceclaims"),
            rule("update patch", "resource.k8s.io", "resourceclaims resourceclaims/status"),
            rule("update patch", "core", "pods/status"),
            EVENTS,
            rule("update patch", "resource.k8s.io", "resourceclaims/binding"),
        ],
    ),
    role(
        "system:controller:device-taint-eviction-controller",
        &[
            rule("get list watch delete", "core", "pods"),
            rule("update patch", "core", "pods/status"),
            rule(READ, "resource.k8s.io", "resourceclaims"),
            rule(READ, "resource.k8s.io", "resourceslices"),
            rule(READ, "resource.k8s.io", "deviceclasses"),
            EVENTS,
        ],
    ),
    role(
        "system:controller:generic-garbage-collector",
        &[rule("get list watch patch update delete", "*", "*"), EVENTS],
    ),
    role(
        "system:controller:horizontal-pod-autoscaler",
        &[
            rule(READ, "autoscaling", "horizontalpodautoscalers"),
            rule("update", "autoscaling", "horizontalpodautoscalers/status"),
            rule("get update", "*", "*/scale"),
            rule("list watch", "core", "pods"),
            rule("list watch", "metrics.k8s.io", "pods"),
            rule(READ, "custom.metrics.k8s.io", "*"),
            rule(READ, "external.metrics.k8s.io", "*"),
            EVENTS,
        ],
    ),
    role(
        "system:controller:job-controller",
        &[
            rule("get list watch update patch", "batch", "jobs"),
            rule("update", "batch", "jobs/status"),
            rule("update", "batch", "jobs/finalizers"),
            rule("list watch create delete patch", "core", "pods"),
            EVENTS,
        ],
    ),
    role(
        "system:controller:namespace-controller",
        &[
            rule("get list watch delete", "core", "namespaces"),
            rule("update", "core", "namespaces/finalize namespaces/status"),
            rule("get list watch delete deletecollection", "*", "*"),
        ],
    ),
    role(
        "system:controller:node-controller",
        &[
            rule("get list watch update delete patch", "core", "nodes"),
            rule("patch update", "core", "nodes/status"),
            rule("patch update", "core", "pods/status"),
            rule("list watch get delete", "core", "pods"),
            EVENTS,
        ],
    ),
    role(
        "system:controller:persistent-volume-binder",
        &[
            rule("get list watch update create delete", "core", "persistentvolumes"),
            rule("update", "core", "persistentvolumes/status"),
            rule("get list watch update", "core", "persistentvolumeclaims"),
            rule("update", "core", "persistentvolumeclaims/status"),
            rule("list watch get create delete", "core", "pods"),
            rule(READ, "storage.k8s.io", "storageclasses"),
            rule("list watch", "core", "nodes"),
            EVENTS,
            rule("watch", "core", "events"),
        ],
    ),
    role(
        "system:controller:pod-garbage-collector",
        &[rule("list watch delete", "core", "pods"), rule(READ, "core", "nodes"), rule("patch", "core", "pods/status")],
    ),
    role(
        "system:controller:replicaset-controller",
        &[
            rule("get list watch update", "apps extensions", "replicasets"),
            rule("update", "apps extensions", "replicasets/status"),
            rule("update", "apps extensions", "replicasets/finalizers"),
            rule("list watch patch create delete", "core", "pods"),
            EVENTS,
        ],
    ),
    role(
        "system:controller:replication-controller",
        &[
            rule("get list watch update", "core", "replicationcontrollers"),
            rule("update", "core", "replicationcontrollers/status"),
            rule("update", "core", "replicationcontrollers/finalizers"),
            rule("list watch patch create delete", "core", "pods"),
            EVENTS,
        ],
    ),
    role(
        "system:controller:resourcequota-controller",
        &[rule("list watch", "*", "*"), rule("update", "core", "resourcequotas/status"), EVENTS],
    ),
    role(
        "system:controller:route-controller",
        &[rule("list watch", "core", "nodes"), rule("patch", "core", "nodes/status"), EVENTS],
    ),
    role("system:controller:service-account-controller", &[rule("create", "core", "serviceaccounts"), EVENTS]),
    role(
        "system:controller:service-controller",
        &[
            rule(READ, "core", "services"),
            rule("patch update", "core", "services/status"),
            rule("list watch", "core", "nodes"),
            EVENTS,
        ],
    ),
    role(
        "system:controller:service-cidrs-controller",
        &[
            rule("get list watch patch update", "networking.k8s.io", "servicecidrs"),
            rule("patch update", "networking.k8s.io", "servicecidrs/finalizers"),
            rule("patch update", "networking.k8s.io", "servicecidrs/status"),
            rule(READ, "networking.k8s.io", "ipaddresses"),
            EVENTS,
        ],
    ),
    role(
        "system:controller:statefulset-controller",
        &[
            rule("list watch", "core", "pods"),
            rule(READ, "apps", "statefulsets"),
            rule("update", "apps", "statefulsets/status"),
            rule("update", "apps", "statefulsets/finalizers"),
            rule("get create delete update patch", "core", "pods"),
            rule("get create delete update patch list watch", "apps", "controllerrevisions"),
            rule("get create list watch", "core", "persistentvolumeclaims"),
            rule("update delete", "core", "persistentvolumeclaims"),
            rule("update", "core", "pods/finalizers"),
            EVENTS,
        ],
    ),
    role("system:controller:ttl-controller", &[rule("update patch list watch", "core", "nodes"), EVENTS]),
    role(
        "system:controller:certificate-controller",
        &[
            rule("get list watch delete", "certificates.k8s.io", "certificatesigningrequests"),
            rule(
                "update",
                "certificates.k8s.io",
                "certificatesigningrequests/status certificatesigningrequests/approval",
            ),
            named("approve", "certificates.k8s.io", "signers", "kubernetes.io/kube-apiserver-client-kubelet"),
            named(
                "sign",
                "certificates.k8s.io",
                "signers",
                "kubernetes.io/legacy-unknown kubernetes.io/kube-apiserver-client \
                 kubernetes.io/kube-apiserver-client-kubelet kubernetes.io/kubelet-serving",
            ),
            rule("create", "authorization.k8s.io", "subjectaccessreviews"),
            EVENTS,
        ],
    ),
    role(
        "system:controller:pvc-protection-controller",
        &[
            rule("get list watch update", "core", "persistentvolumeclaims"),
            rule("list watch get", "core", "pods"),
            EVENTS,
        ],
    ),
    role(
        "system:controller:pv-protection-controller",
        &[rule("get list watch update", "core", "persistentvolumes"), EVENTS],
    ),
    role(
        "system:controller:volumeattributesclass-protection-controller",
        &[
            rule(READ, "core", "persistentvolumeclaims"),
            rule(READ, "core", "persistentvolumes"),
            rule("get list watch update", "storage.k8s.io", "volumeattributesclasses"),
            EVENTS,
        ],
    ),
    role("system:controller:ttl-after-finished-controller", &[rule("get list watch delete", "batch", "jobs"), EVENTS]),
    role("system:controller:root-ca-cert-publisher", &[rule("create update", "core", "configmaps"), EVENTS]),
    role(
        "system:controller:validatingadmissionpolicy-status-controller",
        &[
            rule(READ, "admissionregistration.k8s.io", "validatingadmissionpolicies"),
            rule("get patch update", "admissionregistration.k8s.io", "validatingadmissionpolicies/status"),
            EVENTS,
        ],
    ),
    role(
        "system:controller:legacy-service-account-token-cleaner",
        &[
            named("get", "core", "configmaps", "kube-apiserver-legacy-service-account-token-tracking"),
            rule("patch delete", "core", "secrets"),
        ],
    ),
    role(
        "system:controller:selinux-warning-controller",
        &[
            EVENTS,
            rule(READ, "core", "persistentvolumes"),
            rule(READ, "core", "persistentvolumeclaims"),
            rule(READ, "core", "pods"),
            rule(READ, "storage.k8s.io", "csidrivers"),
        ],
    ),
];
