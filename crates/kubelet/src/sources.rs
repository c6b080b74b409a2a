//! Where pods come from: the API, and manifests in a folder.
use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use client::Cache;
use k8s_openapi::api::core::v1::{Container, Pod, Toleration};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::{Api, DeleteParams, PostParams};
use sha2::Digest;
use tokio_util::sync::CancellationToken;

use crate::kubelet::Kubelet;
use crate::{labels, spec};

const CHECK_FILES: Duration = Duration::from_secs(2);
const MAX_MANIFEST_BYTES: u64 = 1 << 20;

/// Hands the API's pods of this node to their workers, until `shutdown`.
pub async fn watch_api(kubelet: Arc<Kubelet>, cache: Cache<Pod>, shutdown: CancellationToken) {
    let mut changes = cache.subscribe();
    let mut known: HashMap<client::Key, String> = HashMap::new();
    loop {
        let key = tokio::select! {
            () = shutdown.cancelled() => return,
            key = changes.recv() => key,
        };
        let Some(key) = key else { return };
        let pod = cache.at(&key);
        let is_mirror = pod.as_deref().is_some_and(spec::is_mirror);
        let uid = pod.as_deref().filter(|_| !is_mirror).map(|pod| spec::uid(pod).to_owned());
        if let Some(before) = known.get(&key)
            && uid.as_ref() != Some(before)
        {
            kubelet.pods.remove(&kubelet, before, None, &shutdown);
        }
        match uid {
            Some(uid) => known.insert(key.clone(), uid),
            None => known.remove(&key),
        };
        let mirror = pod.clone().filter(|_| is_mirror);
        kubelet.pods.set_mirror(&key.namespace, &key.name, mirror);
        if let Some(pod) = pod.filter(|_| !is_mirror) {
            kubelet.pods.set(&kubelet, pod, &shutdown);
        }
    }
}

/// Hands the pods of manifests to their workers and keeps their mirrors in the API, until `shutdown`.
pub async fn watch_files(
    kubelet: Arc<Kubelet>,
    path: PathBuf,
    ready: tokio::sync::oneshot::Sender<()>,
    shutdown: CancellationToken,
) {
    let mut known = Manifests::new();
    let mut ending = Manifests::new();
    let mut ready = Some(ready);
    loop {
        let found = read_all(&path, &kubelet.config.node_name);
        let busy: HashSet<String> = kubelet.pods.uids().into_iter().collect();
        ending.retain(|uid, _| busy.contains(uid));
        let plan = plan(found, &known, &ending, &kubelet.pods.mirrors());
        for pod in &plan.end {
            kubelet.pods.remove(&kubelet, spec::uid(pod), None, &shutdown);
        }
        for pod in &plan.start {
            kubelet.pods.set(&kubelet, pod.clone(), &shutdown);
        }
        ending.extend(plan.end.into_iter().map(|pod| (spec::uid(&pod).to_owned(), pod)));
        known = plan.known;
        if let Some(ready) = ready.take() {
            let _ = ready.send(());
        }
        for mirror in &plan.orphans {
            delete_mirror(&kubelet, mirror).await;
        }
        for pod in known.values() {
            keep_mirror(&kubelet, pod).await;
        }
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(CHECK_FILES) => {}
        }
    }
}

/// Pods of manifests by uid.
type Manifests = BTreeMap<String, Arc<Pod>>;

/// What a look at the manifests comes to.
#[derive(Debug, Default)]
struct Plan {
    start: Vec<Arc<Pod>>,
    end: Vec<Arc<Pod>>,
    /// Mirrors of pods that are gone.
    orphans: Vec<Arc<Pod>>,
    /// What is wanted from now on.
    known: Manifests,
}

/// As upstream, a manifest's pod starts when nothing is left of the one of its name before it, which may hold its ports;
/// and a mirror stays for as long as its pod ends.
fn plan(found: Manifests, known: &Manifests, ending: &Manifests, mirrors: &[Arc<Pod>]) -> Plan {
    let gone = known.iter().filter(|(uid, _)| !found.contains_key(*uid)).map(|(_, pod)| pod.clone());
    let mut plan = Plan { end: gone.collect(), ..Plan::default() };
    let is_named =
        |pod: &Pod, other: &Pod| (spec::namespace(pod), spec::name(pod)) == (spec::namespace(other), spec::name(other));
    let is_ending = |pod: &Pod| ending.values().chain(&plan.end).any(|other| is_named(pod, other));
    for (uid, pod) in found {
        if !known.contains_key(&uid) {
            if is_ending(&pod) {
                continue;
            }
            plan.start.push(pod.clone());
        }
        plan.known.insert(uid, pod);
    }
    let is_orphan = |mirror: &Pod| !is_ending(mirror) && !plan.known.values().any(|pod| is_named(mirror, pod));
    plan.orphans = mirrors.iter().filter(|mirror| is_orphan(mirror)).cloned().collect();
    plan
}

