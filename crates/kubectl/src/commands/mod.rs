//! The commands: one file each, one line each in [`ALL`].
mod api_resources;
mod apply;
mod auth;
mod autoscale;
mod cluster_info;
mod config;
mod create;
mod delete;
mod describe;
mod diff;
mod drain;
mod edit;
mod exec;
mod explain;
mod expose;
mod get;
mod label;
mod logs;
mod patch;
mod replace;
mod rollout;
mod run;
mod scale;
mod set;
mod taint;
mod token;
mod top;
mod version;
mod wait;

use crate::{Context, Error, Result, global};
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
    &auth::Auth,
    &diff::Diff,
    &apply::Apply,
    &patch::Patch,
    &replace::Replace,
    &wait::Wait,
    &label::Label,
    &label::Annotate,
    &top::Completion,
    &api_resources::ApiResources,
    &api_resources::ApiVersions,
    &config::Config,
    &version::Version,
    &cluster_info::Options,
];

/// kubectl's whole command line.
pub fn command() -> Words {
    let root = Words::new("kubectl")
        .about("kubectl controls the Kubernetes cluster manager.")
        .disable_help_subcommand(true)
        .arg_required_else_help(true)
        .subcommand_required(true);
    ALL.iter().fold(global::add(root), |root, command| root.subcommand(command.words()))
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
