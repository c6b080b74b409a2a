//! Having a container's image here: pull policy, credentials, back-off, and the words for each outcome.
use std::collections::{BTreeMap, HashMap};
use std::time::Instant;

use base64::Engine;
use cri::{Runtime, v1};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, Pod, Secret};
use parking_lot::Mutex;

use crate::backoff::{Backoff, go_seconds};
use crate::objects::Objects;
use crate::spec;

/// Pulls at one time; more wait.
const PARALLEL_PULLS: usize = 5;

/// An image could not be had: `reason` is the container's waiting reason, `message` its message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    pub reason: &'static str,
    pub message: String,
}

/// An image to be had for a container.
pub struct Wanted<'a> {
    pub pod: &'a Pod,
    pub container: &'a Container,
    pub sandbox: &'a v1::PodSandboxConfig,
    /// Tells an event: whether it is a warning, its reason, its message.
    pub tell: &'a (dyn Fn(bool, &str, String) + Send + Sync),
    pub now: Timestamp,
}

/// Pulls images, remembering what failed lately.
pub struct Images {
    backoff: Mutex<Backoff>,
    /// What the last pull failed with, of the keys in `backoff`.
    last: Mutex<HashMap<String, String>>,
    pulls: tokio::sync::Semaphore,
}

impl Default for Images {
    fn default() -> Self {
        Images { backoff: Mutex::default(), last: Mutex::default(), pulls: tokio::sync::Semaphore::new(PARALLEL_PULLS) }
    }
}

/// `tag` defaults to `latest`; a name without a registry belongs to docker.io.
pub fn normalize(image: &str) -> Result<String, String> {
    let invalid = || format!("couldn't parse image name \"{image}\": invalid reference format");
    let (path, digest) = image.split_once('@').map_or((image, None), |(path, digest)| (path, Some(digest)));
    let last_slash = path.rfind('/').map_or(0, |at| at + 1);
    let (name, tag) = match path[last_slash..].rfind(':') {
        Some(at) => (&path[..last_slash + at], Some(&path[last_slash + at + 1..])),
        None => (path, None),
    };
    let (registry, repository) = match name.split_once('/') {
        Some((first, rest)) if first.contains(['.', ':']) || first == "localhost" => {
            (first.to_owned(), rest.to_owned())
        }
        Some(_) => ("docker.io".to_owned(), name.to_owned()),
        None => ("docker.io".to_owned(), format!("library/{name}")),
    };
    let part_ok = |part: &str| {
        let edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
        let inner = part.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "._-".contains(c));
        inner && edge(part.chars().next()) && edge(part.chars().last())
    };
    if repository.is_empty()
        || !repository.split('/').all(part_ok)
        || tag.is_some_and(|t| t.is_empty() || t.len() > 128)
    {
        if repository.chars().any(|c| c.is_ascii_uppercase()) {
            return Err(format!(
                "couldn't parse image name \"{image}\": invalid reference format: repository name ({repository}) must be lowercase"
            ));
        }
        return Err(invalid());
    }
    if tag.is_some_and(|t| !t.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c))) {
        return Err(invalid());
    }
    let mut full = format!("{registry}/{repository}");
    match (tag, digest) {
        (Some(tag), _) => full.push_str(&format!(":{tag}")),
        (None, None) => full.push_str(":latest"),
        _ => {}
    }
    if let Some(digest) = digest {
        full.push_str(&format!("@{digest}"));
    }
    Ok(full)
}

