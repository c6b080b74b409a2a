//! A server on a free port with its own data directory, and clients to it.
use http::Request;
use kube::Client;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use tokio_util::sync::CancellationToken;

pub const ADMIN: &str = "token-of-admin";
pub const JOE: &str = "token-of-joe";

pub struct Cluster {
    pub running: apiserver::Running,
    pub shutdown: CancellationToken,
    pub dir: tempfile::TempDir,
    pub client: Client,
}

pub fn flags(dir: &Path) -> apiserver::Flags {
    let tokens = dir.join("tokens.csv");
    std::fs::write(&tokens, format!("{ADMIN},admin,1,\"system:masters\"\n{JOE},joe,2,\"dev\"\n")).unwrap();
    let (cert, key) = serving_certificate(dir);
    apiserver::Flags {
        tls_cert_file: Some(cert),
        tls_private_key_file: Some(key),
        data_dir: dir.join("data"),
        cert_dir: dir.join("certs"),
        bind_address: [127, 0, 0, 1].into(),
        secure_port: 0,
        token_auth_file: Some(tokens),
        client_ca_file: Some(dir.join("ca.crt")),
        ..apiserver::Flags::default()
    }
}

fn serving_certificate(dir: &Path) -> (PathBuf, PathBuf) {
    let (cert, key) = (dir.join("server.crt"), dir.join("server.key"));
    if !cert.exists() {
        let ca = pki::Authority::generate("test").unwrap();
        let usage = pki::Usage { server: true, client: false };
        let request =
            pki::Request { common_name: "server".into(), dns: vec!["localhost".into()], usage, ..Default::default() };
        let pair = ca.issue(&request).unwrap();
        std::fs::write(dir.join("ca.crt"), ca.cert_pem()).unwrap();
        std::fs::write(dir.join("ca.key"), ca.key_pem()).unwrap();
        std::fs::write(&cert, pair.cert_pem).unwrap();
        std::fs::write(&key, pair.key_pem).unwrap();
    }
    (cert, key)
}

