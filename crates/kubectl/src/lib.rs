//! kubectl: the commands, flags and output of the official one.
//!
//! A command is one file in `commands/` and one line in its registry. Everything goes through raw API
//! requests and discovery, so that it works with any API server and with kinds it has never heard of.
pub mod commands;
mod context;
mod describe;
mod error;
mod generators;
mod global;
mod gotemplate;
mod http;
pub mod jsonpath;
mod kubeconfig;
mod manifests;
mod mapper;
mod openapi;
mod pods;
pub mod printers;
mod select;
mod streams;
mod write;

pub use context::Context;
pub use error::{Error, Result};

use std::{ffi::OsString, io::Write};

/// Run `kubectl <words>` on this process's standard streams; the exit code.
pub async fn main(words: Vec<OsString>) -> i32 {
    run(words, Box::new(std::io::stdout())).await
}

/// As [`main`], with the output of commands (not of help) going elsewhere.
pub async fn run(words: Vec<OsString>, out: Box<dyn Write + Send>) -> i32 {
    // The command's name, for hints: words before the first flag.
    let named = |word: &&OsString| !word.to_string_lossy().starts_with('-');
    let command = words.first().filter(named).map(|word| word.to_string_lossy().into_owned());
    let matches = match commands::command().no_binary_name(true).try_get_matches_from(words) {
        Ok(matches) => matches,
        Err(error) => return usage(&error, command.as_deref()),
    };
    let context = Context::new(global::Global::from_matches(&matches), out);
    match commands::dispatch(&context, &matches).await {
        Ok(()) => 0,
        Err(error) => error.report(),
    }
}

/// Help goes to standard output with 0; a mistake is worded as the official one words it, with 1.
fn usage(error: &clap::Error, command: Option<&str>) -> i32 {
    use clap::error::{ContextKind, ErrorKind};
    let arg = || error.get(ContextKind::InvalidArg).map(ToString::to_string).unwrap_or_default();
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            // A closed pipe is not ours to report.
            let _ = error.print();
            return i32::from(error.use_stderr());
        }
        ErrorKind::UnknownArgument => {
            let word = arg();
            match word.strip_prefix("--") {
                Some(_) => eprintln!("error: unknown flag: {}", word.split('=').next().unwrap_or(&word)),
                None => {
                    let letter = word.trim_start_matches('-').chars().next().unwrap_or('-');
                    eprintln!("error: unknown shorthand flag: '{letter}' in {word}");
                }
            }
            let command = command.map(|c| format!(" {c}")).unwrap_or_default();
            eprintln!("See 'kubectl{command} --help' for usage.");
        }
        ErrorKind::InvalidSubcommand => {
            let name = error.get(ContextKind::InvalidSubcommand).map(ToString::to_string).unwrap_or_default();
            eprintln!("error: unknown command \"{name}\" for \"kubectl\"");
        }
        _ => {
            let text = error.to_string();
            let text = text.strip_prefix("error: ").unwrap_or(&text);
            eprint!("error: {text}");
        }
    }
    1
}
