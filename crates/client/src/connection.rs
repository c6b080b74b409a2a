//! Where the API server is and who we are to it.
use std::path::PathBuf;

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
