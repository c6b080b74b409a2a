//! The node's lease: renewed every ten seconds, it says that the kubelet is alive (KEP-589).
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::api::core::v1::Node;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, OwnerReference};
use kube::api::{Api, Patch, PatchParams, PostParams};

const NAMESPACE: &str = "kube-node-lease";
const DURATION_S: i32 = 40;
const RENEW_EVERY: Duration = Duration::from_secs(10);
const RETRY: Duration = Duration::from_millis(200);

fn new(node: &Node, name: &str) -> Lease {
    let owner = node.metadata.uid.clone().map(|uid| OwnerReference {
        api_version: "v1".into(),
        kind: "Node".into(),
        name: name.to_owned(),
        uid,
        ..Default::default()
    });
    Lease {
        metadata: kube::core::ObjectMeta {
            name: Some(name.to_owned()),
            namespace: Some(NAMESPACE.into()),
            owner_references: owner.map(|owner| vec![owner]),
            ..Default::default()
        },
        spec: Some(LeaseSpec {
            holder_identity: Some(name.to_owned()),
            lease_duration_seconds: Some(DURATION_S),
            renew_time: Some(MicroTime(Timestamp::now())),
            ..Default::default()
        }),
    }
}

async fn renew(client: &kube::Client, name: &str) -> kube::Result<()> {
    let leases: Api<Lease> = Api::namespaced(client.clone(), NAMESPACE);
    let spec = serde_json::json!({"spec": {
        "holderIdentity": name, "leaseDurationSeconds": DURATION_S, "renewTime": MicroTime(Timestamp::now())}});
    match leases.patch(name, &PatchParams::default(), &Patch::Merge(spec)).await {
        Err(kube::Error::Api(status)) if status.code == 404 => {
            let node = Api::<Node>::all(client.clone()).get(name).await?;
            leases.create(&PostParams::default(), &new(&node, name)).await.map(drop)
        }
        other => other.map(drop),
    }
}

/// Renew for ever.
pub(super) async fn keep(client: &kube::Client, name: &str) {
    loop {
        let pause = match renew(client, name).await {
            Ok(()) => RENEW_EVERY,
            Err(error) => {
                tracing::debug!(error = client::told(&error), "the node's lease cannot be renewed");
                RETRY
            }
        };
        tokio::time::sleep(pause).await;
    }
}
