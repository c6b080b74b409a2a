//! Claims and volumes in, plans out.
use super::plan;
use crate::fixtures::{object, objects};
use k8s_openapi::api::{
    core::v1::{PersistentVolume, PersistentVolumeClaim},
    storage::v1::StorageClass,
};
use std::sync::Arc;

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
    let bound = of(&volume("v", "6Gi", ", claimRef: {namespace: a, name: c, uid: u}"));
    assert!(plan::volume(&bound, None).to_string().contains(r#""phase":"Released""#));
    let mine = claim("", ", volumeName: v");
    assert!(plan::volume(&bound, Some(&mine)).to_string().contains(r#""phase":"Bound""#));
    let free = of(&volume("v", "6Gi", "").replace("Available", "Pending"));
    assert!(plan::volume(&free, None).to_string().contains(r#""phase":"Available""#));
}
