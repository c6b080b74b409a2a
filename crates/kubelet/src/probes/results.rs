//! The latest verdict of each probe of each container.
use std::collections::HashMap;

use parking_lot::RwLock;

/// The three probes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ProbeKind {
    Startup,
    Liveness,
    Readiness,
}

impl ProbeKind {
    /// As it stands in events: `Liveness probe failed: …`.
    pub fn name(self) -> &'static str {
        match self {
            ProbeKind::Startup => "Startup",
            ProbeKind::Liveness => "Liveness",
            ProbeKind::Readiness => "Readiness",
        }
    }
}

/// Verdicts by container id. Bounded by the containers that are probed; their probers remove them.
#[derive(Debug, Default)]
pub struct Results(RwLock<HashMap<(String, ProbeKind), bool>>);

impl Results {
    /// The verdict, if the probe has one yet.
    pub fn get(&self, container_id: &str, kind: ProbeKind) -> Option<bool> {
        let map = self.0.read();
        if map.is_empty() {
            return None;
        }
        map.get(&(container_id.to_owned(), kind)).copied()
    }

    /// Records a verdict; returns whether it changed.
    pub fn set(&self, container_id: &str, kind: ProbeKind, good: bool) -> bool {
        self.0.write().insert((container_id.to_owned(), kind), good) != Some(good)
    }

    /// Forgets a container's verdict.
    pub fn remove(&self, container_id: &str, kind: ProbeKind) {
        self.0.write().remove(&(container_id.to_owned(), kind));
    }
}
