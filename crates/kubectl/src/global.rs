//! Flags that every command takes: which cluster, which user, which namespace.
use crate::Error;
use clap::{Arg, ArgAction, ArgMatches, Command};
use std::time::Duration;

/// (name, short form, default as help prints it, what it does), sorted by name.
const FLAGS: [(&str, Option<char>, &str, &str); 27] = [
    ("as", None, "''", "Act as this user or service account."),
    ("as-group", None, "[]", "Act as a member of this group; may be repeated."),
    ("as-uid", None, "''", "Act under this UID."),
    ("as-user-extra", None, "[]", "Act with this extra attribute, as key=value; may be repeated."),
    ("cache-dir", None, "'$HOME/.kube/cache'", "The folder for what is remembered of servers."),
    ("certificate-authority", None, "''", "A file with the certificates that the server is checked by"),
    ("client-certificate", None, "''", "A file with the client certificate"),
    ("client-key", None, "''", "A file with the client certificate's key"),
    ("cluster", None, "''", "The kubeconfig's cluster to use"),
    ("context", None, "''", "The kubeconfig's context to use"),
    ("disable-compression", None, "false", "Ask the server for uncompressed answers"),
    (
        "insecure-skip-tls-verify",
        None,
        "false",
        "Do not check the server's certificate; anybody may then be in between",
    ),
    ("kubeconfig", None, "''", "The kubeconfig file to use."),
    ("kuberc", None, "''", "The kuberc file with preferences. KUBERC=off or KUBECTL_KUBERC=false does without."),
    ("log-flush-frequency", None, "5s", "At most this long until logs are written"),
    ("match-server-version", None, "false", "Refuse a server of another version"),
    ("namespace", Some('n'), "''", "The namespace to work in"),
    ("password", None, "''", "The password for basic authentication"),
    ("profile", None, "'none'", "What is profiled: one of (none|cpu|heap|goroutine|threadcreate|block|mutex|trace)"),
    ("profile-output", None, "'profile.pprof'", "The file that the profile goes to"),
    ("request-timeout", None, "'0'", "How long one request may take, as 1s, 2m or 3h; 0 for as long as it takes."),
    ("server", Some('s'), "''", "The server's address and port"),
    ("tls-server-name", None, "''", "The name that the server's certificate is checked for"),
    ("token", None, "''", "The bearer token"),
    ("user", None, "''", "The kubeconfig's user to use"),
    ("username", None, "''", "The user name for basic authentication"),
    ("v", Some('v'), "0", "How much is logged"),
];

/// Flags that stand behind the others in the list of options.
const LAST: [(&str, Option<char>, &str, &str); 2] = [
    ("vmodule", None, "", "How much is logged of single files, as pattern=N between commas"),
    ("warnings-as-errors", None, "false", "Fail when the server warns"),
];

/// What the global flags say.
#[derive(Clone, Debug, Default)]
pub struct Global {
    pub kubeconfig: Option<String>,
    pub context: Option<String>,
    pub cluster: Option<String>,
    pub user: Option<String>,
    pub namespace: Option<String>,
    pub server: Option<String>,
    pub token: Option<String>,
    pub impersonate: Option<String>,
    pub impersonate_groups: Vec<String>,
    pub impersonate_uid: Option<String>,
    pub certificate_authority: Option<String>,
    pub client_certificate: Option<String>,
    pub client_key: Option<String>,
    pub tls_server_name: Option<String>,
    pub request_timeout: Option<String>,
    pub impersonate_extra: Vec<String>,
    pub username: Option<String>,
    pub password: Option<String>,
    pub insecure: bool,
    pub match_server_version: bool,
    pub disable_compression: bool,
    pub profile: Option<String>,
    pub warnings_as_errors: bool,
    pub verbosity: u8,
}

/// Whether every command takes this flag.
pub fn is_flag(name: &str) -> bool {
    FLAGS.iter().chain(&LAST).any(|(known, ..)| *known == name)
}

/// Short form, name, default and description of every flag.
pub fn described() -> impl Iterator<Item = (Option<char>, &'static str, String, &'static str)> {
    let home = std::env::home_dir().unwrap_or_default();
    FLAGS.iter().chain(&LAST).map(move |(name, short, default, help)| {
        (*short, *name, default.replace("$HOME", &home.to_string_lossy()), *help)
    })
}

/// Add the global flags to the root command.
pub fn add(command: Command) -> Command {
    FLAGS.iter().chain(&LAST).fold(command, |command, (name, short, default, help)| {
        let arg = Arg::new(*name).long(*name).help(*help).global(true);
        let arg = match short {
            Some(short) => arg.short(*short),
            None => arg,
        };
        command.arg(match *default {
            "false" => boolean(arg),
            "[]" => arg.action(ArgAction::Append),
            "0" => arg.value_parser(clap::value_parser!(u8)).default_value("0"),
            "" => arg.value_parser(parse_vmodule),
            _ => arg,
        })
    })
}

/// A flag that may stand alone or take `=true` or `=false`, as Go's do.
pub fn boolean(arg: Arg) -> Arg {
    arg.num_args(0..=1).require_equals(true).default_missing_value("true").value_parser(parse_bool)
}

/// A duration as Go has them: it may lie below zero.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    below_zero: bool,
    length: Duration,
}

impl Span {
    fn parse(text: &str) -> Result<Span, String> {
        let (is_negative, length) = match text.strip_prefix('-') {
            Some(length) => (true, length),
            None => (false, text),
        };
        let length = apimachinery::duration::parse(length).map_err(|why| why.to_string())?;
        Ok(Span { below_zero: is_negative && !length.is_zero(), length })
    }

    pub fn is_below_zero(self) -> bool {
        self.below_zero
    }

