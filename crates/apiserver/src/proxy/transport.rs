//! Connections to kubelets and pods: one per request, since these requests are few and long.
//!
//! A kubelet's certificate is verified against `--kubelet-certificate-authority`; without that flag it is
//! not, as upstream has it, because kubelets sign their own by default.
use super::Destination;
use crate::{Error, Flags, body::RequestBody, running::read_file};
use http::{Request, Response};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use rustls::{
    ClientConfig, DigitallySignedStruct, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use std::{sync::Arc, time::Duration};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};
use tokio_rustls::TlsConnector;

pub struct KubeletTransport {
    /// With our client certificate.
    kubelet: Arc<ClientConfig>,
    /// For `https:` pods and services.
    anonymous: Arc<ClientConfig>,
    timeout: Duration,
}

impl KubeletTransport {
    /// # Errors
    /// A certificate file cannot be read or used.
    pub fn new(flags: &Flags) -> Result<Self, Error> {
        let identity = match (&flags.kubelet_client_certificate, &flags.kubelet_client_key) {
            (Some(cert), Some(key)) => {
                Some((read_file("kubelet-client-certificate", cert)?, read_file("kubelet-client-key", key)?))
            }
            (None, None) => None,
            _ => {
                let why = "is needed together with --kubelet-client-key, and the other way round".into();
                return Err(Error::Flag { flag: "kubelet-client-certificate", why });
            }
        };
        let identity = identity.as_ref().map(|(c, k)| (c.as_str(), k.as_str()));
        let kubelet = match &flags.kubelet_certificate_authority {
            Some(path) => pki::tls::client_config(&read_file("kubelet-certificate-authority", path)?, identity)?,
            None => unverified(identity)?,
        };
        Ok(KubeletTransport {
            kubelet: Arc::new(http1(kubelet)),
            anonymous: Arc::new(http1(unverified(None)?)),
            timeout: flags.kubelet_timeout.0,
        })
    }

    /// # Errors
    /// Why the other side could not be reached, in words for the client.
    pub async fn send(&self, to: &Destination, request: Request<RequestBody>) -> Result<Response<Incoming>, String> {
        let connect = TcpStream::connect((to.host.as_str(), to.port));
        let tcp = tokio::time::timeout(self.timeout, connect)
            .await
            .map_err(|_| format!("dial tcp {}:{}: i/o timeout", to.host, to.port))?
            .map_err(|e| format!("dial tcp {}:{}: {}", to.host, to.port, why(&e)))?;
        let _ = tcp.set_nodelay(true);
        if !to.tls {
            return exchange(tcp, request).await;
        }
        let config = if to.kubelet { self.kubelet.clone() } else { self.anonymous.clone() };
        let name = ServerName::try_from(to.host.clone()).map_err(|e| e.to_string())?;
        let handshake = TlsConnector::from(config).connect(name, tcp);
        let tls = tokio::time::timeout(self.timeout, handshake)
            .await
            .map_err(|_| "TLS handshake timeout".to_owned())?
            .map_err(|e| format!("tls: {e}"))?;
        exchange(tls, request).await
    }
}

/// Why there is no connection, in the words that clients of upstream know.
fn why(error: &std::io::Error) -> String {
    use std::io::ErrorKind;
    match error.kind() {
        ErrorKind::ConnectionRefused => "connect: connection refused".into(),
        ErrorKind::HostUnreachable => "connect: no route to host".into(),
        ErrorKind::NetworkUnreachable => "connect: network is unreachable".into(),
        _ => error.to_string(),
    }
}

async fn exchange<S>(stream: S, request: Request<RequestBody>) -> Result<Response<Incoming>, String>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|e| e.to_string())?;
    tokio::spawn(async move {
        if let Err(error) = connection.with_upgrades().await {
            tracing::debug!(%error, "proxied connection");
        }
    });
    sender.send_request(request).await.map_err(|e| e.to_string())
}

/// Upgrades need HTTP/1.1.
fn http1(mut config: ClientConfig) -> ClientConfig {
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    config
}

fn unverified(identity: Option<(&str, &str)>) -> Result<ClientConfig, Error> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let verifier = Arc::new(AnyCertificate(provider.signature_verification_algorithms));
    let bad = |e: String| Error::Flag { flag: "kubelet-client-certificate", why: e };
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| bad(e.to_string()))?
        .dangerous()
        .with_custom_certificate_verifier(verifier);
    match identity {
        None => Ok(builder.with_no_client_auth()),
        Some((cert, key)) => {
            use rustls_pki_types::pem::PemObject;
            let certificates = pki::tls::certificates(cert)?;
            let key =
                rustls_pki_types::PrivateKeyDer::from_pem_slice(key.as_bytes()).map_err(|e| bad(e.to_string()))?;
            builder.with_client_auth_cert(certificates, key).map_err(|e| bad(e.to_string()))
        }
    }
}

/// Takes any certificate, but still checks that the other side holds its key.
#[derive(Debug)]
struct AnyCertificate(rustls::crypto::WebPkiSupportedAlgorithms);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(message, cert, dss, &self.0)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, cert, dss, &self.0)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_schemes()
    }
}
