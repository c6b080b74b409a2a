//! Pods and their claims: bound, unbound, late-binding and missing ones.
#![allow(clippy::unwrap_used)]
use super::*;
use crate::testing::{node, pod};

fn claim(yaml: &str) -> PersistentVolumeClaim {
    serde_saphyr::from_str(&format!("{{metadata: {{name: data, namespace: default, uid: u}}, {yaml}}}")).unwrap()
}

fn cluster(claims: Vec<PersistentVolumeClaim>, volumes: &[&str], classes: &[&str]) -> Cluster {
    let mut cluster = Cluster::default();
    cluster.upsert_node(node("n1").label("zone", "a").build());
    for claim in claims {
        let key = PodKey { namespace: Arc::from("default"), name: Arc::from(claim.metadata.name.as_str()) };
        cluster.storage.claims.insert(key, claim);
    }
    for yaml in volumes {
        let volume: PersistentVolume = serde_saphyr::from_str(yaml).unwrap();
        cluster.storage.volumes.insert(volume.metadata.name.clone(), volume);
    }
    for yaml in classes {
        let class: StorageClass = serde_saphyr::from_str(yaml).unwrap();
        cluster.storage.classes.insert(class.metadata.name.clone(), class);
    }
    cluster
}

fn outcome(cluster: &Cluster) -> Result<Vec<ClaimDecision>, String> {
    let pod = pod("p").spec("volumes: [{name: v, persistentVolumeClaim: {claimName: data}}]").info();
    Check::new(Context { pod: &pod, cluster })
        .and_then(|check| check.decide(&cluster.view(0)))
        .map_err(|rejection| rejection.reasons.join(", "))
}

#[test]
fn claims_decide_where_a_pod_can_run() {
    let waiting = "{metadata: {name: wait}, provisioner: PROVISIONER, volumeBindingMode: WaitForFirstConsumer}";
    let csi = waiting.replace("PROVISIONER", "csi.example.com");
    let none = waiting.replace("PROVISIONER", NO_PROVISIONER);
    let volume = "{metadata: {name: NAME}, spec: {storageClassName: wait, capacity: {storage: SIZE}, accessModes: \
                  [ReadWriteOnce]}, status: {phase: Available}}";
    let (small, large) = (
        volume.replace("NAME", "small").replace("SIZE", "2Gi"),
        volume.replace("NAME", "large").replace("SIZE", "9Gi"),
    );
    let unbound = "spec: {storageClassName: wait, accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}";
    let key = PodKey { namespace: Arc::from("default"), name: Arc::from("data") };
    let bound = || {
        let mut bound = claim("spec: {volumeName: pv}");
        bound.metadata.annotations.bind_completed = "yes".into();
        bound
    };
    let elsewhere = "{metadata: {name: pv}, spec: {nodeAffinity: {required: {nodeSelectorTerms: [{matchExpressions: \
                     [{key: zone, operator: In, values: [b]}]}]}}}}";
    let table = [
        (cluster(vec![], &[], &[]), Err("persistentvolumeclaim \"data\" not found")),
        (cluster(vec![claim("spec: {}")], &[], &[]), Err("pod has unbound immediate PersistentVolumeClaims")),
        (
            cluster(vec![bound()], &[], &[]),
            Err("node(s) unavailable due to one or more pvc(s) bound to non-existent pv(s)"),
        ),
        (cluster(vec![bound()], &[elsewhere], &[]), Err("node(s) didn't match PersistentVolume's node affinity")),
        (cluster(vec![bound()], &["{metadata: {name: pv}}"], &[]), Ok(vec![])),
        (cluster(vec![claim(unbound)], &[], &[&none]), Err("node(s) didn't find available persistent volumes to bind")),
        (cluster(vec![claim(unbound)], &[], &[&csi]), Ok(vec![ClaimDecision::Provision { claim: key.clone() }])),
        (
            cluster(vec![claim(unbound)], &[&large, &small], &[&none]),
            Ok(vec![ClaimDecision::Bind { claim: key, claim_uid: "u".into(), volume: "small".into() }]),
        ),
    ];
    for (cluster, expected) in table {
        assert_eq!(outcome(&cluster), expected.map_err(str::to_owned));
    }
}