fn read_all(path: &Path, node: &str) -> Manifests {
    let files: Vec<PathBuf> = match path.is_dir() {
        true => std::fs::read_dir(path).into_iter().flatten().flatten().map(|e| e.path()).collect(),
        false => vec![path.to_owned()],
    };
    let mut pods = BTreeMap::new();
    for file in files {
        let hidden = file.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
        let fits = std::fs::metadata(&file).is_ok_and(|m| m.is_file() && m.len() <= MAX_MANIFEST_BYTES);
        if hidden || !fits {
            continue;
        }
        let pod =
            std::fs::read_to_string(&file).map_err(|e| e.to_string()).and_then(|text| static_pod(&text, &file, node));
        match pod {
            Ok(pod) => {
                pods.insert(spec::uid(&pod).to_owned(), Arc::new(pod));
            }
            Err(error) => tracing::warn!(file = %file.display(), %error, "cannot read a pod's manifest"),
        }
    }
    pods
}

/// The pod of a manifest, named and defaulted.
fn static_pod(text: &str, file: &Path, node: &str) -> Result<Pod, String> {
    let value = apimachinery::codec::yaml::parse(text).map_err(|e| e.to_string())?;
    if value.get("kind").and_then(|k| k.as_str()) != Some("Pod") {
        return Err("not a v1 Pod".into());
    }
    let mut pod: Pod = serde_json::from_value(value).map_err(|e| e.to_string())?;
    let name = pod.metadata.name.clone().filter(|n| !n.is_empty()).ok_or("the pod has no name")?;
    let digest = sha2::Sha256::digest(format!("{node}\n{}\n{text}", file.display()).as_bytes());
    let hash: String = digest.iter().take(16).map(|byte| format!("{byte:02x}")).collect();
    pod.metadata.name = Some(format!("{name}-{node}"));
    pod.metadata.namespace.get_or_insert_with(|| "default".into());
    pod.metadata.uid = Some(hash.clone());
    let annotations = pod.metadata.annotations.get_or_insert_default();
    annotations.insert(labels::CONFIG_HASH.into(), hash);
    annotations.insert(labels::CONFIG_SOURCE.into(), "file".into());
    let spec = pod.spec.get_or_insert_default();
    spec.node_name = Some(node.to_owned());
    spec.restart_policy.get_or_insert_with(|| "Always".into());
    spec.dns_policy.get_or_insert_with(|| "ClusterFirst".into());
    spec.termination_grace_period_seconds.get_or_insert(30);
    spec.tolerations.get_or_insert_default().push(Toleration {
        operator: Some("Exists".into()),
        effect: Some("NoExecute".into()),
        ..Default::default()
    });
    spec.containers.iter_mut().chain(spec.init_containers.iter_mut().flatten()).for_each(default_container);
    Ok(pod)
}

fn default_container(container: &mut Container) {
    container.termination_message_path.get_or_insert_with(|| "/dev/termination-log".into());
    container.termination_message_policy.get_or_insert_with(|| "File".into());
    let image = container.image.as_deref().unwrap_or_default();
    let tag = image.rsplit('/').next().unwrap_or_default();
    let latest = !tag.contains([':', '@']) || tag.ends_with(":latest");
    container.image_pull_policy.get_or_insert_with(|| if latest { "Always".into() } else { "IfNotPresent".into() });
}

