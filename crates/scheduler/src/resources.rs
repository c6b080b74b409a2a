//! Amounts of resources: what nodes can give and what pods ask for, in the scheduler's units.
//!
//! CPU is counted in thousandths, everything else in whole units, both rounded up, as upstream's
//! `framework.Resource`. A pod asks for the larger of what its containers ask together and what its init
//! containers need on the way, plus its overhead ("Resource sharing within containers", KEP-753 for
//! restartable init containers, KEP-2837 for requests of the pod as a whole).
use crate::objects::{Container, PodSpec, StringMap};
use apimachinery::quantity::Quantity;
use std::sync::Arc;

/// What a container without a CPU request counts for when nodes are compared. Upstream's `DefaultMilliCPURequest`.
pub const DEFAULT_MILLI_CPU_REQUEST: i64 = 100;
/// The same for memory, in bytes. Upstream's `DefaultMemoryRequest`.
pub const DEFAULT_MEMORY_REQUEST: i64 = 200 * 1024 * 1024;

pub const CPU: &str = "cpu";
pub const MEMORY: &str = "memory";
pub const EPHEMERAL_STORAGE: &str = "ephemeral-storage";
pub const PODS: &str = "pods";

/// An amount of every resource.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resources {
    pub milli_cpu: i64,
    pub memory: i64,
    pub ephemeral_storage: i64,
    /// Everything else (extended resources, huge pages), sorted by name.
    pub scalars: Vec<(Arc<str>, i64)>,
}

impl Resources {
    /// The amounts in an API map. What is not a quantity counts for nothing: the API server lets none in.
    pub fn parse(amounts: &StringMap) -> Self {
        let mut out = Resources::default();
        for (name, text) in amounts {
            let Ok(amount) = Quantity::parse(text) else { continue };
            match name.as_str() {
                CPU => out.milli_cpu = amount.milli_value(),
                MEMORY => out.memory = amount.value(),
                EPHEMERAL_STORAGE => out.ephemeral_storage = amount.value(),
                PODS => {}
                // A `BTreeMap` iterates in order, which keeps `scalars` sorted.
                _ => out.scalars.push((Arc::from(name.as_str()), amount.value())),
            }
        }
        out
    }

    /// The amount of one resource, CPU in thousandths.
    pub fn get(&self, name: &str) -> i64 {
        match name {
            CPU => self.milli_cpu,
            MEMORY => self.memory,
            EPHEMERAL_STORAGE => self.ephemeral_storage,
            _ => self.scalars.iter().find(|(n, _)| &**n == name).map_or(0, |(_, amount)| *amount),
        }
    }

    /// The names of all resources that are counted here.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        [CPU, MEMORY, EPHEMERAL_STORAGE].into_iter().chain(self.scalars.iter().map(|(name, _)| &**name))
    }

    pub fn is_zero(&self) -> bool {
        self.milli_cpu == 0 && self.memory == 0 && self.ephemeral_storage == 0 && self.scalars.is_empty()
    }

    /// Adds `other`, `sign` times.
    pub fn add(&mut self, other: &Resources, sign: i64) {
        self.milli_cpu += sign * other.milli_cpu;
        self.memory += sign * other.memory;
        self.ephemeral_storage += sign * other.ephemeral_storage;
        for (name, amount) in &other.scalars {
            *self.scalar(name) += sign * amount;
        }
    }

    fn raise_to(&mut self, other: &Resources) {
        self.milli_cpu = self.milli_cpu.max(other.milli_cpu);
        self.memory = self.memory.max(other.memory);
        self.ephemeral_storage = self.ephemeral_storage.max(other.ephemeral_storage);
        for (name, amount) in &other.scalars {
            let mine = self.scalar(name);
            *mine = (*mine).max(*amount);
        }
    }

    fn scalar(&mut self, name: &Arc<str>) -> &mut i64 {
        let at = match self.scalars.binary_search_by(|(n, _)| n.cmp(name)) {
            Ok(at) => at,
            Err(at) => {
                self.scalars.insert(at, (name.clone(), 0));
                at
            }
        };
        &mut self.scalars[at].1
    }
}

/// What a pod asks of a node, and what it counts for when nodes are compared.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PodRequests {
    pub requests: Resources,
    /// As `requests.milli_cpu`, with [`DEFAULT_MILLI_CPU_REQUEST`] for each container that asks for none.
    pub nonzero_milli_cpu: i64,
    /// As `requests.memory`, with [`DEFAULT_MEMORY_REQUEST`] for each container that asks for none.
    pub nonzero_memory: i64,
}

