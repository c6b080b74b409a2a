//! The certificate the server shows: the one given, or a self-signed one made once in `--cert-dir`.
use crate::{Error, Flags, running::read_file};
use std::net::IpAddr;

/// Certificate and key, PEM.
pub struct Serving {
    pub cert_pem: String,
    pub key_pem: String,
}

/// # Errors
/// A file cannot be read or written.
pub fn load(flags: &Flags, advertised: IpAddr, kubernetes_service: Option<IpAddr>) -> Result<Serving, Error> {
    match (&flags.tls_cert_file, &flags.tls_private_key_file) {
        (Some(cert), Some(key)) => {
            let cert_pem = read_file("tls-cert-file", cert)?;
            return Ok(Serving { cert_pem, key_pem: read_file("tls-private-key-file", key)? });
        }
        (Some(_), None) => {
            let why = "is needed together with --tls-cert-file".into();
            return Err(Error::Flag { flag: "tls-private-key-file", why });
        }
        (None, Some(_)) => {
            let why = "is needed together with --tls-private-key-file".into();
            return Err(Error::Flag { flag: "tls-cert-file", why });
        }
        (None, None) => {}
    }
    let (cert, key) = (flags.cert_dir.join("apiserver.crt"), flags.cert_dir.join("apiserver.key"));
    if cert.exists() && key.exists() {
        return Ok(Serving { cert_pem: read_file("cert-dir", &cert)?, key_pem: read_file("cert-dir", &key)? });
    }
    std::fs::create_dir_all(&flags.cert_dir).map_err(|source| Error::File { path: flags.cert_dir.clone(), source })?;
    let mut dns: Vec<String> =
        ["kubernetes.default.svc", "kubernetes.default", "kubernetes", "localhost"].map(str::to_owned).to_vec();
    if !flags.external_hostname.is_empty() {
        dns.push(flags.external_hostname.clone());
    }
    let mut ips = vec![advertised, IpAddr::from([127, 0, 0, 1])];
    ips.extend(kubernetes_service);
    ips.dedup();
    let pair = pki::self_signed(&pki::Request {
        common_name: format!("{advertised}@{}", crate::render::now()),
        dns,
        ips,
        usage: pki::Usage { server: true, client: false },
        ..pki::Request::default()
    })?;
    pki::write_public(&cert, pair.cert_pem.as_bytes())?;
    pki::write_private(&key, pair.key_pem.as_bytes())?;
    Ok(Serving { cert_pem: pair.cert_pem, key_pem: pair.key_pem })
}
