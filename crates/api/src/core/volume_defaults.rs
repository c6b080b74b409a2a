//! Defaults of volumes, in pods and in PersistentVolumes.
//!
//! Source: `pkg/apis/core/v1/defaults.go`.
use crate::{
    amounts,
    core::pod::defaults::{pull_policy, text, zero},
};
use k8s_openapi::api::core::v1::{
    AzureDiskVolumeSource, DownwardAPIVolumeFile, HostPathVolumeSource, PersistentVolumeClaimSpec, Volume,
    VolumeProjection,
};

/// Permissions of files whose volume says none: 0644.
const FILE_MODE: i32 = 0o644;

pub fn volume(volume: &mut Volume) {
    if has_no_source(volume) {
        volume.empty_dir = Some(Default::default());
    }
    if let Some(empty) = &mut volume.empty_dir
        && let Some(limit) = &mut empty.size_limit
    {
        amounts::canonicalize_one(limit);
    }
    if let Some(secret) = &mut volume.secret {
        secret.default_mode.get_or_insert(FILE_MODE);
    }
    if let Some(map) = &mut volume.config_map {
        map.default_mode.get_or_insert(FILE_MODE);
    }
    if let Some(downward) = &mut volume.downward_api {
        downward.default_mode.get_or_insert(FILE_MODE);
        downward_files(downward.items.as_deref_mut());
    }
    if let Some(projected) = &mut volume.projected {
        projected.default_mode.get_or_insert(FILE_MODE);
        projected.sources.iter_mut().flatten().for_each(projection);
    }
    if let Some(path) = &mut volume.host_path {
        host_path(path);
    }
    if let Some(claim) = volume.ephemeral.as_mut().and_then(|e| e.volume_claim_template.as_mut()) {
        claim.metadata.get_or_insert_default();
        claim_spec(&mut claim.spec);
    }
    if let Some(image) = &mut volume.image {
        let policy = pull_policy(image.reference.as_deref().unwrap_or_default());
        text(&mut image.pull_policy, policy);
    }
    remote(volume);
}

fn remote(volume: &mut Volume) {
    if let Some(iscsi) = &mut volume.iscsi {
        text(&mut iscsi.iscsi_interface, "default");
    }
    if let Some(rbd) = &mut volume.rbd {
        text(&mut rbd.pool, "rbd");
        text(&mut rbd.user, "admin");
        text(&mut rbd.keyring, "/etc/ceph/keyring");
    }
    if let Some(disk) = &mut volume.azure_disk {
        azure_disk(disk);
    }
    if let Some(scale_io) = &mut volume.scale_io {
        text(&mut scale_io.storage_mode, "ThinProvisioned");
        text(&mut scale_io.fs_type, "xfs");
    }
}

pub fn azure_disk(disk: &mut AzureDiskVolumeSource) {
    text(&mut disk.caching_mode, "ReadWrite");
    text(&mut disk.kind, "Shared");
    text(&mut disk.fs_type, "ext4");
    disk.read_only.get_or_insert(false);
}

pub fn host_path(path: &mut HostPathVolumeSource) {
    path.type_.get_or_insert_default();
}

pub fn claim_spec(spec: &mut PersistentVolumeClaimSpec) {
    text(&mut spec.volume_mode, "Filesystem");
    // Upstream's field is no pointer: it is always written.
    let resources = spec.resources.get_or_insert_default();
    amounts::canonicalize(&mut resources.requests);
    amounts::canonicalize(&mut resources.limits);
}

fn projection(source: &mut VolumeProjection) {
    if let Some(token) = &mut source.service_account_token {
        token.expiration_seconds.get_or_insert(3600);
    }
    if let Some(certificate) = &mut source.pod_certificate {
        certificate.max_expiration_seconds.get_or_insert(86_400);
    }
    if let Some(downward) = &mut source.downward_api {
        downward_files(downward.items.as_deref_mut());
    }
}

fn downward_files(files: Option<&mut [DownwardAPIVolumeFile]>) {
    for file in files.into_iter().flatten() {
        if let Some(field) = &mut file.field_ref {
            text(&mut field.api_version, "v1");
        }
        if let Some(field) = &mut file.resource_field_ref {
            field.divisor.get_or_insert_with(zero);
        }
    }
}

/// Calls the macro with every volume source there is.
macro_rules! volume_sources {
    ($volume:expr, $each:ident) => {{
        let v = $volume;
        $each!(v; empty_dir "emptyDir", host_path "hostPath", gce_persistent_disk "gcePersistentDisk",
            aws_elastic_block_store "awsElasticBlockStore", git_repo "gitRepo", secret "secret", nfs "nfs",
            iscsi "iscsi", glusterfs "glusterfs", persistent_volume_claim "persistentVolumeClaim", rbd "rbd",
            flex_volume "flexVolume", cinder "cinder", cephfs "cephfs", flocker "flocker",
            downward_api "downwardAPI", fc "fc", azure_file "azureFile", config_map "configMap",
            vsphere_volume "vsphereVolume", quobyte "quobyte", azure_disk "azureDisk",
            photon_persistent_disk "photonPersistentDisk", projected "projected", portworx_volume "portworxVolume",
            scale_io "scaleIO", storageos "storageos", csi "csi", ephemeral "ephemeral", image "image")
    }};
}

pub(crate) use volume_sources;

fn has_no_source(volume: &Volume) -> bool {
    macro_rules! none {
        ($v:ident; $($field:ident $name:literal),*) => { $($v.$field.is_none())&&* };
    }
    volume_sources!(volume, none)
}
