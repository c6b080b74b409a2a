//! Noticing what happens in the runtime: container events where it has them, else a look once a second.
//!
//! Either way only the pods concerned are woken; they look for themselves.
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use cri::v1;
use futures::StreamExt;
use tokio_util::sync::CancellationToken;

use crate::kubelet::Kubelet;
use crate::labels;

const RELIST: Duration = Duration::from_secs(1);
/// With events, a look now and then in case one was lost.
const RELIST_WITH_EVENTS: Duration = Duration::from_secs(60);
const RECONNECT: Duration = Duration::from_secs(1);

/// Runs until `shutdown`.
pub async fn run(kubelet: Arc<Kubelet>, shutdown: CancellationToken) {
    let (sender, has_events) = tokio::sync::watch::channel(false);
    tokio::select! {
        () = shutdown.cancelled() => {}
        () = events(&kubelet, sender) => {}
        () = relist(&kubelet, has_events) => {}
    }
}

async fn events(kubelet: &Kubelet, has_events: tokio::sync::watch::Sender<bool>) {
    loop {
        match kubelet.runtime.container_events().await {
            Ok(mut stream) => {
                has_events.send_replace(true);
                kubelet.pods.wake_all();
                while let Some(Ok(event)) = stream.next().await {
                    let uid = event.pod_sandbox_status.and_then(|s| s.metadata).map(|m| m.uid);
                    kubelet.pods.wake(uid.as_deref().unwrap_or_default());
                }
                has_events.send_replace(false);
            }
            Err(error) if error.is_unimplemented() => std::future::pending().await,
            Err(_) => {}
        }
        tokio::time::sleep(RECONNECT).await;
    }
}

type Snapshot = HashMap<String, (String, i32)>;

async fn relist(kubelet: &Kubelet, has_events: tokio::sync::watch::Receiver<bool>) {
    let mut last: Option<Snapshot> = None;
    loop {
        tokio::time::sleep(if *has_events.borrow() { RELIST_WITH_EVENTS } else { RELIST }).await;
        let snapshot = match snapshot(kubelet).await {
            Ok(snapshot) => snapshot,
            Err(_) => {
                // The runtime is away; what is different when it is back counts from before.
                continue;
            }
        };
        if let Some(last) = &last {
            let changed = snapshot.iter().filter(|(id, state)| last.get(*id) != Some(state)).map(|(_, (uid, _))| uid);
            let gone = last.iter().filter(|(id, _)| !snapshot.contains_key(*id)).map(|(_, (uid, _))| uid);
            let uids: std::collections::HashSet<&String> = changed.chain(gone).collect();
            uids.into_iter().for_each(|uid| kubelet.pods.wake(uid));
        }
        last = Some(snapshot);
    }
}

async fn snapshot(kubelet: &Kubelet) -> Result<Snapshot, cri::Error> {
    let (sandboxes, containers) = tokio::try_join!(
        kubelet.runtime.list_pod_sandbox(v1::PodSandboxFilter::default()),
        kubelet.runtime.list_containers(v1::ContainerFilter::default()),
    )?;
    let uid = |labels: &HashMap<String, String>| labels.get(labels::POD_UID).cloned();
    let sandboxes = sandboxes.into_iter().filter_map(|s| Some((s.id, (uid(&s.labels)?, s.state))));
    let containers = containers.into_iter().filter_map(|c| Some((c.id, (uid(&c.labels)?, c.state))));
    Ok(sandboxes.chain(containers).collect())
}
