//! What a command works with: the connection, the namespace, discovery, and where output goes.
//!
//! Everything is made when it is first needed: `kubectl version --client` never reads a kubeconfig.
use crate::{Error, Result, global::Global, http, mapper::Mapper};
use kube::config::{KubeConfigOptions, Kubeconfig, NamedAuthInfo, NamedCluster, NamedContext};
use std::{
    io::Write,
    path::PathBuf,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::sync::OnceCell;

/// The version of the API that this kubectl was written for.
pub const VERSION: &str = concat!("v1.36.2+ferrokube.", env!("CARGO_PKG_VERSION"));

/// A manifest in the web is asked for that often, and after that long, while its server fails: as upstream does it.
const FETCHES: usize = 3;
const FETCH_AGAIN: Duration = Duration::from_millis(500);

pub struct Context {
    pub global: Global,
    connection: OnceCell<Connection>,
    mapper: OnceCell<Mapper>,
    out: Mutex<Box<dyn Write + Send>>,
    documents: AtomicUsize,
}

struct Connection {
    client: kube::Client,
    namespace: String,
    server: String,
}

impl Context {
    /// `out`: what stands for standard output.
    pub fn new(global: Global, out: Box<dyn Write + Send>) -> Self {
        http::set_verbosity(global.verbosity);
        Context {
            global,
            connection: OnceCell::new(),
            mapper: OnceCell::new(),
            out: Mutex::new(out),
            documents: AtomicUsize::new(0),
        }
    }

    /// Standard output, held while one piece is written.
    pub fn out(&self) -> MutexGuard<'_, Box<dyn Write + Send>> {
        self.out.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Print a YAML document; `---` stands between two of them.
    ///
    /// # Errors
    /// Nobody reads any more.
    pub fn document(&self, text: &str) -> Result<()> {
        self.print(format!("{}{text}", self.separator()))
    }

    /// What stands before the next YAML document.
    pub fn separator(&self) -> &'static str {
        if self.documents.fetch_add(1, Ordering::Relaxed) == 0 { "" } else { "---\n" }
    }

    /// Print one line.
    ///
    /// # Errors
    /// Nobody reads any more.
    pub fn line(&self, text: impl AsRef<str>) -> Result<()> {
        let mut out = self.out();
        writeln!(out, "{}", text.as_ref())?;
        Ok(out.flush()?)
    }

    /// Print as is.
    ///
    /// # Errors
    /// Nobody reads any more.
    pub fn print(&self, text: impl AsRef<[u8]>) -> Result<()> {
        let mut out = self.out();
        out.write_all(text.as_ref())?;
        Ok(out.flush()?)
    }

    /// The files that the kubeconfig is merged from: `--kubeconfig`, `$KUBECONFIG`, `~/.kube/config`.
    pub fn kubeconfig_paths(&self) -> Vec<PathBuf> {
        if let Some(path) = &self.global.kubeconfig {
            return vec![PathBuf::from(path)];
        }
        if let Some(list) = std::env::var_os("KUBECONFIG").filter(|list| !list.is_empty()) {
            return std::env::split_paths(&list).filter(|p| !p.as_os_str().is_empty()).collect();
        }
        std::env::home_dir().map(|home| home.join(".kube/config")).into_iter().collect()
    }

    /// The merged kubeconfig; the first file to name a thing wins.
    ///
    /// # Errors
    /// A file cannot be read or is no kubeconfig.
    pub fn kubeconfig(&self) -> Result<Kubeconfig> {
        let mut merged = Kubeconfig::default();
        let explicit = self.global.kubeconfig.is_some();
        for path in self.kubeconfig_paths() {
            if !path.exists() && !explicit {
                continue;
            }
            let one = Kubeconfig::read_from(&path).map_err(|e| match path.exists() {
                true => Error::message(format!("error loading config file \"{}\": {e}", path.display())),
                false => Error::message(format!("stat {}: no such file or directory", path.display())),
            })?;
            merged = merged.merge(one).map_err(|e| Error::message(e.to_string()))?;
        }
        Ok(merged)
    }

    async fn connection(&self) -> Result<&Connection> {
        self.connection.get_or_try_init(|| self.connect()).await
    }

    async fn connect(&self) -> Result<Connection> {
        let mut file = self.kubeconfig()?;
        override_by_flags(&mut file, &self.global)?;
        let name = self.global.context.clone().or(file.current_context.clone()).unwrap_or_default();
        let context = file.contexts.iter().find(|c| c.name == name).and_then(|c| c.context.clone());
        if context.is_none() && self.global.context.is_some() {
            return Err(Error::Plain(format!(
                "Error in configuration: context was not found for specified context: {name}"
            )));
        }
        if let Some(text) = &self.global.request_timeout
            && text.parse::<u64>().is_err()
            && apimachinery::duration::parse(text).is_err()
        {
            return Err(Error::message(
                "Invalid timeout value. Timeout must be a single integer in seconds, or an integer followed by a \
                 corresponding time unit (e.g. 1s | 2m | 3h)",
            ));
        }
        let user_name = context.as_ref().and_then(|c| c.user.clone()).unwrap_or_default();
        let namespace = self.global.namespace.clone().or(context.and_then(|c| c.namespace));
        if file.clusters.is_empty() {
            return Err(Error::Connection(refused("localhost:8080")));
        }
        let options = KubeConfigOptions { context: Some(name), cluster: None, user: None };
        let mut config = kube::Config::from_custom_kubeconfig(file, &options)
            .await
            .map_err(|e| Error::message(format!("invalid configuration: {e}")))?;
        config.read_timeout = None;
        // The library asks again by itself, silently and for minutes; when to do so is decided in `http`.
        config.default_retry = false;
        config.disable_compression = self.global.disable_compression;
        if let Some(text) = &self.global.request_timeout {
            let seconds = text.parse().ok().map(Duration::from_secs);
            config.read_timeout = seconds.or_else(|| apimachinery::duration::parse(text).ok()).filter(|d| !d.is_zero());
        }
        let has_more = !self.global.impersonate_groups.is_empty()
            || self.global.impersonate_uid.is_some()
            || !self.global.impersonate_extra.is_empty();
        if self.global.impersonate.is_none() && has_more {
            return Err(Error::message(format!(
                "requesting uid, groups or user-extra for {user_name} without impersonating a user"
            )));
        }
        if let Some(user) = &self.global.impersonate {
            config.headers.push(header("impersonate-user", user)?);
            for group in &self.global.impersonate_groups {
                config.headers.push(header("impersonate-group", group)?);
            }
            if let Some(uid) = &self.global.impersonate_uid {
                config.headers.push(header("impersonate-uid", uid)?);
            }
            for pair in &self.global.impersonate_extra {
                let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
                // What a header's name cannot hold is escaped, as `k8s.io/client-go/transport` does it.
                let name = format!("impersonate-extra-{}", http::header_key(key));
                let name = ::http::HeaderName::from_bytes(name.as_bytes())
                    .map_err(|e| Error::message(format!("--as-user-extra {key}: {e}")))?;
                let value = ::http::HeaderValue::from_str(value)
                    .map_err(|e| Error::message(format!("--as-user-extra {key}: {e}")))?;
                config.headers.push((name, value));
            }
        }
        let server = config.cluster_url.to_string().trim_end_matches('/').to_owned();
        let client = kube::Client::try_from(config).map_err(|e| Error::message(e.to_string()))?;
        if self.global.match_server_version {
            same_version(&http::Api::new(client.clone(), server.clone())).await?;
        }
        Ok(Connection { client, namespace: namespace.unwrap_or_else(|| "default".into()), server })
    }

    /// What a URL gives: a manifest somewhere in the web.
    ///
    /// # Errors
    /// Nobody is there, or the answer is not a success.
    pub async fn fetch(&self, url: &str) -> Result<String> {
        let uri: ::http::Uri = url
            .parse()
            .map_err(|e| Error::message(format!("the URL passed to filename \"{url}\" is not valid: {e}")))?;
        let path = uri.path_and_query().map_or_else(|| "/".to_owned(), ToString::to_string);
        let authority = uri.authority().map(ToString::to_string).unwrap_or_default();
        let scheme = uri.scheme_str().unwrap_or("https").to_owned();
        let base: ::http::Uri =
            format!("{scheme}://{authority}/").parse().map_err(|e| Error::message(format!("{url}: {e}")))?;
        let mut config = kube::Config::new(base);
        config.default_retry = false;
        let client = kube::Client::try_from(config).map_err(|e| Error::message(e.to_string()))?;
        let api = http::Api::new(client, format!("{scheme}://{authority}"));
        let mut answer = api.get_raw(&path).await;
        for _ in 1..FETCHES {
            if !matches!(&answer, Err(Error::Server(status)) if status.code >= 500) {
                break;
            }
            tokio::time::sleep(FETCH_AGAIN).await;
            answer = api.get_raw(&path).await;
        }
        let bytes = answer.map_err(|error| match error {
            Error::Server(status) => {
                let words = ::http::StatusCode::from_u16(status.code).ok().and_then(|code| code.canonical_reason());
                let (code, words) = (status.code, words.unwrap_or_default());
                Error::message(format!(
                    "unable to read URL \"{url}\", server reported {code} {words}, status code={code}"
                ))
            }
            other => other,
        })?;
        String::from_utf8(bytes.to_vec()).map_err(|_| Error::message(format!("{url}: not UTF-8")))
    }

    /// Whether requests end by themselves: `--request-timeout`.
    pub fn has_request_timeout(&self) -> bool {
        self.global.request_timeout.as_ref().is_some_and(|text| text.trim_end_matches(char::is_alphabetic) != "0")
    }

    /// The API server's URL.
    ///
    /// # Errors
    /// There is no usable kubeconfig.
    pub async fn server(&self) -> Result<&str> {
        Ok(&self.connection().await?.server)
    }

    /// # Errors
    /// There is no usable kubeconfig.
    pub async fn client(&self) -> Result<kube::Client> {
        Ok(self.connection().await?.client.clone())
    }

    /// The namespace of the flags or of the kubeconfig's context.
    ///
    /// # Errors
    /// There is no usable kubeconfig.
    pub async fn namespace(&self) -> Result<String> {
        Ok(self.connection().await?.namespace.clone())
    }

    /// Requests to the API server.
    ///
    /// # Errors
    /// There is no usable kubeconfig.
    pub async fn api(&self) -> Result<http::Api> {
        let connection = self.connection().await?;
        Ok(http::Api::new(connection.client.clone(), connection.server.clone()))
    }

    /// What the server serves, asked once.
    ///
    /// # Errors
    /// The server cannot be reached.
    pub async fn mapper(&self) -> Result<&Mapper> {
        self.mapper.get_or_try_init(async || Mapper::discover(&self.api().await?).await).await
    }
}

