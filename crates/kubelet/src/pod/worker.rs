//! One pod's task.
//!
//! Each round asks the runtime what is there, plans, acts, and reports what came of it; nothing but back-off
//! times and verdicts is remembered between rounds, so a restart of the kubelet changes nothing. A round is
//! broken off when the pod is deleted meanwhile; what it had begun is seen again in the next.
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Pod, PodStatus};
use kube::api::{Api, DeleteParams, ObjectMeta, Preconditions};
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use super::resize::Allocation;
use super::{cleanup, kill, resize, start};
use crate::backoff::{Backoff, go_seconds};
use crate::env::NodeHas;
use crate::kubelet::Kubelet;
use crate::observed::{Observed, observe};
use crate::plan::{self, Plan};
use crate::pods::Admission;
use crate::probes::Probers;
use crate::spec::{self, Kind};
use crate::status::writer::{Target, Writer};
use crate::status::{self, Verdict, Waiting, conditions};
use crate::volumes::{self, Mounted, content};

/// After a failure of the runtime or a volume.
const RETRY: Duration = Duration::from_secs(2);
/// A critical pod looks again after this whether those that end for it have ended.
const MAKING_ROOM: Duration = Duration::from_millis(200);
/// Volumes whose content comes from the API are brought up to date that often (upstream's sync period).
const REFRESH: Duration = Duration::from_secs(60);
/// Volumes that cannot be made are tried again after this, then after twice as long, and so on.
const FIRST_MOUNT_WAIT: Duration = Duration::from_millis(500);
const LONGEST_MOUNT_WAIT: Duration = Duration::from_secs(32);

/// What is wanted of a pod; `None`: it is gone from its source.
pub type Desired = Option<Arc<Pod>>;

/// A pod's worker.
pub struct Worker {
    pub kubelet: Arc<Kubelet>,
    pub desired: watch::Receiver<Desired>,
    /// What another part of the kubelet decided: the pod has to end.
    pub sentence: watch::Receiver<Option<Verdict>>,
    /// Something of the pod changed in the runtime, or a probe's verdict did.
    pub wake: Arc<Notify>,
    pub shutdown: CancellationToken,
    /// The pod as last wanted.
    pub pod: Arc<Pod>,
}

struct Memory {
    writer: Writer,
    probers: Probers,
    crash: Backoff,
    waiting: Waiting,
    verdict: Option<Verdict>,
    status: Option<PodStatus>,
    /// When the status last changed.
    reported: Option<Instant>,
    mounted: Option<(Mounted, Instant)>,
    /// How often in a row the volumes could not be made.
    mount_failures: u32,
    /// What the downward API showed of the pod when the volumes were last made.
    described: Option<ObjectMeta>,
    allocation: Allocation,
    admitted: bool,
    killed: bool,
    /// After a failure nothing is tried again before this, whatever wakes the worker, unless the spec changed.
    hold: Option<(Instant, Option<i64>)>,
}

/// What follows a round.
enum Next {
    Wait(Option<Duration>),
    Done,
}

impl Worker {
    /// Runs until nothing of the pod is left here and in the API.
    pub async fn run(mut self) {
        let mut memory = Memory {
            writer: Writer::start(self.kubelet.client.clone(), self.shutdown.clone()),
            probers: Probers::new(self.kubelet.clone(), self.wake.clone()),
            crash: Backoff::default(),
            waiting: Waiting::new(),
            verdict: None,
            status: None,
            reported: None,
            mounted: None,
            mount_failures: 0,
            described: None,
            allocation: Allocation::default(),
            admitted: false,
            killed: false,
            hold: None,
        };
        memory.writer.rebase(self.api_pod().and_then(|pod| pod.status.clone()));
        // Of what the runtime had left of an unknown pod, nobody knows how long it wanted to have.
        let mut known = None;
        loop {
            let desired = self.desired.borrow_and_update().clone();
            if let Some(pod) = &desired {
                self.pod = pod.clone();
                known = Some(pod.clone());
            }
            if let Some(verdict) = self.sentence.borrow_and_update().clone() {
                memory.verdict.get_or_insert(verdict);
            }
            let (mut changes, mut sentence) = (self.desired.clone(), self.sentence.clone());
            let ends = grace_of(&desired, known.as_deref());
            let next = tokio::select! {
                biased;
                () = self.shutdown.cancelled() => return,
                next = round(&self.kubelet, &self.pod, desired.is_none(), ends, &mut memory) => next,
                // Deleted, or deleted with less grace: what is under way is no longer wanted.
                _ = changes.wait_for(|new| sooner(ends, grace_of(new, known.as_deref()))) => continue,
                Ok(()) = sentence.changed() => continue,
            };
            let wait = match next {
                Next::Done => return,
                Next::Wait(wait) => wait,
            };
            tokio::select! {
                () = self.shutdown.cancelled() => return,
                changed = self.desired.changed() => if changed.is_err() { return },
                Ok(()) = self.sentence.changed() => {}
                () = self.wake.notified() => {}
                () = tokio::time::sleep(wait.unwrap_or(Duration::MAX)), if wait.is_some() => {}
            }
        }
    }

