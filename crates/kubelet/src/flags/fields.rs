//! Flags that are nothing but a field of the configuration file: what is given replaces the field, and is then looked at
//! as if it stood in the file.
use clap::{Arg, ArgAction, ArgMatches, Command, Error, FromArgMatches};
use serde_json::{Map, Value, json};

/// How a flag's text becomes the field's value.
#[derive(Clone, Copy)]
enum Form {
    Text,
    Number,
    Switch,
    /// Separated by commas.
    List,
    /// `a=b,c=d`; upstream's eviction flags take `a<b` too.
    Pairs,
}

use Form::{List, Number, Pairs, Switch, Text};

/// Flag, field, form.
const FIELDS: &[(&str, &str, Form)] = &[
    ("allowed-unsafe-sysctls", "allowedUnsafeSysctls", List),
    ("authentication-token-webhook-cache-ttl", "authentication.webhook.cacheTTL", Text),
    ("authorization-webhook-cache-authorized-ttl", "authorization.webhook.cacheAuthorizedTTL", Text),
    ("authorization-webhook-cache-unauthorized-ttl", "authorization.webhook.cacheUnauthorizedTTL", Text),
    ("container-log-max-files", "containerLogMaxFiles", Number),
    ("container-log-max-size", "containerLogMaxSize", Text),
    ("contention-profiling", "enableContentionProfiling", Switch),
    ("cpu-cfs-quota", "cpuCFSQuota", Switch),
    ("cpu-cfs-quota-period", "cpuCFSQuotaPeriod", Text),
    ("cpu-manager-policy", "cpuManagerPolicy", Text),
    ("cpu-manager-policy-options", "cpuManagerPolicyOptions", Pairs),
    ("cpu-manager-reconcile-period", "cpuManagerReconcilePeriod", Text),
    ("enable-controller-attach-detach", "enableControllerAttachDetach", Switch),
    ("enable-debugging-handlers", "enableDebuggingHandlers", Switch),
    ("enable-server", "enableServer", Switch),
    ("enforce-node-allocatable", "enforceNodeAllocatable", List),
    ("event-burst", "eventBurst", Number),
    ("event-qps", "eventRecordQPS", Number),
    ("eviction-hard", "evictionHard", Pairs),
    ("eviction-max-pod-grace-period", "evictionMaxPodGracePeriod", Number),
    ("eviction-minimum-reclaim", "evictionMinimumReclaim", Pairs),
    ("eviction-pressure-transition-period", "evictionPressureTransitionPeriod", Text),
    ("eviction-soft", "evictionSoft", Pairs),
    ("eviction-soft-grace-period", "evictionSoftGracePeriod", Pairs),
    ("fail-cgroupv1", "failCgroupV1", Switch),
    ("file-check-frequency", "fileCheckFrequency", Text),
    ("hairpin-mode", "hairpinMode", Text),
    ("http-check-frequency", "httpCheckFrequency", Text),
    ("image-gc-high-threshold", "imageGCHighThresholdPercent", Number),
    ("image-gc-low-threshold", "imageGCLowThresholdPercent", Number),
    ("kernel-memcg-notification", "kernelMemcgNotification", Switch),
    ("kube-api-burst", "kubeAPIBurst", Number),
    ("kube-api-content-type", "contentType", Text),
    ("kube-api-qps", "kubeAPIQPS", Number),
    ("kube-reserved", "kubeReserved", Pairs),
    ("kube-reserved-cgroup", "kubeReservedCgroup", Text),
    ("kubelet-cgroups", "kubeletCgroups", Text),
    ("local-storage-capacity-isolation", "localStorageCapacityIsolation", Switch),
    ("make-iptables-util-chains", "makeIPTablesUtilChains", Switch),
    ("manifest-url", "staticPodURL", Text),
    ("manifest-url-header", "staticPodURLHeader", Pairs),
    ("max-open-files", "maxOpenFiles", Number),
    ("memory-manager-policy", "memoryManagerPolicy", Text),
    ("minimum-image-ttl-duration", "imageMinimumGCAge", Text),
    ("node-status-max-images", "nodeStatusMaxImages", Number),
    ("node-status-update-frequency", "nodeStatusUpdateFrequency", Text),
    ("oom-score-adj", "oomScoreAdj", Number),
    ("pod-max-pids", "podPidsLimit", Number),
    ("pods-per-core", "podsPerCore", Number),
    ("protect-kernel-defaults", "protectKernelDefaults", Switch),
    ("provider-id", "providerID", Text),
    ("qos-reserved", "qosReserved", Pairs),
    ("read-only-port", "readOnlyPort", Number),
    ("registry-burst", "registryBurst", Number),
    ("registry-qps", "registryPullQPS", Number),
    ("reserved-cpus", "reservedSystemCPUs", Text),
    ("reserved-memory", "reservedMemory", Text),
    ("rotate-certificates", "rotateCertificates", Switch),
    ("rotate-server-certificates", "serverTLSBootstrap", Switch),
    ("runonce", "runOnce", Switch),
    ("runtime-request-timeout", "runtimeRequestTimeout", Text),
    ("seccomp-default", "seccompDefault", Switch),
    ("serialize-image-pulls", "serializeImagePulls", Switch),
    ("streaming-connection-idle-timeout", "streamingConnectionIdleTimeout", Text),
    ("sync-frequency", "syncFrequency", Text),
    ("system-cgroups", "systemCgroups", Text),
    ("system-reserved", "systemReserved", Pairs),
    ("system-reserved-cgroup", "systemReservedCgroup", Text),
    ("tls-cipher-suites", "tlsCipherSuites", List),
    ("tls-curve-preferences", "tlsCurvePreferences", List),
    ("tls-min-version", "tlsMinVersion", Text),
    ("topology-manager-policy", "topologyManagerPolicy", Text),
    ("topology-manager-policy-options", "topologyManagerPolicyOptions", Pairs),
    ("topology-manager-scope", "topologyManagerScope", Text),
    ("volume-plugin-dir", "volumePluginDir", Text),
    ("volume-stats-agg-period", "volumeStatsAggPeriod", Text),
];

