//! `flowcontrol.apiserver.k8s.io/v1`: which requests are served first.
pub mod bootstrap;
pub mod flow_schema;
pub mod priority_level_configuration;
mod rules;

use apimachinery::field::{Error, ErrorList, Path};

/// Conditions are a map by their type.
fn validate_conditions<'a>(types: impl Iterator<Item = &'a str>, errors: &mut ErrorList) {
    let path = Path::new("status").child("conditions");
    let mut seen: Vec<&str> = Vec::new();
    for (i, type_) in types.enumerate() {
        let at = path.index(i).child("type");
        if seen.contains(&type_) {
            errors.push(Error::duplicate(&at, type_));
        }
        seen.push(type_);
        if type_.is_empty() {
            errors.push(Error::required(&at, "must not be empty"));
        }
    }
}
