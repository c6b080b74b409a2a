//! The secure port: `/healthz` for all, `/metrics` for those the API server lets read it.
use crate::{Error, Flags};
use k8s_openapi::api::{
    authentication::v1::{TokenReview, TokenReviewSpec},
    authorization::v1::{NonResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec},
};
use kube::{Api, api::PostParams};
use std::{net::SocketAddr, path::Path, sync::Arc};
use telemetry::{
    health::{self, Guard, Health},
    metrics::Registry,
};
use tokio::net::TcpListener;
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
    let tls = pki::tls::server_config(&certificate, &key, None)?;
    let address = SocketAddr::new(flags.bind_address, flags.secure_port);
    let listener = TcpListener::bind(address).await.map_err(|source| Error::Listen { address, source })?;
    let authentication = reviewer(flags.authentication_kubeconfig.as_deref(), base).await?;
    let authorization = reviewer(flags.authorization_kubeconfig.as_deref(), base).await?;
    let health = Health::default().with_metrics(metrics, Some(guard(authentication, authorization)));
    tokio::spawn(health::serve(listener, Some(Arc::new(tls)), Arc::new(health), shutdown.clone()));
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

/// Delegated authentication and authorization, as upstream's components do it.
fn guard(authentication: kube::Client, authorization: kube::Client) -> Guard {
    Arc::new(move |parts, _certificates| {
        let (tokens, reviews) = (authentication.clone(), authorization.clone());
        Box::pin(async move {
            let bearer = parts.headers.get("authorization").and_then(|value| value.to_str().ok());
            let Some(token) = bearer.and_then(|value| value.strip_prefix("Bearer ")) else { return false };
            allowed(tokens, reviews, token, parts.uri.path()).await.unwrap_or_else(|error| {
                tracing::debug!(%error, "review failed");
                false
            })
        })
    })
}

async fn allowed(tokens: kube::Client, reviews: kube::Client, token: &str, path: &str) -> Result<bool, kube::Error> {
    let spec = TokenReviewSpec { token: token.to_owned(), ..Default::default() };
    let review = TokenReview { spec, ..Default::default() };
    let status = Api::all(tokens).create(&PostParams::default(), &review).await?.status.unwrap_or_default();
    let Some(user) = status.user.filter(|_| status.authenticated == Some(true)) else { return Ok(false) };
    let attributes = NonResourceAttributes { path: Some(path.to_owned()), verb: Some("get".to_owned()) };
    let spec = SubjectAccessReviewSpec {
        user: user.username,
        groups: user.groups,
        uid: user.uid,
        extra: user.extra,
        non_resource_attributes: Some(attributes),
        ..Default::default()
    };
    let review = SubjectAccessReview { spec, ..Default::default() };
    let reviewed = Api::all(reviews).create(&PostParams::default(), &review).await?;
    Ok(reviewed.status.is_some_and(|status| status.allowed))
}
