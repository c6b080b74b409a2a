//! Putting a kubelet together and running it.
use std::net::{IpAddr, Ipv4Addr};
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::time::Duration;

use client::cache::Selection;
use client::events::Recorder;
use client::{Cache, Connection};
use cri::Runtime;
use k8s_openapi::api::core::v1::{Node, Pod, Service};
use kube::api::Api;
use tokio_util::sync::CancellationToken;

use crate::cgroups::Cgroups;
use crate::config::{self, Config};
use crate::disk_usage::DiskUsage;
use crate::flags::Flags;
use crate::images::Images;
use crate::kubelet::Kubelet;
use crate::objects::Objects;
use crate::pods::Pods;
use crate::probes::results::Results;
use crate::{Error, eviction, housekeeping, image_gc, log_rotation, node, pleg, server, sources};

const RUNTIME_POLL: Duration = Duration::from_millis(200);
/// Needed to lower the OOM score of a process.
const CAP_SYS_RESOURCE: u32 = 24;

/// Runs a kubelet until `shutdown`. Containers go on running after it.
///
/// # Errors
/// The configuration is wrong, a folder cannot be made, or the API server's address cannot be had.
pub async fn run(flags: Flags, connection: Option<Connection>, shutdown: CancellationToken) -> Result<(), Error> {
    let mut config = config::load(&flags)?;
    if config.node_ips.is_empty() {
        config.node_ips = vec![default_address()];
    }
    let config = Arc::new(config);
    let runtime: Arc<dyn Runtime> = Arc::new(match &config.image_endpoint {
        Some(images) => cri::Client::with_image_endpoint(&config.runtime_endpoint, images)?,
        None => cri::Client::new(&config.runtime_endpoint)?,
    });
    let connection = match (connection, &flags.kubeconfig) {
        (Some(connection), _) => Some(connection),
        (None, Some(path)) => {
            if let Some(bootstrap) = flags.bootstrap_kubeconfig.as_ref().filter(|_| !path.exists()) {
                crate::bootstrap::obtain(bootstrap, path, &config, &shutdown).await?;
            }
            Some(Connection::Kubeconfig(path.clone()))
        }
        (None, None) => None,
    };
    let client = match connection {
        Some(connection) => Some(connection.client().await.map_err(|e| Error::Invalid(e.to_string()))?),
        None => None,
    };
    if config.fail_swap_on && swap_is_on() {
        let text = "running with swap on is not supported, please disable swap or set --fail-swap-on flag to false";
        return Err(Error::Invalid(text.into()));
    }
    for dir in [&config.root_dir, &config.cert_dir, &config.root_dir.join("pods"), &config.pod_logs_dir] {
        std::fs::create_dir_all(dir).map_err(|e| Error::config(dir, e))?;
    }
    // As upstream's: volumes hold secrets in files that anyone may read who gets there.
    for dir in [&config.root_dir, &config.root_dir.join("pods")] {
        std::fs::set_permissions(dir, std::fs::Permissions::from_mode(0o750)).map_err(|e| Error::config(dir, e))?;
    }
    tokio::select! {
        () = shutdown.cancelled() => return Ok(()),
        () = wait_for(&*runtime) => {}
    }
    // Everything below stops when this function is left, whichever way.
    let stop = shutdown.child_token();
    let _guard = stop.clone().drop_guard();
    serve_health(&config, &stop).await?;
    let kubelet = start(config, runtime, client, &stop).await?;
    let state = server::State {
        config: kubelet.config.clone(),
        client: kubelet.client.clone(),
        runtime: kubelet.runtime.clone(),
        pods: kubelet.clone(),
        counts: kubelet.counts.clone(),
    };
    server::serve(Arc::new(state), shutdown).await?;
    Ok(())
}

impl server::PodSource for Kubelet {
    fn all(&self) -> Vec<Arc<Pod>> {
        self.pods.all()
    }

