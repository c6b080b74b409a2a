//! The pages, read from their text files once.
use std::sync::LazyLock;

const FILES: [&str; 7] = [
    include_str!("basic.txt"),
    include_str!("create.txt"),
    include_str!("deploy.txt"),
    include_str!("troubleshooting.txt"),
    include_str!("advanced.txt"),
    include_str!("settings.txt"),
    include_str!("config.txt"),
];

/// `name` or `command name`, a tab, what the flag does.
const DESCRIPTIONS: &str = include_str!("flags.txt");

/// What most commands that print, and that read files, have in common.
const GROUPS: [(&str, &[&str]); 2] = [
    ("@print", &["allow-missing-template-keys=true", "o/output=''", "show-managed-fields=false", "template=''"]),
    ("@files", &["f/filename=[]", "k/kustomize=''", "R/recursive=false"]),
];

static PAGES: LazyLock<Vec<Page>> =
    LazyLock::new(|| FILES.iter().flat_map(|file| file.split("\n[")).filter_map(Page::parse).collect());

/// One command.
#[derive(Debug, Default)]
pub struct Page {
    /// The words behind `kubectl`.
    pub path: &'static str,
    /// What follows the path in the usage line.
    pub usage: &'static str,
    pub aliases: &'static str,
    /// Lines of the description behind the first, which is the command's own short one when there are none.
    pub long: Vec<&'static str>,
    /// What it shows, and the command line.
    pub examples: Vec<(&'static str, &'static str)>,
    /// Sorted by name.
    pub flags: Vec<Flag>,
    /// Flags that the parser shares with other commands but that this one has not.
    pub extra: Vec<&'static str>,
}

#[derive(Debug)]
pub struct Flag {
    pub name: &'static str,
    pub short: Option<char>,
    /// As help prints it: `''`, `[]`, `false`, `30s`.
    pub default: &'static str,
    /// Known, and refused when it is given.
    pub missing: bool,
    /// A list that takes several values between commas.
    pub splits: bool,
}

impl Flag {
    /// `[!][short/]name=default`, and a `,` behind it for lists that split at commas.
    fn parse(text: &'static str) -> Option<Flag> {
        let (missing, text) = text.strip_prefix('!').map_or((false, text), |rest| (true, rest));
        let (name, default) = text.split_once('=')?;
        let (default, splits) = default.strip_suffix("],").map_or((default, false), |_| ("[]", true));
        let (short, name) = match name.split_once('/') {
            Some((short, name)) => (short.chars().next(), name),
            None => (None, name),
        };
        Some(Flag { name, short, default, missing, splits })
    }
}

impl Page {
    fn parse(section: &'static str) -> Option<Page> {
        let mut lines = section.lines();
        let mut page = Page { path: lines.next()?.trim_matches(['[', ']']), ..Page::default() };
        for line in lines {
            let Some((key, rest)) = line.split_once(':') else { continue };
            let rest = rest.strip_prefix(' ').unwrap_or(rest);
            match key {
                "usage" => page.usage = rest,
                "aliases" => page.aliases = rest,
                "long" => page.long.push(rest),
                "flags" => rest.split(' ').for_each(|word| page.add_flags(word)),
                "extra" => page.extra.extend(rest.split(' ')),
                "#" => page.examples.push((rest, "")),
                "$" => {
                    if let Some(example) = page.examples.last_mut() {
                        example.1 = rest;
                    }
                }
                _ => {}
            }
        }
        page.flags.sort_by_key(|flag| flag.name);
        Some(page)
    }

    fn add_flags(&mut self, word: &'static str) {
        match GROUPS.iter().find(|(name, _)| *name == word) {
            Some((_, flags)) => self.flags.extend(flags.iter().filter_map(|flag| Flag::parse(flag))),
            None => self.flags.extend(Flag::parse(word)),
        }
    }

