//! The Roles and RoleBindings of `kube-system` and `kube-public`.
use super::{BindingRow, EVENTS, READ, RoleRow, RuleRow, bind, named, role, rule};

const LEADER_LOCKING: &[RuleRow] = &[
    rule("get watch list create update", "coordination.k8s.io", "leases"),
    rule("get watch list create update", "coordination.k8s.io", "leasecandidates"),
];

pub(super) const ROLES: &[(&str, &[RoleRow])] = &[
    (
        "kube-system",
        &[
            role(
                "extension-apiserver-authentication-reader",
                &[named(READ, "core", "configmaps", "extension-apiserver-authentication")],
            ),
            role("system:controller:bootstrap-signer", &[rule(READ, "core", "secrets")]),
            role("system:controller:cloud-provider", &[rule("create get list watch", "core", "configmaps")]),
            role("system:controller:token-cleaner", &[rule("get list watch delete", "core", "secrets"), EVENTS]),
            role("system::leader-locking-kube-controller-manager", LEADER_LOCKING),
            role("system::leader-locking-kube-scheduler", LEADER_LOCKING),
        ],
    ),
    (
        "kube-public",
        &[role(
            "system:controller:bootstrap-signer",
            &[rule(READ, "core", "configmaps"), named("update", "core", "configmaps", "cluster-info"), EVENTS],
        )],
    ),
];

pub(super) const BINDINGS: &[(&str, &[BindingRow])] = &[
    (
        "kube-system",
        &[
            BindingRow {
                name: "system::extension-apiserver-authentication-reader",
                role: "extension-apiserver-authentication-reader",
                subjects: "User:system:kube-controller-manager User:system:kube-scheduler",
            },
            bind(
                "system::leader-locking-kube-controller-manager",
                "User:system:kube-controller-manager ServiceAccount:kube-system/kube-controller-manager \
                 ServiceAccount:kube-system/leader-election-controller",
            ),
            bind(
                "system::leader-locking-kube-scheduler",
                "User:system:kube-scheduler ServiceAccount:kube-system/kube-scheduler",
            ),
            bind("system:controller:bootstrap-signer", "ServiceAccount:kube-system/bootstrap-signer"),
            bind("system:controller:cloud-provider", "ServiceAccount:kube-system/cloud-provider"),
            bind("system:controller:token-cleaner", "ServiceAccount:kube-system/token-cleaner"),
        ],
    ),
    ("kube-public", &[bind("system:controller:bootstrap-signer", "ServiceAccount:kube-system/bootstrap-signer")]),
];
