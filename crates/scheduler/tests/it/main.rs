//! The whole scheduler against an API server that only remembers what it was told.
#![allow(clippy::unwrap_used)]
mod server;

use clap::Parser;
use client::Connection;
use scheduler::Flags;
use serde_json::json;
use server::Server;
use tokio_util::sync::CancellationToken;

#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    flags: Flags,
}

fn node(name: &str) -> serde_json::Value {
    json!({"metadata": {"name": name}, "status": {"allocatable": {"cpu": "1", "memory": "1Gi", "pods": "10"}}})
}

fn pod(name: &str, priority: i32) -> serde_json::Value {
    json!({"metadata": {"name": name, "namespace": "default", "uid": format!("uid-{name}"), "generation": 1},
        "spec": {"schedulerName": "default-scheduler", "priority": priority,
            "containers": [{"name": "c", "image": "i", "resources": {"requests": {"cpu": "1"}}}]},
        "status": {"phase": "Pending"}})
}

#[tokio::test]
async fn pods_are_bound_and_told_why_not() {
    let server = Server::new();
    server.put("nodes", node("n1"));
    server.put("pods", pod("first", 10));
    server.put("pods", pod("second", 0));
    let stop = CancellationToken::new();
    let flags = Cli::parse_from(["kube-scheduler", "--leader-elect=false", "--secure-port=0"]).flags;
    let running = tokio::spawn(scheduler::run(flags, Some(Connection::Ready(server.client())), stop.clone()));

    server.wait_for("POST /api/v1/namespaces/default/pods/first/binding", &["\"name\":\"n1\"", "uid-first"]).await;
    let scheduled = ["\"reason\":\"Scheduled\"", "Successfully assigned default/first to n1"];
    server.wait_for("POST /api/v1/namespaces/default/events", &scheduled).await;
    let why = "0/1 nodes are available: 1 Insufficient cpu. no new claims to deallocate, preemption: 0/1 nodes are \
               available: 1 No preemption victims found for incoming pod.";
    server
        .wait_for("PATCH /api/v1/namespaces/default/pods/second/status", &[why, "\"reason\":\"Unschedulable\""])
        .await;
    server.wait_for("POST /api/v1/namespaces/default/events", &["FailedScheduling", why]).await;

    // A new node is seen through the watch, and the pod that waited goes there.
    server.put("nodes", node("n2"));
    server.wait_for("POST /api/v1/namespaces/default/pods/second/binding", &["\"name\":\"n2\""]).await;
    // Room is made for a pod of higher priority.
    server.put("pods", pod("urgent", 100));
    server.wait_for("DELETE /api/v1/namespaces/default/pods/second", &["uid-second"]).await;
    let nominated = ["\"nominatedNodeName\":\"n2\""];
    server.wait_for("PATCH /api/v1/namespaces/default/pods/urgent/status", &nominated).await;
    server.wait_for("POST /api/v1/namespaces/default/pods/urgent/binding", &["\"name\":\"n2\""]).await;

    stop.cancel();
    running.await.unwrap().unwrap();
}
