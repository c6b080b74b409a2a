//! A real etcd for the tests, from the `etcd-bin-vendored` crate.
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};
use storage::Backend;

/// Stopped, and its data removed, when dropped.
pub struct Server {
    child: Child,
    pub endpoint: String,
    _dir: tempfile::TempDir,
}

/// `None`, with the reason printed, where no etcd can be run.
pub async fn start() -> Option<Server> {
    let binary = match etcd_bin_vendored::etcd_bin_path() {
        Ok(binary) => binary,
        Err(error) => {
            eprintln!("without etcd: {error}");
            return None;
        }
    };
    let dir = tempfile::tempdir().unwrap();
    let [client, peer] = free_ports();
    let endpoint = format!("http://127.0.0.1:{client}");
    let peers = format!("http://127.0.0.1:{peer}");
    let spawned = Command::new(binary)
        .args(["--data-dir", &dir.path().display().to_string(), "--unsafe-no-fsync", "--log-level", "error"])
        .args(["--listen-client-urls", &endpoint, "--advertise-client-urls", &endpoint])
        .args(["--listen-peer-urls", &peers, "--initial-advertise-peer-urls", &peers])
        .args(["--initial-cluster", &format!("default={peers}")])
        .args(["--watch-progress-notify-interval", "5s"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    let child = match spawned {
        Ok(child) => child,
        Err(error) => {
            eprintln!("without etcd: {} cannot be run: {error}", binary.display());
            return None;
        }
    };
    Some(Server { child, endpoint, _dir: dir })
}

impl Server {
    pub async fn connect(&self) -> Arc<dyn Backend> {
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            let options = storage::etcd::Options {
                endpoints: vec![self.endpoint.clone()],
                root: "/".into(),
                ..Default::default()
            };
            let etcd = storage::etcd::Etcd::connect(options).await.unwrap();
            match etcd.revision().await {
                Ok(_) => return etcd,
                Err(error) => assert!(Instant::now() < deadline, "etcd does not answer: {error}"),
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn free_ports() -> [u16; 2] {
    let listeners = [0, 0].map(|port| TcpListener::bind(("127.0.0.1", port)).unwrap());
    listeners.map(|listener| listener.local_addr().unwrap().port())
}
