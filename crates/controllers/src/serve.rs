//! The secure port: health for all, `/metrics` for those the API server lets read it.
use crate::{Error, Flags};
use client::delegated::{self, Delegated};
use std::{net::SocketAddr, path::Path, sync::Arc};
use telemetry::{
    health::{self, Guard, Health},
    metrics::Registry,
};
use tokio::{net::TcpListener, sync::watch};
use tokio_util::sync::CancellationToken;

/// Listen as the flags say; 0 is no port.
pub async fn start(
    flags: &Flags,
    base: &kube::Client,
    metrics: Arc<Registry>,
    shutdown: &CancellationToken,
) -> Result<(), Error> {
    if flags.secure_port == 0 {
        return Ok(());
    }
    let (certificate, key) = match (&flags.tls_cert_file, &flags.tls_private_key_file) {
        (Some(certificate), Some(key)) => (read(certificate)?, read(key)?),
        _ => {
            let usage = pki::Usage { server: true, client: false };
            let dns = vec!["localhost".to_owned()];
            let ips = vec![flags.bind_address, [127, 0, 0, 1].into()];
            let name = "kube-controller-manager".to_owned();
            let request = pki::Request { common_name: name, organizations: Vec::new(), dns, ips, usage, days: 365 };
            let pair = pki::self_signed(&request)?;
            (pair.cert_pem, pair.key_pem)
        }
    };
    let given = flags.client_ca_file.as_deref().map(read).transpose()?;
    let config = move |ca: Option<&str>| pki::tls::server_config(&certificate, &key, ca).map(Arc::new);
    let (sender, tls) = watch::channel(config(given.as_deref())?);
    let address = SocketAddr::new(flags.bind_address, flags.secure_port);
    let listener = TcpListener::bind(address).await.map_err(|source| Error::Listen { address, source })?;
    let authentication = reviewer(flags.authentication_kubeconfig.as_deref(), base).await?;
    let authorization = reviewer(flags.authorization_kubeconfig.as_deref(), base).await?;
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
    let health = Health::default().with_metrics(metrics, Some(guard(delegated)));
    tokio::spawn(health::serve(listener, Some(tls), Arc::new(health), shutdown.clone()));
    Ok(())
}

fn read(path: &Path) -> Result<String, Error> {
    std::fs::read_to_string(path).map_err(|source| Error::File { path: path.to_owned(), source })
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
        Box::pin(async move {
            let certificate = certificates.first().map(Vec::as_slice);
            delegated.admit(certificate, &parts.headers, &parts.method, parts.uri.path()).await
        })
    })
}
