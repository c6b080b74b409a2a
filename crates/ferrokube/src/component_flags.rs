//! Flags that all components have, what upstream says about wrong ones, and flags that are taken without effect.
//!
//! Source: `k8s.io/component-base` (logs, metrics, feature gates, version); texts are pflag's and cobra's, as scripts and
//! people know them. Every failure of a command line ends with status 1.
use clap::{Arg, ArgAction, ArgMatches, Args, Command, error::ContextKind, error::ErrorKind, parser::ValueSource};
use std::{error::Error as _, ffi::OsString};

/// Logs, metrics, feature gates and the version.
#[derive(Args, Clone, Debug)]
pub struct Common {
    /// Number for the log level verbosity
    #[arg(short = 'v', long = "v", value_name = "LEVEL", default_value_t = 0, help_heading = "Logs flags")]
    pub verbosity: u8,
    /// Comma-separated list of pattern=N settings for file-filtered logging; accepted, the level of --v counts
    #[arg(long, value_name = "PATTERN=N,…", help_heading = "Logs flags")]
    pub vmodule: Option<String>,
    /// Sets the log format: text or json
    #[arg(long, value_name = "FORMAT", default_value = "text", help_heading = "Logs flags")]
    pub logging_format: String,
    /// Maximum time between log flushes; lines are written at once here
    #[arg(long, value_name = "DURATION", help_heading = "Logs flags")]
    pub log_flush_frequency: Option<String>,
    /// [Alpha] Size of the buffer of info messages; lines are written at once here
    #[arg(long, value_name = "QUANTITY", help_heading = "Logs flags")]
    pub log_json_info_buffer_size: Option<String>,
    /// [Alpha] Write info messages to stdout; accepted, all go to stderr
    #[arg(long, num_args = 0..=1, default_missing_value = "true", require_equals = true, help_heading = "Logs flags")]
    pub log_json_split_stream: Option<bool>,
    /// [Alpha] Size of the buffer of info messages; lines are written at once here
    #[arg(long, value_name = "QUANTITY", help_heading = "Logs flags")]
    pub log_text_info_buffer_size: Option<String>,
    /// [Alpha] Write info messages to stdout; accepted, all go to stderr
    #[arg(long, num_args = 0..=1, default_missing_value = "true", require_equals = true, help_heading = "Logs flags")]
    pub log_text_split_stream: Option<bool>,

    /// The map from metric-label to value allow-list of this label; accepted, labels are not limited
    #[arg(long, value_name = "MAP", help_heading = "Metrics flags")]
    pub allow_metric_labels: Vec<String>,
    /// The path to the manifest file of the allow-list mapping; accepted, labels are not limited
    #[arg(long, value_name = "FILE", help_heading = "Metrics flags")]
    pub allow_metric_labels_manifest: Option<String>,
    /// A list of fully qualified metric names to be disabled; accepted, none of upstream's beta metrics is served
    #[arg(long, value_name = "NAMES", help_heading = "Metrics flags")]
    pub disabled_metrics: Vec<String>,
    /// The previous version for which you want to show hidden metrics
    #[arg(long, value_name = "VERSION", default_value = "", help_heading = "Metrics flags")]
    pub show_hidden_metrics_for_version: String,

    /// A set of key=value pairs that describe feature gates; checked as upstream's, none changes anything here
    #[arg(long, value_name = "Gate=true|false,…", help_heading = "Generic flags")]
    pub feature_gates: Vec<String>,
    /// Enable profiling via web interface; accepted, there is none
    #[arg(long, num_args = 0..=1, default_missing_value = "true", require_equals = true, help_heading = "Generic flags")]
    pub profiling: Option<bool>,
    /// --version, --version=raw prints version information and quits
    #[arg(long, num_args = 0..=1, default_missing_value = "true", require_equals = true, value_name = "version", help_heading = "Generic flags")]
    pub version: Option<String>,
}

/// Flags of one component that are taken without effect: name, whether it is a switch, and the only value that is taken
/// if there is only one.
type Tolerated = (&'static str, bool, Option<&'static str>);

