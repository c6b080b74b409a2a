//! kube-apiserver's flags, with upstream's names and defaults.
//!
//! Where a default differs from upstream's it is because upstream's would be insecure or cannot work
//! without an external store: the authorization mode is `Node,RBAC`, and without `--etcd-servers`
//! the embedded store under `--data-dir` is used.
use crate::flag_values::{GoDuration, GoawayChance, PortRange};
use std::{net::IpAddr, path::PathBuf};

#[derive(Clone, Debug, clap::Args)]
pub struct Flags {
    /// Directory of the embedded store, used when no --etcd-servers are given
    #[arg(long, default_value = "/var/lib/kube-apiserver", help_heading = "Storage flags")]
    pub data_dir: PathBuf,
    /// List of etcd servers to connect with (scheme://ip:port), comma separated
    #[arg(long, value_delimiter = ',', help_heading = "Storage flags")]
    pub etcd_servers: Vec<String>,
    /// SSL Certificate Authority file used to secure etcd communication
    #[arg(long, help_heading = "Storage flags")]
    pub etcd_cafile: Option<PathBuf>,
    /// SSL certification file used to secure etcd communication
    #[arg(long, help_heading = "Storage flags")]
    pub etcd_certfile: Option<PathBuf>,
    /// SSL key file used to secure etcd communication
    #[arg(long, help_heading = "Storage flags")]
    pub etcd_keyfile: Option<PathBuf>,
    /// The prefix to prepend to all resource paths in etcd
    #[arg(long, default_value = "/registry", help_heading = "Storage flags")]
    pub etcd_prefix: String,
    /// The interval of compaction requests. If 0, the compaction request from apiserver is disabled
    #[arg(long, default_value = "5m0s", help_heading = "Storage flags")]
    pub etcd_compaction_interval: GoDuration,
    /// Amount of time to retain events
    #[arg(long, default_value = "1h0m0s", help_heading = "Storage flags")]
    pub event_ttl: GoDuration,

    /// The IP address on which to listen for the --secure-port port
    #[arg(long, default_value = "0.0.0.0", help_heading = "Secure serving flags")]
    pub bind_address: IpAddr,
    /// The port on which to serve HTTPS with authentication and authorization; 0 picks a free one
    #[arg(long, default_value_t = 6443, help_heading = "Secure serving flags")]
    pub secure_port: u16,
    /// The directory where the TLS certs are located, or written when none are given
    #[arg(long, default_value = "/var/run/kubernetes", help_heading = "Secure serving flags")]
    pub cert_dir: PathBuf,
    /// File containing the x509 certificate for HTTPS (CA cert, if any, concatenated after it)
    #[arg(long, help_heading = "Secure serving flags")]
    pub tls_cert_file: Option<PathBuf>,
    /// File containing the x509 private key matching --tls-cert-file
    #[arg(long, help_heading = "Secure serving flags")]
    pub tls_private_key_file: Option<PathBuf>,
    /// HTTP/2 streams a client may have open on one connection; 0 is the server's default
    #[arg(long, default_value_t = 0, help_heading = "Secure serving flags")]
    pub http2_max_streams_per_connection: u32,

    /// The IP address on which to advertise the apiserver to members of the cluster
    #[arg(long, help_heading = "Generic flags")]
    pub advertise_address: Option<IpAddr>,
    /// The hostname to use when generating externalized URLs for this master
    #[arg(long, default_value = "", help_heading = "Generic flags")]
    pub external_hostname: String,
    /// Share the sum of the two limits below out among the priority levels of flow control, instead of limiting reads
    /// and writes apart
    #[arg(long, default_value_t = true, action = clap::ArgAction::Set, num_args = 0..=1, require_equals = true, default_missing_value = "true", help_heading = "Generic flags")]
    pub enable_priority_and_fairness: bool,
    /// Probability, at most 0.02, that an HTTP/2 client is told to open a new connection after a request, which may
    /// then lead to another server; 0 disables it
    #[arg(long, default_value = "0", help_heading = "Generic flags")]
    pub goaway_chance: GoawayChance,
    /// The maximum number of non-mutating requests in flight at a given time; 0 disables the limit
    #[arg(long, default_value_t = 400, help_heading = "Generic flags")]
    pub max_requests_inflight: usize,
    /// The maximum number of mutating requests in flight at a given time; 0 disables the limit
    #[arg(long, default_value_t = 200, help_heading = "Generic flags")]
    pub max_mutating_requests_inflight: usize,
    /// Time after which a request that does not stream is given up
    #[arg(long, default_value = "1m0s", help_heading = "Generic flags")]
    pub request_timeout: GoDuration,
    /// Seconds a watch stays open at least; each gets a random time of up to twice that
    #[arg(long, default_value_t = 1800, help_heading = "Generic flags")]
    pub min_request_timeout: u32,
    /// Time to keep serving, not ready, after being told to stop
    #[arg(long, default_value = "0s", help_heading = "Generic flags")]
    pub shutdown_delay_duration: GoDuration,