    fn api_pod(&self) -> Option<Arc<Pod>> {
        match spec::is_static(&self.pod) {
            true => self.kubelet.pods.mirror(&self.pod),
            false => Some(self.pod.clone()),
        }
    }
}

/// The grace period of a pod that is to end; `None` while it is to run. One that is gone from its source, a removed
/// manifest or an object deleted by force, has what it was last known to have: upstream's `calculateEffectiveGracePeriod`.
fn grace_of(desired: &Desired, known: Option<&Pod>) -> Option<i64> {
    let granted = |pod: &Pod| pod.metadata.deletion_grace_period_seconds.unwrap_or_else(|| kill::spec_grace(pod));
    match (desired, known) {
        (None, None) => Some(1),
        (None, Some(known)) => Some(granted(known).max(1)),
        (Some(pod), _) => {
            pod.metadata.deletion_timestamp.as_ref()?;
            Some(granted(pod))
        }
    }
}

fn sooner(now: Option<i64>, new: Option<i64>) -> bool {
    match (now, new) {
        (None, Some(_)) => true,
        (Some(now), Some(new)) => new < now,
        _ => false,
    }
}

async fn round(kubelet: &Arc<Kubelet>, pod: &Arc<Pod>, gone: bool, ends: Option<i64>, memory: &mut Memory) -> Next {
    let seen = match observe(&*kubelet.runtime, spec::uid(pod)).await {
        Ok(seen) => seen,
        Err(error) => {
            tracing::warn!(pod = %spec::describe(pod), %error, "the runtime does not tell what runs");
            return Next::Wait(Some(RETRY));
        }
    };
    if let Some(grace_s) = ends {
        return end(kubelet, pod, gone, grace_s, seen, memory).await;
    }
    if !memory.admitted && memory.verdict.is_none() && !spec::is_terminal(pod) && !seen.is_running() {
        match kubelet.pods.admit(kubelet, pod) {
            Admission::Welcome => {}
            Admission::Waits => return Next::Wait(Some(MAKING_ROOM)),
            Admission::Refused(mut verdict) => {
                kubelet.pod_event(pod, true, &verdict.reason, &verdict.message);
                verdict.message.insert_str(0, "Pod was rejected: ");
                memory.verdict = Some(verdict);
            }
        }
    }
    if !memory.admitted && seen.is_running() {
        kubelet.pods.count_in(spec::uid(pod));
    }
    memory.admitted = true;
    if let Some(left) = deadline(pod, memory).filter(|_| memory.verdict.is_none())
        && left.is_zero()
    {
        let message = "Pod was active on the node longer than the specified deadline";
        kubelet.pod_event(pod, false, "DeadlineExceeded", message);
        memory.verdict = Some(Verdict::new("DeadlineExceeded", message));
    }
    if memory.verdict.is_some() || spec::is_terminal(pod) {
        return finish(kubelet, pod, seen, memory).await;
    }
    let until_deadline = deadline(pod, memory);
    let pod = &memory.allocation.settle(kubelet, pod);
    let next = keep_running(kubelet, pod, seen, memory).await;
    match (next, until_deadline) {
        (Next::Wait(wait), Some(left)) => Next::Wait(Some(wait.map_or(left, |wait| wait.min(left)))),
        (next, _) => next,
    }
}

/// How long the pod may still be active.
fn deadline(pod: &Pod, memory: &Memory) -> Option<Duration> {
    let seconds = spec::spec(pod).active_deadline_seconds?;
    let status = memory.status.as_ref().or(pod.status.as_ref());
    let started = status.and_then(|s| s.start_time.as_ref()).map_or_else(Timestamp::now, |t| t.0);
    let active = Timestamp::now().duration_since(started).as_secs();
    Some(Duration::from_secs(u64::try_from(seconds.saturating_sub(active)).unwrap_or(0)))
}

