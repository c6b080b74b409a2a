//! Mistakes in the words themselves: flags and arguments, told of as the official kubectl's parser does.
use crate::commands;
use clap::{
    Command,
    error::{ContextKind, Error, ErrorKind},
};
use std::{error::Error as _, ffi::OsString, io::Write as _};

/// Names that differ by no more edits than that are suggested.
const MAX_EDITS: usize = 2;

/// Help goes to standard output with 0; a mistake goes to standard error with 1.
pub fn report(error: &Error, words: &[OsString]) -> i32 {
    let words: Vec<String> = words.iter().map(|word| word.to_string_lossy().into_owned()).collect();
    let page = || crate::help::render(path(&words).0.trim_start_matches("kubectl").trim_start());
    match error.kind() {
        // A closed pipe is not ours to report.
        ErrorKind::DisplayHelp => drop(write!(std::io::stdout(), "{}", page())),
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand if words.is_empty() => {
            drop(write!(std::io::stdout(), "{}", page()));
        }
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand | ErrorKind::MissingSubcommand => {
            if path(&words).0 == "kubectl rollout" {
                drop(write!(std::io::stdout(), "{}", page()));
            } else {
                eprint!("{}", page());
            }
            return 1;
        }
        ErrorKind::UnknownArgument | ErrorKind::MissingRequiredArgument if shows_page(error, &words) => {
            let (path, _) = path(&words);
            drop(write!(std::io::stdout(), "{}", page()));
            if !path.starts_with("kubectl config delete-") {
                let lead = if path.ends_with(" set-credentials") { "unexpected" } else { "Unexpected" };
                eprintln!("error: {lead} args: [{}]", arguments(&words, &path));
                return 1;
            }
        }
        _ => {
            eprintln!("{}", explain(error, &words).trim_end_matches('\n'));
            return 1;
        }
    }
    0
}

/// Commands that change kubeconfigs print their page when the number of arguments is wrong.
fn shows_page(error: &Error, words: &[String]) -> bool {
    const NAMES: [&str; 8] = [
        "use-context",
        "set",
        "unset",
        "rename-context",
        "set-cluster",
        "set-credentials",
        "delete-context",
        "delete-cluster",
    ];
    let is_flag = error.get(ContextKind::InvalidArg).is_some_and(|argument| argument.to_string().starts_with("-"));
    let (path, _) = path(words);
    !is_flag && path.strip_prefix("kubectl config ").is_some_and(|name| NAMES.contains(&name))
}

/// `kubectl help get` is `kubectl get --help`.
pub fn without_help_word(mut words: Vec<OsString>) -> Vec<OsString> {
    if words.first().is_some_and(|word| word == "help") {
        words.remove(0);
        words.push("--help".into());
    }
    words
}

/// Flags before the command are the command's, wherever they stand: `-o name get pods` is `get -o name pods`.
///
/// Which words before the command are flags' values is guessed as cobra does: those behind a flag that is not known to
/// stand alone, and of the flags only those of all commands are known.
///
/// # Errors
/// The word in the command's place is none; the first flag.
pub fn flags_behind_command(words: Vec<OsString>) -> Result<Vec<OsString>, String> {
    let texts: Vec<String> = words.iter().map(|word| word.to_string_lossy().into_owned()).collect();
    let Some(first) = texts.first().filter(|word| word.starts_with('-')) else { return Ok(words) };
    let root = commands::command();
    let alone = |flag: &str| {
        let known = root.get_arguments().find(|arg| {
            arg.get_long().is_some_and(|long| flag == format!("--{long}"))
                || arg.get_short().is_some_and(|short| flag == format!("-{short}"))
        });
        ["-h", "--help"].contains(&flag) || known.is_some_and(clap::Arg::is_require_equals_set)
    };
    let mut at = 0;
    while let Some(word) = texts.get(at).filter(|word| word.starts_with('-')) {
        if word == "--" {
            return Ok(words);
        }
        let takes_next = (word.starts_with("--") || word.len() == 2) && !word.contains('=') && !alone(word);
        at += if takes_next { 2 } else { 1 };
    }
    let Some(command) = texts.get(at) else { return Ok(words) };
    if !commands::is_known(command) && root.find_subcommand(command).is_none() {
        return Err(first.clone());
    }
    let mut end = at;
    let mut inner = &root;
    while let Some(next) = texts.get(end).and_then(|word| inner.find_subcommand(word)) {
        inner = next;
        end += 1;
    }
    Ok([&words[at..end], &words[..at], &words[end..]].concat())
}

/// The command that the words name: `kubectl create deployment`, and whether it is a group of commands.
fn path(words: &[String]) -> (String, bool) {
    let root = commands::command();
    let (mut at, mut path): (&Command, String) = (&root, "kubectl".into());
    for word in plain(words) {
        if let Some(inner) = at.find_subcommand(word) {
            path.push(' ');
            path.push_str(inner.get_name());
            at = inner;
        }
    }
    (path, at.has_subcommands())
}