    fn find(&self, namespace: &str, name: &str) -> Option<Arc<Pod>> {
        let all = self.pods.all();
        all.into_iter().find(|pod| crate::spec::name(pod) == name && crate::spec::namespace(pod) == namespace)
    }
}

/// The first line of the table is its head.
fn swap_is_on() -> bool {
    std::fs::read_to_string("/proc/swaps").is_ok_and(|table| table.lines().count() > 1)
}

/// Health over plain HTTP, by default for this host alone.
async fn serve_health(config: &Config, stop: &CancellationToken) -> Result<(), Error> {
    if config.healthz_port == 0 {
        return Ok(());
    }
    let address = std::net::SocketAddr::new(config.healthz_address, config.healthz_port);
    let listener = tokio::net::TcpListener::bind(address).await;
    let listener = listener.map_err(|e| Error::Invalid(format!("failed to listen on {address}: {e}")))?;
    let health = Arc::new(serving::health::Health::default());
    tokio::spawn(serving::health::serve(listener, None, health, stop.clone()));
    Ok(())
}

/// Tells the runtime the node's pod range once the cluster has given it one.
async fn tell_pod_cidr(kubelet: Arc<Kubelet>, stop: CancellationToken) {
    let Some(nodes) = &kubelet.node else {
        if let Some(cidr) = &kubelet.config.pod_cidr {
            update_pod_cidr(&kubelet, cidr).await;
        }
        return;
    };
    let mut changes = nodes.subscribe();
    let mut told = None;
    loop {
        let key = tokio::select! {
            () = stop.cancelled() => return,
            key = changes.recv() => key,
        };
        if key.is_none() {
            return;
        }
        let node = nodes.get("", &kubelet.config.node_name);
        let cidr = node.and_then(|node| node.spec.as_ref()?.pod_cidr.clone()).filter(|cidr| !cidr.is_empty());
        if let Some(cidr) = cidr.filter(|cidr| told.as_ref() != Some(cidr)) {
            update_pod_cidr(&kubelet, &cidr).await;
            told = Some(cidr);
        }
    }
}

async fn update_pod_cidr(kubelet: &Kubelet, cidr: &str) {
    if let Err(error) = kubelet.runtime.update_runtime_config(cidr).await {
        tracing::warn!(%cidr, %error, "cannot tell the runtime the pod range");
    }
}

async fn wait_for(runtime: &dyn Runtime) {
    let mut told = false;
    while let Err(error) = runtime.version().await {
        if !told {
            tracing::warn!(%error, "the container runtime does not answer; waiting for it");
            told = true;
        }
        tokio::time::sleep(RUNTIME_POLL).await;
    }
}

