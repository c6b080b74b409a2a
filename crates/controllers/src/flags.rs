//! kube-controller-manager's flags, with upstream's names and defaults.
use apimachinery::duration;
use std::{
    path::{Path, PathBuf},
    time::Duration,
};

/// Flags of upstream's kube-controller-manager that are not supported yet.
pub const UNSUPPORTED_FLAGS: &[&str] = &[
    "allow-untagged-cloud",
    "attach-detach-reconcile-sync-period",
    "cidr-allocator-type",
    "cloud-config",
    "cloud-provider",
    "cloud-provider-gce-lb-src-cidrs",
    "cluster-signing-kube-apiserver-client-cert-file",
    "cluster-signing-kube-apiserver-client-key-file",
    "cluster-signing-kubelet-client-cert-file",
    "cluster-signing-kubelet-client-key-file",
    "cluster-signing-kubelet-serving-cert-file",
    "cluster-signing-kubelet-serving-key-file",
    "cluster-signing-legacy-unknown-cert-file",
    "cluster-signing-legacy-unknown-key-file",
    "configure-cloud-routes",
    "controller-shutdown-timeout",
    "disable-attach-detach-reconcile-sync",
    "disable-force-detach-on-timeout",
    "disable-http2-serving",
    "emulated-version",
    "enable-dynamic-provisioning",
    "enable-hostpath-provisioner",
    "enable-leader-migration",
    "external-cloud-volume-plugin",
    "flex-volume-plugin-dir",
    "leader-migration-config",
    "master",
    "min-compatibility-version",
    "node-cidr-mask-size-ipv4",
    "node-cidr-mask-size-ipv6",
    "tls-cipher-suites",
    "tls-curve-preferences",
    "tls-sni-cert-key",
    "volume-host-allow-local-loopback",
    "volume-host-cidr-denylist",
];

fn seconds(text: &str) -> Result<Duration, String> {
    duration::parse(text).map_err(|error| error.to_string())
}

