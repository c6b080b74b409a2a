//! How many replicas a metric asks for. Pure.
//!
//! Usage and targets are thousandths of the metric's unit. Pods that have no sample, or none that says anything yet,
//! are counted so that a decision never goes further than it would with them.
//! Source: `pkg/controller/podautoscaler/replica_calculator.go`.
use crate::pods;
use apimachinery::quantity;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Pod, ResourceRequirements};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// What one pod used.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    pub milli: i64,
    pub at: Timestamp,
    /// The time over which it was measured, up to `at`.
    pub window: SignedDuration,
}

/// By pod name.
pub type Samples = BTreeMap<String, Sample>;

/// How far the ratio of usage to target may be from 1 without consequences.
#[derive(Clone, Copy, Debug)]
pub struct Tolerances {
    pub down: f64,
    pub up: f64,
}

impl Tolerances {
    fn hold(&self, ratio: f64) -> bool {
        (1.0 - self.down..=1.0 + self.up).contains(&ratio)
    }
}

/// Since when the CPU usage of a new pod counts.
#[derive(Clone, Copy, Debug)]
pub struct Startup {
    /// After its start a pod's samples count only while it is ready.
    pub initialization: SignedDuration,
    /// A pod that became unready within this time of its start has never been ready.
    pub initial_readiness: SignedDuration,
}

/// What the decision on one metric is made from.
pub struct Input<'a> {
    /// All that the target's selector selects.
    pub pods: &'a [Arc<Pod>],
    /// `cpu`, `memory`, …; empty for other metrics.
    pub resource: &'a str,
    pub tolerances: Tolerances,
    pub startup: Startup,
    pub now: Timestamp,
    /// The replicas the target is to have now.
    pub current: i32,
}

/// What a metric of pods asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Proposal {
    pub replicas: i32,
    pub average_milli: i64,
    /// Of what was requested.
    pub percent: Option<i32>,
}

#[derive(Default)]
struct Groups<'a> {
    ready: usize,
    unready: BTreeSet<&'a str>,
    missing: BTreeSet<&'a str>,
    ignored: BTreeSet<&'a str>,
}

fn name(pod: &Pod) -> &str {
    pod.metadata.name.as_deref().unwrap_or_default()
}

fn group<'a>(input: &Input<'a>, samples: &Samples) -> Groups<'a> {
    let mut groups = Groups::default();
    for pod in input.pods {
        if pod.metadata.deletion_timestamp.is_some() || pods::phase(pod) == "Failed" {
            groups.ignored.insert(name(pod));
        } else if pods::phase(pod) == "Pending" {
            groups.unready.insert(name(pod));
        } else {
            match samples.get(name(pod)) {
                None => drop(groups.missing.insert(name(pod))),
                Some(sample) if input.resource == "cpu" && !counts(pod, sample, input) => {
                    groups.unready.insert(name(pod));
                }
                Some(_) => groups.ready += 1,
            }
        }
    }
    groups
}

/// Whether a pod's CPU usage says what it will need: not while it starts.
fn counts(pod: &Pod, sample: &Sample, input: &Input<'_>) -> bool {
    let started = pod.status.as_ref().and_then(|status| status.start_time.as_ref());
    let (Some(ready), Some(started)) = (pods::condition(pod, "Ready"), started) else { return false };
    let since = ready.last_transition_time.as_ref().map_or(Timestamp::UNIX_EPOCH, |time| time.0);
    let unready = ready.status == "False";
    if started.0 + input.startup.initialization > input.now {
        !unready && sample.at >= since + sample.window
    } else {
        !(unready && started.0 + input.startup.initial_readiness > since)
    }
}

/// As many as bring the average of `samples` to `target_percent` of what the pods request; of one container's request
/// if that is named.
///
/// # Errors
/// Why there is no answer, in upstream's words.
pub fn by_utilization(
    input: &Input<'_>,
    samples: Samples,
    container: Option<&str>,
    target_percent: i32,
) -> Result<Proposal, String> {
    let requests = || requests(input, container);
    let fallback = |requests: &BTreeMap<String, i64>, pod: &str| {
        requests.get(pod).copied().unwrap_or_default().saturating_mul(i64::from(target_percent.max(100))) / 100
    };
    propose(input, samples, requests, fallback, |samples, requests| {
        let known: Vec<(i64, i64)> =
            samples.iter().filter_map(|(pod, sample)| Some((sample.milli, *requests.get(pod)?))).collect();
        let sum = |of: fn(&(i64, i64)) -> i64| known.iter().map(of).fold(0, i64::saturating_add);
        let (used, requested) = (sum(|one| one.0), sum(|one| one.1));
        if requested == 0 {
            return Err("no metrics returned matched known pods".to_owned());
        }
        let percent = i32::try_from(i128::from(used) * 100 / i128::from(requested)).unwrap_or(i32::MAX);
        let ratio = f64::from(percent) / f64::from(target_percent);
        Ok((ratio, used / count(known.len()), Some(percent)))
    })
}

/// As many as bring the average of `samples` to `target_milli`.
///
/// # Errors
/// Why there is no answer, in upstream's words.
pub fn by_average(input: &Input<'_>, samples: Samples, target_milli: i64) -> Result<Proposal, String> {
    propose(
        input,
        samples,
        || Ok(()),
        |(), _| target_milli,
        |samples, ()| {
            let total = samples.values().map(|sample| sample.milli).fold(0, i64::saturating_add);
            let average = total / count(samples.len());
            Ok((average as f64 / target_milli as f64, average, None))
        },
    )
}

/// Of at least one.
fn count(length: usize) -> i64 {
    i64::try_from(length).unwrap_or(i64::MAX).max(1)
}

