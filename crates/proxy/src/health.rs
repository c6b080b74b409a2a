//! Health of the proxy itself (`/healthz`, `/livez`) and of services with `healthCheckNodePort`.
//!
//! A load balancer asks a node's health-check port whether the node has endpoints of the service; it is told no as
//! well when the proxy does not keep up, since traffic would go wrong then.
use crate::http::{self, Handler};
use ::http::{HeaderValue, StatusCode};
use client::Key;
use foldhash::HashMap;
use parking_lot::Mutex;
use serde_json::json;
use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::{net::TcpListener, time::Instant};
use tokio_util::sync::{CancellationToken, DropGuard};

struct Times {
    /// The last success.
    updated: Option<(Instant, jiff::Timestamp)>,
    /// A change that has waited for so long.
    waiting_since: Option<Instant>,
}

/// Does the proxy keep up?
pub struct Health {
    times: Mutex<Times>,
    tolerance: Duration,
    /// The node is not about to be removed.
    eligible: AtomicBool,
}

impl Health {
    /// Unhealthy when a change waits for longer than `tolerance`.
    pub fn new(tolerance: Duration) -> Self {
        let times = Mutex::new(Times { updated: None, waiting_since: Some(Instant::now()) });
        Health { times, tolerance, eligible: AtomicBool::new(true) }
    }

    /// A change waits to be carried out.
    pub fn queued(&self) {
        self.times.lock().waiting_since.get_or_insert_with(Instant::now);
    }

    /// All changes are carried out.
    pub fn updated(&self) {
        *self.times.lock() = Times { updated: Some((Instant::now(), jiff::Timestamp::now())), waiting_since: None };
    }

    pub fn set_eligible(&self, eligible: bool) {
        self.eligible.store(eligible, Ordering::Relaxed);
    }

    pub fn is_healthy(&self) -> bool {
        self.times.lock().waiting_since.is_none_or(|since| since.elapsed() < self.tolerance)
    }

    /// `/healthz` takes the node's eligibility into account, `/livez` does not (KEP-3836).
    pub fn handler(self: &Arc<Self>) -> Handler {
        let health = self.clone();
        Arc::new(move |path| {
            let eligible = health.eligible.load(Ordering::Relaxed);
            let fine = match path {
                "/healthz" => health.is_healthy() && eligible,
                "/livez" => health.is_healthy(),
                _ => return http::text(StatusCode::NOT_FOUND, "404 page not found\n"),
            };
            let status = if fine { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
            let now = jiff::Timestamp::now();
            let updated = health.times.lock().updated.map_or(now, |(_, at)| at);
            let updated = if fine { now } else { updated };
            let body =
                json!({"lastUpdated": updated.to_string(), "currentTime": now.to_string(), "nodeEligible": eligible});
            http::json(status, &body)
        })
    }
}

struct Server {
    port: u16,
    local: Arc<AtomicUsize>,
    _stop: DropGuard,
}

/// The health-check servers, one a service that has such a port.
pub struct ServiceHealth {
    health: Arc<Health>,
    servers: HashMap<Key, Server>,
    shutdown: CancellationToken,
}

impl ServiceHealth {
    pub fn new(health: Arc<Health>, shutdown: CancellationToken) -> Self {
        ServiceHealth { health, servers: HashMap::default(), shutdown }
    }

    /// Takes over ports and numbers of local endpoints of the services that have a port.
    pub async fn sync(&mut self, wanted: &BTreeMap<Key, (u16, usize)>) {
        self.servers.retain(|key, server| wanted.get(key).is_some_and(|(port, _)| *port == server.port));
        for (key, (port, local)) in wanted {
            if let Some(server) = self.servers.get(key) {
                server.local.store(*local, Ordering::Relaxed);
                continue;
            }
            match TcpListener::bind(("0.0.0.0", *port)).await {
                Ok(listener) => {
                    let local = Arc::new(AtomicUsize::new(*local));
                    let stop = self.shutdown.child_token();
                    let handler = answer(key.clone(), local.clone(), self.health.clone());
                    tokio::spawn(http::serve(listener, handler, stop.clone()));
                    self.servers.insert(key.clone(), Server { port: *port, local, _stop: stop.drop_guard() });
                }
                // It is tried again with the next change or check.
                Err(error) => tracing::warn!(service = %key, port, %error, "health check port could not be opened"),
            }
        }
    }
}

fn answer(key: Key, local: Arc<AtomicUsize>, health: Arc<Health>) -> Handler {
    Arc::new(move |_| {
        let count = local.load(Ordering::Relaxed);
        let healthy = health.is_healthy();
        let status = if count > 0 && healthy { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
        let body = json!({"service": {"namespace": &*key.namespace, "name": &*key.name}, "localEndpoints": count,
            "serviceProxyHealthy": healthy});
        let mut response = http::json(status, &body);
        response.headers_mut().insert("X-Load-Balancing-Endpoint-Weight", HeaderValue::from(count));
        response
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_change_that_waits_too_long_is_unhealthy() {
        let health = Arc::new(Health::new(Duration::from_secs(60)));
        health.updated();
        tokio::time::advance(Duration::from_secs(600)).await;
        assert!(health.is_healthy(), "nothing to do is no trouble");
        health.queued();
        tokio::time::advance(Duration::from_secs(59)).await;
        assert!(health.is_healthy());
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(!health.is_healthy());
        health.updated();
        assert_eq!((health.handler())("/livez").status(), StatusCode::OK);
        health.set_eligible(false);
        assert_eq!((health.handler())("/healthz").status(), StatusCode::SERVICE_UNAVAILABLE);
    }
}
