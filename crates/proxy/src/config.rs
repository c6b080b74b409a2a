//! `KubeProxyConfiguration`, `kubeproxy.config.k8s.io/v1alpha1`, and what it and the flags come to.
//!
//! A field nobody knows is warned about in upstream's words and left out, as upstream does it for v1alpha1. Settings of
//! other proxy modes are accepted, as files of kubeadm carry them; choosing such a mode is an error. What is set away
//! from its default and changes nothing here is named in a warning.
use crate::flags::Flags;
use serde::Deserialize;
use std::{path::PathBuf, sync::LazyLock, time::Duration};

const API_VERSION: &str = "kubeproxy.config.k8s.io/v1alpha1";
const KIND: &str = "KubeProxyConfiguration";
/// Fields that change nothing here.
const WITHOUT_EFFECT: &[&str] = &[
    "bindAddress",
    "configSyncPeriod",
    "enableProfiling",
    "oomScoreAdj",
    "portRange",
    "showHiddenMetricsForVersion",
    "windowsRunAsService",
];
/// Every field of upstream's type (v1.36) with its default.
static KNOWN: LazyLock<serde_json::Value> =
    LazyLock::new(|| apimachinery::codec::yaml::parse(include_str!("known.yaml")).unwrap_or_default());
const DEFAULT_SYNC_PERIOD: Duration = Duration::from_secs(30);
const DEFAULT_MIN_SYNC_PERIOD: Duration = Duration::from_secs(1);
const DEFAULT_MASQUERADE_BIT: u32 = 14;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("configuration {path}: {source}")]
    Read { path: PathBuf, source: std::io::Error },
    #[error("configuration: {0}")]
    Parse(String),
    #[error("configuration: kind must be {KIND} of {API_VERSION}, not {kind} of {api_version}")]
    Kind { kind: String, api_version: String },
    #[error("proxy mode {0:?} is known but not yet supported by ferrokube; use nftables")]
    UnsupportedMode(String),
    #[error("proxy mode {0:?} does not exist; use nftables")]
    Mode(String),
    #[error("{field}: {why}")]
    Invalid { field: &'static str, why: String },
}

/// The file as written.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Configuration {
    client_connection: ClientConnection,
    hostname_override: String,
    mode: String,
    #[serde(rename = "clusterCIDR")]
    cluster_cidr: String,
    detect_local_mode: String,
    detect_local: DetectLocal,
    node_port_addresses: Option<Vec<String>>,
    nftables: Nftables,
    healthz_bind_address: Option<String>,
    metrics_bind_address: Option<String>,
    bind_address_hard_fail: bool,
    conntrack: Conntrack,
    feature_gates: std::collections::BTreeMap<String, bool>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ClientConnection {
    kubeconfig: String,
    qps: f32,
    burst: i32,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct DetectLocal {
    bridge_interface: String,
    interface_name_prefix: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Nftables {
    masquerade_bit: Option<u32>,
    masquerade_all: bool,
    sync_period: Option<String>,
    min_sync_period: Option<String>,
}

/// Limits of connection tracking.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Conntrack {
    max_per_core: Option<u32>,
    min: Option<u32>,
    tcp_established_timeout: Option<String>,
    tcp_close_wait_timeout: Option<String>,
    udp_timeout: Option<String>,
    udp_stream_timeout: Option<String>,
}

impl Conntrack {
    pub fn max_per_core(&self) -> u32 {
        self.max_per_core.unwrap_or(32_768)
    }

    pub fn min(&self) -> u32 {
        self.min.unwrap_or(131_072)
    }

    /// The timeouts that were asked for, by the kernel's name.
    pub fn timeouts(&self) -> Vec<(&'static str, Duration)> {
        let settings = [
            ("nf_conntrack_tcp_timeout_established", &self.tcp_established_timeout),
            ("nf_conntrack_tcp_timeout_close_wait", &self.tcp_close_wait_timeout),
            ("nf_conntrack_udp_timeout", &self.udp_timeout),
            ("nf_conntrack_udp_timeout_stream", &self.udp_stream_timeout),
        ];
        let parsed = settings.into_iter().filter_map(|(name, text)| {
            Some((name, apimachinery::duration::parse(text.as_deref()?).ok().filter(|t| !t.is_zero())?))
        });
        parsed.collect()
    }
}

/// How to tell traffic of local pods.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DetectLocalMode {
    /// By the networks of all pods; none: it cannot be told.
    ClusterCidr(Vec<String>),
    /// By the networks of the node's pods, once they are known.
    NodeCidr,
    Bridge(String),
    InterfacePrefix(String),
}

