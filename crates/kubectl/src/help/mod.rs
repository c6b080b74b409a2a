//! What every command is called with: usage line, flags with their defaults, examples; and the pages of `--help`.
//!
//! The facts stand in text files, so that the whole command line can be held against the official one's at a
//! glance. A command declares the flags that need more than a name and a default; [`complete`] adds the others.
mod pages;
mod render;

pub use pages::{Flag, page};
pub use render::{options, page as render};

use crate::global;
use clap::{Arg, ArgAction, ArgMatches, Command as Words, parser::ValueSource};

/// Add the flags that pages list and commands do not declare. `path`: the words behind `kubectl`.
pub fn complete(command: Words, path: &str) -> Words {
    let mut command = command.args_override_self(true);
    for flag in page(path).map(|page| page.flags.as_slice()).unwrap_or_default() {
        let declared = command.get_arguments().any(|arg| arg.get_long() == Some(flag.name));
        // `config set-cluster --server` is the global flag, read by the command.
        let shared = path.starts_with("config ") && global::is_flag(flag.name);
        if !declared && !shared {
            command = command.arg(argument(flag));
        }
    }
    command.mut_subcommands(|inner| {
        let path = format!("{path} {}", inner.get_name());
        complete(inner, path.trim_start())
    })
}

/// A flag as the parser takes it; its type follows from its default.
fn argument(flag: &Flag) -> Arg {
    let arg = Arg::new(flag.name).long(flag.name);
    let arg = match flag.short {
        Some(short) => arg.short(short),
        None => arg,
    };
    match flag.default {
        "true" | "false" => global::boolean(arg).default_value(flag.default),
        "[]" if flag.splits => arg.action(ArgAction::Append).value_delimiter(','),
        list if list.starts_with('[') => arg.action(ArgAction::Append),
        number if number.parse::<i64>().is_ok() => {
            arg.allow_negative_numbers(true).value_parser(clap::value_parser!(i64)).default_value(flag.default)
        }
        text => match text.trim_matches('\'') {
            "" => arg,
            default => arg.default_value(default),
        },
    }
}

/// A flag that was given although this command has no such thing, or does not support it yet; the message.
pub fn refused(path: &str, matches: &ArgMatches) -> Option<String> {
    let page = page(path)?;
    for id in matches.ids() {
        let name = id.as_str();
        if matches.value_source(name) != Some(ValueSource::CommandLine) {
            continue;
        }
        match page.flags.iter().find(|flag| flag.name == name) {
            Some(flag) if flag.missing => return Some(format!("error: --{name} is not implemented")),
            Some(_) => {}
            None if page.extra.contains(&name) => {
                return Some(format!("error: unknown flag: --{name}\nSee 'kubectl {path} --help' for usage."));
            }
            None => {}
        }
    }
    None
}
