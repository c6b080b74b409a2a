//! Which resource a word means: discovery, with short names, singular forms, kinds, groups and categories.
//!
//! Source: "Kubernetes API discovery" (aggregated, v2), the group lists of older servers as fallback.
use crate::{Error, Result, http::Api};
use http::Method;
use serde_json::Value;

const AGGREGATED: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json";

/// One resource in one version.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resource {
    /// Empty for the core group.
    pub group: String,
    pub version: String,
    pub kind: String,
    pub plural: String,
    pub singular: String,
    pub short_names: Vec<String>,
    pub categories: Vec<String>,
    pub namespaced: bool,
    pub verbs: Vec<String>,
    /// This is the version that the server prefers for its group.
    pub preferred: bool,
    pub subresources: Vec<String>,
}

impl Resource {
    /// `v1`, `apps/v1`.
    pub fn group_version(&self) -> String {
        if self.group.is_empty() { self.version.clone() } else { format!("{}/{}", self.group, self.version) }
    }

    /// `pods`, `deployments.apps`: how messages name a resource.
    pub fn qualified(&self) -> String {
        if self.group.is_empty() { self.plural.clone() } else { format!("{}.{}", self.plural, self.group) }
    }

    /// `pod/web`, `deployment.apps/web`: how output names an object.
    pub fn object_name(&self, name: &str) -> String {
        let singular = self.kind.to_lowercase();
        if self.group.is_empty() { format!("{singular}/{name}") } else { format!("{singular}.{}/{name}", self.group) }
    }

    /// The collection's path; `namespace` counts only for namespaced resources, `None` is all of them.
    pub fn collection(&self, namespace: Option<&str>) -> String {
        let root = if self.group.is_empty() {
            format!("/api/{}", self.version)
        } else {
            format!("/apis/{}/{}", self.group, self.version)
        };
        match namespace.filter(|_| self.namespaced) {
            Some(namespace) => format!("{root}/namespaces/{}/{}", crate::http::escape(namespace), self.plural),
            None => format!("{root}/{}", self.plural),
        }
    }

    /// One object's path.
    pub fn object(&self, namespace: Option<&str>, name: &str) -> String {
        format!("{}/{}", self.collection(namespace), crate::http::escape(name))
    }

    pub fn supports(&self, verb: &str) -> bool {
        self.verbs.iter().any(|v| v == verb)
    }

    fn is_called(&self, word: &str) -> bool {
        self.plural == word
            || self.singular == word
            || self.kind.to_lowercase() == word
            || self.short_names.iter().any(|s| s == word)
    }
}

/// Everything the server serves, in its order of preference.
#[derive(Debug, Default)]
pub struct Mapper {
    resources: Vec<Resource>,
}

fn text(value: &Value, field: &str) -> String {
    value[field].as_str().unwrap_or_default().to_owned()
}

fn texts(value: &Value) -> Vec<String> {
    value.as_array().into_iter().flatten().filter_map(|v| v.as_str().map(str::to_owned)).collect()
}

impl Mapper {
    #[cfg(test)]
    pub fn of(resources: Vec<Resource>) -> Self {
        Mapper { resources }
    }

    /// Ask the server.
    ///
    /// # Errors
    /// It cannot be reached.
    pub async fn discover(api: &Api) -> Result<Mapper> {
        let core = api.json(Method::GET, "/api", crate::http::JSON, AGGREGATED, None).await?;
        let groups = api.json(Method::GET, "/apis", crate::http::JSON, AGGREGATED, None).await?;
        if core["kind"] == "APIGroupDiscoveryList" {
            let mut mapper = Mapper::default();
            for group in [&core, &groups].into_iter().flat_map(|list| list["items"].as_array().into_iter().flatten()) {
                mapper.add_group(group);
            }
            return Ok(mapper);
        }
        Self::discover_each(api, &core, &groups).await
    }