/// Words of the command line that are neither the command nor flags.
fn arguments(words: &[String], path: &str) -> String {
    let named = path.split(' ').skip(1).count();
    plain(words).into_iter().skip(named).collect::<Vec<_>>().join(" ")
}

/// Words that are neither flags nor the values of global ones.
fn plain(words: &[String]) -> Vec<&str> {
    let root = commands::command();
    let takes_next = |word: &str| {
        root.get_arguments().any(|arg| {
            let is_long = arg.get_long().is_some_and(|long| word == format!("--{long}"));
            let is_short = arg.get_short().is_some_and(|short| word == format!("-{short}"));
            (is_long || is_short) && arg.get_action().takes_values() && !arg.is_require_equals_set()
        })
    };
    let (mut found, mut is_value) = (Vec::new(), false);
    for word in words {
        if word.starts_with('-') {
            is_value = takes_next(word);
        } else if !std::mem::take(&mut is_value) {
            found.push(word.as_str());
        }
    }
    found
}

fn explain(error: &Error, words: &[String]) -> String {
    let text = |kind| error.get(kind).map(ToString::to_string).unwrap_or_default();
    let argument = text(ContextKind::InvalidArg);
    let (path, is_group) = path(words);
    let usage = format!("See '{path} --help' for usage.");
    let examples = format!("See '{path} -h' for help and examples");
    match error.kind() {
        ErrorKind::UnknownArgument if argument.starts_with("--") => {
            format!("error: unknown flag: {}\n{usage}", argument.split('=').next().unwrap_or(&argument))
        }
        ErrorKind::UnknownArgument if argument.starts_with('-') => {
            let letter = argument.trim_start_matches('-').chars().next().unwrap_or('-');
            format!("error: unknown shorthand flag: '{letter}' in {argument}\n{usage}")
        }
        ErrorKind::UnknownArgument if path == "kubectl exec" => format!(
            "error: exec [POD] [COMMAND] is not supported anymore. Use exec [POD] -- [COMMAND] instead\n{examples}"
        ),
        ErrorKind::UnknownArgument | ErrorKind::InvalidSubcommand | ErrorKind::MissingSubcommand => {
            let given = match text(ContextKind::InvalidSubcommand) {
                empty if empty.is_empty() => argument,
                name => name,
            };
            match path.as_str() {
                "kubectl" => format!("error: unknown command \"{given}\" for \"kubectl\"{}", suggestions(&given)),
                "kubectl version" => format!("error: extra arguments: [{}]", arguments(words, &path)),
                "kubectl logs" => format!("error: {}\n{examples}", commands::LOGS_USAGE),
                "kubectl api-resources" | "kubectl api-versions" | "kubectl config view" => {
                    format!("error: unexpected arguments: [{}]\n{examples}", arguments(words, &path))
                }
                _ if is_group && path != "kubectl create" && path != "kubectl apply" => {
                    let given = if path.starts_with("kubectl create ") { arguments(words, &path) } else { given };
                    format!("error: unknown command \"{given}\"\n{examples}")
                }
                _ => format!("error: Unexpected args: [{}]\n{examples}", arguments(words, &path)),
            }
        }
        ErrorKind::MissingRequiredArgument => missing(&path, words, &examples),
        ErrorKind::InvalidValue if text(ContextKind::InvalidValue).is_empty() => match words.last() {
            Some(word) if word.starts_with("--") => format!("error: flag needs an argument: {word}\n{usage}"),
            Some(word) => {
                let letter = word.chars().last().unwrap_or('-');
                format!("error: flag needs an argument: '{letter}' in {word}\n{usage}")
            }
            None => usage,
        },
        ErrorKind::ValueValidation | ErrorKind::TooManyValues => {
            let value = text(ContextKind::InvalidValue);
            let why = match error.source().map(ToString::to_string) {
                Some(why)
                    if why.starts_with("strconv")
                        || why.starts_with("time: ")
                        || why.ends_with(" must be formatted as key=value")
                        || why.starts_with("syntax error") =>
                {
                    why
                }
                _ => format!("strconv.ParseInt: parsing \"{value}\": invalid syntax"),
            };
            format!("error: invalid argument \"{value}\" for \"{}\" flag: {why}\n{usage}", flag(&argument, &path))
        }
        // A word behind flags of `apply` and `create` is no sub-command.
        ErrorKind::ArgumentConflict if is_group => {
            format!("error: Unexpected args: [{}]\n{examples}", arguments(words, &path))
        }
        _ => {
            let text = error.to_string();
            format!("error: {}", text.strip_prefix("error: ").unwrap_or(&text))
        }
    }
}

/// `-w, --watch`: a flag with its short form, from what the parser calls it (`--watch[=<watch>]`).
fn flag(argument: &str, path: &str) -> String {
    let end = argument.find(['[', '=', ' ']).unwrap_or(argument.len());
    let (name, root) = (&argument[..end], commands::command());
    let mut at = &root;
    for word in path.split(' ').skip(1) {
        at = at.find_subcommand(word).unwrap_or(at);
    }
    let known = at.get_arguments().chain(root.get_arguments());
    let mut found = known.filter(|arg| arg.get_long().is_some_and(|long| name == format!("--{long}")));
    match found.next().and_then(clap::Arg::get_short) {
        Some(short) => format!("-{short}, {name}"),
        None => name.to_owned(),
    }
}