/// What flags and file come to.
#[derive(Clone, Debug)]
pub struct Settings {
    pub kubeconfig: Option<PathBuf>,
    /// Requests a second and burst, if limited.
    pub limit: Option<(f64, u32)>,
    pub node_name: String,
    pub detect_local: DetectLocalMode,
    /// Networks whose addresses take node-port traffic; none: the node's own addresses.
    pub node_port_networks: Vec<String>,
    pub masquerade_mark: u32,
    pub masquerade_all: bool,
    pub sync_period: Duration,
    pub min_sync_period: Duration,
    pub table: String,
    /// `None`: not served.
    pub healthz_address: Option<String>,
    pub metrics_address: Option<String>,
    pub hard_fail: bool,
    pub conntrack: Conntrack,
}

impl Configuration {
    /// Reads YAML or JSON.
    ///
    /// # Errors
    /// It is not a valid configuration.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let parse = |error: String| Error::Parse(error);
        let file = apimachinery::codec::yaml::parse(text).map_err(|error| parse(error.to_string()))?;
        let word = |field: &str| file[field].as_str().unwrap_or_default().to_owned();
        let (kind, api_version) = (word("kind"), word("apiVersion"));
        if kind != KIND || api_version != API_VERSION {
            return Err(Error::Kind { kind, api_version });
        }
        if let Some(error) = apimachinery::configuration::strict_error(&file, &KNOWN) {
            tracing::warn!(error, "Using lenient decoding as strict decoding failed");
        }
        for field in apimachinery::configuration::changed(&file, &KNOWN, WITHOUT_EFFECT) {
            tracing::warn!(field, "this KubeProxyConfiguration field is known but not yet supported; it has no effect");
        }
        let parsed: Configuration = serde_json::from_value(apimachinery::configuration::without_nulls(file))
            .map_err(|error| parse(format!("failed to decode: {error}")))?;
        let gates = parsed.feature_gates.iter().map(|(name, value)| (name.as_str(), *value));
        for gate in apimachinery::feature_gates::check(gates).map_err(parse)? {
            tracing::warn!(gate, "this feature gate is known; setting it has no effect here");
        }
        Ok(parsed)
    }
}

fn split(list: &str) -> Vec<String> {
    list.split(',').map(str::trim).filter(|item| !item.is_empty()).map(str::to_owned).collect()
}

fn duration(field: &'static str, text: Option<&str>, default: Duration) -> Result<Duration, Error> {
    let Some(text) = text else { return Ok(default) };
    let parsed = apimachinery::duration::parse(text).map_err(|e| Error::Invalid { field, why: e.to_string() })?;
    Ok(if parsed.is_zero() { default } else { parsed })
}

