//! Setting conditions as upstream does: a condition whose status and reason stay is left alone, one
//! whose status stays keeps its transition time.
use jiff::Timestamp;
use k8s_openapi::{
    api::{
        apps::v1::{DaemonSetCondition, DeploymentCondition, ReplicaSetCondition},
        autoscaling::v2::HorizontalPodAutoscalerCondition,
        core::v1::{NamespaceCondition, ReplicationControllerCondition},
    },
    apimachinery::pkg::apis::meta::v1::Time,
};

/// A condition type with the fields all have.
pub trait Condition: Clone {
    fn make(kind: &str, status: bool, reason: &str, message: String, now: Timestamp) -> Self;
    fn kind(&self) -> &str;
    fn status(&self) -> &str;
    fn reason(&self) -> &str;
    fn message(&self) -> &str;
    fn transition(&mut self) -> &mut Option<Time>;
}

macro_rules! condition {
    ($($kind:ty { $($update:ident)? })*) => { $(
        impl Condition for $kind {
            fn make(kind: &str, status: bool, reason: &str, message: String, now: Timestamp) -> Self {
                Self {
                    type_: kind.to_owned(),
                    status: if status { "True" } else { "False" }.to_owned(),
                    reason: Some(reason.to_owned()),
                    message: Some(message),
                    last_transition_time: Some(Time(now)),
                    $($update: Some(Time(now)),)?
                }
            }
            fn kind(&self) -> &str { &self.type_ }
            fn status(&self) -> &str { &self.status }
            fn reason(&self) -> &str { self.reason.as_deref().unwrap_or_default() }
            fn message(&self) -> &str { self.message.as_deref().unwrap_or_default() }
            fn transition(&mut self) -> &mut Option<Time> { &mut self.last_transition_time }
        }
    )* };
}

condition! {
    DeploymentCondition { last_update_time }
    ReplicaSetCondition {}
    ReplicationControllerCondition {}
    DaemonSetCondition {}
    NamespaceCondition {}
    HorizontalPodAutoscalerCondition {}
}

/// The condition of type `kind`.
pub fn find<'a, C: Condition>(conditions: Option<&'a Vec<C>>, kind: &str) -> Option<&'a C> {
    conditions?.iter().find(|condition| condition.kind() == kind)
}

/// Put `new` in place of the condition of its type, at the end; unchanged if status and reason are.
pub fn set<C: Condition>(conditions: &mut Option<Vec<C>>, mut new: C) {
    let list = conditions.get_or_insert_default();
    if let Some(old) = list.iter_mut().find(|old| old.kind() == new.kind()) {
        if old.status() == new.status() && old.reason() == new.reason() {
            return;
        }
        if old.status() == new.status() {
            *new.transition() = old.transition().clone();
        }
    }
    list.retain(|old| old.kind() != new.kind());
    list.push(new);
}

/// Put `new` in place of the condition of its type, where that stands; a new message is news as well.
pub fn replace<C: Condition>(conditions: &mut Option<Vec<C>>, mut new: C) {
    let list = conditions.get_or_insert_default();
    let Some(old) = list.iter_mut().find(|old| old.kind() == new.kind()) else { return list.push(new) };
    let same_status = old.status() == new.status();
    if same_status && old.reason() == new.reason() && old.message() == new.message() {
        return;
    }
    if same_status {
        *new.transition() = old.transition().clone();
    }
    *old = new;
}

/// Remove the condition of type `kind`.
pub fn remove<C: Condition>(conditions: &mut Option<Vec<C>>, kind: &str) {
    if let Some(list) = conditions {
        list.retain(|condition| condition.kind() != kind);
        if list.is_empty() {
            *conditions = None;
        }
    }
}
