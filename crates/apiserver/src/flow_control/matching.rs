//! Whether a flow schema is for a request.
//!
//! Source: `k8s.io/apiserver/pkg/util/flowcontrol/rule.go` (behaviour).
use crate::request_info::RequestInfo;
use auth::UserInfo;
use k8s_openapi::api::flowcontrol::v1::{NonResourcePolicyRule, PolicyRulesWithSubjects, ResourcePolicyRule, Subject};

pub(super) fn matches(rules: &[PolicyRulesWithSubjects], info: &RequestInfo<'_>, user: &UserInfo) -> bool {
    rules.iter().any(|rule| {
        rule.subjects.iter().any(|s| is_subject(s, user))
            && if info.resource_request {
                rule.resource_rules.iter().flatten().any(|r| is_resource(r, info))
            } else {
                rule.non_resource_rules.iter().flatten().any(|r| is_path(r, info))
            }
    })
}

fn is_subject(subject: &Subject, user: &UserInfo) -> bool {
    match (subject.kind.as_str(), &subject.user, &subject.group, &subject.service_account) {
        ("User", Some(wanted), ..) => wanted.name == "*" || wanted.name == user.name,
        ("Group", _, Some(wanted), _) => wanted.name == "*" || user.in_group(&wanted.name),
        ("ServiceAccount", .., Some(wanted)) => user.service_account().is_some_and(|(namespace, name)| {
            wanted.namespace == namespace && (wanted.name == "*" || wanted.name == name)
        }),
        _ => false,
    }
}

/// A wildcard counts only where it stands alone, which validation sees to.
fn has(values: &[String], wanted: &str) -> bool {
    matches!(values, [only] if only == "*") || values.iter().any(|v| v == wanted)
}

fn is_resource(rule: &ResourcePolicyRule, info: &RequestInfo<'_>) -> bool {
    let resource = || match info.subresource {
        "" => has(&rule.resources, info.resource),
        sub => has(&rule.resources, &[info.resource, "/", sub].concat()),
    };
    let place = || match info.namespace {
        "" => rule.cluster_scope == Some(true),
        namespace => has(rule.namespaces.as_deref().unwrap_or_default(), namespace),
    };
    has(&rule.verbs, info.verb) && has(&rule.api_groups, info.group) && place() && resource()
}

fn is_path(rule: &NonResourcePolicyRule, info: &RequestInfo<'_>) -> bool {
    let below = |url: &str| {
        let folder = url.trim_end_matches('*').trim_end_matches('/');
        info.path.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/'))
    };
    has(&rule.verbs, info.verb) && rule.non_resource_urls.iter().any(|u| u == "*" || u == info.path || below(u))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::query::Query;
    use api::flowcontrol::bootstrap;

    /// The first of the initial schemas that is for the request.
    fn schema(method: &str, path: &str, user: &UserInfo) -> String {
        let method = http::Method::from_bytes(method.as_bytes()).unwrap_or_default();
        let query = Query::default();
        let info = RequestInfo::parse(&method, path, &query);
        let mut schemas: Vec<_> = bootstrap::flow_schemas().into_iter().map(|s| s.object).collect();
        schemas.sort_by_key(|s| s.spec.as_ref().and_then(|s| s.matching_precedence));
        let found = schemas.into_iter().find(|s| {
            let rules = s.spec.as_ref().and_then(|s| s.rules.as_deref()).unwrap_or_default();
            matches(rules, &info, user)
        });
        found.and_then(|s| s.metadata.name).unwrap_or_default()
    }

    #[test]
    fn initial_schemas() {
        let user = |name: &str, groups: &[&str]| {
            UserInfo::new(name, groups.iter().copied().chain([auth::groups::AUTHENTICATED]))
        };
        let (manager, node) = (user("system:kube-controller-manager", &[]), user("system:node:n", &["system:nodes"]));
        let account = |name: &str| user(name, &["system:serviceaccounts"]);
        let cases = [
            ("GET", "/api/v1/pods", user("admin", &["system:masters"]), "exempt"),
            ("GET", "/readyz", UserInfo::anonymous(), "probes"),
            ("GET", "/readyz/etcd", UserInfo::anonymous(), "probes"),
            ("GET", "/readyzed", UserInfo::anonymous(), "global-default"),
            ("POST", "/readyz", UserInfo::anonymous(), "global-default"),
            ("GET", "/version", user("joe", &[]), "global-default"),
            ("PUT", "/apis/coordination.k8s.io/v1/namespaces/a/leases/l", manager.clone(), "system-leader-election"),
            ("PUT", "/api/v1/namespaces/a/endpoints/e", manager.clone(), "endpoint-controller"),
            ("GET", "/api/v1/namespaces/a/endpoints", manager.clone(), "kube-controller-manager"),
            ("PATCH", "/api/v1/nodes/n/status", node.clone(), "system-node-high"),
            (
                "PUT",
                "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/n",
                node.clone(),
                "system-node-high",
            ),
            ("GET", "/api/v1/namespaces/a/secrets/s", node, "system-nodes"),
            ("GET", "/api/v1/pods", user("system:kube-scheduler", &[]), "kube-scheduler"),
            ("GET", "/api/v1/pods", account("system:serviceaccount:kube-system:x"), "kube-system-service-accounts"),
            ("GET", "/api/v1/pods", account("system:serviceaccount:kube-systemd:x"), "service-accounts"),
            (
                "GET",
                "/api/v1/namespaces/a/configmaps/m",
                account("system:serviceaccount:kube-system:x"),
                "workload-leader-election",
            ),
        ];
        for (method, path, user, want) in cases {
            assert_eq!(schema(method, path, &user), want, "{method} {path} {}", user.name);
        }
    }
}
