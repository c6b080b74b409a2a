//! The scheduling framework: what a plugin is and what it is asked.
//!
//! A plugin is one type that implements [`Plugin`] and says at which [`Point`]s it takes part. Everything up to
//! `Permit` is pure: it reads `&Cluster` and the pod. What a plugin precomputes for one pod lives in the object it
//! returns ([`NodeFilter`], [`NodeScore`]), so nothing is looked up by name in a shared state. Only `pre_bind` and
//! `bind` talk to the API, each in a task of its own.
//!
//! Source: "Scheduling Framework" (KEP-624); names and order of the points are upstream's.
pub mod event;
pub mod profile;
pub mod status;

pub use event::{Action, Event, KeptEvent};
pub use status::{Code, FitError, Rejection};

use crate::{
    cluster::{Cluster, NodeIndex, NodeView},
    pod::PodInfo,
    queue::QueueKey,
};
use futures::future::BoxFuture;
use std::{fmt, sync::Arc, time::Duration};

/// The best score a plugin may give a node, before its weight.
pub const MAX_NODE_SCORE: i64 = 100;

/// Where a plugin can take part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Point {
    PreEnqueue,
    QueueSort,
    PreFilter,
    Filter,
    PostFilter,
    PreScore,
    Score,
    Reserve,
    Permit,
    PreBind,
    Bind,
    PostBind,
}

/// What a decision about one pod reads.
#[derive(Clone, Copy)]
pub struct Context<'a> {
    pub pod: &'a PodInfo,
    pub cluster: &'a Cluster,
}

/// The outcome of a plugin's look at the pod before any node.
pub enum PreFilter<'a> {
    /// This plugin has no objection to any node: do not ask it again.
    Skip,
    /// No node will do.
    Reject(Rejection),
    /// Ask this about each node, or only about `nodes` if given; all others are out.
    Check { nodes: Option<Vec<NodeIndex>>, filter: Box<dyn NodeFilter + 'a> },
}

impl<'a> PreFilter<'a> {
    pub fn check(filter: impl NodeFilter + 'a) -> Self {
        PreFilter::Check { nodes: None, filter: Box::new(filter) }
    }
}

