//! `ferrokube stop` and `ferrokube delete`.
use super::{existing, user_kubeconfig};
use crate::{cli::Which, cluster::lifecycle};
use anyhow::Result;

/// Stop what runs; objects stay.
pub fn stop(which: &Which) -> Result<()> {
    let (layout, cluster) = existing(which)?;
    if crate::runtime()?.block_on(lifecycle::stop(&layout, &cluster))? {
        println!("Cluster {} is stopped; `ferrokube start` brings it back", cluster.name);
    } else {
        println!("Cluster {} is not running", cluster.name);
    }
    Ok(())
}

/// Stop what runs and take everything away.
pub fn delete(which: &Which) -> Result<()> {
    let (layout, cluster) = existing(which)?;
    crate::runtime()?.block_on(lifecycle::delete(&layout, &cluster))?;
    if let Some(path) = user_kubeconfig() {
        pki::kubeconfig::remove(&path, &cluster.name)?;
    }
    println!("Cluster {} is deleted", cluster.name);
    Ok(())
}