impl Images {
    /// Makes sure the image of `container` is here; returns the reference containers are made from.
    ///
    /// # Errors
    /// The container's waiting reason and message.
    pub async fn ensure(
        &self,
        runtime: &dyn Runtime,
        objects: &Objects,
        wanted: &Wanted<'_>,
    ) -> Result<v1::Image, Failure> {
        let Wanted { container, tell, now, .. } = wanted;
        let image = container.image.as_deref().unwrap_or_default();
        let full = normalize(image).map_err(|message| {
            let message = format!("Failed to apply default image tag \"{image}\": {message}");
            tell(true, "InspectFailed", message.clone());
            Failure { reason: "InvalidImageName", message }
        })?;
        let present = runtime.image_status(&full).await.map_err(|error| {
            let message = format!("Failed to inspect image \"{image}\": {error}");
            tell(true, "InspectFailed", message.clone());
            Failure { reason: "ImageInspectError", message }
        })?;
        let policy = container.image_pull_policy.as_deref().unwrap_or("IfNotPresent");
        match (policy, present) {
            ("IfNotPresent" | "Never", Some(found)) => {
                tell(
                    false,
                    "Pulled",
                    format!("Container image \"{image}\" already present on machine and can be accessed by the pod"),
                );
                return Ok(found);
            }
            ("Never", None) => {
                let message = format!("Container image \"{image}\" is not present with pull policy of Never");
                tell(true, "ErrImageNeverPull", message.clone());
                return Err(Failure { reason: "ErrImageNeverPull", message });
            }
            _ => {}
        }
        let key = format!("{}_{image}", spec::uid(wanted.pod));
        if self.still_waits(&key, *now) {
            let mut message = format!("Back-off pulling image \"{image}\"");
            tell(false, "BackOff", message.clone());
            if let Some(last) = self.last.lock().get(&key) {
                message.push_str(&format!(": {last}"));
            }
            return Err(Failure { reason: "ImagePullBackOff", message });
        }
        self.pull(runtime, objects, wanted, &full, &key).await
    }

    /// Whether the delay since the last failure has not passed yet.
    fn still_waits(&self, key: &str, now: Timestamp) -> bool {
        self.backoff.lock().since_update(key, now).is_some_and(|(since, delay)| since < delay)
    }

    async fn pull(
        &self,
        runtime: &dyn Runtime,
        objects: &Objects,
        wanted: &Wanted<'_>,
        full: &str,
        key: &str,
    ) -> Result<v1::Image, Failure> {
        let Wanted { pod, container, sandbox, tell, .. } = wanted;
        let image = container.image.as_deref().unwrap_or_default();
        tell(false, "Pulling", format!("Pulling image \"{image}\""));
        let asked = Instant::now();
        let _permit = self.pulls.acquire().await;
        let began = Instant::now();
        let mut last: Result<String, cri::Error> =
            Err(cri::Error::Malformed { method: "PullImage", missing: "attempt" });
        let mut auths: Vec<Option<v1::AuthConfig>> =
            credentials(objects, pod, full).await.into_iter().map(Some).collect();
        if auths.is_empty() {
            auths.push(None);
        }
        for auth in auths {
            last = runtime.pull_image(full, auth, Some((*sandbox).clone())).await;
            if last.is_ok() {
                break;
            }
        }
        let now = Timestamp::now();
        match last {
            Ok(reference) => {
                self.backoff.lock().reset(key);
                self.last.lock().remove(key);
                let found = runtime.image_status(full).await.ok().flatten();
                let size = found.as_ref().map_or(0, |f| f.size);
                tell(
                    false,
                    "Pulled",
                    format!(
                        "Successfully pulled image \"{image}\" in {} ({} including waiting). Image size: {size} bytes.",
                        rounded(began),
                        rounded(asked)
                    ),
                );
                Ok(found.unwrap_or(v1::Image { id: reference, ..Default::default() }))
            }
            Err(error) => {
                self.backoff.lock().next(key, now, now);
                self.last.lock().insert(key.to_owned(), format!("ErrImagePull: {error}"));
                let message = format!("Failed to pull image \"{image}\": {error}");
                tell(true, "Failed", message);
                Err(Failure { reason: "ErrImagePull", message: error.to_string() })
            }
        }
    }

    /// When a failed pull of this pod may be tried again.
    pub fn wait(&self, pod: &Pod, image: &str, now: Timestamp) -> Option<std::time::Duration> {
        let key = format!("{}_{image}", spec::uid(pod));
        self.backoff.lock().since_update(&key, now).map(|(since, delay)| delay.saturating_sub(since))
    }

    /// Forgets failures that are long past.
    pub fn sweep(&self, now: Timestamp) {
        let mut backoff = self.backoff.lock();
        backoff.sweep(now);
        self.last.lock().retain(|key, _| backoff.since_update(key, now).is_some());
    }
}

fn rounded(since: Instant) -> String {
    let millis = u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX);
    go_seconds(std::time::Duration::from_millis(millis))
}