/// The pod is deleted: everything ends, then the API's object goes.
async fn end(
    kubelet: &Arc<Kubelet>,
    pod: &Arc<Pod>,
    gone: bool,
    grace_s: i64,
    seen: Observed,
    memory: &mut Memory,
) -> Next {
    // Readiness falls at once; liveness no longer matters.
    memory.probers.stop_all();
    memory.waiting.clear();
    if seen.is_running() || !memory.killed {
        if let Err(error) = kill::pod(kubelet, pod, &seen, grace_s).await {
            let text = format!("error killing pod: {error}");
            kubelet.pod_event(pod, true, "FailedKillPod", &text);
            return Next::Wait(Some(RETRY));
        }
        memory.killed = true;
    }
    let after = match observe(&*kubelet.runtime, spec::uid(pod)).await {
        Ok(after) if !after.is_running() => after,
        _ => return Next::Wait(Some(RETRY)),
    };
    // What a removed manifest leaves in the API shows how it ended, until that goes too.
    let written = (!gone || spec::is_static(pod)).then(|| report(kubelet, pod, &after, memory, true));
    if let Err(error) = cleanup::remove_everything(kubelet, pod, &after).await {
        tracing::warn!(pod = %spec::describe(pod), %error, "cannot clean up after a pod; trying again");
        return Next::Wait(Some(RETRY));
    }
    if gone {
        return Next::Done;
    }
    if let (Some(number), Some(_)) = (written, &kubelet.client) {
        memory.writer.written(number).await;
    }
    match delete_object(kubelet, pod).await {
        Ok(()) => Next::Wait(None),
        Err(error) => {
            tracing::warn!(pod = %spec::describe(pod), error = client::told(&error), "cannot delete a pod's object; trying again");
            Next::Wait(Some(RETRY))
        }
    }
}

async fn delete_object(kubelet: &Kubelet, pod: &Pod) -> Result<(), kube::Error> {
    let Some(client) = &kubelet.client else { return Ok(()) };
    let api = Api::<Pod>::namespaced(client.clone(), spec::namespace(pod));
    let preconditions = Preconditions { uid: pod.metadata.uid.clone(), resource_version: None };
    let params = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default().grace_period(0) };
    match api.delete(spec::name(pod), &params).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.code == 404 || status.code == 409 => Ok(()),
        Err(error) => Err(error),
    }
}

/// The pod has come to its end and stays in the API: what still runs ends, what is dead stays for its logs.
async fn finish(kubelet: &Arc<Kubelet>, pod: &Arc<Pod>, mut seen: Observed, memory: &mut Memory) -> Next {
    memory.probers.stop_all();
    memory.waiting.clear();
    if memory.verdict.is_some() {
        report(kubelet, pod, &seen, memory, false);
    }
    if seen.is_running() {
        let grace_s = memory.verdict.as_ref().and_then(|verdict| verdict.ending.grace_s);
        if let Err(error) = kill::pod(kubelet, pod, &seen, grace_s.unwrap_or_else(|| kill::spec_grace(pod))).await {
            tracing::warn!(pod = %spec::describe(pod), %error, "cannot stop a finished pod; trying again");
            return Next::Wait(Some(RETRY));
        }
        match observe(&*kubelet.runtime, spec::uid(pod)).await {
            Ok(after) => seen = after,
            Err(_) => return Next::Wait(Some(RETRY)),
        }
    }
    report(kubelet, pod, &seen, memory, true);
    let uid = spec::uid(pod);
    if let Err(error) = volumes::tear_down(&kubelet.config.root_dir, uid) {
        tracing::warn!(pod = %spec::describe(pod), %error, "cannot remove a finished pod's volumes");
    }
    kubelet.cgroups.remove_pod(uid);
    kubelet.pods.set_ended(uid);
    Next::Wait(None)
}

