//! Cgroups of QoS classes and pods, in hierarchies of version 1 and 2.
//!
//! Version is detected at start. With the `systemd` driver only names are made: systemd makes the slices.
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use k8s_openapi::api::core::v1::Pod;

use crate::config::Config;
use crate::resources::{self, Amounts, QUOTA_PERIOD_US, Qos};
use crate::spec;

const MOUNT: &str = "/sys/fs/cgroup";
const V1_CONTROLLERS: [&str; 6] = ["cpu", "memory", "pids", "cpuset", "blkio", "devices"];

/// How this host keeps cgroups.
pub struct Cgroups {
    mount: PathBuf,
    v2: bool,
    systemd: bool,
    enabled: bool,
    /// `<cgroupRoot>/kubepods`.
    top: String,
    cpu_cfs_quota: bool,
    pod_pids_limit: Option<i64>,
}

impl Cgroups {
    pub fn detect(config: &Config, driver: &str) -> Cgroups {
        Cgroups::at(Path::new(MOUNT), config, driver)
    }

    fn at(mount: &Path, config: &Config, driver: &str) -> Cgroups {
        Cgroups {
            mount: mount.to_owned(),
            v2: mount.join("cgroup.controllers").exists(),
            systemd: driver == "systemd",
            enabled: config.cgroups_per_qos,
            top: format!("{}/kubepods", config.cgroup_root),
            cpu_cfs_quota: config.cpu_cfs_quota,
            pod_pids_limit: config.pod_pids_limit,
        }
    }

