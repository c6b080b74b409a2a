//! Pods from their first container to their removal, over a runtime in memory.
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Pod, PodStatus};
use tokio_util::sync::CancellationToken;

use super::fake::FakeRuntime;
use crate::cgroups::Cgroups;
use crate::config::{self, Config};
use crate::images::Images;
use crate::kubelet::Kubelet;
use crate::objects::Objects;
use crate::pods::Pods;
use crate::probes::results::Results;
use crate::resources::Amounts;
use crate::status::{Ending, Verdict};

const DEADLINE: Duration = Duration::from_secs(20);

struct Bed {
    runtime: Arc<FakeRuntime>,
    kubelet: Arc<Kubelet>,
    stop: CancellationToken,
    dir: Arc<tempfile::TempDir>,
}

fn configuration(dir: &std::path::Path) -> Config {
    let flags = crate::Flags {
        hostname_override: Some("n1".into()),
        root_dir: dir.join("kubelet"),
        pod_logs_dir: Some(dir.join("logs")),
        container_log_links: dir.join("links"),
        cgroups_per_qos: Some(false),
        ..crate::Flags::default()
    };
    config::load(&flags).expect("valid flags")
}

impl Bed {
    fn new() -> Bed {
        Bed::over(Arc::default(), Arc::new(tempfile::tempdir().expect("a folder")))
    }

    fn over(runtime: Arc<FakeRuntime>, dir: Arc<tempfile::TempDir>) -> Bed {
        let config = Arc::new(configuration(dir.path()));
        let amounts = Amounts { cpu_milli: 4000, memory_bytes: 1 << 30 };
        let kubelet = Kubelet {
            cgroups: Cgroups::detect(&config, "cgroupfs"),
            config,
            runtime: runtime.clone(),
            client: None,
            recorder: None,
            objects: Objects::new(None),
            images: Images::default(),
            results: Results::default(),
            services: None,
            node: None,
            host_ips: vec!["192.168.0.1".into()],
            capacity: amounts,
            allocatable: amounts,
            allocatable_disk_bytes: 1 << 40,
            oom_floor: 0,
            pods: Pods::default(),
            pressure: Arc::default(),
            images_seen: crate::image_gc::Seen::default(),
            disk_usage: crate::disk_usage::DiskUsage::default(),
            counts: Arc::default(),
        };
        Bed { runtime, kubelet: Arc::new(kubelet), stop: CancellationToken::new(), dir }
    }

    fn set(&self, pod: &Pod) {
        self.kubelet.pods.set(&self.kubelet, Arc::new(pod.clone()), &self.stop);
    }

