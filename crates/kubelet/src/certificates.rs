//! Certificates by request: a key of our own, a CertificateSigningRequest, its approval.
use std::time::Duration;

use k8s_openapi::ByteString;
use k8s_openapi::api::certificates::v1::{CertificateSigningRequest, CertificateSigningRequestSpec};
use kube::api::{Api, PostParams};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

const POLL: Duration = Duration::from_secs(1);
/// A request that nobody has decided on after this is given up. Source: `certificateWaitTimeout` of
/// `client-go/util/certificate`.
pub const DECISION_TIMEOUT: Duration = Duration::from_mins(15);

/// What is asked for.
pub struct Wanted {
    pub signer: &'static str,
    /// As the API names them.
    pub usages: &'static [&'static str],
    pub request: pki::Request,
}

/// A certificate, with those that lead to its authority, and its key; in PEM.
pub struct Issued {
    pub certificate_pem: String,
    pub key_pem: String,
}

/// Ask for a certificate until it is issued or refused, or `timeout` is over; `None` at shutdown.
///
/// # Errors
/// Why there is none.
pub async fn obtain(
    client: &kube::Client,
    wanted: &Wanted,
    timeout: Option<Duration>,
    shutdown: &CancellationToken,
) -> Result<Option<Issued>, String> {
    let key = pki::PrivateKey::generate().map_err(|e| e.to_string())?;
    let csr = pki::certificate_request(&wanted.request, &key).map_err(|e| e.to_string())?;
    let api = Api::<CertificateSigningRequest>::all(client.clone());
    let object = CertificateSigningRequest {
        metadata: kube::core::ObjectMeta { generate_name: Some("csr-".into()), ..Default::default() },
        spec: CertificateSigningRequestSpec {
            request: ByteString(csr.into_bytes()),
            signer_name: wanted.signer.into(),
            usages: Some(wanted.usages.iter().map(|usage| (*usage).to_owned()).collect()),
            ..Default::default()
        },
        status: None,
    };
    let made = api.create(&PostParams::default(), &object).await.map_err(|e| e.to_string())?;
    let name = made.metadata.name.unwrap_or_default();
    let started = Instant::now();
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return Ok(None),
            () = tokio::time::sleep(POLL) => {}
        }
        if timeout.is_some_and(|timeout| started.elapsed() > timeout) {
            return Err(format!("certificate signing request {name} was not decided on in time"));
        }
        // The server may be restarting: the request is still there afterwards.
        let Ok(current) = api.get(&name).await else { continue };
        let status = current.status.unwrap_or_default();
        if let Some(denied) = status.conditions.iter().flatten().find(|c| c.type_ == "Denied" || c.type_ == "Failed") {
            let message = denied.message.clone().unwrap_or_default();
            return Err(format!("certificate signing request {name} was {}: {message}", denied.type_));
        }
        if let Some(ByteString(certificate)) = status.certificate {
            let certificate_pem = String::from_utf8(certificate).map_err(|e| e.to_string())?;
            return Ok(Some(Issued { certificate_pem, key_pem: key.to_pem().to_owned() }));
        }
    }
}
