//! Deleting what is in a namespace, and seeing what is left.
use crate::{
    discovery::{self, Kind},
    runtime::Failure,
};
use futures::StreamExt;
use http::{Method, Request};
use kube::Client;
use serde::Deserialize;
use std::collections::BTreeMap;

/// Kinds asked about at a time.
const CONCURRENCY: usize = 8;
/// Seconds a pod is given to end when it does not say.
const POD_GRACE_S: i64 = 15;

/// What was found in a namespace after everything was told to go.
#[derive(Debug, Default)]
pub struct Found {
    /// Why the kinds could not be found out.
    pub discovery: Option<String>,
    /// Refused deletions.
    pub errors: Vec<String>,
    /// Objects left, by `<resource>.<group>`.
    pub remaining: BTreeMap<String, usize>,
    /// Objects left, by finalizer.
    pub finalizers: BTreeMap<String, usize>,
    /// Seconds until what is left may be gone.
    pub estimate_s: i64,
}

#[derive(Deserialize)]
struct List {
    #[serde(default)]
    items: Vec<Item>,
}

#[derive(Deserialize)]
struct Item {
    #[serde(default)]
    metadata: Meta,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Meta {
    finalizers: Vec<String>,
    deletion_grace_period_seconds: Option<i64>,
}

/// Tell everything in `namespace` to go.
pub async fn delete(client: &Client, namespace: &str) -> Found {
    let mut found = Found::default();
    let kinds = match discovery::kinds(client).await {
        Ok(kinds) => kinds,
        Err(failure) => {
            found.discovery = Some(failure.to_string());
            return found;
        }
    };
    let within = kinds.into_iter().filter(|kind| kind.namespaced && kind.supports(&["delete", "list"]));
    let (pods, others): (Vec<_>, Vec<_>) =
        within.partition(|kind| kind.resource.group.is_empty() && kind.resource.plural == "pods");
    delete_kinds(client, namespace, pods, &mut found).await;
    if found.remaining.is_empty() && found.errors.is_empty() {
        delete_kinds(client, namespace, others, &mut found).await;
    }
    found
}

async fn delete_kinds(client: &Client, namespace: &str, kinds: Vec<Kind>, found: &mut Found) {
    let each = kinds.into_iter().map(|kind| async move {
        let left = delete_kind(client, &kind, namespace).await;
        (kind, left)
    });
    let mut results = futures::stream::iter(each).buffer_unordered(CONCURRENCY);
    while let Some((kind, left)) = results.next().await {
        let items = match left {
            Ok(items) => items,
            Err(failure) => {
                found.errors.push(failure.to_string());
                continue;
            }
        };
        if items.is_empty() {
            continue;
        }
        found.remaining.insert(format!("{}.{}", kind.resource.plural, kind.resource.group), items.len());
        for item in items {
            let grace = item.metadata.deletion_grace_period_seconds;
            if kind.resource.plural == "pods" {
                found.estimate_s = found.estimate_s.max(grace.unwrap_or(POD_GRACE_S));
            }
            for finalizer in item.metadata.finalizers {
                *found.finalizers.entry(finalizer).or_insert(0) += 1;
            }
        }
    }
    found.errors.sort();
}

/// The objects of one kind that are left after all were told to go.
async fn delete_kind(client: &Client, kind: &Kind, namespace: &str) -> Result<Vec<Item>, Failure> {
    let path = kind.path(Some(namespace));
    let left = list(client, &path).await?;
    if left.is_empty() {
        return Ok(left);
    }
    if !kind.supports(&["deletecollection"]) {
        return Err(Failure::Invalid(format!("{} cannot be deleted as a collection", kind.resource.plural)));
    }
    let options = serde_json::json!({ "kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": "Background" });
    let request = Request::builder().method(Method::DELETE).uri(&path).header("Content-Type", "application/json");
    let request = request.body(options.to_string().into_bytes()).map_err(|e| Failure::Invalid(e.to_string()))?;
    client.request::<serde::de::IgnoredAny>(request).await?;
    list(client, &path).await
}

async fn list(client: &Client, path: &str) -> Result<Vec<Item>, Failure> {
    let accept = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json";
    let request = Request::builder().uri(path).header("Accept", accept);
    let request = request.body(Vec::new()).map_err(|error| Failure::Invalid(error.to_string()))?;
    Ok(client.request::<List>(request).await?.items)
}
