//! Start and stop: from flags to a serving, bootstrapped API server.
use crate::{
    App, Error, Flags,
    allocators::{AddressRange, ServiceAllocators, repair::Repair},
    app::IssuerDocuments,
    bootstrap,
    chain::limiter::Limiter,
    discovery::Discovery,
    flow_control::FlowControl,
    health::Health,
    in_process::InProcess,
    metrics::Metrics,
    openapi::OpenApi,
    proxy::KubeletTransport,
    quota::Quotas,
    registry::Registry,
    server, serving_certificate,
    store::ResourceStore,
};
use arc_swap::ArcSwap;
use auth::{
    UserInfo,
    certificate::Certificates,
    request_header::{self, RequestHeader},
    service_account::{Issuer, IssuerConfig, Verifier},
};
use std::{
    net::{IpAddr, SocketAddr, UdpSocket},
    path::Path,
    sync::Arc,
};
use storage::{Backend, Lookup};
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_util::sync::CancellationToken;

/// A started API server.
pub struct Running {
    /// Where it listens; the port is the real one when `--secure-port` was 0.
    pub address: SocketAddr,
    /// PEM of the certificate it shows.
    pub serving_certificate: String,
    app: Arc<App>,
    tasks: Vec<JoinHandle<()>>,
}

impl Running {
    /// A client in this process with that identity: no TCP, no TLS, full authorization.
    pub fn client(&self, user: UserInfo) -> kube::Client {
        InProcess::new(self.app.clone(), user).client()
    }

    /// As [`Running::client`], for a component that acts as several users.
    pub fn clients(&self) -> impl Fn(UserInfo) -> kube::Client + Send + Sync + 'static {
        let app = self.app.clone();
        move |user| InProcess::new(app.clone(), user).client()
    }

    /// Waits until the server has stopped.
    ///
    /// # Errors
    /// A task of it panicked.
    pub async fn join(self) -> Result<(), Error> {
        for task in self.tasks {
            task.await.map_err(|e| Error::Task(e.to_string()))?;
        }
        for store in self.app.registry.stores() {
            store.cache.stop();
        }
        Ok(())
    }
}

/// Starts serving; returns once requests are answered and the cluster's first objects exist.
///
/// # Errors
/// A flag or file is wrong, the store cannot be opened, or the port is taken.
pub async fn start(flags: Flags, shutdown: CancellationToken) -> Result<Running, Error> {
    let ranges = service_ranges(&flags.service_cluster_ip_range)?;
    let advertised = advertise_address(&flags)?;
    let listen = SocketAddr::new(flags.bind_address, flags.secure_port);
    let listener = TcpListener::bind(listen).await.map_err(|source| Error::Listen { address: listen, source })?;
    let address = listener.local_addr().map_err(|source| Error::Listen { address: listen, source })?;

    let backend = open_store(&flags).await?;
    let registry = Arc::new(open_registry(&flags, &backend).await?);
    let service_address = ranges.first().map(|r| r.address(1));
    let serving = serving_certificate::load(&flags, advertised, service_address)?;
    let client_ca = flags.client_ca_file.as_deref().map(|p| read_file("client-ca-file", p)).transpose()?;
    let proxy_ca = flags.requestheader_client_ca_file.as_deref();
    let proxy_ca = proxy_ca.map(|p| read_file("requestheader-client-ca-file", p)).transpose()?;
    // Clients are told of both authorities; which one signed decides what a certificate is good for.
    let peers: Vec<&str> = client_ca.iter().chain(&proxy_ca).map(String::as_str).collect();
    let peers = (!peers.is_empty()).then(|| peers.join("\n"));
    let tls = Arc::new(pki::tls::server_config(&serving.cert_pem, &serving.key_pem, peers.as_deref())?);
    let cidrs = ranges.iter().map(ToString::to_string).collect();
    let root = flags.etcd_prefix.clone();
    let port_range = flags.service_node_port_range;
    let allocators = ServiceAllocators::new(registry.clone(), backend.clone(), &root, ranges, port_range)?;
    let allocators = Arc::new(allocators);
    // Before the first request: what an older version or a crash left unrecorded must not be given twice.
    let mut repair = Repair::new(allocators.clone());
    let found = repair.once().await.map_err(|e| Error::Store(e.to_string()))?;
    let app = Arc::new(build(
        flags,
        backend,
        registry,
        Authorities { client_ca, proxy_ca },
        allocators,
        SocketAddr::new(advertised, address.port()),
    )?);
    app.health.caches_are_synced();

    let served = tokio::spawn(server::serve(listener, tls, app.clone(), shutdown.clone()));
    let masters = UserInfo::new(auth::users::API_SERVER, [auth::groups::MASTERS]);
    let client = InProcess::new(app.clone(), masters).client();
    let place = bootstrap::Place { advertised, port: address.port(), service_address, cidrs };
    if let Err(error) = bootstrap::run(&app, &client, &place).await {
        shutdown.cancel();
        return Err(match error {
            // Whoever waited for a store wants to know for which.
            Error::Bootstrap(why) if !app.flags.etcd_servers.is_empty() => {
                Error::Bootstrap(format!("{why} (--etcd-servers={})", app.flags.etcd_servers.join(",")))
            }
            error => error,
        });
    }
    app.health.bootstrap_is_done();
    let repairs = tokio::spawn(repair.run(client.clone(), found, shutdown.clone()));
    let flows = tokio::spawn(bootstrap::flow_control::keep(app.clone(), client.clone(), shutdown.clone()));
    let upkeep = tokio::spawn(bootstrap::keep(app.clone(), client, place, shutdown.clone()));
    let watch_stop = tokio::spawn({
        let app = app.clone();
        async move {
            shutdown.cancelled().await;
            app.health.is_stopping();
        }
    });
    tracing::info!(%address, "serving");
    let tasks = vec![served, repairs, flows, upkeep, watch_stop];
    Ok(Running { address, serving_certificate: serving.cert_pem, app, tasks })
}

