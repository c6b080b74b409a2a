//! The images a cluster can run without any registry: `pause` and `hello`, made from our own programs.
//!
//! Written as docker archives, the form every importer reads. The content is the same on every run, so
//! the image IDs are too.
use anyhow::{Context, Result};
use serde_json::json;
use sha2::{Digest, Sha256};
use std::path::Path;

static PAUSE: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/pause"));
static HELLO: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/hello"));

/// One image of ours.
pub struct Image {
    pub name: &'static str,
    program: &'static str,
    binary: &'static [u8],
    /// Names in `/bin` under which the program answers too.
    links: &'static [&'static str],
    user: &'static str,
}

pub const PAUSE_IMAGE: &str = concat!("ferrokube.local/pause:", env!("CARGO_PKG_VERSION"));

pub const ALL: [Image; 2] = [
    Image { name: PAUSE_IMAGE, program: "pause", binary: PAUSE, links: &[], user: "65535:65535" },
    Image {
        name: "ferrokube.local/hello:latest",
        program: "hello",
        binary: HELLO,
        links: &["sh", "echo", "cat", "ls", "env", "hostname", "sleep", "true", "false", "hello"],
        user: "",
    },
];

/// SHA-256, as digests write it.
pub fn hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|b| format!("{b:02x}")).collect()
}

fn header(mode: u32, size: u64, kind: tar::EntryType) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_mode(mode);
    header.set_size(size);
    header.set_mtime(0);
    header.set_entry_type(kind);
    header
}

fn layer(image: &Image) -> std::io::Result<Vec<u8>> {
    let mut tar = tar::Builder::new(Vec::new());
    for (folder, mode) in [("bin/", 0o755), ("etc/", 0o755), ("tmp/", 0o1777)] {
        tar.append_data(&mut header(mode, 0, tar::EntryType::Directory), folder, std::io::empty())?;
    }
    let size = image.binary.len() as u64;
    tar.append_data(&mut header(0o755, size, tar::EntryType::Regular), image.program, image.binary)?;
    for link in image.links {
        let target = format!("/{}", image.program);
        tar.append_link(&mut header(0o777, 0, tar::EntryType::Symlink), format!("bin/{link}"), target)?;
    }
    let passwd = b"root:x:0:0:root:/:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n";
    tar.append_data(&mut header(0o644, passwd.len() as u64, tar::EntryType::Regular), "etc/passwd", &passwd[..])?;
    tar.into_inner()
}

/// An image in parts: its configuration (JSON) and its only layer (tar).
pub struct Parts {
    pub config: Vec<u8>,
    pub layer: Vec<u8>,
}

/// # Errors
/// Only if memory is short.
pub fn parts(image: &Image) -> Result<Parts> {
    let layer = layer(image)?;
    let architecture = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
    let config = json!({
        "architecture": architecture,
        "os": "linux",
        "config": {
            "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],
            "Entrypoint": [format!("/{}", image.program)],
            "WorkingDir": "/",
            "User": image.user,
        },
        "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{}", hex(&layer))]},
        "history": [{"created_by": "ferrokube"}],
    })
    .to_string()
    .into_bytes();
    Ok(Parts { config, layer })
}

/// The image as a docker archive.
fn archive(image: &Image) -> Result<Vec<u8>> {
    let Parts { config, layer } = parts(image)?;
    let config_name = format!("{}.json", hex(&config));
    let manifest = json!([{"Config": config_name, "RepoTags": [image.name], "Layers": ["layer.tar"]}]).to_string();
    let mut tar = tar::Builder::new(Vec::new());
    for (name, content) in
        [(config_name.as_str(), &config[..]), ("layer.tar", &layer[..]), ("manifest.json", manifest.as_bytes())]
    {
        tar.append_data(&mut header(0o644, content.len() as u64, tar::EntryType::Regular), name, content)?;
    }
    Ok(tar.into_inner()?)
}

/// Write the archive of `image` into `folder`; its path.
///
/// # Errors
/// The folder cannot be written.
pub fn write(image: &Image, folder: &Path) -> Result<std::path::PathBuf> {
    std::fs::create_dir_all(folder).with_context(|| format!("creating {}", folder.display()))?;
    let path = folder.join(format!("{}.tar", image.program));
    pki::write_public(&path, &archive(image)?)?;
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn archives_are_the_same_each_time_and_small() {
        for image in &ALL {
            let (one, two) = (archive(image).expect("made"), archive(image).expect("made"));
            assert_eq!(hex(&one), hex(&two), "{}", image.name);
            assert!(one.len() < 4 * 1024 * 1024, "{} is {} bytes", image.name, one.len());
        }
    }
}
