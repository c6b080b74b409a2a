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
    assert!(writes.iter().all(|w| w.action == Action::Create));
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

#[test]
fn a_binding_to_another_role_is_made_anew_and_set_labels_stay() {
    let objects = Objects::default();
    apply(&objects, &plan(&objects));
    let name = "system:kube-scheduler";
    let mut binding: ClusterRoleBinding = objects.read("clusterrolebindings", "", name);
    binding.role_ref.name = "cluster-admin".into();
    objects.put("clusterrolebindings", "", name, &serde_json::to_vec(&binding).expect("json"));
    let mut edit: ClusterRole = objects.read("clusterroles", "", "edit");
    let label = format!("{GROUP}/aggregate-to-admin");
    edit.metadata.labels.get_or_insert_default().insert(label.clone(), "false".into());
    objects.put("clusterroles", "", "edit", &serde_json::to_vec(&edit).expect("json"));
    let writes = plan(&objects);
    let shown: Vec<(&str, Action)> = writes.iter().map(|w| (w.name.as_str(), w.action)).collect();
    assert_eq!(shown, [("admin", Action::Update), (name, Action::Recreate)], "admin no longer has what edit has");
    apply(&objects, &writes);
    let edit: ClusterRole = objects.read("clusterroles", "", "edit");
    assert_eq!(edit.metadata.labels.expect("labels").get(&label).map(String::as_str), Some("false"));
}

/// One rule on one line: `verbs: get list | groups: core | resources: pods`.
fn rule_line(rule: &PolicyRule) -> String {
    let words = |list: &Vec<String>| {
        let words: Vec<&str> = list.iter().map(|w| if w.is_empty() { "core" } else { w }).collect();
        words.join(" ")
    };
    let fields = [
        ("verbs", Some(&rule.verbs)),
        ("groups", rule.api_groups.as_ref()),
        ("resources", rule.resources.as_ref()),
        ("names", rule.resource_names.as_ref()),
        ("urls", rule.non_resource_urls.as_ref()),
    ];
    let shown: Vec<String> =
        fields.iter().filter_map(|(name, list)| Some(format!("{name}: {}", words((*list)?)))).collect();
    format!("  {}\n", shown.join(" | "))
}

fn head_line(kind: &str, meta: &ObjectMeta) -> String {
    let place = meta.namespace.as_ref().map(|n| format!("{n}/")).unwrap_or_default();
    let own = |(key, _): &(&String, &String)| *key != "kubernetes.io/bootstrapping";
    let labels: Vec<String> =
        meta.labels.iter().flatten().filter(own).map(|(key, value)| format!(" {key}={value}")).collect();
    format!("{kind} {place}{}{}\n", meta.name.as_deref().unwrap_or_default(), labels.concat())
}

fn binding_lines(kind: &str, meta: &ObjectMeta, role_ref: &RoleRef, subjects: Option<&Vec<Subject>>) -> String {
    let mut text = head_line(kind, meta);
    text.push_str(&format!("  to {} {}\n", role_ref.kind, role_ref.name));
    for subject in subjects.into_iter().flatten() {
        let place = subject.namespace.as_ref().map(|n| format!("{n}/")).unwrap_or_default();
        text.push_str(&format!("  {} {place}{}\n", subject.kind, subject.name));
    }
    text
}

/// The policy whole, as the upstream test data of the same version has it: an unwanted change of any rule shows here.
#[test]
fn the_policy_is_upstreams() {
    let mut blocks: Vec<String> = Vec::new();
    for role in cluster_roles() {
        let mut text = head_line("ClusterRole", &role.metadata);
        let selectors = role.aggregation_rule.iter().flat_map(|a| a.cluster_role_selectors.iter().flatten());
        for (key, value) in selectors.flat_map(|s| s.match_labels.iter().flatten()) {
            text.push_str(&format!("  of {key}={value}\n"));
        }
        if role.aggregation_rule.is_none() {
            role.rules.iter().flatten().for_each(|rule| text.push_str(&rule_line(rule)));
        }
        blocks.push(text);
    }
    for binding in cluster_role_bindings() {
        let ClusterRoleBinding { metadata, role_ref, subjects } = &binding;
        blocks.push(binding_lines("ClusterRoleBinding", metadata, role_ref, subjects.as_ref()));
    }
    for role in roles() {
        let mut text = head_line("Role", &role.metadata);
        role.rules.iter().flatten().for_each(|rule| text.push_str(&rule_line(rule)));
        blocks.push(text);
    }
    for binding in role_bindings() {
        let RoleBinding { metadata, role_ref, subjects } = &binding;
        blocks.push(binding_lines("RoleBinding", metadata, role_ref, subjects.as_ref()));
    }
    blocks.sort();
    let (got, want) = (blocks.concat(), include_str!("policy.txt"));
    let different = got.lines().zip(want.lines()).enumerate().find(|(_, (got, want))| got != want);
    assert_eq!(different, None, "first different line of\n{got}");
    assert_eq!(got.lines().count(), want.lines().count(), "{got}");
}
