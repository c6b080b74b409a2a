//! `kubectl plugin list`: which plugins there are.
use super::Command;
use crate::{Context, Error, Result, global::boolean, plugins, select::flag};
use async_trait::async_trait;
use clap::{Arg, ArgMatches, Command as Words};

pub struct Plugin;

#[async_trait]
impl Command for Plugin {
    fn words(&self) -> Words {
        Words::new("plugin")
            .about("Provides utilities for interacting with plugins")
            .subcommand_required(true)
            .arg_required_else_help(true)
            .subcommand(
                Words::new("list").about("List all visible plugin executables on a user's PATH").arg(
                    boolean(Arg::new("name-only").long("name-only"))
                        .default_value("false")
                        .help("If true, display only the binary name of each plugin, rather than its full path"),
                ),
            )
    }

    async fn run(&self, context: &Context, matches: &ArgMatches) -> Result<()> {
        let Some((_, matches)) = matches.subcommand() else { return Err(Error::Exit(1)) };
        let found = plugins::all();
        if found.is_empty() {
            return Err(Error::message("unable to find any kubectl plugins in your PATH"));
        }
        context.line("The following compatible plugins are available:\n")?;
        for path in found {
            match (flag(matches, "name-only"), path.file_name()) {
                (true, Some(name)) => context.line(name.to_string_lossy())?,
                _ => context.line(path.to_string_lossy())?,
            }
        }
        Ok(())
    }
}
