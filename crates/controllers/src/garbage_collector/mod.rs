//! Garbage collection by owner references: background, foreground and orphaning deletion.
//!
//! Watches the metadata of every kind that can be listed, watched and deleted. The [`graph`] knows
//! who owns whom; the key is an object's UID. Before anything is deleted the server is asked about the
//! object and its owners, because the graph may be behind.
mod graph;
mod plan;
#[cfg(test)]
mod tests;
mod watches;

use crate::runtime::{Controller, Failure, Plan, Setup};
use async_trait::async_trait;
use client::Key;
use graph::{Graph, Node};
use http::Request;
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use parking_lot::RwLock;
use plan::{Owner, View};
use serde::Deserialize;
use std::sync::Arc;
use watches::Kinds;

struct GarbageCollector {
    graph: Arc<RwLock<Graph>>,
    kinds: Arc<RwLock<Kinds>>,
    client: kube::Client,
}

#[derive(Deserialize)]
struct Partial {
    #[serde(default)]
    metadata: ObjectMeta,
}

/// Start the garbage collector.
pub fn start(setup: &mut Setup) -> Result<Arc<dyn Controller>, String> {
    if !setup.flags.enable_garbage_collector {
        return Err("--enable-garbage-collector is false".to_owned());
    }
    let graph = Arc::new(RwLock::new(Graph::default()));
    let kinds = Arc::new(RwLock::new(Kinds::default()));
    let first = watches::run(setup, graph.clone(), kinds.clone());
    setup.wait_for(first);
    Ok(Arc::new(GarbageCollector { graph, kinds, client: setup.client.clone() }))
}

impl GarbageCollector {
    async fn live(&self, path: &str) -> Result<Option<ObjectMeta>, Failure> {
        let accept = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json";
        let request = Request::builder().uri(path).header("Accept", accept);
        let request = request.body(Vec::new()).map_err(|error| Failure::Invalid(error.to_string()))?;
        match self.client.request::<Partial>(request).await {
            Ok(found) => Ok(Some(found.metadata)),
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// What has become of an owner.
    async fn owner(&self, node: &Node, reference: &OwnerReference) -> Result<Owner, Failure> {
        if let Some(known) = self.graph.read().get(&reference.uid) {
            // In the graph, so it existed a moment ago.
            let elsewhere = known.namespace().is_some() && known.namespace() != node.namespace();
            if elsewhere {
                return Ok(Owner::Elsewhere);
            }
            return Ok(if known.waits_for_dependents() { Owner::WaitsForDependents } else { Owner::Solid });
        }
        let kind = self.kinds.read().find(&reference.api_version, &reference.kind);
        // A kind the server does not have now may be back later: its objects are never called absent.
        let Some(kind) = kind else { return Ok(Owner::Unknown) };
        if kind.namespaced && node.namespace().is_none() {
            return Ok(Owner::Elsewhere);
        }
        let namespace = node.namespace().filter(|_| kind.namespaced);
        let found = self.live(&format!("{}/{}", kind.path(namespace), reference.name)).await?;
        Ok(match found.filter(|meta| meta.uid.as_deref() == Some(&reference.uid)) {
            None => Owner::Absent,
            Some(meta) => match graph::waits_for_dependents(&meta) {
                true => Owner::WaitsForDependents,
                false => Owner::Solid,
            },
        })
    }

    async fn view(&self, uid: &str) -> Result<Option<View>, Failure> {
        let Some(known) = self.graph.read().get(uid).cloned() else { return Ok(None) };
        if !self.graph.read().needs_a_look(&known) {
            return Ok(None);
        }
        let path = format!("{}/{}", known.target.path(), known.target.key.name);
        let Some(meta) = self.live(&path).await?.filter(|meta| meta.uid.as_deref() == Some(uid)) else {
            // Gone already; its watch will say so.
            return Ok(None);
        };
        let node = Node::new(known.target, &meta);
        let mut owners = Vec::new();
        for reference in &node.owners {
            owners.push((reference.clone(), self.owner(&node, reference).await?));
        }
        let dependents = self.graph.read().dependents(uid);
        Ok(Some(View { node, owners, dependents }))
    }
}

#[async_trait]
impl Controller for GarbageCollector {
    async fn reconcile(&self, key: &Key, _now: Timestamp) -> Result<Plan, Failure> {
        let view = self.view(&key.name).await?;
        Ok(view.map_or_else(Plan::nothing, |view| plan::plan(&view)))
    }
}
