//! The default `ServiceCIDR`, `kubernetes`: made from `--service-cluster-ip-range`, made again when it is gone.
//!
//! One that exists is not changed to other ranges; only a second family is added. Source:
//! `pkg/controlplane/controller/defaultservicecidr` (behaviour).
use super::{ensure, failed, get, send};
use crate::Error;
use serde_json::{Value, json};

const COLLECTION: &str = "/apis/networking.k8s.io/v1/servicecidrs";
const NAME: &str = "kubernetes";

/// # Errors
/// The API refused a write.
pub async fn reconcile(client: &kube::Client, cidrs: &[String]) -> Result<(), Error> {
    let path = format!("{COLLECTION}/{NAME}");
    let wanted = json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "ServiceCIDR", "metadata": {"name": NAME},
        "spec": {"cidrs": cidrs},
    });
    ensure(client, COLLECTION, NAME, &wanted).await?;
    let Some(mut found) = get(client, &path).await? else { return Ok(()) };
    let own: Vec<&str> = found["spec"]["cidrs"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    if let ([first], [wanted, _]) = (own.as_slice(), cidrs)
        && first == wanted
    {
        found["spec"]["cidrs"] = json!(cidrs);
        return write(client, "PUT", &path, &found).await;
    }
    if own != cidrs || found["metadata"].get("deletionTimestamp").is_some() {
        if own != cidrs {
            tracing::warn!(configured = ?cidrs, stored = ?own, "the default service CIDR differs from the flags");
        }
        return Ok(());
    }
    let conditions = found["status"]["conditions"].as_array();
    if conditions.into_iter().flatten().any(|c| c["type"] == "Ready" && c["status"] != "Unknown") {
        return Ok(());
    }
    let condition = json!({
        "type": "Ready", "status": "True", "reason": "", "message": "Kubernetes default Service CIDR is ready",
        "lastTransitionTime": crate::handlers::create::whole_second().to_string(),
    });
    found["status"] = json!({"conditions": [condition]});
    write(client, "PUT", &format!("{path}/status"), &found).await
}

async fn write(client: &kube::Client, method: &str, path: &str, object: &Value) -> Result<(), Error> {
    match send(client, method, path, object.to_string().into_bytes()).await {
        Ok(_) => Ok(()),
        // Another server was faster.
        Err(kube::Error::Api(status)) if status.code == 409 => Ok(()),
        Err(error) => Err(failed(path, &error)),
    }
}
