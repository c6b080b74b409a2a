//! kube-scheduler's flags, with upstream's names and defaults.
use apimachinery::duration;
use std::{path::PathBuf, time::Duration};

fn go_duration(text: &str) -> Result<Duration, String> {
    duration::parse(text).map_err(|error| error.to_string())
}

#[derive(Clone, Debug, clap::Args)]
pub struct Flags {
    /// The path to the configuration file
    #[arg(long, value_name = "FILE", help_heading = "Misc flags")]
    pub config: Option<PathBuf>,

    /// Path to kubeconfig file with authorization and master location information
    #[arg(long, value_name = "FILE", help_heading = "Deprecated flags")]
    pub kubeconfig: Option<PathBuf>,
    /// QPS to use while talking with kubernetes apiserver; 0 or less: no limit
    #[arg(long, help_heading = "Deprecated flags")]
    pub kube_api_qps: Option<f32>,
    /// Burst to use while talking with kubernetes apiserver
    #[arg(long, help_heading = "Deprecated flags")]
    pub kube_api_burst: Option<u32>,

    /// The port on which to serve HTTPS with authentication and authorization; 0: do not serve
    #[arg(long, help_heading = "Secure serving flags", default_value_t = 10259)]
    pub secure_port: u16,
    #[command(flatten)]
    pub serving: serving::secure_port::Flags,

    /// Start a leader election client and gain leadership before executing the main loop [default: true]
    #[arg(long, help_heading = "Leader election flags", num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    pub leader_elect: Option<bool>,
    /// How long others wait before they take over an unchanged lease [default: 15s]
    #[arg(long, value_parser = go_duration, help_heading = "Leader election flags")]
    pub leader_elect_lease_duration: Option<Duration>,
    /// How long the leader tries to renew before it gives up [default: 10s]
    #[arg(long, value_parser = go_duration, help_heading = "Leader election flags")]
    pub leader_elect_renew_deadline: Option<Duration>,
    /// Pause between tries [default: 2s]
    #[arg(long, value_parser = go_duration, help_heading = "Leader election flags")]
    pub leader_elect_retry_period: Option<Duration>,
    /// The type of resource used for locking; only "leases" exists [default: leases]
    #[arg(long, help_heading = "Leader election flags", value_parser = ["leases"])]
    pub leader_elect_resource_lock: Option<String>,
    /// The name of the lease [default: kube-scheduler]
    #[arg(long, help_heading = "Leader election flags")]
    pub leader_elect_resource_name: Option<String>,
    /// The namespace of the lease [default: kube-system]
    #[arg(long, help_heading = "Leader election flags")]
    pub leader_elect_resource_namespace: Option<String>,
}

/// Flags of upstream's kube-scheduler that mean something there and nothing here yet.
pub const UNSUPPORTED_FLAGS: &[&str] = &[
    "disable-http2-serving",
    "emulated-version",
    "master",
    "min-compatibility-version",
    "tls-cipher-suites",
    "tls-curve-preferences",
    "tls-sni-cert-key",
    "write-config-to",
];

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

    #[test]
    fn no_flag_is_needed_and_booleans_take_a_value() {
        let flags = Cli::try_parse_from(["kube-scheduler"]).unwrap().flags;
        assert_eq!((flags.config, flags.secure_port, flags.leader_elect), (None, 10259, None));
        let flags = Cli::try_parse_from(["kube-scheduler", "--leader-elect=false", "--config", "x"]).unwrap().flags;
        assert_eq!((flags.config, flags.leader_elect), (Some("x".into()), Some(false)));
    }
}
