//! The pod that empties a volume, for the reclaim policy Recycle.
//!
//! Source: `NewPersistentVolumeRecyclerPodTemplate` in `pkg/volume/plugins.go`, `CalculateTimeoutForVolume` in
//! `pkg/volume/util`.
use apimachinery::quantity;
use k8s_openapi::api::core::v1::{
    Container, HostPathVolumeSource, PersistentVolume, Pod, PodSpec, Volume, VolumeMount,
};
use kube::core::ObjectMeta;

/// As in upstream's default template; another one comes from a file.
const IMAGE: &str = "registry.k8s.io/build-image/debian-base:bookworm-v1.0.6";
const SCRIPT: &str = "test -e /scrub && find /scrub -mindepth 1 -delete && test -z \"$(ls -A /scrub)\" || exit 1";
const GIB: i64 = 1 << 30;
/// The prefix of the pods' names.
pub const PREFIX: &str = "recycler-for-";
/// Where the default template's pods run.
const NAMESPACE: &str = "default";

/// How volumes of one kind are emptied.
#[derive(Clone, Debug)]
pub struct Template {
    pub pod: Pod,
    /// Seconds that emptying takes at most, whatever the size.
    pub minimum_s: i64,
    /// Seconds for each GiB.
    pub per_gib_s: i64,
}

/// How volumes are emptied.
#[derive(Clone, Debug)]
pub struct Settings {
    pub host_path: Template,
    pub nfs: Template,
}

impl Settings {
    /// The namespaces in which such pods are.
    pub fn namespaces(&self) -> [&str; 2] {
        [&self.host_path, &self.nfs].map(|template| template.pod.metadata.namespace.as_deref().unwrap_or(NAMESPACE))
    }
}

/// The pod that is used unless a file says otherwise.
pub fn default_template() -> Pod {
    let mount = VolumeMount { name: "vol".into(), mount_path: "/scrub".into(), ..VolumeMount::default() };
    let container = Container {
        name: "pv-recycler".into(),
        image: Some(IMAGE.into()),
        command: Some(vec!["/bin/sh".into()]),
        args: Some(vec!["-c".into(), SCRIPT.into()]),
        volume_mounts: Some(vec![mount]),
        ..Container::default()
    };
    let spec = PodSpec {
        active_deadline_seconds: Some(60),
        restart_policy: Some("Never".into()),
        volumes: Some(vec![Volume { name: "vol".into(), ..Volume::default() }]),
        containers: vec![container],
        ..PodSpec::default()
    };
    let metadata = ObjectMeta { namespace: Some(NAMESPACE.into()), ..ObjectMeta::default() };
    Pod { metadata, spec: Some(spec), status: None }
}

/// A template from a file's text, in YAML or JSON.
///
/// # Errors
/// It is no pod, or has no volume.
pub fn parse(text: &str) -> Result<Pod, String> {
    let value = apimachinery::codec::yaml::parse(text).map_err(|error| error.to_string())?;
    let pod: Pod = serde_json::from_value(value).map_err(|error| error.to_string())?;
    let volumes = pod.spec.as_ref().and_then(|spec| spec.volumes.as_ref());
    if volumes.is_none_or(Vec::is_empty) {
        return Err("does not contain any volume(s)".to_owned());
    }
    Ok(pod)
}

/// The pod that empties `volume`; `None`: its kind cannot be emptied.
pub fn pod(volume: &PersistentVolume, settings: &Settings) -> Option<Pod> {
    let spec = volume.spec.as_ref()?;
    let (template, source) = if let Some(source) = &spec.host_path {
        let source = HostPathVolumeSource { path: source.path.clone(), type_: None };
        (&settings.host_path, Volume { host_path: Some(source), ..Volume::default() })
    } else {
        (&settings.nfs, Volume { nfs: Some(spec.nfs.clone()?), ..Volume::default() })
    };
    let mut pod = template.pod.clone();
    pod.metadata.name = Some(format!("{PREFIX}{}", volume.metadata.name.as_deref().unwrap_or_default()));
    pod.metadata.generate_name = None;
    pod.metadata.namespace.get_or_insert_with(|| NAMESPACE.to_owned());
    let into = pod.spec.get_or_insert_default();
    into.active_deadline_seconds = Some(timeout_s(volume, template));
    if let Some(first) = into.volumes.as_mut().and_then(|volumes| volumes.first_mut()) {
        *first = Volume { name: std::mem::take(&mut first.name), ..source };
    }
    Some(pod)
}

/// Whether an existing pod empties what `wanted` would.
pub fn is_for(pod: &Pod, wanted: &Pod) -> bool {
    let source = |pod: &Pod| {
        let first = pod.spec.as_ref()?.volumes.as_ref()?.first()?.clone();
        Some((first.host_path.map(|source| source.path), first.nfs))
    };
    source(pod) == source(wanted)
}

/// Whether a pod was made from a template of ours.
pub fn is_made_here(pod: &Pod, settings: &Settings) -> bool {
    let programs = |pod: &Pod| -> Option<Vec<_>> {
        let containers = pod.spec.as_ref()?.containers.iter();
        Some(containers.map(|c| (c.name.clone(), c.image.clone(), c.command.clone(), c.args.clone())).collect())
    };
    [&settings.host_path, &settings.nfs].into_iter().any(|template| programs(&template.pod) == programs(pod))
}

fn timeout_s(volume: &PersistentVolume, template: &Template) -> i64 {
    let capacity = volume.spec.as_ref().and_then(|spec| spec.capacity.as_ref()?.get("storage"));
    let bytes = capacity.and_then(|size| quantity::of(size).ok()).map_or(0, |size| size.value());
    (bytes / GIB).saturating_mul(template.per_gib_s).max(template.minimum_s)
}
