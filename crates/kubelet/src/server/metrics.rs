//! Metrics in the Prometheus text format: the kubelet's own, `/metrics/resource` (which metrics-server reads)
//! and the part of `/metrics/cadvisor` that the runtime can tell. Names and labels are upstream's.
use std::fmt::{Display, Write};

use cri::v1;
use http::StatusCode;

use super::Server;
use super::answer::{self, Answer, EXPOSITION};
use super::node_usage::Usage;
use super::stats::{self, ContainerUsage, PodUsage, value};
use crate::counts::Probed;
use crate::spec;

const NANO: f64 = 1e9;

/// Writes one family after the other.
#[derive(Default)]
struct Text(String);

impl Text {
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        // Writing to a string cannot fail.
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: impl Display, time_ms: Option<i64>) {
        self.0.push_str(name);
        for (at, (label, text)) in labels.iter().enumerate() {
            let text = text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
            let _ = write!(self.0, "{}{label}=\"{text}\"", if at == 0 { '{' } else { ',' });
        }
        if !labels.is_empty() {
            self.0.push('}');
        }
        let _ = write!(self.0, " {value}");
        if let Some(time) = time_ms {
            let _ = write!(self.0, " {time}");
        }
        self.0.push('\n');
    }

    fn answer(self) -> Answer {
        answer::of(StatusCode::OK, EXPOSITION, self.0)
    }
}

/// `GET /metrics`
pub async fn kubelet(server: &Server) -> Answer {
    let runtime = &server.state.runtime;
    let sandboxes = v1::PodSandboxStateValue { state: v1::PodSandboxState::SandboxReady.into() };
    let sandboxes = v1::PodSandboxFilter { state: Some(sandboxes), ..Default::default() };
    let found =
        tokio::try_join!(runtime.list_pod_sandbox(sandboxes), runtime.list_containers(v1::ContainerFilter::default()));
    let mut text = Text::default();
    text.family("kubelet_node_name", "gauge", "[ALPHA] The node's name. The count is always 1.");
    text.sample("kubelet_node_name", &[("node", &server.state.config.node_name)], 1, None);
    if let Ok((sandboxes, containers)) = found {
        text.family("kubelet_running_pods", "gauge", "[ALPHA] Number of pods that have a running pod sandbox");
        text.sample("kubelet_running_pods", &[], sandboxes.len(), None);
        text.family("kubelet_running_containers", "gauge", "[ALPHA] Number of containers currently running");
        use v1::ContainerState::{ContainerCreated, ContainerExited, ContainerRunning, ContainerUnknown};
        for (state, name) in [
            (ContainerCreated, "created"),
            (ContainerExited, "exited"),
            (ContainerRunning, "running"),
            (ContainerUnknown, "unknown"),
        ] {
            let count = containers.iter().filter(|container| container.state() == state).count();
            text.sample("kubelet_running_containers", &[("container_state", name)], count, None);
        }
    }
    pods_text(&mut text, &server.state.pods.all());
    let mut last = "";
    for (family, label, count) in server.state.counts.families() {
        if family.name != last {
            text.family(family.name, "counter", family.help);
            last = family.name;
        }
        let labels = [(family.label, label)];
        text.sample(family.name, if family.label.is_empty() { &[] } else { &labels }, count, None);
    }
    process(&mut text, server.started);
    text.answer()
}

/// How many pods are wanted here and are not finished, by where they come from.
fn pods_text(text: &mut Text, pods: &[std::sync::Arc<k8s_openapi::api::core::v1::Pod>]) {
    for (name, help, finished_too) in [
        ("kubelet_desired_pods", "[ALPHA] The number of pods the kubelet is being instructed to run.", true),
        (
            "kubelet_active_pods",
            "[ALPHA] The number of pods the kubelet considers active and which are being considered when admitting new pods.",
            false,
        ),
    ] {
        text.family(name, "gauge", help);
        let counted = || pods.iter().filter(|pod| finished_too || !spec::is_terminal(pod));
        let fixed = counted().filter(|pod| spec::is_static(pod)).count();
        for (label, count) in [("", counted().count() - fixed), ("true", fixed)] {
            text.sample(name, &[("static", label)], count, None);
        }
    }
}

