//! Everything a request needs, made once at start and shared by all.
use crate::{
    Flags, allocators::ServiceAllocators, chain::limiter::Limiter, discovery::Discovery, flow_control::FlowControl,
    health::Health, limits, metrics::Metrics, openapi::OpenApi, proxy::KubeletTransport, registry::Registry,
};
use arc_swap::ArcSwap;
use auth::{Authorizer, rbac::Rbac, service_account::Issuer};
use std::sync::Arc;
use storage::Backend;

pub struct App {
    pub(crate) flags: Flags,
    pub(crate) backend: Arc<dyn Backend>,
    pub(crate) registry: Arc<Registry>,
    pub(crate) discovery: ArcSwap<Discovery>,
    pub(crate) openapi: OpenApi,
    pub(crate) authenticator: Arc<auth::authenticator::Union>,
    pub(crate) authorizer: Arc<dyn Authorizer>,
    pub(crate) rbac: Arc<Rbac>,
    pub(crate) rbac_enabled: bool,
    pub(crate) issuer: Option<Issuer>,
    pub(crate) keys: Option<IssuerDocuments>,
    pub(crate) admission: admission::Chain,
    /// Counts requests; turns them away only where flow control is off.
    pub(crate) limiter: Limiter,
    /// `None` without `--enable-priority-and-fairness`.
    pub(crate) flow_control: Option<FlowControl>,
    pub(crate) metrics: Metrics,
    pub(crate) health: Health,
    pub(crate) services: Arc<ServiceAllocators>,
    pub(crate) kubelets: KubeletTransport,
    /// PEM of `--client-ca-file`, published for extension servers.
    pub(crate) client_ca: Option<String>,
    /// Of authenticating proxies; PEM.
    pub(crate) proxy_ca: Option<String>,
}

/// What is published about service account tokens.
pub(crate) struct IssuerDocuments {
    pub jwks: bytes::Bytes,
    pub configuration: bytes::Bytes,
}

impl App {
    /// Tells all watching clients to come back, to another server or later.
    pub(crate) fn end_watches(&self) {
        for store in self.registry.stores() {
            store.cache.end_watches();
        }
    }

    pub(crate) fn goaway_chance(&self) -> f64 {
        self.flags.goaway_chance.0
    }

    pub(crate) fn http2_streams(&self) -> u32 {
        match self.flags.http2_max_streams_per_connection {
            0 => limits::H2_STREAMS,
            n => n,
        }
    }
}
