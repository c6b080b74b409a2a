//! The executor: brings changes to the [`Scheduler`] and carries out what it decides.
//!
//! One task decides; requests run beside it, at most [`MAX_BINDINGS`] bindings and [`MAX_WRITES`] other writes at
//! once. When either bound is reached no further pod is taken from the queue.
use crate::{
    binding::{self, Failed, Outcome},
    config::{self, Configuration},
    events::{Events, Said},
    feed,
    flags::Flags,
    framework::Binding,
    metrics::{Attempt, Metrics, QueueName},
    pod::PodInfo,
    scheduler::{Report, Scheduler, Step},
};
use client::{
    Connection,
    events::Recorder,
    leader::{self, Elector},
};
use serde_json::{Map, Value, json};
use serving::{health::Health, secure_port};
use std::sync::Arc;
use tokio::{sync::mpsc, task::JoinSet, time::Instant};
use tokio_util::sync::CancellationToken;

const MAX_BINDINGS: usize = 256;
const MAX_WRITES: usize = 512;
/// Decisions between two looks at what came in.
const BATCH: usize = 32;
/// Changes taken in at once.
const DRAIN: usize = 512;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Connection(#[from] client::Error),
    #[error(transparent)]
    Configuration(#[from] config::Error),
    #[error("leader election: {0}")]
    LeaderElection(String),
    #[error(transparent)]
    LeadershipLost(#[from] leader::Lost),
    #[error(transparent)]
    Serving(#[from] secure_port::Error),
}

/// Runs the scheduler until `shutdown`.
///
/// # Errors
/// The configuration is wrong, there is no way to the API server, the port is taken, or leadership was lost.
pub async fn run(flags: Flags, connection: Option<Connection>, shutdown: CancellationToken) -> Result<(), Error> {
    let configuration = match &flags.config {
        Some(path) => Configuration::read(path)?,
        None => Configuration::default(),
    };
    let client = throttled(&flags, &configuration, connect(&flags, &configuration, connection).await?);
    let metrics = Arc::new(Metrics::new());
    let effective = json!({"componentconfig": Configuration::effective(flags.config.as_deref())?});
    let health = Health::default().with_metrics(metrics.registry.clone()).with_configuration(effective.to_string());
    secure_port::start("kube-scheduler", flags.secure_port, &flags.serving, &client, health, &shutdown).await?;
    let host: Arc<str> = Arc::from(host_name());
    let recorder = Recorder::new(client.clone(), config::DEFAULT_SCHEDULER_NAME, "", shutdown.clone());
    let seed = rand::random();
    let scheduler = Scheduler::new(&configuration, seed, Instant::now())?;
    let lead = move |client: kube::Client, stop: CancellationToken| async move {
        let changes = feed::start(&client, &stop);
        let events = Events::start(client.clone(), host.clone(), stop.clone());
        let mut executor = Executor {
            client,
            events,
            host,
            metrics,
            scheduler,
            bindings: JoinSet::new(),
            writes: JoinSet::new(),
            lists: feed::KINDS,
        };
        executor.run(changes, &stop).await;
    };
    match election(&flags, &configuration)? {
        None => lead(client, shutdown).await,
        Some(config) => {
            let elector = Elector::new(client.clone(), config, Some(recorder));
            elector.run(shutdown, |stop| lead(client, stop)).await?;
        }
    }
    Ok(())
}

async fn connect(
    flags: &Flags,
    configuration: &Configuration,
    connection: Option<Connection>,
) -> Result<kube::Client, Error> {
    let file = &configuration.client_connection.kubeconfig;
    let connection = match (connection, &flags.kubeconfig) {
        (Some(connection), _) => connection,
        (None, Some(path)) => Connection::Kubeconfig(path.clone()),
        (None, None) if !file.is_empty() => Connection::Kubeconfig(file.into()),
        (None, None) => Connection::InCluster,
    };
    Ok(connection.client().await?)
}

/// With no limit given there is none: the server has its own.
fn throttled(flags: &Flags, configuration: &Configuration, client: kube::Client) -> kube::Client {
    let file = &configuration.client_connection;
    let Some(qps) = flags.kube_api_qps.or(file.qps) else { return client };
    let burst = flags.kube_api_burst.or(file.burst.and_then(|b| u32::try_from(b).ok())).unwrap_or(100);
    client::throttle::Throttle::new(f64::from(qps), burst).map_or(client.clone(), |throttle| throttle.wrap(&client))
}

fn host_name() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname").map_or_else(|_| "localhost".into(), |h| h.trim().to_owned())
}

/// The election to take part in, unless it is switched off. Flags win over the file.
fn election(flags: &Flags, configuration: &Configuration) -> Result<Option<leader::Config>, Error> {
    let file = &configuration.leader_election;
    if !flags.leader_elect.or(file.leader_elect).unwrap_or(true) {
        return Ok(None);
    }
    if file.resource_lock.as_deref().is_some_and(|lock| lock != "leases") {
        return Err(Error::LeaderElection("resourceLock must be \"leases\"".into()));
    }
    let mut config = leader::Config::new("kube-scheduler", leader::identity(&host_name()));
    let times = [
        (&mut config.lease_duration, flags.leader_elect_lease_duration, &file.lease_duration),
        (&mut config.renew_deadline, flags.leader_elect_renew_deadline, &file.renew_deadline),
        (&mut config.retry_period, flags.leader_elect_retry_period, &file.retry_period),
    ];
    for (time, flag, text) in times {
        if let Some(given) = flag {
            *time = given;
        } else if let Some(text) = text {
            *time = apimachinery::duration::parse(text).map_err(|e| Error::LeaderElection(e.to_string()))?;
        }
    }
    if config.lease_duration <= config.renew_deadline {
        return Err(Error::LeaderElection("leaseDuration must be greater than renewDeadline".into()));
    }
    if let Some(name) = flags.leader_elect_resource_name.as_ref().or(file.resource_name.as_ref()) {
        config.name.clone_from(name);
    }
    if let Some(namespace) = flags.leader_elect_resource_namespace.as_ref().or(file.resource_namespace.as_ref()) {
        config.namespace.clone_from(namespace);
    }
    Ok(Some(config))
}

struct Executor {
    client: kube::Client,
    events: Events,
    host: Arc<str>,
    metrics: Arc<Metrics>,
    scheduler: Scheduler,
    bindings: JoinSet<Outcome>,
    writes: JoinSet<()>,
    /// First lists that have not come yet. Nothing is decided before all are there.
    lists: usize,
}

impl Executor {
    async fn run(&mut self, mut changes: mpsc::Receiver<feed::Change>, shutdown: &CancellationToken) {
        loop {
            self.take_in(&mut changes);
            let more = self.lists == 0 && self.decide();
            if more {
                tokio::task::yield_now().await;
                if shutdown.is_cancelled() {
                    break;
                }
                continue;
            }
            let deadline = self.scheduler.queue.next_deadline().filter(|_| self.lists == 0);
            tokio::select! {
                () = shutdown.cancelled() => break,
                change = changes.recv() => match change {
                    Some(change) => self.apply(change),
                    None => break,
                },
                Some(done) = self.bindings.join_next() => self.finish(done),
                Some(_) = self.writes.join_next() => {}
                () = sleep_until(deadline) => self.scheduler.queue.flush(Instant::now()),
            }
        }
        // What was decided is carried out; what was not, the next leader decides.
        while let Some(done) = self.bindings.join_next().await {
            self.finish(done);
        }
    }

    fn take_in(&mut self, changes: &mut mpsc::Receiver<feed::Change>) {
        while let Some(done) = self.bindings.try_join_next() {
            self.finish(done);
        }
        while self.writes.try_join_next().is_some() {}
        for _ in 0..DRAIN {
            let Ok(change) = changes.try_recv() else { return };
            self.apply(change);
        }
    }

    fn apply(&mut self, change: feed::Change) {
        if self.lists > 0 && change.is_list() {
            self.lists -= 1;
            if self.lists == 0 {
                tracing::info!(nodes = self.scheduler.cluster.order().len(), "scheduler is ready");
            }
        }
        self.scheduler.apply(change, Instant::now());
    }

    /// Decides about some pods; false when there is nothing to decide now.
    fn decide(&mut self) -> bool {
        let mut decided = 0;
        while decided < BATCH && self.bindings.len() < MAX_BINDINGS && self.writes.len() < MAX_WRITES {
            let start = Instant::now();
            let Some(step) = self.scheduler.next(start) else { break };
            self.metrics.duration.observe(start.elapsed().as_secs_f64());
            self.carry_out(step);
            decided += 1;
        }
        if decided > 0 {
            self.gauge();
        }
        decided == BATCH
    }

    fn gauge(&self) {
        let lengths = self.scheduler.queue.lengths();
        for (queue, length) in [
            ("active", lengths.active),
            ("backoff", lengths.backoff),
            ("unschedulable", lengths.unschedulable),
            ("gated", lengths.gated),
        ] {
            self.metrics.pending.get_or_create(&QueueName { queue }).set(i64::try_from(length).unwrap_or(i64::MAX));
        }
    }

    fn count(&self, pod: &PodInfo, result: &'static str) {
        self.metrics.attempts.get_or_create(&Attempt { profile: pod.profile().to_owned(), result }).inc();
    }

    fn carry_out(&mut self, step: Step) {
        match step {
            Step::Bind { profile, pod, node, volumes, permits } => {
                let binding = Binding { pod, node, client: self.client.clone(), volumes };
                self.bindings.spawn(binding::run(profile, binding, permits));
            }
            Step::Report(report) => {
                self.count(&report.pod, "unschedulable");
                self.report(report);
            }
        }
    }

    fn finish(&mut self, done: Result<Outcome, tokio::task::JoinError>) {
        let Outcome { pod, node, result } = match done {
            Ok(outcome) => outcome,
            Err(error) => {
                tracing::error!(%error, "a binding ended abnormally");
                return;
            }
        };
        match result {
            Ok(()) => {
                tracing::debug!(pod = %pod.key, %node, "bound pod to node");
                self.scheduler.bound(&pod);
                self.count(&pod, "scheduled");
                self.writes.spawn(binding::announce(self.client.clone(), pod, node, self.host.clone()));
            }
            Err(failed) => {
                let (plugin, reason, message) = match failed {
                    Failed::Rejected { plugin, message } => {
                        let text = format!("0/1 nodes are available: 1 {message}.");
                        (Some(plugin), "Unschedulable", text)
                    }
                    Failed::Error(message) => (None, "SchedulerError", message),
                };
                self.scheduler.unbound(&pod, plugin, Instant::now());
                self.count(&pod, if plugin.is_some() { "unschedulable" } else { "error" });
                // A pod that is gone meanwhile needs no report.
                if self.scheduler.queue.pod(&pod.uid).is_some() {
                    self.report(Report::new(pod, reason, message));
                }
            }
        }
    }

    /// Event, condition, and what preemption asks for.
    fn report(&mut self, report: Report) {
        let scheduler = report.pod.profile().to_owned();
        self.events.say(Said {
            pod: report.pod.clone(),
            warning: true,
            reason: "FailedScheduling",
            action: "Scheduling",
            message: report.message.clone(),
            related: None,
            scheduler: scheduler.clone(),
        });
        tracing::debug!(pod = %report.pod.key, message = report.message, "unable to schedule pod");
        if !report.victims.is_empty() {
            self.metrics.preemption_attempts.inc();
        }
        for victim in &report.victims {
            let node = report.nominate.as_deref().unwrap_or_default();
            self.events.say(Said {
                pod: victim.clone(),
                warning: false,
                reason: "Preempted",
                action: "Preempting",
                message: format!("Preempted by pod {} on node {node}", report.pod.uid),
                related: Some(report.pod.clone()),
                scheduler: scheduler.clone(),
            });
        }
        let condition = (report.reason.to_owned(), report.message.clone());
        let news = report.pod.scheduled_condition.as_ref() != Some(&condition);
        if news || report.nominate.is_some() {
            self.writes.spawn(write_report(self.client.clone(), report));
        }
    }
}

async fn sleep_until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

fn path(pod: &PodInfo) -> String {
    format!("/api/v1/namespaces/{}/pods/{}", pod.key.namespace, pod.key.name)
}

/// A condition as a patch of `status`; the time is only set when the status of the condition changes.
fn condition(kind: &str, status: &str, reason: &str, message: &str, generation: i64, changed: bool) -> Value {
    let mut condition = json!({"type": kind, "status": status, "reason": reason, "message": message});
    if generation > 0 {
        condition["observedGeneration"] = generation.into();
    }
    if changed {
        condition["lastTransitionTime"] = apimachinery::time::rfc3339(jiff::Timestamp::now()).into();
    }
    json!([condition])
}

async fn write_report(client: kube::Client, report: Report) {
    let pod = &report.pod;
    let victims = report.victims.iter().map(|victim| end(&client, pod, victim));
    futures::future::join_all(victims).await;
    for displaced in &report.displaced {
        write_status(&client, displaced, json!({"nominatedNodeName": null})).await;
    }
    let changed = pod.scheduled_condition.is_none();
    let mut status = Map::new();
    let conditions = condition("PodScheduled", "False", report.reason, &report.message, pod.generation, changed);
    status.insert("conditions".into(), conditions);
    if let Some(node) = &report.nominate {
        let node = if node.is_empty() { Value::Null } else { Value::from(&**node) };
        status.insert("nominatedNodeName".into(), node);
    }
    write_status(&client, pod, Value::Object(status)).await;
}

async fn write_status(client: &kube::Client, pod: &PodInfo, status: Value) {
    let patch = json!({"metadata": {"uid": &*pod.uid}, "status": status});
    if let Err(error) = crate::api::strategic_patch(client, &format!("{}/status", path(pod)), &patch).await
        && !error.is_not_found()
    {
        tracing::debug!(pod = %pod.key, %error, "status not written");
    }
}

/// Ends a pod to make room for another.
async fn end(client: &kube::Client, preemptor: &PodInfo, victim: &PodInfo) {
    if victim.deleting {
        return;
    }
    let message = format!("{}: preempting to accommodate a higher priority pod", preemptor.profile());
    let reason = "PreemptionByScheduler";
    let conditions = condition("DisruptionTarget", "True", reason, &message, victim.generation, true);
    write_status(client, victim, json!({"conditions": conditions})).await;
    let options = json!({"apiVersion": "v1", "kind": "DeleteOptions", "preconditions": {"uid": &*victim.uid}});
    if let Err(error) = crate::api::delete(client, &path(victim), &options).await
        && !error.is_not_found()
    {
        tracing::warn!(pod = %victim.key, %error, "could not preempt pod");
    }
}
