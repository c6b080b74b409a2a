//! What every cluster has from its first moment: namespaces, RBAC policy, priority classes, flow control, the
//! `kubernetes` service, and the settings extension servers read.
//!
//! Everything goes through the server's own API, so it is validated and admitted like all else, and doing
//! it again changes nothing.
pub(crate) mod flow_control;
mod kubernetes_service;
mod service_cidr;

use crate::{App, Error};
use auth::rbac::bootstrap::{Action, Write, plan};
use http::Request;
use serde_json::{Value, json};
use std::{net::IpAddr, sync::Arc, time::Duration};
use tokio_util::sync::CancellationToken;

/// Where this server is reached.
pub struct Place {
    pub advertised: IpAddr,
    pub port: u16,
    /// Of the `kubernetes` service: the range's first.
    pub service_address: Option<IpAddr>,
    /// The services' ranges, of the flags.
    pub cidrs: Vec<String>,
}

const NAMESPACES: [&str; 4] = ["kube-system", "default", "kube-public", "kube-node-lease"];

/// How often what is kept is looked at again.
const UPKEEP: Duration = Duration::from_secs(10);

/// # Errors
/// Something essential could not be written.
pub async fn run(app: &Arc<App>, client: &kube::Client, place: &Place) -> Result<(), Error> {
    for name in NAMESPACES {
        let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
        ensure(client, "/api/v1/namespaces", name, &namespace).await?;
    }
    if app.rbac_enabled && app.registry.store("clusterroles").is_some() {
        // Aggregated roles follow from the others, hence a few rounds.
        for _ in 0..3 {
            let writes = plan(&*app.registry);
            if writes.is_empty() {
                break;
            }
            for write in writes {
                apply_policy(client, &write).await?;
            }
        }
    }
    for (name, value, description) in [
        (
            "system-node-critical",
            2_000_001_000,
            "Used for system critical pods that must not be moved from their current node.",
        ),
        (
            "system-cluster-critical",
            2_000_000_000,
            "Used for system critical pods that must run in the cluster, but can be moved to another node if necessary.",
        ),
    ] {
        if app.registry.store("priorityclasses").is_none() {
            break;
        }
        let class = json!({
            "apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": {"name": name},
            "value": value, "description": description,
        });
        ensure(client, "/apis/scheduling.k8s.io/v1/priorityclasses", name, &class).await?;
    }
    flow_control::ensure(app, client).await?;
    flow_control::tell(app, client).await;
    publish_authentication(app, client).await?;
    if app.registry.store("services/specs").is_none() {
        return Ok(());
    }
    service_cidr::reconcile(client, &place.cidrs).await?;
    kubernetes_service::reconcile(client, place).await
}

/// Keeps the `kubernetes` service pointing here.
pub async fn keep(app: Arc<App>, client: kube::Client, place: Place, shutdown: CancellationToken) {
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(UPKEEP) => {}
        }
        if let Err(error) = service_cidr::reconcile(&client, &place.cidrs).await {
            tracing::warn!(%error, "the default service CIDR could not be kept");
        }
        if app.flags.endpoint_reconciler_type == "none" {
            continue;
        }
        if let Err(error) = kubernetes_service::reconcile(&client, &place).await {
            tracing::warn!(%error, "the kubernetes service could not be kept");
        }
    }
}

async fn apply_policy(client: &kube::Client, write: &Write) -> Result<(), Error> {
    const GROUP: &str = "/apis/rbac.authorization.k8s.io/v1";
    let path = if write.namespace.is_empty() {
        format!("{GROUP}/{}", write.resource)
    } else {
        format!("{GROUP}/namespaces/{}/{}", write.namespace, write.resource)
    };
    let failed = |error| failed(&format!("{} {}", write.resource, write.name), &error);
    let own = format!("{path}/{}", write.name);
    if write.action == Action::Recreate {
        match send(client, "DELETE", &own, Vec::new()).await {
            Ok(_) => {}
            // Another server was faster.
            Err(kube::Error::Api(status)) if status.code == 404 => {}
            Err(error) => return Err(failed(error)),
        }
    }
    let (method, path) = match write.action {
        Action::Create | Action::Recreate => ("POST", path),
        Action::Update => ("PUT", own),
    };
    match send(client, method, &path, write.json.clone()).await {
        Ok(_) => Ok(()),
        // Another server was faster.
        Err(kube::Error::Api(status)) if status.code == 409 => Ok(()),
        Err(error) => Err(failed(error)),
    }
}

