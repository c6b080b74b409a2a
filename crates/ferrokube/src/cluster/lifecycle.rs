//! Stopping and deleting: what runs of a cluster, and what it left in the kernel.
//!
//! Both work without the cluster's process, after a crash too: they go by what the runtime, the mount
//! table and the cgroup tree say. Each step goes on when another has failed; what failed is told.
use super::{
    containerd, daemon, external,
    layout::{Cluster, Layout},
};
use anyhow::{Context, Result, bail};
use cri::{Runtime, v1};
use futures::future::join_all;
use std::{
    ffi::OsString,
    fs,
    io::ErrorKind,
    os::unix::ffi::OsStringExt,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

pub const DAEMON_PATIENCE: Duration = Duration::from_secs(20);
const RUNTIME_PATIENCE: Duration = Duration::from_secs(10);
/// How long pods may take to be stopped, once the cluster's process is gone and starts nothing any more.
const PODS_PATIENCE: Duration = Duration::from_secs(15);
const PODS_PAUSE: Duration = Duration::from_millis(200);
/// How long another's runtime may take to finish, or to undo, what it was asked for last.
const RUNTIME_SETTLES: Duration = Duration::from_secs(2);
/// How long containers may take to end.
const CONTAINER_GRACE_S: i64 = 5;
const CGROUP_ROUNDS: u32 = 20;
const CGROUP_PAUSE: Duration = Duration::from_millis(20);

/// Stops every pod, and removes them when asked to. A container that is just being started can be neither stopped nor
/// removed: it is tried again.
async fn stop_pods(layout: &Layout, cluster: &Cluster, remove: bool) -> Result<()> {
    let deadline = Instant::now() + PODS_PATIENCE;
    loop {
        match stop_pods_once(layout, cluster, remove).await {
            Ok(()) => return Ok(()),
            Err(error) if Instant::now() > deadline => return Err(error),
            Err(error) => tracing::debug!(error = format!("{error:#}"), "stopping pods; trying again"),
        }
        tokio::time::sleep(PODS_PAUSE).await;
    }
}

async fn stop_pods_once(layout: &Layout, cluster: &Cluster, remove: bool) -> Result<()> {
    let client = cri::Client::new(&containerd::endpoint(layout, cluster))?;
    let mut sandboxes = client.list_pod_sandbox(v1::PodSandboxFilter::default()).await?;
    if external::is_used(cluster) {
        sandboxes = ours(layout, &client, sandboxes).await?;
    }
    let containers = client.list_containers(v1::ContainerFilter::default()).await?;
    let running = containers.iter().filter(|c| c.state == v1::ContainerState::ContainerRunning as i32);
    let ours = running.filter(|c| sandboxes.iter().any(|sandbox| sandbox.id == c.pod_sandbox_id));
    join_all(ours.map(|c| client.stop_container(&c.id, CONTAINER_GRACE_S))).await;
    let stopped = join_all(sandboxes.iter().map(async |sandbox| {
        client.stop_pod_sandbox(&sandbox.id).await?;
        if remove { client.remove_pod_sandbox(&sandbox.id).await } else { Ok(()) }
    }));
    for result in stopped.await {
        result?;
    }
    Ok(())
}

/// The pods of this cluster in a runtime that may run others.
async fn ours(layout: &Layout, client: &cri::Client, all: Vec<v1::PodSandbox>) -> Result<Vec<v1::PodSandbox>> {
    let mut ours = Vec::new();
    for sandbox in all {
        let status = client.pod_sandbox_status(&sandbox.id, true).await?;
        if external::is_ours(layout, &status) {
            ours.push(sandbox);
        }
    }
    Ok(ours)
}

/// End the cluster's process, its containers and its runtime. Whether anything ran.
///
/// # Errors
/// Something does not end; the message says what.
pub async fn stop(layout: &Layout, cluster: &Cluster) -> Result<bool> {
    stop_all(layout, cluster, false).await
}

async fn stop_all(layout: &Layout, cluster: &Cluster, remove: bool) -> Result<bool> {
    let had_daemon = daemon::end(layout, DAEMON_PATIENCE)?;
    if external::is_used(cluster) {
        stop_pods(layout, cluster, remove).await.context("stopping pods")?;
        if remove {
            // A pod that the kubelet was just making is in no list before the runtime is done with it.
            tokio::time::sleep(RUNTIME_SETTLES).await;
            stop_pods(layout, cluster, remove).await.context("stopping pods")?;
        }
        return Ok(had_daemon);
    }
    if remove && containerd::left_behind(layout, cluster) {
        // It was killed, or the machine was restarted: only it can tell which sandboxes, networks and mounts there are.
        drop(containerd::ensure(layout, cluster).await.context("starting containerd to take its pods away")?);
    }
    let Some(pid) = containerd::running_pid(layout, cluster) else { return Ok(had_daemon) };
    let pods = stop_pods(layout, cluster, remove).await;
    daemon::end_process(pid, RUNTIME_PATIENCE, || containerd::running_pid(layout, cluster).is_none())
        .context("stopping containerd")?;
    pods.context("stopping pods")?;
    Ok(true)
}

/// As [`stop_all`], when the runtime's own files are gone: it can stop nothing any more, and is ended with all it runs.
fn end_lost(layout: &Layout, cluster: &Cluster) -> Result<()> {
    daemon::end_orphan(layout, DAEMON_PATIENCE)?;
    if let Some(pid) = containerd::running_pid(layout, cluster) {
        daemon::end_process(pid, RUNTIME_PATIENCE, || containerd::running_pid(layout, cluster).is_none())
            .context("stopping containerd")?;
    }
    end_shims(layout, cluster);
    remove_cgroups(cluster);
    forget_networks(&cluster.bridge());
    Ok(())
}

/// Where the CNI library keeps what it has set up.
const CNI_RESULTS: &str = "/var/lib/cni/results";

/// A container's network, as the CNI library has noted it: `cniCacheV1`.
#[derive(serde::Deserialize)]
#[serde(rename_all = "camelCase")]
struct CniResult {
    container_id: String,
    result: CniInterfaces,
}

#[derive(serde::Deserialize)]
struct CniInterfaces {
    #[serde(default)]
    interfaces: Vec<CniInterface>,
}

#[derive(serde::Deserialize)]
struct CniInterface {
    name: String,
    /// The path of the network namespace it is in; empty: the host's.
    #[serde(default)]
    sandbox: String,
}

/// Delete the network namespaces of pods on this bridge, and the notes about them: nobody knows these pods any more.
fn forget_networks(bridge: &str) {
    let entries = fs::read_dir(CNI_RESULTS).into_iter().flatten().flatten();
    let read = |path: PathBuf| Some((serde_json::from_slice(&fs::read(&path).ok()?).ok()?, path));
    let noted: Vec<(CniResult, PathBuf)> = entries.filter_map(|entry| read(entry.path())).collect();
    let lost: Vec<&CniResult> = noted.iter().map(|(noted, _)| noted).filter(|noted| is_on(noted, bridge)).collect();
    for sandbox in lost.iter().flat_map(|noted| &noted.result.interfaces).map(|interface| &interface.sandbox) {
        let Some(name) = Path::new(sandbox).file_name() else { continue };
        match Command::new("ip").args(["netns", "delete"]).arg(name).output() {
            Ok(output) if output.status.success() => {}
            Ok(output) => {
                let why = String::from_utf8_lossy(&output.stderr);
                tracing::warn!(why = why.trim(), sandbox, "deleting a network namespace");
            }
            Err(error) => tracing::warn!(%error, sandbox, "deleting a network namespace"),
        }
    }
    // Each container has one for its loopback too.
    for (_, path) in noted.iter().filter(|(noted, _)| lost.iter().any(|l| l.container_id == noted.container_id)) {
        let _ = fs::remove_file(path);
    }
}

fn is_on(noted: &CniResult, bridge: &str) -> bool {
    noted.result.interfaces.iter().any(|interface| interface.name == bridge && interface.sandbox.is_empty())
}

/// Processes that run on behalf of our containerd: its shims.
fn end_shims(layout: &Layout, cluster: &Cluster) {
    let socket = layout.run(&cluster.name).join("containerd.sock");
    let socket = socket.to_string_lossy();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|n| n.parse::<i32>().ok()) else { continue };
        let command = fs::read_to_string(entry.path().join("cmdline")).unwrap_or_default();
        if command.contains("containerd-shim")
            && command.contains(&*socket)
            && let Some(pid) = rustix::process::Pid::from_raw(pid)
        {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        }
    }
}

