//! TLS settings: 1.2 and 1.3, aws-lc-rs, HTTP/2 before HTTP/1.1.
use crate::Error;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, DistinguishedName, RootCertStore, ServerConfig,
    SignatureScheme,
    client::danger::HandshakeSignatureValid,
    pki_types::{CertificateDer, PrivateKeyDer, UnixTime, pem::PemObject},
    server::{
        WebPkiClientVerifier,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
};
use std::sync::Arc;

/// With AES-128 before AES-256, the order of Go's servers: SHA-256 has instructions of its own and SHA-384 has not, which
/// is a tenth of a handshake.
fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    use rustls::CipherSuite as Suite;
    let mut provider = rustls::crypto::aws_lc_rs::default_provider();
    let first = [
        Suite::TLS13_AES_128_GCM_SHA256,
        Suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
        Suite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
    ];
    provider.cipher_suites.sort_by_key(|suite| !first.contains(&suite.suite()));
    Arc::new(provider)
}

/// All certificates of a PEM text.
///
/// # Errors
/// It holds none, or one that cannot be read.
pub fn certificates(pem_text: &str) -> Result<Vec<CertificateDer<'static>>, Error> {
    let refused = |why: String| Error::Pem { what: "certificate", why };
    let out: Vec<_> = CertificateDer::pem_slice_iter(pem_text.as_bytes())
        .collect::<Result<_, _>>()
        .map_err(|e| refused(e.to_string()))?;
    if out.is_empty() { Err(refused("no certificate block".into())) } else { Ok(out) }
}

fn private_key(pem_text: &str) -> Result<PrivateKeyDer<'static>, Error> {
    PrivateKeyDer::from_pem_slice(pem_text.as_bytes())
        .map_err(|e| Error::Pem { what: "private key", why: e.to_string() })
}

/// A store of trusted roots.
///
/// # Errors
/// The PEM holds no usable certificate.
pub fn roots(ca_pem: &str) -> Result<RootCertStore, Error> {
    let mut store = RootCertStore::empty();
    for certificate in certificates(ca_pem)? {
        store.add(certificate)?;
    }
    Ok(store)
}

/// Lets in whoever holds the key of the certificate it shows, and whoever shows none. As with upstream, whose client it
/// is is a question for each request, answered with 401 and not by breaking off: see [`client_verifier`].
#[derive(Debug)]
struct AnyClient(Arc<dyn ClientCertVerifier>);

impl ClientCertVerifier for AnyClient {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.0.root_hint_subjects()
    }

    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn verify_client_cert(
        &self,
        _leaf: &CertificateDer<'_>,
        _between: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls12_signature(message, leaf, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls13_signature(message, leaf, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}

fn chain_verifier(ca_pem: &str) -> Result<Arc<dyn ClientCertVerifier>, Error> {
    WebPkiClientVerifier::builder_with_provider(Arc::new(roots(ca_pem)?), provider())
        .build()
        .map_err(|e| Error::Certificate(e.to_string()))
}

/// A server's side. With `client_ca_pem`, client certificates are asked for and not required. That the client holds the
/// key is certain then; who signed the certificate **is not checked here** and is for [`client_verifier`] to say before
/// anybody believes it.
///
/// # Errors
/// A PEM cannot be read, or key and certificate do not fit.
pub fn server_config(cert_pem: &str, key_pem: &str, client_ca_pem: Option<&str>) -> Result<ServerConfig, Error> {
    let builder = ServerConfig::builder_with_provider(provider()).with_safe_default_protocol_versions()?;
    let builder = match client_ca_pem {
        None => builder.with_no_client_auth(),
        Some(ca) => builder.with_client_cert_verifier(Arc::new(AnyClient(chain_verifier(ca)?))),
    };
    let mut config = builder.with_single_cert(certificates(cert_pem)?, private_key(key_pem)?)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    config.ignore_client_order = true;
    // A ticket costs every new connection a key, a record and a packet, and Go's clients, which is nearly all there are,
    // do not resume. Without resumption whoever shows a certificate also proves each time that it holds the key.
    config.session_storage = Arc::new(rustls::server::NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(config)
}

/// Says why a chain, leaf first, is not one of a client that some authority vouches for at this moment.
pub type ClientVerifier = Arc<dyn Fn(&[CertificateDer<'_>]) -> Result<(), String> + Send + Sync>;

/// A verifier for the authorities in `ca_pem`. It does the whole work each time.
///
/// # Errors
/// The PEM cannot be read.
pub fn client_verifier(ca_pem: &str) -> Result<ClientVerifier, Error> {
    let verifier = chain_verifier(ca_pem)?;
    Ok(Arc::new(move |chain| {
        let Some((leaf, between)) = chain.split_first() else { return Err("x509: no certificate".into()) };
        verifier.verify_client_cert(leaf, between, UnixTime::now()).map(drop).map_err(|error| refusal(&error))
    }))
}

/// In the words of Go's `crypto/x509`, where it has some.
fn refusal(error: &rustls::Error) -> String {
    use CertificateError as Why;
    match error {
        rustls::Error::InvalidCertificate(Why::UnknownIssuer | Why::BadSignature) => {
            "x509: certificate signed by unknown authority".into()
        }
        rustls::Error::InvalidCertificate(
            Why::Expired | Why::ExpiredContext { .. } | Why::NotValidYet | Why::NotValidYetContext { .. },
        ) => "x509: certificate has expired or is not yet valid".into(),
        rustls::Error::InvalidCertificate(Why::InvalidPurpose | Why::InvalidPurposeContext { .. }) => {
            "x509: certificate specifies an incompatible key usage".into()
        }
        other => format!("x509: {other}"),
    }
}

/// A client's side: trusts `ca_pem`, shows `identity` (certificate and key, PEM) when the server asks.
///
/// # Errors
/// A PEM cannot be read, or key and certificate do not fit.
pub fn client_config(ca_pem: &str, identity: Option<(&str, &str)>) -> Result<ClientConfig, Error> {
    let builder = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots(ca_pem)?);
    Ok(match identity {
        None => builder.with_no_client_auth(),
        Some((cert, key)) => builder.with_client_auth_cert(certificates(cert)?, private_key(key)?)?,
    })
}