/// A file that a flag names.
pub(crate) fn read_file(flag: &'static str, path: &Path) -> Result<String, Error> {
    std::fs::read_to_string(path).map_err(|e| Error::Flag { flag, why: format!("{}: {e}", path.display()) })
}

async fn open_store(flags: &Flags) -> Result<Arc<dyn Backend>, Error> {
    if flags.etcd_servers.is_empty() {
        let dir = flags.data_dir.clone();
        let history_age = flags.etcd_compaction_interval.0;
        let open = move || {
            let defaults = storage::embedded::Options::default();
            let options = match history_age.is_zero() {
                true => defaults,
                false => storage::embedded::Options { history_age, ..defaults },
            };
            storage::embedded::Store::open(&dir, options)
        };
        let store = tokio::task::spawn_blocking(open).await.map_err(|e| Error::Task(e.to_string()))??;
        return Ok(store);
    }
    let options = storage::etcd::Options {
        endpoints: flags.etcd_servers.clone(),
        ca: flags.etcd_cafile.clone(),
        cert: flags.etcd_certfile.clone(),
        key: flags.etcd_keyfile.clone(),
        root: format!("{}/", flags.etcd_prefix),
        compaction_interval: flags.etcd_compaction_interval.0,
    };
    Ok(storage::etcd::Etcd::connect(options).await?)
}

async fn open_registry(flags: &Flags, backend: &Arc<dyn Backend>) -> Result<Registry, Error> {
    let event_ttl = u32::try_from(flags.event_ttl.0.as_secs()).unwrap_or(u32::MAX);
    let stores: Vec<Arc<ResourceStore>> = api::registry()
        .into_iter()
        .map(|resource| {
            let info = resource.info();
            let ttl = if info.ttl_seconds > 0 { event_ttl } else { 0 };
            Arc::new(ResourceStore::start(backend.clone(), &flags.etcd_prefix, resource.clone(), ttl))
        })
        .collect();
    for store in &stores {
        store.cache.ready().await?;
    }
    Ok(Registry::new(stores))
}

/// Whose client certificates are accepted, PEM.
struct Authorities {
    client_ca: Option<String>,
    /// Of authenticating proxies.
    proxy_ca: Option<String>,
}

