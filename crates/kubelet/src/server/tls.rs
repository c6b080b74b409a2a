//! The server's certificate: the configured one, or a self-signed one kept in the certificate folder.
use std::path::Path;
use std::sync::Arc;

use super::Error;
use crate::config::Config;

const CERTIFICATE: &str = "kubelet.crt";
const KEY: &str = "kubelet.key";
/// What names their folder.
const WHERE: &str = "--cert-dir";
/// A self-signed certificate that would not last that long is made anew.
const DAYS_LEFT: i64 = 30;

/// The settings for new connections; `None`: there is no certificate yet.
pub type Current = Option<Arc<rustls::ServerConfig>>;

/// TLS settings; client certificates are asked for where a CA for them is configured.
///
/// # Errors
/// A file cannot be read or written, or holds no usable certificate or key.
pub fn configuration(config: &Config) -> Result<rustls::ServerConfig, Error> {
    let (certificate, key) = match (&config.tls_cert_file, &config.tls_private_key_file) {
        (Some(certificate), Some(key)) => (read("--tls-cert-file", certificate)?, read("--tls-private-key-file", key)?),
        _ => self_signed(config)?,
    };
    with_certificate(config, &certificate, &key)
}

/// TLS settings with this certificate and key, in PEM.
///
/// # Errors
/// They are of no use, or the authority of client certificates is not.
pub fn with_certificate(config: &Config, certificate: &str, key: &str) -> Result<rustls::ServerConfig, Error> {
    Ok(pki::tls::server_config(certificate, key, client_ca(config)?.as_deref())?)
}

/// The authority of client certificates, PEM.
///
/// # Errors
/// Its file cannot be read.
pub fn client_ca(config: &Config) -> Result<Option<String>, Error> {
    config.client_ca_file.as_deref().map(|path| read("--client-ca-file", path)).transpose()
}

fn read(what: &'static str, path: &Path) -> Result<String, Error> {
    std::fs::read_to_string(path).map_err(|source| Error::Read { what, path: path.to_owned(), source })
}

fn self_signed(config: &Config) -> Result<(String, String), Error> {
    let request = pki::Request {
        common_name: config.node_name.clone(),
        dns: vec![config.node_name.clone()],
        ips: config.node_ips.clone(),
        usage: pki::Usage { server: true, client: false },
        ..pki::Request::default()
    };
    let (certificate, key) = (config.cert_dir.join(CERTIFICATE), config.cert_dir.join(KEY));
    if let (Ok(certificate), Ok(key)) = (read(WHERE, &certificate), read(WHERE, &key))
        && pki::covers(&certificate, &request, DAYS_LEFT)
    {
        return Ok((certificate, key));
    }
    let pair = pki::self_signed(&request)?;
    let folder = &config.cert_dir;
    std::fs::create_dir_all(folder).map_err(|source| Error::Read { what: WHERE, path: folder.clone(), source })?;
    pki::write_private(&key, pair.key_pem.as_bytes())?;
    pki::write_public(&certificate, pair.cert_pem.as_bytes())?;
    tracing::info!(path = %certificate.display(), "made a self-signed serving certificate");
    Ok((pair.cert_pem, pair.key_pem))
}
