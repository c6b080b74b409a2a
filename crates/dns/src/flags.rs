//! The DNS server's flags. Upstream has no such component (it deploys CoreDNS): these are ours.
use std::{
    net::{IpAddr, SocketAddr},
    path::PathBuf,
};

#[derive(Clone, Debug, clap::Args)]
pub struct Flags {
    /// Path to a kubeconfig file
    #[arg(long, help_heading = "DNS flags")]
    pub kubeconfig: Option<PathBuf>,
    /// The address to answer on, over UDP and TCP
    #[arg(long, default_value = "127.0.0.1", help_heading = "DNS flags")]
    pub bind_address: IpAddr,
    /// The port to answer on
    #[arg(long, default_value_t = 53, help_heading = "DNS flags")]
    pub port: u16,
    /// The domain that we are the authority of
    #[arg(long, default_value = "cluster.local", help_heading = "DNS flags")]
    pub cluster_domain: String,
    /// Servers for all other names, as address or address:port [default: those of /etc/resolv.conf]
    #[arg(long, value_delimiter = ',', value_parser = upstream, help_heading = "DNS flags")]
    pub upstream: Vec<SocketAddr>,
    /// Seconds that answers of ours may be kept
    #[arg(long, default_value_t = 5, help_heading = "DNS flags")]
    pub ttl: u32,
}

/// Upstream has no flags for this component.
pub const UNSUPPORTED_FLAGS: &[&str] = &[];

fn upstream(text: &str) -> Result<SocketAddr, String> {
    let address = text.parse::<IpAddr>().map(|ip| SocketAddr::new(ip, 53));
    address.or_else(|_| text.parse()).map_err(|_| "not an address, or address and port".to_owned())
}
