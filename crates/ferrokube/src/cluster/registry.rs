//! A read-only image registry on loopback that holds our own images.
//!
//! They are loaded at start already; but `:latest` asks for a pull by default, and `kubectl create deployment
//! --image=ferrokube.local/hello:latest` has to work where no registry can be reached. The runtime is
//! told (`hosts.toml`) that `ferrokube.local` is here. Source: OCI distribution specification 1.1, pull.
use super::images::{self, Parts, hex};
use anyhow::{Context, Result};
use serde_json::json;
use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    time::timeout,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

const HOST: &str = "ferrokube.local";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
const MAX_CONNECTIONS: usize = 16;
const MAX_REQUEST_BYTES: u64 = 16 * 1024;
const IO_TIMEOUT: Duration = Duration::from_secs(10);

/// What one path answers with.
struct Content {
    media_type: &'static str,
    digest: String,
    bytes: Vec<u8>,
}

type Contents = HashMap<String, Arc<Content>>;

/// Where the runtime looks up registries.
pub fn hosts_dir(run: &Path) -> PathBuf {
    run.join("registries")
}

/// Every path of every image.
fn contents() -> Result<Contents> {
    let mut all = Contents::new();
    for image in &images::ALL {
        let name = image.name.strip_prefix(HOST).unwrap_or(image.name).trim_start_matches('/');
        let (repository, tag) = name.split_once(':').unwrap_or((name, "latest"));
        let Parts { config, layer } = images::parts(image)?;
        let part = |media_type, bytes: Vec<u8>| {
            Arc::new(Content { media_type, digest: format!("sha256:{}", hex(&bytes)), bytes })
        };
        let (config, layer) = (part(CONFIG, config), part(LAYER, layer));
        let describe = |c: &Content| json!({"mediaType": c.media_type, "digest": c.digest, "size": c.bytes.len()});
        let manifest = json!({
            "schemaVersion": 2, "mediaType": MANIFEST, "config": describe(&config), "layers": [describe(&layer)],
        });
        let manifest = part(MANIFEST, manifest.to_string().into_bytes());
        for blob in [config, layer] {
            all.insert(format!("/v2/{repository}/blobs/{}", blob.digest), blob);
        }
        all.insert(format!("/v2/{repository}/manifests/{tag}"), manifest.clone());
        all.insert(format!("/v2/{repository}/manifests/{}", manifest.digest), manifest);
    }
    Ok(all)
}

/// Serve until `shutdown`, on a port of its own choosing that the runtime is told.
///
/// # Errors
/// No port can be had, or the run-time folder cannot be written.
pub async fn start(run: &Path, shutdown: CancellationToken, tasks: &TaskTracker) -> Result<()> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.context("a port for the image registry")?;
    let address = format!("http://{}", listener.local_addr()?);
    let folder = hosts_dir(run).join(HOST);
    std::fs::create_dir_all(&folder).with_context(|| format!("creating {}", folder.display()))?;
    let hosts = format!("server = \"{address}\"\n[host.\"{address}\"]\n  capabilities = [\"pull\", \"resolve\"]\n");
    pki::write_public(&folder.join("hosts.toml"), hosts.as_bytes())?;
    let contents = Arc::new(contents()?);
    tasks.spawn(async move {
        tokio::select! { () = shutdown.cancelled() => {}, () = serve(listener, contents) => {} }
    });
    Ok(())
}

async fn serve(listener: TcpListener, contents: Arc<Contents>) {
    let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let Ok(slot) = slots.clone().acquire_owned().await else { return };
        let Ok((stream, _)) = listener.accept().await else {
            // Out of descriptors or the like: do not spin.
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let contents = contents.clone();
        tokio::spawn(async move {
            if !matches!(timeout(IO_TIMEOUT, answer(stream, &contents)).await, Ok(Ok(()))) {
                tracing::debug!("an image pull was broken off");
            }
            drop(slot);
        });
    }
}

/// One request, one answer.
async fn answer(mut stream: TcpStream, contents: &Contents) -> std::io::Result<()> {
    let (reader, mut writer) = stream.split();
    let mut lines = BufReader::new(reader.take(MAX_REQUEST_BYTES)).lines();
    let request = lines.next_line().await?.unwrap_or_default();
    while lines.next_line().await?.is_some_and(|line| !line.is_empty()) {}
    let mut words = request.split(' ');
    let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let path = target.split('?').next().unwrap_or_default();
    let found = contents.get(path).filter(|_| method == "GET" || method == "HEAD");
    let head = match found {
        Some(content) => format!(
            "HTTP/1.1 200 OK\r\nContent-Type: {}\r\nDocker-Content-Digest: {}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
            content.media_type,
            content.digest,
            content.bytes.len()
        ),
        None => "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".to_owned(),
    };
    writer.write_all(head.as_bytes()).await?;
    if let Some(content) = found.filter(|_| method == "GET") {
        writer.write_all(&content.bytes).await?;
    }
    writer.shutdown().await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_image_can_be_found_by_tag_and_digest() {
        let all = contents().expect("made");
        let by_tag = all.get("/v2/hello/manifests/latest").expect("the tag");
        assert!(all.contains_key(&format!("/v2/hello/manifests/{}", by_tag.digest)));
        let manifest: serde_json::Value = serde_json::from_slice(&by_tag.bytes).expect("JSON");
        for part in [&manifest["config"], &manifest["layers"][0]] {
            let path = format!("/v2/hello/blobs/{}", part["digest"].as_str().expect("a digest"));
            assert_eq!(part["size"], all.get(&path).expect("the blob").bytes.len());
        }
    }
}
