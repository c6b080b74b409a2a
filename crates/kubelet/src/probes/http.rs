//! HTTP probes and hooks: one GET, redirects on the same host followed, certificates not verified.
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt, Empty, Limited};
use hyper_util::rt::TokioIo;
use k8s_openapi::api::core::v1::{Container, HTTPGetAction};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use tokio::net::TcpStream;

use super::{authority, dial_error, port};

const MAX_BODY_BYTES: usize = 10 * 1024;
const MAX_REDIRECTS: usize = 10;

/// GETs; `Ok(Some(warning))` when redirected to another host, which counts as success.
///
/// # Errors
/// Upstream's words for the failed probe.
pub async fn get(
    action: &HTTPGetAction,
    container: &Container,
    pod_ip: &str,
    limit: Duration,
) -> Result<Option<String>, String> {
    let host = action.host.as_deref().filter(|h| !h.is_empty()).unwrap_or(pod_ip);
    let scheme = action.scheme.as_deref().unwrap_or("HTTP").to_lowercase();
    let port = port(&action.port, container)?;
    let path = action.path.as_deref().unwrap_or_default();
    let mut url = format!("{scheme}://{}/{}", authority(host, port), path.trim_start_matches('/'));
    let first = url.clone();
    let attempt = async {
        for _ in 0..=MAX_REDIRECTS {
            let (status, location, body) = once(&url, action).await.map_err(|e| format!("Get \"{first}\": {e}"))?;
            match (status, location) {
                (301..=303 | 307 | 308, Some(to)) => match redirect(&url, &to) {
                    Some(next) => url = next,
                    None => return Ok(Some(format!("Probe terminated redirects, Response body: {body}"))),
                },
                (200..400, _) => return Ok(None),
                _ => return Err(format!("HTTP probe failed with statuscode: {status}")),
            }
        }
        Err(format!("Get \"{first}\": stopped after {MAX_REDIRECTS} redirects"))
    };
    match tokio::time::timeout(limit, attempt).await {
        Ok(result) => result,
        Err(_) => {
            Err(format!("Get \"{first}\": context deadline exceeded (Client.Timeout exceeded while awaiting headers)"))
        }
    }
}

/// The next URL; `None`: another host's.
fn redirect(from: &str, to: &str) -> Option<String> {
    if to.starts_with('/') {
        let end =
            from.find("://").and_then(|at| from[at + 3..].find('/').map(|slash| at + 3 + slash)).unwrap_or(from.len());
        return Some(format!("{}{to}", &from[..end]));
    }
    let host = |url: &str| url.parse::<hyper::Uri>().ok().and_then(|uri| uri.host().map(str::to_owned));
    (host(from) == host(to)).then(|| to.to_owned())
}

async fn once(url: &str, action: &HTTPGetAction) -> Result<(u16, Option<String>, String), String> {
    let uri: hyper::Uri = url.parse().map_err(|e| format!("{e}"))?;
    let host = uri.host().unwrap_or_default().trim_matches(['[', ']']).to_owned();
    let secure = uri.scheme_str() == Some("https");
    let target = authority(&host, uri.port_u16().unwrap_or(if secure { 443 } else { 80 }));
    let path = uri.path_and_query().map_or("/", |p| p.as_str());
    let mut request = hyper::Request::get(path);
    let (mut has_host, mut has_agent, mut has_accept) = (false, false, false);
    for header in action.http_headers.iter().flatten() {
        has_host |= header.name.eq_ignore_ascii_case("host");
        has_agent |= header.name.eq_ignore_ascii_case("user-agent");
        has_accept |= header.name.eq_ignore_ascii_case("accept");
        if !header.value.is_empty() || header.name.eq_ignore_ascii_case("host") {
            request = request.header(&header.name, &header.value);
        }
    }
    if !has_host {
        request = request.header("Host", &target);
    }
    if !has_agent {
        request = request.header("User-Agent", "kube-probe/1.36");
    }
    if !has_accept {
        request = request.header("Accept", "*/*");
    }
    let request =
        request.header("Connection", "close").body(Empty::<bytes::Bytes>::new()).map_err(|e| e.to_string())?;
    let stream = TcpStream::connect(&target).await.map_err(|e| dial_error(&target, &e))?;
    if !secure {
        return send(stream, request).await;
    }
    let name = rustls::pki_types::ServerName::try_from(host).map_err(|e| e.to_string())?;
    let connector = tokio_rustls::TlsConnector::from(Arc::new(tls_config()?));
    let stream = connector.connect(name, stream).await.map_err(|e| e.to_string())?;
    send(stream, request).await
}

async fn send<S>(
    stream: S,
    request: hyper::Request<Empty<bytes::Bytes>>,
) -> Result<(u16, Option<String>, String), String>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Send + Unpin + 'static,
{
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|e| e.to_string())?;
    let exchange = async {
        let answer = sender
            .send_request(request)
            .await
            .map_err(|e| if e.is_incomplete_message() { "EOF".into() } else { e.to_string() })?;
        let status = answer.status().as_u16();
        let location = answer.headers().get("location").and_then(|v| v.to_str().ok()).map(str::to_owned);
        let body = Limited::new(answer.into_body(), MAX_BODY_BYTES).collect().await;
        let body = body.map(|b| String::from_utf8_lossy(&b.to_bytes()).into_owned()).unwrap_or_default();
        Ok((status, location, body))
    };
    tokio::pin!(exchange);
    let mut connection = std::pin::pin!(connection);
    let mut open = true;
    loop {
        tokio::select! {
            result = &mut exchange => return result,
            _ = &mut connection, if open => open = false,
        }
    }
}

fn tls_config() -> Result<rustls::ClientConfig, String> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|e| e.to_string())?;
    Ok(builder.dangerous().with_custom_certificate_verifier(Arc::new(AnyCertificate(provider))).with_no_client_auth())
}

/// A probe asks whether the server answers, not who it is.
#[derive(Debug)]
struct AnyCertificate(Arc<rustls::crypto::CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &rustls::pki_types::CertificateDer<'_>,
        _: &[rustls::pki_types::CertificateDer<'_>],
        _: &rustls::pki_types::ServerName<'_>,
        _: &[u8],
        _: rustls::pki_types::UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &rustls::pki_types::CertificateDer<'_>,
        signature: &rustls::DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(message, cert, signature, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &rustls::pki_types::CertificateDer<'_>,
        signature: &rustls::DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, cert, signature, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    async fn probe(answer: &'static str) -> Result<Option<String>, String> {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("bound").port();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let _ = stream.read(&mut [0; 1024]).await;
                let _ = stream.write_all(answer.as_bytes()).await;
            }
        });
        let action = HTTPGetAction { port: IntOrString::Int(port.into()), ..Default::default() };
        get(&action, &Container::default(), "127.0.0.1", Duration::from_secs(5)).await
    }

    #[tokio::test]
    async fn statuses() {
        assert_eq!(probe("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await, Ok(None));
        let failed = probe("HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n").await;
        assert_eq!(failed, Err("HTTP probe failed with statuscode: 503".into()));
        let elsewhere =
            probe("HTTP/1.1 302 Found\r\nLocation: http://other.invalid/\r\nContent-Length: 0\r\n\r\n").await;
        assert!(matches!(elsewhere, Ok(Some(_))));
    }
}
