//! The cluster's process: every component on one runtime, talking to the API server without TCP or TLS,
//! each under its own identity, so that RBAC holds as it would between machines.
use super::{
    containerd, credentials, external,
    layout::{Cluster, Layout},
    manifests, ready, registry,
    steps::Reporter,
};
use crate::memory;
use anyhow::{Context, Result, anyhow};
use auth::UserInfo;
use client::Connection;
use serde_json::json;
use std::{fs, future::Future, path::Path, sync::Arc, time::Duration};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

const READY_TIMEOUT: Duration = Duration::from_secs(60);
const STOP_TIMEOUT: Duration = Duration::from_secs(10);
const RESTART_DELAY: Duration = Duration::from_secs(1);
/// From Ready until what only starting needed leaves memory: caches have filled and first requests are answered.
const SETTLED: Duration = Duration::from_secs(15);

/// The flags a component would get on a command line, parsed the same way.
fn flags<F: clap::Args>(component: &str, arguments: &[String]) -> Result<F> {
    #[derive(clap::Parser)]
    #[command(no_binary_name = true)]
    struct Parsed<F: clap::Args> {
        #[command(flatten)]
        flags: F,
    }
    let parsed = <Parsed<F> as clap::Parser>::try_parse_from(arguments);
    parsed.map(|p| p.flags).map_err(|error| anyhow!("{component}: {error}"))
}

fn flag(name: &str, value: impl std::fmt::Display) -> String {
    format!("--{name}={value}")
}

fn user(name: &str, groups: &[&str]) -> UserInfo {
    let groups = groups.iter().chain(&["system:authenticated"]).map(|&g| g.to_owned()).collect();
    UserInfo { name: name.to_owned(), groups, ..UserInfo::default() }
}

/// The groups a service account of the control plane is in; none for other users.
fn service_account_groups(name: &str) -> &'static [&'static str] {
    if name.starts_with("system:serviceaccount:kube-system:") {
        &["system:serviceaccounts", "system:serviceaccounts:kube-system"]
    } else {
        &[]
    }
}

/// Run a component until shutdown; when it fails, say so and start it again.
fn keep<Run, Done, E>(tasks: &TaskTracker, component: &'static str, shutdown: &CancellationToken, run: Run)
where
    Run: Fn(CancellationToken) -> Done + Send + 'static,
    Done: Future<Output = Result<(), E>> + Send,
    E: std::fmt::Display + Send,
{
    let shutdown = shutdown.clone();
    tasks.spawn(async move {
        while !shutdown.is_cancelled() {
            match run(shutdown.child_token()).await {
                Ok(()) if shutdown.is_cancelled() => return,
                Ok(()) => tracing::error!(component, "ended; starting it again"),
                Err(error) => tracing::error!(component, %error, "failed; starting it again"),
            }
            tokio::select! { () = shutdown.cancelled() => {}, () = tokio::time::sleep(RESTART_DELAY) => {} }
        }
    });
}

struct Parts<'a> {
    layout: &'a Layout,
    cluster: &'a Cluster,
    tasks: &'a TaskTracker,
    shutdown: &'a CancellationToken,
    api: &'a apiserver::Running,
}

