//! KubeletConfiguration (kubelet.config.k8s.io/v1beta1) and what it comes to together with the flags.
//!
//! Files of kubeadm pass whole. A field that does not exist is warned about in upstream's words and left out, as upstream
//! does it for v1beta1; a field this kubelet does not act on is named when its value asks for anything ([`known`]).
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::Error;
use crate::eviction::thresholds::{Given, Settings, effective_hard};
use crate::flags::{Flags, node_labels};
use crate::reserved::Reserved;

mod known;

/// Fields of upstream's type that this kubelet accepts without acting on them.
const NOT_ACTED_ON: &[&str] = &[
    "configMapAndSecretChangeDetectionStrategy",
    "containerLogMaxWorkers",
    "containerLogMonitorInterval",
    "contentType",
    "cpuCFSQuotaPeriod",
    "cpuManagerPolicy",
    "cpuManagerPolicyOptions",
    "cpuManagerReconcilePeriod",
    "crashLoopBackOff",
    "enableContentionProfiling",
    "enableControllerAttachDetach",
    "enableDebugFlagsHandler",
    "enableDebuggingHandlers",
    "enableProfilingHandler",
    "enableServer",
    "enableSystemLogHandler",
    "enableSystemLogQuery",
    "eventBurst",
    "eventRecordQPS",
    "fileCheckFrequency",
    "flushFrequency",
    "hairpinMode",
    "httpCheckFrequency",
    "imagePullCredentialsVerificationPolicy",
    "iptablesDropBit",
    "iptablesMasqueradeBit",
    "kernelMemcgNotification",
    "kubeAPIBurst",
    "kubeAPIQPS",
    "kubeletCgroups",
    "kubeReservedCgroup",
    "localStorageCapacityIsolation",
    "logging",
    "makeIPTablesUtilChains",
    "maxOpenFiles",
    "maxParallelImagePulls",
    "memoryManagerPolicy",
    "memoryReservationPolicy",
    "memorySwap",
    "memoryThrottlingFactor",
    "nodeLeaseDurationSeconds",
    "nodeStatusMaxImages",
    "nodeStatusReportFrequency",
    "oomScoreAdj",
    "podsPerCore",
    "preloadedImagesVerificationAllowlist",
    "protectKernelDefaults",
    "qosReserved",
    "readOnlyPort",
    "registryBurst",
    "registryPullQPS",
    "reservedMemory",
    "reservedSystemCPUs",
    "rotateCertificates",
    "runOnce",
    "runtimeRequestTimeout",
    "serializeImagePulls",
    "showHiddenMetricsForVersion",
    "shutdownGracePeriod",
    "shutdownGracePeriodByPodPriority",
    "shutdownGracePeriodCriticalPods",
    "singleProcessOOMKill",
    "streamingConnectionIdleTimeout",
    "syncFrequency",
    "systemCgroups",
    "systemReservedCgroup",
    "tlsCipherSuites",
    "tlsCurvePreferences",
    "tlsMinVersion",
    "topologyManagerPolicy",
    "topologyManagerPolicyOptions",
    "topologyManagerScope",
    "tracing",
    "userNamespaces",
    "volumePluginDir",
    "volumeStatsAggPeriod",
];

