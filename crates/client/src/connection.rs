//! Where the API server is and who we are to it.
//!
//! Clients never time out a read: watches are long.
use http::{Request, Response};
use kube::client::Body;
use std::path::PathBuf;
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
        let config = match self {
            Connection::Ready(client) => return Ok(client.clone()),
            Connection::InCluster => kube::Config::incluster().map_err(Error::InCluster)?,
            Connection::Kubeconfig(path) => {
                let wrap = |source| Error::Kubeconfig { path: path.clone(), source };
                let file = kube::config::Kubeconfig::read_from(path).map_err(wrap)?;
                let mut config = kube::Config::from_custom_kubeconfig(file, &Default::default()).await.map_err(wrap)?;
                config.read_timeout = None;
                config
            }
        };
        kube::Client::try_from(config).map_err(Error::Client)
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