impl Parts<'_> {
    fn connection(&self, name: &str, groups: &[&str]) -> Connection {
        Connection::Ready(self.api.client(user(name, groups)))
    }

    fn start_controllers(&self) -> Result<()> {
        let flags: controllers::Flags = flags(
            "kube-controller-manager",
            &[
                flag("leader-elect", false),
                flag("secure-port", 0),
                flag("use-service-account-credentials", true),
                // In one process the server's own limits are enough.
                flag("kube-api-qps", -1),
                flag("allocate-node-cidrs", true),
                flag("cluster-cidr", &self.cluster.pod_cidr),
                flag("service-cluster-ip-range", &self.cluster.service_cidr),
                flag("cluster-signing-cert-file", self.layout.pki("ca.crt").display()),
                flag("cluster-signing-key-file", self.layout.pki("ca.key").display()),
                flag("root-ca-file", self.layout.pki("ca.crt").display()),
                flag("service-account-private-key-file", self.layout.pki("sa.key").display()),
            ],
        )?;
        // Each controller acts as its service account, and may do no more than that.
        let clients = self.api.clients();
        let open = move |name: &str| clients(user(name, service_account_groups(name)));
        let connection = Connection::InProcess { user: "system:kube-controller-manager".into(), open: Arc::new(open) };
        keep(self.tasks, "kube-controller-manager", self.shutdown, move |stop| {
            controllers::run(flags.clone(), Some(connection.clone()), stop)
        });
        Ok(())
    }

    fn start_scheduler(&self) -> Result<()> {
        let flags: scheduler::Flags = flags("kube-scheduler", &[flag("leader-elect", false), flag("secure-port", 0)])?;
        let connection = self.connection("system:kube-scheduler", &[]);
        keep(self.tasks, "kube-scheduler", self.shutdown, move |stop| {
            scheduler::run(flags.clone(), Some(connection.clone()), stop)
        });
        Ok(())
    }

    fn start_kubelet(&self) -> Result<()> {
        let config = self.layout.path("kubelet/config.json");
        write_config(&config, &kubelet_config(self.layout, self.cluster)?)?;
        let flags: kubelet::Flags = flags(
            "kubelet",
            &[
                flag("config", config.display()),
                flag("root-dir", self.layout.path("kubelet").display()),
                flag("cert-dir", self.layout.path("kubelet/pki").display()),
                flag("hostname-override", &self.cluster.node_name),
                flag("node-ip", self.cluster.node_ip),
            ],
        )?;
        let name = format!("system:node:{}", self.cluster.node_name);
        let connection = self.connection(&name, &["system:nodes"]);
        keep(self.tasks, "kubelet", self.shutdown, move |stop| {
            kubelet::run(flags.clone(), Some(connection.clone()), stop)
        });
        Ok(())
    }

    fn start_proxy(&self) -> Result<()> {
        let mut flags: proxy::Flags = flags(
            "kube-proxy",
            &[
                flag("hostname-override", &self.cluster.node_name),
                flag("cluster-cidr", &self.cluster.pod_cidr),
                flag("healthz-bind-address", ""),
                flag("metrics-bind-address", ""),
                // A sync costs what changed, not what is there: no need to make somebody wait for the default's second.
                flag("nftables-min-sync-period", "100ms"),
            ],
        )?;
        flags.table = self.cluster.proxy_table();
        let connection = self.connection("system:kube-proxy", &[]);
        keep(self.tasks, "kube-proxy", self.shutdown, move |stop| {
            proxy::run(flags.clone(), Some(connection.clone()), stop)
        });
        Ok(())
    }

    /// The pod network first: DNS listens on its gateway address.
    async fn start_network_and_dns(&self) -> Result<()> {
        let cni_file = if external::is_used(self.cluster) {
            external::cni_file(&cri::Client::new(&containerd::endpoint(self.layout, self.cluster))?, self.cluster).await
        } else {
            containerd::cni_file(self.layout)
        };
        let options = network::Options {
            node_name: self.cluster.node_name.clone(),
            bridge: self.cluster.bridge(),
            cluster_cidr: self.cluster.pod_cidr.parse()?,
            cni_file,
            ipam_dir: self.layout.path("cni/ipam"),
            table: self.cluster.network_table(),
        };
        let node = self.connection(&format!("system:node:{}", self.cluster.node_name), &["system:nodes"]);
        let gateway = tokio::time::timeout(READY_TIMEOUT, network::set_up(&options, &node, self.shutdown.clone()))
            .await
            .context("the node got no pod CIDR in time")??;
        // The server's rights and service first: it would only be refused without them.
        manifests::ensure(&self.api.client(user("system:admin", &["system:masters"])), self.cluster, gateway).await?;
        let flags: dns::Flags = flags(
            "dns",
            &[
                flag("bind-address", gateway),
                flag("port", self.cluster.dns_port),
                flag("cluster-domain", "cluster.local"),
            ],
        )?;
        let connection = self.connection(
            "system:serviceaccount:kube-system:coredns",
            &["system:serviceaccounts", "system:serviceaccounts:kube-system"],
        );
        keep(self.tasks, "dns", self.shutdown, move |stop| dns::run(flags.clone(), Some(connection.clone()), stop));
        Ok(())
    }
}

