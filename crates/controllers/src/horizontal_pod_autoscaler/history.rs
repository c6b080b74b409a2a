//! What is remembered of an autoscaler between its rounds: what was recommended, and what was done.
//!
//! As upstream's, it is lost with the process; then the window of the next decisions is short.
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::autoscaling::v2::HPAScalingRules;

/// A number of replicas and when it came up.
type Dated = (i32, Timestamp);

/// The recommendations and changes that still matter.
#[derive(Clone, Debug, Default)]
pub struct History {
    recommendations: Vec<Dated>,
    /// Replicas added, and when.
    ups: Vec<Dated>,
    /// Replicas taken away, and when.
    downs: Vec<Dated>,
}

impl History {
    /// The size at which the target was first seen is what had been recommended until then.
    pub fn begin(&mut self, replicas: i32, now: Timestamp) {
        if self.recommendations.is_empty() {
            self.recommendations.push((replicas, now));
        }
    }

    /// Remember a recommendation; those older than `window` are of no more use.
    pub fn recommend(&mut self, replicas: i32, window: SignedDuration, now: Timestamp) {
        self.recommendations.retain(|(_, at)| *at >= now - window);
        self.recommendations.push((replicas, now));
    }

    /// What was recommended within `window`.
    pub fn recommended(&self, window: SignedDuration, now: Timestamp) -> impl Iterator<Item = i32> + '_ {
        self.recommendations.iter().filter(move |(_, at)| *at > now - window).map(|(replicas, _)| *replicas)
    }

    /// Remember a change of size for as long as the longest period of the rules asks for it.
    pub fn scaled(&mut self, from: i32, to: i32, rules: Option<&HPAScalingRules>, now: Timestamp) {
        let periods =
            rules.iter().flat_map(|rules| rules.policies.iter().flatten()).map(|policy| policy.period_seconds);
        let longest = SignedDuration::from_secs(periods.max().unwrap_or_default().into());
        let changes = if to > from { &mut self.ups } else { &mut self.downs };
        changes.retain(|(_, at)| *at >= now - longest);
        changes.push(((to - from).abs(), now));
    }

    /// The change that was remembered last was not carried out.
    pub fn not_scaled(&mut self, from: i32, to: i32) {
        let changes = if to > from { &mut self.ups } else { &mut self.downs };
        changes.pop();
    }

    /// Replicas added within the last `seconds`.
    pub fn added(&self, seconds: i32, now: Timestamp) -> i32 {
        within(&self.ups, seconds, now)
    }

    /// Replicas taken away within the last `seconds`.
    pub fn removed(&self, seconds: i32, now: Timestamp) -> i32 {
        within(&self.downs, seconds, now)
    }
}

fn within(changes: &[Dated], seconds: i32, now: Timestamp) -> i32 {
    let since = now - SignedDuration::from_secs(seconds.into());
    changes.iter().filter(|(_, at)| *at > since).map(|(replicas, _)| *replicas).sum()
}
