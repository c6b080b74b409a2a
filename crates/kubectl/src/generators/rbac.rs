//! Roles: which verbs on which resources, by the names and groups that the server has for them.
//!
//! Source: `create role` and `create clusterrole` of `k8s.io/kubectl`.
use super::{named, object, repeated};
use crate::{Error, Result, mapper::Mapper, select::words, write::pairs};
use clap::{Arg, ArgMatches, Command as Words};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

const GROUP: &str = "rbac.authorization.k8s.io";

/// Verbs that roles usually hold.
const VERBS: [&str; 16] = [
    "get",
    "delete",
    "list",
    "create",
    "update",
    "patch",
    "watch",
    "proxy",
    "redirect",
    "deletecollection",
    "use",
    "bind",
    "escalate",
    "impersonate",
    "approve",
    "*",
];

/// Verbs for URLs that are no resources.
const URL_VERBS: [&str; 8] = ["*", "get", "post", "put", "delete", "patch", "head", "options"];

/// Verbs that mean something for these resources (and groups) alone, which need not be served.
const SPECIAL: [(&str, &[(&str, &str)]); 4] = [
    ("use", &[("podsecuritypolicies", "policy"), ("podsecuritypolicies", "extensions")]),
    ("bind", &[("roles", GROUP), ("clusterroles", GROUP)]),
    ("escalate", &[("roles", GROUP), ("clusterroles", GROUP)]),
    ("impersonate", &[("users", ""), ("serviceaccounts", ""), ("groups", ""), ("userextras", "authentication.k8s.io")]),
];

fn rule_flags() -> [Arg; 3] {
    [repeated("verb"), repeated("resource"), repeated("resource-name")]
}

pub fn role_words() -> Words {
    named("role", "Create a role with single rule").args(rule_flags())
}

pub fn cluster_role_words() -> Words {
    named("clusterrole", "Create a cluster role")
        .args(rule_flags())
        .args([repeated("non-resource-url"), repeated("aggregation-rule")])
}

/// A flag's words, each once, without empty ones.
fn distinct(matches: &ArgMatches, name: &str) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    for word in words(matches, name).into_iter().filter(|word| !word.is_empty()) {
        if !found.contains(&word) {
            found.push(word);
        }
    }
    found
}

/// The verbs; `*` stands for all of them.
fn verbs(matches: &ArgMatches) -> Vec<String> {
    let verbs = distinct(matches, "verb");
    if verbs.iter().any(|verb| verb == "*") { vec!["*".to_owned()] } else { verbs }
}

/// Verbs that are perhaps misspelled.
pub fn unusual_verbs(matches: &ArgMatches) -> Vec<String> {
    if distinct(matches, "resource").is_empty() {
        return Vec::new();
    }
    verbs(matches).into_iter().filter(|verb| !VERBS.contains(&verb.as_str())).collect()
}

/// Whether the server has to be asked what resources it has.
pub fn needs_mapper(matches: &ArgMatches) -> bool {
    !verbs(matches).is_empty() && distinct(matches, "resource").iter().any(|word| word != "*")
}

/// A resource as it was asked for: `deploy.apps/scale`.
#[derive(Clone)]
struct Asked {
    name: String,
    group: String,
    sub: String,
}

fn asked(matches: &ArgMatches) -> Vec<Asked> {
    let mut found = Vec::new();
    for word in distinct(matches, "resource") {
        let (resource, sub) = word.split_once('/').unwrap_or((&word, ""));
        let (name, group) = resource.split_once('.').unwrap_or((resource, ""));
        let one = Asked { name: name.into(), group: group.into(), sub: sub.into() };
        // All resources: the others say nothing more.
        if word == "*" {
            return vec![one];
        }
        found.push(one);
    }
    found
}

impl Asked {
    /// Plural name and group; as they were given when the server knows nothing of that name.
    fn resolved(&self, mapper: &Mapper) -> (String, String, bool) {
        match mapper.named(&self.name, &self.group) {
            Some(known) => (known.plural.clone(), known.group.clone(), true),
            None => (self.name.clone(), self.group.clone(), false),
        }
    }

