//! What to do about a lease. Pure: the clock readings are arguments.
use super::Config;
use jiff::Timestamp;
use k8s_openapi::{
    api::coordination::v1::{Lease, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::MicroTime,
};
use kube::core::ObjectMeta;
use std::time::Duration;
use tokio::time::Instant;

/// The holder's record as we last saw it change, by our own clock.
#[derive(Default)]
pub struct Observed {
    spec: Option<LeaseSpec>,
    at: Option<Instant>,
}

impl Observed {
    pub fn see(&mut self, lease: Option<&Lease>, now: Instant) {
        let spec = lease.and_then(|lease| lease.spec.as_ref());
        if self.spec.as_ref() != spec {
            self.spec = spec.cloned();
            self.at = Some(now);
        }
    }

    fn unchanged_for(&self, now: Instant) -> Option<Duration> {
        self.at.map(|at| now.saturating_duration_since(at))
    }
}

#[derive(Debug, PartialEq)]
pub enum Step {
    Create(Lease),
    Update(Lease),
    /// Somebody else holds it.
    Wait,
}

pub fn held_by(lease: Option<&Lease>, identity: &str) -> bool {
    holder(lease) == Some(identity)
}

fn holder(lease: Option<&Lease>) -> Option<&str> {
    lease?.spec.as_ref()?.holder_identity.as_deref().filter(|holder| !holder.is_empty())
}

pub fn step(lease: Option<&Lease>, config: &Config, observed: &Observed, now: Instant, clock: Timestamp) -> Step {
    let seconds = i32::try_from(config.lease_duration.as_secs()).unwrap_or(i32::MAX);
    let mut spec = LeaseSpec {
        holder_identity: Some(config.identity.clone()),
        lease_duration_seconds: Some(seconds),
        acquire_time: Some(MicroTime(clock)),
        renew_time: Some(MicroTime(clock)),
        lease_transitions: Some(0),
        ..Default::default()
    };
    let Some(lease) = lease else {
        let metadata = ObjectMeta {
            namespace: Some(config.namespace.clone()),
            name: Some(config.name.clone()),
            ..Default::default()
        };
        return Step::Create(Lease { metadata, spec: Some(spec) });
    };
    let ours = held_by(Some(lease), &config.identity);
    let known = lease.spec.clone().unwrap_or_default();
    let theirs = Duration::from_secs(known.lease_duration_seconds.and_then(|s| u64::try_from(s).ok()).unwrap_or(0));
    if !ours && holder(Some(lease)).is_some() && observed.unchanged_for(now).is_none_or(|age| age < theirs) {
        return Step::Wait;
    }
    if ours {
        spec.acquire_time = known.acquire_time;
        spec.lease_transitions = known.lease_transitions;
    } else {
        spec.lease_transitions = Some(known.lease_transitions.unwrap_or(0).saturating_add(1));
    }
    spec.preferred_holder = known.preferred_holder;
    spec.strategy = known.strategy;
    Step::Update(Lease { metadata: lease.metadata.clone(), spec: Some(spec) })
}

/// The lease without a holder, for a successor to take at once.
pub fn released(mut lease: Lease, clock: Timestamp) -> Lease {
    let spec = lease.spec.get_or_insert_default();
    spec.holder_identity = Some(String::new());
    spec.lease_duration_seconds = Some(1);
    spec.acquire_time = Some(MicroTime(clock));
    spec.renew_time = Some(MicroTime(clock));
    lease
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(identity: &str) -> Config {
        Config::new("kube-scheduler", identity.to_owned())
    }

    fn clock(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("in range")
    }

    fn summary(step: &Step) -> String {
        let (verb, lease) = match step {
            Step::Wait => return "wait".to_owned(),
            Step::Create(lease) => ("create", lease),
            Step::Update(lease) => ("update", lease),
        };
        let spec = lease.spec.clone().unwrap_or_default();
        let time = |t: &Option<MicroTime>| t.as_ref().map_or(0, |t| t.0.as_second());
        format!(
            "{verb} {} acquired {} renewed {} transitions {}",
            spec.holder_identity.unwrap_or_default(),
            time(&spec.acquire_time),
            time(&spec.renew_time),
            spec.lease_transitions.unwrap_or(-1)
        )
    }

    #[tokio::test(start_paused = true)]
    async fn the_lease_goes_from_hand_to_hand() {
        let (a, b) = (config("a"), config("b"));
        let (mut seen_a, mut seen_b) = (Observed::default(), Observed::default());
        let created = step(None, &a, &seen_a, Instant::now(), clock(100));
        assert_eq!(summary(&created), "create a acquired 100 renewed 100 transitions 0");
        let Step::Create(lease) = created else { panic!("created") };

        seen_a.see(Some(&lease), Instant::now());
        let renewed = step(Some(&lease), &a, &seen_a, Instant::now(), clock(102));
        assert_eq!(summary(&renewed), "update a acquired 100 renewed 102 transitions 0");

        seen_b.see(Some(&lease), Instant::now());
        assert_eq!(step(Some(&lease), &b, &seen_b, Instant::now(), clock(9_999)), Step::Wait, "clocks may differ");
        tokio::time::advance(Duration::from_secs(15)).await;
        seen_b.see(Some(&lease), Instant::now());
        let taken = step(Some(&lease), &b, &seen_b, Instant::now(), clock(120));
        assert_eq!(summary(&taken), "update b acquired 120 renewed 120 transitions 1");

        let free = released(lease, clock(130));
        let taken = step(Some(&free), &b, &Observed::default(), Instant::now(), clock(131));
        assert_eq!(summary(&taken), "update b acquired 131 renewed 131 transitions 1");
    }

    #[test]
    fn identities_are_host_and_uuid() {
        let identity = super::super::identity("node");
        let uuid = identity.strip_prefix("node_").expect("host first");
        let lengths: Vec<_> = uuid.split('-').map(str::len).collect();
        assert_eq!(lengths, [8, 4, 4, 4, 12]);
        assert_eq!(uuid.as_bytes()[14], b'4', "{uuid}");
    }
}
