//! Flags that every command takes: which cluster, which user, which namespace.
use clap::{Arg, ArgAction, ArgMatches, Command};

/// (long, short, help) of flags with a value.
const VALUES: [(&str, Option<char>, &str); 15] = [
    ("kubeconfig", None, "Path to the kubeconfig file to use for CLI requests."),
    ("context", None, "The name of the kubeconfig context to use"),
    ("cluster", None, "The name of the kubeconfig cluster to use"),
    ("user", None, "The name of the kubeconfig user to use"),
    ("namespace", Some('n'), "If present, the namespace scope for this CLI request"),
    ("server", Some('s'), "The address and port of the Kubernetes API server"),
    ("token", None, "Bearer token for authentication to the API server"),
    ("as", None, "Username to impersonate for the operation."),
    ("as-uid", None, "UID to impersonate for the operation."),
    ("certificate-authority", None, "Path to a cert file for the certificate authority"),
    ("client-certificate", None, "Path to a client certificate file for TLS"),
    ("client-key", None, "Path to a client key file for TLS"),
    ("tls-server-name", None, "Server name to use for server certificate validation."),
    ("request-timeout", None, "The length of time to wait before giving up on a single server request."),
    ("cache-dir", None, "Default cache directory"),
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
    pub insecure: bool,
    pub verbosity: u8,
}

/// Add the global flags to the root command.
pub fn add(mut command: Command) -> Command {
    let heading = "Global options";
    for (long, short, help) in VALUES {
        let mut arg = Arg::new(long).long(long).help(help).global(true).help_heading(heading).hide_short_help(true);
        if let Some(short) = short {
            arg = arg.short(short);
        }
        command = command.arg(arg);
    }
    let group = Arg::new("as-group").long("as-group").global(true).action(ArgAction::Append);
    let insecure = Arg::new("insecure-skip-tls-verify").long("insecure-skip-tls-verify").global(true);
    let verbosity = Arg::new("v").short('v').long("v").global(true).value_parser(clap::value_parser!(u8));
    command
        .arg(group.help("Group to impersonate, can be repeated.").help_heading(heading).hide_short_help(true))
        .arg(
            boolean(insecure)
                .help("If true, the server's certificate will not be checked for validity.")
                .help_heading(heading)
                .hide_short_help(true),
        )
        .arg(
            verbosity
                .default_value("0")
                .help("number for the log level verbosity")
                .help_heading(heading)
                .hide_short_help(true),
        )
}

/// A flag that may stand alone or take `=true` or `=false`, as Go's do.
pub fn boolean(arg: Arg) -> Arg {
    arg.num_args(0..=1).require_equals(true).default_missing_value("true").value_parser(parse_bool)
}

/// What Go's `strconv.ParseBool` takes.
fn parse_bool(text: &str) -> Result<bool, String> {
    match text {
        "1" | "t" | "T" | "TRUE" | "true" | "True" => Ok(true),
        "0" | "f" | "F" | "FALSE" | "false" | "False" => Ok(false),
        _ => Err(format!("strconv.ParseBool: parsing \"{text}\": invalid syntax")),
    }
}

impl Global {
    pub fn from_matches(matches: &ArgMatches) -> Self {
        // Global flags given after the subcommand are found in its own matches.
        let mut deepest = matches;
        // Bindings have a `--user` of their own: a subject.
        let mut has_subjects = false;
        while let Some((name, inner)) = deepest.subcommand() {
            has_subjects |= ["rolebinding", "clusterrolebinding", "subject"].contains(&name);
            deepest = inner;
        }
        let text = |name: &str| deepest.try_get_one::<String>(name).ok().flatten().cloned();
        Global {
            kubeconfig: text("kubeconfig"),
            context: text("context"),
            cluster: text("cluster"),
            user: text("user").filter(|_| !has_subjects),
            namespace: text("namespace"),
            server: text("server"),
            token: text("token"),
            impersonate: text("as"),
            impersonate_groups: deepest
                .try_get_many::<String>("as-group")
                .ok()
                .flatten()
                .map(|all| all.cloned().collect())
                .unwrap_or_default(),
            impersonate_uid: text("as-uid"),
            certificate_authority: text("certificate-authority"),
            client_certificate: text("client-certificate"),
            client_key: text("client-key"),
            tls_server_name: text("tls-server-name"),
            request_timeout: text("request-timeout"),
            insecure: deepest.try_get_one::<bool>("insecure-skip-tls-verify").ok().flatten().copied().unwrap_or(false),
            verbosity: deepest.try_get_one::<u8>("v").ok().flatten().copied().unwrap_or(0),
        }
    }
}