    pub fn is_v1(&self) -> bool {
        !self.v2
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
            true => vec![self.mount.join(name)],
            false => V1_CONTROLLERS
                .iter()
                .map(|controller| self.mount.join(controller))
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
                enable_controllers(&self.mount, &folder);
            }
            fs::create_dir_all(&folder)?;
            inherit_cpuset(&self.mount, &folder);
        }
        Ok(())
    }

    fn set(&self, cgroup: &str, controller: &str, file: &str, value: &str) -> io::Result<()> {
        let name = cgroup.trim_start_matches('/');
        let mount = if self.v2 { self.mount.clone() } else { self.mount.join(controller) };
        if !mount.exists() {
            return Ok(());
        }
        fs::write(mount.join(name).join(file), value)
    }

    /// Makes `kubepods` and the QoS classes below it.
    ///
    /// # Errors
    /// The hierarchy cannot be written.
    pub fn make_top(&self, config: &Config, machine: Amounts) -> io::Result<()> {
        let reserved = &config.reserved;
        if !self.enabled || self.systemd {
            return Ok(());
        }
        for class in ["", "/burstable", "/besteffort"] {
            self.make(&format!("{}{class}", self.top))?;
        }
        self.set_shares(&format!("{}/besteffort", self.top), 2)?;
        // Pods together get what is not reserved (KubeletConfiguration `enforceNodeAllocatable: [pods]`); what hard
        // eviction keeps free is for eviction to defend, not for the cgroup.
        self.set_shares(&self.top, resources::shares(machine.cpu_milli - reserved.cpu_milli))?;
        if !config.enforce_pods {
            return Ok(());
        }
        if reserved.pids > 0 {
            let (most, _) = crate::server::node_usage::processes();
            self.set(&self.top, "pids", "pids.max", &(most - reserved.pids).max(1).to_string())?;
        }
        self.set_memory(&self.top, (machine.memory_bytes - reserved.memory_bytes).max(0))
    }

    /// The class of burstable pods gets CPU time as all its pods together asked for.
    ///
    /// # Errors
    /// The hierarchy cannot be written.
    pub fn set_burstable(&self, cpu_milli: i64) -> io::Result<()> {
        if !self.enabled || self.systemd {
            return Ok(());
        }
        self.set_shares(&format!("{}/burstable", self.top), resources::shares(cpu_milli))
    }

    /// (working set, limit) of all pods together, in bytes, if they have a limit.
    pub fn pods_memory(&self) -> Option<(i64, i64)> {
        if !self.enabled || self.systemd {
            return None;
        }
        let (controller, limit, used, cache) = match self.v2 {
            true => ("", "memory.max", "memory.current", "inactive_file "),
            false => ("memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file "),
        };
        let folder = self.mount.join(controller).join(self.top.trim_start_matches('/'));
        let number = |file: &str| fs::read_to_string(folder.join(file)).ok()?.trim().parse::<i64>().ok();
        let stat = fs::read_to_string(folder.join("memory.stat")).ok()?;
        let cache = stat.lines().find_map(|line| line.strip_prefix(cache)?.parse::<i64>().ok()).unwrap_or(0);
        Some((number(used)?.saturating_sub(cache).max(0), number(limit)?))
    }

    fn set_memory(&self, cgroup: &str, bytes: i64) -> io::Result<()> {
        let file = if self.v2 { "memory.max" } else { "memory.limit_in_bytes" };
        self.set(cgroup, "memory", file, &bytes.to_string())
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
        if let Some(limit) = self.pod_pids_limit {
            self.set(&cgroup, "pids", "pids.max", &limit.to_string())?;
        }
        let (cpu, memory) = resources::pod_limits(pod);
        self.set_shares(&cgroup, resources::shares(resources::pod_requests(pod).cpu_milli))?;
        // Each is tried whatever came of the other: of two limits one may go up while the other cannot go down yet.
        let quota = match cpu.filter(|_| self.cpu_cfs_quota).map(resources::quota) {
            Some(quota) => self.set_quota(&cgroup, quota),
            None => Ok(()),
        };
        let memory = memory.map_or(Ok(()), |bytes| self.set_memory(&cgroup, bytes));
        quota.and(memory)
    }

    fn set_quota(&self, cgroup: &str, quota: i64) -> io::Result<()> {
        if self.v2 {
            return self.set(cgroup, "cpu", "cpu.max", &format!("{quota} {QUOTA_PERIOD_US}"));
        }
        self.set(cgroup, "cpu", "cpu.cfs_period_us", &QUOTA_PERIOD_US.to_string())?;
        self.set(cgroup, "cpu", "cpu.cfs_quota_us", &quota.to_string())
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
fn enable_controllers(mount: &Path, folder: &Path) {
    let mut above: Vec<&Path> = folder.ancestors().skip(1).take_while(|p| p.starts_with(mount)).collect();
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
fn inherit_cpuset(mount: &Path, folder: &Path) {
    let root = mount.join("cpuset");
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reserved::Reserved;

    const POD: &str = "{metadata: {uid: u}, spec: {overhead: {cpu: 100m}, containers: [
        {name: a, resources: {requests: {cpu: 400m, memory: 8Mi}, limits: {cpu: 1, memory: 16Mi}}},
        {name: b, resources: {requests: {cpu: 500m, memory: 8Mi}, limits: {cpu: 500m, memory: 16Mi}}}]}}";

    /// What stands in the files after the classes and one pod are made; the folder only looks like a cgroup mount.
    fn check(v2: bool, want: &[(&str, &str)]) {
        let dir = tempfile::tempdir().expect("a folder");
        match v2 {
            true => fs::write(dir.path().join("cgroup.controllers"), "cpu memory").expect("written"),
            false => {
                ["cpu", "memory", "pids"].into_iter().for_each(|c| fs::create_dir(dir.path().join(c)).expect("made"))
            }
        }
        let mut config = crate::config::load(&crate::Flags::default()).expect("defaults");
        config.reserved = Reserved { cpu_milli: 1000, memory_bytes: 1 << 20, ..Reserved::default() };
        config.pod_pids_limit = Some(64);
        let cgroups = Cgroups::at(dir.path(), &config, "cgroupfs");
        cgroups.make_top(&config, Amounts { cpu_milli: 4000, memory_bytes: 1 << 30 }).expect("made");
        let pod = serde_json::from_value(apimachinery::codec::yaml::parse(POD).expect("yaml")).expect("a pod");
        cgroups.make_pod(&pod).expect("made");
        cgroups.set_burstable(resources::pod_requests(&pod).cpu_milli).expect("set");
        for (file, value) in want {
            assert_eq!(fs::read_to_string(dir.path().join(file)).ok().as_deref(), Some(*value), "{file}");
        }
    }

    #[test]
    fn values_of_version_1() {
        check(
            false,
            &[
                ("cpu/kubepods/cpu.shares", "3072"),
                ("memory/kubepods/memory.limit_in_bytes", "1072693248"),
                ("cpu/kubepods/besteffort/cpu.shares", "2"),
                ("cpu/kubepods/burstable/cpu.shares", "1024"),
                ("cpu/kubepods/burstable/podu/cpu.shares", "1024"),
                ("pids/kubepods/burstable/podu/pids.max", "64"),
                ("cpu/kubepods/burstable/podu/cpu.cfs_period_us", "100000"),
                ("cpu/kubepods/burstable/podu/cpu.cfs_quota_us", "160000"),
                ("memory/kubepods/burstable/podu/memory.limit_in_bytes", "33554432"),
            ],
        );
    }

    #[test]
    fn values_of_version_2() {
        check(
            true,
            &[
                ("kubepods/cpu.weight", "118"),
                ("kubepods/memory.max", "1072693248"),
                ("kubepods/besteffort/cpu.weight", "1"),
                ("kubepods/burstable/cpu.weight", "39"),
                ("kubepods/burstable/podu/cpu.weight", "39"),
                ("kubepods/burstable/podu/pids.max", "64"),
                ("kubepods/burstable/podu/cpu.max", "160000 100000"),
                ("kubepods/burstable/podu/memory.max", "33554432"),
            ],
        );
    }
}
