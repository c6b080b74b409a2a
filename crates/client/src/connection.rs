//! Where the API server is and who we are to it.
//!
//! Clients never time out a read: watches are long.
use http::{Request, Response};
use kube::client::{Body, ClientBuilder};
use std::{path::PathBuf, sync::Arc};
use tower::{BoxError, Service, util::MapErrLayer};

use crate::told::{Unanswered, told};

/// How a component reaches the API server.
#[derive(Clone)]
pub enum Connection {
    /// A kubeconfig file, as upstream's `--kubeconfig`.
    Kubeconfig(PathBuf),
    /// The service account of the pod we run in.
    InCluster,
    /// A client somebody else made: the in-process transport of `ferrokube start`, or a test's.
    Ready(kube::Client),
    /// The in-process transport where the component may act as several users.
    InProcess {
        /// Who the component itself is.
        user: String,
        /// A client that acts as the named user, with the groups that user has.
        open: Arc<dyn Fn(&str) -> kube::Client + Send + Sync>,
    },
}

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("kubeconfig {path}: {source}")]
    Kubeconfig { path: PathBuf, source: kube::config::KubeconfigError },
    #[error("kubeconfig {path}: {source}")]
    Read { path: PathBuf, source: std::io::Error },
    #[error(
        "no kubeconfig was given (--kubeconfig), and: unable to load in-cluster configuration, KUBERNETES_SERVICE_HOST \
         and KUBERNETES_SERVICE_PORT must be defined"
    )]
    NotInCluster,
    #[error("no kubeconfig was given (--kubeconfig), and: unable to load in-cluster configuration: {0}")]
    InCluster(kube::config::InClusterError),
    #[error("client: {}", told(.0))]
    Client(kube::Error),
}

impl From<kube::config::InClusterError> for Error {
    fn from(error: kube::config::InClusterError) -> Self {
        match error {
            kube::config::InClusterError::ReadEnvironmentVariable(_) => Error::NotInCluster,
            other => Error::InCluster(other),
        }
    }
}

impl Connection {
    /// A client for this connection.
    ///
    /// # Errors
    /// The file cannot be read or is not a kubeconfig, or its credentials cannot be loaded.
    pub async fn client(&self) -> Result<kube::Client, Error> {
        match self {
            Connection::Ready(client) => Ok(client.clone()),
            Connection::InProcess { user, open } => Ok(open(user)),
            _ => {
                let config = self.config().await?;
                let naming = MapErrLayer::new(Unanswered::naming(&config.cluster_url));
                Ok(ClientBuilder::try_from(config).map_err(Error::Client)?.with_layer(&naming).build())
            }
        }
    }

    /// How to reach the server of a kubeconfig or of the pod's cluster.
    pub(crate) async fn config(&self) -> Result<kube::Config, Error> {
        match self {
            Connection::Kubeconfig(path) => {
                let wrap = |source| match source {
                    kube::config::KubeconfigError::ReadConfig(source, path) => Error::Read { path, source },
                    source => Error::Kubeconfig { path: path.clone(), source },
                };
                let file = kube::config::Kubeconfig::read_from(path).map_err(wrap)?;
                let mut config = kube::Config::from_custom_kubeconfig(file, &Default::default()).await.map_err(wrap)?;
                config.read_timeout = None;
                Ok(config)
            }
            _ => Ok(kube::Config::incluster()?),
        }
    }
}

/// A client that hands its requests to `service` in this process: no TCP, no TLS. Request targets
/// carry the path and query alone; who the caller is, `service` knows.
pub fn in_process<S, B>(service: S) -> kube::Client
where
    S: Service<Request<Body>, Response = Response<B>> + Send + 'static,
    S::Future: Send + 'static,
    S::Error: Into<BoxError>,
    B: http_body::Body<Data = bytes::Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    kube::Client::new(service, "default")
}

#[cfg(test)]
mod tests {
    use super::*;
    use kube::config::InClusterError;
    use std::{env::VarError, io};

    #[tokio::test]
    async fn what_is_missing_is_named() {
        let missing = Error::from(InClusterError::ReadEnvironmentVariable(VarError::NotPresent));
        let file = Error::from(InClusterError::ReadCertificateBundle(io::ErrorKind::NotFound.into()));
        let path = PathBuf::from("/no/such/kubeconfig");
        let kubeconfig = Connection::Kubeconfig(path).client().await.err().map(|error| error.to_string());
        let table = [
            (
                missing.to_string(),
                "(--kubeconfig), and: unable to load in-cluster configuration, KUBERNETES_SERVICE_HOST",
            ),
            (file.to_string(), "(--kubeconfig), and: unable to load in-cluster configuration: failed to read"),
            (kubeconfig.unwrap_or_default(), "kubeconfig /no/such/kubeconfig: No such file"),
        ];
        for (text, expected) in table {
            assert!(text.contains(expected), "{text}");
        }
    }
}
