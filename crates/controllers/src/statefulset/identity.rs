//! What makes a pod of a StatefulSet that pod: its name, its labels, its claims.
use crate::{pods, runtime::owners};
use client::Key;
use k8s_openapi::api::{
    apps::v1::{StatefulSet, StatefulSetSpec},
    core::v1::{PersistentVolumeClaim, PersistentVolumeClaimVolumeSource, Pod, PodTemplateSpec, Volume},
};

/// Label of a pod that names the revision it was made of.
pub const REVISION_LABEL: &str = "controller-revision-hash";
const NAME_LABEL: &str = "statefulset.kubernetes.io/pod-name";
const INDEX_LABEL: &str = "apps.kubernetes.io/pod-index";

/// The number at the end of a pod's name, if it is one of this set's names.
pub fn ordinal(set: &StatefulSet, pod: &Pod) -> Option<i32> {
    let name = pod.metadata.name.as_deref()?;
    let (parent, number) = name.rsplit_once('-')?;
    (Some(parent) == set.metadata.name.as_deref()).then(|| number.parse().ok())?
}

/// The revision a pod was made of.
pub fn revision(pod: &Pod) -> &str {
    pods::labels(&pod.metadata).get(REVISION_LABEL).map_or("", String::as_str)
}

fn claim_name(set: &str, template: &PersistentVolumeClaim, ordinal: i32) -> String {
    format!("{}-{set}-{ordinal}", template.metadata.name.as_deref().unwrap_or_default())
}

/// The claims of the pod `ordinal`.
pub fn claims(set: &StatefulSet, spec: &StatefulSetSpec, ordinal: i32) -> Vec<PersistentVolumeClaim> {
    let key = Key::of(set);
    let claims = spec.volume_claim_templates.iter().flatten().map(|template| {
        let mut claim = template.clone();
        claim.metadata.name = Some(claim_name(&key.name, template, ordinal));
        claim.metadata.namespace = set.metadata.namespace.clone();
        let labels = claim.metadata.labels.get_or_insert_default();
        labels.extend(spec.selector.match_labels.clone().unwrap_or_default());
        claim.status = None;
        claim
    });
    claims.collect()
}

/// The pod `ordinal` of `template`.
pub fn pod(set: &StatefulSet, spec: &StatefulSetSpec, template: &PodTemplateSpec, revision: &str, ordinal: i32) -> Pod {
    let key = Key::of(set);
    let name = format!("{}-{ordinal}", key.name);
    let mut pod = pods::from_template(template, &key.namespace, owners::controller_reference(set));
    pod.metadata.generate_name = None;
    pod.metadata.name = Some(name.clone());
    let labels = pod.metadata.labels.get_or_insert_default();
    labels.insert(NAME_LABEL.to_owned(), name.clone());
    labels.insert(INDEX_LABEL.to_owned(), ordinal.to_string());
    labels.insert(REVISION_LABEL.to_owned(), revision.to_owned());
    let pod_spec = pod.spec.get_or_insert_default();
    pod_spec.hostname = Some(name);
    pod_spec.subdomain.clone_from(&spec.service_name);
    let templates = spec.volume_claim_templates.iter().flatten();
    let own: Vec<Volume> = templates
        .map(|template| Volume {
            name: template.metadata.name.clone().unwrap_or_default(),
            persistent_volume_claim: Some(PersistentVolumeClaimVolumeSource {
                claim_name: claim_name(&key.name, template, ordinal),
                read_only: Some(false),
            }),
            ..Default::default()
        })
        .collect();
    if !own.is_empty() {
        let volumes = pod_spec.volumes.get_or_insert_default();
        volumes.retain(|volume| !own.iter().any(|other| other.name == volume.name));
        volumes.extend(own);
    }
    pod
}
