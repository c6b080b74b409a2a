//! A real etcd for the tests, from the `etcd-bin-vendored` crate.
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};
use storage::Backend;
use storage::etcd::{Etcd, Options};

/// Stopped, and its data removed, when dropped.
pub struct Server {
    child: Child,
    command: Command,
    pub options: Options,
    _dir: tempfile::TempDir,
}

/// `None`, with the reason printed, where no etcd can be run.
pub async fn start() -> Option<Server> {
    launch(tempfile::tempdir().unwrap(), &[])
}

/// Serves only clients with a certificate of its authority; `Server::options` has one.
pub async fn start_with_tls() -> Option<Server> {
    let dir = tempfile::tempdir().unwrap();
    let files = Files::issue(dir.path());
    let text = |path: &Path| path.display().to_string();
    let (cert, key, ca) = (text(&files.server.0), text(&files.server.1), text(&files.ca));
    let flags = ["--cert-file", &cert, "--key-file", &key, "--trusted-ca-file", &ca, "--client-cert-auth"];
    let mut server = launch(dir, &flags)?;
    server.options.ca = Some(files.ca);
    server.options.cert = Some(files.client.0);
    server.options.key = Some(files.client.1);
    Some(server)
}

fn launch(dir: tempfile::TempDir, flags: &[&str]) -> Option<Server> {
    let binary = match etcd_bin_vendored::etcd_bin_path() {
        Ok(binary) => binary,
        Err(error) => {
            eprintln!("without etcd: {error}");
            return None;
        }
    };
    let [client, peer] = free_ports();
    let scheme = if flags.is_empty() { "http" } else { "https" };
    let endpoint = format!("{scheme}://127.0.0.1:{client}");
    let peers = format!("http://127.0.0.1:{peer}");
    let mut command = Command::new(binary);
    command
        .args(["--data-dir", &dir.path().join("data").display().to_string(), "--log-level", "error"])
        .args(["--listen-client-urls", &endpoint, "--advertise-client-urls", &endpoint])
        .args(["--listen-peer-urls", &peers, "--initial-advertise-peer-urls", &peers])
        .args(["--initial-cluster", &format!("default={peers}")])
        .args(["--watch-progress-notify-interval", "5s"])
        .args(flags)
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let child = match command.spawn() {
        Ok(child) => child,
        Err(error) => {
            eprintln!("without etcd: {} cannot be run: {error}", binary.display());
            return None;
        }
    };
    let options = Options { endpoints: vec![endpoint], root: "/".into(), ..Options::default() };
    Some(Server { child, command, options, _dir: dir })
}

impl Server {
    /// Once it answers.
    pub async fn connect(&self) -> Arc<dyn Backend> {
        let etcd = Etcd::connect(self.options.clone()).await.unwrap();
        let deadline = Instant::now() + Duration::from_secs(30);
        while let Err(error) = etcd.revision().await {
            assert!(Instant::now() < deadline, "etcd does not answer: {error}");
        }
        etcd
    }

    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// On the same data and ports.
    pub fn restart(&mut self) {
        self.child = self.command.spawn().unwrap();
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

/// PEM files: an authority, and a certificate and key of it for each side.
struct Files {
    ca: PathBuf,
    server: (PathBuf, PathBuf),
    client: (PathBuf, PathBuf),
}

impl Files {
    fn issue(dir: &Path) -> Files {
        let write = |name: &str, text: &str| {
            let path = dir.join(name);
            std::fs::write(&path, text).unwrap();
            path
        };
        let authority = pki::Authority::generate("etcd-ca").unwrap();
        let issue = |name: &str, server: bool| {
            let ips = vec!["127.0.0.1".parse().unwrap()];
            // etcd connects to itself as a client.
            let usage = pki::Usage { server, client: true };
            let request = pki::Request { common_name: name.to_owned(), ips, usage, ..pki::Request::default() };
            let pair = authority.issue(&request).unwrap();
            (write(&format!("{name}.crt"), &pair.cert_pem), write(&format!("{name}.key"), &pair.key_pem))
        };
        Files {
            ca: write("ca.crt", authority.cert_pem()),
            server: issue("server", true),
            client: issue("client", false),
        }
    }
}