/// A path of the mount table, where blanks and the like are written in octal.
fn unescaped(text: &[u8]) -> PathBuf {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((first, tail)) = rest.split_first() {
        let octal = tail.get(..3).and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok());
        match octal.filter(|_| *first == b'\\') {
            Some(byte) => {
                out.push(byte);
                rest = tail.get(3..).unwrap_or_default();
            }
            None => {
                out.push(*first);
                rest = tail;
            }
        }
    }
    PathBuf::from(OsString::from_vec(out))
}

/// What is mounted below `folder`, but not at it.
fn mounts_below(folder: &Path, table: &[u8]) -> Vec<PathBuf> {
    let lines = table.split(|byte| *byte == b'\n');
    let points = lines.filter_map(|line| line.split(|byte| *byte == b' ').nth(4)).map(unescaped);
    points.filter(|point| point.starts_with(folder) && point != folder).collect()
}

/// Undo every mount below `folder`, the last one first.
///
/// # Errors
/// Something stays mounted: what is in it is not ours to remove.
fn unmount_below(folder: &Path) -> Result<()> {
    let table = || fs::read("/proc/self/mountinfo").context("reading the mount table");
    for point in mounts_below(folder, &table()?).iter().rev() {
        if let Err(error) = rustix::mount::unmount(point, rustix::mount::UnmountFlags::DETACH) {
            tracing::warn!(point = %point.display(), %error, "unmounting");
        }
    }
    match mounts_below(folder, &table()?).first() {
        None => Ok(()),
        Some(left) => bail!("{} cannot be unmounted, and {} stays for that", left.display(), folder.display()),
    }
}