    /// Enables anonymous requests to the secure port
    #[arg(long, default_value_t = true, action = clap::ArgAction::Set, num_args = 0..=1, require_equals = true, default_missing_value = "true", help_heading = "Authentication flags")]
    pub anonymous_auth: bool,
    /// Requests with a client certificate signed by one of these authorities are authenticated by its CommonName
    #[arg(long, help_heading = "Authentication flags")]
    pub client_ca_file: Option<PathBuf>,
    /// Authority of the certificates that authenticating proxies show before their headers are trusted
    #[arg(long, help_heading = "Authentication flags")]
    pub requestheader_client_ca_file: Option<PathBuf>,
    /// Common names of those certificates; empty: any name
    #[arg(long, value_delimiter = ',', help_heading = "Authentication flags")]
    pub requestheader_allowed_names: Vec<String>,
    /// Request headers to inspect for usernames; X-Remote-User is common
    #[arg(long, value_delimiter = ',', help_heading = "Authentication flags")]
    pub requestheader_username_headers: Vec<String>,
    /// Request headers to inspect for UIDs; X-Remote-Uid is suggested
    #[arg(long, value_delimiter = ',', help_heading = "Authentication flags")]
    pub requestheader_uid_headers: Vec<String>,
    /// Request headers to inspect for groups; X-Remote-Group is suggested
    #[arg(long, value_delimiter = ',', help_heading = "Authentication flags")]
    pub requestheader_group_headers: Vec<String>,
    /// Request header prefixes to inspect; X-Remote-Extra- is suggested
    #[arg(long, value_delimiter = ',', help_heading = "Authentication flags")]
    pub requestheader_extra_headers_prefix: Vec<String>,
    /// File of bearer tokens: token,user,uid,"group1,group2"
    #[arg(long, help_heading = "Authentication flags")]
    pub token_auth_file: Option<PathBuf>,
    /// Identifiers of the API; tokens must be bound to one of them. Defaults to the service-account issuer
    #[arg(long, value_delimiter = ',', help_heading = "Authentication flags")]
    pub api_audiences: Vec<String>,
    /// Identifier of the service account token issuer; repeatable, the first one issues
    #[arg(long, help_heading = "Authentication flags")]
    pub service_account_issuer: Vec<String>,
    /// PEM file of keys that verify service account tokens; repeatable. Defaults to the signing key
    #[arg(long, help_heading = "Authentication flags")]
    pub service_account_key_file: Vec<PathBuf>,
    /// PEM file of the private key that signs service account tokens
    #[arg(long, help_heading = "Authentication flags")]
    pub service_account_signing_key_file: Option<PathBuf>,
    /// The longest validity a token may be asked for
    #[arg(long, default_value = "0s", help_heading = "Authentication flags")]
    pub service_account_max_token_expiration: GoDuration,
    /// Overrides the URI of the JSON Web Key Set in the discovery document
    #[arg(long, default_value = "", help_heading = "Authentication flags")]
    pub service_account_jwks_uri: String,
    /// Check that the service account of a token still exists
    #[arg(long, default_value_t = true, action = clap::ArgAction::Set, num_args = 0..=1, require_equals = true, default_missing_value = "true", help_heading = "Authentication flags")]
    pub service_account_lookup: bool,
    /// Accept secrets of type bootstrap.kubernetes.io/token in kube-system as bearer tokens
    #[arg(long, default_value_t = false, action = clap::ArgAction::Set, num_args = 0..=1, require_equals = true, default_missing_value = "true", help_heading = "Authentication flags")]
    pub enable_bootstrap_token_auth: bool,

    /// Ordered list of authorizers: AlwaysAllow, AlwaysDeny, Node, RBAC
    #[arg(long, value_delimiter = ',', default_value = "Node,RBAC", help_heading = "Authorization flags")]
    pub authorization_mode: Vec<String>,

    /// Admission plugins to enable besides the default ones
    #[arg(long, value_delimiter = ',', help_heading = "Admission flags")]
    pub enable_admission_plugins: Vec<String>,
    /// Admission plugins to disable although they are on by default
    #[arg(long, value_delimiter = ',', help_heading = "Admission flags")]
    pub disable_admission_plugins: Vec<String>,

    /// Allow privileged containers
    #[arg(long, default_value_t = false, action = clap::ArgAction::Set, num_args = 0..=1, require_equals = true, default_missing_value = "true", help_heading = "Misc flags")]
    pub allow_privileged: bool,
    /// CIDR from which to assign service cluster IPs; two, comma separated, for dual stack
    #[arg(long, default_value = "10.0.0.0/24", help_heading = "Misc flags")]
    pub service_cluster_ip_range: String,
    /// Port range to reserve for services with NodePort visibility
    #[arg(long, default_value = "30000-32767", help_heading = "Misc flags")]
    pub service_node_port_range: PortRange,
    /// Node address types to prefer for kubelet connections
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "Hostname,InternalDNS,InternalIP,ExternalDNS,ExternalIP",
        help_heading = "Misc flags"
    )]
    pub kubelet_preferred_address_types: Vec<String>,
    /// Certificate authority of the kubelets' serving certificates
    #[arg(long, help_heading = "Misc flags")]
    pub kubelet_certificate_authority: Option<PathBuf>,
    /// Client certificate shown to kubelets
    #[arg(long, help_heading = "Misc flags")]
    pub kubelet_client_certificate: Option<PathBuf>,
    /// Key of --kubelet-client-certificate
    #[arg(long, help_heading = "Misc flags")]
    pub kubelet_client_key: Option<PathBuf>,
    /// Time to wait for a connection to a kubelet
    #[arg(long, default_value = "5s", help_heading = "Misc flags")]
    pub kubelet_timeout: GoDuration,
    /// Endpoint reconciler: lease (also used for the name master-count) or none
    #[arg(long, default_value = "lease", help_heading = "Misc flags")]
    pub endpoint_reconciler_type: String,
}

