//! Which request is answered by whom.
use std::sync::Arc;

use http::{Method, Request, StatusCode};
use hyper::body::Incoming;
use rustls::pki_types::CertificateDer;
use serde_json::{Value, json};

use super::answer::{self, Answer};
use super::query::{self, Query};
use super::streams::Target;
use super::{Server, container_logs, metrics, stats, streams};
use crate::config::{AuthorizationMode, Config};
use crate::labels;

/// Answers one request of a connection.
pub async fn answer(
    server: Arc<Server>,
    peer: Option<Arc<CertificateDer<'static>>>,
    request: Request<Incoming>,
) -> Answer {
    let peer = peer.as_ref().map(|der| der.as_ref().as_ref());
    let admitted = server.auth.admit(peer, request.headers(), request.method(), request.uri().path()).await;
    if let Err((status, why)) = admitted {
        return answer::text(status, why);
    }
    let path: Vec<String> = request.uri().path().split('/').skip(1).map(|part| query::decode(part, false)).collect();
    let mut parts: Vec<&str> = path.iter().map(String::as_str).collect();
    if parts.len() > 1 && parts.last() == Some(&"") {
        parts.pop();
    }
    let query = query::parse(request.uri().query());
    let method = request.method().clone();
    match (&method, parts.as_slice()) {
        (&Method::GET, &["healthz"]) => answer::text(StatusCode::OK, "ok"),
        (&Method::GET, &["healthz", "ping" | "log" | "syncloop"]) => answer::text(StatusCode::OK, "ok"),
        (&Method::GET, &["pods"]) => pods(&server),
        (&Method::GET, &["runningpods"]) => running_pods(&server).await,
        (&Method::GET, &["configz"]) => answer::json(&json!({"kubeletconfig": configuration(&server.state.config)})),
        (&Method::GET, &["metrics"]) => metrics::kubelet(&server).await,
        (&Method::GET, &["metrics", "resource"]) => metrics::resource(&server).await,
        (&Method::GET, &["metrics", "cadvisor"]) => metrics::cadvisor(&server).await,
        (&Method::GET, &["metrics", "probes"]) => answer::of(StatusCode::OK, answer::EXPOSITION, ""),
        (&Method::GET | &Method::POST, &["stats", "summary"]) => stats::summary(&server).await,
        (&Method::GET, &["containerLogs", namespace, pod, container]) => {
            container_logs::answer(&server, namespace, pod, container, &query).await
        }
        (&Method::GET | &Method::POST, &[room @ ("exec" | "attach" | "run" | "portForward"), ref rest @ ..]) => {
            let method = method.clone();
            match target(room, rest) {
                Some(target) if room != "run" || method == Method::POST => {
                    stream(&server, room, target, &query, request).await
                }
                Some(_) => answer::text(StatusCode::METHOD_NOT_ALLOWED, "405: Method Not Allowed"),
                None => not_found(),
            }
        }
        (_, &["checkpoint" | "logs" | "debug" | "statusz" | "flagz", ..]) => {
            answer::text(StatusCode::NOT_IMPLEMENTED, "not implemented by this kubelet")
        }
        (_, &["healthz" | "pods" | "runningpods" | "configz" | "metrics" | "stats" | "containerLogs", ..])
            if method != Method::GET =>
        {
            answer::text(StatusCode::METHOD_NOT_ALLOWED, "405: Method Not Allowed")
        }
        _ => not_found(),
    }
}

fn not_found() -> Answer {
    answer::text(StatusCode::NOT_FOUND, "404: Page Not Found")
}

/// `{namespace}/{pod}[/{uid}]/{container}`; for port-forwarding without the container.
fn target<'a>(room: &str, rest: &[&'a str]) -> Option<Target<'a>> {
    let (namespace, pod, uid, container) = match (room, rest) {
        ("portForward", &[namespace, pod]) => (namespace, pod, None, ""),
        ("portForward", &[namespace, pod, uid]) => (namespace, pod, Some(uid), ""),
        ("portForward", _) => return None,
        (_, &[namespace, pod, container]) => (namespace, pod, None, container),
        (_, &[namespace, pod, uid, container]) => (namespace, pod, Some(uid), container),
        _ => return None,
    };
    Some(Target { namespace, pod, uid, container })
}

async fn stream(server: &Server, room: &str, target: Target<'_>, query: &Query, request: Request<Incoming>) -> Answer {
    let answer = match room {
        "exec" => streams::exec(server, target, query, request).await,
        "attach" => streams::attach(server, target, query, request).await,
        "run" => streams::run(server, target, query).await,
        _ => streams::port_forward(server, target, query, request).await,
    };
    answer.unwrap_or_else(|refusal| *refusal)
}

