//! One metric of an autoscaler: the size it asks for and what its status shows. Pure.
//!
//! Source: `computeReplicasForMetric` of `pkg/controller/podautoscaler/horizontal.go`.
use super::{
    metrics::Measured,
    replicas::{self, Input, Proposal},
};
use apimachinery::quantity::{self, Format, Quantity};
use k8s_openapi::{
    api::autoscaling::v2::{
        ContainerResourceMetricStatus, ExternalMetricStatus, MetricSpec, MetricStatus, MetricTarget, MetricValueStatus,
        ObjectMetricStatus, PodsMetricStatus, ResourceMetricStatus,
    },
    apimachinery::pkg::{api::resource::Quantity as ApiQuantity, apis::meta::v1::LabelSelector},
};

/// The size a metric asks for.
pub struct Asked {
    pub replicas: i32,
    /// How messages call the metric.
    pub name: String,
    pub status: MetricStatus,
}

/// Why a metric is of no use.
#[derive(Debug, PartialEq, Eq)]
pub struct Unusable {
    /// Of the event and the condition.
    pub reason: &'static str,
    pub message: String,
    /// The message with what the whole was for in front.
    pub whole: String,
}

/// What decides a metric beside its own values.
pub struct Around<'a> {
    pub input: Input<'a>,
    /// Replicas that are there.
    pub running: i32,
    pub namespace: &'a str,
}

/// What `spec` asks for, given what was measured.
///
/// # Errors
/// The measurement failed or says too little.
pub fn ask(spec: &MetricSpec, measured: &Result<Measured, String>, around: &Around<'_>) -> Result<Asked, Unusable> {
    if let Some(resource) = &spec.resource {
        return of_resource(&resource.name, None, &resource.target, measured, around)
            .map(|(replicas, name, current)| {
                let status = ResourceMetricStatus { name: resource.name.clone(), current };
                Asked { replicas, name, status: MetricStatus { resource: Some(status), ..typed(spec) } }
            })
            .map_err(|message| Unusable {
                reason: "FailedGetResourceMetric",
                whole: format!("failed to get {} resource metric value: {message}", resource.name),
                message,
            });
    }
    if let Some(resource) = &spec.container_resource {
        return of_resource(&resource.name, Some(&resource.container), &resource.target, measured, around)
            .map(|(replicas, name, current)| {
                let (container, resource) = (resource.container.clone(), resource.name.clone());
                let status = ContainerResourceMetricStatus { name: resource, container, current };
                Asked { replicas, name, status: MetricStatus { container_resource: Some(status), ..typed(spec) } }
            })
            .map_err(|message| Unusable {
                reason: "FailedGetContainerResourceMetric",
                whole: format!("failed to get {} container metric value: {message}", resource.container),
                message,
            });
    }
    if spec.pods.is_some() {
        return of_pods(spec, measured, around).map_err(|message| Unusable {
            reason: "FailedGetPodsMetric",
            whole: format!("failed to get pods metric value: {message}"),
            message,
        });
    }
    if spec.object.is_some() {
        return of_object(spec, measured, around).map_err(|(message, inner)| Unusable {
            reason: "FailedGetObjectMetric",
            whole: format!("failed to get object metric value: {inner}"),
            message,
        });
    }
    if let Some(external) = &spec.external {
        let name = &external.metric.name;
        return of_external(spec, measured, around).map_err(|(message, inner)| Unusable {
            reason: "FailedGetExternalMetric",
            whole: format!("failed to get {name} external metric value: {inner}"),
            message,
        });
    }
    let message = format!("unknown metric source type {:?}", spec.type_);
    Err(Unusable { reason: "InvalidMetricSourceType", whole: message.clone(), message })
}

fn typed(spec: &MetricSpec) -> MetricStatus {
    MetricStatus { type_: spec.type_.clone(), ..MetricStatus::default() }
}

fn milli(amount: &ApiQuantity) -> i64 {
    quantity::of(amount).map_or(0, |amount| amount.milli_value())
}

fn shown(milli: i64) -> Option<ApiQuantity> {
    Some(Quantity::from_milli(milli, Format::DecimalSi).to_api())
}

fn samples(measured: &Result<Measured, String>) -> Result<replicas::Samples, String> {
    match measured {
        Ok(Measured::Pods(samples)) => Ok(samples.clone()),
        Ok(Measured::Total(_)) => Ok(replicas::Samples::new()),
        Err(why) => Err(why.clone()),
    }
}

fn total(measured: &Result<Measured, String>) -> Result<i64, String> {
    match measured {
        Ok(Measured::Total(milli)) => Ok(*milli),
        Ok(Measured::Pods(_)) => Ok(0),
        Err(why) => Err(why.clone()),
    }
}

type OfResource = (i32, String, MetricValueStatus);

fn of_resource(
    resource: &str,
    container: Option<&str>,
    target: &MetricTarget,
    measured: &Result<Measured, String>,
    around: &Around<'_>,
) -> Result<OfResource, String> {
    let input = Input { resource, ..around.input };
    let samples = samples(measured).map_err(|why| format!("unable to get metrics for resource {resource}: {why}"));
    if let Some(average) = &target.average_value {
        let proposal = samples.and_then(|samples| replicas::by_average(&input, samples, milli(average)));
        let proposal = proposal.map_err(|why| format!("failed to get {resource} usage: {why}"))?;
        return Ok((proposal.replicas, format!("{resource} resource"), value(proposal)));
    }
    let Some(percent) = target.average_utilization else {
        return Err("invalid resource metric source: neither an average utilization target nor an average value \
                    (usage) target was set"
            .to_owned());
    };
    let proposal = samples.and_then(|samples| replicas::by_utilization(&input, samples, container, percent));
    let proposal = proposal.map_err(|why| format!("failed to get {resource} utilization: {why}"))?;
    let kind = if container.is_some() { "container resource" } else { "resource" };
    let name = format!("{resource} {kind} utilization (percentage of request)");
    Ok((proposal.replicas, name, value(proposal)))
}