    /// One request a group and version, for servers without aggregated discovery.
    async fn discover_each(api: &Api, core: &Value, groups: &Value) -> Result<Mapper> {
        let mut wanted: Vec<(String, String, bool)> = Vec::new();
        for version in texts(&core["versions"]) {
            wanted.push((String::new(), version, true));
        }
        for group in groups["groups"].as_array().into_iter().flatten() {
            let preferred = text(&group["preferredVersion"], "version");
            for version in group["versions"].as_array().into_iter().flatten() {
                let version = text(version, "version");
                let is_preferred = version == preferred;
                wanted.push((text(group, "name"), version, is_preferred));
            }
        }
        let mut mapper = Mapper::default();
        for (group, version, preferred) in wanted {
            let path = if group.is_empty() { format!("/api/{version}") } else { format!("/apis/{group}/{version}") };
            let list = api.get(&path).await?;
            mapper.add_list(&group, &version, preferred, &list);
        }
        Ok(mapper)
    }

    fn add_list(&mut self, group: &str, version: &str, preferred: bool, list: &Value) {
        for entry in list["resources"].as_array().into_iter().flatten() {
            let name = text(entry, "name");
            if let Some((plural, sub)) = name.split_once('/') {
                let owner =
                    self.resources.iter_mut().find(|r| r.plural == plural && r.group == group && r.version == version);
                if let Some(owner) = owner {
                    owner.subresources.push(sub.to_owned());
                }
                continue;
            }
            let kind = text(entry, "kind");
            let singular = Some(text(entry, "singularName")).filter(|s| !s.is_empty());
            self.resources.push(Resource {
                group: group.to_owned(),
                version: version.to_owned(),
                singular: singular.unwrap_or_else(|| kind.to_lowercase()),
                kind,
                plural: name,
                short_names: texts(&entry["shortNames"]),
                categories: texts(&entry["categories"]),
                namespaced: entry["namespaced"].as_bool().unwrap_or(false),
                verbs: texts(&entry["verbs"]),
                preferred,
                subresources: Vec::new(),
            });
        }
    }

    fn add_group(&mut self, group: &Value) {
        let name = text(&group["metadata"], "name");
        for (rank, version) in group["versions"].as_array().into_iter().flatten().enumerate() {
            for entry in version["resources"].as_array().into_iter().flatten() {
                let kind = text(&entry["responseKind"], "kind");
                let singular = Some(text(entry, "singularResource")).filter(|s| !s.is_empty());
                let subresources = entry["subresources"].as_array().into_iter().flatten();
                self.resources.push(Resource {
                    group: name.clone(),
                    version: text(version, "version"),
                    singular: singular.unwrap_or_else(|| kind.to_lowercase()),
                    kind,
                    plural: text(entry, "resource"),
                    short_names: texts(&entry["shortNames"]),
                    categories: texts(&entry["categories"]),
                    namespaced: entry["scope"] == "Namespaced",
                    verbs: texts(&entry["verbs"]),
                    preferred: rank == 0,
                    subresources: subresources.map(|s| text(s, "subresource")).collect(),
                });
            }
        }
    }

    /// All resources, in the server's order.
    pub fn all(&self) -> &[Resource] {
        &self.resources
    }

    /// `pods`, `po`, `deploy.apps`, `deployments.v1.apps`, `Pod`.
    ///
    /// # Errors
    /// `the server doesn't have a resource type "x"`.
    pub fn resource(&self, word: &str) -> Result<&Resource> {
        let lower = word.to_lowercase();
        let (name, rest) = lower.split_once('.').unwrap_or((&lower, ""));
        let candidates = || self.resources.iter().filter(|r| r.is_called(name));
        let found = if rest.is_empty() {
            candidates().find(|r| r.preferred).or_else(|| candidates().next())
        } else {
            // The core group is said as `pods.v1.`, with nothing after the last dot.
            let (version, group) = rest.split_once('.').unwrap_or(("", rest));
            let exact = candidates().find(|r| r.version == version && r.group == group);
            exact.or_else(|| candidates().find(|r| r.group == rest || r.group.starts_with(&format!("{rest}."))))
        };
        found.ok_or_else(|| match word.split_once('.') {
            Some((name, group)) if !group.is_empty() => {
                Error::message(format!("the server doesn't have a resource type \"{name}\" in group \"{group}\""))
            }
            _ => Error::message(format!("the server doesn't have a resource type \"{word}\"")),
        })
    }

    /// The resource of a name, in a group or (preferred ones first) in any; a group may be said by how it begins.
    pub fn named(&self, name: &str, group: &str) -> Option<&Resource> {
        let lower = name.to_lowercase();
        let candidates = || self.resources.iter().filter(|r| r.is_called(&lower));
        let preferred = |fits: &dyn Fn(&Resource) -> bool| {
            candidates().find(|r| r.preferred && fits(r)).or_else(|| candidates().find(|r| fits(r)))
        };
        if group.is_empty() {
            return preferred(&|_| true);
        }
        preferred(&|r| r.group == group).or_else(|| preferred(&|r| r.group.starts_with(group)))
    }

