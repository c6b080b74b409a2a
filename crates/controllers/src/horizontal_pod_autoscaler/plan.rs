//! What is to be done about one autoscaler: the target's new size, and what its status says. Pure.
//!
//! Source: `reconcileAutoscaler` of `pkg/controller/podautoscaler/horizontal.go`.
use super::{
    history::History,
    limits::{self, Wish},
    metric::{self, Around, Asked},
    metrics::Measured,
    replicas::{Input, Startup, Tolerances},
    scale::Scale,
};
use crate::{
    conditions,
    runtime::{Plan, Write, plan::Verb},
};
use apimachinery::quantity;
use client::{Key, events::reference};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::{
    api::{
        autoscaling::v2::{
            HPAScalingRules, HorizontalPodAutoscaler, HorizontalPodAutoscalerCondition, HorizontalPodAutoscalerStatus,
            MetricStatus,
        },
        core::v1::{ObjectReference, Pod},
    },
    apimachinery::pkg::apis::meta::v1::Time,
};
use std::sync::Arc;

/// What holds for all autoscalers, from the flags.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Both ways, unless the autoscaler's rules say.
    pub tolerance: f64,
    pub down_window: SignedDuration,
    pub startup: Startup,
}

/// What is known about the target.
pub struct View<'a> {
    pub scale: Result<&'a Scale, String>,
    pub pods: Result<Pods, Unselected>,
    /// One result for each metric of the spec; empty where none was needed ([`needs_metrics`]).
    pub measured: Vec<Result<Measured, String>>,
}

/// The pods of a target.
pub type Pods = Vec<Arc<Pod>>;

/// Why it is not known which pods are the target's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unselected {
    NoSelector,
    Invalid(String),
    /// These autoscalers select some of them.
    Ambiguous {
        selector: String,
        autoscalers: Vec<Key>,
    },
}

/// The size an autoscaler is content with, whatever the metrics say.
pub fn bounds(autoscaler: &HorizontalPodAutoscaler) -> (i32, i32) {
    (autoscaler.spec.min_replicas.unwrap_or(1), autoscaler.spec.max_replicas)
}

/// Whether the metrics decide.
pub fn needs_metrics(autoscaler: &HorizontalPodAutoscaler, scale: &Scale) -> bool {
    let (least, most) = bounds(autoscaler);
    let current = scale.wanted();
    (current != 0 || least == 0) && (least..=most).contains(&current)
}

/// The plan, and the sizes before and after it if it changes the target's.
pub fn plan(
    autoscaler: &HorizontalPodAutoscaler,
    view: &View<'_>,
    settings: &Settings,
    history: &mut History,
    now: Timestamp,
) -> (Plan, Option<(i32, i32)>) {
    let mut round = Round {
        about: reference(autoscaler),
        status: autoscaler.status.clone().unwrap_or_default(),
        plan: Plan::nothing(),
        now,
    };
    let scale = match &view.scale {
        Ok(scale) => *scale,
        Err(why) => {
            round.plan.warning(&round.about, "FailedGetScale", why);
            let message = format!("the HPA controller was unable to get the target's current scale: {why}");
            round.set("AbleToScale", false, "FailedGetScale", message);
            return (round.finish(autoscaler), None);
        }
    };
    let message = "the HPA controller was able to get the target's current scale";
    round.set("AbleToScale", true, "SucceededGetScale", message.to_owned());
    let current = scale.wanted();
    history.begin(current, now);
    let (least, most) = bounds(autoscaler);
    let (mut shown, mut why) = (None, String::new());
    let desired = if current == 0 && least != 0 {
        let message = "scaling is disabled since the replica count of the target is zero";
        round.set("ScalingActive", false, "ScalingDisabled", message.to_owned());
        current
    } else if current > most {
        why = "Current number of replicas above Spec.MaxReplicas".to_owned();
        most
    } else if current < least {
        why = "Current number of replicas below Spec.MinReplicas".to_owned();
        least
    } else {
        let (asked, metrics) = round.ask(autoscaler, view, settings, scale);
        shown = metrics;
        let Some(asked) = asked else {
            let desired = round.status.desired_replicas;
            round.sizes(current, desired, shown);
            return (round.finish(autoscaler), None);
        };
        why = match asked.replicas {
            more if more > current => format!("{} above target", asked.name),
            less if less < current => "All metrics below target".to_owned(),
            _ => String::new(),
        };
        let behavior = autoscaler.spec.behavior.as_ref();
        let wish = Wish {
            current,
            desired: asked.replicas,
            min: least,
            max: most,
            behavior,
            down_window: settings.down_window,
        };
        let choice = limits::choose(&wish, history, now);
        round.set("AbleToScale", true, choice.able.0, choice.able.1.to_owned());
        round.set("ScalingLimited", choice.limited, choice.limits.0, choice.limits.1.to_owned());
        choice.replicas
    };
    let rescaled = (desired != current).then_some((current, desired));
    if rescaled.is_some() {
        round.rescale(scale, desired, &why);
    }
    round.sizes(current, desired, shown);
    if let Some((from, to)) = rescaled {
        round.status.last_scale_time = Some(Time(now));
        if let Some(behavior) = &autoscaler.spec.behavior {
            let rules = if to > from { &behavior.scale_up } else { &behavior.scale_down };
            history.scaled(from, to, rules.as_ref(), now);
        }
    }
    (round.finish(autoscaler), rescaled)
}

