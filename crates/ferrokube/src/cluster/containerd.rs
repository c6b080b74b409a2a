//! The container runtime of a cluster: a containerd of its own, or one that somebody else runs.
//!
//! Ours has its own root, state and socket, so that nothing else on the machine is touched. It is
//! started detached: it and the containers live on when our process ends, however that happens, and
//! the next start adopts it.
use super::{
    capabilities, daemon, external,
    images::{self, PAUSE_IMAGE},
    layout::{Cluster, Layout},
};
use anyhow::{Context, Result, bail};
use cri::Runtime;
use rustix::process::Pid;
use std::{
    fs,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};
use tokio_util::sync::CancellationToken;

/// Before the file it runs with.
const CONFIG: &str = "--config";
const START_TIMEOUT: Duration = Duration::from_secs(30);
const ADOPTED_POLL: Duration = Duration::from_millis(500);
const MAX_LOG_BYTES: u64 = 16 * 1024 * 1024;

/// Where CNI plugins are: Debian's folder, then everybody else's.
pub const CNI_FOLDERS: [&str; 2] = ["/usr/lib/cni", "/opt/cni/bin"];

/// The folder of this machine that holds CNI plugins.
pub fn cni_bin_dir() -> Option<&'static str> {
    CNI_FOLDERS.into_iter().find(|folder| Path::new(folder).join("bridge").exists())
}

/// The runtime's endpoint as CRI clients name it.
pub fn endpoint(layout: &Layout, cluster: &Cluster) -> String {
    if !external::is_used(cluster) {
        format!("unix://{}", socket(layout, cluster).display())
    } else {
        cluster.container_runtime_endpoint.clone()
    }
}

fn socket(layout: &Layout, cluster: &Cluster) -> PathBuf {
    layout.run(&cluster.name).join("containerd.sock")
}

/// The pod network's configuration, alone in its folder.
pub fn cni_file(layout: &Layout) -> PathBuf {
    layout.path("cni/net.d/10-ferrokube.conflist")
}

fn pid_file(layout: &Layout, cluster: &Cluster) -> PathBuf {
    layout.run(&cluster.name).join("containerd.pid")
}

fn config(layout: &Layout, cluster: &Cluster) -> String {
    let run = layout.run(&cluster.name);
    let restrict = !capabilities::ours().has(capabilities::SYS_RESOURCE);
    format!(
        r#"version = 2
root = "{root}"
state = "{state}"
disabled_plugins = ["io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.zfs", "io.containerd.tracing.processor.v1.otlp", "io.containerd.internal.v1.tracing"]
[grpc]
  address = "{socket}"
[ttrpc]
  address = "{socket}.ttrpc"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{PAUSE_IMAGE}"
  restrict_oom_score_adj = {restrict}
  stream_server_address = "127.0.0.1"
  stream_server_port = "0"
  enable_unprivileged_ports = true
  enable_unprivileged_icmp = true
  [plugins."io.containerd.grpc.v1.cri".registry]
    config_path = "{registries}"
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{cni_bin}"
    conf_dir = "{cni_conf}"
    max_conf_num = 1
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"
    default_runtime_name = "runc"
    discard_unpacked_layers = true
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        SystemdCgroup = false
"#,
        root = layout.path("containerd").display(),
        state = run.join("containerd").display(),
        socket = socket(layout, cluster).display(),
        registries = super::registry::hosts_dir(&run).display(),
        cni_bin = cni_bin_dir().unwrap_or(CNI_FOLDERS[0]),
        cni_conf = layout.path("cni/net.d").display(),
    )
}

fn rotate(log: &Path) {
    if fs::metadata(log).is_ok_and(|m| m.len() > MAX_LOG_BYTES) {
        // Losing an old log is better than not starting.
        let _ = fs::rename(log, log.with_extension("log.1"));
    }
}

/// A file that a process may append its output to; kept below a bound across starts.
///
/// # Errors
/// The folder cannot be written.
pub fn open_log(path: &Path) -> Result<fs::File> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).with_context(|| format!("creating {}", folder.display()))?;
    }
    rotate(path);
    fs::OpenOptions::new().create(true).append(true).open(path).with_context(|| format!("opening {}", path.display()))
}

async fn answers(endpoint: &str) -> bool {
    match cri::Client::new(endpoint) {
        Ok(client) => client.version().await.is_ok(),
        Err(_) => false,
    }
}

/// The process that runs, or is started: what is to be waited for.
enum Process {
    Child(tokio::process::Child),
    Adopted(rustix::fd::OwnedFd),
}

fn adopt(layout: &Layout, cluster: &Cluster) -> Option<Process> {
    let pid = running_pid(layout, cluster)?;
    let fd = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::NONBLOCK).ok()?;
    Some(Process::Adopted(fd))
}

fn config_file(layout: &Layout, cluster: &Cluster) -> PathBuf {
    layout.run(&cluster.name).join("containerd.toml")
}

/// The process ID of our containerd, when it runs.
pub fn running_pid(layout: &Layout, cluster: &Cluster) -> Option<Pid> {
    let config = config_file(layout, cluster);
    let with_ours =
        |words: &[&[u8]]| words.get(1..3) == Some(&[CONFIG.as_bytes(), config.as_os_str().as_encoded_bytes()]);
    let noted = fs::read_to_string(pid_file(layout, cluster)).unwrap_or_default();
    // Process IDs are used again: it is ours only if it runs with our configuration. Whoever started it may have ended
    // before it could note anything.
    let noted = noted.trim().parse().ok().and_then(Pid::from_raw).into_iter();
    noted.chain(daemon::processes()).find(|pid| daemon::runs(*pid, with_ours))
}

