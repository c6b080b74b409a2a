//! kube-proxy's flags, with upstream's names and defaults, and one of ours: the name of the table.
use apimachinery::duration;
use std::{path::PathBuf, time::Duration};

fn go_duration(text: &str) -> Result<Duration, String> {
    duration::parse(text).map_err(|error| error.to_string())
}

#[derive(Clone, Debug, clap::Args)]
pub struct Flags {
    /// The path to the configuration file; flags that are given win over it
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Path to kubeconfig file with authorization information
    #[arg(long, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// If non-empty, will be used as the name of the Node that kube-proxy is running on
    #[arg(long, value_name = "NAME")]
    pub hostname_override: Option<String>,
    /// Remove what a kube-proxy left in the kernel, and exit
    #[arg(long)]
    pub cleanup: bool,

    /// Which proxy mode to use; only nftables is supported yet [default: nftables]
    #[arg(long, help_heading = "Proxying", value_name = "MODE")]
    pub proxy_mode: Option<String>,
    /// The CIDR range of the pods in the cluster; traffic from elsewhere to cluster IPs is masqueraded
    #[arg(long, help_heading = "Proxying", value_name = "CIDR[,CIDR]")]
    pub cluster_cidr: Option<String>,
    /// How to tell local traffic: ClusterCIDR, NodeCIDR, BridgeInterface or InterfaceNamePrefix
    #[arg(long, help_heading = "Proxying", value_name = "MODE")]
    pub detect_local_mode: Option<String>,
    /// The interface that local pods' traffic comes in on, for --detect-local-mode=BridgeInterface
    #[arg(long, help_heading = "Proxying", value_name = "NAME")]
    pub pod_bridge_interface: Option<String>,
    /// The prefix of such interfaces, for --detect-local-mode=InterfaceNamePrefix
    #[arg(long, help_heading = "Proxying", value_name = "PREFIX")]
    pub pod_interface_name_prefix: Option<String>,
    /// CIDRs whose addresses accept node-port traffic, or "primary": the node's own address
    #[arg(long, help_heading = "Proxying", value_name = "CIDRS", value_delimiter = ',')]
    pub nodeport_addresses: Option<Vec<String>>,
    /// SNAT all traffic sent via Service cluster IPs
    #[arg(long, help_heading = "Proxying", num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    pub masquerade_all: Option<bool>,
    /// An interval how often rules are checked and repaired [default: 30s]
    #[arg(long, help_heading = "Proxying", value_parser = go_duration)]
    pub nftables_sync_period: Option<Duration>,
    /// The minimum period between two changes of rules [default: 1s]
    #[arg(long, help_heading = "Proxying", value_parser = go_duration)]
    pub nftables_min_sync_period: Option<Duration>,
    /// The nftables table; differs where several clusters share a network namespace
    #[arg(long = "nftables-table", help_heading = "Proxying", value_name = "NAME", default_value = "kube-proxy")]
    pub table: String,

    /// The IP address with port for the health check server; empty: none [default: 0.0.0.0:10256]
    #[arg(long, help_heading = "Serving", value_name = "ADDRESS")]
    pub healthz_bind_address: Option<String>,
    /// The IP address with port for the metrics server; empty: none [default: 127.0.0.1:10249]
    #[arg(long, help_heading = "Serving", value_name = "ADDRESS")]
    pub metrics_bind_address: Option<String>,
    /// Fail when one of these ports is taken, rather than trying again
    #[arg(long, help_heading = "Serving", num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    pub bind_address_hard_fail: Option<bool>,

    /// QPS to use while talking with kubernetes apiserver; 0 or less: no limit
    #[arg(long, help_heading = "API server")]
    pub kube_api_qps: Option<f32>,
    /// Burst to use while talking with kubernetes apiserver
    #[arg(long, help_heading = "API server")]
    pub kube_api_burst: Option<u32>,

    /// Maximum number of NAT connections to track per CPU core (0: leave the limit as it is) [default: 32768]
    #[arg(long, help_heading = "Connection tracking")]
    pub conntrack_max_per_core: Option<u32>,
    /// Minimum number of conntrack entries to allocate [default: 131072]
    #[arg(long, help_heading = "Connection tracking")]
    pub conntrack_min: Option<u32>,
}

/// Flags of upstream's kube-proxy that mean something there and nothing here yet.
pub const UNSUPPORTED_FLAGS: &[&str] = &[
    "bind-address",
    "conntrack-tcp-be-liberal",
    "conntrack-tcp-timeout-close-wait",
    "conntrack-tcp-timeout-established",
    "conntrack-udp-timeout",
    "conntrack-udp-timeout-stream",
    "healthz-port",
    "init-only",
    "iptables-localhost-nodeports",
    "iptables-masquerade-bit",
    "iptables-min-sync-period",
    "iptables-sync-period",
    "ipvs-exclude-cidrs",
    "ipvs-min-sync-period",
    "ipvs-scheduler",
    "ipvs-strict-arp",
    "ipvs-sync-period",
    "ipvs-tcp-timeout",
    "ipvs-tcpfin-timeout",
    "ipvs-udp-timeout",
    "master",
    "metrics-port",
    "proxy-port-range",
    "write-config-to",
];
