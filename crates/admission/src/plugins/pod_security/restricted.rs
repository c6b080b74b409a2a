//! The checks the restricted level adds, by id.
use super::{
    Policy,
    baseline::explicit_seccomp,
    evaluate::{Check, Forbidden, Subject, containers, plural, quoted, set, setters},
};
use k8s_openapi::api::core::v1::Volume;

/// Sorted by id; reported after those of the baseline level.
pub(super) const CHECKS: &[(&str, Check)] = &[
    ("allowPrivilegeEscalation", allow_privilege_escalation),
    ("capabilities_restricted", capabilities),
    ("restrictedVolumes", volumes),
    ("runAsNonRoot", run_as_non_root),
    ("runAsUser", run_as_user),
    ("seccompProfile_restricted", seccomp_profile),
];

/// Baseline checks that a stricter one here stands in for.
pub(super) fn is_replaced(policy: &Policy, id: &str) -> bool {
    match id {
        "capabilities_baseline" => policy.since(22),
        "hostPathVolumes" => true,
        "seccompProfile_baseline" => policy.since(19),
        _ => false,
    }
}

fn allow_privilege_escalation(policy: &Policy, subject: &Subject<'_>) -> Option<Forbidden> {
    if !policy.since(8) || policy.since(25) && subject.is_windows() {
        return None;
    }
    let views = subject.containers();
    let bad = views.iter().filter(|v| v.security.and_then(|s| s.allow_privilege_escalation) != Some(false));
    let names: Vec<&str> = bad.map(|v| v.name).collect();
    if names.is_empty() {
        return None;
    }
    let detail = format!("{} must set securityContext.allowPrivilegeEscalation=false", containers(&names));
    Forbidden::new("allowPrivilegeEscalation != false", detail)
}

fn capabilities(policy: &Policy, subject: &Subject<'_>) -> Option<Forbidden> {
    if !policy.since(22) || policy.since(25) && subject.is_windows() {
        return None;
    }
    let (mut undropped, mut adding, mut added) = (Vec::new(), Vec::new(), Vec::new());
    let views = subject.containers();
    for view in &views {
        let dropped = view.capabilities().and_then(|c| c.drop.as_ref()).into_iter().flatten();
        if !dropped.into_iter().any(|c| c == "ALL") {
            undropped.push(view.name);
        }
        let all = view.capabilities().and_then(|c| c.add.as_ref()).into_iter().flatten();
        let wrong: Vec<&str> = all.map(String::as_str).filter(|c| *c != "NET_BIND_SERVICE").collect();
        if !wrong.is_empty() {
            adding.push(view.name);
            added.extend(wrong);
        }
    }
    let mut details = Vec::new();
    if !undropped.is_empty() {
        details.push(format!("{} must set securityContext.capabilities.drop=[\"ALL\"]", containers(&undropped)));
    }
    if !adding.is_empty() {
        let added = quoted(&set(added));
        details.push(format!("{} must not include {added} in securityContext.capabilities.add", containers(&adding)));
    }
    if details.is_empty() { None } else { Forbidden::new("unrestricted capabilities", details.join("; ")) }
}

/// The type of a volume that is not allowed; `unknown` for one without any type we know.
fn restricted_type(volume: &Volume) -> Option<&'static str> {
    let allowed = volume.config_map.is_some()
        || volume.csi.is_some()
        || volume.downward_api.is_some()
        || volume.empty_dir.is_some()
        || volume.ephemeral.is_some()
        || volume.persistent_volume_claim.is_some()
        || volume.projected.is_some()
        || volume.secret.is_some()
        || volume.image.is_some();
    if allowed {
        return None;
    }
    let types = [
        (volume.host_path.is_some(), "hostPath"),
        (volume.gce_persistent_disk.is_some(), "gcePersistentDisk"),
        (volume.aws_elastic_block_store.is_some(), "awsElasticBlockStore"),
        (volume.git_repo.is_some(), "gitRepo"),
        (volume.nfs.is_some(), "nfs"),
        (volume.iscsi.is_some(), "iscsi"),
        (volume.glusterfs.is_some(), "glusterfs"),
        (volume.rbd.is_some(), "rbd"),
        (volume.flex_volume.is_some(), "flexVolume"),
        (volume.cinder.is_some(), "cinder"),
        (volume.cephfs.is_some(), "cephfs"),
        (volume.flocker.is_some(), "flocker"),
        (volume.fc.is_some(), "fc"),
        (volume.azure_file.is_some(), "azureFile"),
        (volume.vsphere_volume.is_some(), "vsphereVolume"),
        (volume.quobyte.is_some(), "quobyte"),
        (volume.azure_disk.is_some(), "azureDisk"),
        (volume.photon_persistent_disk.is_some(), "photonPersistentDisk"),
        (volume.portworx_volume.is_some(), "portworxVolume"),
        (volume.scale_io.is_some(), "scaleIO"),
        (volume.storageos.is_some(), "storageos"),
    ];
    Some(types.iter().find(|(is, _)| *is).map_or("unknown", |(_, name)| name))
}