#[derive(Debug, Clone, Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
struct File {
    #[serde(rename = "apiVersion")]
    api_version: String,
    kind: String,
    address: Option<IpAddr>,
    port: Option<u16>,
    healthz_port: Option<u16>,
    healthz_bind_address: Option<IpAddr>,
    tls_cert_file: Option<PathBuf>,
    tls_private_key_file: Option<PathBuf>,
    #[serde(rename = "serverTLSBootstrap")]
    server_tls_bootstrap: Option<bool>,
    authentication: Authentication,
    authorization: Authorization,
    static_pod_path: Option<PathBuf>,
    #[serde(rename = "staticPodURL")]
    static_pod_url: Option<String>,
    #[serde(rename = "staticPodURLHeader")]
    static_pod_url_header: Option<BTreeMap<String, Vec<String>>>,
    register_with_taints: Option<Vec<k8s_openapi::api::core::v1::Taint>>,
    register_node: Option<bool>,
    cluster_domain: Option<String>,
    #[serde(rename = "clusterDNS")]
    cluster_dns: Option<Vec<String>>,
    resolv_conf: Option<String>,
    container_runtime_endpoint: Option<String>,
    image_service_endpoint: Option<String>,
    cgroup_root: Option<String>,
    cgroup_driver: Option<String>,
    #[serde(rename = "cgroupsPerQOS")]
    cgroups_per_qos: Option<bool>,
    max_pods: Option<i32>,
    #[serde(rename = "podCIDR")]
    pod_cidr: Option<String>,
    container_log_max_size: Option<String>,
    container_log_max_files: Option<usize>,
    pod_logs_dir: Option<PathBuf>,
    node_status_update_frequency: Option<String>,
    fail_swap_on: Option<bool>,
    fail_cgroup_v1: Option<bool>,
    #[serde(rename = "imageMinimumGCAge")]
    image_minimum_gc_age: Option<String>,
    #[serde(rename = "imageGCHighThresholdPercent")]
    image_gc_high_threshold_percent: Option<u8>,
    #[serde(rename = "imageGCLowThresholdPercent")]
    image_gc_low_threshold_percent: Option<u8>,
    #[serde(rename = "cpuCFSQuota")]
    cpu_cfs_quota: Option<bool>,
    allowed_unsafe_sysctls: Option<Vec<String>>,
    seccomp_default: Option<bool>,
    #[serde(rename = "providerID")]
    provider_id: Option<String>,
    kube_reserved: Option<BTreeMap<String, String>>,
    system_reserved: Option<BTreeMap<String, String>>,
    eviction_hard: Option<BTreeMap<String, String>>,
    feature_gates: BTreeMap<String, bool>,
    /// All of the file.
    #[serde(skip)]
    whole: serde_json::Value,
    eviction_soft: Option<BTreeMap<String, String>>,
    eviction_soft_grace_period: Option<BTreeMap<String, String>>,
    eviction_minimum_reclaim: Option<BTreeMap<String, String>>,
    eviction_pressure_transition_period: Option<String>,
    eviction_max_pod_grace_period: Option<i64>,
    merge_default_eviction_settings: Option<bool>,
    enforce_node_allocatable: Option<Vec<String>>,
    #[serde(rename = "imageMaximumGCAge")]
    image_maximum_gc_age: Option<String>,
    pod_pids_limit: Option<i64>,
}

#[derive(Debug, Clone, Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
struct Authentication {
    x509: X509,
    webhook: Webhook,
    anonymous: Anonymous,
}

#[derive(Debug, Clone, Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
struct X509 {
    #[serde(rename = "clientCAFile")]
    client_ca_file: Option<PathBuf>,
}

#[derive(Debug, Clone, Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
struct Webhook {
    enabled: Option<bool>,
    #[serde(rename = "cacheTTL")]
    cache_ttl: Option<String>,
    #[serde(rename = "cacheAuthorizedTTL")]
    cache_authorized_ttl: Option<String>,
    #[serde(rename = "cacheUnauthorizedTTL")]
    cache_unauthorized_ttl: Option<String>,
}

#[derive(Debug, Clone, Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
struct Anonymous {
    enabled: Option<bool>,
}

#[derive(Debug, Clone, Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
struct Authorization {
    mode: Option<String>,
    webhook: Webhook,
}

/// Who may ask the kubelet's server what.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum AuthorizationMode {
    /// Whoever is authenticated may do everything.
    AlwaysAllow,
    /// The API server decides, by SubjectAccessReview.
    Webhook,
}

