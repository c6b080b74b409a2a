//! Claims and volumes in, plans out.
use super::{
    plan::{self, OfVolume},
    reclaim::{self, Reclaim},
    recycler::{self, Template},
};
use crate::fixtures::{object, objects};
use k8s_openapi::api::{
    core::v1::{PersistentVolume, PersistentVolumeClaim},
    storage::v1::StorageClass,
};
use std::{sync::Arc, time::Duration};

fn volume(name: &str, size: &str, rest: &str) -> String {
    format!(
        "metadata: {{name: {name}}}\nspec: {{capacity: {{storage: {size}}}, accessModes: [ReadWriteOnce]{rest}}}\n\
         status: {{phase: Available}}\n---\n"
    )
}

fn claim(annotations: &str, spec: &str) -> Arc<PersistentVolumeClaim> {
    object(&format!(
        "metadata: {{name: c, namespace: a, uid: u, annotations: {{{annotations}}}}}\n\
         spec: {{accessModes: [ReadWriteOnce], resources: {{requests: {{storage: 5Gi}}}}{spec}}}\nstatus: {{phase: Pending}}"
    ))
}

fn planned(claim: &PersistentVolumeClaim, volumes: &str, class: Option<&str>) -> String {
    let class: Option<Arc<StorageClass>> = class.map(object);
    plan::claim(claim, &objects(volumes), class.as_deref()).to_string()
}

#[test]
fn the_smallest_volume_that_will_do_is_taken() {
    let volumes = [volume("big", "50Gi", ""), volume("fit", "6Gi", ""), volume("small", "1Gi", "")].concat();
    assert_eq!(planned(&claim("", ""), &volumes, None), "replace PersistentVolume fit\n");
    let reserved = volume("mine", "70Gi", ", claimRef: {namespace: a, name: c}");
    assert_eq!(planned(&claim("", ""), &[volumes, reserved].concat(), None), "replace PersistentVolume mine\n");
}

#[test]
fn both_sides_are_written_one_after_the_other() {
    let volumes = volume("v", "6Gi", ", claimRef: {namespace: a, name: c, uid: u}");
    assert_eq!(planned(&claim("", ""), &volumes, None), "replace PersistentVolumeClaim a/c\n");
    let done = claim("pv.kubernetes.io/bind-completed: 'yes'", ", volumeName: v");
    let text = planned(&done, &volumes, None);
    let status = r#"{"accessModes":["ReadWriteOnce"],"capacity":{"storage":"6Gi"},"phase":"Bound"}"#;
    assert_eq!(text, format!("replace PersistentVolumeClaim a/c/status {status}\n"));
}

#[test]
fn what_is_missing_is_said() {
    let none =
        "event Normal FailedBinding \"no persistent volumes available for this claim and no storage class is set\"\n";
    assert_eq!(planned(&claim("", ""), "", None), none);
    let fast = claim("", ", storageClassName: fast");
    assert!(planned(&fast, "", None).contains("storageclass.storage.k8s.io \\\"fast\\\" not found"));
    let waits = "{metadata: {name: fast}, provisioner: x, volumeBindingMode: WaitForFirstConsumer}";
    let free = volume("v", "6Gi", ", storageClassName: fast");
    assert!(planned(&fast, &free, Some(waits)).contains("waiting for first consumer to be created before binding"));
    let external = "{metadata: {name: fast}, provisioner: example.com/x, volumeBindingMode: Immediate}";
    let text = planned(&fast, "", Some(external));
    assert!(text.starts_with("replace PersistentVolumeClaim") && text.contains("'example.com/x'"), "{text}");
}