const fn value(name: &'static str) -> Tolerated {
    (name, false, None)
}

const fn switch(name: &'static str) -> Tolerated {
    (name, true, None)
}

const fn only(name: &'static str, value: &'static str) -> Tolerated {
    (name, false, Some(value))
}

/// Of the delegated authentication and authorization, and of serving: what is not there cannot let anybody in.
const SERVING: &[Tolerated] = &[
    value("authentication-token-webhook-cache-ttl"),
    value("authorization-webhook-cache-authorized-ttl"),
    value("authorization-webhook-cache-unauthorized-ttl"),
    value("cert-dir"),
    value("http2-max-streams-per-connection"),
    switch("contention-profiling"),
    switch("permit-address-sharing"),
    switch("permit-port-sharing"),
    value("requestheader-allowed-names"),
    value("requestheader-client-ca-file"),
    value("requestheader-extra-headers-prefix"),
    value("requestheader-group-headers"),
    value("requestheader-uid-headers"),
    value("requestheader-username-headers"),
    only("tls-min-version", "VersionTLS12"),
];

fn tolerated(component: &str) -> Vec<Tolerated> {
    let own: &[Tolerated] = match component {
        "kube-apiserver" => &[
            switch("contention-profiling"),
            // Until API services are proxied, nobody is shown this certificate.
            value("proxy-client-cert-file"),
            value("proxy-client-key-file"),
            only("runtime-config", ""),
            only("storage-backend", "etcd3"),
            only("tls-min-version", "VersionTLS12"),
        ],
        "kube-scheduler" => &[value("kube-api-content-type"), value("pod-max-in-unschedulable-pods-duration")],
        "kube-controller-manager" => &[
            value("cluster-name"),
            value("concurrent-device-taint-eviction-syncs"),
            value("concurrent-resource-claim-syncs"),
            value("concurrent-validating-admission-policy-status-syncs"),
            value("controller-start-interval"),
            value("endpoint-updates-batch-period"),
            value("endpointslice-updates-batch-period"),
            only("leader-elect-resource-lock", "leases"),
            value("legacy-service-account-token-clean-up-period"),
            value("min-resync-period"),
            value("mirroring-endpointslice-updates-batch-period"),
            value("node-sync-period"),
            value("route-reconciliation-period"),
        ],
        "kube-proxy" => &[value("config-sync-period"), value("kube-api-content-type"), value("oom-score-adj")],
        _ => &[],
    };
    let serving = if matches!(component, "kube-scheduler" | "kube-controller-manager") { SERVING } else { &[] };
    own.iter().chain(serving).copied().collect()
}

/// The component's own flags, those of all, and those without effect.
pub fn command<F: Args>(name: &'static str) -> Command {
    let mut command = Common::augment_args(F::augment_args(Command::new(name)));
    for (flag, is_switch, _) in tolerated(name) {
        let arg = Arg::new(flag).long(flag).action(ArgAction::Set).help_heading("Flags without effect");
        let arg = arg.help("Known to upstream; accepted, and changes nothing here").allow_hyphen_values(true);
        let arg = if is_switch { arg.num_args(0..=1).default_missing_value("true").require_equals(true) } else { arg };
        command = command.arg(arg);
    }
    command.disable_version_flag(true).args_override_self(true)
}

/// Underscores in names of flags are dashes, as upstream's normalisation has it.
pub fn normalized(words: &[OsString]) -> Vec<OsString> {
    let one = |word: &OsString| match word.to_str() {
        Some(text) if text.starts_with("--") => {
            let (name, value) = text.split_once('=').map_or((text, None), |(name, value)| (name, Some(value)));
            let name = name.replace('_', "-");
            value.map_or_else(|| name.clone(), |value| format!("{name}={value}")).into()
        }
        _ => word.clone(),
    };
    let end = words.iter().position(|word| word == "--").unwrap_or(words.len());
    let (flags, rest) = words.split_at(end);
    flags.iter().map(one).chain(rest.iter().cloned()).collect()
}

