//! Health, metrics and `/configz` over HTTPS on `--secure-port`, for whom the API server lets in; health is open.
use crate::{flags::Flags, metrics::Metrics};
use client::{
    Connection,
    delegated::{self, Delegated},
};
use http::request::Parts;
use serde_json::Value;
use std::{net::SocketAddr, path::Path, sync::Arc};
use telemetry::health::{self, Guard, Health};
use tokio::{net::TcpListener, sync::watch};
use tokio_util::sync::CancellationToken;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("failed to listen on {address}: {source}")]
    Listen { address: SocketAddr, source: std::io::Error },
    #[error("{path}: {source}")]
    Read { path: String, source: std::io::Error },
    #[error("serving certificate: {0}")]
    Certificate(#[from] pki::Error),
    #[error(transparent)]
    Connection(#[from] client::Error),
}

/// Starts serving, unless the port is 0.
///
/// # Errors
/// The port is taken, or the certificate cannot be used.
pub async fn start(
    flags: &Flags,
    client: &kube::Client,
    metrics: &Metrics,
    configuration: &Value,
    shutdown: &CancellationToken,
) -> Result<(), Error> {
    if flags.secure_port == 0 {
        return Ok(());
    }
    let address = SocketAddr::new(flags.bind_address, flags.secure_port);
    let listener = TcpListener::bind(address).await.map_err(|source| Error::Listen { address, source })?;
    let (cert, key) = match (&flags.tls_cert_file, &flags.tls_private_key_file) {
        (Some(cert), Some(key)) => (read(cert)?, read(key)?),
        _ => {
            let request = pki::Request {
                common_name: "localhost".into(),
                dns: vec!["localhost".into()],
                ips: vec![std::net::Ipv4Addr::LOCALHOST.into()],
                usage: pki::Usage { server: true, client: false },
                days: 365,
                ..pki::Request::default()
            };
            let pair = pki::self_signed(&request)?;
            (pair.cert_pem, pair.key_pem)
        }
    };
    let given = flags.client_ca_file.as_deref().map(read).transpose()?;
    let config = move |ca: Option<&str>| pki::tls::server_config(&cert, &key, ca).map(Arc::new);
    let (sender, tls) = watch::channel(config(given.as_deref())?);
    let of = async |path: &Option<std::path::PathBuf>| match path {
        Some(path) => Connection::Kubeconfig(path.clone()).client().await,
        None => Ok(client.clone()),
    };
    let authentication = of(&flags.authentication_kubeconfig).await?;
    let authorization = of(&flags.authorization_kubeconfig).await?;
    if given.is_none() && flags.authentication_skip_lookup != Some(true) {
        let looked_up =
            delegated::keep_client_ca(authentication.clone(), shutdown.clone(), move |ca| match config(Some(&ca)) {
                Ok(config) => drop(sender.send(config)),
                Err(error) => tracing::error!(%error, "the cluster's authority of client certificates is of no use"),
            });
        tokio::spawn(looked_up);
    }
    let delegated =
        Delegated { authentication, authorization, always_allow: flags.authorization_always_allow_paths.clone() };
    let health = Health::default()
        .with_metrics(metrics.registry.clone(), Some(guard(delegated)))
        .with_configuration(configuration.to_string());
    tokio::spawn(health::serve(listener, Some(tls), Arc::new(health), shutdown.clone()));
    Ok(())
}

fn read(path: impl AsRef<Path>) -> Result<String, Error> {
    let path = path.as_ref();
    std::fs::read_to_string(path).map_err(|source| Error::Read { path: path.display().to_string(), source })
}

fn guard(delegated: Delegated) -> Guard {
    Arc::new(move |parts: Parts, certificates: Vec<Vec<u8>>| {
        let delegated = delegated.clone();
        Box::pin(async move {
            let certificate = certificates.first().map(Vec::as_slice);
            delegated.admit(certificate, &parts.headers, &parts.method, parts.uri.path()).await
        })
    })
}
