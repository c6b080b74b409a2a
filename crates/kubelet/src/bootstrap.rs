//! A first client certificate by a bootstrap kubeconfig: a request, its approval, a kubeconfig.
use std::path::Path;
use std::time::Duration;

use client::Connection;
use k8s_openapi::ByteString;
use k8s_openapi::api::certificates::v1::{CertificateSigningRequest, CertificateSigningRequestSpec};
use kube::api::{Api, PostParams};
use tokio_util::sync::CancellationToken;

use crate::Error;
use crate::config::Config;

const POLL: Duration = Duration::from_secs(1);
const SIGNER: &str = "kubernetes.io/kube-apiserver-client-kubelet";

/// Asks for a certificate with the identity of this node and writes `kubeconfig` when it is issued.
///
/// # Errors
/// The bootstrap kubeconfig is of no use, the request is denied, or a file cannot be written.
pub async fn obtain(
    bootstrap: &Path,
    kubeconfig: &Path,
    config: &Config,
    shutdown: &CancellationToken,
) -> Result<(), Error> {
    let invalid = |what: String| Error::Invalid(format!("bootstrap: {what}"));
    let client = Connection::Kubeconfig(bootstrap.to_owned()).client().await.map_err(|e| invalid(e.to_string()))?;
    let key = pki::PrivateKey::generate().map_err(|e| invalid(e.to_string()))?;
    let request = pki::Request {
        common_name: format!("system:node:{}", config.node_name),
        organizations: vec!["system:nodes".into()],
        ..Default::default()
    };
    let csr = pki::certificate_request(&request, &key).map_err(|e| invalid(e.to_string()))?;
    let api = Api::<CertificateSigningRequest>::all(client);
    let wanted = CertificateSigningRequest {
        metadata: kube::core::ObjectMeta { generate_name: Some("csr-".into()), ..Default::default() },
        spec: CertificateSigningRequestSpec {
            request: ByteString(csr.into_bytes()),
            signer_name: SIGNER.into(),
            usages: Some(vec!["digital signature".into(), "client auth".into()]),
            ..Default::default()
        },
        status: None,
    };
    let made = api.create(&PostParams::default(), &wanted).await.map_err(|e| invalid(e.to_string()))?;
    let name = made.metadata.name.unwrap_or_default();
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return Ok(()),
            () = tokio::time::sleep(POLL) => {}
        }
        let Ok(current) = api.get(&name).await else { continue };
        let status = current.status.unwrap_or_default();
        if let Some(denied) = status.conditions.iter().flatten().find(|c| c.type_ == "Denied" || c.type_ == "Failed") {
            return Err(invalid(format!(
                "certificate signing request {name} was {}: {}",
                denied.type_,
                denied.message.clone().unwrap_or_default()
            )));
        }
        if let Some(ByteString(certificate)) = status.certificate {
            return write(bootstrap, kubeconfig, config, &certificate, key.to_pem()).map_err(invalid);
        }
    }
}

/// The bootstrap kubeconfig with the user's credentials replaced by the certificate.
fn write(
    bootstrap: &Path,
    kubeconfig: &Path,
    config: &Config,
    certificate: &[u8],
    key_pem: &str,
) -> Result<(), String> {
    let text = std::fs::read_to_string(bootstrap).map_err(|e| e.to_string())?;
    let mut value = apimachinery::codec::yaml::parse(&text).map_err(|e| e.to_string())?;
    let pair = config.cert_dir.join("kubelet-client-current.pem");
    let mut both = certificate.to_vec();
    both.extend_from_slice(key_pem.as_bytes());
    std::fs::create_dir_all(&config.cert_dir).map_err(|e| e.to_string())?;
    pki::write_private(&pair, &both).map_err(|e| e.to_string())?;
    for user in value.get_mut("users").and_then(|u| u.as_array_mut()).into_iter().flatten() {
        user["user"] = serde_json::json!({"client-certificate": pair, "client-key": pair});
    }
    pki::write_private(kubeconfig, apimachinery::codec::yaml::to_string(&value).as_bytes()).map_err(|e| e.to_string())
}