/// `GET /metrics/probes`
pub fn probes(server: &Server) -> Answer {
    probes_text(server.state.counts.probes()).answer()
}

fn probes_text(counts: Vec<(Probed, u64)>) -> Text {
    let mut text = Text::default();
    let name = "prober_probe_total";
    text.family(
        name,
        "counter",
        "[BETA] Cumulative number of a liveness, readiness or startup probe for a container by result.",
    );
    for (probed, count) in counts {
        let labels = [
            ("container", probed.container.as_str()),
            ("namespace", &probed.namespace),
            ("pod", &probed.pod),
            ("pod_uid", &probed.uid),
            ("probe_type", probed.kind.name()),
            ("result", probed.result),
        ];
        text.sample(name, &labels, count, None);
    }
    text
}

/// Gauges of the process that the kubelet runs in.
fn process(text: &mut Text, started: jiff::Timestamp) {
    const TICKS_PER_SECOND: f64 = 100.0;
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // The name in parentheses may hold spaces; what follows begins with the third field.
    let fields: Vec<&str> =
        stat.rsplit_once(')').map(|(_, rest)| rest.split_whitespace().collect()).unwrap_or_default();
    let field = |number: usize| fields.get(number - 3).and_then(|field| field.parse::<f64>().ok()).unwrap_or(0.0);
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let bytes = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        line.and_then(|line| line.split_whitespace().next()?.parse::<f64>().ok()).unwrap_or(0.0) * 1024.0
    };
    let open = std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count);
    let seconds = started.as_millisecond() as f64 / 1000.0;
    for (name, kind, help, value) in [
        (
            "process_cpu_seconds_total",
            "counter",
            "Total user and system CPU time spent in seconds.",
            (field(14) + field(15)) / TICKS_PER_SECOND,
        ),
        ("process_open_fds", "gauge", "Number of open file descriptors.", open as f64),
        ("process_resident_memory_bytes", "gauge", "Resident memory size in bytes.", bytes("VmRSS:")),
        ("process_virtual_memory_bytes", "gauge", "Virtual memory size in bytes.", bytes("VmSize:")),
        ("process_start_time_seconds", "gauge", "Start time of the process since unix epoch in seconds.", seconds),
    ] {
        text.family(name, kind, help);
        text.sample(name, &[], value, None);
    }
}

/// `GET /metrics/resource`
pub async fn resource(server: &Server) -> Answer {
    let pods = stats::pods(&*server.state.runtime).await;
    if let Err(error) = &pods {
        tracing::warn!(%error, "the container runtime does not tell what pods use");
    }
    let failed = pods.is_err();
    resource_text(&pods.unwrap_or_default(), &server.node.look(), failed).answer()
}

fn resource_text(pods: &[PodUsage], node: &Usage, failed: bool) -> Text {
    let mut text = Text::default();
    let containers = || pods.iter().flat_map(|pod| pod.containers.iter().map(move |container| (pod, container)));
    let name = "container_cpu_usage_seconds_total";
    text.family(name, "counter", "[STABLE] Cumulative cpu time consumed by the container in core-seconds");
    for (pod, container) in containers() {
        if let Some((seconds, time)) = container.cpu.as_ref().and_then(cpu_seconds) {
            text.sample(name, &of(pod, container), seconds, Some(time));
        }
    }
    let name = "container_memory_working_set_bytes";
    text.family(name, "gauge", "[STABLE] Current working set of the container in bytes");
    for (pod, container) in containers() {
        if let Some((bytes, time)) = container.memory.as_ref().and_then(working_set) {
            text.sample(name, &of(pod, container), bytes, Some(time));
        }
    }
    let name = "container_start_time_seconds";
    text.family(name, "gauge", "[STABLE] Start time of the container since unix epoch in seconds");
    for (pod, container) in containers() {
        text.sample(name, &of(pod, container), container.started_ns as f64 / NANO, None);
    }
    let now = Some(node.time.as_millisecond());
    let name = "node_cpu_usage_seconds_total";
    text.family(name, "counter", "[STABLE] Cumulative cpu time consumed by the node in core-seconds");
    text.sample(name, &[], node.cpu_total_ns as f64 / NANO, now);
    let name = "node_memory_working_set_bytes";
    text.family(name, "gauge", "[STABLE] Current working set of the node in bytes");
    text.sample(name, &[], node.memory.working_set, now);
    let name = "pod_cpu_usage_seconds_total";
    text.family(name, "counter", "[STABLE] Cumulative cpu time consumed by the pod in core-seconds");
    for pod in pods {
        if let Some((seconds, time)) = pod.cpu.as_ref().and_then(cpu_seconds) {
            text.sample(name, &[("namespace", &pod.namespace), ("pod", &pod.name)], seconds, Some(time));
        }
    }
    let name = "pod_memory_working_set_bytes";
    text.family(name, "gauge", "[STABLE] Current working set of the pod in bytes");
    for pod in pods {
        if let Some((bytes, time)) = pod.memory.as_ref().and_then(working_set) {
            text.sample(name, &[("namespace", &pod.namespace), ("pod", &pod.name)], bytes, Some(time));
        }
    }
    let name = "resource_scrape_error";
    text.family(name, "gauge", "[STABLE] 1 if there was an error while getting container metrics, 0 otherwise");
    text.sample(name, &[], u8::from(failed), None);
    text
}

