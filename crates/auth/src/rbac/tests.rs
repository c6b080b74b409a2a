//! Decisions and their texts.
use super::*;
use crate::{testing::Objects, users};
use serde_json::json;

fn objects() -> Arc<Objects> {
    let objects = Objects::default();
    for w in bootstrap::plan(&objects) {
        objects.put(w.resource, &w.namespace, &w.name, &w.json);
    }
    Arc::new(objects)
}

fn binding(kind: &str, namespace: &str, name: &str, role: (&str, &str), subject: serde_json::Value) -> Vec<u8> {
    json!({"kind": kind, "metadata": {"name": name, "namespace": namespace},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": role.0, "name": role.1}, "subjects": [subject]})
    .to_string()
    .into_bytes()
}

#[test]
fn default_policy_decides() {
    let rbac = Rbac::new(objects());
    let admin = UserInfo::new("a", ["system:masters"]);
    let scheduler = UserInfo::new(users::KUBE_SCHEDULER, ["system:authenticated"]);
    let anonymous = UserInfo::anonymous();
    let allowed = |a: Attributes<'_>| rbac.authorize(&a).0 == Decision::Allow;
    assert!(allowed(Attributes::resource(&admin, "delete", "apps", "deployments")));
    assert!(allowed(Attributes::resource(&scheduler, "list", "", "pods")));
    assert!(allowed(Attributes { subresource: "binding", ..Attributes::resource(&scheduler, "create", "", "pods") }));
    assert!(!allowed(Attributes::resource(&scheduler, "create", "", "pods")));
    assert!(!allowed(Attributes::resource(&anonymous, "list", "", "pods")));
    assert!(allowed(Attributes::path(&anonymous, "get", "/version")));
    assert!(!allowed(Attributes::path(&anonymous, "get", "/apis/apps")));
    assert!(allowed(Attributes::path(&scheduler, "get", "/apis/apps")));
    let (_, reason) = rbac.authorize(&Attributes::resource(&scheduler, "list", "", "pods"));
    assert_eq!(
        reason,
        "RBAC: allowed by ClusterRoleBinding \"system:kube-scheduler\" of ClusterRole \"system:kube-scheduler\" to User \
         \"system:kube-scheduler\""
    );
}

#[test]
fn role_bindings_hold_in_their_namespace_and_follow_changes() {
    let objects = objects();
    let rbac = Rbac::new(Arc::clone(&objects) as Arc<dyn Lookup>);
    let user = UserInfo::of_service_account("ns", "sa", "u");
    let get = |namespace| Attributes { namespace, ..Attributes::resource(&user, "get", "", "pods") };
    assert_eq!(rbac.authorize(&get("ns")), (Decision::NoOpinion, String::new()));
    let subject = json!({"kind": "ServiceAccount", "name": "sa"});
    objects.put("rolebindings", "ns", "b", &binding("RoleBinding", "ns", "b", ("ClusterRole", "view"), subject));
    assert_eq!(
        rbac.authorize(&get("ns")),
        (
            Decision::Allow,
            "RBAC: allowed by RoleBinding \"b/ns\" of ClusterRole \"view\" to ServiceAccount \"sa/ns\"".into()
        )
    );
    assert_eq!(rbac.authorize(&get("other")).0, Decision::NoOpinion);
    objects.remove("rolebindings", "ns", "b");
    assert_eq!(rbac.authorize(&get("ns")).0, Decision::NoOpinion);
}

#[test]
fn a_missing_role_is_named() {
    let objects = objects();
    let subject = json!({"kind": "User", "name": "u"});
    objects.put("rolebindings", "ns", "b", &binding("RoleBinding", "ns", "b", ("Role", "x"), subject.clone()));
    objects.put("clusterrolebindings", "", "c", &binding("C", "", "c", ("ClusterRole", "x"), subject));
    let rbac = Rbac::new(objects);
    let user = UserInfo::new("u", [""; 0]);
    let attributes = Attributes { namespace: "ns", ..Attributes::resource(&user, "get", "", "pods") };
    let (decision, reason) = rbac.authorize(&attributes);
    assert_eq!(decision, Decision::NoOpinion);
    assert_eq!(
        attributes.forbidden(&reason).message,
        "pods is forbidden: User \"u\" cannot get resource \"pods\" in API group \"\" in the namespace \"ns\": RBAC: \
         [clusterrole.rbac.authorization.k8s.io \"x\" not found, role.rbac.authorization.k8s.io \"x\" not found]"
    );
    assert_eq!(rbac.rules_for(&user, "ns").errors.len(), 2);
}

#[test]
fn rules_review_splits_resources_and_urls() {
    let rbac = Rbac::new(objects());
    let rules = rbac.rules_for(&UserInfo::new("u", ["system:authenticated"]), "default");
    assert_eq!(rules.resource.len(), 2);
    assert_eq!(rules.non_resource.len(), 2);
    assert!(rules.non_resource.iter().all(|r| r.resources.is_none()));
}

#[test]
fn escalation_is_refused_in_upstreams_words() {
    let objects = objects();
    let subject = json!({"kind": "User", "name": "u"});
    objects.put("clusterrolebindings", "", "c", &binding("C", "", "c", ("ClusterRole", "view"), subject));
    let rbac = Rbac::new(objects);
    let user = UserInfo::new("u", ["g", "system:authenticated"]);
    let role = br#"{"metadata":{"name":"r","namespace":"ns"},"rules":[{"apiGroups":[""],"resources":["pods"],"verbs":["get","delete"]}]}"#;
    let write = PolicyWrite { resource: "roles", namespace: "ns", name: "r", object: role, old: None };
    let error = rbac.check_escalation(&user, write, &rbac).expect_err("refused");
    assert_eq!(
        error.message,
        "roles.rbac.authorization.k8s.io \"r\" is forbidden: user \"u\" (groups=[\"g\" \"system:authenticated\"]) is \
         attempting to grant RBAC permissions not currently held:\n{APIGroups:[\"\"], Resources:[\"pods\"], \
         Verbs:[\"delete\"]}"
    );
    let same = PolicyWrite { old: Some(role), ..write };
    rbac.check_escalation(&user, same, &rbac).expect("nothing changes");
    let held = br#"{"metadata":{"name":"r"},"rules":[{"apiGroups":[""],"resources":["pods"],"verbs":["get"]}]}"#;
    rbac.check_escalation(&user, PolicyWrite { object: held, ..write }, &rbac).expect("held");

    let to_admin =
        binding("RoleBinding", "ns", "b", ("ClusterRole", "cluster-admin"), json!({"kind": "User", "name": "u"}));
    let write = PolicyWrite { resource: "rolebindings", namespace: "ns", name: "b", object: &to_admin, old: None };
    let error = rbac.check_escalation(&user, write, &rbac).expect_err("refused");
    assert!(error.message.ends_with(
        "not currently held:\n{APIGroups:[\"*\"], Resources:[\"*\"], Verbs:[\"*\"]}\n{NonResourceURLs:[\"*\"], Verbs:[\"*\"]}"
    ), "{}", error.message);
    let to_nothing = binding("RoleBinding", "ns", "b", ("Role", "none"), json!({"kind": "User", "name": "u"}));
    let error = rbac.check_escalation(&user, PolicyWrite { object: &to_nothing, ..write }, &rbac).expect_err("no role");
    assert_eq!((error.code, error.message.as_str()), (404, "role.rbac.authorization.k8s.io \"none\" not found"));
    let admin = UserInfo::new("root", ["system:masters"]);
    rbac.check_escalation(&admin, write, &rbac).expect("superuser");
}

#[test]
fn a_decision_is_cheap() {
    let rbac = Rbac::new(objects());
    let user = UserInfo::new(users::KUBE_CONTROLLER_MANAGER, ["system:authenticated"]);
    let attributes =
        Attributes { namespace: "ns", name: "x", ..Attributes::resource(&user, "watch", "apps", "replicasets") };
    let start = std::time::Instant::now();
    for _ in 0..1000 {
        assert_eq!(rbac.authorize(&attributes).0, Decision::Allow);
    }
    // Unoptimised and on a busy machine; a scan of all bindings would take far longer.
    assert!(start.elapsed() < std::time::Duration::from_millis(500), "{:?}", start.elapsed());
}
