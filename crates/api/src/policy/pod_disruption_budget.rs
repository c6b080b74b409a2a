//! PodDisruptionBudgets.
use crate::{
    apps::workload,
    cells,
    kind::{Kind, spec_and_status},
    meta,
    resource::{Info, Target},
};
use apimachinery::{
    field::{Error, ErrorList, Path},
    table::{Column, Row},
};
use k8s_openapi::{
    api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetStatus},
    apimachinery::pkg::util::intstr::IntOrString,
};

fn shown(value: Option<&IntOrString>) -> String {
    match value {
        None => "N/A".into(),
        Some(IntOrString::Int(n)) => n.to_string(),
        Some(IntOrString::String(text)) => text.clone(),
    }
}

/// Upstream's fields are always written.
fn fill(status: &mut PodDisruptionBudgetStatus) {
    status.current_healthy.get_or_insert(0);
    status.desired_healthy.get_or_insert(0);
    status.disruptions_allowed.get_or_insert(0);
    status.expected_pods.get_or_insert(0);
}

impl Kind for PodDisruptionBudget {
    const COLUMNS: &'static [Column] = &[
        cells::NAME,
        cells::text("Min Available", "The minimum number of pods that must be available."),
        cells::text("Max Unavailable", "The maximum number of pods that may be unavailable."),
        cells::integer("Allowed Disruptions", "Calculated number of pods that may be disrupted at this time."),
        cells::AGE,
    ];
    const GENERATION: bool = true;

    spec_and_status!();

    fn info() -> Info {
        Info::new("policy", "v1", "PodDisruptionBudget", "poddisruptionbudgets")
            .short(&["pdb"])
            .status()
            .needs_resource_version()
    }

    fn set_defaults(&mut self) {
        self.spec.get_or_insert_default();
        fill(self.status.get_or_insert_default());
    }

    fn prepare_create(&mut self) {
        fill(self.status.get_or_insert_default());
    }

    fn validate(&self, errors: &mut ErrorList) {
        let path = Path::new("spec");
        let Some(spec) = &self.spec else { return };
        if spec.min_available.is_some() && spec.max_unavailable.is_some() {
            let detail = "minAvailable and maxUnavailable cannot be both set";
            errors.push(Error::invalid(&path, spec, detail));
        }
        for (value, field) in [(&spec.min_available, "minAvailable"), (&spec.max_unavailable, "maxUnavailable")] {
            let at = path.child(field);
            workload::validate_int_or_percent(value.as_ref(), &at, errors);
            workload::not_more_than_hundred_percent(value.as_ref(), &at, errors);
        }
        if let Some(selector) = &spec.selector {
            meta::validate_label_selector(selector, &path.child("selector"), errors);
        }
        let policy = spec.unhealthy_pod_eviction_policy.as_deref();
        if let Some(policy) = policy.filter(|p| !matches!(*p, "AlwaysAllow" | "IfHealthyBudget")) {
            let known = ["AlwaysAllow", "IfHealthyBudget"];
            errors.push(Error::not_supported(&path.child("unhealthyPodEvictionPolicy"), policy, &known));
        }
    }

    fn validate_update(&self, target: Target, _old: &Self, errors: &mut ErrorList) {
        if target != Target::Status {
            return;
        }
        let path = Path::new("status");
        let Some(status) = &self.status else { return };
        for (count, field) in [
            (status.disruptions_allowed, "disruptionsAllowed"),
            (status.current_healthy, "currentHealthy"),
            (status.desired_healthy, "desiredHealthy"),
            (status.expected_pods, "expectedPods"),
        ] {
            workload::optional_non_negative(count, &path.child(field), errors);
        }
    }

    fn row(&self, now: i64) -> Row {
        let spec = self.spec.as_ref();
        let allowed = self.status.as_ref().and_then(|s| s.disruptions_allowed).unwrap_or_default();
        vec![
            cells::name(&self.metadata),
            shown(spec.and_then(|s| s.min_available.as_ref())).into(),
            shown(spec.and_then(|s| s.max_unavailable.as_ref())).into(),
            i64::from(allowed).into(),
            cells::age(&self.metadata, now),
        ]
    }
}