/// What the kubelet runs with: file and flags put together, defaults filled in.
#[derive(Debug, Clone, Serialize)]
#[allow(missing_docs)]
pub struct Config {
    pub node_name: String,
    pub node_ips: Vec<IpAddr>,
    pub node_labels: BTreeMap<String, String>,
    pub register_node: bool,
    pub register_with_taints: Vec<k8s_openapi::api::core::v1::Taint>,
    pub root_dir: PathBuf,
    pub cert_dir: PathBuf,
    pub static_pod_path: Option<PathBuf>,
    pub pod_logs_dir: PathBuf,
    pub container_log_links: PathBuf,
    pub container_log_max_bytes: u64,
    pub container_log_max_files: usize,
    pub runtime_endpoint: String,
    pub image_endpoint: Option<String>,
    pub pod_infra_container_image: Option<String>,
    /// With a leading slash, without one at the end; empty for the hierarchy's root.
    pub cgroup_root: String,
    pub cgroup_driver: Option<String>,
    pub cgroups_per_qos: bool,
    pub cpu_cfs_quota: bool,
    pub max_pods: i32,
    pub pod_cidr: Option<String>,
    pub cluster_dns: Vec<String>,
    pub cluster_domain: String,
    pub resolv_conf: Option<PathBuf>,
    pub address: IpAddr,
    pub port: u16,
    pub healthz_address: IpAddr,
    pub healthz_port: u16,
    pub tls_cert_file: Option<PathBuf>,
    pub tls_private_key_file: Option<PathBuf>,
    /// Ask for serving certificates by request, unless one is given.
    pub server_tls_bootstrap: bool,
    pub client_ca_file: Option<PathBuf>,
    pub anonymous_auth: bool,
    pub token_webhook: bool,
    /// How long a token's holder is remembered.
    pub token_ttl: Duration,
    pub authorization: AuthorizationMode,
    /// How long it is remembered that somebody may, and may not.
    pub allowed_ttl: Duration,
    pub refused_ttl: Duration,
    pub node_status_update_frequency: Duration,
    pub fail_swap_on: bool,
    /// KEP-4569: from v1.35 on a host with cgroup v1 is refused unless this says otherwise.
    pub fail_cgroup_v1: bool,
    pub image_gc_high_percent: u8,
    pub image_gc_low_percent: u8,
    pub image_minimum_gc_age: Duration,
    pub allowed_unsafe_sysctls: Vec<String>,
    /// Containers that name no seccomp profile get the runtime's instead of none.
    pub seccomp_default: bool,
    pub provider_id: Option<String>,
    /// What pods do not get of the machine.
    pub reserved: Reserved,
    /// The file with upstream's defaults, as a KubeletConfiguration.
    pub settings: serde_json::Value,
    /// When pods have to go for the node's sake.
    pub eviction: Settings,
    /// `evictionHard` in the configuration's words.
    pub eviction_hard: BTreeMap<String, String>,
    /// Pods together are held to what is allocatable.
    pub enforce_pods: bool,
    /// Zero: images are never too old.
    pub image_maximum_gc_age: Duration,
    /// How many processes a pod may have; `None`: any number.
    pub pod_pids_limit: Option<i64>,
}

/// Reads the configuration file, if any, and lays the flags over it.
///
/// # Errors
/// The file cannot be read, is no KubeletConfiguration, has an unknown field, or a value makes no sense.
pub fn load(flags: &Flags) -> Result<Config, Error> {
    let mut value = match &flags.config {
        None => serde_json::Value::Null,
        Some(path) => {
            let text = std::fs::read_to_string(path).map_err(|e| of_file(path, e))?;
            checked(&text).map_err(|e| of_file(path, e))?
        }
    };
    flags.fields.over(&mut value);
    let file = read(value).map_err(|e| match &flags.config {
        Some(path) => of_file(path, e),
        None => Error::Invalid(e),
    })?;
    combine(flags, file)
}

/// What is wrong with the file that `--config` names.
fn of_file(path: &Path, why: impl std::fmt::Display) -> Error {
    Error::Invalid(format!("--config: {}: {why}", path.display()))
}

/// A file of the kind, not yet looked at further.
fn checked(text: &str) -> Result<serde_json::Value, String> {
    let value = known::pruned(apimachinery::codec::yaml::parse(text).map_err(|e| e.to_string())?);
    let text = |field: &str| value[field].as_str().unwrap_or_default().to_owned();
    let (kind, version) = (text("kind"), text("apiVersion"));
    if kind != "KubeletConfiguration" || version != "kubelet.config.k8s.io/v1beta1" {
        return Err(format!("failed to decode: no kind {kind:?} is registered for version {version:?}"));
    }
    Ok(value)
}

#[cfg(test)]
fn parse(text: &str) -> Result<File, String> {
    read(checked(text)?)
}