/// What kube-controller-manager is started with.
#[derive(Clone, Debug, clap::Args)]
pub struct Flags {
    /// Path to kubeconfig file with authorization and master location information.
    #[arg(long, help_heading = "Generic flags", value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// QPS to use while talking with kubernetes apiserver; each controller has a budget of its own.
    #[arg(long, help_heading = "Generic flags", default_value_t = 20.0, allow_hyphen_values = true)]
    pub kube_api_qps: f64,
    /// Burst to use while talking with kubernetes apiserver.
    #[arg(long, help_heading = "Generic flags", default_value_t = 30)]
    pub kube_api_burst: u32,
    /// Content type of requests sent to apiserver; only application/json is spoken.
    #[arg(long, help_heading = "Generic flags", default_value = "application/json")]
    pub kube_api_content_type: String,
    /// A list of controllers to enable. '*' enables all on-by-default controllers, 'foo' enables the controller named 'foo', '-foo' disables the controller named 'foo'.
    #[arg(
        long,
        help_heading = "Generic flags",
        value_delimiter = ',',
        default_value = "*",
        allow_hyphen_values = true
    )]
    pub controllers: Vec<String>,
    /// If true, use individual service account credentials for each controller.
    #[arg(long, help_heading = "Generic flags", default_value_t = false, num_args = 0..=1, default_missing_value = "true", require_equals = true, action = clap::ArgAction::Set)]
    pub use_service_account_credentials: bool,

    /// Start a leader election client and gain leadership before executing the main loop.
    #[arg(long, help_heading = "Leader election flags", default_value_t = true, num_args = 0..=1, default_missing_value = "true", require_equals = true, action = clap::ArgAction::Set)]
    pub leader_elect: bool,
    /// The duration that non-leader candidates will wait after observing a leadership renewal.
    #[arg(long, help_heading = "Leader election flags", default_value = "15s", value_parser = seconds)]
    pub leader_elect_lease_duration: Duration,
    /// The interval between attempts by the acting leader to renew a leadership slot before it stops leading.
    #[arg(long, help_heading = "Leader election flags", default_value = "10s", value_parser = seconds)]
    pub leader_elect_renew_deadline: Duration,
    /// The duration the clients should wait between attempting acquisition and renewal of a leadership.
    #[arg(long, help_heading = "Leader election flags", default_value = "2s", value_parser = seconds)]
    pub leader_elect_retry_period: Duration,
    /// The name of resource object that is used for locking during leader election.
    #[arg(long, help_heading = "Leader election flags", default_value = "kube-controller-manager")]
    pub leader_elect_resource_name: String,
    /// The namespace of resource object that is used for locking during leader election.
    #[arg(long, help_heading = "Leader election flags", default_value = "kube-system")]
    pub leader_elect_resource_namespace: String,

    /// The port on which to serve HTTPS with authentication and authorization; 0 serves none.
    #[arg(long, help_heading = "Secure serving flags", default_value_t = 10257)]
    pub secure_port: u16,
    #[command(flatten)]
    pub serving: serving::secure_port::Flags,

    /// CIDR range for pods in the cluster.
    #[arg(long, help_heading = "Node IPAM flags", value_delimiter = ',')]
    pub cluster_cidr: Vec<String>,
    /// Should CIDRs for pods be allocated and set on the nodes.
    #[arg(long, help_heading = "Node IPAM flags", default_value_t = false, num_args = 0..=1, default_missing_value = "true", require_equals = true, action = clap::ArgAction::Set)]
    pub allocate_node_cidrs: bool,
    /// Mask size for node CIDR in the cluster; 24 for IPv4 and 64 for IPv6 if 0.
    #[arg(long, help_heading = "Node IPAM flags", default_value_t = 0)]
    pub node_cidr_mask_size: u8,
    /// CIDR range for services in the cluster, which node CIDRs must not overlap.
    #[arg(long, help_heading = "Node IPAM flags", value_delimiter = ',')]
    pub service_cluster_ip_range: Vec<String>,

    /// File containing a PEM-encoded private RSA or ECDSA key used to sign service account tokens.
    #[arg(long, help_heading = "Service account flags", value_name = "FILE")]
    pub service_account_private_key_file: Option<PathBuf>,
    /// Root certificate authority included in service account tokens' secrets and published to every namespace.
    #[arg(long, help_heading = "Service account flags", value_name = "FILE")]
    pub root_ca_file: Option<PathBuf>,

    /// Filename containing a PEM-encoded X509 CA certificate used to issue cluster-scoped certificates.
    #[arg(long, help_heading = "CSR signing flags", value_name = "FILE", requires = "cluster_signing_key_file")]
    pub cluster_signing_cert_file: Option<PathBuf>,
    /// Filename containing a PEM-encoded RSA or ECDSA private key used to sign cluster-scoped certificates.
    #[arg(long, help_heading = "CSR signing flags", value_name = "FILE", requires = "cluster_signing_cert_file")]
    pub cluster_signing_key_file: Option<PathBuf>,
    /// The max length of duration signed certificates will be given.
    #[arg(long, help_heading = "CSR signing flags", default_value = "8760h", value_parser = seconds)]
    pub cluster_signing_duration: Duration,

    /// The period for syncing NodeStatus.
    #[arg(long, help_heading = "Node lifecycle flags", default_value = "5s", value_parser = seconds)]
    pub node_monitor_period: Duration,
    /// Amount of time which we allow running Node to be unresponsive before marking it unhealthy.
    #[arg(long, help_heading = "Node lifecycle flags", default_value = "50s", value_parser = seconds)]
    pub node_monitor_grace_period: Duration,
    /// Amount of time which we allow starting Node to be unresponsive before marking it unhealthy.
    #[arg(long, help_heading = "Node lifecycle flags", default_value = "60s", value_parser = seconds)]
    pub node_startup_grace_period: Duration,
    /// Nodes a second whose pods are driven away when a zone is healthy.
    #[arg(long, help_heading = "Node lifecycle flags", default_value_t = 0.1)]
    pub node_eviction_rate: f64,
    /// Nodes a second whose pods are driven away when a zone is unhealthy; 0 if it is no larger than --large-cluster-size-threshold.
    #[arg(long, help_heading = "Node lifecycle flags", default_value_t = 0.01)]
    pub secondary_node_eviction_rate: f64,
    /// Fraction of Nodes in a zone which needs to be not Ready (minimum 3) for zone to be treated as unhealthy.
    #[arg(long, help_heading = "Node lifecycle flags", default_value_t = 0.55)]
    pub unhealthy_zone_threshold: f64,
    /// Number of nodes up to which a zone counts as small: when it is unhealthy, nothing in it is evicted.
    #[arg(long, help_heading = "Node lifecycle flags", default_value_t = 50)]
    pub large_cluster_size_threshold: usize,
    /// Number of terminated pods that can exist before the terminated pod garbage collector starts deleting them; 0 disables it.
    #[arg(long, help_heading = "Pod GC flags", default_value_t = 12500, allow_hyphen_values = true)]
    pub terminated_pod_gc_threshold: i64,
    /// Enables the generic garbage collector.
    #[arg(long, help_heading = "Garbage collector flags", default_value_t = true, num_args = 0..=1, default_missing_value = "true", require_equals = true, action = clap::ArgAction::Set)]
    pub enable_garbage_collector: bool,
    /// The maximum number of endpoints that will be added to an EndpointSlice.
    #[arg(long, help_heading = "EndpointSlice flags", default_value_t = 100)]
    pub max_endpoints_per_slice: usize,
    /// The maximum number of endpoints that will be added to an EndpointSlice by the EndpointSliceMirroring controller.
    #[arg(long, help_heading = "EndpointSliceMirroring flags", default_value_t = 1000)]
    pub mirroring_max_endpoints_per_subset: usize,
    /// The period for syncing quota usage status in the system.
    #[arg(long, help_heading = "Resource quota flags", default_value = "5m", value_parser = seconds)]
    pub resource_quota_sync_period: Duration,
    /// The period for syncing namespace life-cycle updates.
    #[arg(long, help_heading = "Namespace flags", default_value = "5m", value_parser = seconds)]
    pub namespace_sync_period: Duration,
    /// The period for syncing persistent volumes and persistent volume claims.
    #[arg(long, help_heading = "PersistentVolume flags", default_value = "15s", value_parser = seconds)]
    pub pvclaimbinder_sync_period: Duration,
    /// The file path to a pod definition used as a template for HostPath persistent volume recycling.
    #[arg(long, help_heading = "PersistentVolume flags", value_name = "FILE")]
    pub pv_recycler_pod_template_filepath_hostpath: Option<PathBuf>,
    /// The minimum ActiveDeadlineSeconds to use for a HostPath Recycler pod.
    #[arg(long, help_heading = "PersistentVolume flags", default_value_t = 60)]
    pub pv_recycler_minimum_timeout_hostpath: i64,
    /// The increment of time added per Gi to ActiveDeadlineSeconds for a HostPath scrubber pod.
    #[arg(long, help_heading = "PersistentVolume flags", default_value_t = 30)]
    pub pv_recycler_timeout_increment_hostpath: i64,
    /// The file path to a pod definition used as a template for NFS persistent volume recycling.
    #[arg(long, help_heading = "PersistentVolume flags", value_name = "FILE")]
    pub pv_recycler_pod_template_filepath_nfs: Option<PathBuf>,
    /// The minimum ActiveDeadlineSeconds to use for an NFS Recycler pod.
    #[arg(long, help_heading = "PersistentVolume flags", default_value_t = 300)]
    pub pv_recycler_minimum_timeout_nfs: i64,
    /// The increment of time added per Gi to ActiveDeadlineSeconds for an NFS scrubber pod.
    #[arg(long, help_heading = "PersistentVolume flags", default_value_t = 30)]
    pub pv_recycler_increment_timeout_nfs: i64,
    /// The period for syncing the number of pods in horizontal pod autoscaler.
    #[arg(long, help_heading = "HPA flags", default_value = "15s", value_parser = seconds)]
    pub horizontal_pod_autoscaler_sync_period: Duration,
    /// The period for which autoscaler will look backwards and not scale down below any recommendation it made during that period.
    #[arg(long, help_heading = "HPA flags", default_value = "5m", value_parser = seconds)]
    pub horizontal_pod_autoscaler_downscale_stabilization: Duration,
    /// The minimum change (from 1.0) in the desired-to-actual metrics ratio for the horizontal pod autoscaler to consider scaling.
    #[arg(long, help_heading = "HPA flags", default_value_t = 0.1)]
    pub horizontal_pod_autoscaler_tolerance: f64,
    /// The period after pod start when CPU samples might be skipped.
    #[arg(long, help_heading = "HPA flags", default_value = "5m", value_parser = seconds)]
    pub horizontal_pod_autoscaler_cpu_initialization_period: Duration,
    /// The period after pod start during which readiness changes will be treated as initial readiness.
    #[arg(long, help_heading = "HPA flags", default_value = "30s", value_parser = seconds)]
    pub horizontal_pod_autoscaler_initial_readiness_delay: Duration,

    #[command(flatten)]
    pub concurrency: Concurrency,
}

