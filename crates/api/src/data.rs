//! What ConfigMaps and Secrets share: keys, total size, immutability.
use apimachinery::{
    field::{Error, ErrorList, Path},
    validation,
};

/// Keys and values together, in bytes.
pub const SIZE_MAX: usize = 1024 * 1024;

/// Keys with the lengths of their values.
pub struct Data<'a> {
    pub text: Vec<(&'a str, usize)>,
    pub binary: Vec<(&'a str, usize)>,
}

pub fn validate(data: &Data<'_>, errors: &mut ErrorList) {
    let path = Path::new("data");
    for (key, _) in &data.text {
        for violation in validation::is_config_map_key(key) {
            errors.push(Error::invalid(&path.key(key), key, violation));
        }
        if data.binary.iter().any(|(other, _)| other == key) {
            let detail = "duplicate of key present in binaryData";
            errors.push(Error::invalid(&path.key(key), key, detail));
        }
    }
    for (key, _) in &data.binary {
        for violation in validation::is_config_map_key(key) {
            errors.push(Error::invalid(&Path::new("binaryData").key(key), key, violation));
        }
    }
    let total: usize = data.text.iter().chain(&data.binary).map(|(_, length)| *length).sum();
    if total > SIZE_MAX {
        errors.push(Error::too_long(&Path::root().key(""), SIZE_MAX));
    }
}

pub fn must_stay_immutable(immutable: Option<bool>, errors: &mut ErrorList) {
    if immutable != Some(true) {
        errors.push(Error::forbidden(&Path::new("immutable"), "field is immutable when `immutable` is set"));
    }
}

pub fn must_be_same(field: &str, same: bool, errors: &mut ErrorList) {
    if !same {
        errors.push(Error::forbidden(&Path::new(field), "field is immutable when `immutable` is set"));
    }
}