fn pods(server: &Server) -> Answer {
    let all = server.state.pods.all();
    let items: Vec<_> = all.iter().map(AsRef::as_ref).collect::<Vec<&k8s_openapi::api::core::v1::Pod>>();
    answer::json(&json!({"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": items}))
}

/// What runs, from the runtime alone: pods with nothing but names and images.
async fn running_pods(server: &Server) -> Answer {
    let state = cri::v1::ContainerStateValue { state: cri::v1::ContainerState::ContainerRunning.into() };
    let filter = cri::v1::ContainerFilter { state: Some(state), ..Default::default() };
    let containers = match server.state.runtime.list_containers(filter).await {
        Ok(containers) => containers,
        Err(error) => return answer::text(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
    };
    let mut pods = std::collections::BTreeMap::<[String; 3], Vec<Value>>::new();
    for container in containers {
        let label = |name: &str| container.labels.get(name).cloned().unwrap_or_default();
        let key = [label(labels::POD_NAMESPACE), label(labels::POD_NAME), label(labels::POD_UID)];
        let image = container.image.as_ref().map(|image| image.image.as_str()).unwrap_or_default();
        let shown = json!({"name": label(labels::CONTAINER_NAME), "image": image, "resources": {}});
        pods.entry(key).or_default().push(shown);
    }
    let items: Vec<Value> = pods
        .into_iter()
        .map(|([namespace, name, uid], containers)| {
            json!({"metadata": {"name": name, "namespace": namespace, "uid": uid},
                "spec": {"containers": containers}, "status": {}})
        })
        .collect();
    answer::json(&json!({"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": items}))
}

/// The configuration in effect, under the names of KubeletConfiguration.
fn configuration(config: &Config) -> Value {
    let mode = match config.authorization {
        AuthorizationMode::AlwaysAllow => "AlwaysAllow",
        AuthorizationMode::Webhook => "Webhook",
    };
    json!({
        "address": config.address,
        "port": config.port,
        "healthzBindAddress": config.healthz_address,
        "healthzPort": config.healthz_port,
        "staticPodPath": config.static_pod_path,
        "tlsCertFile": config.tls_cert_file,
        "tlsPrivateKeyFile": config.tls_private_key_file,
        "authentication": {
            "x509": {"clientCAFile": config.client_ca_file},
            "webhook": {"enabled": config.token_webhook},
            "anonymous": {"enabled": config.anonymous_auth},
        },
        "authorization": {"mode": mode},
        "registerNode": config.register_node,
        "registerWithTaints": config.register_with_taints,
        "clusterDomain": config.cluster_domain,
        "clusterDNS": config.cluster_dns,
        "resolvConf": config.resolv_conf,
        "containerRuntimeEndpoint": config.runtime_endpoint,
        "imageServiceEndpoint": config.image_endpoint,
        "cgroupRoot": config.cgroup_root,
        "cgroupDriver": config.cgroup_driver,
        "cgroupsPerQOS": config.cgroups_per_qos,
        "cpuCFSQuota": config.cpu_cfs_quota,
        "maxPods": config.max_pods,
        "podCIDR": config.pod_cidr,
        "podLogsDir": config.pod_logs_dir,
        "containerLogMaxSize": config.container_log_max_bytes.to_string(),
        "containerLogMaxFiles": config.container_log_max_files,
        "nodeStatusUpdateFrequency": format!("{}s", config.node_status_update_frequency.as_secs()),
        "imageMinimumGCAge": format!("{}s", config.image_minimum_gc_age.as_secs()),
        "imageGCHighThresholdPercent": config.image_gc_high_percent,
        "imageGCLowThresholdPercent": config.image_gc_low_percent,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets() {
        let of = |room, rest: &[&'static str]| target(room, rest).map(|t| (t.namespace, t.pod, t.uid, t.container));
        assert_eq!(of("exec", &["ns", "p", "c"]), Some(("ns", "p", None, "c")));
        assert_eq!(of("attach", &["ns", "p", "u", "c"]), Some(("ns", "p", Some("u"), "c")));
        assert_eq!(of("portForward", &["ns", "p"]), Some(("ns", "p", None, "")));
        assert_eq!(of("portForward", &["ns", "p", "u"]), Some(("ns", "p", Some("u"), "")));
        assert_eq!(of("portForward", &["ns"]), None);
        assert_eq!(of("run", &["ns", "p"]), None);
    }
}
