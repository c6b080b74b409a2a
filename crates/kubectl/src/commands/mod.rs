//! The commands: one file each, one line each in [`ALL`].
mod api_resources;
mod apply;
mod auth;
mod autoscale;
mod certificate;
mod cluster_dump;
mod cluster_info;
mod config;
mod cp;
mod create;
mod debug;
mod debug_options;
mod debug_profile;
mod delete;
mod describe;
mod diff;
mod drain;
mod edit;
mod editor;
mod events;
mod exec;
mod explain;
mod expose;
mod get;
mod kustomize;
mod label;
mod last_applied;
mod logs;
mod patch;
mod plugin;
mod port_forward;
mod proxy;
mod prune;
mod reconcile;
mod reconcile_plan;
mod replace;
mod revisions;
mod rollout;
mod run;
mod scale;
mod set;
mod set_env;
mod taint;
mod token;
mod top;
mod version;
mod wait;

pub use logs::USAGE as LOGS_USAGE;

use crate::{Context, Error, Result, global, help};
use async_trait::async_trait;
use clap::{ArgMatches, Command as Words};

/// One command of kubectl.
#[async_trait]
pub trait Command: Sync {
    /// Its name, flags and help; the name is what finds it.
    fn words(&self) -> Words;

    /// Carry it out.
    ///
    /// # Errors
    /// Whatever is to be told to the user; it ends the command with exit code 1.
    async fn run(&self, context: &Context, matches: &ArgMatches) -> Result<()>;
}

/// Every command, in the order that help lists them.
pub const ALL: &[&dyn Command] = &[
    &create::Create,
    &expose::Expose,
    &run::Run,
    &set::Set,
    &explain::Explain,
    &get::Get,
    &edit::Edit,
    &delete::Delete,
    &rollout::Rollout,
    &scale::Scale,
    &autoscale::Autoscale,
    &certificate::Certificate,
    &cluster_info::ClusterInfo,
    &top::Top,
    &drain::Cordon,
    &drain::Uncordon,
    &drain::Drain,
    &taint::Taint,
    &describe::Describe,
    &logs::Logs,
    &exec::Attach,
    &exec::Exec,
    &port_forward::PortForward,
    &proxy::Proxy,
    &cp::Cp,
    &auth::Auth,
    &debug::Debug,
    &events::Events,
    &diff::Diff,
    &apply::Apply,
    &patch::Patch,
    &replace::Replace,
    &wait::Wait,
    &kustomize::Kustomize,
    &label::Label,
    &label::Annotate,
    &top::Completion,
    &api_resources::ApiResources,
    &api_resources::ApiVersions,
    &config::Config,
    &certificate::Missing("kuberc", "Manage kuberc configuration files"),
    &plugin::Plugin,
    &version::Version,
    &cluster_info::Options,
];

/// What help calls groups of commands.
const GROUPS: &[(&str, &[&str])] = &[
    ("Basic Commands (Beginner)", &["create", "expose", "run", "set"]),
    ("Basic Commands (Intermediate)", &["explain", "get", "edit", "delete"]),
    ("Deploy Commands", &["rollout", "scale", "autoscale"]),
    ("Cluster Management Commands", &["certificate", "cluster-info", "top", "cordon", "uncordon", "drain", "taint"]),
    (
        "Troubleshooting and Debugging Commands",
        &["describe", "logs", "attach", "exec", "port-forward", "proxy", "cp", "auth", "debug", "events"],
    ),
    ("Advanced Commands", &["diff", "apply", "patch", "replace", "wait", "kustomize"]),
    ("Settings Commands", &["label", "annotate", "completion"]),
    ("Subcommands provided by plugins", &[]),
    ("Other Commands", &["api-resources", "api-versions", "config", "kuberc", "plugin", "version"]),
];

/// What `kubectl --help` prints.
pub fn overview() -> String {
    let mut text = String::from(
        "kubectl controls the Kubernetes cluster manager.\n\n Find more information at: \
         https://kubernetes.io/docs/reference/kubectl/\n\n",
    );
    for (title, names) in GROUPS {
        text.push_str(&format!("{title}:\n"));
        for name in *names {
            let words = ALL.iter().map(|command| command.words()).find(|words| words.get_name() == *name);
            let about = words.as_ref().and_then(Words::get_about).map(ToString::to_string).unwrap_or_default();
            text.push_str(&format!("  {name:<15} {}\n", about.trim_start_matches("Experimental: ")));
        }
        text.push('\n');
    }
    text.push_str(
        "Usage:\n  kubectl [flags] [options]\n\nUse \"kubectl <command> --help\" for more information about a given \
         command.\nUse \"kubectl options\" for a list of global command-line options (applies to all commands).\n",
    );
    text
}

/// Whether a word is a command of kubectl's own.
pub fn is_known(word: &str) -> bool {
    ALL.iter().any(|command| command.words().get_name() == word)
}

/// kubectl's whole command line.
pub fn command() -> Words {
    let root = Words::new("kubectl")
        .about("kubectl controls the Kubernetes cluster manager.")
        .disable_help_subcommand(true)
        .arg_required_else_help(true)
        .subcommand_required(true);
    help::complete(switches(ALL.iter().fold(global::add(root), |root, command| root.subcommand(command.words()))), "")
}

/// Every flag that can stand alone also takes `=true` and `=false`.
fn switches(command: Words) -> Words {
    let switch = |arg: clap::Arg| match arg.get_action() {
        clap::ArgAction::SetTrue => global::boolean(arg.action(clap::ArgAction::Set)).default_value("false"),
        _ => arg,
    };
    command.mut_args(switch).mut_subcommands(switches)
}

/// Why a flag that was given cannot be; the whole message.
pub fn refused(matches: &ArgMatches) -> Option<String> {
    let (mut path, mut at) = (String::new(), matches);
    while let Some((name, inner)) = at.subcommand() {
        path = format!("{path} {name}");
        at = inner;
    }
    help::refused(path.trim_start(), at)
}

/// Run the command that the words name.
///
/// # Errors
/// The command's own.
pub async fn dispatch(context: &Context, matches: &ArgMatches) -> Result<()> {
    let Some((name, matches)) = matches.subcommand() else { return Err(Error::Exit(1)) };
    let found = ALL.iter().find(|command| command.words().get_name() == name);
    match found {
        Some(command) => command.run(context, matches).await,
        None => Err(Error::message(format!("unknown command \"{name}\" for \"kubectl\""))),
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_command_line_is_consistent() {
        super::command().debug_assert();
    }
}
