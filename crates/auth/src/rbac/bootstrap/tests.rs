//! The default policy as a whole, and its reconciliation.
use super::*;
use crate::testing::Objects;

fn apply(objects: &Objects, writes: &[Write]) {
    for w in writes {
        objects.put(w.resource, &w.namespace, &w.name, &w.json);
    }
}

#[test]
fn an_empty_cluster_gets_everything_once() {
    let objects = Objects::default();
    let writes = plan(&objects);
    assert!(writes.iter().all(|w| w.create));
    assert!(writes.len() > 100, "{}", writes.len());
    apply(&objects, &writes);
    assert_eq!(plan(&objects), []);
}

#[test]
fn bindings_name_roles_that_exist() {
    let names: Vec<String> = cluster_roles().into_iter().filter_map(|r| r.metadata.name).collect();
    for binding in cluster_role_bindings() {
        assert!(names.contains(&binding.role_ref.name), "{}", binding.role_ref.name);
    }
    let mut unique = names.clone();
    unique.sort();
    unique.dedup();
    assert_eq!(unique.len(), names.len());
}

#[test]
fn aggregated_roles_are_filled() {
    let roles = cluster_roles();
    let rules = |name: &str| {
        let role = roles.iter().find(|r| r.metadata.name.as_deref() == Some(name)).expect(name);
        role.rules.clone().unwrap_or_default()
    };
    let parts = rules("system:aggregate-to-admin").len()
        + rules("system:aggregate-to-edit").len()
        + rules("system:aggregate-to-view").len();
    assert_eq!(rules("admin").len(), parts);
    assert_eq!(rules("view"), rules("system:aggregate-to-view"));
    assert!(rules("edit").iter().any(|r| r.verbs == ["impersonate"]));
}

#[test]
fn what_was_taken_away_returns_and_what_was_added_stays() {
    let objects = Objects::default();
    apply(&objects, &plan(&objects));
    let mut role: ClusterRole = objects.read("clusterroles", "", "system:kube-dns");
    role.rules = Some(vec![rule("get", "example.com", "things").policy()]);
    objects.put("clusterroles", "", "system:kube-dns", &serde_json::to_vec(&role).expect("json"));
    let writes = plan(&objects);
    assert_eq!(writes.len(), 1);
    apply(&objects, &writes);
    let after: ClusterRole = objects.read("clusterroles", "", "system:kube-dns");
    let rules = after.rules.expect("rules");
    assert!(rules.contains(&rule("get", "example.com", "things").policy()));
    assert!(rules.iter().any(|r| r.resources == Some(vec!["services".to_owned()])));
}

#[test]
fn protected_objects_are_left_alone() {
    let objects = Objects::default();
    apply(&objects, &plan(&objects));
    let mut role: ClusterRole = objects.read("clusterroles", "", "system:kube-dns");
    role.rules = None;
    role.metadata.annotations.get_or_insert_default().insert(AUTO_UPDATE.into(), "false".into());
    objects.put("clusterroles", "", "system:kube-dns", &serde_json::to_vec(&role).expect("json"));
    assert_eq!(plan(&objects), []);
}

#[test]
fn roles_labelled_for_aggregation_count() {
    let objects = Objects::default();
    apply(&objects, &plan(&objects));
    const RULES: &[RuleRow] = &[rule("get", "stable.example.com", "crontabs")];
    let mut mine = role("crontabs-view", RULES).cluster_role();
    mine.metadata.labels = Some(BTreeMap::from([(format!("{GROUP}/aggregate-to-view"), "true".into())]));
    objects.put("clusterroles", "", "crontabs-view", &serde_json::to_vec(&mine).expect("json"));
    let changed: Vec<String> = plan(&objects).into_iter().map(|w| w.name).collect();
    assert_eq!(changed, ["admin", "edit", "view"]);
}
