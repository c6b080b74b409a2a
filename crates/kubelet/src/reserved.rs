//! What of the machine is not for pods: `kubeReserved`, `systemReserved`, and what hard eviction keeps free. Pure.
use std::collections::BTreeMap;

use apimachinery::quantity::Quantity;
use serde::Serialize;

use crate::resources::Amounts;

/// An eviction threshold, of whatever it is measured on.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub enum Threshold {
    Bytes(i64),
    Percent(f64),
}

impl Threshold {
    /// # Errors
    /// Neither a quantity nor a percentage.
    pub fn parse(text: &str) -> Result<Threshold, String> {
        let wrong = || format!("invalid eviction threshold {text:?}");
        match text.strip_suffix('%') {
            Some(number) => {
                let percent = number.parse::<f64>().ok().filter(|p| (0.0..=100.0).contains(p));
                percent.map(Threshold::Percent).ok_or_else(wrong)
            }
            None => Quantity::parse(text).map(|q| Threshold::Bytes(q.value())).map_err(|_| wrong()),
        }
    }

    /// In bytes of a `capacity` in bytes.
    #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation)]
    pub fn of(self, capacity: i64) -> i64 {
        match self {
            Threshold::Bytes(bytes) => bytes,
            Threshold::Percent(percent) => (capacity as f64 * percent / 100.0) as i64,
        }
    }
}

/// Reservations and thresholds. The default is upstream's: nothing reserved, 100 MiB of memory and a tenth of the
/// disk kept free.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Reserved {
    pub cpu_milli: i64,
    pub memory_bytes: i64,
    pub disk_bytes: i64,
    pub pids: i64,
    pub memory_threshold: Threshold,
    pub disk_threshold: Threshold,
}

impl Default for Reserved {
    fn default() -> Self {
        Reserved {
            cpu_milli: 0,
            memory_bytes: 0,
            disk_bytes: 0,
            pids: 0,
            memory_threshold: Threshold::Bytes(100 << 20),
            disk_threshold: Threshold::Percent(10.0),
        }
    }
}

type Map = BTreeMap<String, String>;

impl Reserved {
    /// From the configuration's maps.
    ///
    /// # Errors
    /// A resource that cannot be reserved, or a quantity or threshold that is none.
    pub fn parse(reservations: [&Option<Map>; 2], eviction_hard: Option<&Map>) -> Result<Reserved, String> {
        let mut all = Reserved::default();
        for (name, text) in reservations.into_iter().flatten().flatten() {
            let quantity = Quantity::parse(text).map_err(|e| format!("reserved {name} {text:?}: {e}"))?;
            let (sum, more) = match name.as_str() {
                "cpu" => (&mut all.cpu_milli, quantity.milli_value()),
                "memory" => (&mut all.memory_bytes, quantity.value()),
                "ephemeral-storage" => (&mut all.disk_bytes, quantity.value()),
                "pid" => (&mut all.pids, quantity.value()),
                _ => return Err(format!("cannot reserve {name:?} resource")),
            };
            if more < 0 {
                return Err(format!("resource quantity for {name:?} cannot be negative: {text}"));
            }
            *sum = sum.saturating_add(more);
        }
        let Some(given) = eviction_hard else { return Ok(all) };
        // A map replaces the defaults as a whole.
        (all.memory_threshold, all.disk_threshold) = (Threshold::Bytes(0), Threshold::Bytes(0));
        for (signal, text) in given {
            let threshold = Threshold::parse(text)?;
            match signal.as_str() {
                "memory.available" => all.memory_threshold = threshold,
                "nodefs.available" => all.disk_threshold = threshold,
                "nodefs.inodesFree"
                | "imagefs.available"
                | "imagefs.inodesFree"
                | "containerfs.available"
                | "containerfs.inodesFree"
                | "pid.available"
                | "allocatableMemory.available" => {}
                _ => return Err(format!("unknown eviction signal {signal:?}")),
            }
        }
        Ok(all)
    }

    /// What is left for pods, of a machine that has `capacity`.
    pub fn allocatable(&self, capacity: Amounts) -> Amounts {
        let memory = capacity.memory_bytes - self.memory_bytes - self.memory_threshold.of(capacity.memory_bytes);
        Amounts { cpu_milli: (capacity.cpu_milli - self.cpu_milli).max(0), memory_bytes: memory.max(0) }
    }

    /// The same of the disk.
    pub fn allocatable_disk(&self, capacity_bytes: i64) -> i64 {
        (capacity_bytes - self.disk_bytes - self.disk_threshold.of(capacity_bytes)).max(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(list: &[(&str, &str)]) -> Option<Map> {
        Some(list.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect())
    }

    #[test]
    fn reservations_add_up_and_thresholds_replace_the_defaults() {
        let machine = Amounts { cpu_milli: 4000, memory_bytes: 1 << 30 };
        let default = Reserved::default().allocatable(machine);
        assert_eq!(default, Amounts { cpu_milli: 4000, memory_bytes: (1 << 30) - (100 << 20) });
        assert_eq!(Reserved::default().allocatable_disk(1000), 900);
        let system = map(&[("cpu", "500m"), ("memory", "24Mi")]);
        let reserved = Reserved::parse(
            [&map(&[("cpu", "1"), ("ephemeral-storage", "100")]), &system],
            map(&[("memory.available", "100Mi"), ("nodefs.available", "20%")]).as_ref(),
        )
        .expect("valid");
        assert_eq!(reserved.allocatable(machine), Amounts { cpu_milli: 2500, memory_bytes: (1 << 30) - (124 << 20) });
        assert_eq!(reserved.allocatable_disk(1000), 700);
        for (reservation, eviction) in
            [(map(&[("gpu", "1")]), None), (None, map(&[("x", "1")])), (None, map(&[("memory.available", "200%")]))]
        {
            assert!(Reserved::parse([&reservation, &None], eviction.as_ref()).is_err());
        }
    }
}
