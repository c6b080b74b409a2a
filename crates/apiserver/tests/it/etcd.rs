//! The same server over a real etcd.
use crate::cluster::{MAPS, call, flags, map};
use serde_json::{Value, json};
use std::{
    collections::HashSet,
    net::TcpListener,
    process::{Child, Command, Stdio},
};
use tokio_util::sync::CancellationToken;

/// Stopped when dropped.
struct Etcd(Child);

impl Drop for Etcd {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn start(dir: &std::path::Path) -> Option<(Etcd, String)> {
    let binary = etcd_bin_vendored::etcd_bin_path().ok()?;
    let free = || TcpListener::bind("127.0.0.1:0").unwrap();
    let (a, b) = (free(), free());
    let url = |l: &TcpListener| format!("http://{}", l.local_addr().unwrap());
    let (client, peer) = (url(&a), url(&b));
    drop((a, b));
    let child = Command::new(binary)
        .args(["--data-dir", &dir.join("etcd").display().to_string(), "--log-level", "error"])
        .args(["--listen-client-urls", &client, "--advertise-client-urls", &client])
        .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
        .args(["--initial-cluster", &format!("default={peer}")])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .ok()?;
    Some((Etcd(child), client))
}

#[tokio::test]
async fn two_servers_share_one_etcd() {
    let dir = tempfile::tempdir().unwrap();
    let Some((_etcd, url)) = start(dir.path()) else {
        eprintln!("without etcd");
        return;
    };
    let shutdown = CancellationToken::new();
    let flags = || apiserver::Flags { etcd_servers: vec![url.clone()], ..flags(dir.path()) };
    let first = apiserver::start(flags(), shutdown.clone()).await.unwrap();
    let second = apiserver::start(flags(), shutdown.clone()).await.unwrap();
    let masters = || auth::UserInfo::new("me", [auth::groups::MASTERS]);
    let (a, b) = (first.client(masters()), second.client(masters()));
    let made = call(&a, "POST", MAPS, Some(map("a"))).await.unwrap();
    // A read without a version sees every write acknowledged before it, whoever made it.
    let path = format!("{MAPS}/a");
    assert_eq!(call(&b, "GET", &path, None).await.unwrap(), made);
    let mut changed = made.clone();
    changed["data"]["a"] = json!("2");
    call(&b, "PUT", &path, Some(changed.clone())).await.unwrap();
    assert_eq!(call(&a, "PUT", &path, Some(changed)).await.unwrap_err().0, 409);
    assert_eq!(call(&a, "GET", MAPS, None).await.unwrap()["items"][0]["data"]["a"], "2");
    shutdown.cancel();
    first.join().await.unwrap();
    second.join().await.unwrap();
}

#[tokio::test]
async fn two_servers_give_no_address_and_no_port_twice() {
    const SERVICES: &str = "/api/v1/namespaces/default/services";
    const EACH: usize = 30;
    let dir = tempfile::tempdir().unwrap();
    let Some((_etcd, url)) = start(dir.path()) else {
        eprintln!("without etcd");
        return;
    };
    let shutdown = CancellationToken::new();
    // Room for little more than what is asked for, so that the two often choose the same.
    let flags = || apiserver::Flags {
        etcd_servers: vec![url.clone()],
        service_cluster_ip_range: "10.0.0.0/26".into(),
        service_node_port_range: "30000-30063".parse().unwrap(),
        ..flags(dir.path())
    };
    // Both make what every cluster has, at the same time.
    let (first, second) =
        tokio::join!(apiserver::start(flags(), shutdown.clone()), apiserver::start(flags(), shutdown.clone()));
    let (first, second) = (first.unwrap(), second.unwrap());
    let masters = || auth::UserInfo::new("me", [auth::groups::MASTERS]);
    let clients = [first.client(masters()), second.client(masters())];
    let create = |i: usize| {
        let client = &clients[i % 2];
        let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": format!("s{i}")},
            "spec": {"type": "NodePort", "ports": [{"port": 80}]}});
        async move { call(client, "POST", SERVICES, Some(service)).await.unwrap() }
    };
    let made = futures::future::join_all((0..2 * EACH).map(create)).await;
    let distinct = |of: fn(&Value) -> String| made.iter().map(of).collect::<HashSet<_>>().len();
    assert_eq!(distinct(|s| s["spec"]["clusterIP"].to_string()), 2 * EACH);
    assert_eq!(distinct(|s| s["spec"]["ports"][0]["nodePort"].to_string()), 2 * EACH);
    let remove = |i: usize| {
        // By the other server than the one that made it.
        let client = &clients[(i + 1) % 2];
        async move { call(client, "DELETE", &format!("{SERVICES}/s{i}"), None).await.unwrap() }
    };
    futures::future::join_all((0..2 * EACH).map(remove)).await;
    let left = call(&clients[0], "GET", "/apis/networking.k8s.io/v1/ipaddresses", None).await.unwrap();
    assert_eq!(left["items"].as_array().unwrap().len(), 1, "{left}");
    // All ports are free again.
    futures::future::join_all((0..2 * EACH).map(create)).await;
    shutdown.cancel();
    first.join().await.unwrap();
    second.join().await.unwrap();
}
