//! HorizontalPodAutoscalers.
use crate::{
    autoscaling::conversion,
    cells,
    kind::Kind,
    resource::{Conversion, Info, Target},
};
use apimachinery::{
    field::{Error, ErrorList, Path},
    table::{Column, Row},
    validation,
};
use k8s_openapi::api::autoscaling::v2::{
    HPAScalingPolicy, HPAScalingRules, HorizontalPodAutoscaler, MetricSpec, MetricTarget, MetricValueStatus,
    ResourceMetricSource,
};

const CONVERSION: Conversion = Conversion { to_storage: conversion::to_v2, from_storage: conversion::from_v2 };
const CPU_UTILIZATION: i32 = 80;
/// More metrics are only counted in the table.
const SHOWN: usize = 2;
const STABILIZATION_MAX_SECONDS: i32 = 3600;

fn default_cpu() -> MetricSpec {
    MetricSpec {
        type_: "Resource".into(),
        resource: Some(ResourceMetricSource {
            name: "cpu".into(),
            target: MetricTarget {
                type_: "Utilization".into(),
                average_utilization: Some(CPU_UTILIZATION),
                ..MetricTarget::default()
            },
        }),
        ..MetricSpec::default()
    }
}

fn policy(type_: &str, value: i32, period_seconds: i32) -> HPAScalingPolicy {
    HPAScalingPolicy { type_: type_.into(), value, period_seconds }
}

fn default_rules(rules: &mut HPAScalingRules, policies: Vec<HPAScalingPolicy>, window: Option<i32>) {
    if rules.stabilization_window_seconds.is_none() {
        rules.stabilization_window_seconds = window;
    }
    rules.select_policy.get_or_insert_with(|| "Max".into());
    if rules.policies.is_none() {
        rules.policies = Some(policies);
    }
}

fn amount(current: Option<&MetricValueStatus>, target: &MetricTarget) -> String {
    let now = |quantity: Option<String>| quantity.unwrap_or_else(|| cells::UNKNOWN.to_owned());
    match (&target.average_value, target.average_utilization, &target.value) {
        (Some(wanted), _, _) => {
            let have = current.and_then(|c| c.average_value.as_ref()).map(|q| q.0.clone());
            format!("{}/{} (avg)", now(have), wanted.0)
        }
        (None, Some(wanted), _) => {
            let have = current.and_then(|c| c.average_utilization).map(|u| format!("{u}%"));
            format!("{}/{wanted}%", now(have))
        }
        (None, None, Some(wanted)) => {
            let have = current.and_then(|c| c.value.as_ref()).map(|q| q.0.clone());
            format!("{}/{}", now(have), wanted.0)
        }
        _ => format!("{}/<auto>", now(None)),
    }
}

fn targets(hpa: &HorizontalPodAutoscaler) -> String {
    let metrics = hpa.spec.metrics.as_deref().unwrap_or_default();
    if metrics.is_empty() {
        return cells::NONE.into();
    }
    let current = hpa.status.as_ref().and_then(|s| s.current_metrics.as_deref()).unwrap_or_default();
    let mut shown = Vec::new();
    for (i, metric) in metrics.iter().enumerate().take(SHOWN) {
        let now = current.get(i);
        let text = if let Some(m) = &metric.resource {
            let have = now.and_then(|c| c.resource.as_ref()).map(|c| &c.current);
            let text = amount(have, &m.target);
            format!("{}: {}", m.name, text.strip_suffix(" (avg)").unwrap_or(&text))
        } else if let Some(m) = &metric.container_resource {
            let have = now.and_then(|c| c.container_resource.as_ref()).map(|c| &c.current);
            let text = amount(have, &m.target);
            format!("{}: {}", m.name, text.strip_suffix(" (avg)").unwrap_or(&text))
        } else if let Some(m) = &metric.pods {
            let have = now.and_then(|c| c.pods.as_ref()).map(|c| &c.current);
            let text = amount(have, &m.target);
            text.strip_suffix(" (avg)").unwrap_or(&text).to_owned()
        } else if let Some(m) = &metric.object {
            amount(now.and_then(|c| c.object.as_ref()).map(|c| &c.current), &m.target)
        } else if let Some(m) = &metric.external {
            amount(now.and_then(|c| c.external.as_ref()).map(|c| &c.current), &m.target)
        } else {
            "<unknown type>".into()
        };
        shown.push(text);
    }
    let more = metrics.len().saturating_sub(SHOWN);
    let text = shown.join(", ");
    if more > 0 { format!("{text} + {more} more...") } else { text }
}