    /// What a flag does, in this command or in all.
    pub fn description(&self, flag: &str) -> Option<&'static str> {
        let find = |key: &str| {
            DESCRIPTIONS
                .lines()
                .find_map(|line| line.split_once('\t').filter(|(name, _)| *name == key).map(|(_, text)| text))
        };
        find(&format!("{} {flag}", self.path)).or_else(|| find(flag))
    }
}

/// The page of a command.
pub fn page(path: &str) -> Option<&'static Page> {
    PAGES.iter().find(|page| page.path == path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Command as Words;

    /// Flags that we take and the official one does not know (`explain --recursive`: that we take as `-R`, too).
    const BEYOND: &[(&str, &[&str])] = &[
        ("create secret", &["dry-run", "output", "field-manager", "show-managed-fields", "save-config", "validate"]),
        ("create service", &["dry-run", "output", "field-manager", "show-managed-fields", "save-config", "validate"]),
        ("set image", &["all-namespaces"]),
        ("set env", &["all-namespaces"]),
        ("set resources", &["all-namespaces"]),
        ("set selector", &["selector", "all-namespaces"]),
        ("set serviceaccount", &["selector", "all-namespaces"]),
        ("set subject", &["all-namespaces"]),
        ("explain", &["recursive"]),
        ("edit", &["selector", "dry-run"]),
        ("rollout status", &["dry-run", "output", "field-manager", "show-managed-fields"]),
        ("rollout history", &["dry-run", "field-manager"]),
        ("rollout undo", &["field-manager"]),
        ("rollout restart", &["dry-run"]),
        ("rollout pause", &["dry-run"]),
        ("rollout resume", &["dry-run"]),
        ("scale", &["field-manager", "all-namespaces"]),
        ("autoscale", &["selector", "cpu-percent"]),
        ("apply set-last-applied", &["field-manager"]),
        ("apply edit-last-applied", &["selector", "dry-run"]),
        ("auth reconcile", &["field-manager"]),
        ("patch", &["selector"]),
    ];

    fn each(command: &Words, path: &str, check: &mut impl FnMut(&str, &Words)) {
        for inner in command.get_subcommands() {
            let path = format!("{path} {}", inner.get_name());
            check(path.trim_start(), inner);
            each(inner, &path, check);
        }
    }

    #[test]
    fn every_command_has_a_page_and_the_flags_that_it_lists() {
        let root = crate::commands::command();
        let (mut pages, mut wrong) = (0, Vec::new());
        each(&root, "", &mut |path, words| {
            let Some(page) = page(path) else {
                if !words.is_hide_set() && path != "options" {
                    wrong.push(format!("{path} has no page"));
                }
                return;
            };
            pages += 1;
            if page.usage.is_empty() {
                wrong.push(format!("{path} has no usage line"));
            }
            for arg in words.get_arguments().filter(|arg| !arg.is_hide_set() && !arg.is_global_set()) {
                let Some(long) = arg.get_long() else { continue };
                if BEYOND.iter().any(|(command, flags)| *command == path && flags.contains(&long)) {
                    continue;
                }
                match page.flags.iter().find(|flag| flag.name == long) {
                    Some(flag) if flag.short != arg.get_short() => {
                        wrong.push(format!("{path} --{long}: another short form"));
                    }
                    None if !page.extra.contains(&long) => {
                        wrong.push(format!("{path} takes --{long}, which its page does not list"));
                    }
                    _ => {}
                }
            }
            for flag in &page.flags {
                let known = words.get_arguments().any(|arg| arg.get_long() == Some(flag.name));
                if !known && !crate::global::is_flag(flag.name) {
                    wrong.push(format!("{path} does not know --{}", flag.name));
                }
                if page.description(flag.name).is_none() {
                    wrong.push(format!("{path} --{} is not described", flag.name));
                }
            }
        });
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
        assert_eq!(pages, PAGES.len(), "a page is of no command");
    }
}
