//! What pods use, from the runtime, and `/stats/summary` (the Summary API, `stats.kubelet.k8s.io/v1alpha1`).
use std::collections::{BTreeMap, HashMap};

use cri::v1;
use http::StatusCode;
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::Server;
use super::answer::{self, Answer};
use super::node_usage::{self, Space, Usage};
use crate::labels;

/// A pod and what it uses.
#[derive(Debug, Default)]
pub struct PodUsage {
    pub name: String,
    pub namespace: String,
    pub uid: String,
    pub started_ns: i64,
    pub cpu: Option<v1::CpuUsage>,
    pub memory: Option<v1::MemoryUsage>,
    pub network: Option<v1::NetworkUsage>,
    pub processes: Option<u64>,
    pub containers: Vec<ContainerUsage>,
}

#[derive(Debug, Default)]
pub struct ContainerUsage {
    pub id: String,
    pub name: String,
    pub image: String,
    pub started_ns: i64,
    pub cpu: Option<v1::CpuUsage>,
    pub memory: Option<v1::MemoryUsage>,
    pub swap: Option<v1::SwapUsage>,
    pub root: Option<v1::FilesystemUsage>,
}

pub fn value(of: Option<&v1::UInt64Value>) -> Option<u64> {
    of.map(|value| value.value)
}

/// Usage of all pods that have a running container or a ready sandbox.
///
/// # Errors
/// The runtime failed. Old runtimes that cannot tell a sandbox's usage give that of containers alone.
pub async fn pods(runtime: &dyn cri::Runtime) -> Result<Vec<PodUsage>, cri::Error> {
    let running = v1::ContainerStateValue { state: v1::ContainerState::ContainerRunning.into() };
    let running = v1::ContainerFilter { state: Some(running), ..Default::default() };
    let ready = v1::PodSandboxStateValue { state: v1::PodSandboxState::SandboxReady.into() };
    let ready = v1::PodSandboxFilter { state: Some(ready), ..Default::default() };
    let (containers, sandboxes, mut usages, sandbox_usages) = tokio::join!(
        runtime.list_containers(running),
        runtime.list_pod_sandbox(ready),
        runtime.list_container_stats(v1::ContainerStatsFilter::default()),
        runtime.list_pod_sandbox_stats(v1::PodSandboxStatsFilter::default()),
    );
    let sandbox_usages = match sandbox_usages {
        Err(error) if error.is_unimplemented() => Vec::new(),
        other => other?,
    };
    if usages.as_ref().is_err_and(cri::Error::is_unimplemented) {
        usages =
            Ok(sandbox_usages.iter().flat_map(|usage| usage.linux.iter().flat_map(|l| l.containers.clone())).collect());
    }
    Ok(join(containers?, sandboxes?, usages?, sandbox_usages))
}

fn join(
    containers: Vec<v1::Container>,
    sandboxes: Vec<v1::PodSandbox>,
    usages: Vec<v1::ContainerStats>,
    sandbox_usages: Vec<v1::PodSandboxStats>,
) -> Vec<PodUsage> {
    let mut by_id: HashMap<String, v1::ContainerStats> =
        usages.into_iter().filter_map(|usage| Some((usage.attributes.as_ref()?.id.clone(), usage))).collect();
    let mut by_sandbox: HashMap<String, v1::LinuxPodSandboxStats> =
        sandbox_usages.into_iter().filter_map(|usage| Some((usage.attributes?.id, usage.linux?))).collect();
    let mut pods = BTreeMap::new();
    for sandbox in sandboxes {
        let Some(metadata) = sandbox.metadata else { continue };
        let linux = by_sandbox.remove(&sandbox.id).unwrap_or_default();
        let pod = PodUsage {
            name: metadata.name,
            namespace: metadata.namespace,
            uid: metadata.uid,
            started_ns: sandbox.created_at,
            cpu: linux.cpu,
            memory: linux.memory,
            network: linux.network,
            processes: linux.process.and_then(|process| value(process.process_count.as_ref())),
            containers: Vec::new(),
        };
        pods.insert(sandbox.id, pod);
    }
    for container in containers {
        let Some(pod) = pods.get_mut(&container.pod_sandbox_id) else { continue };
        let usage = by_id.remove(&container.id).unwrap_or_default();
        pod.containers.push(ContainerUsage {
            name: container.labels.get(labels::CONTAINER_NAME).cloned().unwrap_or_default(),
            id: container.id,
            image: container.image.map(|image| image.image).unwrap_or_default(),
            started_ns: container.created_at,
            cpu: usage.cpu,
            memory: usage.memory,
            swap: usage.swap,
            root: usage.writable_layer,
        });
    }
    let mut pods: Vec<PodUsage> = pods.into_values().collect();
    pods.iter_mut().for_each(fill);
    pods.sort_by(|a, b| (&a.namespace, &a.name).cmp(&(&b.namespace, &b.name)));
    pods
}

