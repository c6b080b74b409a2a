//! What a controller decided to do: an ordered list of writes and events, as data.
//!
//! Controllers make plans from a view and a clock reading; [`super::execute`] carries them out. A plan
//! renders as text (`Display`), which is what the controllers' tests compare.
use client::{Key, events::EventType};
use k8s_openapi::api::core::v1::ObjectReference;
use kube::Resource;
use serde::Serialize;
use serde_json::Value;
use std::{fmt, time::Duration};

/// What to do, in order. The first failure ends it, except where a step says otherwise.
#[derive(Default)]
pub struct Plan {
    pub steps: Vec<Step>,
    /// Look at the same key again after this time, whatever happens.
    pub again: Option<Duration>,
}

/// One step of a plan.
pub enum Step {
    Write(Box<Write>),
    /// Writes of one sort that do not depend on each other: one first, then twice as many at a time as
    /// long as all succeed, so that a rejecting server sees few of them (upstream's slow start).
    Batch(Vec<Write>),
    Tell(Told),
}

/// An event to record.
#[derive(Clone)]
pub struct Told {
    pub about: ObjectReference,
    pub kind: EventType,
    pub reason: &'static str,
    /// `{name}` stands for the name the server gave, `{error}` for its refusal.
    pub message: String,
}

/// Which object of which kind.
#[derive(Clone, PartialEq, Eq)]
pub struct Target {
    /// Path of the kind's collection over all namespaces: `/apis/apps/v1/deployments`.
    pub collection: String,
    pub kind: String,
    pub key: Key,
}

impl Target {
    /// The object of kind `K` at `key`.
    pub fn of<K: Resource<DynamicType = ()>>(key: Key) -> Self {
        Self { collection: K::url_path(&(), None), kind: K::kind(&()).into_owned(), key }
    }

    /// The path of the object's collection in its namespace.
    pub fn path(&self) -> String {
        match (self.key.namespace(), self.collection.rsplit_once('/')) {
            (Some(namespace), Some((version, plural))) => format!("{version}/namespaces/{namespace}/{plural}"),
            _ => self.collection.clone(),
        }
    }
}

/// What a write does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    Create,
    Replace,
    /// A patch of this content type.
    Patch(&'static str),
    Delete,
    /// No write: read the object and fail unless it is the one meant and not being deleted.
    Check,
}

pub const MERGE: &str = "application/merge-patch+json";
const STRATEGIC: &str = "application/strategic-merge-patch+json";

/// One request.
pub struct Write {
    pub verb: Verb,
    pub target: Target,
    pub subresource: Option<&'static str>,
    pub body: Value,
    /// The UID the object must have, for [`Verb::Check`] and to wait for a deletion.
    pub uid: Option<String>,
    /// That the object exists already is as good.
    pub exists_is_fine: bool,
    /// That the object is gone already is as good.
    pub gone_is_fine: bool,
    /// That somebody else changed it is as good: their change brings us back here.
    pub conflict_is_fine: bool,
    /// Recorded when it is done.
    pub told: Option<Told>,
    /// Recorded when it is refused.
    pub told_failed: Option<Told>,
}

impl Write {
    fn new<K: Resource<DynamicType = ()>>(verb: Verb, key: Key, body: Value) -> Self {
        Self::raw(verb, Target::of::<K>(key), body)
    }

    /// A write to an object of a kind known at run time.
    pub fn raw(verb: Verb, target: Target, body: Value) -> Self {
        Self {
            verb,
            target,
            subresource: None,
            body,
            uid: None,
            exists_is_fine: false,
            gone_is_fine: false,
            conflict_is_fine: false,
            told: None,
            told_failed: None,
        }
    }

    /// Create `object`.
    pub fn create<K: Resource<DynamicType = ()> + Serialize>(object: &K) -> Self {
        Self::new::<K>(Verb::Create, Key::of(object), value(object))
    }

    /// Replace the object with `object`, if it still has that resource version.
    pub fn replace<K: Resource<DynamicType = ()> + Serialize>(object: &K) -> Self {
        Self::new::<K>(Verb::Replace, Key::of(object), value(object))
    }

    /// Replace the object's status with that of `object`, if it still has that resource version.
    pub fn replace_status<K: Resource<DynamicType = ()> + Serialize>(object: &K) -> Self {
        Self::replace(object).at("status")
    }

    /// Apply a JSON merge patch (RFC 7386).
    pub fn merge<K: Resource<DynamicType = ()>>(key: Key, patch: Value) -> Self {
        Self::new::<K>(Verb::Patch(MERGE), key, patch)
    }

    /// Apply a strategic merge patch: lists are merged by their keys.
    pub fn strategic<K: Resource<DynamicType = ()>>(key: Key, patch: Value) -> Self {
        Self::new::<K>(Verb::Patch(STRATEGIC), key, patch)
    }

    /// Delete `object`, and only that one; `policy` is `Background`, `Foreground` or `Orphan`.
    pub fn delete<K: Resource<DynamicType = ()>>(object: &K, policy: Option<&str>) -> Self {
        let mut options = serde_json::json!({ "kind": "DeleteOptions", "apiVersion": "v1" });
        if let Some(policy) = policy {
            options["propagationPolicy"] = policy.into();
        }
        if let Some(uid) = &object.meta().uid {
            options["preconditions"] = serde_json::json!({ "uid": uid });
        }
        let mut write = Self::new::<K>(Verb::Delete, Key::of(object), options);
        write.uid.clone_from(&object.meta().uid);
        write.gone_is_fine = true;
        write
    }

