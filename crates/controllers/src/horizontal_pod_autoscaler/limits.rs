//! From what the metrics ask for to what is done: stabilized over a window, at a bounded rate, within bounds. Pure.
//!
//! Source: `normalizeDesiredReplicas` and `normalizeDesiredReplicasWithBehaviors` of
//! `pkg/controller/podautoscaler/horizontal.go`.
use super::history::History;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::autoscaling::v2::{HPAScalingRules, HorizontalPodAutoscalerBehavior};

/// Without rules the size at most doubles at a time, or becomes this.
const FREE_GROWTH: i32 = 4;

/// What is known when a size is to be chosen.
pub struct Wish<'a> {
    pub current: i32,
    /// What the metrics ask for.
    pub desired: i32,
    pub min: i32,
    pub max: i32,
    pub behavior: Option<&'a HorizontalPodAutoscalerBehavior>,
    /// How long a recommendation holds the size up, unless the rules say.
    pub down_window: SignedDuration,
}

/// A reason and a message for a condition.
pub type Why = (&'static str, &'static str);

const READY: Why = ("ReadyForNewScale", "recommended size matches current size");
const HELD_UP: Why = (
    "ScaleDownStabilized",
    "recent recommendations were higher than current one, applying the highest recent recommendation",
);
const HELD_DOWN: Why = (
    "ScaleUpStabilized",
    "recent recommendations were lower than current one, applying the lowest recent recommendation",
);
const WITHIN: Why = ("DesiredWithinRange", "the desired count is within the acceptable range");
const TOO_FAST_UP: Why = ("ScaleUpLimit", "the desired replica count is increasing faster than the maximum scale rate");
const TOO_FAST_DOWN: Why =
    ("ScaleDownLimit", "the desired replica count is decreasing faster than the maximum scale rate");
const TOO_MANY: Why = ("TooManyReplicas", "the desired replica count is more than the maximum replica count");
const TOO_FEW: Why = ("TooFewReplicas", "the desired replica count is less than the minimum replica count");

/// The chosen size, and what conditions say of it.
#[derive(Debug, PartialEq, Eq)]
pub struct Choice {
    pub replicas: i32,
    /// For `AbleToScale`.
    pub able: Why,
    /// For `ScalingLimited`, which is true if `limited`.
    pub limits: Why,
    pub limited: bool,
}

/// Choose a size, and remember the recommendation.
pub fn choose(wish: &Wish<'_>, history: &mut History, now: Timestamp) -> Choice {
    let (stable, held) = stabilize(wish, history, now);
    let (replicas, limits) = match wish.behavior {
        None => bounded(wish, stable),
        Some(behavior) => at_rate(wish, behavior, stable, history, now),
    };
    Choice { replicas, able: if stable == wish.desired { READY } else { held }, limits, limited: replicas != stable }
}

fn window(rules: Option<&HPAScalingRules>, otherwise: SignedDuration) -> SignedDuration {
    let seconds = rules.and_then(|rules| rules.stabilization_window_seconds);
    seconds.map_or(otherwise, |seconds| SignedDuration::from_secs(seconds.into()))
}

fn stabilize(wish: &Wish<'_>, history: &mut History, now: Timestamp) -> (i32, Why) {
    let (up, down) = match wish.behavior {
        None => (SignedDuration::ZERO, wish.down_window),
        Some(rules) => {
            (window(rules.scale_up.as_ref(), SignedDuration::ZERO), window(rules.scale_down.as_ref(), wish.down_window))
        }
    };
    // Without rules the highest recommendation counts, whether more or fewer are wanted.
    let lowest = wish.behavior.is_some() && wish.desired >= wish.current;
    let stable = if lowest {
        history.recommended(up, now).fold(wish.desired, i32::min)
    } else {
        history.recommended(down, now).fold(wish.desired, i32::max)
    };
    history.recommend(wish.desired, up.max(down), now);
    (stable, if lowest { HELD_DOWN } else { HELD_UP })
}

fn bounded(wish: &Wish<'_>, desired: i32) -> (i32, Why) {
    let growth = wish.current.saturating_mul(2).max(FREE_GROWTH);
    let (most, why) = if wish.max > growth { (growth, TOO_FAST_UP) } else { (wish.max, TOO_MANY) };
    if desired < wish.min {
        (wish.min, TOO_FEW)
    } else if desired > most {
        (most, why)
    } else {
        (desired, WITHIN)
    }
}

fn at_rate(
    wish: &Wish<'_>,
    behavior: &HorizontalPodAutoscalerBehavior,
    desired: i32,
    history: &History,
    now: Timestamp,
) -> (i32, Why) {
    if desired > wish.current {
        let limit = behavior.scale_up.as_ref().map_or(i32::MAX, |rules| most(wish.current, rules, history, now));
        // What was added within the periods may be more than the rules would allow now.
        let limit = limit.max(wish.current);
        let (most, why) = if wish.max > limit { (limit, TOO_FAST_UP) } else { (wish.max, TOO_MANY) };
        if desired > most {
            return (most, why);
        }
    } else if desired < wish.current {
        let limit = behavior.scale_down.as_ref().map_or(0, |rules| least(wish.current, rules, history, now));
        let limit = limit.min(wish.current);
        let (least, why) = if wish.min < limit { (limit, TOO_FAST_DOWN) } else { (wish.min, TOO_FEW) };
        if desired < least {
            return (least, why);
        }
    }
    (desired, WITHIN)
}

/// The largest size that the rules allow now.
fn most(current: i32, rules: &HPAScalingRules, history: &History, now: Timestamp) -> i32 {
    let proposals = rules.policies.iter().flatten().map(|policy| {
        let before = current - history.added(policy.period_seconds, now);
        if policy.type_ == "Percent" {
            // Rounded up: a small target could never grow otherwise.
            (f64::from(before) * (1.0 + f64::from(policy.value) / 100.0)).ceil() as i32
        } else {
            before.saturating_add(policy.value)
        }
    });
    match rules.select_policy.as_deref() {
        Some("Disabled") => current,
        Some("Min") => proposals.fold(i32::MAX, i32::min),
        _ => proposals.fold(i32::MIN, i32::max),
    }
}

/// The smallest size that the rules allow now.
fn least(current: i32, rules: &HPAScalingRules, history: &History, now: Timestamp) -> i32 {
    let proposals = rules.policies.iter().flatten().map(|policy| {
        let before = current + history.removed(policy.period_seconds, now);
        if policy.type_ == "Percent" {
            (f64::from(before) * (1.0 - f64::from(policy.value) / 100.0)) as i32
        } else {
            before.saturating_sub(policy.value)
        }
    });
    match rules.select_policy.as_deref() {
        Some("Disabled") => current,
        Some("Min") => proposals.fold(i32::MIN, i32::max),
        _ => proposals.fold(i32::MAX, i32::min),
    }
}