/// A plugin's objections to nodes, prepared for one pod.
pub trait NodeFilter: Send + Sync {
    /// # Errors
    /// Why the pod cannot run on this node.
    fn filter(&self, node: &NodeView<'_>) -> Result<(), Rejection>;

    /// A copy that can be told of changes. Filters that look only at the node view given to `filter` need no more.
    fn fork(&self) -> Box<dyn NodeFilter + '_>;

    /// A pod is thought to be added to this node.
    fn add_pod(&mut self, _pod: &PodInfo, _node: &NodeView<'_>) {}

    /// A pod is thought to be gone from this node.
    fn remove_pod(&mut self, _pod: &PodInfo, _node: &NodeView<'_>) {}

    /// The answer depends on the node's own slot alone, not on other nodes or their pods: it stays true as long
    /// as the node does not change.
    fn is_local(&self) -> bool {
        true
    }
}

/// A plugin's preferences among nodes, prepared for one pod.
pub trait NodeScore: Send + Sync {
    /// Any number; [`normalize`](Self::normalize) brings it to 0..=[`MAX_NODE_SCORE`].
    fn score(&self, node: &NodeView<'_>) -> i64;

    /// Brings the scores of all candidates to 0..=[`MAX_NODE_SCORE`]. The default leaves them.
    fn normalize(&self, _scores: &mut [i64]) {}

    /// As [`NodeFilter::is_local`], of `score`.
    fn is_local(&self) -> bool {
        true
    }
}

/// What `post_filter` came to for a pod that fits nowhere.
pub enum PostFilter {
    /// Nothing can be done; the text becomes part of the event.
    Unschedulable(String),
    /// Nothing can be done and no other plugin shall try.
    Error(String),
    /// Room can be made on this node by ending these pods.
    Nominate { node: NodeIndex, victims: Vec<Arc<PodInfo>> },
}

/// What `permit` says.
pub enum Permit {
    Allow,
    Reject(Rejection),
    /// Bind when the future says so; give up after the time.
    Wait(BoxFuture<'static, Result<(), String>>, Duration),
}

/// A decision on its way to the API server.
#[derive(Clone)]
pub struct Binding {
    pub pod: Arc<PodInfo>,
    pub node: Arc<str>,
    pub client: kube::Client,
    /// What the volume plugins decided about claims.
    pub volumes: Arc<[crate::plugins::volume_binding::ClaimDecision]>,
}

/// Why a binding did not come about.
#[derive(Debug, thiserror::Error)]
#[error("{plugin}: {message}")]
pub struct BindError {
    pub plugin: &'static str,
    pub message: String,
}

/// A scheduling plugin. Every method not implemented is one the plugin has no part in.
pub trait Plugin: Send + Sync {
    /// The name in configurations, events and metrics.
    fn name(&self) -> &'static str;

    /// Where the plugin takes part. What is not listed here is not called.
    fn points(&self) -> &'static [Point];

    /// May the pod be queued for scheduling at all?
    ///
    /// # Errors
    /// Why not yet.
    fn pre_enqueue(&self, _pod: &PodInfo) -> Result<(), String> {
        Ok(())
    }

    /// The place in the queue; smaller comes first. `added` is when the pod was last put there.
    fn queue_key(&self, _pod: &PodInfo, added: tokio::time::Instant) -> QueueKey {
        QueueKey { rank: 0, added }
    }

    /// A look at the pod before any node. Plugins of the `Filter` point prepare their filter here.
    fn pre_filter<'a>(&'a self, _context: Context<'a>) -> PreFilter<'a> {
        PreFilter::Skip
    }

    /// The pod fits nowhere: can that be changed?
    fn post_filter(&self, _attempt: &crate::cycle::Attempt<'_>) -> PostFilter {
        PostFilter::Unschedulable(String::new())
    }

    /// Prepares scoring of the candidates; `None`: all are alike to this plugin.
    fn pre_score<'a>(&'a self, _context: Context<'a>, _candidates: &[NodeIndex]) -> Option<Box<dyn NodeScore + 'a>> {
        None
    }

    /// The pod is going to this node.
    ///
    /// # Errors
    /// It cannot after all.
    fn reserve(&self, _context: Context<'_>, _node: NodeIndex) -> Result<(), Rejection> {
        Ok(())
    }

    /// The pod is not going there after all.
    fn unreserve(&self, _pod: &PodInfo) {}

    fn permit(&self, _context: Context<'_>, _node: NodeIndex) -> Permit {
        Permit::Allow
    }

    /// Something to be done before the pod is bound.
    fn pre_bind<'a>(&'a self, _binding: &'a Binding) -> BoxFuture<'a, Result<(), BindError>> {
        Box::pin(async { Ok(()) })
    }

    /// Binds the pod; `None`: not this plugin's business.
    fn bind<'a>(&'a self, _binding: &'a Binding) -> Option<BoxFuture<'a, Result<(), BindError>>> {
        None
    }

    /// The pod is bound.
    fn post_bind(&self, _binding: &Binding) {}

    /// This plugin rejected the pod; could the event change its mind? Upstream's queueing hints (KEP-4247).
    fn queueing_hint(&self, _pod: &PodInfo, _event: &Event<'_>) -> bool {
        true
    }
}

impl fmt::Debug for dyn Plugin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Brings scores to 0..=[`MAX_NODE_SCORE`] in proportion to the largest; `reverse`: the largest becomes the worst.
/// Upstream's `DefaultNormalizeScore`.
pub fn normalize_by_max(scores: &mut [i64], reverse: bool) {
    let max = scores.iter().copied().max().unwrap_or(0);
    if max == 0 {
        if reverse {
            scores.fill(MAX_NODE_SCORE);
        }
        return;
    }
    for score in scores {
        let scaled = *score * MAX_NODE_SCORE / max;
        *score = if reverse { MAX_NODE_SCORE - scaled } else { scaled };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scores_are_scaled_to_the_largest() {
        let table: [(&[i64], bool, &[i64]); 4] = [
            (&[1, 2, 4], false, &[25, 50, 100]),
            (&[1, 2, 4], true, &[75, 50, 0]),
            (&[0, 0], true, &[100, 100]),
            (&[0, 0], false, &[0, 0]),
        ];
        for (scores, reverse, expected) in table {
            let mut got = scores.to_vec();
            normalize_by_max(&mut got, reverse);
            assert_eq!(got, expected, "{scores:?} {reverse}");
        }
    }
}