/// How many keys each controller handles at a time.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Concurrency flags")]
pub struct Concurrency {
    /// The number of cron job objects that are allowed to sync concurrently.
    #[arg(long, default_value_t = 5)]
    pub concurrent_cron_job_syncs: usize,
    /// The number of daemonset objects that are allowed to sync concurrently.
    #[arg(long, default_value_t = 2)]
    pub concurrent_daemonset_syncs: usize,
    /// The number of deployment objects that are allowed to sync concurrently.
    #[arg(long, default_value_t = 5)]
    pub concurrent_deployment_syncs: usize,
    /// The number of endpoint syncing operations that will be done concurrently.
    #[arg(long, default_value_t = 5)]
    pub concurrent_endpoint_syncs: usize,
    /// The number of ephemeral volume syncing operations that will be done concurrently.
    #[arg(long, default_value_t = 5)]
    pub concurrent_ephemeralvolume_syncs: usize,
    /// The number of garbage collector workers that are allowed to sync concurrently.
    #[arg(long, default_value_t = 20)]
    pub concurrent_gc_syncs: usize,
    /// The number of horizontal pod autoscaler objects that are allowed to sync concurrently.
    #[arg(long, default_value_t = 5)]
    pub concurrent_horizontal_pod_autoscaler_syncs: usize,
    /// The number of job objects that are allowed to sync concurrently.
    #[arg(long, default_value_t = 5)]
    pub concurrent_job_syncs: usize,
    /// The number of namespace objects that are allowed to sync concurrently.
    #[arg(long, default_value_t = 10)]
    pub concurrent_namespace_syncs: usize,
    /// The number of replication controllers that are allowed to sync concurrently.
    #[arg(long, default_value_t = 5)]
    pub concurrent_rc_syncs: usize,
    /// The number of replica sets that are allowed to sync concurrently.
    #[arg(long, default_value_t = 5)]
    pub concurrent_replicaset_syncs: usize,
    /// The number of resource quotas that are allowed to sync concurrently.
    #[arg(long, default_value_t = 5)]
    pub concurrent_resource_quota_syncs: usize,
    /// The number of service endpoint syncing operations that will be done concurrently.
    #[arg(long, default_value_t = 5)]
    pub concurrent_service_endpoint_syncs: usize,
    /// The number of service account token objects that are allowed to sync concurrently.
    #[arg(long, default_value_t = 5)]
    pub concurrent_serviceaccount_token_syncs: usize,
    /// The number of services that are allowed to sync concurrently.
    #[arg(long, default_value_t = 1)]
    pub concurrent_service_syncs: usize,
    /// The number of statefulset objects that are allowed to sync concurrently.
    #[arg(long, default_value_t = 5)]
    pub concurrent_statefulset_syncs: usize,
    /// The number of ttl-after-finished-controller workers that are allowed to sync concurrently.
    #[arg(long, default_value_t = 5)]
    pub concurrent_ttl_after_finished_syncs: usize,
    /// The number of service endpoint mirroring operations that will be done concurrently.
    #[arg(long, default_value_t = 5)]
    pub mirroring_concurrent_service_endpoint_syncs: usize,
}

