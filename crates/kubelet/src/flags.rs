//! The kubelet's command line, with upstream's names and defaults.
//!
//! A flag that is given overrides the field of the same meaning in the configuration file.
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;

pub use fields::FieldFlags;

mod fields;
pub mod node_labels;

/// Upstream flags that are known and not supported yet; using one is an error that says so.
pub const UNSUPPORTED_FLAGS: &[&str] = &[
    "boot-id-file",
    "cloud-config",
    "cloud-provider",
    "config-dir",
    "container-hints",
    "containerd",
    "containerd-namespace",
    "enable-load-reader",
    "event-storage-age-limit",
    "event-storage-event-limit",
    "exit-on-lock-contention",
    "experimental-allocatable-ignore-eviction",
    "experimental-mounter-path",
    "global-housekeeping-interval",
    "housekeeping-interval",
    "image-credential-provider-bin-dir",
    "image-credential-provider-config",
    "keep-terminated-pod-volumes",
    "lock-file",
    "log-cadvisor-usage",
    "machine-id-file",
    "max-housekeeping-interval",
    "maximum-dead-containers",
    "maximum-dead-containers-per-container",
    "minimum-container-ttl-duration",
    "register-schedulable",
    "storage-driver-buffer-duration",
    "storage-driver-db",
    "storage-driver-host",
    "storage-driver-password",
    "storage-driver-secure",
    "storage-driver-table",
    "storage-driver-user",
];

/// Flags besides [`FieldFlags`] that are a field of the configuration file and better set there.
const FIELDS_TOO: &[&str] = &[
    "address",
    "anonymous-auth",
    "authentication-token-webhook",
    "authorization-mode",
    "cgroup-driver",
    "cgroup-root",
    "cgroups-per-qos",
    "client-ca-file",
    "cluster-dns",
    "cluster-domain",
    "container-runtime-endpoint",
    "fail-swap-on",
    "healthz-bind-address",
    "healthz-port",
    "image-service-endpoint",
    "max-pods",
    "pod-cidr",
    "pod-manifest-path",
    "port",
    "register-node",
    "register-with-taints",
    "resolv-conf",
    "tls-cert-file",
    "tls-private-key-file",
];

/// Upstream's word on a flag that is deprecated, for `Flag --x has been deprecated, …`.
pub fn deprecated_flag(flag: &str) -> Option<&'static str> {
    match flag {
        "pod-infra-container-image" => Some(
            "will be removed in a future release. Image garbage collector will get sandbox image information from CRI.",
        ),
        "provider-id" => None,
        _ if FIELDS_TOO.contains(&flag) || fields::is_field(flag) => Some(fields::DEPRECATED),
        _ => None,
    }
}

