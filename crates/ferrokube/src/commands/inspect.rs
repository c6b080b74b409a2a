//! `ferrokube status`, `node list` and `logs`.
use super::existing;
use crate::{
    cli::Which,
    cluster::{
        daemon, external,
        layout::{Cluster, Layout},
        ready,
    },
};
use anyhow::{Context, Result, bail};
use client::Connection;
use k8s_openapi::api::core::v1::Node;
use kube::{Api, api::ListParams};
use serde::Serialize;
use std::{
    fs,
    io::{BufRead, BufReader},
    process::ExitCode,
    time::Duration,
};

const API_TIMEOUT: Duration = Duration::from_secs(5);

/// `status -o json`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Status<'a> {
    name: &'a str,
    data_dir: String,
    /// `Running`, `Stopped`, or `Unreachable` when the process is there and its API does not answer.
    state: &'static str,
    pid: Option<i32>,
    api_server: String,
    kubeconfig: String,
    nodes: Vec<NodeStatus>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeStatus {
    pub name: String,
    pub ready: bool,
    /// Why it is not ready.
    pub message: String,
    internal_ip: String,
    kubelet_version: String,
}

/// The cluster's nodes, as its API server tells.
///
/// # Errors
/// It does not answer, or not in time.
pub async fn list(layout: &Layout) -> Result<Vec<NodeStatus>> {
    let client = Connection::Kubeconfig(layout.admin_kubeconfig()).client().await?;
    let nodes: Api<Node> = Api::all(client);
    let found = tokio::time::timeout(API_TIMEOUT, nodes.list(&ListParams::default())).await;
    let found = found.context("the API server does not answer")??;
    Ok(found.items.into_iter().map(describe).collect())
}

fn describe(node: Node) -> NodeStatus {
    let message = ready::not_ready_because(&node);
    let status = node.status.unwrap_or_default();
    let addresses = status.addresses.unwrap_or_default();
    let internal_ip = addresses.into_iter().find(|a| a.type_ == "InternalIP").map(|a| a.address);
    NodeStatus {
        name: node.metadata.name.unwrap_or_default(),
        ready: message.is_none(),
        message: message.unwrap_or_default(),
        internal_ip: internal_ip.unwrap_or_default(),
        kubelet_version: status.node_info.map(|info| info.kubelet_version).unwrap_or_default(),
    }
}

/// Whether it runs; exit code 0 when it does and all nodes are ready, 1 otherwise.
pub fn status(which: &Which, json: bool) -> Result<ExitCode> {
    let (layout, cluster) = existing(which)?;
    let pid = daemon::running(&layout).map(|pid| pid.as_raw_nonzero().get());
    let (state, nodes) = match pid {
        None => ("Stopped", Vec::new()),
        Some(_) => match crate::runtime()?.block_on(list(&layout)) {
            Ok(nodes) => ("Running", nodes),
            Err(_) => ("Unreachable", Vec::new()),
        },
    };
    let healthy = state == "Running" && nodes.iter().all(|node| node.ready);
    if json {
        let status = Status {
            name: &cluster.name,
            data_dir: layout.root().display().to_string(),
            state,
            pid,
            api_server: cluster.api_url(),
            kubeconfig: layout.admin_kubeconfig().display().to_string(),
            nodes,
        };
        crate::say!("{}", serde_json::to_string_pretty(&status)?);
    } else {
        show(&layout, &cluster, state, pid, &nodes);
    }
    Ok(if healthy { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn show(layout: &Layout, cluster: &Cluster, state: &str, pid: Option<i32>, nodes: &[NodeStatus]) {
    crate::say!("Cluster:    {} ({state})", cluster.name);
    crate::say!("Data:       {}", layout.root().display());
    crate::say!("API server: {}", cluster.api_url());
    crate::say!("Kubeconfig: {}", layout.admin_kubeconfig().display());
    if let Some(pid) = pid {
        crate::say!("Process:    {pid}");
    }
    for node in nodes {
        let state = if node.ready { "Ready".to_owned() } else { format!("NotReady: {}", node.message) };
        crate::say!("Node:       {} ({}) {state}", node.name, node.internal_ip);
    }
}

/// One line a node.
pub fn nodes(which: &Which) -> Result<()> {
    let (layout, cluster) = existing(which)?;
    if daemon::running(&layout).is_none() {
        bail!("cluster {} is not running: `ferrokube start` brings it back", cluster.name);
    }
    for node in crate::runtime()?.block_on(list(&layout))? {
        crate::say!("{}\t{}\t{}", node.name, node.internal_ip, if node.ready { "Ready" } else { "NotReady" });
    }
    Ok(())
}

/// The lines of a component in the cluster's log. Components share a process and its log; a line names its crate.
pub fn logs(which: &Which, component: &str, tail: Option<usize>) -> Result<()> {
    const COMPONENTS: [(&str, &str); 8] = [
        ("kube-apiserver", "apiserver"),
        ("kube-scheduler", "scheduler"),
        ("kube-controller-manager", "controllers"),
        ("kubelet", "kubelet"),
        ("kube-proxy", "proxy"),
        ("dns", "dns"),
        ("network", "network"),
        ("storage", "storage"),
    ];
    let (layout, cluster) = existing(which)?;
    if component == "containerd" && external::is_used(&cluster) {
        bail!("the runtime at {} is not ours, nor is its log", cluster.container_runtime_endpoint);
    }
    let (file, target) = match COMPONENTS.iter().find(|(name, _)| *name == component) {
        Some((_, target)) => ("ferrokube", Some(*target)),
        None if ["containerd", "ferrokube"].contains(&component) => (component, None),
        None => {
            let names: Vec<&str> =
                COMPONENTS.iter().map(|(name, _)| *name).chain(["containerd", "ferrokube"]).collect();
            bail!("no component {component:?}; there are {}", names.join(", "));
        }
    };
    let path = layout.log(file);
    let log = fs::File::open(&path).with_context(|| format!("opening {}", path.display()))?;
    let belongs = |line: &String| match target {
        None => true,
        // "<time> <level> <target>: …"
        Some(target) => line.split_whitespace().nth(2).is_some_and(|t| t.split([':', ' ']).next() == Some(target)),
    };
    let mut kept = std::collections::VecDeque::new();
    for line in BufReader::new(log).lines().map_while(Result::ok).filter(belongs) {
        match tail {
            None => crate::say!("{line}"),
            Some(count) => {
                kept.push_back(line);
                if kept.len() > count {
                    kept.pop_front();
                }
            }
        }
    }
    kept.iter().for_each(|line| crate::say!("{line}"));
    Ok(())
}
