//! Fields of features that are off in v1.36 are taken out of what is written, as if they had not been sent, unless the
//! object has such a field already.
//!
//! Source: the reference "Feature Gates"; `DropDisabledPodFields`. What is validated away instead is with its validation.
use k8s_openapi::api::core::v1::{Lifecycle, PodSpec, VolumeProjection};

/// `old`: the object's own, as it stands.
pub fn drop(new: &mut PodSpec, old: Option<&PodSpec>) {
    let unused = |used: fn(&PodSpec) -> bool| !old.is_some_and(used);
    if has_stop_signal(new) && unused(has_stop_signal) {
        lifecycles_mut(new).for_each(drop_stop_signal);
    }
    if has_trust_bundle(new) && unused(has_trust_bundle) {
        sources_mut(new).for_each(|source| source.cluster_trust_bundle = None);
    }
    if has_certificate(new) && unused(has_certificate) {
        sources_mut(new).for_each(|source| source.pod_certificate = None);
    }
    if unused(|spec| spec.scheduling_group.is_some()) {
        new.scheduling_group = None;
    }
}

/// `ContainerStopSignals`.
fn has_stop_signal(spec: &PodSpec) -> bool {
    let init = spec.init_containers.iter().flatten().map(|c| &c.lifecycle);
    let ephemeral = spec.ephemeral_containers.iter().flatten().map(|c| &c.lifecycle);
    let mut all = spec.containers.iter().map(|c| &c.lifecycle).chain(init).chain(ephemeral);
    all.any(|lifecycle| lifecycle.as_ref().is_some_and(|lifecycle| lifecycle.stop_signal.is_some()))
}

fn lifecycles_mut(spec: &mut PodSpec) -> impl Iterator<Item = &mut Option<Lifecycle>> {
    let init = spec.init_containers.iter_mut().flatten().map(|c| &mut c.lifecycle);
    let ephemeral = spec.ephemeral_containers.iter_mut().flatten().map(|c| &mut c.lifecycle);
    spec.containers.iter_mut().map(|c| &mut c.lifecycle).chain(init).chain(ephemeral)
}

/// A lifecycle that said nothing else goes too.
fn drop_stop_signal(lifecycle: &mut Option<Lifecycle>) {
    if let Some(said) = lifecycle
        && said.stop_signal.take().is_some()
        && *said == Lifecycle::default()
    {
        *lifecycle = None;
    }
}

/// `ClusterTrustBundleProjection`.
fn has_trust_bundle(spec: &PodSpec) -> bool {
    sources(spec).any(|source| source.cluster_trust_bundle.is_some())
}

/// `PodCertificateRequest`.
fn has_certificate(spec: &PodSpec) -> bool {
    sources(spec).any(|source| source.pod_certificate.is_some())
}

fn sources(spec: &PodSpec) -> impl Iterator<Item = &VolumeProjection> {
    let projected = spec.volumes.iter().flatten().filter_map(|volume| volume.projected.as_ref());
    projected.flat_map(|projected| projected.sources.iter().flatten())
}

fn sources_mut(spec: &mut PodSpec) -> impl Iterator<Item = &mut VolumeProjection> {
    let projected = spec.volumes.iter_mut().flatten().filter_map(|volume| volume.projected.as_mut());
    projected.flat_map(|projected| projected.sources.iter_mut().flatten())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use crate::kind::{Erased, Kind};
    use crate::resource::{Resource, Target};
    use k8s_openapi::api::{apps::v1::StatefulSet, core::v1::Pod};
    use serde_json::{Value, json};

    fn pod_spec(extra: &Value) -> Value {
        let mut spec = json!({
            "containers": [{
                "name": "c",
                "lifecycle": {"stopSignal": "SIGUSR1"},
            }],
            "initContainers": [{
                "name": "i",
                "lifecycle": {"stopSignal": "SIGUSR1", "preStop": {"sleep": {"seconds": 1}}},
            }],
            "volumes": [{"name": "v", "projected": {"sources": [
                {"clusterTrustBundle": {"name": "b", "path": "b.pem"}},
                {"podCertificate": {"keyType": "ED25519", "signerName": "example.com/s", "credentialBundlePath": "c.pem"}},
                {"configMap": {"name": "m"}},
            ]}}],
            "schedulingGroup": {"podGroupName": "g"},
        });
        spec.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        spec
    }

    fn written<K: Kind>(object: &Value, old: Option<&Value>) -> Value {
        let resource = Erased::<K>::new();
        let decode = |json: &Value| resource.decode_stored(&serde_json::to_vec(json).unwrap()).unwrap();
        let mut new = decode(object);
        match old {
            None => resource.prepare_create(&mut *new),
            Some(old) => resource.prepare_update(Target::Main, &mut *new, &*decode(old)),
        }
        serde_json::from_slice(&new.to_json()).unwrap()
    }

    #[test]
    fn what_is_off_is_not_kept() {
        let pod = json!({"metadata": {"name": "p"}, "spec": pod_spec(&json!({}))});
        let created = written::<Pod>(&pod, None);
        let spec = &created["spec"];
        assert_eq!(spec["containers"][0].get("lifecycle"), None);
        assert_eq!(spec["initContainers"][0]["lifecycle"], json!({"preStop": {"sleep": {"seconds": 1}}}));
        assert_eq!(spec["volumes"][0]["projected"]["sources"], json!([{}, {}, {"configMap": {"name": "m"}}]));
        assert_eq!(spec.get("schedulingGroup"), None);
        // Of another's making: it stays as it is.
        let updated = written::<Pod>(&pod, Some(&pod));
        assert_eq!(updated["spec"], pod["spec"]);
    }

    #[test]
    fn nor_in_templates() {
        let set = |unavailable: Value| {
            json!({
                "metadata": {"name": "s"},
                "spec": {
                    "selector": {},
                    "serviceName": "s",
                    "template": {"spec": pod_spec(&json!({}))},
                    "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": unavailable},
                },
            })
        };
        let with = set(json!({"partition": 0, "maxUnavailable": 2}));
        let without = set(json!({"partition": 0}));
        let created = written::<StatefulSet>(&with, None);
        assert_eq!(created["spec"]["template"]["spec"]["containers"][0].get("lifecycle"), None);
        assert_eq!(created["spec"]["updateStrategy"]["rollingUpdate"], json!({"partition": 0}));
        let updated = written::<StatefulSet>(&with, Some(&without));
        assert_eq!(updated["spec"]["updateStrategy"]["rollingUpdate"], json!({"partition": 0}));
        let updated = written::<StatefulSet>(&with, Some(&with));
        assert_eq!(updated["spec"], with["spec"]);
    }
}
