//! What a pod refers to in the API: objects that a mirror pod must not name, and audiences of tokens it asks for.
use k8s_openapi::api::{
    core::v1::{Container, EphemeralContainer, Pod, PodSpec, Volume},
    core::v1::{PersistentVolume, PersistentVolumeClaim},
    storage::v1::CSIDriver,
};
use storage::Lookup;

fn of_container(container: &Container) -> Option<&'static str> {
    let keys = container.env.iter().flatten().filter_map(|env| env.value_from.as_ref());
    let of_keys = keys.map(|from| (from.secret_key_ref.is_some(), from.config_map_key_ref.is_some()));
    let whole = container.env_from.iter().flatten();
    let of_whole = whole.map(|from| (from.secret_ref.is_some(), from.config_map_ref.is_some()));
    let mut named = of_keys.chain(of_whole).filter_map(|refers| match refers {
        (true, _) => Some("secrets"),
        (_, true) => Some("configmaps"),
        _ => None,
    });
    named.next()
}

fn of_ephemeral(container: &EphemeralContainer) -> Option<&'static str> {
    let (env, env_from) = (container.env.clone(), container.env_from.clone());
    of_container(&Container { env, env_from, ..Container::default() })
}

fn of_volume(volume: &Volume) -> Option<&'static str> {
    let secret_of_driver = volume.azure_file.is_some()
        || volume.csi.as_ref().is_some_and(|v| v.node_publish_secret_ref.is_some())
        || volume.cephfs.as_ref().is_some_and(|v| v.secret_ref.is_some())
        || volume.flex_volume.as_ref().is_some_and(|v| v.secret_ref.is_some())
        || volume.iscsi.as_ref().is_some_and(|v| v.secret_ref.is_some())
        || volume.rbd.as_ref().is_some_and(|v| v.secret_ref.is_some())
        || volume.scale_io.is_some()
        || volume.storageos.as_ref().is_some_and(|v| v.secret_ref.is_some());
    if volume.secret.is_some() || secret_of_driver {
        return Some("secrets");
    }
    if volume.config_map.is_some() {
        return Some("configmaps");
    }
    if volume.persistent_volume_claim.is_some() || volume.ephemeral.is_some() {
        return Some("persistentvolumeclaims");
    }
    let sources = volume.projected.iter().flat_map(|p| p.sources.iter().flatten());
    let mut named = sources.filter_map(|source| {
        let kinds = [
            (source.secret.is_some(), "secrets"),
            (source.config_map.is_some(), "configmaps"),
            (source.service_account_token.is_some(), "serviceaccounts"),
            (source.cluster_trust_bundle.is_some(), "clustertrustbundles"),
            (source.pod_certificate.is_some(), "podcertificates"),
        ];
        kinds.into_iter().find_map(|(named, what)| named.then_some(what))
    });
    named.next()
}

fn of_spec(spec: &PodSpec) -> Option<&'static str> {
    let filled = |name: &Option<String>| name.as_ref().is_some_and(|n| !n.is_empty());
    if filled(&spec.service_account_name) {
        return Some("serviceaccounts");
    }
    if spec.image_pull_secrets.iter().flatten().next().is_some() {
        return Some("secrets");
    }
    let containers = spec.containers.iter().chain(spec.init_containers.iter().flatten());
    let mut of_containers =
        containers.filter_map(of_container).chain(spec.ephemeral_containers.iter().flatten().filter_map(of_ephemeral));
    if let Some(what) = of_containers.next() {
        return Some(what);
    }
    if spec.resource_claims.iter().flatten().next().is_some() {
        return Some("resourceclaims");
    }
    spec.volumes.iter().flatten().find_map(of_volume)
}

/// The resource of one object that the pod refers to; `None` when it stands alone.
pub(super) fn first(pod: &Pod) -> Option<&'static str> {
    pod.spec.as_ref().and_then(of_spec)
}

/// The CSI driver of a volume: its own, or that of the volume its claim is bound to.
fn driver(lookup: &dyn Lookup, pod: &Pod, volume: &Volume) -> Option<String> {
    if let Some(csi) = &volume.csi {
        return Some(csi.driver.clone());
    }
    let name = pod.metadata.name.as_deref().unwrap_or_default();
    let claim = match &volume.persistent_volume_claim {
        Some(claim) => claim.claim_name.clone(),
        None => volume.ephemeral.as_ref().map(|_| format!("{name}-{}", volume.name))?,
    };
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    let claim: PersistentVolumeClaim = crate::lookup::get(lookup, "persistentvolumeclaims", namespace, &claim)?;
    let volume: PersistentVolume = crate::lookup::get(lookup, "persistentvolumes", "", &claim.spec?.volume_name?)?;
    Some(volume.spec?.csi?.driver)
}

/// The audiences of the tokens that the pod's volumes ask for; `""` is the API server's own.
pub(super) fn audiences<'a>(lookup: &'a dyn Lookup, pod: &'a Pod) -> impl Iterator<Item = String> + 'a {
    let volumes = || pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
    let sources = volumes().flat_map(|v| v.projected.iter()).flat_map(|p| p.sources.iter().flatten());
    let projected = sources.filter_map(|source| source.service_account_token.as_ref());
    let projected = projected.map(|token| token.audience.clone().unwrap_or_default());
    let drivers = volumes().filter_map(move |volume| driver(lookup, pod, volume));
    let of_drivers = drivers.flat_map(move |name| {
        let driver: Option<CSIDriver> = crate::lookup::get(lookup, "csidrivers", "", &name);
        driver.into_iter().flat_map(|d| d.spec.token_requests.unwrap_or_default()).map(|t| t.audience)
    });
    projected.chain(of_drivers)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Cluster;
    use serde_json::json;

    #[test]
    fn audiences_of_projected_tokens_and_of_csi_drivers() {
        let cluster = Cluster::default()
            .with("csidrivers", json!({"metadata": {"name": "d"}, "spec": {"tokenRequests": [{"audience": "vault"}]}}))
            .with(
                "persistentvolumeclaims",
                json!({"metadata": {"name": "data", "namespace": "ns"}, "spec": {"volumeName": "pv"}}),
            )
            .with(
                "persistentvolumes",
                json!({"metadata": {"name": "pv"}, "spec": {"csi": {"driver": "d", "volumeHandle": "x"}}}),
            );
        let pod: Pod = serde_json::from_value(json!({"metadata": {"name": "p", "namespace": "ns"}, "spec": {
            "containers": [], "volumes": [
                {"name": "a", "projected": {"sources": [{"serviceAccountToken": {"path": "t"}}]}},
                {"name": "b", "projected": {"sources": [{"serviceAccountToken": {"path": "t", "audience": "x"}}]}},
                {"name": "c", "persistentVolumeClaim": {"claimName": "data"}},
                {"name": "d", "persistentVolumeClaim": {"claimName": "absent"}}]}}))
        .expect("a pod");
        assert_eq!(audiences(&cluster, &pod).collect::<Vec<_>>(), ["", "x", "vault"]);
    }
}
