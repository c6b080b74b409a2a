//! What has to hold before a cluster can start, each with a message that says what to do.
use super::{
    capabilities, containerd,
    layout::{Cluster, Layout},
};
use anyhow::{Context, Result, bail};
use cri::Runtime;
use std::{fs, io::ErrorKind, net::TcpListener, path::Path};

/// What Debian calls the packages that hold the programs we run.
const PACKAGES: [(&str, &str); 6] = [
    ("containerd", "containerd"),
    ("containerd-shim-runc-v2", "containerd"),
    ("ctr", "containerd"),
    ("runc", "runc"),
    ("nft", "nftables"),
    ("iptables", "iptables"),
];
/// What only a containerd of our own needs. `ctr` loads our images into any.
const OWN_RUNTIME: [&str; 3] = ["containerd", "containerd-shim-runc-v2", "runc"];
const MIN_FREE_BYTES: u64 = 128 * 1024 * 1024;

fn on_path(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
}

/// # Errors
/// We are not root; `doing` says what that is needed for.
pub fn root(doing: &str) -> Result<()> {
    if !rustix::process::geteuid().is_root() {
        bail!("{doing} a cluster needs root (containers, networks and mounts): run it with sudo");
    }
    Ok(())
}

/// Programs and kernel features.
///
/// # Errors
/// The first thing that is missing, and how to get it.
pub async fn machine(own_runtime: bool) -> Result<()> {
    let denied = capabilities::ours().missing_defaults();
    if own_runtime && !denied.is_empty() {
        bail!(
            "this process may not pass on {}, which every container gets: start it with more privileges (inside of \
             another container, a privileged one)",
            denied.join(", ")
        );
    }
    if !capabilities::ours().has(capabilities::SYS_ADMIN) {
        bail!(
            "this process lacks CAP_SYS_ADMIN, which mounts and namespaces need: start it with more privileges (inside \
             of another container, a privileged one)"
        );
    }
    let mut missing: Vec<&str> = PACKAGES
        .iter()
        .filter(|(program, _)| own_runtime || !OWN_RUNTIME.contains(program))
        .filter(|(program, _)| !on_path(program))
        .map(|(_, package)| *package)
        .collect();
    missing.dedup();
    if own_runtime && containerd::cni_bin_dir().is_none() {
        missing.push("containernetworking-plugins");
    }
    if !missing.is_empty() {
        bail!("these packages are missing: {0}. On Debian: apt-get install -y {0}", missing.join(" "));
    }
    if let Err(error) = network::supported().await {
        bail!("the kernel's nftables cannot be used ({error}): a kernel with nf_tables and CAP_NET_ADMIN are needed");
    }
    Ok(())
}

/// The container runtime asked for is there.
///
/// # Errors
/// The endpoint is no unix socket, or nothing answers there.
pub async fn runtime_answers(endpoint: &str) -> Result<()> {
    let flag = format!("--container-runtime-endpoint {endpoint}");
    let client = cri::Client::new(endpoint).with_context(|| flag.clone())?;
    if let Err(error) = client.version().await {
        bail!("{flag}: the runtime does not answer ({error}): is it running, with its CRI plugin enabled?");
    }
    Ok(())
}

/// The data directory lies in no other cluster's, which would go with that one.
///
/// # Errors
/// It does.
pub fn apart(layout: &Layout) -> Result<()> {
    let above = layout.root().ancestors().skip(1).filter_map(|folder| Layout::new(folder).ok());
    match above.into_iter().find(|above| above.path(super::layout::FILE).exists()) {
        None => Ok(()),
        Some(other) => bail!(
            "{} is inside of another cluster's data directory, {}: choose another --data-dir",
            layout.root().display(),
            other.root().display()
        ),
    }
}

