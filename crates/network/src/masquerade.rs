//! Pods that speak to the world outside do so with the node's address.
use crate::{Error, cidr::Cidr};
use std::process::Stdio;
use tokio::{io::AsyncWriteExt, process::Command};

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

async fn nft(script: &str) -> Result<(), Error> {
    let failed = |why: std::io::Error| Error::Nft(why.to_string());
    let mut child = Command::new("nft")
        .args(["-f", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(failed)?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(script.as_bytes()).await.map_err(failed)?;
    }
    let output = child.wait_with_output().await.map_err(failed)?;
    if output.status.success() {
        return Ok(());
    }
    Err(Error::Nft(String::from_utf8_lossy(&output.stderr).trim().to_owned()))
}

pub(crate) async fn ensure(table: &str, subnet: Cidr, cluster: Cidr) -> Result<(), Error> {
    let forward = "/proc/sys/net/ipv4/ip_forward";
    std::fs::write(forward, "1").map_err(|source| Error::File { path: forward.into(), source })?;
    nft(&rules(table, subnet, cluster)).await
}

pub(crate) async fn remove(table: &str) -> Result<(), Error> {
    nft(&format!("add table ip {table}\ndelete table ip {table}\n")).await
}

/// Whether nftables works here.
///
/// # Errors
/// What `nft` says when it does not.
pub async fn supported() -> Result<(), Error> {
    nft("add table ip ferrokube-probe\ndelete table ip ferrokube-probe\n").await
}