/// Flags of the kubelet. All fields are public so that the kubelet can be started in a process without a command line.
#[derive(Debug, Clone, clap::Args)]
#[allow(missing_docs)]
pub struct Flags {
    /// The file with the KubeletConfiguration (kubelet.config.k8s.io/v1beta1).
    #[arg(long, help_heading = "Configuration")]
    pub config: Option<PathBuf>,
    /// The kubeconfig with which to reach the API server. Without it the kubelet runs static pods only.
    #[arg(long, help_heading = "Configuration")]
    pub kubeconfig: Option<PathBuf>,
    /// A kubeconfig good enough to ask for a client certificate, used when --kubeconfig does not exist.
    #[arg(long, help_heading = "Configuration")]
    pub bootstrap_kubeconfig: Option<PathBuf>,
    /// The name of this node; without it, the host's name.
    #[arg(long, help_heading = "Node")]
    pub hostname_override: Option<String>,
    /// The address of this node (for dual stack two, separated by a comma).
    #[arg(long, value_delimiter = ',', help_heading = "Node")]
    pub node_ip: Vec<IpAddr>,
    /// Labels to add when the node registers: key=value,…
    #[arg(long, value_parser = parse_labels, help_heading = "Node")]
    pub node_labels: Option<BTreeMap<String, String>>,
    /// Register the node with the API server.
    #[arg(long, default_value_t = true, num_args = 0..=1, default_missing_value = "true", action = clap::ArgAction::Set, help_heading = "Node")]
    pub register_node: bool,
    /// Taints to register the node with: key=value:effect,…
    #[arg(long, value_delimiter = ',', help_heading = "Node")]
    pub register_with_taints: Vec<String>,
    /// The kubelet's data: volumes, pods' files.
    #[arg(long, default_value = "/var/lib/kubelet", help_heading = "Files")]
    pub root_dir: PathBuf,
    /// Where certificates are kept.
    #[arg(long, default_value = "/var/lib/kubelet/pki", help_heading = "Files")]
    pub cert_dir: PathBuf,
    /// Manifests of static pods: a file or a folder of them.
    #[arg(long, help_heading = "Files")]
    pub pod_manifest_path: Option<PathBuf>,
    /// Where container logs are linked for collectors.
    #[arg(long, default_value = "/var/log/containers", hide = true, help_heading = "Files")]
    pub container_log_links: PathBuf,
    /// Where container logs lie.
    #[arg(long, help_heading = "Files")]
    pub pod_logs_dir: Option<PathBuf>,
    /// The socket of the container runtime.
    #[arg(long, help_heading = "Runtime")]
    pub container_runtime_endpoint: Option<String>,
    /// The socket of the image service, if not the runtime's.
    #[arg(long, help_heading = "Runtime")]
    pub image_service_endpoint: Option<String>,
    /// The image of the sandbox's process; the image collector spares it.
    #[arg(long, help_heading = "Runtime")]
    pub pod_infra_container_image: Option<String>,
    /// The cgroup under which pods' cgroups are made.
    #[arg(long, help_heading = "Runtime")]
    pub cgroup_root: Option<String>,
    /// How cgroups are managed: cgroupfs or systemd.
    #[arg(long, help_heading = "Runtime")]
    pub cgroup_driver: Option<String>,
    /// The cgroup of the container runtime; only its statistics would be shown.
    #[arg(long, help_heading = "Runtime")]
    pub runtime_cgroups: Option<String>,
    /// A cgroup of its own for each QoS class and pod.
    #[arg(long, num_args = 0..=1, default_missing_value = "true", help_heading = "Runtime")]
    pub cgroups_per_qos: Option<bool>,
    /// How many pods may run here.
    #[arg(long, help_heading = "Runtime")]
    pub max_pods: Option<i32>,
    /// The pod range, for a kubelet without an API server.
    #[arg(long, help_heading = "Network")]
    pub pod_cidr: Option<String>,
    /// DNS servers of pods with dnsPolicy ClusterFirst.
    #[arg(long, value_delimiter = ',', help_heading = "Network")]
    pub cluster_dns: Vec<String>,
    /// The cluster's domain.
    #[arg(long, help_heading = "Network")]
    pub cluster_domain: Option<String>,
    /// The resolver configuration pods inherit.
    #[arg(long, help_heading = "Network")]
    pub resolv_conf: Option<String>,
    /// The address to serve on.
    #[arg(long, help_heading = "Serving")]
    pub address: Option<IpAddr>,
    /// The port to serve on.
    #[arg(long, help_heading = "Serving")]
    pub port: Option<u16>,
    /// The port for health checks, on localhost; 0 turns it off.
    #[arg(long, help_heading = "Serving")]
    pub healthz_port: Option<u16>,
    /// The address of the health port.
    #[arg(long, help_heading = "Serving")]
    pub healthz_bind_address: Option<IpAddr>,
    /// The serving certificate; without it a self-signed one is made in --cert-dir.
    #[arg(long, help_heading = "Serving")]
    pub tls_cert_file: Option<PathBuf>,
    /// The serving certificate's key.
    #[arg(long, help_heading = "Serving")]
    pub tls_private_key_file: Option<PathBuf>,
    /// Client certificates signed by this authority authenticate.
    #[arg(long, help_heading = "Serving")]
    pub client_ca_file: Option<PathBuf>,
    /// Serve requests without credentials as system:anonymous.
    #[arg(long, num_args = 0..=1, default_missing_value = "true", help_heading = "Serving")]
    pub anonymous_auth: Option<bool>,
    /// Ask the API server about bearer tokens.
    #[arg(long, num_args = 0..=1, default_missing_value = "true", help_heading = "Serving")]
    pub authentication_token_webhook: Option<bool>,
    /// AlwaysAllow or Webhook.
    #[arg(long, help_heading = "Serving")]
    pub authorization_mode: Option<String>,
    /// Refuse to run while swap is on.
    #[arg(long, num_args = 0..=1, default_missing_value = "true", help_heading = "Runtime")]
    pub fail_swap_on: Option<bool>,
    #[command(flatten)]
    pub fields: FieldFlags,
}

impl Default for Flags {
    fn default() -> Self {
        use clap::{Args as _, FromArgMatches as _};
        let command = Flags::augment_args(clap::Command::new("kubelet"));
        let matches = command.get_matches_from(["kubelet"]);
        Flags::from_arg_matches(&matches).expect("every flag is optional or has a default")
    }
}

fn parse_labels(text: &str) -> Result<BTreeMap<String, String>, String> {
    let pairs = text.split(',').map(str::trim).filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| match pair.split_once('=') {
            Some((key, value)) => Ok((key.to_owned(), value.to_owned())),
            None => Err(format!("malformed pair, expect string=string: {pair:?}")),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_and_labels() {
        let flags = Flags::default();
        assert!(flags.register_node);
        assert_eq!(flags.root_dir, PathBuf::from("/var/lib/kubelet"));
        assert_eq!(parse_labels("a=b,c=").map(|l| l.len()), Ok(2));
        assert!(parse_labels("a").is_err());
        assert!(deprecated_flag("cgroup-driver").is_some() && deprecated_flag("max-open-files").is_some());
        assert!(deprecated_flag("node-ip").is_none() && deprecated_flag("provider-id").is_none());
    }
}