/// The credentials of the pod's imagePullSecrets that fit the image's registry.
async fn credentials(objects: &Objects, pod: &Pod, full: &str) -> Vec<v1::AuthConfig> {
    let mut all = Vec::new();
    for reference in spec::spec(pod).image_pull_secrets.iter().flatten() {
        match objects.secret(spec::namespace(pod), &reference.name).await {
            Ok(secret) => all.extend(of_secret(&secret, full)),
            Err(error) => {
                tracing::warn!(pod = %spec::describe(pod), secret = %reference.name, %error, "unable to retrieve pull secret; the image pull may not succeed")
            }
        }
    }
    all
}

#[derive(serde::Deserialize, Default)]
#[serde(default)]
struct Entry {
    username: String,
    password: String,
    auth: String,
    identitytoken: String,
    registrytoken: String,
}

fn of_secret(secret: &Secret, full: &str) -> Vec<v1::AuthConfig> {
    #[derive(serde::Deserialize)]
    struct File {
        auths: BTreeMap<String, Entry>,
    }
    let data = secret.data.as_ref();
    let get = |key: &str| data.and_then(|d| d.get(key)).map(|bytes| bytes.0.as_slice());
    let entries: BTreeMap<String, Entry> = if let Some(json) = get(".dockerconfigjson") {
        serde_json::from_slice::<File>(json).map(|f| f.auths).unwrap_or_default()
    } else if let Some(json) = get(".dockercfg") {
        serde_json::from_slice(json).unwrap_or_default()
    } else {
        return Vec::new();
    };
    let mut fitting: Vec<(String, Entry)> = entries.into_iter().filter(|(registry, _)| fits(registry, full)).collect();
    // The longest, most specific entry first.
    fitting.sort_by_key(|(registry, _)| std::cmp::Reverse(registry.len()));
    fitting.into_iter().map(|(registry, entry)| auth(registry, entry)).collect()
}

fn auth(registry: String, entry: Entry) -> v1::AuthConfig {
    let (mut username, mut password) = (entry.username, entry.password);
    if username.is_empty()
        && let Ok(bytes) = base64::engine::general_purpose::STANDARD.decode(entry.auth.trim())
        && let Some((user, secret)) = String::from_utf8_lossy(&bytes).split_once(':')
    {
        (username, password) = (user.to_owned(), secret.to_owned());
    }
    v1::AuthConfig {
        username,
        password,
        server_address: registry,
        identity_token: entry.identitytoken,
        registry_token: entry.registrytoken,
        ..Default::default()
    }
}

/// Whether a registry of a docker configuration is the image's; `*` stands for one part of the host.
fn fits(registry: &str, full: &str) -> bool {
    let bare = registry.trim_start_matches("https://").trim_start_matches("http://");
    let (host, path) = bare.split_once('/').unwrap_or((bare, ""));
    let host = if host == "index.docker.io" { "docker.io" } else { host };
    let path = if path.starts_with("v1") || path.starts_with("v2") { "" } else { path };
    let (image_host, image_path) = full.split_once('/').unwrap_or((full, ""));
    let (parts, image_parts): (Vec<&str>, Vec<&str>) = (host.split('.').collect(), image_host.split('.').collect());
    let same = parts.len() == image_parts.len() && parts.iter().zip(&image_parts).all(|(a, b)| a == b || *a == "*");
    same && image_path.starts_with(path.trim_end_matches('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for (image, want) in [
            ("nginx", Some("docker.io/library/nginx:latest")),
            ("a/b:1", Some("docker.io/a/b:1")),
            ("reg.io:5000/a", Some("reg.io:5000/a:latest")),
            ("localhost/a", Some("localhost/a:latest")),
            ("a@sha256:00", Some("docker.io/library/a@sha256:00")),
            ("", None),
            ("A", None),
            ("a:", None),
            ("a b", None),
            ("-a", None),
        ] {
            assert_eq!(normalize(image).ok().as_deref(), want, "{image}");
        }
    }

    #[test]
    fn registries() {
        for (registry, image, want) in [
            ("https://index.docker.io/v1/", "docker.io/library/a:1", true),
            ("*.example.com", "reg.example.com/a:1", true),
            ("example.com", "reg.example.com/a:1", false),
            ("reg.io/team", "reg.io/team/a:1", true),
            ("reg.io/team", "reg.io/other/a:1", false),
        ] {
            assert_eq!(fits(registry, image), want, "{registry} {image}");
        }
    }
}