/// What upstream prints for `--version` and ends; `None` when it was not asked for.
///
/// # Errors
/// The flag's value makes no sense; pflag's text.
pub fn version(common: &Common) -> Result<Option<String>, String> {
    let asked = common.version.as_deref().unwrap_or("false");
    let git = apiserver::version::GIT_VERSION;
    match asked {
        "false" | "False" | "FALSE" | "f" | "F" | "0" => Ok(None),
        "true" | "True" | "TRUE" | "t" | "T" | "1" => Ok(Some(format!("Kubernetes {git}"))),
        "raw" => Ok(Some(apiserver::version::go_literal())),
        _ => Err(format!(
            "invalid argument {asked:?} for \"--version\" flag: strconv.ParseBool: parsing {asked:?}: invalid syntax"
        )),
    }
}

/// Looks at the values of the common flags and of those without effect.
///
/// # Errors
/// One is not good; the text is upstream's where upstream has one.
pub fn check(component: &str, common: &Common, matches: &ArgMatches) -> Result<telemetry::Format, String> {
    let format = match common.logging_format.as_str() {
        "text" => telemetry::Format::Text,
        "json" => telemetry::Format::Json,
        other => return Err(format!("format: Invalid value: {other:?}: Unsupported log format")),
    };
    let hidden = common.show_hidden_metrics_for_version.as_str();
    if !matches!(hidden, "" | "1.35") {
        return Err("--show-hidden-metrics-for-version must be omitted or have the value '1.35'. \
                    Only the previous minor version is allowed"
            .into());
    }
    for (flag, _, only) in tolerated(component) {
        let given = matches.try_get_one::<String>(flag).ok().flatten();
        if let (Some(given), Some(only)) = (given, only)
            && given != only
        {
            return Err(format!("--{flag}={given} is known but not yet supported by ferrokube"));
        }
    }
    Ok(format)
}

/// The gates that are set to what they are not here.
///
/// # Errors
/// A gate does not exist or is locked, in upstream's words.
pub fn gates(common: &Common) -> Result<Vec<String>, String> {
    let gates = apimachinery::feature_gates::parse(&common.feature_gates.join(","))?;
    let names = apimachinery::feature_gates::check(gates.iter().map(|(name, value)| (name.as_str(), *value)))?;
    Ok(names.into_iter().map(str::to_owned).collect())
}

/// pflag's warnings about the flags that were given.
pub fn deprecations(command: &Command, matches: &ArgMatches, of: fn(&str) -> Option<&'static str>) -> Vec<String> {
    let given = |arg: &&Arg| matches.value_source(arg.get_id().as_str()) == Some(ValueSource::CommandLine);
    let names = command.get_arguments().filter(given).filter_map(Arg::get_long);
    names.filter_map(|name| Some(format!("Flag --{name} has been deprecated, {}", of(name)?))).collect()
}

/// What Go says about a value that is not of the flag's type.
fn reason(error: &clap::Error, value: &str) -> String {
    match error.source().map(ToString::to_string) {
        Some(why) if why.contains("invalid digit") || why.contains("cannot parse integer") => {
            format!("strconv.ParseInt: parsing {value:?}: invalid syntax")
        }
        Some(why) if why.contains("is not in") || why.contains("too large") => {
            format!("strconv.ParseInt: parsing {value:?}: value out of range")
        }
        Some(why) => why,
        None => match error.get(ContextKind::ValidValue) {
            Some(clap::error::ContextValue::Strings(valid)) if valid.iter().any(|v| v == "true") => {
                format!("strconv.ParseBool: parsing {value:?}: invalid syntax")
            }
            Some(valid) => format!("must be one of {valid}"),
            None => "invalid value".into(),
        },
    }
}

