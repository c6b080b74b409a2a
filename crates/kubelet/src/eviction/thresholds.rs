//! Eviction signals and thresholds, out of the configuration's maps. Pure; refusals are worded as upstream's.
use std::collections::BTreeMap;
use std::time::Duration;

use apimachinery::quantity::Quantity;
use serde::Serialize;

use crate::reserved::Threshold as Amount;

/// What is watched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub enum Signal {
    MemoryAvailable,
    /// Of what all pods together may use.
    AllocatableMemoryAvailable,
    NodeFsAvailable,
    NodeFsInodesFree,
    ImageFsAvailable,
    ImageFsInodesFree,
    ContainerFsAvailable,
    ContainerFsInodesFree,
    PidAvailable,
}

/// What runs short, as events and messages name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Starved {
    Memory,
    Disk,
    Inodes,
    Pids,
}

impl Starved {
    pub fn name(self) -> &'static str {
        match self {
            Starved::Memory => "memory",
            Starved::Disk => "ephemeral-storage",
            Starved::Inodes => "inodes",
            Starved::Pids => "pids",
        }
    }
}

/// The node's conditions that signals lead to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Condition {
    Memory,
    Disk,
    Pid,
}

impl Condition {
    /// The condition's type.
    pub fn name(self) -> &'static str {
        match self {
            Condition::Memory => "MemoryPressure",
            Condition::Disk => "DiskPressure",
            Condition::Pid => "PIDPressure",
        }
    }
}

impl Signal {
    const ALL: [(Signal, &'static str); 9] = [
        (Signal::MemoryAvailable, "memory.available"),
        (Signal::AllocatableMemoryAvailable, "allocatableMemory.available"),
        (Signal::NodeFsAvailable, "nodefs.available"),
        (Signal::NodeFsInodesFree, "nodefs.inodesFree"),
        (Signal::ImageFsAvailable, "imagefs.available"),
        (Signal::ImageFsInodesFree, "imagefs.inodesFree"),
        (Signal::ContainerFsAvailable, "containerfs.available"),
        (Signal::ContainerFsInodesFree, "containerfs.inodesFree"),
        (Signal::PidAvailable, "pid.available"),
    ];

    fn parse(name: &str) -> Result<Signal, String> {
        let found = Signal::ALL.iter().find(|(_, known)| *known == name);
        found.map(|(signal, _)| *signal).ok_or_else(|| format!("unsupported eviction signal {name}"))
    }

    /// The name in configurations and metrics.
    pub fn name(self) -> &'static str {
        Signal::ALL.iter().find(|(signal, _)| *signal == self).map_or("", |(_, name)| name)
    }

    pub fn starved(self) -> Starved {
        match self {
            Signal::MemoryAvailable | Signal::AllocatableMemoryAvailable => Starved::Memory,
            Signal::NodeFsAvailable | Signal::ImageFsAvailable | Signal::ContainerFsAvailable => Starved::Disk,
            Signal::NodeFsInodesFree | Signal::ImageFsInodesFree | Signal::ContainerFsInodesFree => Starved::Inodes,
            Signal::PidAvailable => Starved::Pids,
        }
    }

    pub fn condition(self) -> Condition {
        match self.starved() {
            Starved::Memory => Condition::Memory,
            Starved::Disk | Starved::Inodes => Condition::Disk,
            Starved::Pids => Condition::Pid,
        }
    }
}

/// Less than `amount` of a signal is too little.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Threshold {
    pub signal: Signal,
    pub amount: Amount,
    /// How long it may last; zero for a hard threshold.
    pub grace: Duration,
    /// Once crossed, so much more has to be had before all is well.
    pub min_reclaim: Option<Amount>,
}

impl Threshold {
    pub fn is_hard(&self) -> bool {
        self.grace.is_zero()
    }
}

/// All that the configuration says about eviction.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Settings {
    pub thresholds: Vec<Threshold>,
    /// How long a pressure condition stays after its last cause.
    pub transition: Duration,
    /// The grace period of pods evicted by a soft threshold, in seconds, where the pod's own is not shorter.
    pub max_pod_grace_s: i64,
}

type Map = BTreeMap<String, String>;

/// The configuration's maps as they stand there.
#[derive(Debug, Default)]
pub struct Given<'a> {
    pub hard: Option<&'a Map>,
    pub soft: Option<&'a Map>,
    pub soft_grace: Option<&'a Map>,
    pub min_reclaim: Option<&'a Map>,
    /// The default hard thresholds hold beside those given (`mergeDefaultEvictionSettings`).
    pub merge_defaults: bool,
    /// Pods together are held to what is allocatable (`enforceNodeAllocatable: [pods]`).
    pub enforce_pods: bool,
}

/// Upstream's hard thresholds where none are given.
const DEFAULT_HARD: [(&str, &str); 5] = [
    ("memory.available", "100Mi"),
    ("nodefs.available", "10%"),
    ("nodefs.inodesFree", "5%"),
    ("imagefs.available", "15%"),
    ("imagefs.inodesFree", "5%"),
];