/// Create unless it exists.
async fn ensure(client: &kube::Client, collection: &str, name: &str, object: &Value) -> Result<(), Error> {
    if get(client, &format!("{collection}/{name}")).await?.is_some() {
        return Ok(());
    }
    match send(client, "POST", collection, object.to_string().into_bytes()).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.code == 409 => Ok(()),
        Err(error) => Err(failed(&format!("{collection}/{name}"), &error)),
    }
}

/// What could not be brought in order and why: a refusal in the words that clients get, without the rest of its `Status`.
fn failed(what: &str, error: &kube::Error) -> Error {
    let why = match error {
        kube::Error::Api(status) => status.message.clone(),
        other => other.to_string(),
    };
    Error::Bootstrap(format!("{what}: {why}"))
}

pub(crate) async fn send(client: &kube::Client, method: &str, path: &str, body: Vec<u8>) -> Result<Value, kube::Error> {
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header("content-type", "application/json")
        .body(body)
        .map_err(kube::Error::HttpError)?;
    client.request(request).await
}

async fn merge_patch(client: &kube::Client, path: &str, patch: &Value) -> Result<Value, kube::Error> {
    let request = Request::builder()
        .method("PATCH")
        .uri(path)
        .header("content-type", "application/merge-patch+json")
        .body(patch.to_string().into_bytes())
        .map_err(kube::Error::HttpError)?;
    client.request(request).await
}

async fn get(client: &kube::Client, path: &str) -> Result<Option<Value>, Error> {
    match send(client, "GET", path, Vec::new()).await {
        Ok(found) => Ok(Some(found)),
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(None),
        Err(error) => Err(failed(path, &error)),
    }
}

/// `kube-system/extension-apiserver-authentication`: how others that serve API paths recognise clients.
async fn publish_authentication(app: &App, client: &kube::Client) -> Result<(), Error> {
    const NAME: &str = "extension-apiserver-authentication";
    let data = authentication(app);
    if data.is_empty() {
        return Ok(());
    }
    let collection = "/api/v1/namespaces/kube-system/configmaps";
    let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": NAME}, "data": data});
    ensure(client, collection, NAME, &map).await?;
    let patched = merge_patch(client, &format!("{collection}/{NAME}"), &json!({"data": data})).await;
    patched.map(drop).map_err(|e| failed(NAME, &e))
}

/// The entries, as upstream writes them: authorities in PEM, lists in JSON.
fn authentication(app: &App) -> serde_json::Map<String, Value> {
    let mut data = serde_json::Map::new();
    let mut add = |key: &str, value: String| data.insert(key.to_owned(), value.into());
    if let Some(ca) = &app.client_ca {
        add("client-ca-file", ca.clone());
    }
    if let Some(ca) = &app.proxy_ca {
        let flags = &app.flags;
        add("requestheader-client-ca-file", ca.clone());
        add("requestheader-username-headers", json!(flags.requestheader_username_headers).to_string());
        add("requestheader-group-headers", json!(flags.requestheader_group_headers).to_string());
        add("requestheader-extra-headers-prefix", json!(flags.requestheader_extra_headers_prefix).to_string());
        add("requestheader-allowed-names", json!(flags.requestheader_allowed_names).to_string());
        if !flags.requestheader_uid_headers.is_empty() {
            add("requestheader-uid-headers", json!(flags.requestheader_uid_headers).to_string());
        }
    }
    data
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_told_in_its_own_words() {
        let mut status = kube::core::Status::failure("the store did not answer in time", "Timeout");
        status.code = 504;
        let error = failed("clusterroles admin", &kube::Error::Api(Box::new(status)));
        assert_eq!(error.to_string(), "bootstrap: clusterroles admin: the store did not answer in time");
    }
}
