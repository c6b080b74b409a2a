//! Roles and bindings; and the order in which rules are listed, which `auth can-i --list` shares.
use super::{
    Related,
    doc::{Doc, items, text},
};
use serde_json::Value;

/// What a list of rules allows, broken down to one line a resource, or a URL and verb.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Rule {
    verbs: Vec<String>,
    groups: Vec<String>,
    resources: Vec<String>,
    names: Vec<String>,
    urls: Vec<String>,
}

impl Rule {
    /// The official order is that of the texts which Go's rules have.
    fn order(&self) -> String {
        let list = |items: &[String]| format!("[{}]", items.join(" "));
        let [verbs, groups, resources, names, urls] =
            [&self.verbs, &self.groups, &self.resources, &self.names, &self.urls].map(|items| list(items));
        format!("Verbs:{verbs},APIGroups:{groups},Resources:{resources},ResourceNames:{names},NonResourceURLs:{urls},")
    }

    /// `deployments.apps/scale`, non-resource URLs, names, verbs.
    fn row(&self) -> [String; 4] {
        let list = |items: &[String]| format!("[{}]", items.join(" "));
        let resource = self.resources.first().map(String::as_str).unwrap_or_default();
        let group = self.groups.first().map(String::as_str).unwrap_or_default();
        let resource = match (resource.split_once('/'), group) {
            (_, "") => resource.to_owned(),
            (Some((resource, sub)), group) => format!("{resource}.{group}/{sub}"),
            (None, group) => format!("{resource}.{group}"),
        };
        [resource, list(&self.urls), list(&self.names), list(&self.verbs)]
    }
}

fn texts(value: &Value) -> Vec<String> {
    items(value).map(text).collect()
}

/// The lines for rules (`apiGroups`, `resources`, …): resources, non-resource URLs, names, verbs.
pub fn rows<'a>(rules: impl Iterator<Item = &'a Value>) -> Vec<[String; 4]> {
    let mut found: Vec<Rule> = Vec::new();
    for rule in rules {
        let verbs = texts(&rule["verbs"]);
        for group in texts(&rule["apiGroups"]) {
            for resource in texts(&rule["resources"]) {
                let names = texts(&rule["resourceNames"]);
                let names = if names.is_empty() { vec![None] } else { names.into_iter().map(Some).collect() };
                for name in names {
                    add(&mut found, &group, &resource, name, &verbs);
                }
            }
        }
        for url in texts(&rule["nonResourceURLs"]) {
            let one = |verb: &String| Rule { verbs: vec![verb.clone()], urls: vec![url.clone()], ..Rule::default() };
            found.extend(verbs.iter().map(one));
        }
    }
    found.sort_by_cached_key(Rule::order);
    found.iter().map(Rule::row).collect()
}

/// Verbs for a resource that has a line already go there.
fn add(found: &mut Vec<Rule>, group: &str, resource: &str, name: Option<String>, verbs: &[String]) {
    let names: Vec<String> = name.into_iter().collect();
    let known = found.iter_mut().find(|r| {
        r.urls.is_empty() && r.groups == [group.to_owned()] && r.resources == [resource.to_owned()] && r.names == names
    });
    match known {
        Some(known) => {
            let new: Vec<String> = verbs.iter().filter(|verb| !known.verbs.contains(verb)).cloned().collect();
            known.verbs.extend(new);
        }
        None => found.push(Rule {
            verbs: verbs.to_vec(),
            groups: vec![group.to_owned()],
            resources: vec![resource.to_owned()],
            names,
            urls: Vec::new(),
        }),
    }
}

fn head(doc: &mut Doc, object: &Value) {
    doc.field(0, "Name", text(&object["metadata"]["name"]));
    doc.labels("", "Labels", &object["metadata"]["labels"]);
    doc.annotations("Annotations", &object["metadata"]["annotations"]);
}

pub fn role(doc: &mut Doc, object: &Value, _: &Related) {
    head(doc, object);
    doc.line(0, "PolicyRule:");
    doc.line(1, "Resources\tNon-Resource URLs\tResource Names\tVerbs");
    doc.line(1, "---------\t-----------------\t--------------\t-----");
    for row in rows(items(&object["rules"])) {
        doc.line(1, row.join("\t"));
    }
}

pub fn binding(doc: &mut Doc, object: &Value, _: &Related) {
    head(doc, object);
    doc.line(0, "Role:");
    doc.field(1, "Kind", text(&object["roleRef"]["kind"]));
    doc.field(1, "Name", text(&object["roleRef"]["name"]));
    doc.line(0, "Subjects:");
    doc.line(1, "Kind\tName\tNamespace");
    doc.line(1, "----\t----\t---------");
    for subject in items(&object["subjects"]) {
        let [kind, name, namespace] = ["kind", "name", "namespace"].map(|field| text(&subject[field]));
        doc.line(1, format!("{kind}\t{name}\t{namespace}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn rules_are_broken_down_merged_and_sorted() {
        let rules = json!([
            {"apiGroups": ["", "apps"], "resources": ["pods", "deployments/scale"], "verbs": ["get"]},
            {"apiGroups": [""], "resources": ["pods"], "verbs": ["list", "get"]},
            {"nonResourceURLs": ["/api", "/api/*"], "verbs": ["get"]},
            {"apiGroups": [""], "resources": ["pods"], "resourceNames": ["a"], "verbs": ["get"]},
        ]);
        let lines: Vec<String> = rows(items(&rules)).iter().map(|row| row.join("|")).collect();
        assert_eq!(
            lines,
            [
                "pods|[]|[]|[get list]",
                "|[/api/*]|[]|[get]",
                "|[/api]|[]|[get]",
                "deployments/scale|[]|[]|[get]",
                "pods|[]|[a]|[get]",
                "deployments.apps/scale|[]|[]|[get]",
                "pods.apps|[]|[]|[get]",
            ]
        );
    }
}