fn read(value: serde_json::Value) -> Result<File, String> {
    if value.is_null() {
        return Ok(File::default());
    }
    if let Some(error) = known::strict_error(&value) {
        tracing::warn!(error, "Using lenient decoding as strict decoding failed");
    }
    for field in known::without_effect(&value, NOT_ACTED_ON)? {
        tracing::warn!(field, "this KubeletConfiguration field is known but not yet supported; it has no effect");
    }
    let mut file: File = serde_json::from_value(value.clone()).map_err(|e| format!("failed to decode: {e}"))?;
    file.whole = value;
    if file.static_pod_url.is_some() {
        return Err("staticPodURL is known but not yet supported by ferrokube".into());
    }
    let gates = file.feature_gates.iter().map(|(name, value)| (name.as_str(), *value));
    for gate in apimachinery::feature_gates::check(gates)? {
        tracing::warn!(gate, "this feature gate is known; setting it has no effect here");
    }
    Ok(file)
}

fn combine(flags: &Flags, file: File) -> Result<Config, Error> {
    let invalid = |what: String| Error::Invalid(what);
    let node_name = match &flags.hostname_override {
        Some(name) => name.trim().to_lowercase(),
        None => rustix::system::uname().nodename().to_string_lossy().trim().to_lowercase(),
    };
    if node_name.is_empty() {
        return Err(invalid("the node has no name: give --hostname-override".into()));
    }
    if let Some(labels) = &flags.node_labels {
        node_labels::validate(labels).map_err(|why| invalid(format!("failed to validate kubelet flags: {why}")))?;
    }
    let mode = flags.authorization_mode.clone().or(file.authorization.mode);
    let authorization = match mode.as_deref().unwrap_or("Webhook") {
        "Webhook" => AuthorizationMode::Webhook,
        "AlwaysAllow" => AuthorizationMode::AlwaysAllow,
        other => return Err(invalid(format!("unknown authorization mode {other}"))),
    };
    let mut taints = file.register_with_taints.unwrap_or_default();
    if !flags.register_with_taints.is_empty() {
        taints =
            flags.register_with_taints.iter().map(|t| parse_taint(t)).collect::<Result<_, _>>().map_err(invalid)?;
    }
    let cgroup_root = flags.cgroup_root.clone().or(file.cgroup_root).unwrap_or_default();
    let trimmed = cgroup_root.trim_matches('/');
    let cgroup_root = if trimmed.is_empty() { String::new() } else { format!("/{trimmed}") };
    let max_log = file.container_log_max_size.as_deref().unwrap_or("10Mi");
    let max_log = apimachinery::quantity::Quantity::parse(max_log)
        .map_err(|e| invalid(format!("containerLogMaxSize {max_log:?}: {e}")))?;
    let resolv_conf = flags.resolv_conf.clone().or(file.resolv_conf).unwrap_or_else(default_resolv_conf);
    let cluster_dns =
        if flags.cluster_dns.is_empty() { file.cluster_dns.unwrap_or_default() } else { flags.cluster_dns.clone() };
    let enforced = file.enforce_node_allocatable.unwrap_or_else(|| vec!["pods".into()]);
    if let Some(other) = enforced.iter().find(|what| !["pods", "none"].contains(&what.as_str())) {
        return Err(invalid(format!("enforceNodeAllocatable: {other} is not yet supported; pods and none are")));
    }
    let enforce_pods = enforced.iter().any(|what| what == "pods");
    let merge_defaults = file.merge_default_eviction_settings.unwrap_or(false);
    let hard = effective_hard(file.eviction_hard.as_ref(), merge_defaults);
    let thresholds = Given {
        hard: file.eviction_hard.as_ref(),
        soft: file.eviction_soft.as_ref(),
        soft_grace: file.eviction_soft_grace_period.as_ref(),
        min_reclaim: file.eviction_minimum_reclaim.as_ref(),
        merge_defaults,
        enforce_pods,
    };
    let thresholds = thresholds.thresholds().map_err(invalid)?;
    Ok(Config {
        node_name,
        node_ips: flags.node_ip.clone(),
        node_labels: flags.node_labels.clone().unwrap_or_default(),
        register_node: flags.register_node && file.register_node.unwrap_or(true),
        register_with_taints: taints,
        root_dir: absolute(&flags.root_dir),
        cert_dir: absolute(&flags.cert_dir),
        static_pod_path: flags.pod_manifest_path.clone().or(file.static_pod_path).filter(|p| !p.as_os_str().is_empty()),
        pod_logs_dir: flags.pod_logs_dir.clone().or(file.pod_logs_dir).unwrap_or_else(|| "/var/log/pods".into()),
        container_log_links: flags.container_log_links.clone(),
        container_log_max_bytes: u64::try_from(max_log.value()).unwrap_or(0),
        container_log_max_files: file.container_log_max_files.unwrap_or(5).max(2),
        runtime_endpoint: flags
            .container_runtime_endpoint
            .clone()
            .or(file.container_runtime_endpoint)
            .filter(|e| !e.is_empty())
            .unwrap_or_else(|| "unix:///run/containerd/containerd.sock".into()),
        image_endpoint: flags.image_service_endpoint.clone().or(file.image_service_endpoint).filter(|e| !e.is_empty()),
        pod_infra_container_image: flags.pod_infra_container_image.clone(),
        cgroup_root,
        cgroup_driver: flags.cgroup_driver.clone().or(file.cgroup_driver),
        cgroups_per_qos: flags.cgroups_per_qos.or(file.cgroups_per_qos).unwrap_or(true),
        cpu_cfs_quota: file.cpu_cfs_quota.unwrap_or(true),
        max_pods: flags.max_pods.or(file.max_pods).unwrap_or(110),
        pod_cidr: flags.pod_cidr.clone().or(file.pod_cidr).filter(|c| !c.is_empty()),
        cluster_dns,
        cluster_domain: flags
            .cluster_domain
            .clone()
            .or(file.cluster_domain)
            .unwrap_or_default()
            .trim_matches('.')
            .to_owned(),
        resolv_conf: Some(resolv_conf).filter(|p| !p.is_empty()).map(PathBuf::from),
        address: flags.address.or(file.address).unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED)),
        port: flags.port.or(file.port).unwrap_or(10250),
        healthz_address: flags
            .healthz_bind_address
            .or(file.healthz_bind_address)
            .unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST)),
        healthz_port: flags.healthz_port.or(file.healthz_port).unwrap_or(10248),
        tls_cert_file: flags.tls_cert_file.clone().or(file.tls_cert_file),
        tls_private_key_file: flags.tls_private_key_file.clone().or(file.tls_private_key_file),
        server_tls_bootstrap: file.server_tls_bootstrap.unwrap_or(false),
        client_ca_file: flags.client_ca_file.clone().or(file.authentication.x509.client_ca_file),
        anonymous_auth: flags.anonymous_auth.or(file.authentication.anonymous.enabled).unwrap_or(false),
        token_webhook: flags.authentication_token_webhook.or(file.authentication.webhook.enabled).unwrap_or(true),
        token_ttl: duration(file.authentication.webhook.cache_ttl, 120)?,
        authorization,
        allowed_ttl: duration(file.authorization.webhook.cache_authorized_ttl, 300)?,
        refused_ttl: duration(file.authorization.webhook.cache_unauthorized_ttl, 30)?,
        node_status_update_frequency: duration(file.node_status_update_frequency, 10)?,
        fail_swap_on: flags.fail_swap_on.or(file.fail_swap_on).unwrap_or(true),
        fail_cgroup_v1: file.fail_cgroup_v1.unwrap_or(true),
        image_gc_high_percent: file.image_gc_high_threshold_percent.unwrap_or(85),
        image_gc_low_percent: file.image_gc_low_threshold_percent.unwrap_or(80),
        image_minimum_gc_age: duration(file.image_minimum_gc_age, 120)?,
        allowed_unsafe_sysctls: file.allowed_unsafe_sysctls.unwrap_or_default(),
        seccomp_default: file.seccomp_default.unwrap_or(false),
        provider_id: file.provider_id.filter(|id| !id.is_empty()),
        reserved: Reserved::parse([&file.kube_reserved, &file.system_reserved], Some(&hard)).map_err(invalid)?,
        eviction: Settings {
            thresholds,
            transition: duration(file.eviction_pressure_transition_period, 300)?,
            max_pod_grace_s: file.eviction_max_pod_grace_period.unwrap_or(0),
        },
        eviction_hard: hard,
        enforce_pods,
        image_maximum_gc_age: duration(file.image_maximum_gc_age, 0)?,
        pod_pids_limit: file.pod_pids_limit.filter(|limit| *limit > 0),
        settings: known::effective(&file.whole),
    })
}

