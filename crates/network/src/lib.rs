//! The pod network of one node: a bridge, its CNI configuration, and masquerading of what leaves the cluster.
//!
//! The node's pod CIDR comes from `Node.spec.podCIDR` (the node IPAM controller's decision); nothing
//! is configured before it is there, so the node is not Ready before pods can have addresses. What
//! is set up stays when we stop, and setting up again changes nothing: running pods never notice.
mod bridge;
pub mod cidr;
mod cni;
mod host_ports;
mod masquerade;

use cidr::Cidr;
use client::Connection;
use futures::StreamExt;
use k8s_openapi::api::core::v1::Node;
use kube::{Api, runtime::watcher};
use std::{net::Ipv4Addr, path::PathBuf};
use tokio_util::sync::CancellationToken;

pub use masquerade::supported;

/// Where and under which names one node's network is set up.
#[derive(Clone, Debug)]
pub struct Options {
    pub node_name: String,
    /// Interface name, 15 characters at most.
    pub bridge: String,
    /// Addresses of all pods of the cluster, which are not masqueraded.
    pub cluster_cidr: Cidr,
    /// The CNI configuration, in the folder that the container runtime reads. Another one there is somebody else's
    /// network: it is used, and this is not written.
    pub cni_file: PathBuf,
    /// Where the host-local IPAM plugin keeps its leases.
    pub ipam_dir: PathBuf,
    /// Our nftables table.
    pub table: String,
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Connection(#[from] client::Error),
    #[error("{0:?} is not an IPv4 CIDR such as 10.244.0.0/16")]
    Cidr(String),
    #[error("bridge {name}: {source}")]
    Bridge { name: String, source: rtnetlink::Error },
    #[error("netlink: {0}")]
    Netlink(std::io::Error),
    #[error("{path}: {source}")]
    File { path: PathBuf, source: std::io::Error },
    #[error(transparent)]
    Nft(#[from] nft::Error),
    #[error("stopped before the node had a pod CIDR")]
    Stopped,
}

/// Wait for the node's pod CIDR and set its network up; the gateway address that pods see.
///
/// # Errors
/// The API cannot be reached at all, or the kernel refuses.
pub async fn set_up(
    options: &Options,
    connection: &Connection,
    shutdown: CancellationToken,
) -> Result<Ipv4Addr, Error> {
    let subnet = node_cidr(options, connection, shutdown).await?;
    let gateway = subnet.host(1);
    bridge::ensure(&options.bridge, gateway, subnet.prefix).await?;
    masquerade::ensure(&options.table, subnet, options.cluster_cidr).await?;
    cni::write(options, subnet)?;
    tracing::info!(bridge = options.bridge, %subnet, "pod network is set up");
    Ok(gateway)
}

async fn node_cidr(options: &Options, connection: &Connection, shutdown: CancellationToken) -> Result<Cidr, Error> {
    let nodes: Api<Node> = Api::all(connection.client().await?);
    let only = watcher::Config::default().fields(&format!("metadata.name={}", options.node_name));
    let mut events = watcher(nodes, only).boxed();
    loop {
        let event = tokio::select! {
            () = shutdown.cancelled() => return Err(Error::Stopped),
            event = events.next() => event.ok_or(Error::Stopped)?,
        };
        let node = match event {
            Ok(watcher::Event::Apply(node) | watcher::Event::InitApply(node)) => node,
            Ok(_) => continue,
            Err(error) => {
                tracing::debug!(%error, "watching the node");
                tokio::time::sleep(std::time::Duration::from_millis(200)).await;
                continue;
            }
        };
        if let Some(text) = node.spec.and_then(|spec| spec.pod_cidr) {
            return text.parse();
        }
    }
}

/// Take everything away again; what is not there is no error.
///
/// # Errors
/// The kernel refuses.
pub async fn tear_down(bridge: &str, table: &str) -> Result<(), Error> {
    masquerade::remove(table).await?;
    bridge::remove(bridge).await?;
    host_ports::tear_down().await
}