impl Default for Flags {
    fn default() -> Self {
        #[derive(clap::Parser)]
        struct Only {
            #[command(flatten)]
            flags: Flags,
        }
        <Only as clap::Parser>::parse_from(["kube-apiserver"]).flags
    }
}

/// Upstream's flags that this server knows of and does not support yet.
pub const UNSUPPORTED_FLAGS: &[&str] = &[
    "admission-control-config-file",
    "aggregator-reject-forwarding-redirect",
    "anonymous-auth-config",
    "apiserver-count",
    "audit-log-batch-buffer-size",
    "audit-log-batch-max-size",
    "audit-log-batch-max-wait",
    "audit-log-batch-throttle-burst",
    "audit-log-batch-throttle-enable",
    "audit-log-batch-throttle-qps",
    "audit-log-compress",
    "audit-log-format",
    "audit-log-maxage",
    "audit-log-maxbackup",
    "audit-log-maxsize",
    "audit-log-mode",
    "audit-log-path",
    "audit-log-truncate-enabled",
    "audit-log-truncate-max-batch-size",
    "audit-log-truncate-max-event-size",
    "audit-log-version",
    "audit-policy-file",
    "audit-webhook-batch-buffer-size",
    "audit-webhook-batch-initial-backoff",
    "audit-webhook-batch-max-size",
    "audit-webhook-batch-max-wait",
    "audit-webhook-batch-throttle-burst",
    "audit-webhook-batch-throttle-enable",
    "audit-webhook-batch-throttle-qps",
    "audit-webhook-config-file",
    "audit-webhook-initial-backoff",
    "audit-webhook-mode",
    "audit-webhook-truncate-enabled",
    "audit-webhook-truncate-max-batch-size",
    "audit-webhook-truncate-max-event-size",
    "audit-webhook-version",
    "authentication-config",
    "authentication-token-webhook-cache-ttl",
    "authentication-token-webhook-config-file",
    "authentication-token-webhook-version",
    "authorization-config",
    "authorization-policy-file",
    "authorization-webhook-cache-authorized-ttl",
    "authorization-webhook-cache-unauthorized-ttl",
    "authorization-webhook-config-file",
    "authorization-webhook-version",
    "coordinated-leadership-lease-duration",
    "coordinated-leadership-renew-deadline",
    "coordinated-leadership-retry-period",
    "cors-allowed-origins",
    "debug-socket-path",
    "default-not-ready-toleration-seconds",
    "default-unreachable-toleration-seconds",
    "default-watch-cache-size",
    "delete-collection-workers",
    "disable-http2-serving",
    "egress-selector-config-file",
    "emulated-version",
    "emulation-forward-compatible",
    "enable-aggregator-routing",
    "enable-garbage-collector",
    "enable-logs-handler",
    "encryption-provider-config",
    "encryption-provider-config-automatic-reload",
    "etcd-count-metric-poll-period",
    "etcd-db-metric-poll-interval",
    "etcd-healthcheck-timeout",
    "etcd-readycheck-timeout",
    "etcd-servers-overrides",
    "kubelet-port",
    "kubelet-read-only-port",
    "kubernetes-service-node-port",
    "lease-reuse-duration-seconds",
    "livez-grace-period",
    "max-connection-bytes-per-sec",
    "min-compatibility-version",
    "oidc-ca-file",
    "oidc-client-id",
    "oidc-groups-claim",
    "oidc-groups-prefix",
    "oidc-issuer-url",
    "oidc-required-claim",
    "oidc-signing-algs",
    "oidc-username-claim",
    "oidc-username-prefix",
    "peer-advertise-ip",
    "peer-advertise-port",
    "peer-ca-file",
    "permit-address-sharing",
    "permit-port-sharing",
    "runtime-config-emulation-forward-compatible",
    "service-account-extend-token-expiration",
    "service-account-signing-endpoint",
    "shutdown-send-retry-after",
    "shutdown-watch-termination-grace-period",
    "storage-initialization-timeout",
    "storage-media-type",
    "strict-transport-security-directives",
    "tls-cipher-suites",
    "tls-curve-preferences",
    "tls-sni-cert-key",
    "tracing-config-file",
    "watch-cache",
    "watch-cache-sizes",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_parse() {
        let flags = Flags::default();
        assert_eq!(flags.secure_port, 6443);
        assert_eq!(flags.authorization_mode, ["Node", "RBAC"]);
        assert!(flags.anonymous_auth);
    }
}
