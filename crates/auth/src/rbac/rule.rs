//! Policy rules: what one matches, and whether some rules cover others.
//!
//! Source: RBAC documentation, "Referring to resources"; upstream's `rbac/v1` evaluation and coverage (behaviour).
use crate::Attributes;
use k8s_openapi::api::rbac::v1::PolicyRule;
use serde::Deserialize;

/// A [`PolicyRule`] in the form it is evaluated in.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Rule {
    #[serde(deserialize_with = "list")]
    pub verbs: Vec<String>,
    #[serde(deserialize_with = "list")]
    pub api_groups: Vec<String>,
    #[serde(deserialize_with = "list")]
    pub resources: Vec<String>,
    #[serde(deserialize_with = "list")]
    pub resource_names: Vec<String>,
    #[serde(rename = "nonResourceURLs", deserialize_with = "list")]
    pub non_resource_urls: Vec<String>,
}

/// `null` is an empty list.
fn list<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Vec<String>, D::Error> {
    Ok(Option::deserialize(from)?.unwrap_or_default())
}

const ALL: &str = "*";

fn has(list: &[String], item: &str) -> bool {
    list.iter().any(|i| i == item)
}

fn has_or_all(list: &[String], item: &str) -> bool {
    list.iter().any(|i| i == item || i == ALL)
}

impl Rule {
    pub fn allows(&self, a: &Attributes<'_>) -> bool {
        if !has_or_all(&self.verbs, a.verb) {
            return false;
        }
        if !a.is_resource {
            return self.non_resource_urls.iter().any(|url| url_covers(url, a.path));
        }
        has_or_all(&self.api_groups, a.group)
            && self.resources.iter().any(|rule| resource_matches(rule, a.resource, a.subresource))
            && (self.resource_names.is_empty() || has(&self.resource_names, a.name))
    }

    /// Whether everything `one` allows (a rule of one verb, group and resource, or of one verb and URL) is allowed here.
    fn covers_one(&self, one: &Rule) -> bool {
        let verbs = has(&self.verbs, ALL) || one.verbs.iter().all(|v| has(&self.verbs, v));
        let groups = has(&self.api_groups, ALL) || one.api_groups.iter().all(|g| has(&self.api_groups, g));
        let resources = has(&self.resources, ALL)
            || one.resources.iter().all(|wanted| {
                has(&self.resources, wanted)
                    || wanted.split_once('/').is_some_and(|(_, sub)| has(&self.resources, &format!("*/{sub}")))
            });
        let names = match (one.resource_names.is_empty(), self.resource_names.is_empty()) {
            (_, true) => true,
            (true, false) => false,
            (false, false) => one.resource_names.iter().all(|n| has(&self.resource_names, n)),
        };
        let urls = one.non_resource_urls.iter().all(|u| self.non_resource_urls.iter().any(|mine| url_covers(mine, u)));
        verbs && groups && resources && names && urls
    }

    /// One rule for each combination of what this rule lists.
    fn atoms(&self) -> Vec<Rule> {
        let mut out = Vec::new();
        for group in &self.api_groups {
            for resource in &self.resources {
                for verb in &self.verbs {
                    let one = Rule {
                        verbs: vec![verb.clone()],
                        api_groups: vec![group.clone()],
                        resources: vec![resource.clone()],
                        ..Rule::default()
                    };
                    if self.resource_names.is_empty() {
                        out.push(one);
                        continue;
                    }
                    let named = self.resource_names.iter();
                    out.extend(named.map(|name| Rule { resource_names: vec![name.clone()], ..one.clone() }));
                }
            }
        }
        for url in &self.non_resource_urls {
            for verb in &self.verbs {
                let (verbs, non_resource_urls) = (vec![verb.clone()], vec![url.clone()]);
                out.push(Rule { verbs, non_resource_urls, ..Rule::default() });
            }
        }
        out
    }
}

fn resource_matches(rule: &str, resource: &str, subresource: &str) -> bool {
    if rule == ALL {
        return true;
    }
    if subresource.is_empty() {
        return rule == resource;
    }
    rule.split_once('/').is_some_and(|(r, sub)| sub == subresource && (r == resource || r == ALL))
}

fn url_covers(rule: &str, url: &str) -> bool {
    rule == ALL || rule == url || rule.strip_suffix('*').is_some_and(|prefix| url.starts_with(prefix))
}

/// What of `wanted` the `held` rules do not allow, broken into single permissions and joined by verb.
pub(super) fn uncovered(held: &[Rule], wanted: &[Rule]) -> Vec<Rule> {
    let mut missing: Vec<Rule> = Vec::new();
    for one in wanted.iter().flat_map(Rule::atoms) {
        if held.iter().any(|h| h.covers_one(&one)) {
            continue;
        }
        let same = |m: &&mut Rule| {
            !one.resources.is_empty()
                && m.api_groups == one.api_groups
                && m.resources == one.resources
                && m.resource_names == one.resource_names
        };
        match missing.iter_mut().find(same) {
            Some(joined) => {
                joined.verbs.extend(one.verbs.into_iter().filter(|v| !joined.verbs.contains(v)).collect::<Vec<_>>())
            }
            None => missing.push(one),
        }
    }
    missing
}