    fn unknown(&self) -> Error {
        let Asked { name, group, .. } = self;
        let group = if group.is_empty() { String::new() } else { format!(" in group \"{group}\"") };
        Error::Plain(format!("the server doesn't have a resource type \"{name}\"{group}"))
    }
}

/// # Errors
/// A resource is not there, or a verb is not for it.
fn check(asked: &[Asked], verbs: &[String], mapper: &Mapper) -> Result<()> {
    for one in asked {
        if one.name.is_empty() {
            return Err(Error::message("resource must be specified if apiGroup/subresource specified"));
        }
        if one.name == "*" {
            return Ok(());
        }
        let (name, group, mut known) = one.resolved(mapper);
        for verb in verbs {
            let Some((_, resources)) = SPECIAL.iter().find(|(special, _)| special == verb) else { continue };
            if !resources.contains(&(name.as_str(), group.as_str())) {
                return Err(Error::message(format!("can not perform '{verb}' on '{name}' in group '{group}'")));
            }
            known = true;
        }
        if !known {
            return Err(one.unknown());
        }
    }
    Ok(())
}

/// # Errors
/// Something is no URL's path, or a verb is not for URLs.
fn check_urls(urls: &[String], verbs: &[String]) -> Result<()> {
    if urls.is_empty() {
        return Ok(());
    }
    if let Some(verb) = verbs.iter().find(|verb| !URL_VERBS.contains(&verb.as_str())) {
        return Err(Error::message(format!("invalid verb: '{verb}' for nonResourceURL")));
    }
    for url in urls.iter().filter(|url| *url != "*") {
        if !url.starts_with('/') {
            return Err(Error::message("nonResourceURL should start with /"));
        }
        if url.find('*').is_some_and(|at| at + 1 < url.len()) {
            return Err(Error::message("nonResourceURL only supports wildcard matches when '*' is at the end"));
        }
    }
    Ok(())
}

/// One rule a group, and one for URLs; `kind` is `Role` or `ClusterRole`.
///
/// # Errors
/// The flags say too little, or what the server does not have.
pub fn role(matches: &ArgMatches, kind: &str, mapper: &Mapper) -> Result<Value> {
    let aggregated = words(matches, "aggregation-rule");
    let (verbs, asked) = (verbs(matches), asked(matches));
    let (names, urls) = (distinct(matches, "resource-name"), distinct(matches, "non-resource-url"));
    if !aggregated.is_empty() {
        if !verbs.is_empty() || !asked.is_empty() || !names.is_empty() || !urls.is_empty() {
            return Err(Error::message(
                "aggregation rule must be specified without nonResourceURLs, verbs, resources or resourceNames",
            ));
        }
        let (labels, _) = pairs(&aggregated)?;
        let labels: Map<String, Value> = labels.into_iter().map(|(k, v)| (k, v.into())).collect();
        let rule = json!({"clusterRoleSelectors": [{"matchLabels": labels}]});
        return Ok(made(kind, matches, json!({"aggregationRule": rule, "rules": null})));
    }
    if verbs.is_empty() {
        return Err(Error::message("at least one verb must be specified"));
    }
    if asked.is_empty() && urls.is_empty() {
        return Err(Error::message(match kind {
            "Role" => "at least one resource must be specified",
            _ => "one of resource or nonResourceURL must be specified",
        }));
    }
    check(&asked, &verbs, mapper)?;
    check_urls(&urls, &verbs)?;
    let mut groups: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for one in &asked {
        let (name, group, _) = one.resolved(mapper);
        let name = if one.sub.is_empty() { name } else { format!("{name}/{}", one.sub) };
        let resources = groups.entry(group).or_default();
        if !resources.contains(&name) {
            resources.push(name);
        }
    }
    let mut rules: Vec<Value> = Vec::new();
    for (group, resources) in groups {
        let mut rule = json!({"apiGroups": [group], "resources": resources, "verbs": verbs});
        if !names.is_empty() {
            rule["resourceNames"] = json!(names);
        }
        rules.push(rule);
    }
    if !urls.is_empty() {
        rules.push(json!({"nonResourceURLs": urls, "verbs": verbs}));
    }
    Ok(made(kind, matches, json!({"rules": rules})))
}

