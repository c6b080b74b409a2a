//! `ferrokube ssh` and `ferrokube image`: things done on a node.
use super::existing;
use crate::{
    cli::Which,
    cluster::{containerd, daemon, layout::Cluster},
};
use anyhow::{Context, Result, anyhow, bail};
use cri::Runtime;
use std::{ffi::OsString, path::Path, process::ExitCode};

fn check_node(cluster: &Cluster, node: &str) -> Result<()> {
    if node == cluster.node_name {
        return Ok(());
    }
    bail!("node {node:?} not found; the cluster's node is {:?}", cluster.node_name)
}

/// A shell or a command where the node is. The first node is this machine itself.
pub fn ssh(which: &Which, node: &str, command: &[OsString]) -> Result<ExitCode> {
    let (_, cluster) = existing(which)?;
    check_node(&cluster, node)?;
    let shell = std::env::var_os("SHELL").unwrap_or_else(|| "/bin/sh".into());
    let (program, arguments) = command.split_first().map_or((&shell, &[][..]), |(first, rest)| (first, rest));
    let mut process = std::process::Command::new(program);
    let status = process.args(arguments).status().with_context(|| format!("running {}", program.display()))?;
    Ok(ExitCode::from(u8::try_from(status.code().unwrap_or(128)).unwrap_or(1)))
}

/// Import an archive into the node's runtime.
pub fn load_image(which: &Which, archive: &Path) -> Result<()> {
    let (layout, cluster) = existing(which)?;
    if !archive.is_file() {
        bail!("{}: no such file", archive.display());
    }
    print!("{}", containerd::import(&layout, &cluster, archive)?);
    Ok(())
}

/// Name, ID and size of each image.
pub fn list_images(which: &Which) -> Result<()> {
    let (layout, cluster) = existing(which)?;
    let endpoint = containerd::endpoint(&layout, &cluster);
    let images = crate::runtime()?.block_on(async { cri::Client::new(&endpoint)?.list_images().await });
    let mut images = images.map_err(|error| match daemon::running(&layout) {
        None => anyhow!("cluster {} is not running: `ferrokube start` brings it back", cluster.name),
        Some(_) => error.into(),
    })?;
    images.sort_by(|a, b| a.repo_tags.cmp(&b.repo_tags));
    for image in images {
        let names = if image.repo_tags.is_empty() { &image.repo_digests } else { &image.repo_tags };
        for name in names {
            crate::say!("{name}\t{}\t{}", image.id, image.size);
        }
    }
    Ok(())
}