/// The text of the file that a flag names.
///
/// # Errors
/// Flag, file and what is wrong with it.
pub(crate) fn file(flag: &str, path: &Path) -> Result<String, String> {
    std::fs::read_to_string(path).map_err(|error| format!("--{flag}: {}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::{Args, Command, FromArgMatches};

    fn parse(words: &[&str]) -> Result<Flags, clap::Error> {
        let command = Flags::augment_args(Command::new("kube-controller-manager").no_binary_name(true));
        Flags::from_arg_matches(&command.try_get_matches_from(words)?)
    }

    #[test]
    fn upstreams_defaults() {
        let flags = parse(&[]).expect("no flag is required");
        assert_eq!(flags.controllers, ["*"]);
        assert_eq!((flags.secure_port, flags.leader_elect), (10257, true));
        assert_eq!(flags.node_monitor_grace_period, Duration::from_secs(50));
    }

    #[test]
    fn flags_as_kubeadm_writes_them() {
        let flags = parse(&[
            "--allocate-node-cidrs=true",
            "--controllers=*,-nodeipam,bootstrapsigner",
            "--leader-elect=false",
            "--use-service-account-credentials",
            "--bind-address=127.0.0.1",
            "--kube-api-qps=-1",
        ])
        .expect("known flags");
        assert!(flags.allocate_node_cidrs && !flags.leader_elect && flags.use_service_account_credentials);
        assert_eq!(flags.controllers, ["*", "-nodeipam", "bootstrapsigner"]);
    }

    #[test]
    fn unsupported_flags_are_not_supported_ones() {
        let command = Flags::augment_args(Command::new("kube-controller-manager"));
        for argument in command.get_arguments().filter_map(|a| a.get_long()) {
            assert!(!UNSUPPORTED_FLAGS.contains(&argument), "--{argument}");
        }
    }
}