    /// What else a short name could mean: of several resources that have it, the first is taken.
    pub fn also(&self, word: &str) -> Vec<&Resource> {
        let word = word.to_lowercase();
        let named = |r: &&Resource| r.plural == word || r.singular == word || r.kind.to_lowercase() == word;
        if self.resources.iter().any(|r| named(&r)) {
            return Vec::new();
        }
        let short = |r: &&Resource| r.preferred && r.short_names.contains(&word);
        self.resources.iter().filter(short).skip(1).collect()
    }

    /// The resources of a category such as `all`; none when there is no such category.
    pub fn category(&self, word: &str) -> Vec<&Resource> {
        self.resources.iter().filter(|r| r.preferred && r.categories.iter().any(|c| c == word)).collect()
    }

    /// The resource that serves objects of a kind.
    ///
    /// # Errors
    /// `resource mapping not found…`, as the official one words it.
    pub fn kind(&self, api_version: &str, kind: &str) -> Result<&Resource> {
        let found = self.resources.iter().find(|r| r.kind == kind && r.group_version() == api_version);
        found.ok_or_else(|| Error::message(format!("no matches for kind \"{kind}\" in version \"{api_version}\"")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn mapper() -> Mapper {
        let mut mapper = Mapper::default();
        let resource = |name: &str, kind: &str, short: &[&str], scope: &str| {
            json!({"resource": name, "responseKind": {"kind": kind}, "scope": scope, "singularResource": kind.to_lowercase(),
                "shortNames": short, "categories": ["all"], "verbs": ["get", "list"]})
        };
        mapper.add_group(&json!({"metadata": {}, "versions": [{"version": "v1", "resources": [
            resource("pods", "Pod", &["po"], "Namespaced"), resource("nodes", "Node", &["no"], "Cluster"),
            resource("events", "Event", &["ev"], "Namespaced")]}]}));
        mapper.add_group(&json!({"metadata": {"name": "apps"}, "versions": [{"version": "v1", "resources": [
            resource("deployments", "Deployment", &["deploy"], "Namespaced")]}]}));
        mapper.add_group(&json!({"metadata": {"name": "events.k8s.io"}, "versions": [{"version": "v1", "resources": [
            resource("events", "Event", &["ev"], "Namespaced")]}]}));
        mapper
    }

    #[test]
    fn words_find_their_resource() {
        let mapper = mapper();
        let cases = [
            ("po", "v1 pods"),
            ("Pod", "v1 pods"),
            ("deploy", "apps/v1 deployments"),
            ("deployments.apps", "apps/v1 deployments"),
            ("deployments.v1.apps", "apps/v1 deployments"),
            ("ev", "v1 events"),
            ("events.events.k8s.io", "events.k8s.io/v1 events"),
        ];
        for (word, want) in cases {
            let found = mapper.resource(word).expect(word);
            assert_eq!(format!("{} {}", found.group_version(), found.plural), want, "{word}");
        }
        let error = mapper.resource("nothing").expect_err("unknown").text();
        assert_eq!(error, "error: the server doesn't have a resource type \"nothing\"");
    }

    #[test]
    fn short_names_that_mean_several_things() {
        let mapper = mapper();
        let cases: [(&str, &[&str]); 4] =
            [("ev", &["events.events.k8s.io"]), ("events", &[]), ("event", &[]), ("po", &[])];
        for (word, want) in cases {
            assert_eq!(mapper.also(word).iter().map(|r| r.qualified()).collect::<Vec<_>>(), want, "{word}");
        }
    }

    #[test]
    fn paths() {
        let mapper = mapper();
        let (pods, nodes) = (mapper.resource("po").expect("pods"), mapper.resource("no").expect("nodes"));
        assert_eq!(pods.object(Some("default"), "a"), "/api/v1/namespaces/default/pods/a");
        assert_eq!(nodes.object(Some("default"), "n"), "/api/v1/nodes/n");
        assert_eq!(mapper.resource("deploy").expect("deployments").collection(None), "/apis/apps/v1/deployments");
    }
}