fn value(proposal: Proposal) -> MetricValueStatus {
    MetricValueStatus {
        average_utilization: proposal.percent,
        average_value: shown(proposal.average_milli),
        value: None,
    }
}

fn of_pods(spec: &MetricSpec, measured: &Result<Measured, String>, around: &Around<'_>) -> Result<Asked, String> {
    let pods = spec.pods.clone().unwrap_or_default();
    let samples = samples(measured).map_err(|why| format!("unable to get metric {}: {why}", pods.metric.name))?;
    let target = pods.target.average_value.as_ref().map_or(0, milli);
    let proposal = replicas::by_average(&around.input, samples, target)?;
    let name = format!("pods metric {}", pods.metric.name);
    let status = PodsMetricStatus { metric: pods.metric, current: value(proposal) };
    Ok(Asked { replicas: proposal.replicas, name, status: MetricStatus { pods: Some(status), ..typed(spec) } })
}

/// The message, and the same as the caller's caller says it.
type Twice = (String, String);

fn twice(message: String) -> Twice {
    (message.clone(), message)
}

fn of_object(spec: &MetricSpec, measured: &Result<Measured, String>, around: &Around<'_>) -> Result<Asked, Twice> {
    let object = spec.object.clone().unwrap_or_default();
    let (of, name) = (&object.described_object, &object.metric.name);
    let usage = total(measured)
        // The order of the words is upstream's.
        .map_err(|why| format!("unable to get metric {name}: {} on {} {}/{why}", of.kind, around.namespace, of.name));
    let status =
        |current, described_object| ObjectMetricStatus { metric: object.metric.clone(), current, described_object };
    if let Some(target) = object.target.value.as_ref().filter(|_| object.target.type_ == "Value") {
        let usage = usage.map_err(twice)?;
        let replicas = replicas::by_total(&around.input, usage, milli(target)).map_err(twice)?;
        let current = MetricValueStatus { value: shown(usage), ..MetricValueStatus::default() };
        let status = MetricStatus { object: Some(status(current, of.clone())), ..typed(spec) };
        return Ok(Asked { replicas, name: format!("{} metric {name}", of.kind), status });
    }
    if let Some(target) = object.target.average_value.as_ref().filter(|_| object.target.type_ == "AverageValue") {
        let usage = usage.map_err(|why| (why.clone(), format!("failed to get {name} object metric: {why}")))?;
        let (replicas, average) = replicas::by_share(around.running, usage, milli(target), around.input.tolerances);
        let current = MetricValueStatus { average_value: shown(average), ..MetricValueStatus::default() };
        // Upstream leaves the object out here, and calls the metric external.
        let name = format!("external metric {name}({})", selector_text(object.metric.selector.as_ref()));
        let status = MetricStatus { object: Some(status(current, Default::default())), ..typed(spec) };
        return Ok(Asked { replicas, name, status });
    }
    let why = "invalid object metric source: neither a value target nor an average value target was set";
    Err(twice(why.to_owned()))
}

fn of_external(spec: &MetricSpec, measured: &Result<Measured, String>, around: &Around<'_>) -> Result<Asked, Twice> {
    let external = spec.external.clone().unwrap_or_default();
    let metric = &external.metric;
    let selector = selector_text(metric.selector.as_ref());
    let usage = total(measured)
        .map_err(|why| format!("unable to get external metric {}/{}/{selector}: {why}", around.namespace, metric.name));
    let name = format!("external metric {}({selector})", metric.name);
    let asked = |replicas, current| {
        let status = ExternalMetricStatus { metric: metric.clone(), current };
        Asked { replicas, name, status: MetricStatus { external: Some(status), ..typed(spec) } }
    };
    if let Some(target) = &external.target.average_value {
        let usage =
            usage.map_err(|why| (why.clone(), format!("failed to get {} external metric: {why}", metric.name)))?;
        let (replicas, average) = replicas::by_share(around.running, usage, milli(target), around.input.tolerances);
        return Ok(asked(replicas, MetricValueStatus { average_value: shown(average), ..Default::default() }));
    }
    if let Some(target) = &external.target.value {
        let failed = |why: String| (why.clone(), format!("failed to get external metric {}: {why}", metric.name));
        let usage = usage.map_err(failed)?;
        let replicas = replicas::by_total(&around.input, usage, milli(target)).map_err(failed)?;
        return Ok(asked(replicas, MetricValueStatus { value: shown(usage), ..Default::default() }));
    }
    let why = "invalid external metric source: neither a value target nor an average value target was set";
    Err(twice(why.to_owned()))
}

/// A selector as Go prints one.
fn selector_text(selector: Option<&LabelSelector>) -> String {
    let Some(selector) = selector else { return "nil".to_owned() };
    let labels = selector.match_labels.iter().flatten().map(|(key, value)| format!("{key}: {value},"));
    let expressions = selector.match_expressions.iter().flatten().map(|one| {
        let values = one.values.as_deref().unwrap_or_default().join(" ");
        format!("LabelSelectorRequirement{{Key:{},Operator:{},Values:[{values}],}},", one.key, one.operator)
    });
    format!(
        "&LabelSelector{{MatchLabels:map[string]string{{{}}},MatchExpressions:[]LabelSelectorRequirement{{{}}},}}",
        labels.collect::<String>(),
        expressions.collect::<String>()
    )
}
