//! The `kubernetes` service in `default`, its Endpoints and EndpointSlice: how pods find the API server.
use super::{Place, ensure, get, send};
use crate::Error;
use serde_json::{Value, json};

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
    ensure(client, "/api/v1/namespaces/default/services", "kubernetes", &service).await?;
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
        Err(error) => Err(Error::Bootstrap(format!("{path}: {error}"))),
    }
}