/// Whether a flag is one of these.
pub(super) fn is_field(flag: &str) -> bool {
    FIELDS.iter().any(|(name, ..)| *name == flag)
}

/// Upstream's warning for each of these flags, as pflag prints it.
pub(super) const DEPRECATED: &str = "This parameter should be set via the config file specified by the Kubelet's --config flag. See \
     https://kubernetes.io/docs/tasks/administer-cluster/kubelet-config-file/ for more information.";

impl Form {
    fn value(self, text: &str) -> Result<Value, String> {
        let items = || text.split(',').map(str::trim).filter(|item| !item.is_empty());
        Ok(match self {
            Text => json!(text),
            Number => match text.parse::<i64>() {
                Ok(number) => json!(number),
                Err(_) => return Err(format!("strconv.ParseInt: parsing {text:?}: invalid syntax")),
            },
            Switch => match text {
                "true" | "1" | "t" | "T" | "TRUE" | "True" => json!(true),
                "false" | "0" | "f" | "F" | "FALSE" | "False" => json!(false),
                _ => return Err(format!("strconv.ParseBool: parsing {text:?}: invalid syntax")),
            },
            List => json!(items().collect::<Vec<_>>()),
            Pairs => {
                let pair = |item: &str| {
                    let (key, value) = item.split_once('=').or_else(|| item.split_once('<'))?;
                    Some((key.trim().to_owned(), json!(value.trim())))
                };
                let pairs =
                    items().map(|item| pair(item).ok_or(format!("malformed pair, expect string=string: {item}")));
                Value::Object(pairs.collect::<Result<Map<_, _>, _>>()?)
            }
        })
    }
}

