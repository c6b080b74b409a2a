//! Client-side throttling, for `--kube-api-qps` and `--kube-api-burst`.
//!
//! Requests wait their turn in a token bucket, as client-go's do. One limiter per client identity.
use futures::future::BoxFuture;
use parking_lot::Mutex;
use std::{
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};
use tokio::time::Instant;
use tower::{Layer, Service};

struct Bucket {
    tokens: f64,
    at: Instant,
}

/// A token bucket of `burst` requests, refilled at `qps` a second. Clones share the bucket.
#[derive(Clone)]
pub struct Throttle {
    qps: f64,
    burst: f64,
    bucket: Arc<Mutex<Bucket>>,
}

impl Throttle {
    /// `None` for a rate of zero or below, which upstream takes as no limit.
    pub fn new(qps: f64, burst: u32) -> Option<Self> {
        let burst = f64::from(burst.max(1));
        let bucket = Arc::new(Mutex::new(Bucket { tokens: burst, at: Instant::now() }));
        (qps > 0.0).then_some(Self { qps, burst, bucket })
    }

    /// Take a turn; how long to wait for it.
    fn reserve(&self) -> Duration {
        let mut bucket = self.bucket.lock();
        let now = Instant::now();
        let refill = now.saturating_duration_since(bucket.at).as_secs_f64() * self.qps;
        bucket.tokens = (bucket.tokens + refill).min(self.burst) - 1.0;
        bucket.at = now;
        if bucket.tokens >= 0.0 { Duration::ZERO } else { Duration::from_secs_f64(-bucket.tokens / self.qps) }
    }

    /// `client`, throttled.
    pub fn wrap(&self, client: &kube::Client) -> kube::Client {
        let inner = client.clone();
        let send = tower::service_fn(move |request| {
            let inner = inner.clone();
            async move { inner.send(request).await }
        });
        kube::Client::new(self.layer(send), client.default_namespace())
    }
}

impl<S> Layer<S> for Throttle {
    type Service = Throttled<S>;

    fn layer(&self, inner: S) -> Throttled<S> {
        Throttled { inner, throttle: self.clone() }
    }
}

/// A service whose calls wait their turn.
#[derive(Clone)]
pub struct Throttled<S> {
    inner: S,
    throttle: Throttle,
}

impl<S, R> Service<R> for Throttled<S>
where
    S: Service<R> + Send,
    S::Future: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<S::Response, S::Error>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: R) -> Self::Future {
        let wait = self.throttle.reserve();
        // The services underneath do nothing before their future is polled.
        let answer = self.inner.call(request);
        Box::pin(async move {
            if !wait.is_zero() {
                tokio::time::sleep(wait).await;
            }
            answer.await
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tower::ServiceExt;

    #[tokio::test(start_paused = true)]
    async fn a_burst_passes_and_the_rest_waits() {
        let throttle = Throttle::new(20.0, 30).expect("a limit");
        let service = throttle.layer(tower::service_fn(|()| async { Ok::<_, std::convert::Infallible>(()) }));
        let start = Instant::now();
        let calls = (0..40).map(|_| service.clone().oneshot(()));
        futures::future::join_all(calls).await;
        assert_eq!(start.elapsed().as_millis(), 500);
        assert!(Throttle::new(-1.0, 0).is_none());
    }
}