/// Our containerd has run, does not run now, and was not taken away.
pub fn left_behind(layout: &Layout, cluster: &Cluster) -> bool {
    running_pid(layout, cluster).is_none() && layout.path("containerd").join("io.containerd.metadata.v1.bolt").exists()
}

fn spawn(layout: &Layout, cluster: &Cluster) -> Result<Process> {
    let run = layout.run(&cluster.name);
    fs::create_dir_all(&run).with_context(|| format!("creating {}", run.display()))?;
    for folder in ["cni/net.d", "containerd"] {
        let folder = layout.path(folder);
        fs::create_dir_all(&folder).with_context(|| format!("creating {}", folder.display()))?;
    }
    let config_file = config_file(layout, cluster);
    pki::write_public(&config_file, config(layout, cluster).as_bytes())?;
    let log = open_log(&layout.log("containerd"))?;
    let mut command = Command::new("containerd");
    command
        .arg(CONFIG)
        .arg(&config_file)
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        // Not in our process group: a Ctrl-C or our end does not reach it.
        .process_group(0);
    crate::memory::system_pages(&mut command);
    let child = tokio::process::Command::from(command).kill_on_drop(false).spawn().context("starting containerd")?;
    let pid = child.id().unwrap_or_default();
    pki::write_public(&pid_file(layout, cluster), pid.to_string().as_bytes())?;
    Ok(Process::Child(child))
}

/// Start containerd, or adopt the one that runs already. The returned guard watches over it.
///
/// # Errors
/// It does not start, or does not answer in time; the message holds the end of its log.
pub async fn ensure(layout: &Layout, cluster: &Cluster) -> Result<Supervisor> {
    let endpoint = endpoint(layout, cluster);
    if external::is_used(cluster) {
        if !answers(&endpoint).await {
            bail!("the container runtime at {endpoint} does not answer: is it running, with its CRI plugin enabled?");
        }
        return Ok(Supervisor { process: None, layout: layout.clone(), cluster: cluster.clone() });
    }
    let process = match adopt(layout, cluster) {
        Some(process) => process,
        None => spawn(layout, cluster)?,
    };
    let mut supervisor = Supervisor { process: Some(process), layout: layout.clone(), cluster: cluster.clone() };
    let deadline = Instant::now() + START_TIMEOUT;
    while !answers(&endpoint).await {
        if supervisor.has_ended() || Instant::now() > deadline {
            bail!("containerd did not start; the end of its log:\n{}", tail(&layout.log("containerd"), 5));
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    Ok(supervisor)
}

/// The last lines of a log.
pub fn tail(log: &Path, lines: usize) -> String {
    let text = fs::read_to_string(log).unwrap_or_default();
    let all: Vec<&str> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}

/// Starts our containerd again when it ends.
pub struct Supervisor {
    process: Option<Process>,
    layout: Layout,
    cluster: Cluster,
}

impl Supervisor {
    fn has_ended(&mut self) -> bool {
        match self.process.as_mut() {
            Some(Process::Child(child)) => !matches!(child.try_wait(), Ok(None)),
            _ => false,
        }
    }

    async fn ended(process: Process) {
        match process {
            Process::Child(mut child) => drop(child.wait().await),
            // Not our child: its end can only be looked for.
            Process::Adopted(fd) => loop {
                let mut watched = [rustix::event::PollFd::new(&fd, rustix::event::PollFlags::IN)];
                let now = rustix::event::Timespec::default();
                if !matches!(rustix::event::poll(&mut watched, Some(&now)), Ok(0)) {
                    return;
                }
                tokio::time::sleep(ADOPTED_POLL).await;
            },
        }
    }

    /// Watch until `shutdown`; containerd itself stays.
    pub async fn watch(mut self, shutdown: CancellationToken) {
        while let Some(process) = self.process.take() {
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = Self::ended(process) => {}
            }
            tracing::warn!("containerd ended; starting it again");
            self.process = loop {
                match spawn(&self.layout, &self.cluster) {
                    Ok(process) => break Some(process),
                    Err(error) => tracing::error!(error = format!("{error:#}"), "containerd cannot be started"),
                }
                tokio::select! {
                    () = shutdown.cancelled() => return,
                    () = tokio::time::sleep(Duration::from_secs(1)) => {}
                }
            };
            // A containerd that ends at once must not be started in a tight loop.
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        shutdown.cancelled().await;
    }
}

/// `ctr` on the cluster's containerd, in the namespace that CRI uses.
pub fn ctr(layout: &Layout, cluster: &Cluster) -> Command {
    let endpoint = endpoint(layout, cluster);
    let mut command = Command::new("ctr");
    command.args(["--address", endpoint.trim_start_matches("unix://"), "--namespace", "k8s.io"]);
    command
}

/// Import an image archive (docker or OCI).
///
/// # Errors
/// `ctr`'s own message.
pub fn import(layout: &Layout, cluster: &Cluster, archive: &Path) -> Result<String> {
    let output = ctr(layout, cluster).args(["images", "import"]).arg(archive).output().context("running ctr")?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    bail!("importing {}: {}", archive.display(), String::from_utf8_lossy(&output.stderr).trim())
}

/// Load our own images where they are missing.
///
/// # Errors
/// The runtime refuses them.
pub async fn load_images(layout: &Layout, cluster: &Cluster) -> Result<usize> {
    let client = cri::Client::new(&endpoint(layout, cluster))?;
    let mut loaded = 0;
    for image in &images::ALL {
        if client.image_status(image.name).await?.is_some() {
            continue;
        }
        let archive = images::write(image, &layout.path("images"))?;
        let (layout, cluster) = (layout.clone(), cluster.clone());
        tokio::task::spawn_blocking(move || import(&layout, &cluster, &archive)).await??;
        loaded += 1;
    }
    Ok(loaded)
}
