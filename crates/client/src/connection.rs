//! Where the API server is and who we are to it.
//!
//! Clients never time out a read: watches are long.
use http::{Request, Response};
use kube::client::Body;
use std::{path::PathBuf, sync::Arc};
use tower::{BoxError, Service};

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
    #[error("in-cluster configuration: {0}")]
    InCluster(kube::config::InClusterError),
    #[error("client: {0}")]
    Client(kube::Error),
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
            _ => kube::Client::try_from(self.config().await?).map_err(Error::Client),
        }
    }

    /// How to reach the server of a kubeconfig or of the pod's cluster.
    pub(crate) async fn config(&self) -> Result<kube::Config, Error> {
        match self {
            Connection::Kubeconfig(path) => {
                let wrap = |source| Error::Kubeconfig { path: path.clone(), source };
                let file = kube::config::Kubeconfig::read_from(path).map_err(wrap)?;
                let mut config = kube::Config::from_custom_kubeconfig(file, &Default::default()).await.map_err(wrap)?;
                config.read_timeout = None;
                Ok(config)
            }
            _ => kube::Config::incluster().map_err(Error::InCluster),
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
