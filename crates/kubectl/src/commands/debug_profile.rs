//! What the profiles of `kubectl debug` do to the pod that is debugged with, over plain JSON.
//!
//! Source: KEP-1441 and `k8s.io/kubectl/pkg/cmd/debug/profiles.go`. Nothing here talks to a server.
use serde_json::{Value, json};

/// Where a debugging container runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// In the pod itself, as an ephemeral container.
    Ephemeral,
    /// In a copy of the pod.
    Copy,
    /// In a pod of its own, in the namespaces of a node.
    Node,
}

/// How much the debugging container may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Profile {
    Legacy,
    General,
    Baseline,
    Restricted,
    Netadmin,
    Sysadmin,
}

/// What of a pod stays in its copy.
#[derive(Clone, Copy, Debug, Default)]
pub struct Keep {
    pub labels: bool,
    pub annotations: bool,
    pub liveness: bool,
    pub readiness: bool,
    pub startup: bool,
    pub init_containers: bool,
}

const LISTS: [&str; 3] = ["initContainers", "containers", "ephemeralContainers"];

impl Profile {
    /// `None` for names of no profile.
    pub fn parse(name: &str) -> Option<Profile> {
        Some(match name {
            "legacy" => Profile::Legacy,
            "general" => Profile::General,
            "baseline" => Profile::Baseline,
            "restricted" => Profile::Restricted,
            "netadmin" => Profile::Netadmin,
            "sysadmin" => Profile::Sysadmin,
            _ => return None,
        })
    }

    /// Set the pod and the named container of it to what the profile allows.
    pub fn apply(self, pod: &mut Value, container: &str, style: Style, keep: Keep) {
        if let Some(container) = find(pod, container) {
            self.secure(container, style);
        }
        if style == Style::Node {
            self.onto_the_node(pod, container);
        }
        if style == Style::Copy {
            match self {
                Profile::Legacy => remove(&mut pod["metadata"], "labels"),
                _ => strip(pod, keep),
            }
        }
    }

    /// The security context of the debugging container.
    fn secure(self, container: &mut Value, style: Style) {
        let context = |container: &mut Value, field: &str, value: Value| container["securityContext"][field] = value;
        match self {
            Profile::Legacy => {}
            Profile::General if style == Style::Node => remove(container, "securityContext"),
            Profile::General => add_capabilities(container, &["SYS_PTRACE"]),
            Profile::Baseline => remove(container, "securityContext"),
            Profile::Restricted => {
                remove(container, "securityContext");
                context(container, "runAsNonRoot", json!(true));
                context(container, "capabilities", json!({"drop": ["ALL"]}));
                context(container, "allowPrivilegeEscalation", json!(false));
                context(container, "seccompProfile", json!({"type": "RuntimeDefault"}));
            }
            Profile::Netadmin => add_capabilities(container, &["NET_ADMIN", "NET_RAW"]),
            Profile::Sysadmin => context(container, "privileged", json!(true)),
        }
    }

    /// The host's namespaces, and its root under `/host`.
    fn onto_the_node(self, pod: &mut Value, container: &str) {
        if matches!(self, Profile::Baseline | Profile::Restricted) {
            return;
        }
        for field in ["hostNetwork", "hostPID", "hostIPC"] {
            pod["spec"][field] = json!(true);
        }
        if self == Profile::Netadmin {
            return;
        }
        push(&mut pod["spec"]["volumes"], json!({"name": "host-root", "hostPath": {"path": "/"}}));
        if let Some(container) = find(pod, container) {
            push(&mut container["volumeMounts"], json!({"name": "host-root", "mountPath": "/host"}));
        }
    }
}

/// The container of that name, of whatever kind.
pub fn find<'a>(pod: &'a mut Value, name: &str) -> Option<&'a mut Value> {
    let list = *LISTS
        .iter()
        .find(|list| pod["spec"][**list].as_array().is_some_and(|all| all.iter().any(|c| c["name"] == name)))?;
    pod["spec"][list].as_array_mut()?.iter_mut().find(|c| c["name"] == name)
}

/// Append to a list that may not be there yet.
pub fn push(list: &mut Value, item: Value) {
    match list {
        Value::Array(items) => items.push(item),
        other => *other = json!([item]),
    }
}

