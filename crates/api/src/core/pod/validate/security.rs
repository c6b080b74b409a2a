//! Rules for security contexts.
use super::{check, set};
use apimachinery::{
    field::{Error, ErrorList, Path},
    validation,
};
use k8s_openapi::api::core::v1::{AppArmorProfile, PodSpec, SeccompProfile, SecurityContext};

fn user_id(id: Option<i64>, path: impl FnOnce() -> Path, errors: &mut ErrorList) {
    let Some(id) = id else { return };
    let violations = validation::is_valid_user_id(id);
    if violations.is_empty() {
        return;
    }
    let path = path();
    for violation in violations {
        errors.push(Error::invalid(&path, id, violation));
    }
}

pub fn pod(spec: &PodSpec, path: &Path, errors: &mut ErrorList) {
    if spec.share_process_namespace == Some(true) && spec.host_pid == Some(true) {
        let detail = "ShareProcessNamespace and HostPID cannot both be enabled";
        errors.push(Error::invalid(&path.child("shareProcessNamespace"), true, detail));
    }
    if spec.host_users == Some(false) {
        let shared = [(spec.host_network, "hostNetwork"), (spec.host_pid, "hostPID"), (spec.host_ipc, "hostIPC")];
        for (flag, field) in shared {
            if flag == Some(true) {
                let detail = "when `hostUsers` is false";
                errors.push(Error::forbidden(&path.child(field), detail));
            }
        }
    }
    let Some(context) = &spec.security_context else { return };
    let at = |field: &str| path.child("securityContext").child(field);
    user_id(context.run_as_user, || at("runAsUser"), errors);
    user_id(context.run_as_group, || at("runAsGroup"), errors);
    user_id(context.fs_group, || at("fsGroup"), errors);
    for (i, group) in context.supplemental_groups.iter().flatten().enumerate() {
        user_id(Some(*group), || at("supplementalGroups").index(i), errors);
    }
    let sysctls = context.sysctls.as_deref().unwrap_or_default();
    for (i, sysctl) in sysctls.iter().enumerate() {
        let at = || at("sysctls").index(i).child("name");
        if sysctl.name.is_empty() {
            errors.push(Error::required(&at(), ""));
        } else if !is_sysctl_name(&sysctl.name) {
            let detail = "must have at most 253 characters and match regex ^([a-z0-9]([-_a-z0-9]*[a-z0-9])?[\\./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?$";
            errors.push(Error::invalid(&at(), &sysctl.name, detail));
        } else if sysctls.iter().take(i).any(|s| s.name == sysctl.name) {
            errors.push(Error::duplicate(&at(), &sysctl.name));
        }
    }
    if let Some(policy) = set(&context.fs_group_change_policy).filter(|p| !matches!(*p, "OnRootMismatch" | "Always")) {
        errors.push(Error::not_supported(&at("fsGroupChangePolicy"), policy, &["Always", "OnRootMismatch"]));
    }
    if let Some(policy) = set(&context.supplemental_groups_policy).filter(|p| !matches!(*p, "Merge" | "Strict")) {
        errors.push(Error::not_supported(&at("supplementalGroupsPolicy"), policy, &["Merge", "Strict"]));
    }
    if let Some(profile) = &context.seccomp_profile {
        seccomp(profile, &at("seccompProfile"), errors);
    }
    if let Some(profile) = &context.app_armor_profile {
        app_armor(profile, &at("appArmorProfile"), errors);
    }
}

fn is_sysctl_name(name: &str) -> bool {
    let edge = |b: Option<&u8>| b.is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'_');
    name.len() <= 253
        && name.split(['.', '/']).all(|part| {
            let bytes = part.as_bytes();
            edge(bytes.first()) && edge(bytes.last()) && bytes.iter().all(|b| inner(*b))
        })
}

fn seccomp(profile: &SeccompProfile, path: &Path, errors: &mut ErrorList) {
    let local = set(&profile.localhost_profile);
    match (profile.type_.as_str(), local) {
        ("Localhost", None) => {
            let detail = "must be set when seccomp type is Localhost ";
            errors.push(Error::required(&path.child("localhostProfile"), detail));
        }
        ("RuntimeDefault" | "Unconfined", None) | ("Localhost", Some(_)) => {}
        ("RuntimeDefault" | "Unconfined", Some(local)) => {
            let detail = "can only be set when seccomp type is Localhost";
            errors.push(Error::invalid(&path.child("localhostProfile"), local, detail));
        }
        ("", _) => errors.push(Error::required(&path.child("type"), "type is required when seccompProfile is set")),
        (other, _) => {
            let known = ["Localhost", "RuntimeDefault", "Unconfined"];
            errors.push(Error::not_supported(&path.child("type"), other, &known));
        }
    }
}

fn app_armor(profile: &AppArmorProfile, path: &Path, errors: &mut ErrorList) {
    let local = set(&profile.localhost_profile);
    match (profile.type_.as_str(), local) {
        ("Localhost", None) => {
            let detail = "must be set when AppArmor type is Localhost";
            errors.push(Error::required(&path.child("localhostProfile"), detail));
        }
        ("RuntimeDefault" | "Unconfined", None) | ("Localhost", Some(_)) => {}
        ("RuntimeDefault" | "Unconfined", Some(local)) => {
            let detail = "can only be set when AppArmor type is Localhost";
            errors.push(Error::invalid(&path.child("localhostProfile"), local, detail));
        }
        ("", _) => errors.push(Error::required(&path.child("type"), "type is required when appArmorProfile is set")),
        (other, _) => {
            let known = ["Localhost", "RuntimeDefault", "Unconfined"];
            errors.push(Error::not_supported(&path.child("type"), other, &known));
        }
    }
}

pub fn container(context: &SecurityContext, path: &Path, errors: &mut ErrorList) {
    let at = |field: &str| path.child("securityContext").child(field);
    user_id(context.run_as_user, || at("runAsUser"), errors);
    user_id(context.run_as_group, || at("runAsGroup"), errors);
    if let Some(mount) = context.proc_mount.as_deref().filter(|m| !matches!(*m, "Default" | "Unmasked")) {
        errors.push(Error::not_supported(&at("procMount"), mount, &["Default", "Unmasked"]));
    }
    if let Some(profile) = &context.seccomp_profile {
        seccomp(profile, &at("seccompProfile"), errors);
    }
    if let Some(profile) = &context.app_armor_profile {
        app_armor(profile, &at("appArmorProfile"), errors);
    }
    if context.allow_privilege_escalation == Some(false) {
        if context.privileged == Some(true) {
            let detail = "cannot set `allowPrivilegeEscalation` to false and `privileged` to true";
            errors.push(Error::invalid(&path.child("securityContext"), context, detail));
        }
        let added = context.capabilities.iter().flat_map(|c| c.add.iter().flatten());
        if added.into_iter().any(|c| c == "CAP_SYS_ADMIN") {
            let detail = "cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN";
            errors.push(Error::invalid(&path.child("securityContext"), context, detail));
        }
    }
    if let Some(options) = &context.windows_options
        && let Some(name) = set(&options.gmsa_credential_spec_name)
    {
        let at = || at("windowsOptions").child("gmsaCredentialSpecName");
        check(name, validation::is_dns1123_subdomain, at, errors);
    }
}