fn of<'a>(pod: &'a PodUsage, container: &'a ContainerUsage) -> [(&'static str, &'a str); 3] {
    [("container", &container.name), ("namespace", &pod.namespace), ("pod", &pod.name)]
}

/// Seconds of processor time, and when they were read, in milliseconds.
fn cpu_seconds(cpu: &v1::CpuUsage) -> Option<(f64, i64)> {
    let spent = value(cpu.usage_core_nano_seconds.as_ref())?;
    Some((spent as f64 / NANO, cpu.timestamp / 1_000_000))
}

fn working_set(memory: &v1::MemoryUsage) -> Option<(u64, i64)> {
    Some((value(memory.working_set_bytes.as_ref())?, memory.timestamp / 1_000_000))
}

type Read = fn(&ContainerUsage) -> Option<f64>;
type ReadNetwork = fn(&v1::NetworkInterfaceUsage) -> Option<&v1::UInt64Value>;

/// `GET /metrics/cadvisor`
pub async fn cadvisor(server: &Server) -> Answer {
    let pods = match stats::pods(&*server.state.runtime).await {
        Ok(pods) => pods,
        Err(error) => return answer::text(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
    };
    let mut text = Text::default();
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    text.family("machine_cpu_cores", "gauge", "Number of logical CPU cores.");
    text.sample("machine_cpu_cores", &[], cores, None);
    text.family("machine_memory_bytes", "gauge", "Amount of memory installed on the machine.");
    text.sample("machine_memory_bytes", &[], server.node.look().memory.capacity, None);
    containers_text(&mut text, &pods);
    network_text(&mut text, &pods);
    text.answer()
}

fn containers_text(text: &mut Text, pods: &[PodUsage]) {
    fn memory(container: &ContainerUsage, of: fn(&v1::MemoryUsage) -> Option<&v1::UInt64Value>) -> Option<f64> {
        value(of(container.memory.as_ref()?)).map(|bytes| bytes as f64)
    }
    let families: [(&str, &str, &str, Read); 6] = [
        ("container_cpu_usage_seconds_total", "counter", "Cumulative cpu time consumed in seconds.", |container| {
            cpu_seconds(container.cpu.as_ref()?).map(|(seconds, _)| seconds)
        }),
        ("container_memory_working_set_bytes", "gauge", "Current working set in bytes.", |container| {
            memory(container, |memory| memory.working_set_bytes.as_ref())
        }),
        ("container_memory_usage_bytes", "gauge", "Current memory usage in bytes.", |container| {
            memory(container, |memory| memory.usage_bytes.as_ref())
        }),
        ("container_memory_rss", "gauge", "Size of RSS in bytes.", |container| {
            memory(container, |memory| memory.rss_bytes.as_ref())
        }),
        ("container_fs_usage_bytes", "gauge", "Number of bytes that are consumed by the container.", |container| {
            value(container.root.as_ref()?.used_bytes.as_ref()).map(|bytes| bytes as f64)
        }),
        ("container_start_time_seconds", "gauge", "Start time of the container since unix epoch in seconds.", |c| {
            Some((c.started_ns as f64 / NANO).floor())
        }),
    ];
    for (name, kind, help, read) in families {
        text.family(name, kind, help);
        for pod in pods {
            for container in &pod.containers {
                let Some(value) = read(container) else { continue };
                let labels = [
                    ("container", container.name.as_str()),
                    ("id", &container.id),
                    ("image", &container.image),
                    ("name", &container.id),
                    ("namespace", &pod.namespace),
                    ("pod", &pod.name),
                ];
                text.sample(name, &labels, value, None);
            }
        }
    }
}

fn network_text(text: &mut Text, pods: &[PodUsage]) {
    let families: [(&str, &str, ReadNetwork); 4] = [
        ("container_network_receive_bytes_total", "Cumulative count of bytes received", |i| i.rx_bytes.as_ref()),
        ("container_network_receive_errors_total", "Cumulative count of errors encountered while receiving", |i| {
            i.rx_errors.as_ref()
        }),
        ("container_network_transmit_bytes_total", "Cumulative count of bytes transmitted", |i| i.tx_bytes.as_ref()),
        ("container_network_transmit_errors_total", "Cumulative count of errors encountered while transmitting", |i| {
            i.tx_errors.as_ref()
        }),
    ];
    for (name, help, read) in families {
        text.family(name, "counter", help);
        for pod in pods {
            let Some(network) = &pod.network else { continue };
            for interface in network.default_interface.iter().chain(&network.interfaces) {
                let Some(value) = value(read(interface)) else { continue };
                let labels =
                    [("interface", interface.name.as_str()), ("namespace", &pod.namespace), ("pod", &pod.name)];
                text.sample(name, &labels, value, None);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_escaped() {
        let mut text = Text::default();
        text.sample("m", &[("a", "x\"y\\z\n"), ("b", "")], 1.5, Some(7));
        text.sample("n", &[], 2, None);
        assert_eq!(text.0, "m{a=\"x\\\"y\\\\z\\n\",b=\"\"} 1.5 7\nn 2\n");
    }

    #[test]
    fn probes_by_result() {
        let counts = crate::counts::Counts::default();
        let probed = |result| Probed {
            namespace: "ns".into(),
            pod: "p".into(),
            uid: "u".into(),
            container: "c".into(),
            kind: crate::probes::results::ProbeKind::Liveness,
            result,
        };
        counts.probed(probed("failed"));
        counts.probed(probed("failed"));
        let Text(text) = probes_text(counts.probes());
        let sample = "prober_probe_total{container=\"c\",namespace=\"ns\",pod=\"p\",pod_uid=\"u\",probe_type=\"Liveness\",result=\"failed\"} 2";
        assert_eq!(text.lines().last(), Some(sample));
        counts.forget("u");
        assert!(counts.probes().is_empty());
    }

    #[test]
    fn what_metrics_server_reads() {
        let cpu = v1::CpuUsage {
            timestamp: 2_000_000,
            usage_core_nano_seconds: Some(v1::UInt64Value { value: 1_500_000_000 }),
            usage_nano_cores: None,
        };
        let container =
            ContainerUsage { name: "c".into(), started_ns: 3_000_000_000, cpu: Some(cpu), ..Default::default() };
        let pod =
            PodUsage { name: "p".into(), namespace: "ns".into(), containers: vec![container], ..Default::default() };
        let node = Usage { cpu_total_ns: 5_000_000_000, ..Default::default() };
        let Text(text) = resource_text(&[pod], &node, false);
        let samples: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
        assert_eq!(
            samples,
            [
                "container_cpu_usage_seconds_total{container=\"c\",namespace=\"ns\",pod=\"p\"} 1.5 2",
                "container_start_time_seconds{container=\"c\",namespace=\"ns\",pod=\"p\"} 3",
                "node_cpu_usage_seconds_total 5 0",
                "node_memory_working_set_bytes 0 0",
                "resource_scrape_error 0",
            ]
        );
    }
}