/// What is said when the target refused its new size.
pub fn refused(autoscaler: &HorizontalPodAutoscaler, current: i32, why: &str, now: Timestamp) -> Plan {
    let status = autoscaler.status.clone().unwrap_or_default();
    let mut round = Round { about: reference(autoscaler), status, plan: Plan::nothing(), now };
    let message = format!("the HPA controller was unable to update the target scale: {why}");
    round.set("AbleToScale", false, "FailedUpdateScale", message);
    round.status.current_replicas = Some(current);
    round.finish(autoscaler)
}

struct Round {
    about: ObjectReference,
    status: HorizontalPodAutoscalerStatus,
    plan: Plan,
    now: Timestamp,
}

impl Round {
    fn set(&mut self, kind: &str, holds: bool, reason: &str, message: String) {
        let new =
            <HorizontalPodAutoscalerCondition as conditions::Condition>::make(kind, holds, reason, message, self.now);
        conditions::replace(&mut self.status.conditions, new);
    }

    fn sizes(&mut self, current: i32, desired: i32, metrics: Option<Vec<MetricStatus>>) {
        self.status = HorizontalPodAutoscalerStatus {
            conditions: self.status.conditions.take(),
            last_scale_time: self.status.last_scale_time.take(),
            current_replicas: Some(current),
            desired_replicas: desired,
            current_metrics: metrics,
            observed_generation: None,
        };
    }

    /// What the metrics ask for together, and what the status shows of them; `None`: they do not say.
    fn ask(
        &mut self,
        autoscaler: &HorizontalPodAutoscaler,
        view: &View<'_>,
        settings: &Settings,
        scale: &Scale,
    ) -> (Option<Asked>, Option<Vec<MetricStatus>>) {
        let pods = match &view.pods {
            Ok(pods) => pods,
            Err(why) => {
                self.unselected(why);
                return (None, None);
            }
        };
        let specs = autoscaler.spec.metrics.as_deref().unwrap_or_default();
        let rules = autoscaler.spec.behavior.clone().unwrap_or_default();
        let around = Around {
            input: Input {
                pods,
                resource: "",
                tolerances: Tolerances {
                    down: tolerance(rules.scale_down.as_ref(), settings.tolerance),
                    up: tolerance(rules.scale_up.as_ref(), settings.tolerance),
                },
                startup: settings.startup,
                now: self.now,
                current: scale.wanted(),
            },
            running: scale.running(),
            namespace: autoscaler.metadata.namespace.as_deref().unwrap_or_default(),
        };
        let mut best: Option<Asked> = None;
        let (mut invalid, mut first) = (0, None);
        let mut shown = Vec::new();
        for (spec, measured) in specs.iter().zip(&view.measured) {
            match metric::ask(spec, measured, &around) {
                Ok(asked) => {
                    shown.push(asked.status.clone());
                    if best.as_ref().is_none_or(|best| best.replicas == 0 || asked.replicas > best.replicas) {
                        best = Some(asked);
                    }
                }
                Err(unusable) => {
                    self.plan.warning(&self.about, unusable.reason, &unusable.message);
                    shown.push(MetricStatus::default());
                    invalid += 1;
                    first.get_or_insert(unusable);
                }
            }
        }
        // Some that are missing could ask for more than the others: then none go.
        let too_few = |asked: &Asked| invalid > 0 && asked.replicas < scale.wanted();
        let usable = best.filter(|asked| !too_few(asked));
        match (&usable, first) {
            (Some(asked), _) => {
                let name = &asked.name;
                let message = format!("the HPA was able to successfully calculate a replica count from {name}");
                self.set("ScalingActive", true, "ValidMetricFound", message);
            }
            (None, Some(first)) => {
                let message = format!("the HPA was unable to compute the replica count: {}", first.message);
                self.set("ScalingActive", false, first.reason, message);
                let all = specs.len();
                let message =
                    format!("invalid metrics ({invalid} invalid out of {all}), first error is: {}", first.whole);
                self.plan.warning(&self.about, "FailedComputeMetricsReplicas", message);
            }
            // No metrics at all: the API gives every autoscaler one.
            (None, None) => {}
        }
        (usable, Some(shown))
    }

