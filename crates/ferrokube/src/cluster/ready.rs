//! When a cluster counts as Ready: its node says so, and DNS answers where pods ask.
use super::layout::Cluster;
use anyhow::{Context, Result, bail};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Node;
use kube::Api;
use std::{
    net::Ipv4Addr,
    time::{Duration, Instant},
};
use tokio::net::UdpSocket;

const POLL: Duration = Duration::from_millis(20);

/// Why a node is not Ready, or nothing when it is.
pub fn not_ready_because(node: &Node) -> Option<String> {
    let conditions = node.status.as_ref().and_then(|s| s.conditions.as_deref()).unwrap_or_default();
    match conditions.iter().find(|c| c.type_ == "Ready") {
        Some(ready) if ready.status == "True" => None,
        Some(ready) => Some(ready.message.clone().unwrap_or_default()),
        None => Some("it has not reported yet".into()),
    }
}

/// Whether the kubelet has said anything since: what an earlier run of the cluster said stays for a while.
fn heard_since(node: &Node, since: Timestamp) -> bool {
    let conditions = node.status.as_ref().and_then(|s| s.conditions.as_deref()).unwrap_or_default();
    let ready = conditions.iter().find(|c| c.type_ == "Ready");
    // Times of the API are whole seconds.
    ready.and_then(|c| c.last_heartbeat_time.as_ref()).is_some_and(|at| at.0.as_second() >= since.as_second())
}

/// Wait for the node, as its kubelet has reported it after `since`.
///
/// # Errors
/// It is not Ready in time; the message says what it waits for.
pub async fn node(client: kube::Client, name: &str, since: Timestamp, timeout: Duration) -> Result<()> {
    let nodes: Api<Node> = Api::all(client);
    let deadline = Instant::now() + timeout;
    loop {
        let why = match nodes.get_opt(name).await {
            Ok(Some(node)) => match not_ready_because(&node) {
                None if heard_since(&node, since) => return Ok(()),
                None => "its kubelet has not reported since the start".into(),
                Some(why) => why,
            },
            Ok(None) => "it has not registered yet".into(),
            Err(error) => error.to_string(),
        };
        if Instant::now() > deadline {
            bail!("node {name} did not become Ready within {} s: {why}", timeout.as_secs());
        }
        tokio::time::sleep(POLL).await;
    }
}

/// A DNS question for the A records of `name`.
fn question(name: &str) -> Vec<u8> {
    let mut out = vec![0xfe, 0x0b, 0x01, 0x00, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.split('.') {
        out.push(label.len() as u8);
        out.extend_from_slice(label.as_bytes());
    }
    out.extend_from_slice(&[0, 0, 1, 0, 1]);
    out
}

async fn ask(server: Ipv4Addr) -> std::io::Result<bool> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).await?;
    socket.connect((server, 53)).await?;
    socket.send(&question("kubernetes.default.svc.cluster.local")).await?;
    let mut answer = [0_u8; 512];
    let read = tokio::time::timeout(Duration::from_millis(100), socket.recv(&mut answer)).await;
    let length = match read {
        Ok(length) => length?,
        Err(_) => return Ok(false),
    };
    // An answer to our question, without error, with at least one record.
    Ok(length > 12 && answer[..2] == [0xfe, 0x0b] && answer[3] & 0x0f == 0 && answer[6..8] != [0, 0])
}

/// Wait until `kubernetes.default` resolves through the cluster's DNS service.
///
/// # Errors
/// It does not in time.
pub async fn dns(cluster: &Cluster, timeout: Duration) -> Result<()> {
    let server = cluster.service_ip(10).context("the service CIDR has no tenth address")?;
    let deadline = Instant::now() + timeout;
    loop {
        let why = match ask(server).await {
            Ok(true) => return Ok(()),
            Ok(false) => "no answer".to_owned(),
            Err(error) => error.to_string(),
        };
        if Instant::now() > deadline {
            bail!("DNS at {server} did not answer within {} s: {why}", timeout.as_secs());
        }
        tokio::time::sleep(POLL).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_is_well_formed() {
        let q = question("a.bc");
        assert_eq!(&q[12..], [1, b'a', 2, b'b', b'c', 0, 0, 1, 0, 1]);
    }
}