    pub fn is_zero(self) -> bool {
        self.length.is_zero()
    }

    /// None at all for one below zero.
    pub fn length(self) -> Duration {
        if self.below_zero { Duration::ZERO } else { self.length }
    }
}

/// A flag that takes Go's durations, `1h30m`, negative ones too: for [`span`].
pub fn duration(arg: Arg) -> Arg {
    arg.allow_hyphen_values(true).value_parser(Span::parse)
}

/// What [`duration`] took; zero when the flag was not given.
pub fn span(matches: &ArgMatches, name: &str) -> Span {
    matches.get_one(name).copied().unwrap_or_default()
}

/// `--pod-running-timeout`, for [`patience`].
pub fn pod_running_timeout(default: &'static str) -> Arg {
    duration(Arg::new("pod-running-timeout"))
        .long("pod-running-timeout")
        .default_value(default)
        .help("The length of time (like 5s, 2m, or 3h, higher than zero) to wait until at least one pod is running")
}

/// For how long to wait for a pod.
///
/// # Errors
/// No time at all, in upstream's words.
pub fn patience(matches: &ArgMatches) -> crate::Result<Duration> {
    match span(matches, "pod-running-timeout").length() {
        Duration::ZERO => Err(Error::message("--pod-running-timeout must be higher than zero")),
        patience => Ok(patience),
    }
}

/// `pattern=N` between commas. The patterns are of files; of ours, `http` alone logs.
fn parse_vmodule(text: &str) -> Result<String, String> {
    let is_fine =
        |part: &str| part.split_once('=').is_some_and(|(name, level)| !name.is_empty() && level.parse::<u8>().is_ok());
    match text.split(',').filter(|part| !part.is_empty()).all(is_fine) {
        true => Ok(text.to_owned()),
        false => Err("syntax error: expect comma-separated list of filename=N".into()),
    }
}

/// What Go's `strconv.ParseBool` takes.
fn parse_bool(text: &str) -> Result<bool, String> {
    match text {
        "1" | "t" | "T" | "TRUE" | "true" | "True" => Ok(true),
        "0" | "f" | "F" | "FALSE" | "false" | "False" => Ok(false),
        _ => Err(format!("strconv.ParseBool: parsing \"{text}\": invalid syntax")),
    }
}

/// What upstream's profiler knows. Those are Go's; there is nothing like them here.
const PROFILES: [&str; 7] = ["cpu", "heap", "goroutine", "threadcreate", "block", "mutex", "trace"];

impl Global {
    /// # Errors
    /// A flag has a value that is wrong, or that is known and not supported.
    pub fn check(&self) -> Result<(), Error> {
        match self.profile.as_deref() {
            None => Ok(()),
            Some(known) if PROFILES.contains(&known) => {
                Err(Error::message(format!("--profile={known} is not implemented: only none is")))
            }
            Some(unknown) => Err(Error::message(format!("unknown profile '{unknown}'"))),
        }
    }

    pub fn from_matches(matches: &ArgMatches) -> Self {
        // Global flags given after the subcommand are found in its own matches.
        let mut deepest = matches;
        // Bindings have a `--user` of their own: a subject.
        let mut has_subjects = false;
        while let Some((name, inner)) = deepest.subcommand() {
            has_subjects |= ["rolebinding", "clusterrolebinding", "subject"].contains(&name);
            deepest = inner;
        }
        let text = |name: &str| deepest.try_get_one::<String>(name).ok().flatten().filter(|t| !t.is_empty()).cloned();
        let many =
            |name: &str| deepest.try_get_many::<String>(name).ok().flatten().into_iter().flatten().cloned().collect();
        let flag = |name: &str| deepest.try_get_one::<bool>(name).ok().flatten().copied().unwrap_or(false);
        Global {
            kubeconfig: text("kubeconfig"),
            context: text("context"),
            cluster: text("cluster"),
            user: text("user").filter(|_| !has_subjects),
            namespace: text("namespace"),
            server: text("server"),
            token: text("token"),
            impersonate: text("as"),
            impersonate_groups: many("as-group"),
            impersonate_extra: many("as-user-extra"),
            username: text("username"),
            password: text("password"),
            match_server_version: flag("match-server-version"),
            disable_compression: flag("disable-compression"),
            // `debug` has a flag of its own under this name.
            profile: matches
                .get_one::<String>("profile")
                .filter(|p| !p.is_empty() && *p != "none" && matches.subcommand_name() != Some("debug"))
                .cloned(),
            warnings_as_errors: flag("warnings-as-errors"),
            impersonate_uid: text("as-uid"),
            certificate_authority: text("certificate-authority"),
            client_certificate: text("client-certificate"),
            client_key: text("client-key"),
            tls_server_name: text("tls-server-name"),
            request_timeout: text("request-timeout"),
            insecure: flag("insecure-skip-tls-verify"),
            verbosity: {
                let modules = text("vmodule").unwrap_or_default();
                let of_http = modules.split(',').filter_map(|part| part.strip_prefix("http=")?.parse().ok());
                let general = deepest.try_get_one::<u8>("v").ok().flatten().copied().unwrap_or(0);
                of_http.fold(general, u8::max)
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_durations_of_go_with_a_sign() {
        let span =
            |text| Span::parse(text).map(|span| (span.is_below_zero(), span.is_zero(), span.length().as_millis()));
        let cases = [
            ("1m30s", Ok((false, false, 90_000))),
            ("-1m30s", Ok((true, false, 0))),
            ("0", Ok((false, true, 0))),
            ("-0s", Ok((false, true, 0))),
            ("--1s", Err(())),
            ("-", Err(())),
            ("1", Err(())),
        ];
        for (text, want) in cases {
            assert_eq!(span(text).map_err(drop), want, "{text}");
        }
    }
}
