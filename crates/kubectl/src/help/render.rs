//! Pages as the official one lays them out.
use super::pages;
use crate::{commands, global};
use clap::Command as Words;

/// Names of commands take at least this much room.
const NAME_WIDTH: usize = 11;

/// What `kubectl <path> --help` prints.
pub fn page(path: &str) -> String {
    let root = commands::command();
    let command = path.split_whitespace().try_fold(&root, |at, name| at.find_subcommand(name));
    let (Some(command), Some(page)) = (command, pages::page(path)) else { return commands::overview() };
    let about = command.get_about().map(ToString::to_string).unwrap_or_default();
    let mut text = match page.long.as_slice() {
        [] => format!("{about}.\n"),
        lines => lines.iter().map(|line| format!("{line}\n")).collect(),
    };
    if !page.aliases.is_empty() {
        text.push_str(&format!("\nAliases:\n{}\n", page.aliases));
    }
    if !page.examples.is_empty() {
        let examples = page.examples.iter().map(|(what, line)| format!("  # {what}\n  {line}\n"));
        text.push_str(&format!("\nExamples:\n{}", examples.collect::<Vec<_>>().join("  \n")));
    }
    let inner: Vec<&Words> = command.get_subcommands().filter(|inner| !inner.is_hide_set()).collect();
    if !inner.is_empty() {
        let mut lines: Vec<(&str, String)> = inner
            .iter()
            .map(|inner| (inner.get_name(), inner.get_about().map(ToString::to_string).unwrap_or_default()))
            .collect();
        lines.sort();
        let width = lines.iter().map(|(name, _)| name.len()).max().unwrap_or(0).max(NAME_WIDTH);
        let lines: String = lines.iter().map(|(name, about)| format!("  {name:<width$}   {about}\n")).collect();
        text.push_str(&format!("\nAvailable Commands:\n{lines}"));
    }
    if !page.flags.is_empty() {
        text.push_str("\nOptions:\n");
        let flags = page.flags.iter().map(|flag| {
            let short = flag.short.map_or_else(String::new, |short| format!("-{short}, "));
            let what = page.description(flag.name).unwrap_or_default();
            format!("    {short}--{}={}:\n\t{what}\n", flag.name, flag.default)
        });
        text.push_str(&flags.collect::<Vec<_>>().join("\n"));
    }
    text.push_str(&format!("\nUsage:\n  kubectl {path} {}\n\n", page.usage));
    if !inner.is_empty() {
        text.push_str(&format!(
            "Use \"kubectl {path} <command> --help\" for more information about a given command.\n"
        ));
    }
    text.push_str("Use \"kubectl options\" for a list of global command-line options (applies to all commands).\n");
    text
}

/// What `kubectl options` prints.
pub fn options() -> String {
    let flags = global::described().map(|(short, name, default, what)| {
        let short = short.map_or_else(String::new, |short| format!("-{short}, "));
        format!("    {short}--{name}={default}:\n\t{what}\n")
    });
    format!("The following options can be passed to any command:\n\n{}", flags.collect::<Vec<_>>().join("\n"))
}