/// The data directory can be written and has room.
///
/// # Errors
/// Read-only, full, or not a directory.
pub fn data_dir(layout: &Layout) -> Result<()> {
    let root = layout.root().display();
    let explain = |error: std::io::Error| match error.kind() {
        ErrorKind::ReadOnlyFilesystem => {
            anyhow::anyhow!("{root} is on a read-only file system: choose another --data-dir")
        }
        ErrorKind::StorageFull => {
            anyhow::anyhow!("the file system of {root} is full: free some space, or choose another --data-dir")
        }
        ErrorKind::PermissionDenied => anyhow::anyhow!("{root} cannot be written: {error}"),
        _ => anyhow::anyhow!("{root} cannot be used as data directory: {error}"),
    };
    fs::create_dir_all(layout.root()).map_err(explain)?;
    let probe = layout.path(".probe");
    fs::write(&probe, [0_u8; 4096]).and_then(|()| fs::remove_file(&probe)).map_err(explain)?;
    let stat = rustix::fs::statvfs(layout.root()).map_err(|e| explain(e.into()))?;
    let free = stat.f_bavail.saturating_mul(stat.f_frsize);
    if free < MIN_FREE_BYTES {
        bail!(
            "the file system of {root} has only {} MB left, {} MB are needed: free some space, or choose another \
             --data-dir",
            free / 1_000_000,
            MIN_FREE_BYTES / 1_000_000
        );
    }
    Ok(())
}

/// Nobody else listens on `port`.
///
/// # Errors
/// Somebody does; `flag` is how to choose another.
pub fn port_free(port: u16, flag: &str) -> Result<()> {
    match TcpListener::bind(("0.0.0.0", port)) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == ErrorKind::AddrInUse => {
            bail!(
                "port {port} is in use: stop what listens there (ss -ltnp 'sport = :{port}'), or choose another with {flag}"
            )
        }
        Err(error) => bail!("port {port} cannot be used: {error}"),
    }
}

/// The first port from `wanted` on that is free and not among `taken`.
pub fn free_port(wanted: u16, taken: &[u16]) -> u16 {
    let mut ports = wanted..=wanted.saturating_add(200);
    ports.find(|port| !taken.contains(port) && port_free(*port, "").is_ok()).unwrap_or(wanted)
}

/// What a new cluster would call its own, and `delete` would take away, belongs to nobody else.
///
/// # Errors
/// A network interface or a control group of that name is there already.
pub fn name_is_free(layout: &Layout, cluster: &Cluster) -> Result<()> {
    if layout.run(&cluster.name).join("owner").exists() {
        // Left behind by this very data directory.
        return Ok(());
    }
    let bridge = cluster.bridge();
    if Path::new("/sys/class/net").join(&bridge).exists() {
        bail!("this machine has a network interface {bridge} already: choose another --name than {}", cluster.name);
    }
    let ours = cluster.cgroup();
    let root = Path::new("/sys/fs/cgroup");
    let hierarchies = fs::read_dir(root).into_iter().flatten().flatten().map(|hierarchy| hierarchy.path());
    let trees = std::iter::once(root.to_owned()).chain(hierarchies);
    match trees.map(|tree| tree.join(ours.trim_start_matches('/'))).find(|group| group.exists()) {
        Some(group) => bail!(
            "this machine has a control group {} already: choose another --name than {}",
            group.display(),
            cluster.name
        ),
        None => Ok(()),
    }
}

/// The run-time folder of a name belongs to one data directory.
///
/// # Errors
/// Another cluster of this name runs from elsewhere.
pub fn name_is_ours(layout: &Layout, name: &str) -> Result<()> {
    let valid = name.len() <= 63
        && name.starts_with(|c: char| c.is_ascii_lowercase())
        && !name.ends_with('-')
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    if !valid {
        bail!("--name {name:?}: lowercase letters, digits and '-', starting with a letter, 63 characters at most");
    }
    match fs::read_to_string(layout.run(name).join("owner")) {
        Ok(owner) if Path::new(&owner) != layout.root() && !Path::new(&owner).exists() => bail!(
            "the files of a cluster called {name} are gone from {owner}, and what else it left on this machine is not: \
             `ferrokube delete --data-dir {owner} --name {name}` takes it away"
        ),
        Ok(owner) if Path::new(&owner) != layout.root() => bail!(
            "a cluster called {name} exists already, in {owner}: choose another --name, or use --data-dir {owner}"
        ),
        _ => Ok(()),
    }
}