impl PodRequests {
    pub fn of(spec: &PodSpec) -> Self {
        let requests = requests(spec, |_| {});
        let nonzero = requests_with_defaults(spec);
        PodRequests { requests, nonzero_milli_cpu: nonzero.milli_cpu, nonzero_memory: nonzero.memory }
    }
}

fn requests_with_defaults(spec: &PodSpec) -> Resources {
    requests(spec, |of_container| {
        if of_container.milli_cpu == 0 {
            of_container.milli_cpu = DEFAULT_MILLI_CPU_REQUEST;
        }
        if of_container.memory == 0 {
            of_container.memory = DEFAULT_MEMORY_REQUEST;
        }
    })
}

fn requests(spec: &PodSpec, adjust: impl Fn(&mut Resources)) -> Resources {
    let of = |container: &Container| {
        let mut amount = Resources::parse(&container.resources.requests);
        adjust(&mut amount);
        amount
    };
    let mut total = Resources::default();
    for container in &spec.containers {
        total.add(&of(container), 1);
    }
    if !spec.init_containers.is_empty() {
        // A sidecar (an init container that always restarts) runs beside everything that starts after it.
        let mut sidecars = Resources::default();
        let mut on_the_way = Resources::default();
        for container in &spec.init_containers {
            let mut amount = of(container);
            if container.restart_policy.as_deref() == Some("Always") {
                sidecars.add(&amount, 1);
                amount = sidecars.clone();
            } else {
                amount.add(&sidecars, 1);
            }
            on_the_way.raise_to(&amount);
        }
        total.add(&sidecars, 1);
        total.raise_to(&on_the_way);
    }
    if let Some(of_pod) = &spec.resources {
        let of_pod_amount = Resources::parse(&of_pod.requests);
        for name in of_pod.requests.keys() {
            match name.as_str() {
                CPU => total.milli_cpu = of_pod_amount.milli_cpu,
                MEMORY => total.memory = of_pod_amount.memory,
                _ => {
                    if let Some((name, amount)) = of_pod_amount.scalars.iter().find(|(n, _)| **n == **name) {
                        *total.scalar(name) = *amount;
                    }
                }
            }
        }
    }
    if !spec.overhead.is_empty() {
        total.add(&Resources::parse(&spec.overhead), 1);
    }
    total
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::objects::ResourceRequirements;

    fn container(cpu: &str, restart: Option<&str>) -> Container {
        let requests = if cpu.is_empty() { StringMap::new() } else { [("cpu".to_owned(), cpu.to_owned())].into() };
        Container {
            resources: ResourceRequirements { requests },
            restart_policy: restart.map(str::to_owned),
            ..Container::default()
        }
    }

    #[test]
    fn a_pod_asks_for_its_containers_or_its_init_containers() {
        // Init containers, containers, expected milli-CPU.
        type Init = Vec<(&'static str, Option<&'static str>)>;
        let table: Vec<(Init, Vec<&str>, i64)> = vec![
            (vec![], vec!["100m", "1"], 1100),
            (vec![("3", None)], vec!["100m", "1"], 3000),
            (vec![("1", Some("Always"))], vec!["1"], 2000),
            (vec![("1", Some("Always")), ("4", None)], vec!["1"], 5000),
            (vec![("4", None), ("1", Some("Always"))], vec!["1"], 4000),
        ];
        for (init, containers, expected) in table {
            let spec = PodSpec {
                init_containers: init.iter().map(|(cpu, restart)| container(cpu, *restart)).collect(),
                containers: containers.iter().map(|cpu| container(cpu, None)).collect(),
                ..PodSpec::default()
            };
            assert_eq!(PodRequests::of(&spec).requests.milli_cpu, expected, "{init:?} {containers:?}");
        }
    }

    #[test]
    fn containers_without_requests_count_for_something_in_scores() {
        let spec = PodSpec { containers: vec![container("", None), container("1", None)], ..PodSpec::default() };
        let requests = PodRequests::of(&spec);
        assert_eq!((requests.requests.milli_cpu, requests.nonzero_milli_cpu), (1000, 1100));
        assert_eq!((requests.requests.memory, requests.nonzero_memory), (0, 2 * DEFAULT_MEMORY_REQUEST));
    }
}