fn volumes(_: &Policy, subject: &Subject<'_>) -> Option<Forbidden> {
    let (mut names, mut types) = (Vec::new(), Vec::new());
    for volume in subject.spec.volumes.iter().flatten() {
        if let Some(kind) = restricted_type(volume) {
            names.push(volume.name.as_str());
            types.push(kind);
        }
    }
    if names.is_empty() {
        return None;
    }
    let types = set(types);
    let detail = format!(
        "{} {} {} {} {}",
        plural("volume", "volumes", names.len()),
        quoted(&names),
        plural("uses", "use", names.len()),
        plural("restricted volume type", "restricted volume types", types.len()),
        quoted(&types)
    );
    Forbidden::new("restricted volume types", detail)
}

fn run_as_non_root(policy: &Policy, subject: &Subject<'_>) -> Option<Forbidden> {
    if policy.since(35) && subject.has_own_users() {
        return None;
    }
    let of_pod = subject.spec.security_context.as_ref().and_then(|s| s.run_as_non_root);
    let (mut explicit, mut implicit) = (Vec::new(), Vec::new());
    let views = subject.containers();
    for view in &views {
        match view.security.and_then(|s| s.run_as_non_root) {
            Some(true) => {}
            Some(false) => explicit.push(view.name),
            None if of_pod == Some(true) => {}
            None => implicit.push(view.name),
        }
    }
    const REASON: &str = "runAsNonRoot != true";
    let pod_is_bad = of_pod == Some(false);
    if pod_is_bad || !explicit.is_empty() {
        let who = setters(pod_is_bad, &explicit);
        return Forbidden::new(REASON, format!("{who} must not set securityContext.runAsNonRoot=false"));
    }
    if implicit.is_empty() {
        return None;
    }
    Forbidden::new(REASON, format!("pod or {} must set securityContext.runAsNonRoot=true", containers(&implicit)))
}

fn run_as_user(policy: &Policy, subject: &Subject<'_>) -> Option<Forbidden> {
    if !policy.since(23) || policy.since(35) && subject.has_own_users() {
        return None;
    }
    let pod = subject.spec.security_context.as_ref().and_then(|s| s.run_as_user) == Some(0);
    let views = subject.containers();
    let bad = views.iter().filter(|v| v.security.and_then(|s| s.run_as_user) == Some(0));
    let names: Vec<&str> = bad.map(|v| v.name).collect();
    if !pod && names.is_empty() {
        return None;
    }
    Forbidden::new("runAsUser=0", format!("{} must not set runAsUser=0", setters(pod, &names)))
}

fn seccomp_profile(policy: &Policy, subject: &Subject<'_>) -> Option<Forbidden> {
    if !policy.since(19) || policy.since(25) && subject.is_windows() {
        return None;
    }
    if let Some(explicit) = explicit_seccomp(subject) {
        return Some(explicit);
    }
    let of_pod = subject.spec.security_context.as_ref().and_then(|s| s.seccomp_profile.as_ref());
    if of_pod.is_some() {
        return None;
    }
    let views = subject.containers();
    let bad = views.iter().filter(|v| v.security.and_then(|s| s.seccomp_profile.as_ref()).is_none());
    let names: Vec<&str> = bad.map(|v| v.name).collect();
    if names.is_empty() {
        return None;
    }
    let detail = format!(
        "pod or {} must set securityContext.seccompProfile.type to \"RuntimeDefault\" or \"Localhost\"",
        containers(&names)
    );
    Forbidden::new("seccompProfile", detail)
}
