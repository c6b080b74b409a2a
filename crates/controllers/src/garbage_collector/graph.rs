//! Who owns whom: every object of the watched kinds, by UID, with its owners and its dependents.
//!
//! Changes return the UIDs that are to be looked at.
use crate::runtime::Target;
use foldhash::{HashMap, HashSet};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};

pub const FOREGROUND: &str = "foregroundDeletion";
pub const ORPHAN: &str = "orphan";

/// An object.
#[derive(Clone)]
pub struct Node {
    pub target: Target,
    pub uid: String,
    pub resource_version: Option<String>,
    pub owners: Vec<OwnerReference>,
    pub deleting: bool,
    pub finalizers: Vec<String>,
}

/// Whether an object stays only until its dependents are gone.
pub fn waits_for_dependents(meta: &ObjectMeta) -> bool {
    meta.deletion_timestamp.is_some() && meta.finalizers.iter().flatten().any(|finalizer| finalizer == FOREGROUND)
}

impl Node {
    pub fn new(target: Target, meta: &ObjectMeta) -> Self {
        Self {
            target,
            uid: meta.uid.clone().unwrap_or_default(),
            resource_version: meta.resource_version.clone(),
            owners: meta.owner_references.clone().unwrap_or_default(),
            deleting: meta.deletion_timestamp.is_some(),
            finalizers: meta.finalizers.clone().unwrap_or_default(),
        }
    }

    pub fn namespace(&self) -> Option<&str> {
        self.target.key.namespace()
    }

    pub fn has(&self, finalizer: &str) -> bool {
        self.finalizers.iter().any(|known| known == finalizer)
    }

    pub fn waits_for_dependents(&self) -> bool {
        self.deleting && self.has(FOREGROUND)
    }

    fn is_being_orphaned(&self) -> bool {
        self.deleting && self.has(ORPHAN)
    }

    /// Whether this object must be gone before `owner` may go.
    pub fn blocks(&self, owner: &str) -> bool {
        self.owners.iter().any(|reference| reference.uid == owner && reference.block_owner_deletion == Some(true))
    }
}

/// All objects.
#[derive(Default)]
pub struct Graph {
    nodes: HashMap<String, Node>,
    /// UIDs of dependents, by the owner's UID, present or not.
    dependents: HashMap<String, HashSet<String>>,
}

impl Graph {
    pub fn get(&self, uid: &str) -> Option<&Node> {
        self.nodes.get(uid)
    }

    /// The objects that name `uid` as an owner.
    pub fn dependents(&self, uid: &str) -> Vec<Node> {
        let uids = self.dependents.get(uid).into_iter().flatten();
        let mut nodes: Vec<Node> = uids.filter_map(|uid| self.nodes.get(uid).cloned()).collect();
        nodes.sort_by(|a, b| (&a.target.collection, &a.target.key).cmp(&(&b.target.collection, &b.target.key)));
        nodes
    }

    /// Whether anything may have to be done about an object.
    pub fn needs_a_look(&self, node: &Node) -> bool {
        let settled = |owner: &OwnerReference| {
            self.nodes.get(&owner.uid).is_some_and(|known| {
                let here = known.namespace().is_none() || known.namespace() == node.namespace();
                here && !known.waits_for_dependents()
            })
        };
        node.waits_for_dependents() || node.is_being_orphaned() || (!node.deleting && !node.owners.iter().all(settled))
    }

    /// An object appeared or changed.
    pub fn apply(&mut self, node: Node) -> Vec<String> {
        let uid = node.uid.clone();
        let mut look = Vec::new();
        let old = self.nodes.insert(uid.clone(), node.clone());
        for owner in old.iter().flat_map(|old| &old.owners) {
            if !node.owners.iter().any(|kept| kept.uid == owner.uid) {
                self.unlink(&owner.uid, &uid);
                look.push(owner.uid.clone());
            }
        }
        for owner in &node.owners {
            self.dependents.entry(owner.uid.clone()).or_default().insert(uid.clone());
            // A dependent that no longer blocks, or is going itself, may free its owner.
            if self.nodes.get(&owner.uid).is_some_and(Node::waits_for_dependents) {
                look.push(owner.uid.clone());
            }
        }
        if self.needs_a_look(&node) {
            look.push(uid.clone());
        }
        let began = node.waits_for_dependents() && !old.as_ref().is_some_and(Node::waits_for_dependents);
        if began || old.is_none() {
            look.extend(self.dependents.get(&uid).into_iter().flatten().cloned());
        }
        look
    }

    /// An object is gone.
    pub fn remove(&mut self, uid: &str) -> Vec<String> {
        let Some(node) = self.nodes.remove(uid) else { return Vec::new() };
        let mut look: Vec<String> = self.dependents.get(uid).into_iter().flatten().cloned().collect();
        for owner in &node.owners {
            self.unlink(&owner.uid, uid);
            if self.nodes.get(&owner.uid).is_some_and(Node::waits_for_dependents) {
                look.push(owner.uid.clone());
            }
        }
        look
    }

    fn unlink(&mut self, owner: &str, dependent: &str) {
        if let Some(dependents) = self.dependents.get_mut(owner) {
            dependents.remove(dependent);
            if dependents.is_empty() {
                self.dependents.remove(owner);
            }
        }
    }
}