    fn unselected(&mut self, why: &Unselected) {
        let (event, reason, said, condition) = match why {
            Unselected::NoSelector => (
                "SelectorRequired",
                "InvalidSelector",
                "selector is required".to_owned(),
                "the HPA target's scale is missing a selector".to_owned(),
            ),
            Unselected::Invalid(why) => {
                let said = format!("couldn't convert selector into a corresponding internal selector object: {why}");
                ("InvalidSelector", "InvalidSelector", said.clone(), said)
            }
            Unselected::Ambiguous { selector, autoscalers } => {
                let names: Vec<String> =
                    autoscalers.iter().map(|key| format!("{{{} {}}}", key.name, key.namespace)).collect();
                let names = names.join(" ");
                let said = format!("pods by selector {selector} are controlled by multiple HPAs: [{names}]");
                ("AmbiguousSelector", "AmbiguousSelector", said.clone(), said)
            }
        };
        self.plan.warning(&self.about, event, &said);
        self.set("ScalingActive", false, reason, condition);
        self.plan.warning(&self.about, "FailedComputeMetricsReplicas", said);
    }

    fn rescale(&mut self, scale: &Scale, desired: i32, why: &str) {
        let mut object = scale.object.clone();
        object.spec.get_or_insert_default().replicas = Some(desired);
        // The kind and version are not in the typed object's fields; serialising it adds them.
        let body = serde_json::to_value(&object).unwrap_or_default();
        let size = format!("New size: {desired}; reason: {why}");
        let write = Write::raw(Verb::Replace, scale.target.clone(), body)
            .at("scale")
            .told(&self.about, "SuccessfulRescale", &size)
            .told_failed(&self.about, "FailedRescale", format!("{size}; error: {{error}}"));
        self.plan.write(write);
        let message = format!("the HPA controller was able to update the target scale to {desired}");
        self.set("AbleToScale", true, "SucceededRescale", message);
    }

    fn finish(mut self, autoscaler: &HorizontalPodAutoscaler) -> Plan {
        if Some(&self.status) != autoscaler.status.as_ref() {
            let (metadata, spec) = (autoscaler.metadata.clone(), autoscaler.spec.clone());
            let changed = HorizontalPodAutoscaler { metadata, spec, status: Some(self.status) };
            let write = Write::replace_status(&changed).or_gone().or_conflict();
            self.plan.write(write.told_failed(&self.about, "FailedUpdateStatus", "{error}"));
        }
        self.plan
    }
}

fn tolerance(rules: Option<&HPAScalingRules>, otherwise: f64) -> f64 {
    let own = rules.and_then(|rules| rules.tolerance.as_ref()).and_then(|own| quantity::of(own).ok());
    own.map_or(otherwise, |own| own.as_f64())
}
