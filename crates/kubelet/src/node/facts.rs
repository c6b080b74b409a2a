//! What the machine is: gathered once, it does not change while we run.
use std::fs;

use cri::Runtime;

use crate::resources::Amounts;

/// The version of the API that this kubelet was written for.
pub const KUBELET_VERSION: &str = concat!("v1.36.2+ferrokube.", env!("CARGO_PKG_VERSION"));

/// Capacity and identity of the machine.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Facts {
    pub cpus: i64,
    pub memory_bytes: i64,
    pub ephemeral_storage_bytes: i64,
    /// (page size in bytes, bytes reserved)
    pub huge_pages: Vec<(i64, i64)>,
    pub machine_id: String,
    pub system_uuid: String,
    pub boot_id: String,
    pub kernel_version: String,
    pub os_image: String,
    pub runtime_version: String,
    pub architecture: &'static str,
    pub swap_bytes: i64,
}

impl Facts {
    /// CPU and memory, as pods ask for them.
    pub fn amounts(&self) -> Amounts {
        Amounts { cpu_milli: self.cpus * 1000, memory_bytes: self.memory_bytes }
    }
}

fn line(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default().trim().to_owned()
}

/// A field of `/proc/meminfo`, in bytes.
pub fn memory(text: &str, field: &str) -> i64 {
    let found = text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    found.and_then(|rest| rest.trim().trim_end_matches("kB").trim().parse::<i64>().ok()).unwrap_or(0) * 1024
}

fn os_image(os_release: &str) -> String {
    let pretty = os_release.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="));
    pretty.map(|name| name.trim_matches('"').to_owned()).unwrap_or_else(|| "Linux".into())
}

fn huge_pages() -> Vec<(i64, i64)> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/sys/kernel/mm/hugepages").into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let kilobytes =
            name.strip_prefix("hugepages-").and_then(|n| n.strip_suffix("kB")).and_then(|n| n.parse::<i64>().ok());
        let count = line(&entry.path().join("nr_hugepages").to_string_lossy()).parse::<i64>().unwrap_or(0);
        found.extend(kilobytes.map(|kb| (kb * 1024, kb * 1024 * count)));
    }
    found.sort_unstable();
    found
}

/// Look at the machine and the runtime.
pub async fn gather(runtime: &dyn Runtime, root_dir: &std::path::Path) -> Facts {
    let meminfo = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let version = runtime.version().await.map(|v| format!("{}://{}", v.runtime_name, v.runtime_version));
    let disk = rustix::fs::statvfs(root_dir).map(|s| s.f_blocks.saturating_mul(s.f_frsize)).unwrap_or(0);
    Facts {
        cpus: std::thread::available_parallelism().map_or(1, |n| i64::try_from(n.get()).unwrap_or(1)),
        memory_bytes: memory(&meminfo, "MemTotal"),
        ephemeral_storage_bytes: i64::try_from(disk).unwrap_or(i64::MAX),
        huge_pages: huge_pages(),
        machine_id: line("/etc/machine-id"),
        system_uuid: match line("/sys/class/dmi/id/product_uuid") {
            none if none.is_empty() => line("/etc/machine-id"),
            uuid => uuid,
        },
        boot_id: line("/proc/sys/kernel/random/boot_id"),
        kernel_version: line("/proc/sys/kernel/osrelease"),
        os_image: os_image(&fs::read_to_string("/etc/os-release").unwrap_or_default()),
        runtime_version: version.unwrap_or_else(|_| "://".into()),
        architecture: if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" },
        swap_bytes: memory(&meminfo, "SwapTotal"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machines_files() {
        assert_eq!(memory("MemTotal:       16 kB\nMemFree: 3 kB\n", "MemTotal"), 16_384);
        assert_eq!(memory("", "MemTotal"), 0);
        assert_eq!(
            os_image("NAME=\"x\"\nPRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\n"),
            "Debian GNU/Linux 12 (bookworm)"
        );
    }
}
