//! The queue on paused time: order, back-off, hints and gates.
use super::*;
use crate::{
    framework::{Action, Point},
    testing::pod,
};

/// Objects to nothing; its hint says yes to deleted pods only.
struct Waits;

impl Plugin for Waits {
    fn name(&self) -> &'static str {
        "Waits"
    }

    fn points(&self) -> &'static [Point] {
        &[Point::Filter]
    }

    fn queueing_hint(&self, _: &PodInfo, event: &Event<'_>) -> bool {
        matches!(event, Event::AssignedPod { action: Action::Deleted, .. })
    }
}

struct ByPriority(Arc<dyn Plugin>);

impl Policy for ByPriority {
    fn key(&self, pod: &PodInfo, added: Instant) -> QueueKey {
        QueueKey { rank: -i64::from(pod.priority()), added }
    }

    fn gated_by(&self, pod: &PodInfo) -> Option<&'static str> {
        pod.is_gated().then_some("SchedulingGates")
    }

    fn plugin(&self, _: &PodInfo, name: &str) -> Option<&Arc<dyn Plugin>> {
        (name == "Waits").then_some(&self.0)
    }
}

fn queue() -> (Queue<ByPriority>, Instant) {
    let now = Instant::now();
    (Queue::new(ByPriority(Arc::new(Waits)), Duration::from_secs(1), Duration::from_secs(10), now), now)
}

fn name(pod: Option<Arc<PodInfo>>) -> Option<String> {
    pod.map(|p| p.key.name.to_string())
}

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test(start_paused = true)]
async fn priority_then_arrival() {
    let (mut queue, now) = queue();
    for (name, priority) in [("low", 0), ("high", 5), ("high-later", 5)] {
        queue.upsert(pod(name).priority(priority).info(), now);
    }
    let order: Vec<_> = std::iter::from_fn(|| name(queue.pop(now))).collect();
    assert_eq!(order, ["high", "high-later", "low"]);
}

#[tokio::test(start_paused = true)]
async fn an_unschedulable_pod_waits_for_an_event_that_helps_and_for_its_back_off() {
    let (mut queue, now) = queue();
    queue.upsert(pod("p").info(), now);
    queue.upsert(pod("other").priority(-1).info(), now);
    queue.pop(now);
    queue.failed("p", Cause::Unschedulable, vec!["Waits"], &Cluster::default(), now);
    queue.happened(&Event::NodeDeleted, now);
    assert_eq!(queue.lengths().unschedulable, 1, "that did not help");

    let (cluster, gone) = (Cluster::default(), pod("gone").info());
    let helps = Event::AssignedPod { cluster: &cluster, pod: &gone, before: None, action: Action::Deleted };
    queue.happened(&helps, now);
    assert_eq!(queue.lengths().backoff, 1);
    assert_eq!(queue.next_deadline(), Some(now + SECOND));
    assert_eq!(name(queue.pop(now)).as_deref(), Some("other"), "active pods go first");
    assert_eq!(name(queue.pop(now)).as_deref(), Some("p"), "nothing better to do");
}

#[tokio::test(start_paused = true)]
async fn back_off_doubles_up_to_the_maximum() {
    let (mut queue, mut now) = queue();
    queue.upsert(pod("p").info(), now);
    for expected in [1, 2, 4, 8, 10, 10] {
        assert_eq!(name(queue.pop(now)).as_deref(), Some("p"));
        queue.failed("p", Cause::Error, Vec::new(), &Cluster::default(), now);
        assert_eq!(queue.next_deadline(), Some(now + SECOND * expected));
        assert_eq!(queue.pop(now + SECOND * expected - Duration::from_millis(1)).map(|_| ()), None);
        now += SECOND * expected;
    }
}

#[tokio::test(start_paused = true)]
async fn an_event_during_the_attempt_is_asked_about_when_it_failed() {
    let (cluster, gone) = (Cluster::default(), pod("gone").info());
    let helps = || Event::AssignedPod { cluster: &cluster, pod: &gone, before: None, action: Action::Deleted };
    let other = || Event::NodeDeleted;
    // What came before the attempt and during it, who objected, whether the pod is tried again.
    type Events<'a> = &'a [Event<'a>];
    let table: [(Events<'_>, Events<'_>, &[&'static str], bool); 6] = [
        (&[], &[helps()], &["Waits"], true),
        (&[], &[other(), helps(), other()], &["Waits"], true),
        (&[], &[other()], &["Waits"], false),
        (&[helps()], &[other()], &["Waits"], false),
        (&[], &[Event::Flush], &["Waits"], true),
        (&[], &[other()], &[], true),
    ];
    for (at, (before, during, rejected_by, again)) in table.into_iter().enumerate() {
        let (mut queue, now) = queue();
        queue.upsert(pod("other").priority(1).info(), now);
        queue.upsert(pod("p").info(), now);
        // Another one in flight has older events kept.
        queue.pop(now);
        before.iter().for_each(|event| queue.happened(event, now));
        queue.pop(now);
        during.iter().for_each(|event| queue.happened(event, now));
        queue.failed("p", Cause::Unschedulable, rejected_by.to_vec(), &cluster, now);
        let lengths = queue.lengths();
        assert_eq!((lengths.backoff, lengths.unschedulable), (usize::from(again), usize::from(!again)), "row {at}");
        queue.remove("other");
        assert!(queue.kept.is_empty() && queue.in_flight.is_empty(), "row {at}");
    }
}

#[tokio::test(start_paused = true)]
async fn events_are_kept_within_bounds() {
    let (mut queue, now) = queue();
    queue.upsert(pod("p").info(), now);
    queue.pop(now);
    for _ in 0..=MAX_KEPT {
        queue.happened(&Event::NodeDeleted, now);
    }
    assert_eq!(queue.kept.len(), MAX_KEPT);
    queue.failed("p", Cause::Unschedulable, vec!["Waits"], &Cluster::default(), now);
    assert_eq!((queue.lengths().backoff, queue.kept.len()), (1, 0), "nobody knows what was forgotten");
}

#[tokio::test(start_paused = true)]
async fn after_five_minutes_a_pod_is_tried_anyway() {
    let (mut queue, now) = queue();
    queue.upsert(pod("p").info(), now);
    queue.pop(now);
    queue.failed("p", Cause::Unschedulable, vec!["Waits"], &Cluster::default(), now);
    queue.flush(now + MAX_UNSCHEDULABLE - SECOND);
    assert_eq!(queue.lengths().unschedulable, 1);
    queue.flush(now + MAX_UNSCHEDULABLE + FLUSH_INTERVAL);
    assert_eq!(queue.lengths().active, 1);
}

#[tokio::test(start_paused = true)]
async fn gated_pods_enter_when_the_gates_are_gone() {
    let (mut queue, now) = queue();
    queue.upsert(pod("p").spec("schedulingGates: [{name: a}]").info(), now);
    assert_eq!((queue.lengths().gated, queue.pop(now).is_none()), (1, true));
    queue.upsert(pod("p").info(), now);
    assert_eq!(name(queue.pop(now)).as_deref(), Some("p"));
    assert!(queue.remove("p").is_some() && queue.lengths() == Lengths::default());
}
