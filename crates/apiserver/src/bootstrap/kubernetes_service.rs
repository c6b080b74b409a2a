//! The `kubernetes` service in `default`, its Endpoints and EndpointSlice: how pods find the API server.
use super::{Place, ensure, failed, get, send};
use crate::Error;
use serde_json::{Value, json};
use std::time::Duration;

/// # Errors
/// The API refused a write.
pub async fn reconcile(client: &kube::Client, place: &Place) -> Result<(), Error> {
    let Some(address) = place.service_address else { return Ok(()) };
    let service = json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {
            "name": "kubernetes", "namespace": "default",
            "labels": {"component": "apiserver", "provider": "kubernetes"},
        },
        "spec": {
            "type": "ClusterIP", "clusterIP": address, "clusterIPs": [address], "sessionAffinity": "None",
            "ports": [{"name": "https", "port": 443, "protocol": "TCP", "targetPort": place.port}],
        },
    });
    ensure_service(client, &service).await?;
    let endpoints = json!({
        "apiVersion": "v1", "kind": "Endpoints",
        "metadata": {
            "name": "kubernetes", "namespace": "default",
            "labels": {"endpointslice.kubernetes.io/skip-mirror": "true"},
        },
        "subsets": [{
            "addresses": [{"ip": place.advertised}],
            "ports": [{"name": "https", "port": place.port, "protocol": "TCP"}],
        }],
    });
    keep(client, "/api/v1/namespaces/default/endpoints", &endpoints, &["subsets"]).await?;
    let slice = json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
        "metadata": {
            "name": "kubernetes", "namespace": "default",
            "labels": {"kubernetes.io/service-name": "kubernetes"},
        },
        "addressType": if place.advertised.is_ipv6() { "IPv6" } else { "IPv4" },
        "endpoints": [{"addresses": [place.advertised], "conditions": {"ready": true}}],
        "ports": [{"name": "https", "port": place.port, "protocol": "TCP"}],
    });
    let collection = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices";
    keep(client, collection, &slice, &["endpoints", "ports"]).await
}

/// How often to look whether another server, which holds the address, has made the service.
const SERVICE_LOOKS: u32 = 20;
const SERVICE_PAUSE: Duration = Duration::from_millis(100);

/// The address may be taken for a moment by another server that makes the same service, and for longer by
/// what a crash between the two writes left.
async fn ensure_service(client: &kube::Client, service: &Value) -> Result<(), Error> {
    const COLLECTION: &str = "/api/v1/namespaces/default/services";
    let mut result = ensure(client, COLLECTION, "kubernetes", service).await;
    for _ in 0..SERVICE_LOOKS {
        if result.is_ok() {
            return Ok(());
        }
        tokio::time::sleep(SERVICE_PAUSE).await;
        result = ensure(client, COLLECTION, "kubernetes", service).await;
    }
    let address = service["spec"]["clusterIP"].as_str().unwrap_or_default();
    let path = format!("/apis/networking.k8s.io/v1/ipaddresses/{address}");
    let Some(found) = get(client, &path).await? else { return result };
    let parent = &found["spec"]["parentRef"];
    if (&parent["resource"], &parent["namespace"], &parent["name"])
        != (&json!("services"), &json!("default"), &json!("kubernetes"))
    {
        return result;
    }
    let preconditions = json!({"preconditions": {"resourceVersion": found["metadata"]["resourceVersion"]}});
    match send(client, "DELETE", &path, preconditions.to_string().into_bytes()).await {
        Ok(_) | Err(kube::Error::Api(_)) => ensure(client, COLLECTION, "kubernetes", service).await,
        Err(error) => Err(failed(&path, &error)),
    }
}

/// Create it, or replace it when one of these fields differs.
async fn keep(client: &kube::Client, collection: &str, wanted: &Value, fields: &[&str]) -> Result<(), Error> {
    let path = format!("{collection}/kubernetes");
    let Some(mut found) = get(client, &path).await? else {
        return ensure(client, collection, "kubernetes", wanted).await;
    };
    let differs = fields.iter().any(|f| found.get(f) != wanted.get(f));
    if !differs {
        return Ok(());
    }
    for field in fields {
        if let (Some(value), Value::Object(map)) = (wanted.get(field), &mut found) {
            map.insert((*field).to_owned(), value.clone());
        }
    }
    match send(client, "PUT", &path, found.to_string().into_bytes()).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.code == 409 => Ok(()),
        Err(error) => Err(failed(&path, &error)),
    }
}