    /// Fail the plan unless `object` is still there, the same, and not being deleted: read from the
    /// server, because caches may be old (before adopting, for example).
    pub fn check<K: Resource<DynamicType = ()>>(object: &K) -> Self {
        let mut write = Self::new::<K>(Verb::Check, Key::of(object), Value::Null);
        write.uid.clone_from(&object.meta().uid);
        write
    }

    /// Address a subresource.
    #[must_use]
    pub fn at(mut self, subresource: &'static str) -> Self {
        self.subresource = Some(subresource);
        self
    }

    /// Delete with this grace period instead of the object's own.
    #[must_use]
    pub fn grace(mut self, seconds: i64) -> Self {
        self.body["gracePeriodSeconds"] = seconds.into();
        self
    }

    /// That the object exists already is as good.
    #[must_use]
    pub fn or_exists(mut self) -> Self {
        self.exists_is_fine = true;
        self
    }

    /// That the object is gone already is as good.
    #[must_use]
    pub fn or_gone(mut self) -> Self {
        self.gone_is_fine = true;
        self
    }

    /// That somebody else changed the object is as good.
    #[must_use]
    pub fn or_conflict(mut self) -> Self {
        self.conflict_is_fine = true;
        self
    }

    /// Record an event when it is done.
    #[must_use]
    pub fn told(mut self, about: &ObjectReference, reason: &'static str, message: impl Into<String>) -> Self {
        self.told = Some(Told { about: about.clone(), kind: EventType::Normal, reason, message: message.into() });
        self
    }

    /// Record a warning when it is refused.
    #[must_use]
    pub fn told_failed(mut self, about: &ObjectReference, reason: &'static str, message: impl Into<String>) -> Self {
        self.told_failed =
            Some(Told { about: about.clone(), kind: EventType::Warning, reason, message: message.into() });
        self
    }
}

/// API objects always serialise: their maps have string keys.
fn value<K: Serialize>(object: &K) -> Value {
    serde_json::to_value(object).unwrap_or_default()
}

impl Plan {
    /// Nothing to do.
    pub fn nothing() -> Self {
        Self::default()
    }

    pub fn write(&mut self, write: Write) {
        self.steps.push(Step::Write(Box::new(write)));
    }

    /// Add writes that do not depend on each other.
    pub fn batch(&mut self, writes: Vec<Write>) {
        if !writes.is_empty() {
            self.steps.push(Step::Batch(writes));
        }
    }

    pub fn normal(&mut self, about: &ObjectReference, reason: &'static str, message: impl Into<String>) {
        self.tell(about, EventType::Normal, reason, message.into());
    }

    pub fn warning(&mut self, about: &ObjectReference, reason: &'static str, message: impl Into<String>) {
        self.tell(about, EventType::Warning, reason, message.into());
    }

    fn tell(&mut self, about: &ObjectReference, kind: EventType, reason: &'static str, message: String) {
        self.steps.push(Step::Tell(Told { about: about.clone(), kind, reason, message }));
    }

    /// Look again after `delay`, or earlier if that was asked for already.
    pub fn again_in(&mut self, delay: Duration) {
        self.again = Some(self.again.map_or(delay, |again| again.min(delay)));
    }

    /// Whether anything is to be done now.
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }
}

impl fmt::Display for Verb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Verb::Create => "create",
            Verb::Replace => "replace",
            Verb::Patch(_) => "patch",
            Verb::Delete => "delete",
            Verb::Check => "check",
        })
    }
}

impl fmt::Display for Write {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let generated = self.body.pointer("/metadata/generateName").and_then(Value::as_str).unwrap_or_default();
        write!(f, "{} {} {}{}", self.verb, self.target.kind, self.target.key, generated)?;
        if let Some(subresource) = self.subresource {
            write!(f, "/{subresource}")?;
        }
        let shown = match (self.verb, self.subresource) {
            (Verb::Create, None) => self.body.get("spec").and_then(|spec| spec.get("replicas")),
            (Verb::Replace, Some("status")) => self.body.get("status"),
            (Verb::Patch(_), _) => Some(&self.body),
            (Verb::Delete, _) => self.body.get("gracePeriodSeconds"),
            _ => None,
        };
        if let Some(shown) = shown {
            write!(f, " {shown}")?;
        }
        match &self.told {
            Some(told) => write!(f, " -> {told}"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {:?}", self.kind, self.reason, self.message)
    }
}

/// A line for each step.
impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for step in &self.steps {
            match step {
                Step::Write(write) => writeln!(f, "{write}")?,
                Step::Tell(told) => writeln!(f, "event {told}")?,
                Step::Batch(writes) => {
                    for write in writes {
                        writeln!(f, "| {write}")?;
                    }
                }
            }
        }
        match self.again {
            Some(again) => writeln!(f, "again in {}", apimachinery::duration::format(again)),
            None => Ok(()),
        }
    }
}
