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
pub async fn answer(server: Arc<Server>, peer: Arc<[CertificateDer<'static>]>, request: Request<Incoming>) -> Answer {
    let admitted = server.auth.admit(&peer, request.headers(), request.method(), request.uri().path()).await;
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
        (&Method::GET, &["metrics", "probes"]) => metrics::probes(&server),
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

/// The configuration in effect, as a KubeletConfiguration: the file's with upstream's defaults, what flags say over it.
fn configuration(config: &Config) -> Value {
    let mode = match config.authorization {
        AuthorizationMode::AlwaysAllow => "AlwaysAllow",
        AuthorizationMode::Webhook => "Webhook",
    };
    let duration = |duration| apimachinery::duration::format(duration);
    let authentication = json!({
        "x509": {"clientCAFile": config.client_ca_file},
        "webhook": {"enabled": config.token_webhook, "cacheTTL": duration(config.token_ttl)},
        "anonymous": {"enabled": config.anonymous_auth},
    });
    let authorization = json!({"mode": mode, "webhook": {
        "cacheAuthorizedTTL": duration(config.allowed_ttl), "cacheUnauthorizedTTL": duration(config.refused_ttl)}});
    let mut whole = config.settings.clone();
    let Some(fields) = whole.as_object_mut() else { return whole };
    let acted_on = [
        ("address", json!(config.address)),
        ("port", json!(config.port)),
        ("healthzBindAddress", json!(config.healthz_address)),
        ("healthzPort", json!(config.healthz_port)),
        ("staticPodPath", json!(config.static_pod_path)),
        ("tlsCertFile", json!(config.tls_cert_file)),
        ("tlsPrivateKeyFile", json!(config.tls_private_key_file)),
        ("authentication", authentication),
        ("authorization", authorization),
        ("registerNode", json!(config.register_node)),
        ("registerWithTaints", json!(config.register_with_taints)),
        ("clusterDomain", json!(config.cluster_domain)),
        ("clusterDNS", json!(config.cluster_dns)),
        ("resolvConf", json!(config.resolv_conf)),
        ("containerRuntimeEndpoint", json!(config.runtime_endpoint)),
        ("imageServiceEndpoint", json!(config.image_endpoint)),
        ("cgroupRoot", json!(config.cgroup_root)),
        ("cgroupDriver", json!(config.cgroup_driver)),
        ("cgroupsPerQOS", json!(config.cgroups_per_qos)),
        ("cpuCFSQuota", json!(config.cpu_cfs_quota)),
        ("maxPods", json!(config.max_pods)),
        ("podCIDR", json!(config.pod_cidr)),
        ("podLogsDir", json!(config.pod_logs_dir)),
        ("containerLogMaxFiles", json!(config.container_log_max_files)),
        ("nodeStatusUpdateFrequency", json!(duration(config.node_status_update_frequency))),
        ("imageMinimumGCAge", json!(duration(config.image_minimum_gc_age))),
        ("imageGCHighThresholdPercent", json!(config.image_gc_high_percent)),
        ("imageGCLowThresholdPercent", json!(config.image_gc_low_percent)),
        ("failSwapOn", json!(config.fail_swap_on)),
        ("failCgroupV1", json!(config.fail_cgroup_v1)),
        ("seccompDefault", json!(config.seccomp_default)),
    ];
    for (name, value) in acted_on {
        if !matches!(&value, Value::Null) && value != "" && value.as_array().is_none_or(|list| !list.is_empty()) {
            fields.insert(name.to_owned(), value);
        }
    }
    whole
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
