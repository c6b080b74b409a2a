//! A Job's conditions. One of them changes when its status, reason or message does, and none begins as `False`.
use jiff::Timestamp;
use k8s_openapi::{
    api::batch::v1::{JobCondition, JobStatus},
    apimachinery::pkg::apis::meta::v1::Time,
};

pub fn make(kind: &str, status: &str, reason: &str, message: &str, now: Timestamp) -> JobCondition {
    JobCondition {
        type_: kind.to_owned(),
        status: status.to_owned(),
        reason: Some(reason.to_owned()),
        message: Some(message.to_owned()),
        last_probe_time: Some(Time(now)),
        last_transition_time: Some(Time(now)),
    }
}

pub fn find<'a>(status: &'a JobStatus, kind: &str) -> Option<&'a JobCondition> {
    status.conditions.iter().flatten().find(|condition| condition.type_ == kind)
}

pub fn holds(status: &JobStatus, kind: &str) -> bool {
    find(status, kind).is_some_and(|condition| condition.status == "True")
}

/// Put `new` in the place of the condition of its type; whether that changed anything.
pub fn ensure(status: &mut JobStatus, new: JobCondition) -> bool {
    let all = status.conditions.get_or_insert_default();
    let changed = match all.iter_mut().find(|known| known.type_ == new.type_) {
        Some(known) => {
            let same = known.status == new.status && known.reason == new.reason && known.message == new.message;
            if !same {
                *known = new;
            }
            !same
        }
        None if new.status == "False" => false,
        None => {
            all.push(new);
            true
        }
    };
    if all.is_empty() {
        status.conditions = None;
    }
    changed
}
