//! Health and metrics over HTTPS on `--secure-port`. Health is open; metrics are for whom the API server lets in.
use crate::{flags::Flags, metrics::Metrics};
use client::Connection;
use http::request::Parts;
use serde::Deserialize;
use serde_json::{Value, json};
use std::{net::SocketAddr, path::Path, sync::Arc};
use telemetry::health::{self, Guard, Health};
use tokio::net::TcpListener;
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
    let client_ca = flags.client_ca_file.as_deref().map(read).transpose()?;
    let tls = pki::tls::server_config(&cert, &key, client_ca.as_deref())?;
    let of = async |path: &Option<std::path::PathBuf>| match path {
        Some(path) => Connection::Kubeconfig(path.clone()).client().await,
        None => Ok(client.clone()),
    };
    let authentication = of(&flags.authentication_kubeconfig).await?;
    let authorization = of(&flags.authorization_kubeconfig).await?;
    let health = Health::default().with_metrics(metrics.registry.clone(), Some(guard(authentication, authorization)));
    tokio::spawn(health::serve(listener, Some(Arc::new(tls)), Arc::new(health), shutdown.clone()));
    Ok(())
}

fn read(path: impl AsRef<Path>) -> Result<String, Error> {
    let path = path.as_ref();
    std::fs::read_to_string(path).map_err(|source| Error::Read { path: path.display().to_string(), source })
}

/// Asks the API server who the bearer is (TokenReview) and whether he may (SubjectAccessReview).
fn guard(authentication: kube::Client, authorization: kube::Client) -> Guard {
    Arc::new(move |parts: Parts, certificates: Vec<Vec<u8>>| {
        let (authentication, authorization) = (authentication.clone(), authorization.clone());
        Box::pin(async move {
            let token = parts.headers.get(http::header::AUTHORIZATION).and_then(|v| v.to_str().ok());
            let user = match token.and_then(|v| v.strip_prefix("Bearer ")) {
                Some(token) => bearer(&authentication, token).await,
                None => certificates.first().and_then(|der| holder(der)),
            };
            match user {
                Some(user) => allowed(&authorization, user, parts.uri.path()).await,
                None => false,
            }
        })
    })
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct User {
    username: String,
    uid: String,
    groups: Vec<String>,
    extra: Value,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Review {
    status: ReviewStatus,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct ReviewStatus {
    authenticated: bool,
    allowed: bool,
    user: User,
}

/// The user a verified client certificate names.
fn holder(der: &[u8]) -> Option<User> {
    let (_, certificate) = x509_parser::parse_x509_certificate(der).ok()?;
    let subject = certificate.subject();
    let text = |attribute: &x509_parser::x509::AttributeTypeAndValue<'_>| attribute.as_str().ok().map(str::to_owned);
    let username = subject.iter_common_name().next().and_then(text)?;
    Some(User { username, groups: subject.iter_organization().filter_map(text).collect(), ..User::default() })
}

async fn bearer(client: &kube::Client, token: &str) -> Option<User> {
    let review = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": {"token": token}});
    let answer: Review =
        crate::api::create(client, "/apis/authentication.k8s.io/v1/tokenreviews", &review).await.ok()?;
    answer.status.authenticated.then_some(answer.status.user)
}

async fn allowed(client: &kube::Client, user: User, path: &str) -> bool {
    let spec = json!({"user": user.username, "uid": user.uid, "groups": user.groups, "extra": user.extra,
        "nonResourceAttributes": {"path": path, "verb": "get"}});
    let review = json!({"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "spec": spec});
    let answer: Result<Review, _> =
        crate::api::create(client, "/apis/authorization.k8s.io/v1/subjectaccessreviews", &review).await;
    answer.is_ok_and(|answer| answer.status.allowed)
}