/// A pod whose own usage the runtime does not tell uses what its containers use.
fn fill(pod: &mut PodUsage) {
    pod.containers.sort_by(|a, b| a.name.cmp(&b.name));
    let sum = |values: Vec<Option<u64>>| {
        let known: Vec<u64> = values.into_iter().flatten().collect();
        (!known.is_empty()).then(|| v1::UInt64Value { value: known.iter().sum() })
    };
    if pod.cpu.is_none() {
        let all: Vec<_> = pod.containers.iter().filter_map(|container| container.cpu.as_ref()).collect();
        pod.cpu = all.iter().map(|cpu| cpu.timestamp).max().map(|timestamp| v1::CpuUsage {
            timestamp,
            usage_core_nano_seconds: sum(all.iter().map(|cpu| value(cpu.usage_core_nano_seconds.as_ref())).collect()),
            usage_nano_cores: sum(all.iter().map(|cpu| value(cpu.usage_nano_cores.as_ref())).collect()),
        });
    }
    if pod.memory.is_none() {
        let all: Vec<_> = pod.containers.iter().filter_map(|container| container.memory.as_ref()).collect();
        pod.memory = all.iter().map(|memory| memory.timestamp).max().map(|timestamp| v1::MemoryUsage {
            timestamp,
            working_set_bytes: sum(all.iter().map(|memory| value(memory.working_set_bytes.as_ref())).collect()),
            usage_bytes: sum(all.iter().map(|memory| value(memory.usage_bytes.as_ref())).collect()),
            rss_bytes: sum(all.iter().map(|memory| value(memory.rss_bytes.as_ref())).collect()),
            ..Default::default()
        });
    }
}