async fn keep_running(kubelet: &Arc<Kubelet>, pod: &Arc<Pod>, seen: Observed, memory: &mut Memory) -> Next {
    let plan = plan::plan(pod, &seen, &kubelet.results);
    if memory.status.is_none() {
        report(kubelet, pod, &seen, memory, false);
    }
    let idle = plan == Plan::default();
    let generation = pod.metadata.generation;
    let held = memory.hold.filter(|(until, of)| *of == generation && *until > Instant::now());
    let (seen, mut wait) = if idle {
        (seen, None)
    } else if let Some((until, _)) = held {
        (seen, Some(until.saturating_duration_since(Instant::now())))
    } else {
        let wait = act(kubelet, pod, &seen, &plan, memory).await;
        let longest = if memory.mount_failures > 0 { LONGEST_MOUNT_WAIT } else { RETRY };
        memory.hold = wait.map(|wait| (Instant::now() + wait.min(longest), generation));
        match observe(&*kubelet.runtime, spec::uid(pod)).await {
            Ok(after) => (after, wait),
            Err(_) => return Next::Wait(Some(RETRY)),
        }
    };
    if !idle {
        cleanup::prune(kubelet, pod, &seen).await;
        cleanup::prune_sandboxes(kubelet, pod, &seen).await;
    }
    match resize::carry_out(kubelet, pod, &seen, &mut memory.allocation).await {
        resize::Outcome::Done => {}
        resize::Outcome::Again => wait = Some(wait.map_or(RETRY, |wait| wait.min(RETRY))),
    }
    memory.waiting.retain(|name, _| seen.container(name).is_none_or(|c| c.state != crate::observed::State::Running));
    memory.probers.keep(pod, &seen);
    let finished = plan.kill_pod && plan.create_sandbox.is_none();
    report(kubelet, pod, &seen, memory, finished);
    if volumes::is_refreshed(pod) && !finished {
        let told = described(pod);
        let stale = memory.described.as_ref().is_some_and(|before| *before != told);
        if idle && (stale || memory.mounted.as_ref().is_none_or(|(_, at)| at.elapsed() >= REFRESH)) {
            match set_up_volumes(kubelet, pod).await {
                Ok(mounted) => memory.mounted = Some((mounted, Instant::now())),
                Err(messages) => messages.iter().for_each(|text| kubelet.pod_event(pod, true, "FailedMount", text)),
            }
        }
        memory.described = Some(told);
        let since = memory.mounted.as_ref().map_or(Duration::ZERO, |(_, at)| at.elapsed());
        let refresh = REFRESH.saturating_sub(since).max(RETRY);
        wait = Some(wait.map_or(refresh, |wait| wait.min(refresh)));
    }
    // A plan often has a next step: an init container that ended, a pod that is finished.
    if !idle && wait.is_none() && plan::plan(pod, &seen, &kubelet.results) != Plan::default() {
        wait = Some(Duration::from_millis(10));
    }
    Next::Wait(wait)
}

/// What of a pod its volumes may show and an update may change.
fn described(pod: &Pod) -> ObjectMeta {
    ObjectMeta {
        labels: pod.metadata.labels.clone(),
        annotations: pod.metadata.annotations.clone(),
        generation: pod.metadata.generation,
        ..ObjectMeta::default()
    }
}

async fn set_up_volumes(kubelet: &Kubelet, pod: &Pod) -> Result<Mounted, Vec<String>> {
    let node = NodeHas { amounts: kubelet.allocatable, disk_bytes: kubelet.allocatable_disk_bytes };
    let source = content::Source { pod, objects: &kubelet.objects, node, now: Timestamp::now() };
    volumes::set_up(&kubelet.config.root_dir, &source).await
}

/// Carries a plan out; returns when to look again, if something is to be tried again.
async fn act(
    kubelet: &Arc<Kubelet>,
    pod: &Arc<Pod>,
    seen: &Observed,
    plan: &Plan,
    memory: &mut Memory,
) -> Option<Duration> {
    if plan.kill_pod {
        if let Err(error) = kill::pod(kubelet, pod, seen, kill::spec_grace(pod)).await {
            tracing::warn!(pod = %spec::describe(pod), %error, "cannot stop what is left of a pod");
            return Some(RETRY);
        }
        if plan.create_sandbox.is_some() && !seen.sandboxes.is_empty() {
            kubelet.pod_event(pod, false, "SandboxChanged", "Pod sandbox changed, it will be killed and re-created.");
        }
    }
    let ip = seen.sandboxes.first().and_then(|s| s.ips.first()).cloned().unwrap_or_default();
    for victim in &plan.kill {
        let Some(container) = seen.containers.iter().find(|c| c.id == victim.id) else { continue };
        let grace = kill::grace_of(pod, &victim.name, victim.because);
        if let Err(error) = kill::container(kubelet, pod, container, &ip, &victim.message, grace).await {
            tracing::warn!(pod = %spec::describe(pod), container = %victim.name, %error, "cannot stop a container");
            return Some(RETRY);
        }
    }
    if plan.start.is_empty() && plan.create_sandbox.is_none() {
        return None;
    }
    if let Err(error) = kubelet.cgroups.make_pod(pod) {
        let text = format!("unable to ensure pod container exists: {error}");
        kubelet.pod_event(pod, true, "FailedCreatePodContainer", &text);
        return Some(RETRY);
    }
    if let Err(error) = kubelet.cgroups.set_burstable(kubelet.pods.burstable_cpu_milli()) {
        tracing::warn!(%error, "cannot give the burstable pods their share of the CPUs");
    }
    // A killed container's end has to be seen before its successor is numbered.
    let fresh = match plan.kill.is_empty() && !plan.kill_pod {
        true => None,
        false => observe(&*kubelet.runtime, spec::uid(pod)).await.ok(),
    };
    let seen = fresh.as_ref().unwrap_or(seen);
    start_all(kubelet, pod, seen, plan, memory).await
}

