//! Stopping and deleting: what runs of a cluster, and what it left in the kernel.
//!
//! Both work without the cluster's process, after a crash too: they go by what the runtime, the mount
//! table and the cgroup tree say. Each step goes on when another has failed; what failed is told.
use super::{
    containerd, daemon,
    layout::{Cluster, Layout},
};
use anyhow::{Context, Result, bail};
use cri::{Runtime, v1};
use futures::future::join_all;
use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};

const DAEMON_PATIENCE: Duration = Duration::from_secs(20);
const RUNTIME_PATIENCE: Duration = Duration::from_secs(10);
/// How long pods may take to be stopped, once the cluster's process is gone and starts nothing any more.
const PODS_PATIENCE: Duration = Duration::from_secs(15);
const PODS_PAUSE: Duration = Duration::from_millis(200);
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
    let containers = client.list_containers(v1::ContainerFilter::default()).await?;
    let running = containers.iter().filter(|c| c.state == v1::ContainerState::ContainerRunning as i32);
    join_all(running.map(|c| client.stop_container(&c.id, CONTAINER_GRACE_S))).await;
    let sandboxes = client.list_pod_sandbox(v1::PodSandboxFilter::default()).await?;
    let stopped = join_all(sandboxes.iter().map(async |sandbox| {
        client.stop_pod_sandbox(&sandbox.id).await?;
        if remove { client.remove_pod_sandbox(&sandbox.id).await } else { Ok(()) }
    }));
    for result in stopped.await {
        result?;
    }
    Ok(())
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
    if !cluster.container_runtime_endpoint.is_empty() {
        // Somebody else's runtime may run somebody else's containers: they are not ours to stop.
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

/// Undo every mount below `folder`, the deepest first.
fn unmount_below(folder: &Path) {
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let mut points: Vec<String> = table
        .lines()
        .filter_map(|line| line.split(' ').nth(4))
        .map(|point| point.replace("\\040", " "))
        .filter(|point| Path::new(point).starts_with(folder))
        .collect();
    points.sort_by_key(|point| std::cmp::Reverse(point.len()));
    for point in points {
        if let Err(error) = rustix::mount::unmount(&point, rustix::mount::UnmountFlags::DETACH) {
            tracing::warn!(%point, %error, "unmounting");
        }
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

fn remove_folder(folder: &Path) -> Result<()> {
    match fs::remove_dir_all(folder) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error).with_context(|| format!("removing {}", folder.display())),
    }
}

/// Stop the cluster and take away all that it left on the machine, its objects included.
///
/// # Errors
/// Everything that could not be taken away, one a line.
pub async fn delete(layout: &Layout, cluster: &Cluster) -> Result<()> {
    let mut failed = Vec::new();
    let mut note = |result: Result<()>| {
        if let Err(error) = result {
            failed.push(format!("{error:#}"));
        }
    };
    note(stop_all(layout, cluster, true).await.map(drop));
    end_shims(layout, cluster);
    note(proxy::cleanup(&cluster.proxy_table()).await.map_err(Into::into));
    note(network::tear_down(&cluster.bridge(), &cluster.network_table()).await.map_err(Into::into));
    for folder in [layout.root().to_owned(), layout.run(&cluster.name)] {
        unmount_below(&folder);
        note(remove_folder(&folder));
    }
    remove_cgroups(cluster);
    if failed.is_empty() {
        return Ok(());
    }
    bail!("{}", failed.join("\n"))
}
