//! The workers of a controller: take a key, plan, carry out, and come back when it failed.
use super::{
    Controller, Registration, Setup,
    execute::{Executor, Failure, Outcome},
    metrics::{Labels, Metrics},
};
use client::{Caches, Key, queue::Queue};
use jiff::Timestamp;
use std::{sync::Arc, time::Instant};
use tokio::task::JoinSet;

struct Worker {
    name: &'static str,
    controller: Arc<dyn Controller>,
    queue: Queue<Key>,
    executor: Executor,
    caches: Caches,
    metrics: Arc<Metrics>,
}

/// Run one controller until its shutdown. Returns at once if it cannot start with these flags.
pub async fn run(registration: &'static Registration, mut setup: Setup, metrics: Arc<Metrics>) {
    let controller = match (registration.start)(&mut setup) {
        Ok(controller) => controller,
        Err(why) => {
            tracing::warn!(controller = registration.name, why, "controller is not started");
            return;
        }
    };
    let shutdown = setup.shutdown.clone();
    let synced = futures::future::join_all(std::mem::take(&mut setup.synced));
    tokio::select! { () = shutdown.cancelled() => return, _ = synced => {} }
    let worker = Arc::new(Worker {
        name: registration.name,
        controller,
        queue: setup.queue.clone(),
        executor: setup.executor(),
        caches: setup.caches.clone(),
        metrics,
    });
    let mut workers = JoinSet::new();
    for _ in 0..(registration.workers)(&setup.flags.concurrency).max(1) {
        workers.spawn(worker.clone().work());
    }
    tracing::debug!(controller = registration.name, "controller started");
    shutdown.cancelled().await;
    setup.queue.close();
    while workers.join_next().await.is_some() {}
}

impl Worker {
    async fn work(self: Arc<Self>) {
        while let Some(key) = self.queue.next().await {
            let labels = Labels { name: self.name };
            self.metrics.adds.get_or_create(&labels).inc();
            let started = Instant::now();
            let mut outcome = Outcome::default();
            self.handle(&key, &mut outcome).await;
            self.metrics.work.get_or_create(&labels).observe(started.elapsed().as_secs_f64());
            if outcome.is_empty() {
                continue;
            }
            // The key stays in flight until our writes have come back; the worker does not wait for that.
            let caches = self.caches.clone();
            tokio::spawn(async move {
                outcome.settle(&caches).await;
                drop(key);
            });
        }
    }

    async fn handle(&self, key: &Key, outcome: &mut Outcome) {
        let again = match self.controller.reconcile(key, Timestamp::now()).await {
            Ok(mut plan) => {
                let again = plan.again.take();
                self.executor.run(plan, outcome).await.map(|()| again)
            }
            Err(failure) => Err(failure),
        };
        match again {
            Ok(again) => {
                self.queue.forget(key);
                if let Some(delay) = again {
                    self.queue.add_after(key.clone(), delay);
                }
            }
            Err(failure) => {
                let more = self.controller.failed(key, &failure, Timestamp::now());
                if let Err(error) = self.executor.run(more, outcome).await {
                    tracing::debug!(controller = self.name, %key, %error, "after a failure");
                }
                self.report(key, &failure);
                if !failure.is_namespace_terminating() {
                    self.metrics.retries.get_or_create(&Labels { name: self.name }).inc();
                    self.queue.add_failed(key.clone());
                }
            }
        }
    }

    fn report(&self, key: &Key, failure: &Failure) {
        if failure.is_conflict() || failure.is_namespace_terminating() {
            tracing::debug!(controller = self.name, %key, %failure, "trying again");
        } else {
            tracing::warn!(controller = self.name, %key, %failure, "sync failed");
        }
    }
}
