//! `ferrokube stop` and `ferrokube delete`.
use super::{existing, start, user_kubeconfig};
use crate::{
    cli::Which,
    cluster::{
        daemon::{self, Turn},
        layout::Layout,
        lifecycle, preflight,
    },
};
use anyhow::{Context, Result};

/// `None` when the cluster went away while we waited.
fn turn(layout: &Layout) -> Result<Option<Turn>> {
    match daemon::turn(layout) {
        Err(_) if !layout.root().exists() => Ok(None),
        turn => Ok(Some(turn?)).map(|turn| turn.filter(|_| layout.load().is_ok_and(|known| known.is_some()))),
    }
}

/// Stop what runs; objects stay.
pub fn stop(which: &Which) -> Result<()> {
    let (layout, cluster) = existing(which)?;
    preflight::root("stopping")?;
    // First, so that a start under way gives up, and our turn comes.
    let ended = daemon::end(&layout, lifecycle::DAEMON_PATIENCE)?;
    let Some(_turn) = turn(&layout)? else {
        crate::say!("Cluster {} was only being started; nothing is left of it", cluster.name);
        return Ok(());
    };
    if crate::runtime()?.block_on(lifecycle::stop(&layout, &cluster))? || ended {
        crate::say!("Cluster {} is stopped; `ferrokube start` brings it back", cluster.name);
    } else {
        crate::say!("Cluster {} is not running", cluster.name);
    }
    Ok(())
}

/// Stop what runs and take everything away.
pub fn delete(which: &Which) -> Result<()> {
    let layout = Layout::new(&which.data_dir)?;
    let orphan = layout.orphan();
    if orphan.is_none() && layout.load()?.is_none() && layout.remove_remains()? {
        crate::say!("No cluster came up in {}; its log is removed", layout.root().display());
        return Ok(());
    }
    let lost = orphan.is_some();
    let cluster = match orphan {
        Some(cluster) => cluster,
        None => existing(which)?.1,
    };
    preflight::root("deleting")?;
    daemon::end(&layout, lifecycle::DAEMON_PATIENCE)?;
    // Where the files are lost, the lock is too, and there is nothing that turns could be taken at.
    let _turn = if lost { None } else { turn(&layout)? };
    crate::runtime()?.block_on(lifecycle::delete(&layout, &cluster))?;
    crate::say!("Cluster {} is deleted", cluster.name);
    let Some(path) = user_kubeconfig() else { return Ok(()) };
    let _alone = start::alone()?;
    pki::kubeconfig::remove(&path, &cluster.name).context("its context could not be taken out of the kubeconfig")
}