fn validate_metric(metric: &MetricSpec, path: &Path, errors: &mut ErrorList) {
    let sources = [
        (metric.object.is_some(), "Object", "object"),
        (metric.pods.is_some(), "Pods", "pods"),
        (metric.resource.is_some(), "Resource", "resource"),
        (metric.container_resource.is_some(), "ContainerResource", "containerResource"),
        (metric.external.is_some(), "External", "external"),
    ];
    if metric.type_.is_empty() {
        errors.push(Error::required(&path.child("type"), "must specify a metric source type"));
    } else if !sources.iter().any(|(_, type_, _)| *type_ == metric.type_) {
        let known = ["ContainerResource", "External", "Object", "Pods", "Resource"];
        errors.push(Error::not_supported(&path.child("type"), &metric.type_, &known));
    }
    for (there, type_, field) in sources {
        if *type_ == *metric.type_ && !there {
            let detail = "must populate information for the given metric source";
            errors.push(Error::required(&path.child(field), detail));
        }
        if *type_ != *metric.type_ && there {
            let detail = "must populate the given metric source only";
            errors.push(Error::forbidden(&path.child(field), detail));
        }
    }
    if let Some(resource) = &metric.resource {
        let path = path.child("resource");
        if resource.name.is_empty() {
            errors.push(Error::required(&path.child("name"), "must specify a resource name"));
        }
        let target = &resource.target;
        if target.average_utilization.is_none() && target.average_value.is_none() {
            let at = path.child("target").child("averageUtilization");
            errors.push(Error::required(&at, "must set either a target raw value or a target utilization"));
        }
        if target.average_utilization.is_some_and(|u| u < 1) {
            let at = path.child("target").child("averageUtilization");
            errors.push(Error::invalid(&at, target.average_utilization, "must be greater than 0"));
        }
    }
}

fn validate_rules(rules: &HPAScalingRules, path: &Path, errors: &mut ErrorList) {
    if let Some(seconds) = rules.stabilization_window_seconds {
        let at = path.child("stabilizationWindowSeconds");
        if seconds < 0 {
            errors.push(Error::invalid(&at, seconds, "must be greater than or equal to zero"));
        } else if seconds > STABILIZATION_MAX_SECONDS {
            let detail = format!("must be less than or equal to {STABILIZATION_MAX_SECONDS}");
            errors.push(Error::invalid(&at, seconds, detail));
        }
    }
    if let Some(select) = rules.select_policy.as_deref().filter(|s| !matches!(*s, "Max" | "Min" | "Disabled")) {
        errors.push(Error::not_supported(&path.child("selectPolicy"), select, &["Disabled", "Max", "Min"]));
    }
    let policies = rules.policies.as_deref().unwrap_or_default();
    if policies.is_empty() {
        errors.push(Error::required(&path.child("policies"), "must specify at least one Policy"));
    }
    for (i, policy) in policies.iter().enumerate() {
        let at = path.child("policies").index(i);
        if !matches!(policy.type_.as_str(), "Pods" | "Percent") {
            errors.push(Error::not_supported(&at.child("type"), &policy.type_, &["Percent", "Pods"]));
        }
        if policy.value <= 0 {
            errors.push(Error::invalid(&at.child("value"), policy.value, "must be greater than zero"));
        }
        if policy.period_seconds <= 0 {
            errors.push(Error::invalid(&at.child("periodSeconds"), policy.period_seconds, "must be greater than zero"));
        } else if policy.period_seconds > 1800 {
            let detail = "must be less than or equal to 1800";
            errors.push(Error::invalid(&at.child("periodSeconds"), policy.period_seconds, detail));
        }
    }
}