/// What a command says that misses its argument.
fn missing(path: &str, words: &[String], examples: &str) -> String {
    let given = |flag: &str| words.iter().any(|word| word.split('=').next() == Some(flag));
    match path {
        "kubectl run" | "kubectl create deployment" if !given("--image") => {
            "error: required flag(s) \"image\" not set".into()
        }
        "kubectl run" => format!("error: NAME is required for run\n{examples}"),
        "kubectl exec" => "error: pod, type/name or --filename must be specified".into(),
        "kubectl config delete-user" => format!("error: user to delete is required\n{examples}"),
        path if path.starts_with("kubectl create ") => {
            format!("error: exactly one NAME is required, got 0\n{examples}")
        }
        _ => format!("error: required argument not given\n{examples}"),
    }
}

/// Commands that are spelled much like an unknown one.
fn suggestions(given: &str) -> String {
    let given = given.to_lowercase();
    let names = commands::ALL.iter().map(|command| command.words().get_name().to_owned());
    let near: Vec<String> = names.filter(|name| name.starts_with(&given) || edits(name, &given) <= MAX_EDITS).collect();
    if near.is_empty() {
        return String::new();
    }
    format!("\n\nDid you mean this?\n{}", near.iter().map(|name| format!("\t{name}\n")).collect::<String>())
}

/// The Levenshtein distance.
fn edits(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.chars().collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (i, a) in one.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, b) in other.iter().enumerate() {
            let replaced = diagonal + usize::from(a != *b);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_may_stand_before_the_command() {
        let cases = [
            ("get pods -o name", Ok("get pods -o name")),
            ("-o name get ns", Ok("get -o name ns")),
            ("-l a=b get pods", Ok("get -l a=b pods")),
            ("--tail 1 logs x -- y", Ok("logs --tail 1 x -- y")),
            ("-it exec x -- true", Ok("exec -it x -- true")),
            ("-n a create deployment web --image=x", Ok("create deployment -n a web --image=x")),
            ("--match-server-version -o name get ns", Ok("get --match-server-version -o name ns")),
            ("--help get", Ok("get --help")),
            ("-A get pods", Err("-A")),
            ("-n default nothing", Err("-n")),
            ("-A", Ok("-A")),
            ("-n", Ok("-n")),
        ];
        for (line, want) in cases {
            let words = line.split(' ').map(OsString::from).collect();
            let got = flags_behind_command(words).map(|words| {
                words.iter().map(|word| word.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ")
            });
            assert_eq!(got.as_deref().map_err(String::as_str), want, "{line}");
        }
    }

    #[test]
    fn mistakes_are_worded_as_the_official_ones() {
        let cases = [
            ("get pods --foo", "error: unknown flag: --foo\nSee 'kubectl get --help' for usage."),
            ("get pods -Z", "error: unknown shorthand flag: 'Z' in -Z\nSee 'kubectl get --help' for usage."),
            ("get pods -n", "error: flag needs an argument: 'n' in -n\nSee 'kubectl get --help' for usage."),
            ("get pods --namespace", "error: flag needs an argument: --namespace\nSee 'kubectl get --help' for usage."),
            (
                "get pods --chunk-size=x",
                "error: invalid argument \"x\" for \"--chunk-size\" flag: strconv.ParseInt: parsing \"x\": invalid syntax\n\
                 See 'kubectl get --help' for usage.",
            ),
            (
                "get pods --watch=foo",
                "error: invalid argument \"foo\" for \"-w, --watch\" flag: strconv.ParseBool: parsing \"foo\": invalid syntax\n\
                 See 'kubectl get --help' for usage.",
            ),
            (
                "scale deploy web --replicas=1 --timeout=1x",
                "error: invalid argument \"1x\" for \"--timeout\" flag: time: unknown unit \"x\" in duration \"1x\"\n\
                 See 'kubectl scale --help' for usage.",
            ),
            (
                "api-resources foo",
                "error: unexpected arguments: [foo]\nSee 'kubectl api-resources -h' for help and examples",
            ),
            ("create nothing x", "error: Unexpected args: [nothing x]\nSee 'kubectl create -h' for help and examples"),
            ("auth foo", "error: unknown command \"foo\"\nSee 'kubectl auth -h' for help and examples"),
            ("gte pods", "error: unknown command \"gte\" for \"kubectl\"\n\nDid you mean this?\n\tget\n"),
            ("create deployment", "error: required flag(s) \"image\" not set"),
            (
                "create configmap",
                "error: exactly one NAME is required, got 0\nSee 'kubectl create configmap -h' for help and examples",
            ),
        ];
        for (line, want) in cases {
            let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
            let error = commands::command().no_binary_name(true).try_get_matches_from(&words).expect_err(line);
            assert_eq!(explain(&error, &words), want, "{line}");
        }
    }
}