pub fn remove(object: &mut Value, field: &str) {
    if let Some(map) = object.as_object_mut() {
        map.remove(field);
    }
}

fn add_capabilities(container: &mut Value, names: &[&str]) {
    for name in names {
        push(&mut container["securityContext"]["capabilities"]["add"], json!(name));
    }
}

/// A copy answers to no selector and is not restarted by probes, unless that is asked for; processes are shared.
fn strip(pod: &mut Value, keep: Keep) {
    if !keep.labels {
        remove(&mut pod["metadata"], "labels");
    }
    if !keep.annotations {
        remove(&mut pod["metadata"], "annotations");
    }
    let probes = [("livenessProbe", keep.liveness), ("readinessProbe", keep.readiness), ("startupProbe", keep.startup)];
    for container in pod["spec"]["containers"].as_array_mut().into_iter().flatten() {
        probes.iter().filter(|(_, keep)| !keep).for_each(|(probe, _)| remove(container, probe));
    }
    if !keep.init_containers {
        remove(&mut pod["spec"], "initContainers");
    }
    if pod["spec"]["shareProcessNamespace"].is_null() {
        pod["spec"]["shareProcessNamespace"] = json!(true);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn applied(profile: &str, style: Style) -> Value {
        let mut pod = json!({
            "metadata": {"labels": {"a": "b"}, "annotations": {"c": "d"}},
            "spec": {
                "initContainers": [{"name": "i"}],
                "containers": [{"name": "web", "livenessProbe": {}, "startupProbe": {}}, {"name": "debug"}],
            },
        });
        let keep = Keep { startup: true, init_containers: true, ..Keep::default() };
        Profile::parse(profile).expect(profile).apply(&mut pod, "debug", style, keep);
        pod
    }

    #[test]
    fn security_contexts() {
        let cases = [
            ("legacy", Style::Ephemeral, Value::Null),
            ("general", Style::Ephemeral, json!({"capabilities": {"add": ["SYS_PTRACE"]}})),
            ("general", Style::Node, Value::Null),
            ("baseline", Style::Copy, Value::Null),
            ("netadmin", Style::Ephemeral, json!({"capabilities": {"add": ["NET_ADMIN", "NET_RAW"]}})),
            ("sysadmin", Style::Node, json!({"privileged": true})),
            (
                "restricted",
                Style::Ephemeral,
                json!({"runAsNonRoot": true, "capabilities": {"drop": ["ALL"]}, "allowPrivilegeEscalation": false,
                    "seccompProfile": {"type": "RuntimeDefault"}}),
            ),
        ];
        for (profile, style, want) in cases {
            let pod = applied(profile, style);
            assert_eq!(pod["spec"]["containers"][1]["securityContext"], want, "{profile} {style:?}");
        }
        assert_eq!(Profile::parse("none"), None);
    }

    #[test]
    fn what_stays_in_a_copy() {
        let pod = applied("general", Style::Copy);
        assert_eq!(pod["metadata"], json!({}));
        assert_eq!(pod["spec"]["containers"][0], json!({"name": "web", "startupProbe": {}}));
        assert_eq!(pod["spec"]["initContainers"], json!([{"name": "i"}]));
        assert_eq!(pod["spec"]["shareProcessNamespace"], true);
        let legacy = applied("legacy", Style::Copy);
        assert_eq!(legacy["metadata"], json!({"annotations": {"c": "d"}}));
        assert!(legacy["spec"]["containers"][0]["livenessProbe"].is_object());
    }

    #[test]
    fn which_profiles_enter_the_node() {
        for (profile, namespaces, root) in [
            ("legacy", true, true),
            ("general", true, true),
            ("baseline", false, false),
            ("restricted", false, false),
            ("netadmin", true, false),
            ("sysadmin", true, true),
        ] {
            let pod = applied(profile, Style::Node);
            assert_eq!(pod["spec"]["hostPID"] == true, namespaces, "{profile}");
            let mounts = &pod["spec"]["containers"][1]["volumeMounts"];
            assert_eq!(mounts == &json!([{"name": "host-root", "mountPath": "/host"}]), root, "{profile}");
        }
    }
}
