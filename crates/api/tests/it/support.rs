//! Finding a kind's resource, and taking an object through the write path.
use api::{Object, Resource, Target};
use apimachinery::{codec::yaml, field::ErrorList};
use serde_json::Value;
use std::sync::Arc;

/// 2026-01-02T03:04:05Z, when every test happens.
pub const NOW: i64 = 1_767_323_045;

/// The resource of a `kind`, served under `apiVersion`.
pub fn resource(object: &Value) -> Arc<dyn Resource> {
    let (api_version, kind) = (object["apiVersion"].as_str().unwrap(), object["kind"].as_str().unwrap());
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    let matches = |r: &Arc<dyn Resource>| {
        r.info().served.iter().any(|s| s.group == group && s.version == version && s.kind == kind)
    };
    api::registry().into_iter().find(matches).unwrap_or_else(|| panic!("{api_version} {kind} is not registered"))
}

/// What creation makes of `given`.
pub struct Created {
    pub resource: Arc<dyn Resource>,
    pub object: Box<dyn Object>,
    pub errors: ErrorList,
}

pub fn create(given: &Value) -> Created {
    let resource = resource(given);
    let mut object = resource.decode(given.to_string().as_bytes()).unwrap().object;
    resource.default(&mut *object);
    resource.prepare_create(&mut *object);
    let errors = resource.validate_create(&*object);
    Created { resource, object, errors }
}

pub fn json(object: &dyn Object) -> Value {
    serde_json::from_slice(&object.to_json()).unwrap()
}

/// The errors of updating `old` to `new`, one a line, and the object that would be stored.
pub fn update(old: &str, new: &str, target: Target) -> (String, Value) {
    let (old, new) = (yaml::parse(old).unwrap(), yaml::parse(new).unwrap());
    let resource = resource(&old);
    let decode = |value: &Value| {
        let mut object = resource.decode(value.to_string().as_bytes()).unwrap().object;
        resource.default(&mut *object);
        object
    };
    let (old, mut new) = (decode(&old), decode(&new));
    resource.prepare_update(target, &mut *new, &*old);
    let errors = resource.validate_update(target, &*new, &*old);
    (lines(&errors), json(&*new))
}

pub fn lines(errors: &ErrorList) -> String {
    errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}
