//! `kubectl apply --prune`: what was applied before, and is in no file any more, is deleted.
use crate::{
    Error, Result,
    http::with_query,
    mapper::Resource,
    select::{Target, flag, text, words},
    write::{DryRun, LAST_APPLIED, Writer},
};
use clap::{Arg, ArgAction, ArgMatches};
use serde_json::{Value, json};
use std::collections::{BTreeSet, HashSet};

/// (API version, kind) of what is pruned unless others are named; namespaced ones first.
const KINDS: &[(&str, &str)] = &[
    ("v1", "ConfigMap"),
    ("v1", "Endpoints"),
    ("v1", "PersistentVolumeClaim"),
    ("v1", "Pod"),
    ("v1", "ReplicationController"),
    ("v1", "Secret"),
    ("v1", "Service"),
    ("batch/v1", "Job"),
    ("batch/v1", "CronJob"),
    ("networking.k8s.io/v1", "Ingress"),
    ("apps/v1", "DaemonSet"),
    ("apps/v1", "Deployment"),
    ("apps/v1", "ReplicaSet"),
    ("apps/v1", "StatefulSet"),
    ("v1", "Namespace"),
    ("v1", "PersistentVolume"),
];

pub fn flags() -> [Arg; 2] {
    [
        crate::global::boolean(Arg::new("all").long("all"))
            .default_value("false")
            .help("Select all resources in the namespace of the specified resource types."),
        Arg::new("prune-allowlist")
            .long("prune-allowlist")
            .action(ArgAction::Append)
            .value_delimiter(',')
            .help("Overwrite the default allowlist with <group/version/kind> for --prune"),
    ]
}

/// The objects of this call.
#[derive(Debug, Default)]
pub struct Seen {
    uids: HashSet<String>,
    namespaces: BTreeSet<String>,
}

impl Seen {
    pub fn add(&mut self, target: &Target, object: &Value) {
        self.namespaces.extend(target.namespace.clone());
        self.uids.extend(object["metadata"]["uid"].as_str().map(str::to_owned));
    }

    /// Applied once, and not now.
    fn forgets(&self, object: &Value) -> bool {
        let metadata = &object["metadata"];
        metadata["annotations"][LAST_APPLIED].is_string()
            && metadata["deletionTimestamp"].is_null()
            && metadata["uid"].as_str().is_some_and(|uid| !self.uids.contains(uid))
    }
}

pub struct Prune {
    selector: String,
    kinds: Vec<(String, String)>,
    grace: i64,
}

impl Prune {
    /// # Errors
    /// Neither a selector nor `--all`; or the list of kinds is malformed.
    pub fn new(matches: &ArgMatches) -> Result<Self> {
        let selector = text(matches, "selector");
        if selector.is_empty() && !flag(matches, "all") {
            return Err(Error::message(
                "all resources selected for prune without explicitly passing --all. To prune all resources, pass the --all \
                 flag. If you did not mean to prune all resources, specify a label selector",
            ));
        }
        let given = words(matches, "prune-allowlist");
        let kinds = match given.is_empty() {
            true => KINDS.iter().map(|(version, kind)| ((*version).to_owned(), (*kind).to_owned())).collect(),
            false => given.iter().map(|word| kind(word)).collect::<Result<_>>()?,
        };
        Ok(Prune { selector, kinds, grace: super::apply::grace(matches) })
    }

    /// # Errors
    /// The server refuses to list or to delete.
    pub async fn run(&self, writer: &Writer<'_>, seen: &Seen) -> Result<()> {
        let mapper = writer.context.mapper().await?;
        let known: Vec<&Resource> =
            self.kinds.iter().filter_map(|(version, kind)| mapper.kind(version, kind).ok()).collect();
        for namespace in &seen.namespaces {
            for resource in known.iter().filter(|resource| resource.namespaced) {
                self.prune(writer, seen, resource, Some(namespace)).await?;
            }
        }
        for resource in known.iter().filter(|resource| !resource.namespaced) {
            self.prune(writer, seen, resource, None).await?;
        }
        Ok(())
    }

    async fn prune(
        &self,
        writer: &Writer<'_>,
        seen: &Seen,
        resource: &Resource,
        namespace: Option<&str>,
    ) -> Result<()> {
        let api = writer.context.api().await?;
        let path = with_query(&resource.collection(namespace), &[("labelSelector", self.selector.as_str())]);
        let mut list = api.get(&path).await?;
        let Value::Array(items) = list["items"].take() else { return Ok(()) };
        for object in items.into_iter().filter(|object| seen.forgets(object)) {
            let name = object["metadata"]["name"].as_str().unwrap_or_default();
            let mut options = super::apply::deletion(self.grace);
            if writer.dry_run == DryRun::Server {
                options["dryRun"] = json!(["All"]);
            }
            if writer.dry_run != DryRun::Client {
                match api.delete(&resource.object(namespace, name), &options).await {
                    Err(error) if error.is_not_found() => {}
                    other => drop(other?),
                }
            }
            writer.report(resource, object, "pruned")?;
        }
        Ok(())
    }
}

/// `core/v1/Pod`, `apps/v1/Deployment`.
fn kind(word: &str) -> Result<(String, String)> {
    match word.split('/').collect::<Vec<_>>().as_slice() {
        ["" | "core", version, kind] => Ok(((*version).to_owned(), (*kind).to_owned())),
        [group, version, kind] => Ok((format!("{group}/{version}"), (*kind).to_owned())),
        _ => {
            Err(Error::message(format!("invalid GroupVersionKind format: {word}, please follow <group/version/kind>")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_applied_before_and_not_now_is_pruned() {
        let object = |uid: &str, annotations: Value| json!({"metadata": {"uid": uid, "annotations": annotations}});
        let applied = json!({LAST_APPLIED: "{}"});
        let seen = Seen { uids: HashSet::from(["now".to_owned()]), namespaces: BTreeSet::new() };
        assert!(seen.forgets(&object("before", applied.clone())));
        assert!(!seen.forgets(&object("now", applied.clone())));
        assert!(!seen.forgets(&object("made by hand", json!({}))));
        let mut dying = object("before", applied);
        dying["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        assert!(!seen.forgets(&dying));
    }

    #[test]
    fn kinds_of_the_allowlist() {
        assert_eq!(kind("core/v1/Pod").ok(), Some(("v1".into(), "Pod".into())));
        assert_eq!(kind("apps/v1/Deployment").ok(), Some(("apps/v1".into(), "Deployment".into())));
        assert!(kind("v1/Pod").is_err());
    }
}