/// What pflag and cobra print for a command line that clap refuses; `None` for what they do not refuse (`--help`) or
/// have no words for.
pub fn refusal(component: &str, error: &clap::Error) -> Option<String> {
    let invalid = |kind| error.get(kind).map(ToString::to_string);
    let text = match error.kind() {
        ErrorKind::UnknownArgument => {
            let word = invalid(ContextKind::InvalidArg)?;
            match (word.strip_prefix("--"), word.strip_prefix('-')) {
                (Some(flag), _) => format!("unknown flag: --{}", flag.split('=').next()?),
                (None, Some(letters)) => {
                    format!("unknown shorthand flag: '{}' in -{letters}", letters.chars().next()?)
                }
                (None, None) if component == "kubelet" => return Some(format!("unknown command {word}")),
                (None, None) => return Some(format!("{component:?} does not take any arguments, got [{word:?}]")),
            }
        }
        ErrorKind::InvalidValue | ErrorKind::ValueValidation => {
            let word = invalid(ContextKind::InvalidArg).unwrap_or_default();
            let flag = word.split([' ', '=', '[']).next().unwrap_or_default().to_owned();
            match invalid(ContextKind::InvalidValue) {
                None => error.to_string().trim_start_matches("error: ").trim_end().to_owned(),
                Some(value) if value.is_empty() && error.source().is_none() => {
                    format!("flag needs an argument: {flag}")
                }
                Some(value) => format!("invalid argument {value:?} for \"{flag}\" flag: {}", reason(error, &value)),
            }
        }
        _ => return None,
    };
    Some(if component == "kubelet" { format!("failed to parse kubelet flag: {text}") } else { text })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn refused(component: &'static str, words: &[&str]) -> String {
        let parsed = match component {
            "kubelet" => command::<kubelet::Flags>(component),
            _ => command::<scheduler::Flags>(component),
        };
        let error = parsed.no_binary_name(true).try_get_matches_from(words).unwrap_err();
        refusal(component, &error).unwrap()
    }

    #[test]
    fn refusals_are_pflags() {
        let table: &[(&[&str], &str)] = &[
            (&["--nope"], "unknown flag: --nope"),
            (&["--nope=1"], "unknown flag: --nope"),
            (&["-x"], "unknown shorthand flag: 'x' in -x"),
            (&["word"], "\"kube-scheduler\" does not take any arguments, got [\"word\"]"),
            (&["--secure-port"], "flag needs an argument: --secure-port"),
            (
                &["--secure-port=abc"],
                "invalid argument \"abc\" for \"--secure-port\" flag: strconv.ParseInt: parsing \"abc\": invalid syntax",
            ),
            (
                &["--secure-port=70000"],
                "invalid argument \"70000\" for \"--secure-port\" flag: strconv.ParseInt: parsing \"70000\": value out of range",
            ),
            (
                &["--leader-elect=maybe"],
                "invalid argument \"maybe\" for \"--leader-elect\" flag: strconv.ParseBool: parsing \"maybe\": invalid syntax",
            ),
        ];
        for (words, want) in table {
            assert_eq!(refused("kube-scheduler", words), *want);
        }
        assert_eq!(refused("kubelet", &["--nope"]), "failed to parse kubelet flag: unknown flag: --nope");
        assert_eq!(refused("kubelet", &["word"]), "unknown command word");
    }

    fn common(words: &[&str]) -> (Common, ArgMatches) {
        use clap::FromArgMatches;
        let command = command::<scheduler::Flags>("kube-scheduler").no_binary_name(true);
        let matches = command.try_get_matches_from(words).unwrap();
        (Common::from_arg_matches(&matches).unwrap(), matches)
    }

    #[test]
    fn common_flags() {
        let of = |words: &[&str]| {
            let (common, matches) = common(words);
            check("kube-scheduler", &common, &matches).map(|format| (format, gates(&common)))
        };
        assert_eq!(of(&["--v=4", "-v", "2", "--logging-format=json"]).unwrap().0, telemetry::Format::Json);
        assert_eq!(of(&["--logging-format=x"]).unwrap_err(), "format: Invalid value: \"x\": Unsupported log format");
        assert!(of(&["--show-hidden-metrics-for-version=1.34"]).unwrap_err().contains("have the value '1.35'"));
        assert_eq!(of(&["--feature-gates=X=true"]).unwrap().1.unwrap_err(), "unrecognized feature gate: X");
        assert!(
            of(&["--tls-min-version=VersionTLS12", "--requestheader-client-ca-file=x", "--profiling=false"]).is_ok()
        );
        assert!(of(&["--tls-min-version=VersionTLS13"]).unwrap_err().contains("not yet supported"));
        let version_of = |words: &[&str]| version(&common(words).0);
        assert_eq!(version_of(&[]), Ok(None));
        assert!(version_of(&["--version"]).unwrap().unwrap().starts_with("Kubernetes v1.36."));
        assert!(version_of(&["--version=raw"]).unwrap().unwrap().starts_with("version.Info{Major:\"1\", Minor:\"36\""));
        assert!(version_of(&["--version=x"]).unwrap_err().contains("strconv.ParseBool"));
    }

    #[test]
    fn deprecated_flags_are_warned_about_once_given() {
        let command = command::<kubelet::Flags>("kubelet").no_binary_name(true);
        let words = ["--cgroup-driver=systemd", "--node-ip=10.0.0.1", "--event-qps=1"];
        let matches = command.clone().try_get_matches_from(words).unwrap();
        let warned = deprecations(&command, &matches, kubelet::deprecated_flag);
        assert_eq!(warned.len(), 2, "{warned:?}");
        assert!(
            warned
                .iter()
                .all(|text| text.contains(" has been deprecated, This parameter should be set via the config"))
        );
    }

    #[test]
    fn underscores_are_dashes() {
        let words = ["--leader_elect=a_b", "-v", "x_y", "--", "--a_b"].map(OsString::from);
        assert_eq!(normalized(&words), ["--leader-elect=a_b", "-v", "x_y", "--", "--a_b"]);
    }

    /// Taken, taken without effect, or refused by name: no flag of upstream's is a typing error here.
    #[test]
    fn every_flag_of_upstream_is_known() {
        let components = [
            (command::<apiserver::Flags>("kube-apiserver"), apiserver::UNSUPPORTED_FLAGS),
            (command::<scheduler::Flags>("kube-scheduler"), scheduler::UNSUPPORTED_FLAGS),
            (command::<controllers::Flags>("kube-controller-manager"), controllers::UNSUPPORTED_FLAGS),
            (command::<kubelet::Flags>("kubelet"), kubelet::UNSUPPORTED_FLAGS),
            (command::<proxy::Flags>("kube-proxy"), proxy::UNSUPPORTED_FLAGS),
        ];
        let lines = include_str!("upstream_flags.txt").lines().filter(|line| !line.starts_with('#'));
        let upstream: Vec<(&str, Vec<&str>)> = lines
            .filter_map(|line| line.split_once(": "))
            .map(|(component, flags)| (component, flags.split_whitespace().collect()))
            .collect();
        assert_eq!(upstream.len(), components.len());
        for (mut command, unsupported) in components {
            command.build();
            let known: Vec<&str> = command.get_arguments().filter_map(Arg::get_long).collect();
            let (_, flags) = upstream.iter().find(|(name, _)| *name == command.get_name()).unwrap();
            let unknown: Vec<_> =
                flags.iter().filter(|flag| !known.contains(flag) && !unsupported.contains(flag)).collect();
            assert!(unknown.is_empty(), "{}: {unknown:?}", command.get_name());
            let both: Vec<_> = unsupported.iter().filter(|flag| known.contains(flag)).collect();
            assert!(both.is_empty(), "{}: {both:?}", command.get_name());
        }
    }

    /// The flags of the manifests that `kubeadm init` of v1.36 writes.
    #[test]
    fn command_lines_of_kubeadm_are_taken() {
        let manager = "--allocate-node-cidrs=true --authentication-kubeconfig=/etc/kubernetes/controller-manager.conf \
            --authorization-kubeconfig=/etc/kubernetes/controller-manager.conf --bind-address=127.0.0.1 \
            --client-ca-file=/etc/kubernetes/pki/ca.crt --cluster-cidr=10.244.0.0/16 --cluster-name=kubernetes \
            --cluster-signing-cert-file=/etc/kubernetes/pki/ca.crt --cluster-signing-key-file=/etc/kubernetes/pki/ca.key \
            --controllers=*,bootstrapsigner,tokencleaner --kubeconfig=/etc/kubernetes/controller-manager.conf \
            --leader-elect=true --requestheader-client-ca-file=/etc/kubernetes/pki/front-proxy-ca.crt \
            --root-ca-file=/etc/kubernetes/pki/ca.crt --service-account-private-key-file=/etc/kubernetes/pki/sa.key \
            --service-cluster-ip-range=10.96.0.0/12 --use-service-account-credentials=true";
        let scheduler = "--authentication-kubeconfig=/etc/kubernetes/scheduler.conf \
            --authorization-kubeconfig=/etc/kubernetes/scheduler.conf --bind-address=127.0.0.1 \
            --kubeconfig=/etc/kubernetes/scheduler.conf --leader-elect=true";
        let server = "--advertise-address=10.0.0.1 --allow-privileged=true --authorization-mode=Node,RBAC \
            --client-ca-file=/p/ca.crt --enable-admission-plugins=NodeRestriction --enable-bootstrap-token-auth=true \
            --etcd-cafile=/p/etcd/ca.crt --etcd-certfile=/p/c.crt --etcd-keyfile=/p/c.key \
            --etcd-servers=https://127.0.0.1:2379 --kubelet-client-certificate=/p/k.crt --kubelet-client-key=/p/k.key \
            --kubelet-preferred-address-types=InternalIP,ExternalIP,Hostname --proxy-client-cert-file=/p/f.crt \
            --proxy-client-key-file=/p/f.key --requestheader-allowed-names=front-proxy-client \
            --requestheader-client-ca-file=/p/front-proxy-ca.crt --requestheader-extra-headers-prefix=X-Remote-Extra- \
            --requestheader-group-headers=X-Remote-Group --requestheader-username-headers=X-Remote-User \
            --secure-port=6443 --service-account-issuer=https://kubernetes.default.svc.cluster.local \
            --service-account-key-file=/p/sa.pub --service-account-signing-key-file=/p/sa.key \
            --service-cluster-ip-range=10.96.0.0/12 --tls-cert-file=/p/a.crt --tls-private-key-file=/p/a.key";
        let kubelet = "--bootstrap-kubeconfig=/etc/kubernetes/bootstrap-kubelet.conf \
            --kubeconfig=/etc/kubernetes/kubelet.conf --config=/var/lib/kubelet/config.yaml \
            --container-runtime-endpoint=unix:///run/containerd/containerd.sock --node-ip=10.0.0.1 --node-labels= \
            --pod-infra-container-image=registry.k8s.io/pause:3.10 --runtime-cgroups=/system.slice/containerd.service";
        let proxy = "--config=/var/lib/kube-proxy/config.conf --hostname-override=n1";
        let taken = |command: Command, words: &str| {
            command.no_binary_name(true).try_get_matches_from(words.split_whitespace()).map(drop).unwrap()
        };
        taken(command::<controllers::Flags>("kube-controller-manager"), manager);
        taken(command::<scheduler::Flags>("kube-scheduler"), scheduler);
        taken(command::<apiserver::Flags>("kube-apiserver"), server);
        taken(command::<kubelet::Flags>("kubelet"), kubelet);
        taken(command::<proxy::Flags>("kube-proxy"), proxy);
    }

    #[test]
    fn every_components_flags_are_consistent() {
        command::<apiserver::Flags>("kube-apiserver").debug_assert();
        command::<scheduler::Flags>("kube-scheduler").debug_assert();
        command::<controllers::Flags>("kube-controller-manager").debug_assert();
        command::<kubelet::Flags>("kubelet").debug_assert();
        command::<proxy::Flags>("kube-proxy").debug_assert();
        command::<dns::Flags>("dns").debug_assert();
    }
}
