//! A first client certificate by a bootstrap kubeconfig: a request, its approval, a kubeconfig.
use std::path::Path;

use client::Connection;
use tokio_util::sync::CancellationToken;

use crate::Error;
use crate::certificates::{self, Issued, Wanted};
use crate::config::Config;

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
    let request = pki::Request {
        common_name: format!("system:node:{}", config.node_name),
        organizations: vec!["system:nodes".into()],
        ..Default::default()
    };
    let wanted = Wanted { signer: SIGNER, usages: &["digital signature", "client auth"], request };
    match certificates::obtain(&client, &wanted, None, shutdown).await.map_err(invalid)? {
        Some(issued) => write(bootstrap, kubeconfig, config, &issued).map_err(invalid),
        None => Ok(()),
    }
}

/// The bootstrap kubeconfig with the user's credentials replaced by the certificate.
fn write(bootstrap: &Path, kubeconfig: &Path, config: &Config, issued: &Issued) -> Result<(), String> {
    let text = std::fs::read_to_string(bootstrap).map_err(|e| e.to_string())?;
    let mut value = apimachinery::codec::yaml::parse(&text).map_err(|e| e.to_string())?;
    let pair = config.cert_dir.join("kubelet-client-current.pem");
    let both = format!("{}{}", issued.certificate_pem, issued.key_pem);
    std::fs::create_dir_all(&config.cert_dir).map_err(|e| e.to_string())?;
    pki::write_private(&pair, both.as_bytes()).map_err(|e| e.to_string())?;
    for user in value.get_mut("users").and_then(|u| u.as_array_mut()).into_iter().flatten() {
        user["user"] = serde_json::json!({"client-certificate": pair, "client-key": pair});
    }
    pki::write_private(kubeconfig, apimachinery::codec::yaml::to_string(&value).as_bytes()).map_err(|e| e.to_string())
}