impl Settings {
    /// Puts flags over the file they name, if any.
    ///
    /// # Errors
    /// The file cannot be read, or a setting is not valid.
    pub fn new(flags: &Flags) -> Result<Self, Error> {
        let file = match &flags.config {
            Some(path) => {
                let text = std::fs::read_to_string(path);
                Configuration::parse(&text.map_err(|source| Error::Read { path: path.clone(), source })?)?
            }
            None => Configuration::default(),
        };
        let given = |flag: &Option<String>, file: &str| flag.clone().unwrap_or_else(|| file.to_owned());
        match given(&flags.proxy_mode, &file.mode).as_str() {
            "" | "nftables" => {}
            mode @ ("iptables" | "ipvs" | "kernelspace") => return Err(Error::UnsupportedMode(mode.to_owned())),
            mode => return Err(Error::Mode(mode.to_owned())),
        }
        let node_name = match given(&flags.hostname_override, &file.hostname_override) {
            name if name.is_empty() => host_name(),
            name => name.trim().to_lowercase(),
        };
        let addresses = flags.nodeport_addresses.clone().or(file.node_port_addresses.clone()).unwrap_or_default();
        let node_port_networks: Vec<String> =
            addresses.into_iter().filter(|a| a != "primary" && !a.is_empty()).collect();
        if let Some(bad) = node_port_networks.iter().find(|n| !crate::plan::is_network(n)) {
            return Err(Error::Invalid { field: "nodePortAddresses", why: format!("{bad:?} is not a CIDR") });
        }
        let bit = file.nftables.masquerade_bit.unwrap_or(DEFAULT_MASQUERADE_BIT);
        let mark = 1u32.checked_shl(bit).ok_or_else(|| Error::Invalid {
            field: "nftables.masqueradeBit",
            why: "must be within the range [0, 31]".into(),
        })?;
        check_table_name(&flags.table)?;
        let address = |flag: &Option<String>, file: &Option<String>, default: &str| {
            let text = flag.clone().or(file.clone()).filter(|text| !text.is_empty() || flag.is_some());
            Some(text.unwrap_or_else(|| default.to_owned())).filter(|text| !text.is_empty())
        };
        let period = |text: &Option<String>| text.clone();
        let mut conntrack = file.conntrack.clone();
        conntrack.max_per_core = flags.conntrack_max_per_core.or(conntrack.max_per_core);
        conntrack.min = flags.conntrack_min.or(conntrack.min);
        let connection = &file.client_connection;
        let qps = flags.kube_api_qps.unwrap_or(connection.qps);
        let burst = flags.kube_api_burst.or(u32::try_from(connection.burst).ok()).filter(|b| *b > 0).unwrap_or(10);
        let sync = period(&file.nftables.sync_period);
        let min_sync = period(&file.nftables.min_sync_period);
        Ok(Settings {
            kubeconfig: flags
                .kubeconfig
                .clone()
                .or_else(|| Some(connection.kubeconfig.clone().into()))
                .filter(|path| !path.as_os_str().is_empty()),
            limit: (qps > 0.0).then_some((f64::from(qps), burst)),
            node_name,
            detect_local: detect_local(flags, &file)?,
            node_port_networks,
            masquerade_mark: mark,
            masquerade_all: flags.masquerade_all.unwrap_or(file.nftables.masquerade_all),
            sync_period: flags
                .nftables_sync_period
                .map_or_else(|| duration("nftables.syncPeriod", sync.as_deref(), DEFAULT_SYNC_PERIOD), Ok)?,
            min_sync_period: flags
                .nftables_min_sync_period
                .map_or_else(|| duration("nftables.minSyncPeriod", min_sync.as_deref(), DEFAULT_MIN_SYNC_PERIOD), Ok)?,
            table: flags.table.clone(),
            healthz_address: address(&flags.healthz_bind_address, &file.healthz_bind_address, "0.0.0.0:10256"),
            metrics_address: address(&flags.metrics_bind_address, &file.metrics_bind_address, "127.0.0.1:10249"),
            hard_fail: flags.bind_address_hard_fail.unwrap_or(file.bind_address_hard_fail),
            conntrack,
        })
    }
}

/// The name goes into nft's input, so it must be a word.
pub(crate) fn check_table_name(name: &str) -> Result<(), Error> {
    let word = name.starts_with(|c: char| c.is_ascii_alphabetic())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
        && name.len() <= 128;
    let why = || format!("{name:?} must be letters, digits, '-', '_' or '.', a letter first");
    if word { Ok(()) } else { Err(Error::Invalid { field: "nftables-table", why: why() }) }
}