impl Kind for HorizontalPodAutoscaler {
    const COLUMNS: &'static [Column] = &[
        cells::NAME,
        cells::text(
            "Reference",
            "scaleTargetRef points to the target resource to scale, and is used to the pods for which metrics should be collected, as well as to actually change the replica count.",
        ),
        cells::text(
            "Targets",
            "metrics contains the specifications for which to use to calculate the desired replica count (the maximum replica count across all metrics will be used).  The desired replica count is calculated multiplying the ratio between the target value and the current value by the current number of pods.  Ergo, metrics used must decrease as the pod count is increased, and vice-versa.  See the individual metric source types for more information about how each type of metric must respond. If not set, the default metric will be set to 80% average CPU utilization.",
        ),
        cells::text(
            "MinPods",
            "minReplicas is the lower limit for the number of replicas to which the autoscaler can scale down.  It defaults to 1 pod.  minReplicas is allowed to be 0 if the alpha feature gate HPAScaleToZero is enabled and at least one Object or External metric is configured.  Scaling is active as long as at least one metric value is available.",
        ),
        cells::text(
            "MaxPods",
            "maxReplicas is the upper limit for the number of replicas to which the autoscaler can scale up. It cannot be less that minReplicas.",
        ),
        cells::text(
            "Replicas",
            "currentReplicas is current number of replicas of pods managed by this autoscaler, as last seen by the autoscaler.",
        ),
        cells::AGE,
    ];

    fn keep_spec(&mut self, old: &Self) {
        self.spec.clone_from(&old.spec);
    }

    fn keep_status(&mut self, old: &Self) {
        self.status.clone_from(&old.status);
    }

    fn clear_status(&mut self) {
        self.status = Some(Default::default());
    }

    fn info() -> Info {
        Info::new("autoscaling", "v2", "HorizontalPodAutoscaler", "horizontalpodautoscalers")
            .short(&["hpa"])
            .category("all")
            .status()
            .also("autoscaling", "v1", Some(CONVERSION))
    }

    fn set_defaults(&mut self) {
        let spec = &mut self.spec;
        spec.min_replicas.get_or_insert(1);
        if spec.metrics.as_ref().is_none_or(Vec::is_empty) {
            spec.metrics = Some(vec![default_cpu()]);
        }
        if let Some(behavior) = &mut spec.behavior {
            let up = behavior.scale_up.get_or_insert_default();
            default_rules(up, vec![policy("Pods", 4, 15), policy("Percent", 100, 15)], Some(0));
            let down = behavior.scale_down.get_or_insert_default();
            default_rules(down, vec![policy("Percent", 100, 15)], None);
        }
        self.status.get_or_insert_default();
    }

    fn validate(&self, errors: &mut ErrorList) {
        let path = Path::new("spec");
        let spec = &self.spec;
        if let Some(min) = spec.min_replicas.filter(|m| *m < 1) {
            errors.push(Error::invalid(&path.child("minReplicas"), min, "must be greater than or equal to 1"));
        }
        if spec.max_replicas < 1 {
            errors.push(Error::invalid(&path.child("maxReplicas"), spec.max_replicas, "must be greater than 0"));
        }
        if spec.min_replicas.is_some_and(|min| spec.max_replicas < min) {
            let detail = "must be greater than or equal to `minReplicas`";
            errors.push(Error::invalid(&path.child("maxReplicas"), spec.max_replicas, detail));
        }
        let target = path.child("scaleTargetRef");
        for (value, field) in [(&spec.scale_target_ref.kind, "kind"), (&spec.scale_target_ref.name, "name")] {
            if value.is_empty() {
                errors.push(Error::required(&target.child(field), ""));
            } else {
                for violation in validation::is_valid_path_segment_name(value) {
                    errors.push(Error::invalid(&target.child(field), value, violation));
                }
            }
        }
        for (i, metric) in spec.metrics.iter().flatten().enumerate() {
            validate_metric(metric, &path.child("metrics").index(i), errors);
        }
        if let Some(behavior) = &spec.behavior {
            let path = path.child("behavior");
            for (rules, field) in [(&behavior.scale_up, "scaleUp"), (&behavior.scale_down, "scaleDown")] {
                if let Some(rules) = rules {
                    validate_rules(rules, &path.child(field), errors);
                }
            }
        }
    }

    fn validate_update(&self, target: Target, _old: &Self, errors: &mut ErrorList) {
        if target == Target::Status
            && let Some(status) = &self.status
        {
            let path = Path::new("status");
            let counts =
                [(status.current_replicas, "currentReplicas"), (Some(status.desired_replicas), "desiredReplicas")];
            for (count, field) in counts {
                if count.is_some_and(|c| c < 0) {
                    errors.push(Error::invalid(&path.child(field), count, "must be greater than or equal to 0"));
                }
            }
        }
    }

    fn row(&self, now: i64) -> Row {
        let reference = &self.spec.scale_target_ref;
        let current = self.status.as_ref().and_then(|s| s.current_replicas).unwrap_or_default();
        vec![
            cells::name(&self.metadata),
            format!("{}/{}", reference.kind, reference.name).into(),
            targets(self).into(),
            self.spec.min_replicas.map_or_else(|| cells::UNSET.to_owned(), |m| m.to_string()).into(),
            i64::from(self.spec.max_replicas).into(),
            i64::from(current).into(),
            cells::age(&self.metadata, now),
        ]
    }
}
