//! Cgroups of QoS classes and pods, in hierarchies of version 1 and 2.
//!
//! Version is detected at start. With the `systemd` driver only names are made: systemd makes the slices.
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use k8s_openapi::api::core::v1::Pod;

use crate::config::Config;
use crate::resources::{self, QUOTA_PERIOD_US, Qos};
use crate::spec;

const MOUNT: &str = "/sys/fs/cgroup";
const V1_CONTROLLERS: [&str; 6] = ["cpu", "memory", "pids", "cpuset", "blkio", "devices"];

/// How this host keeps cgroups.
pub struct Cgroups {
    v2: bool,
    systemd: bool,
    enabled: bool,
    /// `<cgroupRoot>/kubepods`.
    top: String,
    cpu_cfs_quota: bool,
}

impl Cgroups {
    pub fn detect(config: &Config, driver: &str) -> Cgroups {
        Cgroups {
            v2: Path::new(MOUNT).join("cgroup.controllers").exists(),
            systemd: driver == "systemd",
            enabled: config.cgroups_per_qos,
            top: format!("{}/kubepods", config.cgroup_root),
            cpu_cfs_quota: config.cpu_cfs_quota,
        }
    }

    /// The sandbox's cgroup parent, in the form the runtime expects of the driver in use.
    pub fn parent(&self, pod: &Pod) -> String {
        if !self.enabled {
            return String::new();
        }
        let uid = spec::uid(pod);
        let class = match resources::qos(pod) {
            Qos::Guaranteed => None,
            Qos::Burstable => Some("burstable"),
            Qos::BestEffort => Some("besteffort"),
        };
        if self.systemd {
            let uid = uid.replace('-', "_");
            return match class {
                Some(class) => format!("kubepods-{class}-pod{uid}.slice"),
                None => format!("kubepods-pod{uid}.slice"),
            };
        }
        match class {
            Some(class) => format!("{}/{class}/pod{uid}", self.top),
            None => format!("{}/pod{uid}", self.top),
        }
    }

    fn folders(&self, cgroup: &str) -> Vec<PathBuf> {
        let name = cgroup.trim_start_matches('/');
        match self.v2 {
            true => vec![Path::new(MOUNT).join(name)],
            false => V1_CONTROLLERS
                .iter()
                .map(|controller| Path::new(MOUNT).join(controller))
                .filter(|mount| mount.exists())
                .map(|mount| mount.join(name))
                .collect(),
        }
    }

    fn make(&self, cgroup: &str) -> io::Result<()> {
        for folder in self.folders(cgroup) {
            if folder.exists() {
                continue;
            }
            if self.v2 {
                enable_controllers(&folder);
            }
            fs::create_dir_all(&folder)?;
            inherit_cpuset(&folder);
        }
        Ok(())
    }

    fn set(&self, cgroup: &str, controller: &str, file: &str, value: &str) -> io::Result<()> {
        let name = cgroup.trim_start_matches('/');
        let mount = if self.v2 { PathBuf::from(MOUNT) } else { Path::new(MOUNT).join(controller) };
        if !mount.exists() {
            return Ok(());
        }
        fs::write(mount.join(name).join(file), value)
    }

    /// Makes `kubepods` and the QoS classes below it.
    ///
    /// # Errors
    /// The hierarchy cannot be written.
    pub fn make_top(&self) -> io::Result<()> {
        if !self.enabled || self.systemd {
            return Ok(());
        }
        for class in ["", "/burstable", "/besteffort"] {
            self.make(&format!("{}{class}", self.top))?;
        }
        self.set_shares(&format!("{}/besteffort", self.top), 2)
    }

    fn set_shares(&self, cgroup: &str, shares: i64) -> io::Result<()> {
        match self.v2 {
            true => self.set(cgroup, "cpu", "cpu.weight", &resources::weight(shares).to_string()),
            false => self.set(cgroup, "cpu", "cpu.shares", &shares.to_string()),
        }
    }

    /// Makes a pod's cgroup with the limits that follow from its containers.
    ///
    /// # Errors
    /// The hierarchy cannot be written.
    pub fn make_pod(&self, pod: &Pod) -> io::Result<()> {
        if !self.enabled || self.systemd {
            return Ok(());
        }
        let cgroup = self.parent(pod);
        self.make(&cgroup)?;
        let (cpu, memory) = resources::pod_limits(pod);
        self.set_shares(&cgroup, resources::shares(resources::pod_requests(pod).cpu_milli))?;
        if let Some(quota) = cpu.filter(|_| self.cpu_cfs_quota).map(resources::quota) {
            match self.v2 {
                true => self.set(&cgroup, "cpu", "cpu.max", &format!("{quota} {QUOTA_PERIOD_US}"))?,
                false => {
                    self.set(&cgroup, "cpu", "cpu.cfs_period_us", &QUOTA_PERIOD_US.to_string())?;
                    self.set(&cgroup, "cpu", "cpu.cfs_quota_us", &quota.to_string())?;
                }
            }
        }
        if let Some(bytes) = memory {
            let file = if self.v2 { "memory.max" } else { "memory.limit_in_bytes" };
            self.set(&cgroup, "memory", file, &bytes.to_string())?;
        }
        Ok(())
    }

    /// Removes the cgroups of a pod, in whichever class it was; what is still in use stays for the next time.
    pub fn remove_pod(&self, uid: &str) {
        if !self.enabled || self.systemd || uid.is_empty() {
            return;
        }
        for class in ["", "/burstable", "/besteffort"] {
            for folder in self.folders(&format!("{}{class}/pod{uid}", self.top)) {
                remove_tree(&folder);
            }
        }
    }
}

/// A v2 folder's children can only use what every folder above hands down.
fn enable_controllers(folder: &Path) {
    let mut above: Vec<&Path> = folder.ancestors().skip(1).take_while(|p| p.starts_with(MOUNT)).collect();
    above.reverse();
    for parent in above {
        if !parent.exists() && fs::create_dir(parent).is_err() {
            return;
        }
        for controller in ["cpu", "memory", "pids", "cpuset", "io"] {
            // Each one alone: a kernel without one of them still gets the others.
            let _ = fs::write(parent.join("cgroup.subtree_control"), format!("+{controller}"));
        }
    }
}

/// A v1 cpuset takes no process until its CPUs and memory nodes are set, from the top down.
fn inherit_cpuset(folder: &Path) {
    let root = Path::new(MOUNT).join("cpuset");
    if !folder.starts_with(&root) {
        return;
    }
    let mut chain: Vec<&Path> = folder.ancestors().take_while(|p| p.starts_with(&root) && *p != root).collect();
    chain.reverse();
    for place in chain {
        for file in ["cpuset.cpus", "cpuset.mems"] {
            let own = fs::read_to_string(place.join(file)).unwrap_or_default();
            if own.trim().is_empty()
                && let Some(value) = place.parent().and_then(|above| fs::read_to_string(above.join(file)).ok())
            {
                let _ = fs::write(place.join(file), value.trim());
            }
        }
    }
}

fn remove_tree(folder: &Path) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_tree(&entry.path());
        }
    }
    let _ = fs::remove_dir(folder);
}
