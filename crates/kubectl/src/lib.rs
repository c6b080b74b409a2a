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
mod help;
mod http;
pub mod jsonpath;
mod kubeconfig;
mod kustomize;
mod manifests;
mod mapper;
mod openapi;
mod plugins;
mod pods;
pub mod printers;
mod select;
mod streams;
mod usage;
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
    let words = match usage::flags_behind_command(usage::without_help_word(words)) {
        Ok(words) => words,
        Err(flag) => {
            eprintln!("Error: flags cannot be placed before plugin name: {flag}");
            return 1;
        }
    };
    let matches = match commands::command().no_binary_name(true).try_get_matches_from(&words) {
        Ok(matches) => matches,
        Err(error) => {
            let unknown = [clap::error::ErrorKind::InvalidSubcommand, clap::error::ErrorKind::UnknownArgument];
            let at_root = words.first().is_some_and(|word| !commands::is_known(&word.to_string_lossy()));
            if unknown.contains(&error.kind())
                && at_root
                && let Some((program, rest)) = plugins::find(&words)
            {
                return plugins::become_plugin(&program, rest);
            }
            return usage::report(&error, &words);
        }
    };
    if let Some(refusal) = commands::refused(&matches) {
        eprintln!("{refusal}");
        return 1;
    }
    let global = global::Global::from_matches(&matches);
    if let Err(refusal) = global.check() {
        return refusal.report();
    }
    let warnings_as_errors = global.warnings_as_errors;
    let context = Context::new(global, out);
    match commands::dispatch(&context, &matches).await {
        Ok(()) if warnings_as_errors => http::warned(),
        Ok(()) => 0,
        Err(error) => error.report(),
    }
}