/// The ratio to the target, the average and the percentage of what was requested.
type Ratio = (f64, i64, Option<i32>);

fn propose<R>(
    input: &Input<'_>,
    mut samples: Samples,
    requests: impl Fn() -> Result<R, String>,
    of_missing: impl Fn(&R, &str) -> i64,
    ratio_of: impl Fn(&Samples, &R) -> Result<Ratio, String>,
) -> Result<Proposal, String> {
    if input.pods.is_empty() {
        return Err("no pods returned by selector while calculating replica count".to_owned());
    }
    let groups = group(input, &samples);
    samples.retain(|pod, _| !groups.ignored.contains(pod.as_str()) && !groups.unready.contains(pod.as_str()));
    if samples.is_empty() {
        return Err("did not receive metrics for targeted pods (pods might be unready)".to_owned());
    }
    let requests = requests()?;
    let (ratio, average_milli, percent) = ratio_of(&samples, &requests)?;
    let proposal = |replicas| Proposal { replicas, average_milli, percent };
    let up_with_unready = !groups.unready.is_empty() && ratio > 1.0;
    if !up_with_unready && groups.missing.is_empty() {
        let stays = input.tolerances.hold(ratio);
        return Ok(proposal(if stays { input.current } else { rounded_up(ratio * groups.ready as f64) }));
    }
    let assumed = |milli| Sample { milli, at: input.now, window: SignedDuration::ZERO };
    // The missing ones use all that was meant for them when replicas are to go, nothing when more are to come.
    for pod in &groups.missing {
        if ratio < 1.0 {
            samples.insert((*pod).to_owned(), assumed(of_missing(&requests, pod)));
        } else if ratio > 1.0 {
            samples.insert((*pod).to_owned(), assumed(0));
        }
    }
    if up_with_unready {
        samples.extend(groups.unready.iter().map(|pod| ((*pod).to_owned(), assumed(0))));
    }
    let (assumed_ratio, ..) = ratio_of(&samples, &requests)?;
    let turned = (ratio < 1.0 && assumed_ratio > 1.0) || (ratio > 1.0 && assumed_ratio < 1.0);
    let replicas = rounded_up(assumed_ratio * samples.len() as f64);
    let against =
        (assumed_ratio < 1.0 && replicas > input.current) || (assumed_ratio > 1.0 && replicas < input.current);
    let stays = input.tolerances.hold(assumed_ratio) || turned || against;
    Ok(proposal(if stays { input.current } else { replicas }))
}

fn rounded_up(replicas: f64) -> i32 {
    // Saturates; there is no NaN: targets are positive.
    replicas.ceil() as i32
}

/// What each pod requests of the resource, in thousandths, by name.
fn requests(input: &Input<'_>, container: Option<&str>) -> Result<BTreeMap<String, i64>, String> {
    let of = |pod: &Arc<Pod>| Ok((name(pod).to_owned(), request(pod, input.resource, container)?));
    input.pods.iter().map(of).collect()
}

fn request(pod: &Pod, resource: &str, container: Option<&str>) -> Result<i64, String> {
    let Some(spec) = &pod.spec else { return Ok(0) };
    let requested = |resources: Option<&ResourceRequirements>| {
        let amount = resources?.requests.as_ref()?.get(resource)?;
        quantity::of(amount).ok().map(|amount| amount.milli_value())
    };
    // Requests of the whole pod stand for those of its containers (KEP-2837).
    let whole = spec.resources.as_ref().filter(|all| all.requests.as_ref().is_some_and(|map| !map.is_empty()));
    if container.is_none()
        && let Some(milli) = requested(whole)
    {
        return Ok(milli);
    }
    let sidecars = spec.init_containers.iter().flatten().filter(|c| c.restart_policy.as_deref() == Some("Always"));
    let mut sum: i64 = 0;
    let mut found = container.is_none();
    for one in spec.containers.iter().chain(sidecars).filter(|c| container.is_none_or(|name| name == c.name)) {
        let missing = || format!("missing request for {resource} in container {} of Pod {}", one.name, name(pod));
        sum = sum.saturating_add(requested(one.resources.as_ref()).ok_or_else(missing)?);
        found = true;
    }
    match container {
        Some(container) if !found => Err(format!("container {container} not found in Pod {}", name(pod))),
        _ => Ok(sum),
    }
}

/// As many as bring a usage that all replicas share to `target_milli`.
///
/// # Errors
/// Why there is no answer, in upstream's words.
pub fn by_total(input: &Input<'_>, usage_milli: i64, target_milli: i64) -> Result<i32, String> {
    let ratio = usage_milli as f64 / target_milli as f64;
    if input.current == 0 {
        return Ok(rounded_up(ratio));
    }
    if input.tolerances.hold(ratio) {
        return Ok(input.current);
    }
    if input.pods.is_empty() {
        return Err(
            "unable to calculate ready pods: no pods returned by selector while calculating replica count".to_owned()
        );
    }
    let ready = input.pods.iter().filter(|pod| pods::phase(pod) == "Running" && pods::is_ready(pod)).count();
    Ok(rounded_up(ratio * ready as f64))
}

/// As many as give each replica `target_milli` of a usage that all share, and what each of the `running` ones has.
pub fn by_share(running: i32, usage_milli: i64, target_milli: i64, tolerances: Tolerances) -> (i32, i64) {
    let ratio = usage_milli as f64 / (target_milli as f64 * f64::from(running));
    let replicas = if tolerances.hold(ratio) { running } else { rounded_up(usage_milli as f64 / target_milli as f64) };
    (replicas, (usage_milli as f64 / f64::from(running)).ceil() as i64)
}
