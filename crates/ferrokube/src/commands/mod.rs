//! What the words of the `ferrokube` command do: one file a group of them.
mod delete;
mod inspect;
mod node;
mod start;

use crate::{
    cli::{Cli, Command, Image, Node, Which},
    cluster::layout::{Cluster, Layout},
};
use anyhow::{Result, bail};
use clap::CommandFactory;
use std::process::ExitCode;

/// Run one command.
///
/// # Errors
/// What went wrong and, where we know, what to do.
pub fn run(cli: Cli) -> Result<ExitCode> {
    match cli.command {
        Command::Start(flags) => start::start(&flags, cli.verbosity)?,
        Command::ServeCluster { data_dir, report_fd } => {
            telemetry::init(cli.verbosity);
            start::serve(&data_dir, report_fd)?;
        }
        Command::Stop(which) => delete::stop(&which)?,
        Command::Delete(which) => delete::delete(&which)?,
        Command::Status { which, output } => return inspect::status(&which, output.is_some()),
        Command::Node { command: Node::List(which) } => inspect::nodes(&which)?,
        Command::Ssh { which, node, command } => return node::ssh(&which, &node, &command),
        Command::Image { command: Image::Load { which, archive } } => node::load_image(&which, &archive)?,
        Command::Image { command: Image::Ls(which) } => node::list_images(&which)?,
        Command::Logs { which, component, tail } => inspect::logs(&which, &component, tail)?,
        Command::Version => crate::say!("ferrokube {} (Kubernetes API v1.36)", env!("CARGO_PKG_VERSION")),
        Command::Completion { shell } => {
            clap_complete::generate(shell, &mut Cli::command(), "ferrokube", &mut std::io::stdout());
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// The cluster that a command is about.
///
/// # Errors
/// There is none in the data directory, or it has another name.
fn existing(which: &Which) -> Result<(Layout, Cluster)> {
    let layout = Layout::new(&which.data_dir)?;
    let Some(cluster) = layout.load()? else {
        bail!("there is no cluster in {}: start one with `ferrokube start`", layout.root().display());
    };
    check_name(&layout, &cluster, which)?;
    Ok((layout, cluster))
}

fn check_name(layout: &Layout, cluster: &Cluster, which: &Which) -> Result<()> {
    // The default name stands for "whatever is there".
    if which.name != cluster.name && which.name != "ferrokube" {
        bail!("the cluster in {} is called {}, not {}", layout.root().display(), cluster.name, which.name);
    }
    Ok(())
}

/// The kubeconfig that kubectl would write to: the first file of `$KUBECONFIG`, or `~/.kube/config`.
fn user_kubeconfig() -> Option<std::path::PathBuf> {
    if let Some(list) = std::env::var_os("KUBECONFIG")
        && let Some(first) = std::env::split_paths(&list).find(|p| !p.as_os_str().is_empty())
    {
        return Some(first);
    }
    std::env::home_dir().map(|home| home.join(".kube/config"))
}