fn write_config(path: &Path, config: &serde_json::Value) -> Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).with_context(|| format!("creating {}", folder.display()))?;
    }
    Ok(pki::write_public(path, &serde_json::to_vec_pretty(config)?)?)
}

fn kubelet_config(layout: &Layout, cluster: &Cluster) -> Result<serde_json::Value> {
    Ok(json!({
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": "0.0.0.0",
        "port": cluster.kubelet_port,
        "healthzPort": 0,
        "authentication": {"anonymous": {"enabled": false}, "webhook": {"enabled": true}, "x509": {"clientCAFile": layout.pki("ca.crt")}},
        "authorization": {"mode": "Webhook"},
        "tlsCertFile": layout.pki("kubelet.crt"),
        "tlsPrivateKeyFile": layout.pki("kubelet.key"),
        "clusterDNS": [cluster.service_ip(10)?.to_string()],
        "clusterDomain": "cluster.local",
        "containerRuntimeEndpoint": containerd::endpoint(layout, cluster),
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": cluster.cgroup(),
        "staticPodPath": layout.path("manifests"),
        "podLogsDir": external::pod_logs(layout),
        // The machine is not the cluster's alone: how full its disk is says nothing about the pods, and a laptop with
        // a tenth of it free runs them well. Minikube sets the same.
        "evictionHard": {"memory.available": "100Mi", "nodefs.available": "0%", "nodefs.inodesFree": "0%", "imagefs.available": "0%"},
        "imageGCHighThresholdPercent": 100,
        "failSwapOn": false,
        "failCgroupV1": false,
    }))
}

fn apiserver_flags(layout: &Layout, cluster: &Cluster) -> Result<apiserver::Flags> {
    let pki = |file: &str| layout.pki(file).display().to_string();
    flags(
        "kube-apiserver",
        &[
            flag("data-dir", layout.path("store").display()),
            flag("bind-address", "0.0.0.0"),
            flag("secure-port", cluster.api_port),
            flag("advertise-address", cluster.node_ip),
            flag("cert-dir", pki("")),
            flag("tls-cert-file", pki("apiserver.crt")),
            flag("tls-private-key-file", pki("apiserver.key")),
            flag("client-ca-file", pki("ca.crt")),
            flag("service-account-issuer", "https://kubernetes.default.svc.cluster.local"),
            flag("service-account-key-file", pki("sa.pub")),
            flag("service-account-signing-key-file", pki("sa.key")),
            flag("service-cluster-ip-range", &cluster.service_cidr),
            flag("authorization-mode", "Node,RBAC"),
            flag("enable-admission-plugins", "NodeRestriction"),
            flag("allow-privileged", true),
            flag("enable-bootstrap-token-auth", true),
            flag("kubelet-preferred-address-types", "InternalIP,Hostname"),
            flag("kubelet-client-certificate", pki("apiserver-kubelet-client.crt")),
            flag("kubelet-client-key", pki("apiserver-kubelet-client.key")),
            flag("kubelet-certificate-authority", pki("ca.crt")),
        ],
    )
}