/// `evictionHard` as it holds: the given one, the default one, or both together.
pub fn effective_hard(given: Option<&Map>, merge_defaults: bool) -> Map {
    let defaults = || DEFAULT_HARD.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect::<Map>();
    match given {
        None => defaults(),
        Some(given) if merge_defaults => {
            let mut all = defaults();
            all.extend(given.clone());
            all
        }
        Some(given) => given.clone(),
    }
}

impl Given<'_> {
    /// The thresholds that follow.
    ///
    /// # Errors
    /// A signal there is not, an amount that is none, or a soft threshold without its grace period.
    pub fn thresholds(&self) -> Result<Vec<Threshold>, String> {
        let mut all = statements(&effective_hard(self.hard, self.merge_defaults))?;
        let mut soft = statements(self.soft.unwrap_or(&Map::new()))?;
        let mut graces = BTreeMap::new();
        for (signal, text) in self.soft_grace.into_iter().flatten() {
            let period = apimachinery::duration::parse(text)
                .map_err(|_| format!("invalid eviction grace period specified: {text}, must be a positive value"))?;
            graces.insert(Signal::parse(signal)?, period);
        }
        for threshold in &mut soft {
            threshold.grace = *graces.get(&threshold.signal).ok_or_else(|| {
                format!("grace period must be specified for the soft eviction threshold {}", threshold.signal.name())
            })?;
        }
        all.append(&mut soft);
        for (signal, text) in self.min_reclaim.into_iter().flatten() {
            let signal = Signal::parse(signal)?;
            let amount = Amount::parse(text)?;
            all.iter_mut().filter(|t| t.signal == signal).for_each(|t| t.min_reclaim = Some(amount));
        }
        if self.enforce_pods {
            let memory = all.iter().filter(|t| t.signal == Signal::MemoryAvailable && t.is_hard());
            let ours: Vec<Threshold> =
                memory.map(|t| Threshold { signal: Signal::AllocatableMemoryAvailable, ..*t }).collect();
            all.extend(ours);
        }
        Ok(all)
    }
}

fn statements(map: &Map) -> Result<Vec<Threshold>, String> {
    let mut all = Vec::new();
    for (signal, text) in map {
        let signal = Signal::parse(signal)?;
        // Upstream's way of switching a threshold off.
        if text == "0%" || text == "100%" {
            continue;
        }
        let amount = Amount::parse(text)?;
        let positive = Quantity::parse(text).map_or(true, |q| !q.is_zero() && !q.is_negative());
        if !positive {
            return Err(format!("eviction threshold {} must be positive: {text}", signal.name()));
        }
        all.push(Threshold { signal, amount, grace: Duration::ZERO, min_reclaim: None });
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(list: &[(&str, &str)]) -> Map {
        list.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
    }

    fn names(given: &Given<'_>) -> Result<Vec<String>, String> {
        let one = |t: &Threshold| format!("{}<{:?} {}s", t.signal.name(), t.amount, t.grace.as_secs());
        given.thresholds().map(|all| all.iter().map(one).collect())
    }

    #[test]
    fn defaults_soft_ones_and_those_of_all_pods() {
        let none = Given { enforce_pods: true, ..Given::default() };
        assert_eq!(
            names(&none).expect("valid"),
            [
                "imagefs.available<Percent(15.0) 0s",
                "imagefs.inodesFree<Percent(5.0) 0s",
                "memory.available<Bytes(104857600) 0s",
                "nodefs.available<Percent(10.0) 0s",
                "nodefs.inodesFree<Percent(5.0) 0s",
                "allocatableMemory.available<Bytes(104857600) 0s",
            ]
        );
        let (hard, soft, grace) =
            (map(&[("memory.available", "0%")]), map(&[("pid.available", "10%")]), map(&[("pid.available", "1m30s")]));
        let given = Given { hard: Some(&hard), soft: Some(&soft), soft_grace: Some(&grace), ..Given::default() };
        assert_eq!(names(&given).expect("valid"), ["pid.available<Percent(10.0) 90s"]);
        let hard = map(&[("memory.available", "1Gi")]);
        let merged = Given { hard: Some(&hard), merge_defaults: true, ..Given::default() };
        let merged = names(&merged).expect("valid");
        assert_eq!((merged.len(), merged[2].as_str()), (5, "memory.available<Bytes(1073741824) 0s"));
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for (hard, soft, want) in [
            ("mem.available", "", "unsupported eviction signal mem.available"),
            (
                "memory.available",
                "pid.available",
                "grace period must be specified for the soft eviction threshold pid.available",
            ),
        ] {
            let hard = map(&[(hard, "1Mi")]);
            let soft = map(if soft.is_empty() { &[] } else { &[("pid.available", "5")] });
            let given = Given { hard: Some(&hard), soft: Some(&soft), ..Given::default() };
            assert_eq!(names(&given).expect_err("refused"), want);
        }
        let zero = map(&[("memory.available", "0")]);
        assert!(names(&Given { hard: Some(&zero), ..Given::default() }).is_err());
    }
}