fn detect_local(flags: &Flags, file: &Configuration) -> Result<DetectLocalMode, Error> {
    let mode = flags.detect_local_mode.as_deref().unwrap_or(&file.detect_local_mode);
    let or = |flag: &Option<String>, file: &str| flag.clone().unwrap_or_else(|| file.to_owned());
    let interface = |name: String, field| {
        let fine = !name.is_empty() && name.len() < 16 && !name.contains(['"', '/', '\\', '\n', ' ']);
        if fine { Ok(name) } else { Err(Error::Invalid { field, why: format!("{name:?} is not an interface name") }) }
    };
    Ok(match mode {
        "" | "ClusterCIDR" => {
            let networks = split(&or(&flags.cluster_cidr, &file.cluster_cidr));
            if let Some(bad) = networks.iter().find(|n| !crate::plan::is_network(n)) {
                return Err(Error::Invalid { field: "clusterCIDR", why: format!("{bad:?} is not a CIDR") });
            }
            DetectLocalMode::ClusterCidr(networks)
        }
        "NodeCIDR" => DetectLocalMode::NodeCidr,
        "BridgeInterface" => {
            let name = or(&flags.pod_bridge_interface, &file.detect_local.bridge_interface);
            DetectLocalMode::Bridge(interface(name, "detectLocal.bridgeInterface")?)
        }
        "InterfaceNamePrefix" => {
            let prefix = or(&flags.pod_interface_name_prefix, &file.detect_local.interface_name_prefix);
            DetectLocalMode::InterfacePrefix(interface(prefix, "detectLocal.interfaceNamePrefix")?)
        }
        other => return Err(Error::Invalid { field: "detectLocalMode", why: format!("{other:?} is not a mode") }),
    })
}

fn host_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname");
    name.map_or_else(|_| "localhost".into(), |name| name.trim().to_lowercase())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        flags: Flags,
    }

    fn settings(arguments: &[&str]) -> Result<Settings, Error> {
        let words = ["kube-proxy"].iter().chain(arguments);
        Settings::new(&Cli::try_parse_from(words).unwrap().flags)
    }

    #[test]
    fn flags_win_over_the_file() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let text = "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\nmode: ''\nclusterCIDR: \
                    10.1.0.0/16\nhostnameOverride: FROM-FILE\nnftables: {syncPeriod: 10s, masqueradeBit: 13}\nconntrack: \
                    {maxPerCore: null}\nipvs: {strictARP: true}\nwinkernel: {}\n";
        std::fs::write(&file, text).unwrap();
        let path = file.path().to_str().unwrap();
        let got = settings(&["--config", path, "--cluster-cidr", "10.2.0.0/16,fd00::/64"]).unwrap();
        assert_eq!(got.detect_local, DetectLocalMode::ClusterCidr(vec!["10.2.0.0/16".into(), "fd00::/64".into()]));
        assert_eq!(
            (got.node_name.as_str(), got.sync_period, got.masquerade_mark),
            ("from-file", Duration::from_secs(10), 0x2000)
        );
    }

    /// What `kubeadm init` of v1.36 puts into the ConfigMap `kube-proxy`.
    #[test]
    fn a_file_of_kubeadm_passes_whole() {
        let text = include_str!("kubeadm.yaml");
        let file = apimachinery::codec::yaml::parse(text).unwrap();
        assert_eq!(apimachinery::configuration::strict_error(&file, &KNOWN), None);
        assert_eq!(apimachinery::configuration::changed(&file, &KNOWN, WITHOUT_EFFECT), [""; 0]);
        let parsed = Configuration::parse(text).unwrap();
        assert_eq!(parsed.cluster_cidr, "10.244.0.0/16");
        assert_eq!((parsed.conntrack.max_per_core(), parsed.conntrack.min()), (32_768, 131_072));
    }

    #[test]
    fn mistakes_are_named() {
        let table: [(&[&str], &str); 5] = [
            (&["--proxy-mode=iptables"], "\"iptables\" is known but not yet supported"),
            (&["--proxy-mode=magic"], "\"magic\" does not exist"),
            (&["--cluster-cidr=10.0.0.0"], "not a CIDR"),
            (&["--nftables-table=a b"], "nftables-table"),
            (&["--detect-local-mode=BridgeInterface"], "not an interface name"),
        ];
        for (arguments, expected) in table {
            let error = settings(arguments).unwrap_err().to_string();
            assert!(error.contains(expected), "{arguments:?}: {error}");
        }
        let head = "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\n";
        let lenient = Configuration::parse(&format!("{head}clusterCidr: x\nclusterCIDR: 10.0.0.0/8")).unwrap();
        assert_eq!(lenient.cluster_cidr, "10.0.0.0/8");
        let gates = Configuration::parse(&format!("{head}featureGates: {{NoSuchThing: true}}")).unwrap_err();
        assert_eq!(gates.to_string(), "configuration: unrecognized feature gate: NoSuchThing");
        assert!(Configuration::parse("kind: Pod\napiVersion: v1").is_err());
    }
}
