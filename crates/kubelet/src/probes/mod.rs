//! Probes: startup, liveness, readiness; by exec, HTTP, TCP and gRPC.
//!
//! One task a probe of a running container; it ends with its container. A verdict changes only after as many
//! results in a row as the probe's thresholds ask for.
pub mod grpc;
pub mod http;
pub mod results;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, Pod, Probe};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use crate::backoff::go_seconds;
use crate::counts::Probed;
use crate::kubelet::Kubelet;
use crate::observed::{Observed, State};
use crate::spec::{self, Kind};
use results::ProbeKind;

const LONGEST_MESSAGE: usize = 10 * 1024;

/// The probe tasks of one pod. Dropping it ends them.
pub struct Probers {
    kubelet: Arc<Kubelet>,
    wake: Arc<Notify>,
    tasks: HashMap<(String, ProbeKind), JoinHandle<()>>,
}

impl Drop for Probers {
    fn drop(&mut self) {
        self.stop_all();
    }
}

impl Probers {
    pub fn new(kubelet: Arc<Kubelet>, wake: Arc<Notify>) -> Probers {
        Probers { kubelet, wake, tasks: HashMap::new() }
    }

    /// Probes exactly the containers that run.
    pub fn keep(&mut self, pod: &Arc<Pod>, seen: &Observed) {
        let Probers { kubelet, tasks, .. } = self;
        tasks.retain(|(id, kind), task| {
            let runs = seen.containers.iter().any(|c| &c.id == id && c.state == State::Running);
            if !runs {
                task.abort();
                kubelet.results.remove(id, *kind);
            }
            runs
        });
        let ip = match spec::host_network(pod) {
            true => self.kubelet.host_ips.first().cloned(),
            false => seen.sandboxes.first().and_then(|s| s.ips.first()).cloned(),
        };
        let ip = ip.unwrap_or_default();
        for running in seen.containers.iter().filter(|c| c.state == State::Running) {
            let Some((kind, container)) = spec::find(pod, &running.name) else { continue };
            if kind == Kind::Ephemeral || (kind == Kind::Init && !spec::is_sidecar(&container)) {
                continue;
            }
            for (probe_kind, probe) in [
                (ProbeKind::Startup, &container.startup_probe),
                (ProbeKind::Liveness, &container.liveness_probe),
                (ProbeKind::Readiness, &container.readiness_probe),
            ] {
                let Some(probe) = probe else { continue };
                let key = (running.id.clone(), probe_kind);
                if self.tasks.contains_key(&key) {
                    continue;
                }
                let prober = Prober {
                    kubelet: self.kubelet.clone(),
                    wake: self.wake.clone(),
                    pod: pod.clone(),
                    list: kind,
                    probe: probe.clone(),
                    kind: probe_kind,
                    id: running.id.clone(),
                    ip: ip.clone(),
                    started_at_ns: running.started_at_ns,
                    container: container.clone(),
                };
                self.tasks.insert(key, tokio::spawn(prober.run()));
            }
        }
    }

    /// Ends all probing; the containers count as unready.
    pub fn stop_all(&mut self) {
        for ((id, kind), task) in self.tasks.drain() {
            task.abort();
            self.kubelet.results.remove(&id, kind);
        }
    }
}

struct Prober {
    kubelet: Arc<Kubelet>,
    wake: Arc<Notify>,
    pod: Arc<Pod>,
    list: Kind,
    container: Container,
    probe: Probe,
    kind: ProbeKind,
    id: String,
    ip: String,
    started_at_ns: i64,
}

fn seconds(value: Option<i32>, default: u64) -> Duration {
    Duration::from_secs(value.and_then(|v| u64::try_from(v).ok()).filter(|v| *v > 0).unwrap_or(default))
}

impl Prober {
    async fn run(self) {
        let period = seconds(self.probe.period_seconds, 10);
        let delay = seconds(self.probe.initial_delay_seconds, 0);
        let started = Timestamp::from_nanosecond(i128::from(self.started_at_ns)).unwrap_or_else(|_| Timestamp::now());
        let age = Duration::try_from(Timestamp::now().duration_since(started)).unwrap_or(Duration::ZERO);
        tokio::time::sleep(delay.saturating_sub(age)).await;
        let mut ticks = tokio::time::interval(period);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let (mut last, mut run_length) = (None, 0);
        if self.kind != ProbeKind::Startup && self.container.startup_probe.is_some() {
            self.wait_for_startup().await;
        }
        loop {
            ticks.tick().await;
            // A probe that could not be made says nothing.
            let Some(good) = self.once().await else { continue };
            run_length = if last == Some(good) { run_length + 1 } else { 1 };
            last = Some(good);
            let threshold = match good {
                true => self.probe.success_threshold.unwrap_or(1),
                false => self.probe.failure_threshold.unwrap_or(3),
            };
            if run_length < threshold {
                continue;
            }
            if self.kubelet.results.set(&self.id, self.kind, good) {
                self.wake.notify_one();
            }
            let decided = match self.kind {
                ProbeKind::Startup => true,
                ProbeKind::Liveness => !good,
                ProbeKind::Readiness => false,
            };
            if decided {
                // The container is on its way out, or has started for good.
                return;
            }
        }
    }

