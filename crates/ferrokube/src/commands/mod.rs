//! What the words of the `ferrokube` command do: one file a group of them.
mod delete;
mod inspect;
mod node;
mod start;

use crate::{
    cli::{Cli, Command, Image, Node, ServeCluster, Which},
    cluster::layout::{Cluster, Layout},
};
use anyhow::{Result, bail};
use clap::CommandFactory;
use std::{ffi::OsString, path::PathBuf, process::ExitCode};

/// Run one command.
///
/// # Errors
/// What went wrong and, where we know, what to do.
pub fn run(cli: Cli) -> Result<ExitCode> {
    match cli.command {
        Command::Start(flags) => start::start(&flags, cli.verbosity)?,
        Command::Stop(which) => delete::stop(&which)?,
        Command::Delete(which) => delete::delete(&which)?,
        Command::Status { which, output } => return inspect::status(&which, output.is_some()),
        Command::Node { command: Node::List(which) } => inspect::nodes(&which)?,
        Command::Ssh { which, node, command } => return node::ssh(&which, &node, &command),
        Command::Image { command: Image::Load { which, archive } } => node::load_image(&which, &archive)?,
        Command::Image { command: Image::Ls(which) } => node::list_images(&which)?,
        Command::Logs { which, component, tail } => inspect::logs(&which, &component, tail)?,
        Command::Version(_) => crate::say!("ferrokube {} (Kubernetes API v1.36)", env!("CARGO_PKG_VERSION")),
        Command::Completion { shell, which: _ } => {
            clap_complete::generate(shell, &mut completed(), "ferrokube", &mut std::io::stdout());
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// The process of a cluster, which `start` runs.
///
/// # Errors
/// It cannot be started; `start` has been told too.
pub fn serve_cluster(flags: &ServeCluster) -> Result<()> {
    telemetry::init(flags.verbosity);
    start::serve(&flags.data_dir, flags.report_fd)
}

/// The command line with the components, which are words of ours too.
fn completed() -> clap::Command {
    let words = crate::components::NAMES.map(|name| clap::Command::new(name).about(crate::components::about(name)));
    Cli::command().subcommands(words)
}

/// The words of `ferrokube kubectl`, where `--data-dir` and `--name` in front of them choose the cluster, as for all our
/// other words: its admin's kubeconfig is used then.
///
/// # Errors
/// There is no such cluster, or a flag lacks its value.
pub fn kubectl_words(words: &[OsString]) -> Result<Vec<OsString>> {
    let (mut data_dir, mut name) = (None, None);
    let mut rest = words;
    loop {
        let Some((flag, value, tail)) = leading_flag(rest)? else { break };
        *(if flag == "--name" { &mut name } else { &mut data_dir }) = Some(value);
        rest = tail;
    }
    if data_dir.is_none() && name.is_none() {
        return Ok(words.to_vec());
    }
    let defaults = Which::default();
    let name = name.map_or(defaults.name, |name| name.to_string_lossy().into_owned());
    let data_dir = data_dir.map(PathBuf::from).or_else(|| Layout::of_name(&name));
    let which = Which { data_dir: data_dir.unwrap_or(defaults.data_dir), name };
    let (layout, _) = existing(&which)?;
    let mut kubeconfig = OsString::from("--kubeconfig=");
    kubeconfig.push(layout.admin_kubeconfig());
    // Last but for what is a command's own, behind `--`.
    let end = rest.iter().position(|word| word == "--").unwrap_or(rest.len());
    let (before, own) = rest.split_at(end);
    Ok(before.iter().cloned().chain([kubeconfig]).chain(own.iter().cloned()).collect())
}

/// `--data-dir` or `--name` with its value, if that comes first, and the words behind it.
type Leading<'a> = Option<(&'static str, OsString, &'a [OsString])>;

fn leading_flag(words: &[OsString]) -> Result<Leading<'_>> {
    let Some((first, tail)) = words.split_first() else { return Ok(None) };
    for flag in ["--data-dir", "--name"] {
        if first == flag {
            let Some((value, tail)) = tail.split_first() else { bail!("flag needs an argument: {flag}") };
            return Ok(Some((flag, value.clone(), tail)));
        }
        let value = first.to_str().and_then(|word| word.strip_prefix(flag)?.strip_prefix('='));
        if let Some(value) = value {
            return Ok(Some((flag, value.into(), tail)));
        }
    }
    Ok(None)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cluster_is_chosen_in_front_of_kubectls_words() {
        let words = |text: &str| text.split(' ').map(OsString::from).collect::<Vec<_>>();
        let plain = words("expose pod a --name b --data-dir c");
        assert_eq!(kubectl_words(&plain).expect("kubectl's own"), plain);
        let refused = kubectl_words(&words("--data-dir")).expect_err("no value");
        assert_eq!(refused.to_string(), "flag needs an argument: --data-dir");
        let refused = kubectl_words(&words("--data-dir=/nonexistent/fk get pods")).expect_err("no cluster");
        assert!(refused.to_string().starts_with("there is no cluster in /nonexistent/fk"), "{refused}");
        let leading = |text: &str| {
            let words = words(text);
            let found = leading_flag(&words).expect("a value");
            found.map(|(flag, value, rest)| (flag, value.into_string().expect("text"), rest.len()))
        };
        assert_eq!(leading("--name a get pods"), Some(("--name", "a".into(), 2)));
        assert_eq!(leading("--data-dir=/d get pods"), Some(("--data-dir", "/d".into(), 2)));
        assert_eq!(leading("get pods --name a"), None);
    }
}
