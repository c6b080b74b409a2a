//! Pods that speak to the world outside do so with the node's address.
use crate::{Error, cidr::Cidr};
use nft::Nft;

fn rules(table: &str, subnet: Cidr, cluster: Cidr) -> String {
    // Created, emptied and filled in one transaction: no packet sees it half done.
    format!(
        "add table ip {table}\n\
         delete table ip {table}\n\
         table ip {table} {{\n\
         \tchain postrouting {{\n\
         \t\ttype nat hook postrouting priority srcnat;\n\
         \t\tip saddr {subnet} ip daddr != {cluster} ip daddr != 224.0.0.0/4 masquerade\n\
         \t}}\n\
         }}\n"
    )
}

pub(crate) async fn ensure(table: &str, subnet: Cidr, cluster: Cidr) -> Result<(), Error> {
    let forward = "/proc/sys/net/ipv4/ip_forward";
    std::fs::write(forward, "1").map_err(|source| Error::File { path: forward.into(), source })?;
    Ok(Nft::default().apply(&rules(table, subnet, cluster)).await?)
}

pub(crate) async fn remove(table: &str) -> Result<(), Error> {
    Ok(Nft::default().delete_table("ip", table).await?)
}

/// Whether nftables works here.
///
/// # Errors
/// What `nft` says when it does not.
pub async fn supported() -> Result<(), Error> {
    Ok(Nft::default().delete_table("ip", "ferrokube-probe").await?)
}