impl Authorities {
    fn client_certificates(&self) -> Result<Option<Certificates>, Error> {
        let Some(ca) = &self.client_ca else { return Ok(None) };
        Ok(Some(Certificates::new(pki::tls::client_verifier(ca)?)))
    }

    fn request_header(&self, flags: &Flags) -> Result<Option<RequestHeader>, Error> {
        let Some(ca) = &self.proxy_ca else { return Ok(None) };
        Ok(Some(RequestHeader {
            verifier: request_header::remembering(pki::tls::client_verifier(ca)?),
            allowed_names: flags.requestheader_allowed_names.clone(),
            username_headers: flags.requestheader_username_headers.clone(),
            uid_headers: flags.requestheader_uid_headers.clone(),
            group_headers: flags.requestheader_group_headers.clone(),
            extra_prefixes: flags.requestheader_extra_headers_prefix.clone(),
        }))
    }
}

fn build(
    flags: Flags,
    backend: Arc<dyn Backend>,
    registry: Arc<Registry>,
    authorities: Authorities,
    services: Arc<ServiceAllocators>,
    external: SocketAddr,
) -> Result<App, Error> {
    let lookup: Arc<dyn Lookup> = registry.clone();
    let modes = auth::authorizer::from_modes(&flags.authorization_mode, lookup.clone())?;
    let accounts = service_accounts(&flags, &lookup, external)?;
    let authenticator = auth::authenticator::Union::new(auth::authenticator::Config {
        anonymous: flags.anonymous_auth,
        client_certificates: authorities.client_certificates()?,
        request_header: authorities.request_header(&flags)?,
        static_tokens: static_tokens(&flags)?,
        bootstrap_tokens: flags.enable_bootstrap_token_auth.then(|| auth::bootstrap_token::Tokens::new(lookup.clone())),
        service_accounts: accounts.verifier,
        api_audiences: accounts.audiences,
    });
    let admission = admission::Chain::standard(admission::Config {
        lookup,
        authorizer: modes.authorizer.clone(),
        quota: Arc::new(Quotas(registry.clone())),
        enable: flags.enable_admission_plugins.clone(),
        disable: flags.disable_admission_plugins.clone(),
    })?;
    let (limiter, flow_control) = concurrency(&flags, registry.clone())?;
    let metrics = Metrics::default();
    if let Some(control) = &flow_control {
        control.register(&metrics.registry);
    }
    let resources: Vec<_> = registry.stores().iter().map(|s| s.resource.clone()).collect();
    Ok(App {
        discovery: ArcSwap::from_pointee(Discovery::new(&resources, &external_address(&flags, external))),
        openapi: OpenApi::default(),
        authenticator: Arc::new(authenticator),
        authorizer: modes.authorizer,
        rbac: modes.rbac,
        rbac_enabled: modes.rbac_enabled,
        issuer: accounts.issuer,
        keys: accounts.documents,
        admission,
        limiter,
        flow_control,
        metrics,
        health: Health::default(),
        services,
        kubelets: KubeletTransport::new(&flags)?,
        client_ca: authorities.client_ca,
        proxy_ca: authorities.proxy_ca,
        backend,
        registry,
        flags,
    })
}

fn static_tokens(flags: &Flags) -> Result<Option<auth::static_token::Tokens>, Error> {
    let load = |path| {
        let loaded = auth::static_token::Tokens::load(path);
        loaded.map_err(|error| Error::Flag { flag: "token-auth-file", why: error.to_string() })
    };
    flags.token_auth_file.as_deref().map(load).transpose()
}

/// Where clients are told that the server is: host and port.
fn external_address(flags: &Flags, advertised: SocketAddr) -> String {
    match flags.external_hostname.as_str() {
        "" => advertised.to_string(),
        host => format!("{host}:{}", advertised.port()),
    }
}

/// How many requests are handled at once: either by priority levels, or reads and writes apart.
fn concurrency(flags: &Flags, lookup: Arc<dyn Lookup>) -> Result<(Limiter, Option<FlowControl>), Error> {
    let (reads, writes) = (flags.max_requests_inflight, flags.max_mutating_requests_inflight);
    if !flags.enable_priority_and_fairness {
        return Ok((Limiter::new(reads, writes), None));
    }
    let total = reads.saturating_add(writes);
    if total == 0 {
        let why = "with --enable-priority-and-fairness, this and --max-mutating-requests-inflight must not both be 0";
        return Err(Error::Flag { flag: "max-requests-inflight", why: why.into() });
    }
    Ok((Limiter::new(0, 0), Some(FlowControl::new(lookup, total))))
}

