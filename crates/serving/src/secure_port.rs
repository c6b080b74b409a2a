//! The secure port of kube-scheduler and kube-controller-manager: health for all, the rest for those the API server
//! lets read it. Flags, defaults and meaning are upstream's (`k8s.io/apiserver/pkg/server/options`).
use crate::{
    delegated::{self, Delegated},
    health::{self, Guard, Health},
};
use std::{
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
    sync::Arc,
};
use tokio::{net::TcpListener, sync::watch};
use tokio_util::sync::CancellationToken;

/// How to serve; `--secure-port` itself has a default of its own for each component.
#[derive(Clone, Debug, clap::Args)]
#[group(id = "SecurePort")]
pub struct Flags {
    /// The IP address on which to listen for the --secure-port port
    #[arg(long, value_name = "IP", help_heading = "Secure serving flags", default_value = "0.0.0.0")]
    pub bind_address: IpAddr,
    /// File containing the default x509 certificate for HTTPS; without it, a self-signed one is made
    #[arg(long, value_name = "FILE", help_heading = "Secure serving flags", requires = "tls_private_key_file")]
    pub tls_cert_file: Option<PathBuf>,
    /// File containing the private key matching --tls-cert-file
    #[arg(long, value_name = "FILE", help_heading = "Secure serving flags", requires = "tls_cert_file")]
    pub tls_private_key_file: Option<PathBuf>,

    /// kubeconfig file with enough rights to create tokenreviews.authentication.k8s.io
    #[arg(long, value_name = "FILE", help_heading = "Authentication flags")]
    pub authentication_kubeconfig: Option<PathBuf>,
    /// Requests with a client certificate signed by one of these authorities are authenticated by its common name
    #[arg(long, value_name = "FILE", help_heading = "Authentication flags")]
    pub client_ca_file: Option<PathBuf>,
    /// Do not look up the cluster's authority of client certificates when --client-ca-file is not given
    #[arg(long, help_heading = "Authentication flags", num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    pub authentication_skip_lookup: Option<bool>,
    /// Accepted for compatibility; a failed lookup of the authentication configuration is never fatal here
    #[arg(long, help_heading = "Authentication flags", num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    pub authentication_tolerate_lookup_failure: Option<bool>,

    /// kubeconfig file with enough rights to create subjectaccessreviews.authorization.k8s.io
    #[arg(long, value_name = "FILE", help_heading = "Authorization flags")]
    pub authorization_kubeconfig: Option<PathBuf>,
    /// A list of HTTP paths to skip during authorization
    #[arg(
        long,
        value_delimiter = ',',
        value_name = "PATHS",
        help_heading = "Authorization flags",
        default_value = "/healthz,/readyz,/livez"
    )]
    pub authorization_always_allow_paths: Vec<String>,
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("failed to listen on {address}: {source}")]
    Listen { address: SocketAddr, source: std::io::Error },
    #[error("--{flag}: {path}: {source}")]
    Read { flag: &'static str, path: PathBuf, source: std::io::Error },
    #[error("serving certificate: {0}")]
    Certificate(#[from] pki::Error),
    #[error(transparent)]
    Connection(#[from] client::Error),
}

/// Starts serving `health` on `port`, unless that is 0. Without kubeconfigs of their own, reviews are asked with `base`.
///
/// # Errors
/// The port is taken, or a file cannot be used.
pub async fn start(
    component: &str,
    port: u16,
    flags: &Flags,
    base: &kube::Client,
    health: Health,
    shutdown: &CancellationToken,
) -> Result<(), Error> {
    if port == 0 {
        return Ok(());
    }
    let address = SocketAddr::new(flags.bind_address, port);
    let listener = TcpListener::bind(address).await.map_err(|source| Error::Listen { address, source })?;
    let (certificate, key) = match (&flags.tls_cert_file, &flags.tls_private_key_file) {
        (Some(certificate), Some(key)) => (read("tls-cert-file", certificate)?, read("tls-private-key-file", key)?),
        _ => self_signed(component, flags.bind_address)?,
    };
    let given = flags.client_ca_file.as_deref().map(|path| read("client-ca-file", path)).transpose()?;
    let config = move |ca: Option<&str>| -> Result<_, pki::Error> {
        let verifier = ca.map(pki::tls::client_verifier).transpose()?;
        Ok((Arc::new(pki::tls::server_config(&certificate, &key, ca)?), verifier))
    };
    let (asking, verifier) = config(given.as_deref())?;
    let ((sender, tls), (verifiers, clients)) = (watch::channel(asking), watch::channel(verifier));
    let authentication = reviewer(flags.authentication_kubeconfig.as_deref(), base).await?;
    let authorization = reviewer(flags.authorization_kubeconfig.as_deref(), base).await?;
    if given.is_none() && flags.authentication_skip_lookup != Some(true) {
        let looked_up =
            delegated::keep_client_ca(authentication.clone(), shutdown.clone(), move |ca| match config(Some(&ca)) {
                Ok((asking, verifier)) => {
                    verifiers.send_replace(verifier);
                    sender.send_replace(asking);
                }
                Err(error) => tracing::error!(%error, "the cluster's authority of client certificates is of no use"),
            });
        tokio::spawn(looked_up);
    }
    let always_allow = flags.authorization_always_allow_paths.clone();
    let delegated = Delegated { authentication, authorization, clients, always_allow };
    let health = Arc::new(health.with_guard(guard(delegated)));
    tokio::spawn(health::serve(listener, Some(tls), health, shutdown.clone()));
    Ok(())
}

fn self_signed(component: &str, address: IpAddr) -> Result<(String, String), Error> {
    let pair = pki::self_signed(&pki::Request {
        common_name: component.to_owned(),
        organizations: Vec::new(),
        dns: vec!["localhost".to_owned()],
        ips: vec![address, [127, 0, 0, 1].into()],
        usage: pki::Usage { server: true, client: false },
        days: 365,
    })?;
    Ok((pair.cert_pem, pair.key_pem))
}

/// A file that a flag names.
fn read(flag: &'static str, path: &Path) -> Result<String, Error> {
    std::fs::read_to_string(path).map_err(|source| Error::Read { flag, path: path.to_owned(), source })
}

async fn reviewer(kubeconfig: Option<&Path>, base: &kube::Client) -> Result<kube::Client, Error> {
    match kubeconfig {
        Some(path) => Ok(client::Connection::Kubeconfig(path.to_owned()).client().await?),
        None => Ok(base.clone()),
    }
}

fn guard(delegated: Delegated) -> Guard {
    Arc::new(move |parts, certificates| {
        let delegated = delegated.clone();
        Box::pin(async move { delegated.admit(&certificates, &parts.headers, &parts.method, parts.uri.path()).await })
    })
}