async fn start_all(
    kubelet: &Arc<Kubelet>,
    pod: &Arc<Pod>,
    seen: &Observed,
    plan: &Plan,
    memory: &mut Memory,
) -> Option<Duration> {
    let known = memory.mounted.as_ref().filter(|(_, at)| at.elapsed() < REFRESH).map(|(mounted, _)| mounted.clone());
    let volumes = async {
        match known {
            Some(mounted) => Ok((mounted, false)),
            None => set_up_volumes(kubelet, pod).await.map(|mounted| (mounted, true)),
        }
    };
    let sandbox = async {
        match plan.create_sandbox {
            Some(attempt) => start::sandbox(kubelet, pod, attempt).await.map(|(id, config)| (id, config, true)),
            None => {
                let newest = seen.sandboxes.first().ok_or_else(|| "there is no sandbox".to_owned())?;
                Ok((newest.id.clone(), start::sandbox_config(kubelet, pod, newest.attempt), false))
            }
        }
    };
    let (volumes, sandbox) = tokio::join!(volumes, sandbox);
    let mounted = match volumes {
        Ok((mounted, fresh)) => {
            memory.mount_failures = 0;
            if fresh {
                memory.mounted = Some((mounted.clone(), Instant::now()));
            }
            mounted
        }
        Err(messages) => {
            messages.iter().for_each(|text| kubelet.pod_event(pod, true, "FailedMount", text));
            let wait = FIRST_MOUNT_WAIT.saturating_mul(1 << memory.mount_failures.min(16)).min(LONGEST_MOUNT_WAIT);
            memory.mount_failures = memory.mount_failures.saturating_add(1);
            return Some(wait);
        }
    };
    let Ok((sandbox_id, sandbox_config, new)) = sandbox else { return Some(RETRY) };
    let ips = match new {
        false => seen.sandboxes.first().map(|s| s.ips.clone()).unwrap_or_default(),
        true => match kubelet.runtime.pod_sandbox_status(&sandbox_id, false).await {
            Ok(answer) => answer
                .status
                .and_then(|s| s.network)
                .map(|n| {
                    std::iter::once(n.ip)
                        .chain(n.additional_ips.into_iter().map(|ip| ip.ip))
                        .filter(|ip| !ip.is_empty())
                        .collect()
                })
                .unwrap_or_default(),
            Err(_) => return Some(RETRY),
        },
    };
    let place = start::Place { sandbox_id: &sandbox_id, sandbox_config: &sandbox_config, ips: &ips, volumes: &mounted };
    let mut wait: Option<Duration> = None;
    let mut sooner = |delay: Duration| wait = Some(wait.map_or(delay, |w: Duration| w.min(delay)));
    for (kind, index) in &plan.start {
        let Some(container) = spec::at(pod, *kind, *index) else { continue };
        if let Some(left) = crashed(kubelet, pod, seen, *kind, &container, memory) {
            sooner(left);
            continue;
        }
        match start::container(kubelet, pod, seen, &place, *kind, &container).await {
            Ok(()) => {
                memory.waiting.remove(&container.name);
            }
            Err(failure) => {
                let pull = failure.reason == "ErrImagePull" || failure.reason == "ImagePullBackOff";
                let image = container.image.as_deref().unwrap_or_default();
                let left = kubelet.images.wait(pod, image, Timestamp::now()).filter(|_| pull);
                sooner(match failure.reason.as_str() {
                    // Shown first as what it is, soon after as a back-off.
                    "ErrImagePull" => left.unwrap_or(RETRY).min(RETRY * 5),
                    "ErrImageNeverPull" | "InvalidImageName" => RETRY * 5,
                    _ => left.unwrap_or(RETRY * 5).max(RETRY),
                });
                memory.waiting.insert(container.name.clone(), (failure.reason, failure.message));
                if *kind == Kind::Init {
                    break;
                }
            }
        }
    }
    wait
}