    /// The kubelet's newest status once it is as wanted.
    async fn until(&self, what: &str, wanted: impl Fn(&PodStatus) -> bool) -> PodStatus {
        let look = async {
            loop {
                let status = self.kubelet.pods.all().pop().and_then(|pod| pod.status.clone());
                if let Some(status) = status.filter(&wanted) {
                    return status;
                }
                self.kubelet.pods.wake_all();
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(DEADLINE, look).await.unwrap_or_else(|_| panic!("{what}: {:?}", self.runtime.calls.lock()))
    }

    /// Until no pod has a worker.
    async fn until_gone(&self) {
        let gone = async {
            while !self.kubelet.pods.uids().is_empty() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(DEADLINE, gone).await.expect("the workers end");
    }

    fn calls(&self) -> Vec<String> {
        std::mem::take(&mut *self.runtime.calls.lock())
    }
}

fn pod(spec: &str) -> Pod {
    let value = apimachinery::codec::yaml::parse(&format!(
        "metadata: {{name: p, namespace: ns, uid: u, generation: 1}}\nspec: {spec}"
    ));
    serde_json::from_value(value.expect("yaml")).expect("a pod")
}

fn running(status: &PodStatus) -> bool {
    status.phase.as_deref() == Some("Running") && status.container_statuses.iter().flatten().all(|c| c.ready)
}

fn waits(reason: &'static str) -> impl Fn(&PodStatus) -> bool {
    move |status| {
        let first = status.container_statuses.as_ref().and_then(|list| list.first());
        let state = first.and_then(|c| c.state.as_ref()?.waiting.as_ref()?.reason.as_deref());
        state == Some(reason)
    }
}

#[tokio::test]
async fn resources_change_without_a_restart() {
    let bed = Bed::new();
    let with = |cpu: &str, generation: i64| {
        let mut pod = pod(&format!("{{containers: [{{name: web, image: a, resources: {{limits: {{cpu: {cpu}}}}}}}]}}"));
        pod.metadata.generation = Some(generation);
        pod
    };
    let limit = |status: &PodStatus| {
        let resources = status.container_statuses.as_ref()?.first()?.resources.as_ref()?;
        resources.limits.as_ref()?.get("cpu").map(|quantity| quantity.0.clone())
    };
    bed.set(&with("'1'", 1));
    bed.until("it runs", running).await;
    bed.calls();
    bed.set(&with("'2'", 2));
    bed.until("it has more", |status| limit(status).as_deref() == Some("2")).await;
    assert_eq!(bed.calls(), ["update web-0 200000"]);
    bed.set(&with("'9'", 3));
    let pending = |status: &PodStatus| status.conditions.iter().flatten().any(|c| c.type_ == "PodResizePending");
    let status = bed.until("it asks for too much", pending).await;
    assert_eq!((limit(&status).as_deref(), bed.calls().len()), (Some("2"), 0));
}

#[tokio::test]
async fn init_then_main_then_away() {
    let bed = Bed::new();
    let pod = pod("{initContainers: [{name: i, image: a}], containers: [{name: web, image: a}]}");
    bed.set(&pod);
    bed.until("init runs", |s| {
        s.init_container_statuses.iter().flatten().any(|c| c.state.as_ref().is_some_and(|s| s.running.is_some()))
    })
    .await;
    assert_eq!(bed.calls(), ["run sandbox-0", "create i-0", "start i-0"]);
    bed.runtime.exit("i", 0);
    let status = bed.until("main runs", running).await;
    assert_eq!(status.pod_ip.as_deref(), Some("10.0.0.7"));
    assert_eq!(bed.calls(), ["create web-0", "start web-0"]);
    assert!(std::fs::read_dir(bed.dir.path().join("links")).expect("links").count() == 2, "each log has its link");
    bed.kubelet.pods.remove(&bed.kubelet, "u", None, &bed.stop);
    bed.until_gone().await;
    assert_eq!(bed.calls(), ["stop web-0", "stop sandbox-0", "remove web-0", "remove i-0", "remove sandbox-0"]);
    assert!(!bed.dir.path().join("kubelet/pods/u").exists());
    assert_eq!(std::fs::read_dir(bed.dir.path().join("links")).expect("links").count(), 0);
}

#[tokio::test]
async fn a_pod_that_is_gone_has_the_grace_it_was_last_known_to_have() {
    // What the pod asks for, what the runtime is told.
    for (own, expected) in [(None, 30), (Some(7), 7), (Some(0), 1)] {
        let bed = Bed::new();
        let mut pod = pod("{containers: [{name: web, image: a}]}");
        if let Some(spec) = &mut pod.spec {
            spec.termination_grace_period_seconds = own;
        }
        bed.set(&pod);
        bed.until("runs", running).await;
        bed.kubelet.pods.remove(&bed.kubelet, "u", None, &bed.stop);
        bed.until_gone().await;
        assert_eq!(*bed.runtime.graces.lock(), [expected], "{own:?}");
    }
}

#[tokio::test]
async fn a_crash_restarts_at_once_and_then_waits() {
    let bed = Bed::new();
    bed.set(&pod("{containers: [{name: web, image: a}]}"));
    bed.until("runs", running).await;
    bed.runtime.exit("web", 1);
    let again = bed
        .until("runs again", |s| running(s) && s.container_statuses.iter().flatten().all(|c| c.restart_count == 1))
        .await;
    let last = again.container_statuses.and_then(|mut list| list.pop()?.last_state?.terminated);
    assert_eq!(last.map(|t| t.exit_code), Some(1));
    bed.runtime.exit("web", 2);
    let status = bed.until("backs off", waits("CrashLoopBackOff")).await;
    assert_eq!(status.phase.as_deref(), Some("Running"));
    assert_eq!(bed.runtime.runs("web").len(), 2);
}

#[tokio::test]
async fn another_kubelet_adopts_what_runs() {
    let bed = Bed::new();
    let pod = pod("{containers: [{name: web, image: a}]}");
    bed.set(&pod);
    bed.until("runs", running).await;
    bed.stop.cancel();
    let before = bed.runtime.runs("web");
    bed.calls();
    let next = Bed::over(bed.runtime.clone(), bed.dir.clone());
    next.set(&pod);
    next.until("is seen running", running).await;
    assert_eq!(next.calls(), Vec::<String>::new(), "nothing is touched");
    assert_eq!(next.runtime.runs("web"), before);
}

#[tokio::test]
async fn a_finished_pod_stops_its_sandbox_and_keeps_its_container() {
    let bed = Bed::new();
    bed.set(&pod("{restartPolicy: Never, containers: [{name: web, image: a}]}"));
    bed.until("runs", running).await;
    bed.runtime.exit("web", 0);
    bed.until("has succeeded", |s| s.phase.as_deref() == Some("Succeeded")).await;
    let calls = bed.calls();
    assert_eq!(calls.last().map(String::as_str), Some("stop sandbox-0"), "{calls:?}");
    assert_eq!(bed.runtime.runs("web").len(), 1);
}

#[tokio::test]
async fn images_that_cannot_be_had() {
    for (container, reason) in [
        ("{name: web, image: absent}", "ErrImagePull"),
        ("{name: web, image: absent, imagePullPolicy: Never}", "ErrImageNeverPull"),
        ("{name: web, image: A}", "InvalidImageName"),
    ] {
        let bed = Bed::new();
        bed.set(&pod(&format!("{{containers: [{container}]}}")));
        let status = bed.until(reason, waits(reason)).await;
        assert_eq!(status.phase.as_deref(), Some("Pending"), "{reason}");
        bed.stop.cancel();
    }
}

#[tokio::test]
async fn a_pod_too_large_fails() {
    let bed = Bed::new();
    bed.set(&pod("{containers: [{name: web, image: a, resources: {requests: {cpu: 8}}}]}"));
    let status = bed.until("is turned away", |s| s.phase.as_deref() == Some("Failed")).await;
    assert_eq!(status.reason.as_deref(), Some("OutOfcpu"));
    let message = "Pod was rejected: Node didn't have enough resource: cpu, requested: 8000, used: 0, capacity: 4000";
    assert_eq!(status.message.as_deref(), Some(message));
    assert_eq!(bed.calls(), Vec::<String>::new());
}

#[tokio::test]
async fn a_failing_post_start_hook_ends_the_container() {
    let bed = Bed::new();
    bed.set(&pod("{containers: [{name: web, image: a, lifecycle: {postStart: {exec: {command: ['false']}}}}]}"));
    bed.until("the hook's failure shows", waits("PostStartHookError")).await;
    let calls = bed.calls();
    assert_eq!(&calls[..5], ["run sandbox-0", "create web-0", "start web-0", "exec web-0 false", "stop web-0"]);
}

#[tokio::test]
async fn an_evicted_pod_fails_with_its_reason_and_condition() {
    let bed = Bed::new();
    bed.set(&pod("{containers: [{name: web, image: a}]}"));
    bed.until("it runs", running).await;
    bed.calls();
    assert_eq!(bed.kubelet.pods.active().len(), 1);
    let ending = Ending { grace_s: Some(1), disruption: Some("too much".into()) };
    assert!(bed.kubelet.pods.end("u", Verdict { ending, ..Verdict::new("Evicted", "too much") }));
    let ended = |s: &PodStatus| {
        let states = s.container_statuses.iter().flatten().filter_map(|c| c.state.as_ref());
        s.phase.as_deref() == Some("Failed") && states.into_iter().all(|state| state.terminated.is_some())
    };
    let status = bed.until("it is ended", ended).await;
    assert_eq!((status.reason.as_deref(), status.message.as_deref()), (Some("Evicted"), Some("too much")));
    let condition = status.conditions.iter().flatten().find(|c| c.type_ == "DisruptionTarget").expect("the condition");
    assert_eq!((condition.status.as_str(), condition.reason.as_deref()), ("True", Some("TerminationByKubelet")));
    assert_eq!(bed.calls().first().map(String::as_str), Some("stop web-0"));
    assert!(bed.kubelet.pods.active().is_empty());
    assert!(!bed.kubelet.pods.end("other", Verdict::new("Evicted", "")), "there is no such pod");
}

#[tokio::test]
async fn a_critical_pod_waits_until_others_have_made_room() {
    let bed = Bed::new();
    let named = |uid: &str, priority: i32, cpu: i32| {
        let mut pod = pod(&format!(
            "{{priority: {priority}, containers: [{{name: {uid}, image: a, resources: {{requests: {{cpu: {cpu}}}}}}}]}}"
        ));
        (pod.metadata.uid, pod.metadata.name) = (Some(uid.to_owned()), Some(uid.to_owned()));
        pod
    };
    let status = |uid: &str| {
        let found = bed.kubelet.pods.all().into_iter().find(|pod| pod.metadata.uid.as_deref() == Some(uid));
        found.and_then(|pod| pod.status.clone()).unwrap_or_default()
    };
    let until = async |what: &str, holds: &dyn Fn() -> bool| {
        let look = async {
            while !holds() {
                bed.kubelet.pods.wake_all();
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(DEADLINE, look).await.unwrap_or_else(|_| panic!("{what}: {:?}", bed.runtime.calls.lock()));
    };
    bed.set(&named("low", 0, 3));
    until("one runs", &|| running(&status("low"))).await;
    bed.calls();
    bed.set(&named("critical", 2_000_000_000, 2));
    until("the critical one runs", &|| running(&status("critical"))).await;
    let low = status("low");
    assert_eq!((low.phase.as_deref(), low.reason.as_deref()), (Some("Failed"), Some("Preempting")));
    let calls = bed.calls();
    let at = |call: &str| calls.iter().position(|one| one == call).unwrap_or_else(|| panic!("{call}: {calls:?}"));
    assert!(at("stop low-0") < at("create critical-0"), "{calls:?}");
    // There is nobody left who would give way.
    bed.set(&named("another", 2_000_000_000, 3));
    until("there is no room for another", &|| status("another").phase.as_deref() == Some("Failed")).await;
    assert_eq!(status("another").reason.as_deref(), Some("UnexpectedAdmissionError"));
}
