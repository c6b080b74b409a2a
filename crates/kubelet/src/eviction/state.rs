//! From observations to conditions and to what has to be reclaimed. Pure; follows upstream's `synchronize`.
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::Timestamp;

use super::thresholds::{Condition, Settings, Signal, Starved, Threshold};

/// How much of a signal there is, in bytes, inodes or processes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Observation {
    pub available: i64,
    pub capacity: i64,
}

pub type Observations = BTreeMap<Signal, Observation>;

/// What is remembered between two looks.
#[derive(Debug, Default)]
pub struct State {
    /// By index into the settings' thresholds: since when it is crossed.
    since: BTreeMap<usize, Timestamp>,
    /// Thresholds crossed longer than their grace period at the last look.
    met: BTreeSet<usize>,
    last_seen: BTreeMap<Condition, Timestamp>,
}

/// What follows from a look.
#[derive(Debug, Default, PartialEq)]
pub struct Step {
    pub conditions: BTreeSet<Condition>,
    /// What to act on first, memory before everything else; with all others that are crossed.
    pub reclaim: Option<Threshold>,
    pub crossed: Vec<Threshold>,
}

/// Whether a threshold is crossed; `settled` asks for the least that has to be reclaimed on top.
pub fn is_crossed(threshold: &Threshold, seen: &Observations, settled: bool) -> bool {
    let Some(seen) = seen.get(&threshold.signal) else { return false };
    let more = threshold.min_reclaim.filter(|_| settled).map_or(0, |amount| amount.of(seen.capacity));
    seen.available < threshold.amount.of(seen.capacity).saturating_add(more)
}

impl State {
    pub fn step(&mut self, settings: &Settings, seen: &Observations, now: Timestamp) -> Step {
        let all = &settings.thresholds;
        let crossed: BTreeSet<usize> = all
            .iter()
            .enumerate()
            .filter(|(index, threshold)| is_crossed(threshold, seen, self.met.contains(index)))
            .map(|(index, _)| index)
            .collect();
        self.since.retain(|index, _| crossed.contains(index));
        for index in &crossed {
            self.since.entry(*index).or_insert(now);
        }
        for threshold in crossed.iter().filter_map(|index| all.get(*index)) {
            self.last_seen.insert(threshold.signal.condition(), now);
        }
        let lasted = |since: Timestamp| Duration::try_from(now.duration_since(since)).unwrap_or_default();
        let conditions = self
            .last_seen
            .iter()
            .filter(|(_, at)| **at == now || lasted(**at) < settings.transition)
            .map(|(condition, _)| *condition)
            .collect();
        self.met = self
            .since
            .iter()
            .filter(|(index, since)| all.get(**index).is_some_and(|t| lasted(**since) >= t.grace))
            .map(|(index, _)| *index)
            .collect();
        let mut crossed: Vec<Threshold> = self.met.iter().filter_map(|index| all.get(*index)).copied().collect();
        crossed.sort_by_key(|t| t.signal.starved() != Starved::Memory);
        Step { conditions, reclaim: crossed.first().copied(), crossed }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reserved::Threshold as Amount;

    fn threshold(signal: Signal, amount: i64, grace_s: u64) -> Threshold {
        Threshold { signal, amount: Amount::Bytes(amount), grace: Duration::from_secs(grace_s), min_reclaim: None }
    }

    fn settings(thresholds: Vec<Threshold>) -> Settings {
        Settings { thresholds, transition: Duration::from_secs(300), max_pod_grace_s: 0 }
    }

    fn seen(list: &[(Signal, i64)]) -> Observations {
        list.iter()
            .map(|(signal, available)| (*signal, Observation { available: *available, capacity: 1000 }))
            .collect()
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("in range")
    }

    #[test]
    fn memory_goes_first_and_its_condition_outlasts_it() {
        let settings =
            settings(vec![threshold(Signal::NodeFsAvailable, 100, 0), threshold(Signal::MemoryAvailable, 100, 0)]);
        let mut state = State::default();
        let low = seen(&[(Signal::NodeFsAvailable, 50), (Signal::MemoryAvailable, 99)]);
        let step = state.step(&settings, &low, at(1));
        assert_eq!(step.reclaim.map(|t| t.signal), Some(Signal::MemoryAvailable));
        assert_eq!(step.crossed.len(), 2);
        let both = BTreeSet::from([Condition::Memory, Condition::Disk]);
        assert_eq!(step.conditions, both);
        let well = seen(&[(Signal::NodeFsAvailable, 100), (Signal::MemoryAvailable, 100)]);
        let step = state.step(&settings, &well, at(2));
        assert_eq!((step.reclaim, step.conditions), (None, both.clone()));
        assert_eq!(state.step(&settings, &well, at(300)).conditions, both);
        assert_eq!(state.step(&settings, &well, at(301)).conditions, BTreeSet::new());
    }

    #[test]
    fn a_soft_threshold_waits_for_its_grace_period() {
        let settings = settings(vec![threshold(Signal::PidAvailable, 100, 60)]);
        let mut state = State::default();
        let low = seen(&[(Signal::PidAvailable, 1)]);
        let first = state.step(&settings, &low, at(0));
        assert_eq!((first.reclaim, first.conditions), (None, BTreeSet::from([Condition::Pid])));
        assert_eq!(state.step(&settings, &low, at(59)).reclaim, None);
        assert!(state.step(&settings, &low, at(60)).reclaim.is_some());
        state.step(&settings, &seen(&[(Signal::PidAvailable, 100)]), at(61));
        assert_eq!(state.step(&settings, &low, at(62)).reclaim, None, "it starts anew");
    }

    #[test]
    fn once_crossed_the_least_reclaim_counts_too() {
        let more = Some(Amount::Percent(10.0));
        let settings = settings(vec![Threshold { min_reclaim: more, ..threshold(Signal::ImageFsAvailable, 100, 0) }]);
        let mut state = State::default();
        let of = |n| seen(&[(Signal::ImageFsAvailable, n)]);
        assert_eq!(state.step(&settings, &of(150), at(0)).reclaim, None);
        assert!(state.step(&settings, &of(99), at(1)).reclaim.is_some());
        assert!(state.step(&settings, &of(150), at(2)).reclaim.is_some());
        assert_eq!(state.step(&settings, &of(200), at(3)).reclaim, None);
        assert_eq!(state.step(&settings, &of(150), at(4)).reclaim, None);
        assert_eq!(state.step(&settings, &Observations::new(), at(5)).reclaim, None, "nothing known, nothing done");
    }
}