#[test]
fn a_claim_without_its_volume_is_lost() {
    let bound = claim("pv.kubernetes.io/bind-completed: 'yes'", ", volumeName: v");
    let text = planned(&bound, "", None);
    assert!(text.contains("ClaimLost") && text.contains(r#""phase":"Lost""#), "{text}");
}

#[test]
fn volumes_say_what_they_are() {
    let of = |text: &str| -> Arc<PersistentVolume> { objects(text).remove(0) };
    let said = |volume: &PersistentVolume, claim: Option<&PersistentVolumeClaim>| match plan::volume(volume, claim) {
        OfVolume::Plan(plan) => plan.to_string(),
        OfVolume::Reclaim => "reclaim".to_owned(),
    };
    let reserved = ", claimRef: {namespace: a, name: c, uid: u}";
    let bound = of(&volume("v", "6Gi", reserved));
    assert!(said(&bound, None).contains(r#""phase":"Released""#));
    let mine = claim("", ", volumeName: v");
    assert!(said(&bound, Some(&mine)).contains(r#""phase":"Bound""#));
    let free = of(&volume("v", "6Gi", "").replace("Available", "Pending"));
    assert!(said(&free, None).contains(r#""phase":"Available""#));
    for phase in ["Released", "Failed"] {
        assert_eq!(said(&of(&volume("v", "6Gi", reserved).replace("Available", phase)), None), "reclaim");
    }
    // A claim that has got another volume: what was made for it goes, any other is free again.
    let other = claim("", ", volumeName: w");
    assert_eq!(said(&bound, Some(&other)), "replace PersistentVolume v\n");
    let made = volume("v", "6Gi", &format!("{reserved}, persistentVolumeReclaimPolicy: Delete"));
    let made = of(&made.replace("name: v", "name: v, annotations: {pv.kubernetes.io/provisioned-by: x.y/z}"));
    assert!(said(&made, Some(&other)).contains(r#""phase":"Released""#));
}

fn recycling() -> recycler::Settings {
    let template = |minimum_s| Template { pod: recycler::default_template(), minimum_s, per_gib_s: 30 };
    recycler::Settings { host_path: template(60), nfs: template(300) }
}

/// What becomes of a volume of claim `a/c`, with these pods in `a`, and this one that empties it.
fn reclaimed(spec: &str, annotations: &str, phase: &str, pods: &str, recycler: Option<&str>) -> String {
    let volume: Arc<PersistentVolume> = object(&format!(
        "metadata: {{name: v, uid: v, annotations: {{{annotations}}}}}\n\
         spec: {{capacity: {{storage: 5Gi}}, claimRef: {{namespace: a, name: c, uid: u}}, {spec}}}\nstatus: {{phase: {phase}}}"
    ));
    let view = reclaim::View {
        namesake: None,
        pods: objects(pods),
        recycler: recycler.map(object),
        recycling: &recycling(),
        period: Duration::from_secs(15),
    };
    match reclaim::reclaim(&volume, &view) {
        Reclaim::Plan(plan) => plan.to_string(),
        Reclaim::Remove(path) => format!("remove {path}"),
    }
}

#[test]
fn what_is_deleted_and_what_is_left_alone() {
    let delete = |source: &str, annotations: &str| {
        reclaimed(&format!("persistentVolumeReclaimPolicy: Delete, {source}"), annotations, "Released", "", None)
    };
    assert_eq!(delete("hostPath: {path: /tmp/x}", ""), "remove /tmp/x");
    assert_eq!(delete("csi: {driver: d, volumeHandle: h}", ""), "");
    assert_eq!(delete("hostPath: {path: /tmp/x}", "pv.kubernetes.io/provisioned-by: x.y/z"), "");
    assert_eq!(delete("hostPath: {path: /tmp/x}", "pv.kubernetes.io/migrated-to: x.y"), "");
    for (source, annotations, why) in [
        ("hostPath: {path: /srv/x}", "", "host_path deleter only supports /tmp/.+ but received provided /srv/x"),
        ("hostPath: {path: /tmp/}", "", "host_path deleter only supports /tmp/.+ but received provided /tmp/"),
        (
            "local: {path: /x}",
            "",
            "error getting deleter volume plugin for volume \"v\": no deletable volume plugin matched",
        ),
        (
            "hostPath: {path: /tmp/x}",
            "pv.kubernetes.io/provisioned-by: kubernetes.io/gce-pd",
            "no volume plugin matched name: kubernetes.io/gce-pd",
        ),
    ] {
        let text = delete(source, annotations);
        assert!(text.contains(&format!("event Warning VolumeFailedDelete {why:?}")), "{text}");
        assert!(text.contains(r#""phase":"Failed""#) && text.ends_with("again in 15s\n"), "{text}");
    }
    assert_eq!(reclaimed("hostPath: {path: /tmp/x}", "", "Released", "", None), "");
    // What is known is not said again, and tried again all the same.
    let again = reclaimed("persistentVolumeReclaimPolicy: Delete, local: {path: /x}", "", "Failed", "", None);
    assert_eq!(again, "again in 15s\n");
}

#[test]
fn a_pod_empties_what_is_recycled() {
    let recycle = |phase: &str, pods: &str, recycler: Option<&str>| {
        let spec = "persistentVolumeReclaimPolicy: Recycle, hostPath: {path: /tmp/x}";
        reclaimed(spec, "pv.kubernetes.io/bound-by-controller: 'yes'", phase, pods, recycler)
    };
    let pod = |path: &str, status: &str| {
        format!(
            "metadata: {{name: recycler-for-v, namespace: default, uid: r}}\n\
             spec: {{containers: [], volumes: [{{name: vol, hostPath: {{path: {path}}}}}]}}\nstatus: {{{status}}}"
        )
    };
    assert_eq!(recycle("Released", "", None), "create Pod default/recycler-for-v\n");
    assert_eq!(recycle("Released", "", Some(&pod("/tmp/x", "phase: Running"))), "");
    let done = recycle("Released", "", Some(&pod("/tmp/x", "phase: Succeeded")));
    assert_eq!(
        done,
        "event Normal VolumeRecycled \"Volume recycled\"\nreplace PersistentVolume v\ndelete Pod default/recycler-for-v\n"
    );
    let late = recycle("Released", "", Some(&pod("/tmp/x", "phase: Failed, message: too late")));
    assert!(late.contains("\"Recycle failed: failed to recycle volume: too late\""), "{late}");
    let forged = recycle("Released", "", Some(&pod("/", "phase: Succeeded")));
    assert!(forged.contains("\"Recycle failed: old recycler pod found, will retry later\""), "{forged}");
    let user = "metadata: {name: p, namespace: a}\n\
                spec: {containers: [], volumes: [{name: v, persistentVolumeClaim: {claimName: c}}]}\n";
    let used = recycle("Released", user, None);
    assert_eq!(used, "event Normal VolumeFailedRecycle \"Volume is used by pods: a/p\"\nagain in 15s\n");
    let unknown = reclaimed("persistentVolumeReclaimPolicy: Recycle, local: {path: /x}", "", "Released", "", None);
    assert!(unknown.contains("\"No recycler plugin found for the volume!\""), "{unknown}");
}

#[test]
fn large_volumes_may_take_longer() {
    let of = |size: &str| -> Option<i64> {
        let volume: Arc<PersistentVolume> = object(&format!(
            "metadata: {{name: v}}\nspec: {{capacity: {{storage: {size}}}, hostPath: {{path: /tmp/x}}}}"
        ));
        recycler::pod(&volume, &recycling())?.spec?.active_deadline_seconds
    };
    assert_eq!((of("1Gi"), of("10Gi")), (Some(60), Some(300)));
    let volume: Arc<PersistentVolume> = object("metadata: {name: v}\nspec: {hostPath: {path: /tmp/x}}");
    let mut pod = recycler::pod(&volume, &recycling()).expect("a pod");
    assert!(recycler::is_made_here(&pod, &recycling()));
    pod.spec.as_mut().expect("a spec").containers[0].image = Some("other".into());
    assert!(!recycler::is_made_here(&pod, &recycling()));
    assert!(recycler::parse("{spec: {containers: []}}").is_err());
}