impl Cluster {
    pub async fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        Self::start_in(dir).await
    }

    pub async fn start_in(dir: tempfile::TempDir) -> Self {
        let shutdown = CancellationToken::new();
        let running = apiserver::start(flags(dir.path()), shutdown.clone()).await.expect("the server starts");
        let client = client(dir.path(), &running, Some(ADMIN));
        let cluster = Cluster { client, running, shutdown, dir };
        // Pods need one; its controller does not run here.
        let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}});
        match cluster.post("/api/v1/namespaces/default/serviceaccounts", account).await {
            Ok(_) | Err((409, _)) => cluster,
            Err(other) => panic!("{other:?}"),
        }
    }

    pub fn as_user(&self, token: Option<&str>) -> Client {
        client(self.dir.path(), &self.running, token)
    }

    /// With a certificate of the cluster's authority instead of a token.
    pub fn as_certificate(&self, name: &str, organization: &str) -> Client {
        let read = |file: &str| std::fs::read_to_string(self.dir.path().join(file)).unwrap();
        let ca = pki::Authority::load(&read("ca.crt"), &read("ca.key")).unwrap();
        self.with_certificate_of(&ca, name, organization, None)
    }

    /// With a certificate of some authority, and a token where one is given.
    pub fn with_certificate_of(&self, ca: &pki::Authority, name: &str, group: &str, token: Option<&str>) -> Client {
        let usage = pki::Usage { server: false, client: true };
        let organizations = vec![group.to_owned()];
        let request = pki::Request { common_name: name.into(), organizations, usage, ..Default::default() };
        let pair = ca.issue(&request).unwrap();
        let mut config = config(self.dir.path(), &self.running);
        config.auth_info.token = token.map(|t| t.to_owned().into());
        let encoded = |pem: &str| base64::Engine::encode(&base64::engine::general_purpose::STANDARD, pem);
        config.auth_info.client_certificate_data = Some(encoded(&pair.cert_pem));
        config.auth_info.client_key_data = Some(encoded(&pair.key_pem).into());
        Client::try_from(config).unwrap()
    }

    pub async fn stop(self) -> tempfile::TempDir {
        self.shutdown.cancel();
        drop(self.client);
        self.running.join().await.unwrap();
        self.dir
    }

    pub async fn get(&self, path: &str) -> Result<Value, (u16, String)> {
        call(&self.client, "GET", path, None).await
    }

    pub async fn post(&self, path: &str, body: Value) -> Result<Value, (u16, String)> {
        call(&self.client, "POST", path, Some(body)).await
    }

    pub async fn put(&self, path: &str, body: Value) -> Result<Value, (u16, String)> {
        call(&self.client, "PUT", path, Some(body)).await
    }

    pub async fn delete(&self, path: &str, body: Value) -> Result<Value, (u16, String)> {
        call(&self.client, "DELETE", path, Some(body)).await
    }

    pub async fn patch(&self, path: &str, kind: &str, body: Value) -> Result<Value, (u16, String)> {
        let request = Request::builder()
            .method("PATCH")
            .uri(path)
            .header("content-type", format!("application/{kind}"))
            .body(body.to_string().into_bytes())
            .unwrap();
        answered(self.client.request(request).await)
    }

    /// Status, content type and text of a GET with this Accept header.
    pub async fn accepting(&self, path: &str, accept: &str) -> (u16, String, String) {
        let (status, kind, body) = self.accepting_bytes(path, accept).await;
        (status, kind, String::from_utf8(body).unwrap())
    }

    /// As [`Cluster::accepting`], for bodies that are no text.
    pub async fn accepting_bytes(&self, path: &str, accept: &str) -> (u16, String, Vec<u8>) {
        let request = Request::builder().uri(path).header("accept", accept).body(kube::client::Body::empty()).unwrap();
        let response = self.client.send(request).await.unwrap();
        let status = response.status().as_u16();
        let kind = response.headers().get("content-type").map(|v| v.to_str().unwrap().to_owned()).unwrap_or_default();
        (status, kind, response.into_body().collect_bytes().await.unwrap().to_vec())
    }
}

fn client(dir: &Path, running: &apiserver::Running, token: Option<&str>) -> Client {
    let mut config = config(dir, running);
    config.auth_info.token = token.map(|t| t.to_owned().into());
    Client::try_from(config).unwrap()
}

fn config(dir: &Path, running: &apiserver::Running) -> kube::Config {
    let mut config = kube::Config::new(format!("https://localhost:{}", running.address.port()).parse().unwrap());
    let ca = std::fs::read_to_string(dir.join("ca.crt")).unwrap();
    config.root_cert = Some(vec![pki::tls::certificates(&ca).unwrap()[0].to_vec()]);
    config.read_timeout = None;
    // What the server says is what is looked at.
    config.default_retry = false;
    config
}

pub async fn call(client: &Client, method: &str, path: &str, body: Option<Value>) -> Result<Value, (u16, String)> {
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header("content-type", "application/json")
        .body(body.map(|b| b.to_string().into_bytes()).unwrap_or_default())
        .unwrap();
    answered(client.request(request).await)
}

fn answered(result: Result<Value, kube::Error>) -> Result<Value, (u16, String)> {
    result.map_err(|error| match error {
        kube::Error::Api(status) => (status.code, status.message.clone()),
        other => panic!("no API error: {other}"),
    })
}

pub const MAPS: &str = "/api/v1/namespaces/default/configmaps";
pub const PODS: &str = "/api/v1/namespaces/default/pods";

pub fn map(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"a": "1"}})
}

pub fn labelled(name: &str, app: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "labels": {"app": app}}})
}

pub fn pod(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name},
        "spec": {"automountServiceAccountToken": false, "containers": [{"name": "c", "image": "nginx"}]}})
}

pub fn version(object: &Value) -> String {
    object["metadata"]["resourceVersion"].as_str().expect("a resource version").to_owned()
}
