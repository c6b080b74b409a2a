//! The volumes of a pod: made before its containers start, kept up to date while they run, taken away after.
//!
//! Making is idempotent: what is there from before a restart is left as it is, mounts included. Paths are
//! upstream's, `<root>/pods/<uid>/volumes/<plugin>/<name>`.
pub mod atomic;
pub mod claim;
pub mod content;
pub mod host_path;
pub mod subpath;

use std::collections::HashMap;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use k8s_openapi::api::core::v1::{Pod, Volume};

use crate::spec;
use claim::Failure;
use content::Source;

/// Where a volume lies on the host, by its name.
pub type Mounted = HashMap<String, PathBuf>;

/// `<root>/pods/<uid>`.
pub fn pod_dir(root: &Path, uid: &str) -> PathBuf {
    root.join("pods").join(uid)
}

fn volume_dir(root: &Path, uid: &str, plugin: &str, name: &str) -> PathBuf {
    pod_dir(root, uid).join("volumes").join(format!("kubernetes.io~{plugin}")).join(name)
}

/// Where a volume of that kind lies that the kubelet makes itself.
pub fn place(root: &Path, uid: &str, volume: &Volume) -> PathBuf {
    volume_dir(root, uid, plugin(volume), &volume.name)
}

/// Makes all volumes of a pod, or brings their content up to date.
///
/// # Errors
/// The text of a `FailedMount` event for each volume that cannot be made.
pub async fn set_up(root: &Path, source: &Source<'_>) -> Result<Mounted, Vec<String>> {
    let (mut mounted, mut failures) = (Mounted::new(), Vec::new());
    for volume in spec::spec(source.pod).volumes.iter().flatten() {
        match one(root, source, volume).await {
            Ok(path) => drop(mounted.insert(volume.name.clone(), path)),
            Err(failure) => failures.push(failure.text(&volume.name)),
        }
    }
    if failures.is_empty() { Ok(mounted) } else { Err(failures) }
}

/// Whether a pod has volumes whose content may change.
pub fn is_refreshed(pod: &Pod) -> bool {
    let volumes = spec::spec(pod).volumes.iter().flatten();
    volumes
        .into_iter()
        .any(|v| v.config_map.is_some() || v.secret.is_some() || v.downward_api.is_some() || v.projected.is_some())
}

async fn one(root: &Path, source: &Source<'_>, volume: &Volume) -> Result<PathBuf, Failure> {
    let uid = spec::uid(source.pod);
    let context = spec::spec(source.pod).security_context.as_ref();
    let group = context.and_then(|c| c.fs_group).and_then(|group| u32::try_from(group).ok());
    if let Some(host) = &volume.host_path {
        host_path::check(&host.path, host.type_.as_deref().unwrap_or_default())?;
        return Ok(PathBuf::from(&host.path));
    }
    if let Some(name) = claim::claim_name(source.pod, volume) {
        return claim::set_up(source.objects, source.pod, volume, &name, group).await;
    }
    let text = |e: io::Error| Failure::SetUp(e.to_string());
    if let Some(empty) = &volume.empty_dir {
        let dir = volume_dir(root, uid, "empty-dir", &volume.name);
        let medium = empty.medium.as_deref().unwrap_or_default();
        let size = empty.size_limit.as_ref().and_then(|q| apimachinery::quantity::of(q).ok()).map(|q| q.value());
        empty_dir(&dir, medium, size, group).map_err(text)?;
        return Ok(dir);
    }
    let plugin = plugin(volume);
    if let Some(files) = content::files(source, volume).await {
        let dir = volume_dir(root, uid, plugin, &volume.name);
        let files = files?;
        // Secrets, tokens and what pods are told about themselves never touch the disk.
        match volume.config_map.is_some() {
            true => make_dir(&dir, 0o777).map_err(text)?,
            false => empty_dir(&dir, "Memory", None, None).map_err(text)?,
        }
        atomic::write(&dir, &files, group).map_err(text)?;
        return Ok(dir);
    }
    Err(Failure::SetUp(format!("{plugin} volumes are not yet supported by this kubelet")))
}

fn plugin(volume: &Volume) -> &'static str {
    match volume {
        v if v.empty_dir.is_some() => "empty-dir",
        v if v.config_map.is_some() => "configmap",
        v if v.secret.is_some() => "secret",
        v if v.downward_api.is_some() => "downward-api",
        v if v.projected.is_some() => "projected",
        v if v.csi.is_some() => "csi",
        v if v.nfs.is_some() => "nfs",
        v if v.image.is_some() => "image",
        _ => "such",
    }
}

fn make_dir(dir: &Path, mode: u32) -> io::Result<()> {
    std::fs::create_dir_all(dir)?;
    std::fs::set_permissions(dir, std::fs::Permissions::from_mode(mode))
}

fn empty_dir(dir: &Path, medium: &str, size: Option<i64>, group: Option<u32>) -> io::Result<()> {
    if dir.is_dir() && (medium != "Memory" || is_mount_point(dir)) {
        return Ok(());
    }
    make_dir(dir, 0o777)?;
    if medium == "Memory" {
        let size = size.filter(|s| *s > 0).map(|s| format!("size={s}")).unwrap_or_default();
        let data = std::ffi::CString::new(size).map_err(io::Error::other)?;
        rustix::mount::mount("tmpfs", dir, "tmpfs", rustix::mount::MountFlags::empty(), Some(data.as_c_str()))?;
        std::fs::set_permissions(dir, std::fs::Permissions::from_mode(0o777))?;
    }
    if let Some(group) = group {
        std::os::unix::fs::chown(dir, None, Some(group))?;
        // New files belong to the group of the folder.
        std::fs::set_permissions(dir, std::fs::Permissions::from_mode(0o2777))?;
    }
    Ok(())
}

/// Whether something is mounted exactly there.
pub fn is_mount_point(dir: &Path) -> bool {
    let Ok(canonical) = dir.canonicalize() else { return false };
    mounts_under(&canonical).iter().any(|mount| mount == &canonical)
}

/// Mount points at or below `dir`, deepest first.
fn mounts_under(dir: &Path) -> Vec<PathBuf> {
    let table = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let points = table.lines().filter_map(|line| line.split(' ').nth(4)).map(|path| PathBuf::from(unescape(path)));
    let mut found: Vec<PathBuf> = points.filter(|path| path.starts_with(dir)).collect();
    found.sort_by_key(|path| std::cmp::Reverse(path.as_os_str().len()));
    found
}

/// The kernel writes blanks in mount points as `\040`.
fn unescape(text: &str) -> String {
    text.replace("\\040", " ").replace("\\011", "\t").replace("\\012", "\n").replace("\\134", "\\")
}

/// Takes a pod's folder away: unmounts what is mounted below, then removes it without leaving that file system.
///
/// # Errors
/// Something stays mounted or cannot be removed; trying again later is safe.
pub fn tear_down(root: &Path, uid: &str) -> io::Result<()> {
    let dir = pod_dir(root, uid);
    if uid.is_empty() || !dir.exists() {
        return Ok(());
    }
    let canonical = dir.canonicalize()?;
    for mount in mounts_under(&canonical) {
        rustix::mount::unmount(&mount, rustix::mount::UnmountFlags::DETACH)?;
    }
    if let Some(left) = mounts_under(&canonical).first() {
        return Err(io::Error::other(format!("{} is still mounted", left.display())));
    }
    std::fs::remove_dir_all(&dir)
}