/// `["a" "b"]`, as Go's `%q` prints a list.
pub(super) fn quoted(list: &[String]) -> String {
    let items: Vec<String> = list.iter().map(|s| format!("{s:?}")).collect();
    format!("[{}]", items.join(" "))
}

impl std::fmt::Display for Rule {
    /// `{APIGroups:["apps"], Resources:["deployments"], Verbs:["get" "list"]}`
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let fields = [
            ("APIGroups", &self.api_groups),
            ("Resources", &self.resources),
            ("NonResourceURLs", &self.non_resource_urls),
            ("ResourceNames", &self.resource_names),
            ("Verbs", &self.verbs),
        ];
        let shown: Vec<String> = fields
            .iter()
            .filter(|(_, list)| !list.is_empty())
            .map(|(name, list)| format!("{name}:{}", quoted(list)))
            .collect();
        write!(f, "{{{}}}", shown.join(", "))
    }
}

impl From<&PolicyRule> for Rule {
    fn from(rule: &PolicyRule) -> Self {
        Rule {
            verbs: rule.verbs.clone(),
            api_groups: rule.api_groups.clone().unwrap_or_default(),
            resources: rule.resources.clone().unwrap_or_default(),
            resource_names: rule.resource_names.clone().unwrap_or_default(),
            non_resource_urls: rule.non_resource_urls.clone().unwrap_or_default(),
        }
    }
}

impl From<&Rule> for PolicyRule {
    fn from(rule: &Rule) -> Self {
        let filled = |list: &Vec<String>| (!list.is_empty()).then(|| list.clone());
        PolicyRule {
            verbs: rule.verbs.clone(),
            api_groups: filled(&rule.api_groups),
            resources: filled(&rule.resources),
            resource_names: filled(&rule.resource_names),
            non_resource_urls: filled(&rule.non_resource_urls),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::UserInfo;

    fn rule(verbs: &[&str], groups: &[&str], resources: &[&str], names: &[&str]) -> Rule {
        let own = |l: &[&str]| l.iter().map(|s| (*s).to_owned()).collect();
        Rule {
            verbs: own(verbs),
            api_groups: own(groups),
            resources: own(resources),
            resource_names: own(names),
            non_resource_urls: Vec::new(),
        }
    }

    #[test]
    fn resources_and_subresources() {
        let user = UserInfo::default();
        // rule's resource, resource, subresource
        let cases = [
            ("pods", "pods", "", true),
            ("pods", "pods", "log", false),
            ("pods/log", "pods", "log", true),
            ("pods/log", "pods", "", false),
            ("*/scale", "deployments", "scale", true),
            ("*/scale", "scale", "", false),
            ("*", "pods", "exec", true),
        ];
        for (of_rule, resource, subresource, want) in cases {
            let a = Attributes { subresource, ..Attributes::resource(&user, "get", "", resource) };
            assert_eq!(rule(&["get"], &[""], &[of_rule], &[]).allows(&a), want, "{of_rule} {resource}/{subresource}");
        }
    }

    #[test]
    fn names_limit_a_rule() {
        let user = UserInfo::default();
        let a = Attributes::resource(&user, "get", "", "secrets");
        let one = rule(&["get"], &[""], &["secrets"], &["x"]);
        assert!(!one.allows(&a));
        assert!(one.allows(&Attributes { name: "x", ..a }));
    }

    #[test]
    fn urls_match_by_prefix() {
        for (of_rule, path, want) in [
            ("/healthz", "/healthz", true),
            ("/apis/*", "/apis/apps", true),
            ("/apis/*", "/apis", false),
            ("*", "/x", true),
        ] {
            assert_eq!(url_covers(of_rule, path), want, "{of_rule} {path}");
        }
    }

    #[test]
    fn missing_permissions_are_joined_by_verb() {
        let held = [rule(&["get"], &[""], &["pods"], &[])];
        let wanted = [rule(&["get", "list", "watch"], &["", "apps"], &["pods"], &[])];
        let texts: Vec<String> = uncovered(&held, &wanted).iter().map(ToString::to_string).collect();
        assert_eq!(
            texts,
            [
                r#"{APIGroups:[""], Resources:["pods"], Verbs:["list" "watch"]}"#,
                r#"{APIGroups:["apps"], Resources:["pods"], Verbs:["get" "list" "watch"]}"#
            ]
        );
        assert!(uncovered(&[rule(&["*"], &["*"], &["*"], &[])], &wanted).is_empty());
        assert_eq!(uncovered(&[rule(&["get"], &[""], &["pods"], &["a"])], &held).len(), 1);
    }
}