struct ServiceAccounts {
    issuer: Option<Issuer>,
    verifier: Option<Verifier>,
    documents: Option<IssuerDocuments>,
    audiences: Vec<String>,
}

/// Issuer, verifier and published keys of service account tokens, as far as flags name them.
fn service_accounts(flags: &Flags, lookup: &Arc<dyn Lookup>, external: SocketAddr) -> Result<ServiceAccounts, Error> {
    let issuers = match flags.service_account_issuer.as_slice() {
        [] => vec!["https://kubernetes.default.svc.cluster.local".to_owned()],
        given => given.to_vec(),
    };
    let audiences = if flags.api_audiences.is_empty() {
        issuers.first().cloned().into_iter().collect()
    } else {
        flags.api_audiences.clone()
    };
    let signing = flags.service_account_signing_key_file.as_deref();
    let signing = signing.map(|p| read_file("service-account-signing-key-file", p)).transpose()?;
    let keys = flags.service_account_key_file.iter().map(|p| read_file("service-account-key-file", p));
    let mut keys = keys.collect::<Result<Vec<_>, _>>()?;
    if keys.is_empty() {
        keys.extend(signing.clone());
    }
    let issuer = match &signing {
        Some(key) => Some(Issuer::new(
            key,
            IssuerConfig {
                issuer: issuers.first().cloned().unwrap_or_default(),
                api_audiences: audiences.clone(),
                max_expiration_seconds: i64::try_from(flags.service_account_max_token_expiration.0.as_secs())
                    .unwrap_or(i64::MAX),
                extend_expiration: true,
            },
        )?),
        None => None,
    };
    if keys.is_empty() {
        return Ok(ServiceAccounts { issuer, verifier: None, documents: None, audiences });
    }
    let verifier = Verifier::new(&keys, issuers, audiences.clone(), lookup.clone())?;
    let jwks_uri = if flags.service_account_jwks_uri.is_empty() {
        format!("https://{external}/openid/v1/jwks")
    } else {
        flags.service_account_jwks_uri.clone()
    };
    let documents = IssuerDocuments {
        jwks: verifier.jwks().into(),
        configuration: verifier.openid_configuration(&jwks_uri).into(),
    };
    Ok(ServiceAccounts { issuer, verifier: Some(verifier), documents: Some(documents), audiences })
}

fn service_ranges(text: &str) -> Result<Vec<AddressRange>, Error> {
    let bad = |why| Error::Flag { flag: "service-cluster-ip-range", why };
    let ranges = text.split(',').map(AddressRange::parse).collect::<Result<Vec<_>, _>>().map_err(bad)?;
    match ranges.as_slice() {
        [_] => Ok(ranges),
        [a, b] if a.is_v6() != b.is_v6() => Ok(ranges),
        [_, _] => Err(bad("two ranges must be of different IP families".into())),
        _ => Err(bad("must hold one range, or two of different IP families".into())),
    }
}

/// The address other machines reach this server at.
fn advertise_address(flags: &Flags) -> Result<IpAddr, Error> {
    if let Some(address) = flags.advertise_address {
        if address.is_unspecified() {
            let why = format!("{address} is not an address others can reach");
            return Err(Error::Flag { flag: "advertise-address", why });
        }
        return Ok(address);
    }
    if !flags.bind_address.is_unspecified() && !flags.bind_address.is_loopback() {
        return Ok(flags.bind_address);
    }
    // Which of our addresses the default route uses; no packet is sent.
    let routed = UdpSocket::bind("0.0.0.0:0").and_then(|socket| {
        socket.connect("192.0.2.1:9")?;
        socket.local_addr()
    });
    match routed {
        Ok(address) if !address.ip().is_unspecified() => Ok(address.ip()),
        _ => Ok(IpAddr::from([127, 0, 0, 1])),
    }
}