    async fn wait_for_startup(&self) {
        while self.kubelet.results.get(&self.id, ProbeKind::Startup) != Some(true) {
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    async fn once(&self) -> Option<bool> {
        let limit = seconds(self.probe.timeout_seconds, 1);
        let found = self.check(limit).await;
        let result = match &found {
            Ok(_) => "successful",
            Err(Failed::Probe(_)) => "failed",
            Err(Failed::Error(_)) => "unknown",
        };
        self.kubelet.counts.probed(Probed {
            namespace: spec::namespace(&self.pod).to_owned(),
            pod: spec::name(&self.pod).to_owned(),
            uid: spec::uid(&self.pod).to_owned(),
            container: self.container.name.clone(),
            kind: self.kind,
            result,
        });
        let (good, reason, text) = match found {
            Ok(None) => return Some(true),
            Ok(Some(warning)) => (Some(true), "ProbeWarning", format!("{} probe warning: {warning}", self.kind.name())),
            Err(Failed::Probe(text)) => {
                (Some(false), "Unhealthy", format!("{} probe failed: {text}", self.kind.name()))
            }
            Err(Failed::Error(text)) => {
                (None, "Unhealthy", format!("{} probe errored and resulted in unknown state: {text}", self.kind.name()))
            }
        };
        let text: String = text.chars().take(LONGEST_MESSAGE).collect();
        self.kubelet.container_event(&self.pod, self.list, &self.container.name, true, reason, &text);
        good
    }

    async fn check(&self, limit: Duration) -> Result<Option<String>, Failed> {
        if let Some(exec) = &self.probe.exec {
            return self.exec(exec.command.as_deref().unwrap_or_default(), limit).await;
        }
        if let Some(get) = &self.probe.http_get {
            return http::get(get, &self.container, &self.ip, limit).await.map_err(Failed::Probe);
        }
        if let Some(tcp) = &self.probe.tcp_socket {
            let host = tcp.host.as_deref().filter(|h| !h.is_empty()).unwrap_or(&self.ip);
            let port = port(&tcp.port, &self.container).map_err(Failed::Error)?;
            let target = authority(host, port);
            return match tokio::time::timeout(limit, tokio::net::TcpStream::connect(&target)).await {
                Ok(Ok(_)) => Ok(None),
                Ok(Err(error)) => Err(Failed::Probe(dial_error(&target, &error))),
                Err(_) => Err(Failed::Probe(format!("dial tcp {target}: i/o timeout"))),
            };
        }
        if let Some(grpc) = &self.probe.grpc {
            let port = u16::try_from(grpc.port).unwrap_or(0);
            let service = grpc.service.as_deref().unwrap_or_default();
            return match tokio::time::timeout(limit, grpc::check(&self.ip, port, service, limit)).await {
                Ok(Ok(())) => Ok(None),
                Ok(Err(text)) => Err(Failed::Probe(text)),
                Err(_) => {
                    Err(Failed::Probe(format!("timeout: health rpc did not complete within {}", go_seconds(limit))))
                }
            };
        }
        Ok(None)
    }

    async fn exec(&self, command: &[String], limit: Duration) -> Result<Option<String>, Failed> {
        match self.kubelet.runtime.exec_sync(&self.id, command, limit).await {
            Ok(answer) if answer.exit_code == 0 => Ok(None),
            Ok(answer) => {
                let output = [answer.stdout, answer.stderr].concat();
                Err(Failed::Probe(String::from_utf8_lossy(&output).into_owned()))
            }
            Err(error) if error.is_timeout() || error.message().contains("timeout") => Err(Failed::Probe(format!(
                "command timed out: \"{}\" timed out after {}s",
                command.join(" "),
                limit.as_secs()
            ))),
            Err(error) => Err(Failed::Error(error.to_string())),
        }
    }
}

enum Failed {
    /// The probed thing is not well.
    Probe(String),
    /// It could not be asked.
    Error(String),
}

/// `host:port`, with brackets around IPv6.
pub fn authority(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

/// As Go words a failed dial.
pub fn dial_error(target: &str, error: &std::io::Error) -> String {
    let text = match error.kind() {
        std::io::ErrorKind::ConnectionRefused => "connect: connection refused".to_owned(),
        std::io::ErrorKind::HostUnreachable => "connect: no route to host".to_owned(),
        std::io::ErrorKind::NetworkUnreachable => "connect: network is unreachable".to_owned(),
        _ => error.to_string(),
    };
    format!("dial tcp {target}: {text}")
}

/// A port by number, or by the name one of the container's ports has.
///
/// # Errors
/// There is no such port.
pub fn port(port: &IntOrString, container: &Container) -> Result<u16, String> {
    let number = match port {
        IntOrString::Int(number) => Some(*number),
        IntOrString::String(name) => {
            let named = container.ports.iter().flatten().find(|p| p.name.as_deref() == Some(name));
            named.map(|p| p.container_port).or_else(|| name.parse().ok())
        }
    };
    let number = number.ok_or_else(|| "couldn't find named port".to_owned())?;
    u16::try_from(number).ok().filter(|n| *n > 0).ok_or_else(|| format!("invalid port number: {number}"))
}