/// `GET /stats/summary`
pub(super) async fn summary(server: &Server) -> Answer {
    let state = &server.state;
    let pods = match pods(&*state.runtime).await {
        Ok(pods) => pods,
        Err(error) => return answer::text(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
    };
    let usage = server.node.look();
    let space = node_usage::space(&state.config.root_dir);
    let images = state.runtime.image_fs_info().await.unwrap_or_default();
    let mut shown = json!({
        "node": node(server, &usage, space, &images),
        "pods": pods.iter().map(pod).collect::<Vec<_>>(),
    });
    prune(&mut shown);
    answer::json(&shown)
}

fn node(server: &Server, usage: &Usage, space: Option<Space>, images: &v1::ImageFsInfoResponse) -> Value {
    let (most, present) = node_usage::processes();
    json!({
        "nodeName": server.state.config.node_name,
        "startTime": stamp(server.started.as_nanosecond()),
        "cpu": {
            "time": stamp(usage.time.as_nanosecond()),
            "usageNanoCores": usage.cpu_nano_cores,
            "usageCoreNanoSeconds": usage.cpu_total_ns,
        },
        "memory": {
            "time": stamp(usage.time.as_nanosecond()),
            "availableBytes": usage.memory.available,
            "usageBytes": usage.memory.usage,
            "workingSetBytes": usage.memory.working_set,
            "rssBytes": usage.memory.rss,
        },
        "fs": space.map(|space| json!({
            "time": stamp(usage.time.as_nanosecond()),
            "availableBytes": space.available,
            "capacityBytes": space.capacity,
            "usedBytes": space.used,
            "inodesFree": space.inodes_free,
            "inodes": space.inodes,
            "inodesUsed": space.inodes.saturating_sub(space.inodes_free),
        })),
        "network": node_network(usage),
        "runtime": {"imageFs": images.image_filesystems.first().and_then(image_fs)},
        "rlimit": {"time": stamp(usage.time.as_nanosecond()), "maxpid": most, "curproc": present},
    })
}

/// The interfaces of the node; first the one with the default route.
fn node_network(usage: &Usage) -> Value {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let all = node_usage::interfaces(&read("/proc/net/dev"));
    let default = node_usage::default_interface(&read("/proc/net/route"));
    let show = |i: &node_usage::Interface| {
        Map::from_iter([
            ("name".to_owned(), json!(i.name)),
            ("rxBytes".to_owned(), json!(i.received)),
            ("rxErrors".to_owned(), json!(i.receive_errors)),
            ("txBytes".to_owned(), json!(i.sent)),
            ("txErrors".to_owned(), json!(i.send_errors)),
        ])
    };
    let mut shown = all.iter().find(|i| Some(&i.name) == default.as_ref()).map(show).unwrap_or_default();
    shown.insert("time".into(), json!(stamp(usage.time.as_nanosecond())));
    shown.insert("interfaces".into(), json!(all.iter().map(show).collect::<Vec<_>>()));
    Value::Object(shown)
}

/// The file system that images lie on, and what of it they take.
fn image_fs(usage: &v1::FilesystemUsage) -> Option<Value> {
    let space = node_usage::space(std::path::Path::new(&usage.fs_id.as_ref()?.mountpoint))?;
    Some(json!({
        "time": stamp(usage.timestamp.into()),
        "availableBytes": space.available,
        "capacityBytes": space.capacity,
        "usedBytes": value(usage.used_bytes.as_ref()),
        "inodesFree": space.inodes_free,
        "inodes": space.inodes,
        "inodesUsed": value(usage.inodes_used.as_ref()),
    }))
}

fn pod(pod: &PodUsage) -> Value {
    let containers: Vec<Value> = pod.containers.iter().map(container).collect();
    json!({
        "podRef": {"name": pod.name, "namespace": pod.namespace, "uid": pod.uid},
        "startTime": stamp(pod.started_ns.into()),
        "containers": containers,
        "cpu": pod.cpu.as_ref().map(cpu),
        "memory": pod.memory.as_ref().map(memory),
        "network": pod.network.as_ref().map(network),
        "process_stats": pod.processes.map(|count| json!({"process_count": count})),
    })
}

fn container(container: &ContainerUsage) -> Value {
    let swap = container.swap.as_ref().map(|swap| {
        json!({
            "time": stamp(swap.timestamp.into()),
            "swapAvailableBytes": value(swap.swap_available_bytes.as_ref()),
            "swapUsageBytes": value(swap.swap_usage_bytes.as_ref()),
        })
    });
    let root = container.root.as_ref().map(|root| {
        json!({
            "time": stamp(root.timestamp.into()),
            "usedBytes": value(root.used_bytes.as_ref()),
            "inodesUsed": value(root.inodes_used.as_ref()),
        })
    });
    json!({
        "name": container.name,
        "startTime": stamp(container.started_ns.into()),
        "cpu": container.cpu.as_ref().map(cpu),
        "memory": container.memory.as_ref().map(memory),
        "rootfs": root,
        "swap": swap,
    })
}

fn cpu(usage: &v1::CpuUsage) -> Value {
    json!({
        "time": stamp(usage.timestamp.into()),
        "usageNanoCores": value(usage.usage_nano_cores.as_ref()),
        "usageCoreNanoSeconds": value(usage.usage_core_nano_seconds.as_ref()),
    })
}

fn memory(usage: &v1::MemoryUsage) -> Value {
    json!({
        "time": stamp(usage.timestamp.into()),
        "availableBytes": value(usage.available_bytes.as_ref()),
        "usageBytes": value(usage.usage_bytes.as_ref()),
        "workingSetBytes": value(usage.working_set_bytes.as_ref()),
        "rssBytes": value(usage.rss_bytes.as_ref()),
        "pageFaults": value(usage.page_faults.as_ref()),
        "majorPageFaults": value(usage.major_page_faults.as_ref()),
    })
}

fn network(usage: &v1::NetworkUsage) -> Value {
    let mut shown = usage.default_interface.as_ref().map(interface).unwrap_or_default();
    // Containerd before 1.7 gives no time with it.
    let time = if usage.timestamp > 0 { usage.timestamp.into() } else { Timestamp::now().as_nanosecond() };
    shown.insert("time".into(), json!(stamp(time)));
    let others: Vec<_> = usage.default_interface.iter().chain(&usage.interfaces).map(interface).collect();
    shown.insert("interfaces".into(), json!(others));
    Value::Object(shown)
}

fn interface(usage: &v1::NetworkInterfaceUsage) -> Map<String, Value> {
    Map::from_iter([
        ("name".to_owned(), json!(usage.name)),
        ("rxBytes".to_owned(), json!(value(usage.rx_bytes.as_ref()))),
        ("rxErrors".to_owned(), json!(value(usage.rx_errors.as_ref()))),
        ("txBytes".to_owned(), json!(value(usage.tx_bytes.as_ref()))),
        ("txErrors".to_owned(), json!(value(usage.tx_errors.as_ref()))),
    ])
}

/// The API's times have whole seconds.
fn stamp(nanoseconds: i128) -> Option<String> {
    let time = Timestamp::from_nanosecond(nanoseconds).ok()?;
    Some(Timestamp::from_second(time.as_second()).ok()?.to_string())
}

/// Leaves out what is not known, as the API's types do.
fn prune(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.retain(|_, field| !field.is_null());
            fields.values_mut().for_each(prune);
        }
        Value::Array(items) => items.iter_mut().for_each(prune),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(value: u64) -> Option<v1::UInt64Value> {
        Some(v1::UInt64Value { value })
    }

    #[test]
    fn usage_of_a_pod_whose_sandbox_tells_nothing() {
        let metadata = v1::PodSandboxMetadata { name: "p".into(), namespace: "ns".into(), uid: "u".into(), attempt: 0 };
        let sandbox = v1::PodSandbox { id: "s".into(), metadata: Some(metadata), ..Default::default() };
        let container = |id: &str| v1::Container {
            id: id.into(),
            pod_sandbox_id: "s".into(),
            labels: HashMap::from([(labels::CONTAINER_NAME.to_owned(), id.to_owned())]),
            ..Default::default()
        };
        let usage = |id: &str, nanoseconds| v1::ContainerStats {
            attributes: Some(v1::ContainerAttributes { id: id.into(), ..Default::default() }),
            cpu: Some(v1::CpuUsage {
                timestamp: 5,
                usage_core_nano_seconds: number(nanoseconds),
                usage_nano_cores: None,
            }),
            ..Default::default()
        };
        let containers = vec![container("b"), container("a")];
        let usages = vec![usage("a", 1), usage("b", 2), usage("gone", 4)];
        let pods = join(containers, vec![sandbox], usages, Vec::new());
        let [only] = pods.as_slice() else { panic!("one pod, not {}", pods.len()) };
        let names: Vec<&str> = only.containers.iter().map(|c| c.name.as_str()).collect();
        assert_eq!(names, ["a", "b"]);
        assert_eq!(only.cpu.as_ref().and_then(|cpu| value(cpu.usage_core_nano_seconds.as_ref())), Some(3));
        let mut shown = pod(only);
        prune(&mut shown);
        assert_eq!(shown["podRef"], json!({"name": "p", "namespace": "ns", "uid": "u"}));
        assert_eq!(shown["cpu"], json!({"time": "1970-01-01T00:00:00Z", "usageCoreNanoSeconds": 3}));
        assert!(shown.get("memory").is_none());
    }
}