/// systemd-resolved's stub answers only on the host's loopback; pods need the file with the real servers.
fn default_resolv_conf() -> String {
    let stub = std::fs::read_link("/etc/resolv.conf").is_ok_and(|to| to.to_string_lossy().contains("systemd/resolve"));
    match stub && Path::new("/run/systemd/resolve/resolv.conf").exists() {
        true => "/run/systemd/resolve/resolv.conf".into(),
        false => "/etc/resolv.conf".into(),
    }
}

fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

fn duration(text: Option<String>, default_s: u64) -> Result<Duration, Error> {
    match text.as_deref() {
        None | Some("" | "0s" | "0") => Ok(Duration::from_secs(default_s)),
        Some(text) => {
            apimachinery::duration::parse(text).map_err(|e| Error::Invalid(format!("duration {text:?}: {e}")))
        }
    }
}

fn parse_taint(text: &str) -> Result<k8s_openapi::api::core::v1::Taint, String> {
    let (pair, effect) = text.rsplit_once(':').ok_or_else(|| format!("invalid taint spec: {text}"))?;
    let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
    if !["NoSchedule", "PreferNoSchedule", "NoExecute"].contains(&effect) {
        return Err(format!("invalid taint effect: {effect}"));
    }
    Ok(k8s_openapi::api::core::v1::Taint {
        key: key.into(),
        value: Some(value.to_owned()).filter(|v| !v.is_empty()),
        effect: effect.into(),
        time_added: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\n";

    #[test]
    fn a_file_and_flags_over_it() {
        let file = parse(&format!(
            "{HEAD}clusterDNS: [10.96.0.10]\nclusterDomain: cluster.local\nport: 10260\nfailCgroupV1: false\n\
             authentication: {{x509: {{clientCAFile: /ca.crt}}}}\nstaticPodPath: /etc/kubernetes/manifests\n"
        ))
        .expect("valid");
        let flags = Flags { port: Some(1), hostname_override: Some("N1".into()), ..Flags::default() };
        let config = combine(&flags, file).expect("valid");
        assert_eq!((config.port, config.node_name.as_str()), (1, "n1"));
        assert_eq!(config.cluster_dns, ["10.96.0.10"]);
        assert_eq!(config.client_ca_file, Some("/ca.crt".into()));
        assert!(!config.anonymous_auth);
        assert!(!config.fail_cgroup_v1);
        assert!(combine(&Flags::default(), File::default()).expect("valid").fail_cgroup_v1, "as upstream from v1.35");
        assert_eq!(config.container_log_max_bytes, 10 << 20);
        let labels = [("node-role.kubernetes.io/x".to_owned(), String::new())].into();
        let refused = combine(&Flags { node_labels: Some(labels), ..Flags::default() }, File::default());
        let text = refused.err().map(|error| error.to_string()).unwrap_or_default();
        assert!(text.starts_with("failed to validate kubelet flags: unknown 'kubernetes.io'"), "{text}");
    }

    #[test]
    fn unknown_fields_are_left_out_and_unknown_kinds_and_gates_are_errors() {
        assert_eq!(parse(&format!("{HEAD}portt: 1\nport: 2\n")).expect("as upstream").port, Some(2));
        assert_eq!(
            parse("apiVersion: v1\nkind: Pod\n").expect_err("kind"),
            "failed to decode: no kind \"Pod\" is registered for version \"v1\""
        );
        let gates = parse(&format!("{HEAD}featureGates: {{NoSuchThing: true}}\n"));
        assert_eq!(gates.expect_err("gate"), "unrecognized feature gate: NoSuchThing");
        assert!(parse(&format!("{HEAD}featureGates: {{NodeSwap: true, MemoryQoS: true}}\n")).is_ok());
    }

    /// What `kubeadm init` of v1.36 writes to `/var/lib/kubelet/config.yaml`.
    #[test]
    fn a_file_of_kubeadm_passes_whole() {
        let file = parse(include_str!("config/kubeadm.yaml")).expect("valid");
        let config = combine(&Flags::default(), file).expect("valid");
        assert_eq!(config.cgroup_driver.as_deref(), Some("systemd"));
        assert_eq!(config.static_pod_path, Some("/etc/kubernetes/manifests".into()));
        assert_eq!(config.token_ttl, Duration::from_secs(120));
        assert_eq!(config.image_minimum_gc_age, Duration::from_secs(120));
        assert_eq!(config.runtime_endpoint, "unix:///run/containerd/containerd.sock");
        assert_eq!(config.settings["rotateCertificates"], true);
        assert_eq!(config.settings["syncFrequency"], "1m0s");
    }
}