/// The fields that flags set, as a part of a KubeletConfiguration.
#[derive(Clone, Debug, Default)]
pub struct FieldFlags(Value);

impl FieldFlags {
    /// Lays the fields over those of a file.
    pub fn over(&self, file: &mut Value) {
        if let Some(fields) = self.0.as_object().filter(|fields| !fields.is_empty()) {
            if !file.is_object() {
                *file = json!({});
            }
            merge(file, fields);
        }
    }

    fn set(&mut self, path: &str, value: Value) {
        let mut at = &mut self.0;
        for part in path.split('.') {
            if !at.is_object() {
                *at = json!({});
            }
            at = &mut at[part];
        }
        *at = value;
    }
}

fn merge(into: &mut Value, fields: &Map<String, Value>) {
    for (name, value) in fields {
        match (name.as_str(), value.as_object()) {
            ("authentication" | "authorization" | "webhook", Some(inner)) => {
                if !into[name].is_object() {
                    into[name] = json!({});
                }
                merge(&mut into[name], inner);
            }
            _ => into[name] = value.clone(),
        }
    }
}

impl FromArgMatches for FieldFlags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, Error> {
        let mut flags = FieldFlags::default();
        flags.update_from_arg_matches(matches)?;
        Ok(flags)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), Error> {
        for (flag, field, form) in FIELDS {
            if let Ok(Some(text)) = matches.try_get_one::<String>(flag) {
                let value = form.value(text).map_err(|why| {
                    Error::raw(
                        clap::error::ErrorKind::ValueValidation,
                        format!("invalid argument {text:?} for \"--{flag}\" flag: {why}"),
                    )
                })?;
                self.set(field, value);
            }
        }
        Ok(())
    }
}

impl clap::Args for FieldFlags {
    fn augment_args(mut command: Command) -> Command {
        for (flag, field, form) in FIELDS {
            let arg = Arg::new(*flag).long(*flag).help_heading("Configuration fields").action(ArgAction::Set);
            let arg = arg.allow_hyphen_values(true).help(format!("The field {field} (DEPRECATED: set it in --config)"));
            let arg = match form {
                Switch => arg.num_args(0..=1).default_missing_value("true").require_equals(true),
                _ => arg,
            };
            command = command.arg(arg);
        }
        command
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use clap::Args;

    fn over(words: &[&str], mut file: Value) -> Result<Value, String> {
        let command = FieldFlags::augment_args(Command::new("kubelet").no_binary_name(true));
        let matches = command.try_get_matches_from(words).map_err(|error| error.to_string())?;
        FieldFlags::from_arg_matches(&matches).map_err(|error| error.to_string())?.over(&mut file);
        Ok(file)
    }

    #[test]
    fn flags_are_fields_of_the_file() {
        let words = [
            "--authorization-webhook-cache-authorized-ttl=1m",
            "--eviction-hard=memory.available<5%,nodefs.available=1Gi",
            "--pod-max-pids",
            "-1",
            "--rotate-certificates",
            "--seccomp-default=false",
            "--allowed-unsafe-sysctls=a,b",
        ];
        let file = json!({"authorization": {"mode": "Webhook"}, "podPidsLimit": 7, "port": 1});
        let want = json!({"authorization": {"mode": "Webhook", "webhook": {"cacheAuthorizedTTL": "1m"}}, "port": 1,
            "evictionHard": {"memory.available": "5%", "nodefs.available": "1Gi"}, "podPidsLimit": -1,
            "rotateCertificates": true, "seccompDefault": false, "allowedUnsafeSysctls": ["a", "b"]});
        assert_eq!(over(&words, file).unwrap(), want);
        assert_eq!(over(&[], Value::Null).unwrap(), Value::Null);
        let error = over(&["--max-open-files=x"], Value::Null).unwrap_err();
        let want =
            "invalid argument \"x\" for \"--max-open-files\" flag: strconv.ParseInt: parsing \"x\": invalid syntax";
        assert!(error.contains(want), "{error}");
    }
}
