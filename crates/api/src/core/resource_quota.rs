//! ResourceQuotas.
use crate::{
    amounts, cells,
    kind::{Kind, spec_and_status},
    resource::{Info, Target},
};
use apimachinery::{
    field::{Error, ErrorList, Path},
    table::{Column, Row},
    validation,
};
use k8s_openapi::api::core::v1::{ResourceQuota, ResourceQuotaSpec};

/// Names a quota may have besides qualified ones.
const STANDARD: &[&str] = &[
    "cpu",
    "memory",
    "ephemeral-storage",
    "requests.cpu",
    "requests.memory",
    "requests.storage",
    "requests.ephemeral-storage",
    "limits.cpu",
    "limits.memory",
    "limits.ephemeral-storage",
    "pods",
    "resourcequotas",
    "services",
    "replicationcontrollers",
    "secrets",
    "persistentvolumeclaims",
    "configmaps",
    "services.nodeports",
    "services.loadbalancers",
    "storage",
];
const SCOPES: &[&str] = &[
    "BestEffort",
    "CrossNamespacePodAffinity",
    "NotBestEffort",
    "NotTerminating",
    "PriorityClass",
    "Terminating",
    "VolumeAttributesClass",
];

/// A resource's name: standard, or qualified by a domain.
/// Numbers of objects.
const COUNTS: &[&str] = &[
    "pods",
    "resourcequotas",
    "services",
    "replicationcontrollers",
    "secrets",
    "configmaps",
    "persistentvolumeclaims",
    "services.nodeports",
    "services.loadbalancers",
];

pub fn validate_resource_name(name: &str, path: &Path, errors: &mut ErrorList) {
    for violation in validation::is_qualified_name(name) {
        errors.push(Error::invalid(path, name, violation));
    }
    if !name.contains('/') && !STANDARD.contains(&name) && !name.starts_with("hugepages-") {
        errors.push(Error::invalid(path, name, "must be a standard resource for quota"));
    }
}

fn validate_scopes(spec: &ResourceQuotaSpec, path: &Path, errors: &mut ErrorList) {
    let scopes = spec.scopes.as_deref().unwrap_or_default();
    let at = path.child("scopes");
    for _ in scopes.iter().filter(|s| !SCOPES.contains(&s.as_str())) {
        errors.push(Error::invalid(&at, scopes, "unsupported scope"));
    }
    let has = |name: &str| scopes.iter().any(|s| s == name);
    for (a, b) in [("BestEffort", "NotBestEffort"), ("Terminating", "NotTerminating")] {
        if has(a) && has(b) {
            errors.push(Error::invalid(&at, scopes, "conflicting scopes"));
        }
    }
    let expressions = spec.scope_selector.iter().flat_map(|s| s.match_expressions.iter().flatten());
    for (i, expression) in expressions.enumerate() {
        let at = path.child("scopeSelector").child("matchExpressions").index(i);
        if !SCOPES.contains(&expression.scope_name.as_str()) {
            errors.push(Error::invalid(&at.child("scopeName"), &expression.scope_name, "unsupported scope"));
        }
        let values = expression.values.as_deref().unwrap_or_default();
        match expression.operator.as_str() {
            "In" | "NotIn" if values.is_empty() => {
                let detail = "must be at least one value when `operator` is 'In' or 'NotIn' for scope selector";
                errors.push(Error::required(&at.child("values"), detail));
            }
            "Exists" | "DoesNotExist" if !values.is_empty() => {
                let detail = "must be no value when `operator` is 'Exist' or 'DoesNotExist' for scope selector";
                errors.push(Error::invalid(&at.child("values"), values, detail));
            }
            "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
            other => errors.push(Error::invalid(&at.child("operator"), other, "not a valid selector operator")),
        }
    }
}

/// `cpu: 1/2, pods: 3/10` of one side of the table.
fn usage(quota: &ResourceQuota, of_limits: bool) -> String {
    let status = quota.status.as_ref();
    let hard = status.and_then(|s| s.hard.as_ref());
    let used = status.and_then(|s| s.used.as_ref());
    let shown: Vec<String> = hard
        .into_iter()
        .flatten()
        .filter(|(name, _)| name.starts_with("limits.") == of_limits)
        .map(|(name, hard)| {
            let used = used.and_then(|u| u.get(name)).map_or("0", |q| &q.0);
            format!("{name}: {used}/{}", hard.0)
        })
        .collect();
    shown.join(", ")
}

impl Kind for ResourceQuota {
    const COLUMNS: &'static [Column] = &[
        cells::NAME,
        cells::text("Request", "Request represents a minimum amount of cpu/memory that a container may consume."),
        cells::text(
            "Limit",
            "Limits control the maximum amount of cpu/memory that a container may use independent of contention on the node.",
        ),
        cells::AGE,
    ];

    spec_and_status!();

    fn info() -> Info {
        Info::new("", "v1", "ResourceQuota", "resourcequotas").short(&["quota"]).status()
    }

    fn set_defaults(&mut self) {
        amounts::canonicalize(&mut self.spec.get_or_insert_default().hard);
        let status = self.status.get_or_insert_default();
        amounts::canonicalize(&mut status.hard);
        amounts::canonicalize(&mut status.used);
    }

    fn validate(&self, errors: &mut ErrorList) {
        let path = Path::new("spec");
        let Some(spec) = &self.spec else { return };
        for (name, amount) in spec.hard.iter().flatten() {
            let at = path.child("hard").key(name);
            validate_resource_name(name, &at, errors);
            let parsed = amounts::validate_non_negative(amount, &at, errors);
            if COUNTS.contains(&name.as_str()) && parsed.is_some_and(|a| a.as_i64().is_none()) {
                errors.push(Error::invalid(&at, &amount.0, "must be an integer"));
            }
        }
        validate_scopes(spec, &path, errors);
    }

    fn validate_update(&self, target: Target, old: &Self, errors: &mut ErrorList) {
        if target == Target::Main
            && let (Some(new), Some(old)) = (&self.spec, &old.spec)
            && new.scopes != old.scopes
        {
            let at = Path::new("spec").child("scopes");
            errors.push(Error::invalid(&at, &new.scopes, "field is immutable"));
        }
        if target == Target::Status
            && let Some(status) = &self.status
        {
            for (list, field) in [(&status.hard, "hard"), (&status.used, "used")] {
                for (name, amount) in list.iter().flatten() {
                    let at = Path::new("status").child(field).key(name);
                    amounts::validate_non_negative(amount, &at, errors);
                }
            }
        }
    }

    fn row(&self, now: i64) -> Row {
        vec![
            cells::name(&self.metadata),
            usage(self, false).into(),
            usage(self, true).into(),
            cells::age(&self.metadata, now),
        ]
    }
}
