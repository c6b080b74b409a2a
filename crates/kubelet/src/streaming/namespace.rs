//! Connections opened inside a pod's network namespace.
//!
//! A thread of its own enters the namespace, connects and ends, so that no other thread ever runs in it; the
//! connected socket stays in the namespace wherever it is used from.
use super::port_forward::Dial;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use std::{
    fs::File,
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    os::fd::AsFd,
    path::PathBuf,
    sync::Arc,
    thread,
    time::Duration,
};
use tokio::{
    net::TcpStream,
    sync::{Semaphore, oneshot},
};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// The most threads that connect at once for one request.
const MAX_THREADS: usize = 8;

/// Dials the loopback addresses of one pod.
pub struct PodNamespace {
    /// The namespace's file; `None` is the host's own.
    path: Option<PathBuf>,
    threads: Arc<Semaphore>,
}

impl PodNamespace {
    /// The network namespace of a process of the pod.
    pub fn of_pid(pid: u32) -> PodNamespace {
        PodNamespace::of_path(PathBuf::from(format!("/proc/{pid}/ns/net")))
    }

    /// A network namespace's file, such as `/var/run/netns/cni-…`.
    pub fn of_path(path: PathBuf) -> PodNamespace {
        PodNamespace { path: Some(path), threads: Arc::new(Semaphore::new(MAX_THREADS)) }
    }

    /// The namespace we run in, for pods on the host's network.
    pub fn host() -> PodNamespace {
        PodNamespace { path: None, threads: Arc::new(Semaphore::new(MAX_THREADS)) }
    }
}

#[async_trait::async_trait]
impl Dial for PodNamespace {
    async fn dial(&self, port: u16) -> io::Result<TcpStream> {
        let permit = self.threads.clone().acquire_owned().await.map_err(io::Error::other)?;
        let (sender, connected) = oneshot::channel();
        let path = self.path.clone();
        thread::Builder::new().name("port-forward".to_owned()).spawn(move || {
            let _permit = permit;
            let _ = sender.send(connect(path, port));
        })?;
        let connection = connected.await.map_err(io::Error::other)??;
        TcpStream::from_std(connection)
    }
}

fn connect(path: Option<PathBuf>, port: u16) -> io::Result<std::net::TcpStream> {
    let place = match &path {
        Some(path) => {
            let failed = |error: io::Error| {
                io::Error::new(error.kind(), format!("failed to enter network namespace {path:?}: {error}"))
            };
            let namespace = File::open(path).map_err(failed)?;
            move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))
                .map_err(|error| failed(error.into()))?;
            format!("{path:?}")
        }
        None => "host".to_owned(),
    };
    let dial = |ip: IpAddr| std::net::TcpStream::connect_timeout(&SocketAddr::new(ip, port), CONNECT_TIMEOUT);
    let connection = dial(Ipv4Addr::LOCALHOST.into()).or_else(|v4| {
        dial(Ipv6Addr::LOCALHOST.into()).map_err(|v6| {
            let text = format!(
                "failed to connect to localhost:{port} inside namespace {place}, IPv4: dial tcp4 127.0.0.1:{port}: \
                 {v4} IPv6 dial tcp6 [::1]:{port}: {v6}"
            );
            io::Error::new(v4.kind(), text)
        })
    })?;
    connection.set_nodelay(true)?;
    connection.set_nonblocking(true)?;
    Ok(connection)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::{io::AsyncReadExt, net::TcpListener};

    #[tokio::test]
    async fn the_host_is_dialed_on_either_loopback() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let Ok(listener) = TcpListener::bind(address).await else { continue };
            let port = listener.local_addr().expect("address").port();
            let mut connection = PodNamespace::host().dial(port).await.expect("dial");
            drop(listener.accept().await.expect("accept"));
            assert_eq!(connection.read(&mut [0]).await.expect("closed"), 0);
        }
    }

    #[tokio::test]
    async fn errors_say_where() {
        let error = PodNamespace::of_path("/nowhere".into()).dial(80).await.expect_err("no such file");
        assert!(error.to_string().starts_with("failed to enter network namespace \"/nowhere\": "), "{error}");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
        let port = listener.local_addr().expect("address").port();
        drop(listener);
        let error = PodNamespace::host().dial(port).await.expect_err("refused");
        let start = format!("failed to connect to localhost:{port} inside namespace host, IPv4: dial tcp4 127.0.0.1");
        assert!(error.to_string().starts_with(&start), "{error}");
    }
}