/// End what still runs in a cgroup tree: containers whose runtime does not know them any more.
fn end_processes(folder: &Path) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            end_processes(&entry.path());
        }
    }
    let processes = fs::read_to_string(folder.join("cgroup.procs")).unwrap_or_default();
    for pid in processes.lines().filter_map(|line| rustix::process::Pid::from_raw(line.trim().parse().ok()?)) {
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
    }
}

/// Remove an empty cgroup tree, the leaves first; one that still holds processes stays.
fn remove_cgroup(folder: &Path) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_cgroup(&entry.path());
        }
    }
    let _ = fs::remove_dir(folder);
}

fn remove_cgroups(cluster: &Cluster) {
    let cgroup = cluster.cgroup();
    let ours = cgroup.trim_start_matches('/');
    let root = Path::new("/sys/fs/cgroup");
    // Version 2 has one tree, version 1 one a controller.
    let hierarchies = fs::read_dir(root).into_iter().flatten().flatten().map(|hierarchy| hierarchy.path());
    let trees: Vec<_> = std::iter::once(root.to_owned()).chain(hierarchies).map(|at| at.join(ours)).collect();
    for round in 0..CGROUP_ROUNDS {
        trees.iter().for_each(|tree| end_processes(tree));
        trees.iter().for_each(|tree| remove_cgroup(tree));
        if !trees.iter().any(|tree| tree.exists()) || round + 1 == CGROUP_ROUNDS {
            return;
        }
        // A killed process leaves its cgroup once the kernel has taken it apart.
        std::thread::sleep(CGROUP_PAUSE);
    }
}

fn is_empty(folder: &Path) -> bool {
    fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_none())
}

fn remove_folder(folder: &Path) -> Result<()> {
    match fs::remove_dir_all(folder) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        // A file system is mounted there: it is left empty.
        Err(error) if error.kind() == ErrorKind::ResourceBusy && is_empty(folder) => Ok(()),
        Err(error) => Err(error).with_context(|| format!("removing {}", folder.display())),
    }
}

/// What a runtime that is not ours was given.
async fn remove_from_runtime(layout: &Layout, cluster: &Cluster) -> Result<()> {
    let file = external::cni_file(&cri::Client::new(&containerd::endpoint(layout, cluster))?, cluster).await;
    external::remove_cni_file(&file).with_context(|| format!("removing {}", file.display()))
}

/// Stop the cluster and take away all that it left on the machine, its objects included.
///
/// # Errors
/// Everything that could not be taken away, one a line.
pub async fn delete(layout: &Layout, cluster: &Cluster) -> Result<()> {
    let mut failed = Vec::new();
    let mut note = |result: Result<()>| {
        if let Err(error) = result {
            failed.push(crate::output::told(&error));
        }
    };
    if layout.orphan().is_some() && !external::is_used(cluster) {
        note(end_lost(layout, cluster));
    } else {
        note(stop_all(layout, cluster, true).await.map(drop));
    }
    end_shims(layout, cluster);
    note(proxy::cleanup(&cluster.proxy_table()).await.map_err(Into::into));
    if external::is_used(cluster) {
        note(remove_from_runtime(layout, cluster).await);
    }
    note(network::tear_down(&cluster.bridge(), &cluster.network_table()).await.map_err(Into::into));
    for folder in [layout.root().to_owned(), layout.run(&cluster.name)] {
        note(unmount_below(&folder).and_then(|()| remove_folder(&folder)));
    }
    remove_cgroups(cluster);
    if failed.is_empty() {
        return Ok(());
    }
    bail!("{}", failed.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pods_network_is_known_by_its_bridge() {
        let noted = r#"{"kind": "cniCacheV1", "containerId": "ab", "networkName": "ferrokube", "result": {"interfaces": [
            {"name": "me0", "mac": "x"}, {"name": "veth1"}, {"name": "eth0", "sandbox": "/var/run/netns/cni-1"}]}}"#;
        let noted: CniResult = serde_json::from_str(noted).expect("a note");
        assert!(is_on(&noted, "me0"));
        assert!(!is_on(&noted, "you0") && !is_on(&noted, "eth0"));
    }

    #[test]
    fn mounts_are_found_whatever_their_names() {
        let table = b"1 0 0:1 / / rw - ext4 /dev/a rw\n2 1 0:2 / /d rw - tmpfs t rw\n\
            3 1 0:3 / /d/a\\040b\\011c\\134d rw - tmpfs t rw\n4 1 0:4 / /data rw - tmpfs t rw\n5 1 0:5 / /d/\xff/x rw - t t rw\n";
        let found = mounts_below(Path::new("/d"), table);
        let odd = PathBuf::from(OsString::from_vec(b"/d/\xff/x".to_vec()));
        assert_eq!(found, [PathBuf::from("/d/a b\tc\\d"), odd]);
    }
}