/// Creates the mirror, or replaces that of an older manifest.
async fn keep_mirror(kubelet: &Kubelet, pod: &Pod) {
    let Some(client) = &kubelet.client else { return };
    let hash = spec::annotation(pod, labels::CONFIG_HASH);
    if let Some(mirror) = kubelet.pods.mirror(pod) {
        let same =
            spec::annotation(&mirror, labels::CONFIG_MIRROR) == hash && mirror.metadata.deletion_timestamp.is_none();
        if same {
            return;
        }
        delete_mirror(kubelet, pod).await;
    }
    let Some(node) = kubelet.node.as_ref().and_then(|nodes| nodes.get("", &kubelet.config.node_name)) else { return };
    let mut mirror = pod.clone();
    mirror.metadata.uid = None;
    mirror.metadata.owner_references = Some(vec![OwnerReference {
        api_version: "v1".into(),
        kind: "Node".into(),
        name: kubelet.config.node_name.clone(),
        uid: node.metadata.uid.clone().unwrap_or_default(),
        controller: Some(true),
        block_owner_deletion: None,
    }]);
    if let (Some(annotations), Some(hash)) = (&mut mirror.metadata.annotations, hash) {
        annotations.insert(labels::CONFIG_MIRROR.into(), hash.to_owned());
    }
    let api = Api::<Pod>::namespaced(client.clone(), spec::namespace(pod));
    match api.create(&PostParams::default(), &mirror).await {
        Ok(made) => {
            kubelet.pods.set_mirror(spec::namespace(pod), spec::name(pod), Some(Arc::new(made)));
            kubelet.pods.wake(spec::uid(pod));
        }
        Err(kube::Error::Api(status)) if status.code == 409 => {}
        Err(error) => {
            tracing::warn!(pod = %spec::describe(pod), error = client::told(&error), "cannot create a static pod's mirror")
        }
    }
}

async fn delete_mirror(kubelet: &Kubelet, pod: &Pod) {
    let Some(client) = &kubelet.client else { return };
    let api = Api::<Pod>::namespaced(client.clone(), spec::namespace(pod));
    match api.delete(spec::name(pod), &DeleteParams::default().grace_period(0)).await {
        Ok(_) | Err(kube::Error::Api(_)) => kubelet.pods.set_mirror(spec::namespace(pod), spec::name(pod), None),
        Err(error) => {
            tracing::warn!(pod = %spec::describe(pod), error = client::told(&error), "cannot delete a static pod's mirror")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mirror_and_a_successor_wait_for_the_pod_to_end() {
        let pod = |uid: &str, name: &str| {
            let mut pod = Pod::default();
            (pod.metadata.uid, pod.metadata.name) = (Some(uid.into()), Some(name.into()));
            Arc::new(pod)
        };
        let set = |list: &[(&str, &str)]| list.iter().map(|(u, n)| ((*u).to_owned(), pod(u, n))).collect::<Manifests>();
        let uids = |pods: &[Arc<Pod>]| pods.iter().map(|pod| spec::uid(pod).to_owned()).collect::<Vec<_>>().join(" ");
        type Pods<'a> = &'a [(&'a str, &'a str)];
        // Found, known, ending; started, ended, orphans among the mirrors `m` of web and `n` of db.
        let table: [(Pods<'_>, Pods<'_>, Pods<'_>, &str, &str, &str); 6] = [
            (&[("1", "web"), ("2", "db")], &[], &[], "1 2", "", ""),
            (&[("1", "web")], &[("1", "web"), ("2", "db")], &[], "", "2", ""),
            (&[("1", "web")], &[("1", "web")], &[("2", "db")], "", "", ""),
            (&[("1", "web")], &[("1", "web")], &[], "", "", "n"),
            (&[("2", "db"), ("3", "web")], &[("1", "web"), ("2", "db")], &[], "", "1", ""),
            (&[("2", "db"), ("3", "web")], &[("2", "db")], &[], "3", "", ""),
        ];
        let mirrors = [pod("m", "web"), pod("n", "db")];
        for (at, (found, known, ending, start, end, orphans)) in table.into_iter().enumerate() {
            let plan = plan(set(found), &set(known), &set(ending), &mirrors);
            let got = (uids(&plan.start), uids(&plan.end), uids(&plan.orphans));
            assert_eq!(got, (start.into(), end.into(), orphans.into()), "row {at}");
        }
    }

    #[test]
    fn manifests_become_pods() {
        let text = "apiVersion: v1\nkind: Pod\nmetadata: {name: web}\nspec: {containers: [{name: a, image: b}]}\n";
        let pod = static_pod(text, Path::new("/m/web.yaml"), "n1").expect("valid");
        assert_eq!((spec::name(&pod), spec::namespace(&pod)), ("web-n1", "default"));
        assert!(spec::is_static(&pod));
        assert_eq!(spec::spec(&pod).containers[0].image_pull_policy.as_deref(), Some("Always"));
        let changed =
            static_pod(&text.replace("image: b", "image: c:1"), Path::new("/m/web.yaml"), "n1").expect("valid");
        assert_ne!(spec::uid(&pod), spec::uid(&changed));
        assert!(static_pod("kind: Service", Path::new("x"), "n").is_err());
    }
}
