//! Writes occurrences as Events, one at a time, in order.
//!
//! A server that cannot be reached is tried again for a while, as client-go does; a rejected event is dropped.
use super::{
    Occurrence,
    correlate::{Correlator, Written},
};
use k8s_openapi::{
    api::core::v1::{Event, EventSource},
    apimachinery::pkg::apis::meta::v1::Time,
};
use kube::{
    Api,
    api::{Patch, PatchParams, PostParams},
    core::ObjectMeta,
};
use serde_json::json;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

const TRIES: u32 = 12;
const RETRY: Duration = Duration::from_secs(10);

pub async fn run(client: kube::Client, mut occurrences: mpsc::Receiver<Occurrence>, shutdown: CancellationToken) {
    let mut correlator = Correlator::new();
    loop {
        let occurrence = tokio::select! {
            () = shutdown.cancelled() => break,
            occurrence = occurrences.recv() => match occurrence { Some(o) => o, None => return },
        };
        tokio::select! {
            () = shutdown.cancelled() => break,
            () = write(&client, &mut correlator, occurrence) => {}
        }
    }
    // What was recorded on the way out, such as a lost lease, is still worth a try.
    let rest = async {
        while let Ok(occurrence) = occurrences.try_recv() {
            write(&client, &mut correlator, occurrence).await;
        }
    };
    let _ = tokio::time::timeout(Duration::from_secs(1), rest).await;
}

async fn write(client: &kube::Client, correlator: &mut Correlator, occurrence: Occurrence) {
    let Some(verdict) = correlator.judge(&occurrence) else { return };
    let namespace = occurrence.object.namespace.as_deref().filter(|ns| !ns.is_empty()).unwrap_or("default");
    let events: Api<Event> = Api::namespaced(client.clone(), namespace);
    let mut repeat = verdict.repeat;
    for _ in 0..TRIES {
        let result = match &repeat {
            Some(written) => count(&events, &occurrence, &verdict.message, written).await,
            None => create(&events, &occurrence, &verdict.message, namespace).await,
        };
        match result {
            Ok(written) => return correlator.wrote(verdict.identity, written),
            // The event has expired meanwhile: the next repeat is a new one.
            Err(kube::Error::Api(status)) if status.code == 404 && repeat.is_some() => repeat = None,
            Err(kube::Error::Api(status)) if status.code != 429 && status.code < 500 => {
                tracing::debug!(reason = occurrence.reason, message = status.message, "event rejected");
                return;
            }
            Err(error) => {
                tracing::debug!(error = crate::told(&error), "event not written, trying again");
                tokio::time::sleep(RETRY.mul_f64(rand::random())).await;
            }
        }
    }
}

async fn count(
    events: &Api<Event>,
    occurrence: &Occurrence,
    message: &str,
    written: &Written,
) -> Result<Written, kube::Error> {
    let count = written.count.saturating_add(1);
    let patch = json!({ "count": count, "lastTimestamp": Time(occurrence.at), "message": message });
    events.patch(&written.name, &PatchParams::default(), &Patch::Merge(patch)).await?;
    Ok(Written { count, ..written.clone() })
}

async fn create(
    events: &Api<Event>,
    occurrence: &Occurrence,
    message: &str,
    namespace: &str,
) -> Result<Written, kube::Error> {
    let event = event(occurrence, message, namespace);
    events.create(&PostParams::default(), &event).await?;
    Ok(Written { name: event.metadata.name.unwrap_or_default(), count: 1, first: occurrence.at })
}

fn event(occurrence: &Occurrence, message: &str, namespace: &str) -> Event {
    let object = occurrence.object.name.as_deref().unwrap_or_default();
    let name = format!("{object}.{:x}", occurrence.at.as_nanosecond());
    Event {
        metadata: ObjectMeta { name: Some(name), namespace: Some(namespace.to_owned()), ..Default::default() },
        involved_object: occurrence.object.clone(),
        type_: Some(occurrence.kind.to_string()),
        reason: Some(occurrence.reason.clone()),
        message: Some(message.to_owned()),
        source: Some(EventSource {
            component: Some(occurrence.component.to_string()),
            host: Some(occurrence.host.to_string()).filter(|host| !host.is_empty()),
        }),
        reporting_component: Some(occurrence.component.to_string()),
        reporting_instance: Some(occurrence.host.to_string()),
        count: Some(1),
        first_timestamp: Some(Time(occurrence.at)),
        last_timestamp: Some(Time(occurrence.at)),
        ..Default::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::events::EventType;
    use jiff::Timestamp;
    use k8s_openapi::api::core::v1::ObjectReference;

    #[test]
    fn an_event_looks_like_upstreams() {
        let occurrence = Occurrence {
            object: ObjectReference {
                kind: Some("Pod".into()),
                namespace: Some("default".into()),
                name: Some("web".into()),
                ..Default::default()
            },
            kind: EventType::Normal,
            reason: "Pulled".into(),
            message: "Container image \"x\" already present on machine".into(),
            at: Timestamp::from_second(1_700_000_000).expect("in range"),
            component: "kubelet".into(),
            host: "node".into(),
        };
        let event = serde_json::to_value(event(&occurrence, &occurrence.message, "default")).expect("serialises");
        let expected = json!({
            "apiVersion": "v1", "kind": "Event",
            "metadata": { "name": "web.17979cfe362a0000", "namespace": "default" },
            "involvedObject": { "kind": "Pod", "namespace": "default", "name": "web" },
            "type": "Normal", "reason": "Pulled",
            "message": "Container image \"x\" already present on machine",
            "source": { "component": "kubelet", "host": "node" },
            "reportingComponent": "kubelet", "reportingInstance": "node",
            "count": 1, "firstTimestamp": "2023-11-14T22:13:20Z", "lastTimestamp": "2023-11-14T22:13:20Z",
        });
        assert_eq!(event, expected);
    }
}
