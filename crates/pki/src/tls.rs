//! TLS settings: 1.2 and 1.3, aws-lc-rs, HTTP/2 before HTTP/1.1.
use crate::Error;
use rustls::{
    ClientConfig, RootCertStore, ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::WebPkiClientVerifier,
};
use std::sync::Arc;

fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
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

/// A server's side. With `client_ca_pem`, client certificates are asked for, verified when sent, and not required.
///
/// # Errors
/// A PEM cannot be read, or key and certificate do not fit.
pub fn server_config(cert_pem: &str, key_pem: &str, client_ca_pem: Option<&str>) -> Result<ServerConfig, Error> {
    let builder = ServerConfig::builder_with_provider(provider()).with_safe_default_protocol_versions()?;
    let builder = match client_ca_pem {
        None => builder.with_no_client_auth(),
        Some(ca) => {
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots(ca)?), provider())
                .allow_unauthenticated()
                .build()
                .map_err(|e| Error::Certificate(e.to_string()))?;
            builder.with_client_cert_verifier(verifier)
        }
    };
    let mut config = builder.with_single_cert(certificates(cert_pem)?, private_key(key_pem)?)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

/// Whether a chain, leaf first, is a client's and signed by one of the authorities in `ca_pem`.
///
/// # Errors
/// The PEM cannot be read.
pub fn client_verifier(ca_pem: &str) -> Result<impl Fn(&[CertificateDer<'_>]) -> bool + Send + Sync + use<>, Error> {
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots(ca_pem)?), provider())
        .build()
        .map_err(|e| Error::Certificate(e.to_string()))?;
    Ok(move |chain: &[CertificateDer<'_>]| {
        let Some((leaf, between)) = chain.split_first() else { return false };
        verifier.verify_client_cert(leaf, between, rustls_pki_types::UnixTime::now()).is_ok()
    })
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
