//! What the whole node uses, from the kernel: processor time, memory, file systems, processes.
use std::path::Path;

use jiff::Timestamp;
use parking_lot::Mutex;

/// A rate over less than that is noise.
const SHORTEST: f64 = 0.5;

/// One look at the node. Memory in bytes, processor time in nanoseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Usage {
    pub time: Timestamp,
    pub cpu_total_ns: u64,
    /// Nanoseconds of processor time per second; known from the second look on.
    pub cpu_nano_cores: Option<u64>,
    pub memory: Memory,
}

#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Memory {
    pub capacity: u64,
    pub available: u64,
    pub usage: u64,
    pub working_set: u64,
    pub rss: u64,
}

/// Space of a file system, in bytes and inodes.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Space {
    pub available: u64,
    pub capacity: u64,
    pub used: u64,
    pub inodes_free: u64,
    pub inodes: u64,
}

/// Remembers the last look, of which rates are made.
#[derive(Default)]
pub struct Sampler(Mutex<Option<Usage>>);

impl Sampler {
    pub fn look(&self) -> Usage {
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let cpu_total_ns =
            cgroup_cpu(&read("/sys/fs/cgroup/cpu.stat")).unwrap_or_else(|| stat_cpu(&read("/proc/stat")));
        let mut usage = Usage {
            time: Timestamp::now(),
            cpu_total_ns,
            cpu_nano_cores: None,
            memory: memory(&read("/proc/meminfo")),
        };
        let mut last = self.0.lock();
        if let Some(earlier) = *last {
            let seconds = usage.time.duration_since(earlier.time).as_secs_f64();
            if seconds < SHORTEST {
                usage.cpu_nano_cores = earlier.cpu_nano_cores;
                return usage;
            }
            let spent = usage.cpu_total_ns.saturating_sub(earlier.cpu_total_ns) as f64;
            usage.cpu_nano_cores = Some((spent / seconds) as u64);
        }
        *last = Some(usage);
        usage
    }
}

/// `usage_usec` of a cgroup v2's `cpu.stat`.
fn cgroup_cpu(text: &str) -> Option<u64> {
    let value = text.lines().find_map(|line| line.strip_prefix("usage_usec "))?;
    value.trim().parse::<u64>().ok().map(|micros| micros * 1000)
}

/// Time that was not idle, of `/proc/stat` (in hundredths of a second).
fn stat_cpu(text: &str) -> u64 {
    const NANOS: u64 = 10_000_000;
    const IDLE: [usize; 2] = [3, 4];
    let line = text.lines().find_map(|line| line.strip_prefix("cpu ")).unwrap_or_default();
    // Guest time is already part of user time.
    let fields = line.split_whitespace().take(8).enumerate().filter(|(at, _)| !IDLE.contains(at));
    fields.filter_map(|(_, field)| field.parse::<u64>().ok()).sum::<u64>() * NANOS
}

/// Of `/proc/meminfo`; what is left is what is neither used nor active file cache, as upstream counts it.
pub fn memory(meminfo: &str) -> Memory {
    let of = |name: &str| {
        let line = meminfo.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0) * 1024
    };
    let capacity = of("MemTotal");
    let usage = capacity.saturating_sub(of("MemFree"));
    let working_set = usage.saturating_sub(of("Inactive(file)"));
    Memory { capacity, usage, working_set, available: capacity.saturating_sub(working_set), rss: of("AnonPages") }
}

/// The space of the file system on which `path` lies.
pub fn space(path: &Path) -> Option<Space> {
    let found = rustix::fs::statvfs(path).ok()?;
    let bytes = |blocks: u64| blocks.saturating_mul(found.f_frsize);
    Some(Space {
        available: bytes(found.f_bavail),
        capacity: bytes(found.f_blocks),
        used: bytes(found.f_blocks.saturating_sub(found.f_bfree)),
        inodes_free: found.f_ffree,
        inodes: found.f_files,
    })
}

/// A network interface and what went through it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Interface {
    pub name: String,
    pub received: u64,
    pub receive_errors: u64,
    pub sent: u64,
    pub send_errors: u64,
}

/// The interfaces in `/proc/net/dev`, but for the loopback and the ends of pods.
pub fn interfaces(text: &str) -> Vec<Interface> {
    let one = |line: &str| {
        let (name, numbers) = line.split_once(':')?;
        let name = name.trim();
        let numbers: Vec<u64> = numbers.split_whitespace().map(|n| n.parse().unwrap_or(0)).collect();
        let at = |index: usize| numbers.get(index).copied().unwrap_or(0);
        let counts = name != "lo" && !name.starts_with("veth");
        counts.then(|| Interface {
            name: name.to_owned(),
            received: at(0),
            receive_errors: at(2),
            sent: at(8),
            send_errors: at(10),
        })
    };
    text.lines().filter_map(one).collect()
}

/// The interface of the route to everywhere in `/proc/net/route`.
pub fn default_interface(text: &str) -> Option<String> {
    text.lines().find_map(|line| {
        let mut words = line.split_whitespace();
        let name = words.next()?;
        (words.next()? == "00000000").then(|| name.to_owned())
    })
}

/// How many processes there may be, and how many there are.
pub fn processes() -> (i64, i64) {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let most = read("/proc/sys/kernel/pid_max").trim().parse().unwrap_or(0);
    let average = read("/proc/loadavg");
    let present = average.split_whitespace().nth(3).and_then(|of| of.split_once('/')?.1.parse().ok());
    (most, present.unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_files() {
        assert_eq!(cgroup_cpu("usage_usec 12\nuser_usec 3\n"), Some(12_000));
        assert_eq!(cgroup_cpu(""), None);
        assert_eq!(stat_cpu("cpu  1 2 3 100 200 4 5 6 7 8\ncpu0 9\n"), 21 * 10_000_000);
        assert_eq!(default_interface("Iface Destination\neth0 0000000A x\neth1 00000000 x\n").as_deref(), Some("eth1"));
        let dev = "Inter-|\n face |bytes\n lo: 1 1\neth0: 10 1 2 0 0 0 0 0 20 1 3 0 0 0 0 0\n";
        let eth0 = Interface { name: "eth0".into(), received: 10, receive_errors: 2, sent: 20, send_errors: 3 };
        assert_eq!(interfaces(dev), [eth0]);
        let found =
            memory("MemTotal: 100 kB\nMemFree: 40 kB\nInactive: 9 kB\nInactive(file): 10 kB\nAnonPages: 5 kB\n");
        let wanted =
            Memory { capacity: 100 << 10, usage: 60 << 10, working_set: 50 << 10, available: 50 << 10, rss: 5 << 10 };
        assert_eq!(found, wanted);
    }
}