/// How long a container that ended before has to wait; notes the restart when it may go.
fn crashed(
    kubelet: &Kubelet,
    pod: &Pod,
    seen: &Observed,
    kind: Kind,
    container: &k8s_openapi::api::core::v1::Container,
    memory: &mut Memory,
) -> Option<Duration> {
    let last =
        seen.containers.iter().find(|c| c.name == container.name && c.state == crate::observed::State::Exited)?;
    let ended = Timestamp::from_nanosecond(i128::from(last.finished_at_ns)).ok()?;
    let now = Timestamp::now();
    let Some(left) = memory.crash.remaining(&container.name, ended, now) else {
        memory.crash.next(&container.name, ended, now);
        return None;
    };
    let (name, of) = (&container.name, spec::describe(pod));
    kubelet.container_event(
        pod,
        kind,
        name,
        true,
        "BackOff",
        &format!("Back-off restarting failed container {name} in pod {of}"),
    );
    let delay = go_seconds(memory.crash.delay(name));
    let message = format!("back-off {delay} restarting failed container={name} pod={of}");
    memory.waiting.insert(name.clone(), ("CrashLoopBackOff".into(), message));
    Some(left)
}

/// Longer than the API's news of our own writes take to come back.
const SETTLED: Duration = Duration::from_secs(5);

/// Somebody else changed what is ours to say (a node lifecycle controller that lost sight of the node): what the
/// API has becomes the base of the next patch, which then sets it right.
fn set_right(pod: &Pod, memory: &mut Memory) {
    let ready = |status: Option<&PodStatus>| {
        let list = status.and_then(|s| s.conditions.as_ref());
        list.and_then(|list| list.iter().find(|c| c.type_ == "Ready")).map(|c| c.status.clone())
    };
    let own = ready(memory.status.as_ref());
    let settled = memory.reported.is_some_and(|at| at.elapsed() > SETTLED);
    if settled && own.is_some() && ready(pod.status.as_ref()) != own {
        memory.writer.rebase(pod.status.clone());
    }
}

/// Makes the status and hands it to the writer; returns its number there.
fn report(kubelet: &Kubelet, pod: &Arc<Pod>, seen: &Observed, memory: &mut Memory, terminal: bool) -> u64 {
    let old = merged(memory.status.as_ref(), pod.status.as_ref());
    let new = status::generate(&status::View {
        pod,
        seen,
        probes: &kubelet.results,
        waiting: &memory.waiting,
        old: old.as_ref(),
        verdict: memory.verdict.as_ref(),
        terminal,
        host_ips: &kubelet.host_ips,
        allocation: &memory.allocation,
        now: Timestamp::now(),
    });
    let target = match spec::is_static(pod) {
        false => Some(Target {
            namespace: spec::namespace(pod).to_owned(),
            name: spec::name(pod).to_owned(),
            uid: spec::uid(pod).to_owned(),
        }),
        true => kubelet.pods.mirror(pod).map(|mirror| Target {
            namespace: spec::namespace(pod).to_owned(),
            name: spec::name(pod).to_owned(),
            uid: mirror.metadata.uid.clone().unwrap_or_default(),
        }),
    };
    if !spec::is_static(pod) {
        set_right(pod, memory);
    }
    if memory.status.as_ref() != Some(&new) {
        memory.reported = Some(Instant::now());
    }
    memory.status = Some(new.clone());
    kubelet.pods.set_status(spec::uid(pod), &new);
    target.map_or(0, |target| memory.writer.write(target, new))
}

/// Our last status with what others wrote into the API's.
fn merged(own: Option<&PodStatus>, api: Option<&PodStatus>) -> Option<PodStatus> {
    let (Some(own), Some(api)) = (own, api) else { return own.or(api).cloned() };
    let mut status = own.clone();
    let foreign = api.conditions.iter().flatten().filter(|c| !conditions::is_ours(&c.type_)).cloned();
    let mine = own.conditions.iter().flatten().filter(|c| conditions::is_ours(&c.type_)).cloned();
    status.conditions = Some(foreign.chain(mine).collect());
    Some(status)
}