async fn start(
    layout: &Layout,
    cluster: &Cluster,
    reporter: &Reporter,
    tasks: &TaskTracker,
    shutdown: &CancellationToken,
) -> Result<apiserver::Running> {
    let begun = jiff::Timestamp::now();
    credentials::ensure(layout, cluster)?;
    reporter.done("certificates and keys");
    // The container runtime takes longest: the API server starts beside it.
    let runtime = async {
        let supervisor = containerd::ensure(layout, cluster).await?;
        match (containerd::load_images(layout, cluster).await, external::is_used(cluster)) {
            (result, false) => {
                result?;
                registry::start(&layout.run(&cluster.name), shutdown.clone(), tasks).await?;
            }
            (Ok(_), true) => {}
            (Err(error), true) => {
                tracing::warn!(error = format!("{error:#}"), "our images cannot be loaded into this container runtime");
            }
        }
        Ok::<_, anyhow::Error>(supervisor)
    };
    let api = async {
        let running = apiserver::start(apiserver_flags(layout, cluster)?, shutdown.clone()).await;
        let running = running.map_err(|error| anyhow!("kube-apiserver: {error}"))?;
        let parts = Parts { layout, cluster, tasks, shutdown, api: &running };
        parts.start_controllers()?;
        parts.start_scheduler()?;
        reporter.done(format!("kube-apiserver on port {}, kube-controller-manager, kube-scheduler", cluster.api_port));
        Ok::<_, anyhow::Error>(running)
    };
    let (supervisor, api) = tokio::try_join!(runtime, api)?;
    tasks.spawn(supervisor.watch(shutdown.clone()));
    reporter.done("container runtime and images");
    let parts = Parts { layout, cluster, tasks, shutdown, api: &api };
    parts.start_kubelet()?;
    parts.start_proxy()?;
    parts.start_network_and_dns().await?;
    reporter.done("kubelet, pod network, kube-proxy and DNS");
    let admin = api.client(user("system:admin", &["system:masters"]));
    let node = ready::node(admin, &cluster.node_name, begun, READY_TIMEOUT);
    tokio::try_join!(node, ready::dns(cluster, READY_TIMEOUT))?;
    reporter.done(format!("node {} is Ready", cluster.node_name));
    Ok(api)
}

/// Once, when the cluster has settled: memory that only starting needed goes back to the machine.
async fn give_back_memory(layout: Layout, cluster: Cluster, shutdown: CancellationToken) {
    tokio::select! { () = shutdown.cancelled() => return, () = tokio::time::sleep(SETTLED) => {} }
    let released = tokio::task::spawn_blocking(move || {
        memory::release_own_code()?;
        containerd::running_pid(&layout, &cluster).map_or(Ok(()), memory::release_code_of)
    });
    match released.await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "code that only starting needed stays in memory"),
        Err(error) => tracing::error!(%error, "giving back memory"),
    }
}

/// What asks the cluster's process to end. From when it is made, it does not end of itself any more.
struct Ending {
    terminate: Signal,
    interrupt: Signal,
}

impl Ending {
    fn new() -> Result<Ending> {
        Ok(Ending { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    async fn asked(&mut self) {
        tokio::select! { _ = self.terminate.recv() => {}, _ = self.interrupt.recv() => {} }
    }
}

/// Run the cluster until SIGTERM or SIGINT; `when_ready` is called once. Containers and their runtime live on.
///
/// # Errors
/// It does not become ready; the reporter has been told too.
pub async fn run(
    layout: &Layout,
    cluster: &Cluster,
    reporter: Reporter,
    when_ready: impl FnOnce() -> Result<()>,
) -> Result<()> {
    let (tasks, shutdown) = (TaskTracker::new(), CancellationToken::new());
    let mut ending = Ending::new()?;
    let started = tokio::select! {
        started = start(layout, cluster, &reporter, &tasks, &shutdown) => started,
        () = ending.asked() => Err(anyhow!("stopped while starting")),
    };
    let result = match started {
        Ok(api) => {
            reporter.ready();
            when_ready()?;
            tasks.spawn(give_back_memory(layout.clone(), cluster.clone(), shutdown.clone()));
            ending.asked().await;
            tracing::info!("stopping");
            shutdown.cancel();
            let _ = tokio::time::timeout(STOP_TIMEOUT, api.join()).await;
            Ok(())
        }
        Err(error) => {
            reporter.failed(crate::output::told(&error));
            Err(error)
        }
    };
    shutdown.cancel();
    tasks.close();
    if tokio::time::timeout(STOP_TIMEOUT, tasks.wait()).await.is_err() {
        tracing::warn!("some components did not stop in time");
    }
    result
}