fn made(kind: &str, matches: &ArgMatches, rest: Value) -> Value {
    object("rbac.authorization.k8s.io/v1", kind, matches, rest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mapper::Resource;

    fn mapper() -> Mapper {
        let resource = |group: &str, plural: &str, kind: &str, short: &str| Resource {
            group: group.into(),
            version: "v1".into(),
            kind: kind.into(),
            plural: plural.into(),
            singular: kind.to_lowercase(),
            short_names: vec![short.into()],
            preferred: true,
            ..Resource::default()
        };
        Mapper::of(vec![
            resource("", "pods", "Pod", "po"),
            resource("apps", "deployments", "Deployment", "deploy"),
            resource("apps", "replicasets", "ReplicaSet", "rs"),
            resource(GROUP, "roles", "Role", ""),
        ])
    }

    /// `groups/resources/names/urls: verbs`, rule by rule.
    fn shown(words: &str) -> String {
        let (command, kind) = match words.starts_with("clusterrole ") {
            true => (cluster_role_words(), "ClusterRole"),
            false => (role_words(), "Role"),
        };
        let matches = command.no_binary_name(true).get_matches_from(words.split(' ').skip(1));
        let role = match role(&matches, kind, &mapper()) {
            Ok(role) => role,
            Err(error) => return error.text(),
        };
        let list = |value: &Value| {
            let items = value.as_array().into_iter().flatten().filter_map(Value::as_str);
            items.collect::<Vec<_>>().join(",")
        };
        let rules = role["rules"].as_array().into_iter().flatten().map(|rule| {
            let [groups, resources, names, urls, verbs] =
                ["apiGroups", "resources", "resourceNames", "nonResourceURLs", "verbs"].map(|f| list(&rule[f]));
            format!("{groups}|{resources}|{names}|{urls}: {verbs}")
        });
        rules.collect::<Vec<_>>().join("; ")
    }

    #[test]
    fn rules_have_the_names_and_groups_of_the_server() {
        let cases = [
            ("role a --verb=get --resource=deployments", "apps|deployments||: get"),
            ("role a --verb=get --resource=rs,po,deploy", "|pods||: get; apps|replicasets,deployments||: get"),
            (
                "role a --verb=get,list,get --resource=deployments.apps,pods/log,po/log,Pod --resource-name=x,x,y",
                "|pods/log,pods|x,y|: get,list; apps|deployments|x,y|: get,list",
            ),
            ("role a --verb=get,* --resource=pods,*", "|*||: *"),
            ("role a --verb=get --resource=*.apps", "apps|*||: get"),
            ("role a --verb=impersonate --resource=users", "|users||: impersonate"),
            ("role a --verb=get --resource=no", "the server doesn't have a resource type \"no\""),
            (
                "role a --verb=get --resource=deployments.v1.apps",
                "the server doesn't have a resource type \"deployments\" in group \"v1.apps\"",
            ),
            (
                "role a --verb=get --resource=/log",
                "error: resource must be specified if apiGroup/subresource specified",
            ),
            ("role a --verb=use --resource=po", "error: can not perform 'use' on 'pods' in group ''"),
            ("role a --verb=get", "error: at least one resource must be specified"),
            ("role a --resource=po", "error: at least one verb must be specified"),
            ("clusterrole a --verb=get", "error: one of resource or nonResourceURL must be specified"),
            ("clusterrole a --verb=get --resource=po --non-resource-url=/a/*,/a/*", "|pods||: get; |||/a/*: get"),
            ("clusterrole a --verb=get --non-resource-url=a", "error: nonResourceURL should start with /"),
            ("clusterrole a --verb=list --non-resource-url=/a", "error: invalid verb: 'list' for nonResourceURL"),
            (
                "clusterrole a --verb=get --non-resource-url=/a*b",
                "error: nonResourceURL only supports wildcard matches when '*' is at the end",
            ),
            (
                "clusterrole a --verb=get --aggregation-rule=a=b",
                "error: aggregation rule must be specified without nonResourceURLs, verbs, resources or resourceNames",
            ),
        ];
        for (words, want) in cases {
            assert_eq!(shown(words), want, "{words}");
        }
    }
}