async fn start(
    config: Arc<Config>,
    runtime: Arc<dyn Runtime>,
    client: Option<kube::Client>,
    stop: &CancellationToken,
) -> Result<Arc<Kubelet>, Error> {
    let facts = node::gather(&*runtime, &config.root_dir).await;
    let driver = match runtime.runtime_config().await.ok().and_then(|c| c.linux) {
        Some(linux) if linux.cgroup_driver() == cri::v1::CgroupDriver::Systemd => "systemd",
        Some(_) => "cgroupfs",
        None => config.cgroup_driver.as_deref().unwrap_or("cgroupfs"),
    };
    let cgroups = Cgroups::detect(&config, driver);
    if config.fail_cgroup_v1 && cgroups.is_v1() {
        return Err(Error::Invalid(
            "kubelet is configured to not run on a host using cgroup v1. cgroup v1 support is in maintenance mode \
             (failCgroupV1: false in the KubeletConfiguration permits it)"
                .into(),
        ));
    }
    cgroups
        .make_top(&config, facts.amounts())
        .map_err(|e| Error::Invalid(format!("cannot make the cgroups of pods: {e}")))?;
    let cache = |client: &kube::Client| {
        let selection = Selection::field("metadata.name", &config.node_name);
        let nodes = Cache::<Node>::start(Api::all(client.clone()), &selection, stop);
        let services = Cache::<Service>::start(Api::all(client.clone()), &Selection::default(), stop);
        let pods = Cache::<Pod>::start_trimmed(
            Api::all(client.clone()),
            &Selection::field("spec.nodeName", &config.node_name),
            |pod| pod.metadata.managed_fields = None,
            stop,
        );
        (nodes, services, pods)
    };
    let caches = client.as_ref().map(cache);
    let recorder = client.as_ref().map(|c| Recorder::new(c.clone(), "kubelet", &config.node_name, stop.clone()));
    let kubelet = Arc::new(Kubelet {
        host_ips: config.node_ips.iter().map(ToString::to_string).collect(),
        objects: Objects::new(client.clone()),
        images: Images::default(),
        cgroups,
        results: Results::default(),
        services: caches.as_ref().map(|(_, services, _)| services.clone()),
        node: caches.as_ref().map(|(nodes, _, _)| nodes.clone()),
        capacity: facts.amounts(),
        allocatable: config.reserved.allocatable(facts.amounts()),
        allocatable_disk_bytes: config.reserved.allocatable_disk(facts.ephemeral_storage_bytes),
        oom_floor: oom_floor(),
        pods: Pods::default(),
        pressure: Arc::default(),
        images_seen: image_gc::Seen::default(),
        disk_usage: DiskUsage::default(),
        counts: Arc::default(),
        config: config.clone(),
        runtime: runtime.clone(),
        client: client.clone(),
        recorder: recorder.clone(),
    });
    let port = config.port;
    if let (Some(client), Some(recorder)) = (client, recorder) {
        let pressure = kubelet.pressure.clone();
        let setup = node::Setup { config: config.clone(), client, runtime, recorder, facts, port, pressure };
        tokio::spawn(node::run(setup, stop.clone()));
    }
    tokio::spawn(pleg::run(kubelet.clone(), stop.clone()));
    tokio::spawn(log_rotation::run(kubelet.clone(), stop.clone()));
    tokio::spawn(tell_pod_cidr(kubelet.clone(), stop.clone()));
    let (files_known, files) = tokio::sync::oneshot::channel();
    match config.static_pod_path.clone() {
        Some(path) => drop(tokio::spawn(sources::watch_files(kubelet.clone(), path, files_known, stop.clone()))),
        None => drop(files_known.send(())),
    }
    let (stop, running) = (stop.clone(), kubelet.clone());
    tokio::spawn(async move {
        if let Some((_, services, pods)) = caches {
            // Variables of services have to be complete before the first container starts.
            tokio::select! {
                () = stop.cancelled() => return,
                () = async { tokio::join!(services.synced(), pods.synced()); } => {}
            }
            tokio::spawn(sources::watch_api(kubelet.clone(), pods.clone(), stop.clone()));
            for pod in pods.list() {
                if !crate::spec::is_mirror(&pod) {
                    kubelet.pods.set(&kubelet, pod, &stop);
                }
            }
        }
        let _ = files.await;
        tokio::spawn(eviction::run(kubelet.clone(), stop.clone()));
        housekeeping::run(kubelet, stop).await;
    });
    Ok(running)
}

/// The address of the interface with the default route: the node's, when none is given.
fn default_address() -> IpAddr {
    // Connecting a datagram socket sends nothing; it only chooses the local address.
    let chosen = std::net::UdpSocket::bind("0.0.0.0:0").and_then(|socket| {
        socket.connect("192.0.2.1:9")?;
        socket.local_addr()
    });
    chosen.map_or(IpAddr::V4(Ipv4Addr::LOCALHOST), |address| address.ip())
}

/// The lowest OOM score containers may get: without the capability, no lower than our own.
fn oom_floor() -> i64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let bits = effective.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok()).unwrap_or(0);
    if bits & (1 << CAP_SYS_RESOURCE) != 0 {
        return -1000;
    }
    let own = std::fs::read_to_string("/proc/self/oom_score_adj").unwrap_or_default();
    own.trim().parse().unwrap_or(0)
}