/// `--match-server-version`.
///
/// # Errors
/// The server is of another version.
async fn same_version(api: &http::Api) -> Result<()> {
    let version = api.get("/version").await?;
    let theirs = version["gitVersion"].as_str().unwrap_or_default();
    if theirs == VERSION {
        return Ok(());
    }
    Err(Error::message(format!("server version ({theirs}) differs from client version ({VERSION})")))
}

/// The words for a server that is not there.
pub fn refused(server: &str) -> String {
    format!("The connection to the server {server} was refused - did you specify the right host or port?")
}

fn header(name: &'static str, value: &str) -> Result<(::http::HeaderName, ::http::HeaderValue)> {
    let value = ::http::HeaderValue::from_str(value).map_err(|e| Error::message(format!("{name}: {e}")))?;
    Ok((::http::HeaderName::from_static(name), value))
}

/// Flags win over the file: they are written over the entries that the context leads to.
fn override_by_flags(file: &mut Kubeconfig, flags: &Global) -> Result<()> {
    let name = flags.context.clone().or(file.current_context.clone()).unwrap_or_else(|| "flags".into());
    let overridden = flags.server.is_some() || flags.token.is_some() || flags.client_certificate.is_some();
    if !file.contexts.iter().any(|c| c.name == name) && flags.context.is_none() && overridden {
        file.contexts.push(NamedContext {
            name: name.clone(),
            context: Some(kube::config::Context {
                cluster: "flags".into(),
                user: Some("flags".into()),
                ..Default::default()
            }),
            ..Default::default()
        });
        file.current_context = Some(name.clone());
    }
    let Some(context) = file.contexts.iter_mut().find(|c| c.name == name).and_then(|c| c.context.as_mut()) else {
        return Ok(());
    };
    if let Some(cluster) = &flags.cluster {
        context.cluster.clone_from(cluster);
    }
    if flags.user.is_some() {
        context.user.clone_from(&flags.user);
    }
    let (cluster_name, user_name) = (context.cluster.clone(), context.user.clone().unwrap_or_default());
    if let Some(missing) = flags.cluster.as_ref().filter(|c| !file.clusters.iter().any(|known| known.name == **c)) {
        return Err(Error::message(format!("no server found for cluster \"{missing}\"")));
    }
    if let Some(missing) = flags.user.as_ref().filter(|u| !file.auth_infos.iter().any(|known| known.name == **u)) {
        return Err(Error::message(format!("auth info \"{missing}\" does not exist")));
    }
    for (what, path, of) in [
        ("certificate-authority", &flags.certificate_authority, &cluster_name),
        ("client-cert", &flags.client_certificate, &user_name),
        ("client-key", &flags.client_key, &user_name),
    ] {
        if let Some(path) = path
            && let Err(error) = std::fs::File::open(path)
        {
            let why = crate::printers::go_text(&error);
            return Err(Error::message(format!("unable to read {what} {path} for {of} due to open {path}: {why}")));
        }
    }
    if !file.clusters.iter().any(|c| c.name == cluster_name) {
        file.clusters.push(NamedCluster {
            name: cluster_name.clone(),
            cluster: Some(Default::default()),
            ..Default::default()
        });
    }
    if !file.auth_infos.iter().any(|u| u.name == user_name) {
        file.auth_infos.push(NamedAuthInfo {
            name: user_name.clone(),
            auth_info: Some(Default::default()),
            ..Default::default()
        });
    }
    if let Some(cluster) = file.clusters.iter_mut().find(|c| c.name == cluster_name).and_then(|c| c.cluster.as_mut()) {
        override_cluster(cluster, flags);
    }
    if let Some(user) = file.auth_infos.iter_mut().find(|u| u.name == user_name).and_then(|u| u.auth_info.as_mut()) {
        if let Some(token) = &flags.token {
            user.token = Some(token.clone().into());
        }
        if flags.client_certificate.is_some() {
            user.client_certificate.clone_from(&flags.client_certificate);
            user.client_certificate_data = None;
        }
        if flags.client_key.is_some() {
            user.client_key.clone_from(&flags.client_key);
            user.client_key_data = None;
        }
    }
    Ok(())
}

fn override_cluster(cluster: &mut kube::config::Cluster, flags: &Global) {
    if let Some(server) = &flags.server {
        let server = if server.contains("://") { server.clone() } else { format!("http://{server}") };
        cluster.server = Some(server);
    }
    if flags.certificate_authority.is_some() {
        cluster.certificate_authority.clone_from(&flags.certificate_authority);
        cluster.certificate_authority_data = None;
    }
    if flags.tls_server_name.is_some() {
        cluster.tls_server_name.clone_from(&flags.tls_server_name);
    }
    if flags.insecure {
        cluster.insecure_skip_tls_verify = Some(true);
    }
}
