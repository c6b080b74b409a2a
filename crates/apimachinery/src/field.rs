//! Field paths and validation errors in upstream's wording (`Invalid value`, `Required value`, …).
//!
//! Source: `k8s.io/apimachinery/pkg/util/validation/field`; kubectl prints these texts as they are.
use crate::status::Cause;
use std::fmt::{self, Display};

/// Where in an object a value stands: `spec.containers[0].ports[1].name`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Path(String);

impl Path {
    pub fn new(name: &str) -> Self {
        Path(name.to_owned())
    }

    /// The object itself.
    pub fn root() -> Self {
        Path(String::new())
    }

    pub fn child(&self, name: &str) -> Self {
        if self.0.is_empty() { Path(name.to_owned()) } else { Path(format!("{}.{name}", self.0)) }
    }

    pub fn index(&self, i: usize) -> Self {
        Path(format!("{}[{i}]", self.0))
    }

    pub fn key(&self, key: &str) -> Self {
        Path(format!("{}[{key}]", self.0))
    }
}

impl Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_empty() { "<nil>" } else { &self.0 })
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    NotFound,
    Required,
    Duplicate,
    Invalid,
    NotSupported,
    Forbidden,
    TooLong,
    TooMany,
    Internal,
    TypeInvalid,
}

impl Kind {
    /// The `reason` of a `Status` cause.
    pub fn reason(self) -> &'static str {
        match self {
            Kind::NotFound => "FieldValueNotFound",
            Kind::Required => "FieldValueRequired",
            Kind::Duplicate => "FieldValueDuplicate",
            Kind::Invalid => "FieldValueInvalid",
            Kind::NotSupported => "FieldValueNotSupported",
            Kind::Forbidden => "FieldValueForbidden",
            Kind::TooLong => "FieldValueTooLong",
            Kind::TooMany => "FieldValueTooMany",
            Kind::Internal => "InternalError",
            Kind::TypeInvalid => "FieldValueTypeInvalid",
        }
    }

    fn text(self) -> &'static str {
        match self {
            Kind::NotFound => "Not found",
            Kind::Required => "Required value",
            Kind::Duplicate => "Duplicate value",
            Kind::Invalid => "Invalid value",
            Kind::NotSupported => "Unsupported value",
            Kind::Forbidden => "Forbidden",
            Kind::TooLong => "Too long",
            Kind::TooMany => "Too many",
            Kind::Internal => "Internal error",
            Kind::TypeInvalid => "Invalid value",
        }
    }
}

/// One thing that is wrong with one field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    pub kind: Kind,
    pub field: String,
    /// The offending value as upstream prints it (JSON: strings quoted); empty where it prints none.
    pub value: String,
    pub detail: String,
}

impl Error {
    fn new(kind: Kind, path: &Path, value: String, detail: String) -> Self {
        Error { kind, field: path.to_string(), value, detail }
    }

    pub fn invalid(path: &Path, value: impl serde::Serialize, detail: impl Into<String>) -> Self {
        Self::new(Kind::Invalid, path, shown(value), detail.into())
    }

    pub fn required(path: &Path, detail: impl Into<String>) -> Self {
        Self::new(Kind::Required, path, String::new(), detail.into())
    }

    pub fn duplicate(path: &Path, value: impl serde::Serialize) -> Self {
        Self::new(Kind::Duplicate, path, shown(value), String::new())
    }

    pub fn not_found(path: &Path, value: impl serde::Serialize) -> Self {
        Self::new(Kind::NotFound, path, shown(value), String::new())
    }

    pub fn forbidden(path: &Path, detail: impl Into<String>) -> Self {
        Self::new(Kind::Forbidden, path, String::new(), detail.into())
    }

    /// `supported` is printed in the order given; upstream sorts it.
    pub fn not_supported(path: &Path, value: impl serde::Serialize, supported: &[&str]) -> Self {
        let list: Vec<String> = supported.iter().map(|s| format!("{s:?}")).collect();
        let detail = if list.is_empty() { String::new() } else { format!("supported values: {}", list.join(", ")) };
        Self::new(Kind::NotSupported, path, shown(value), detail)
    }

    pub fn too_long(path: &Path, max_bytes: usize) -> Self {
        Self::new(Kind::TooLong, path, String::new(), format!("may not be more than {max_bytes} bytes"))
    }

    pub fn too_many(path: &Path, actual: usize, max: usize) -> Self {
        Self::new(Kind::TooMany, path, actual.to_string(), format!("must have at most {max} items"))
    }

    pub fn internal(path: &Path, detail: impl Into<String>) -> Self {
        Self::new(Kind::Internal, path, String::new(), detail.into())
    }

    /// The error without its field: `Invalid value: "x": must be …`.
    pub fn body(&self) -> String {
        let mut out = self.kind.text().to_owned();
        if !self.value.is_empty() {
            out.push_str(": ");
            out.push_str(&self.value);
        }
        if !self.detail.is_empty() {
            out.push_str(": ");
            out.push_str(&self.detail);
        }
        out
    }

    pub fn cause(&self) -> Cause {
        Cause { reason: self.kind.reason().into(), message: self.body(), field: self.field.clone() }
    }
}

fn shown(value: impl serde::Serialize) -> String {
    serde_json::to_string(&value).unwrap_or_default()
}

impl Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.body())
    }
}

/// All that is wrong with an object; empty means valid.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ErrorList(Vec<Error>);

impl ErrorList {
    pub fn push(&mut self, error: Error) {
        self.0.push(error);
    }

    pub fn extend(&mut self, other: impl IntoIterator<Item = Error>) {
        self.0.extend(other);
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn iter(&self) -> std::slice::Iter<'_, Error> {
        self.0.iter()
    }
}

impl IntoIterator for ErrorList {
    type Item = Error;
    type IntoIter = std::vec::IntoIter<Error>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl FromIterator<Error> for ErrorList {
    fn from_iter<I: IntoIterator<Item = Error>>(iter: I) -> Self {
        ErrorList(iter.into_iter().collect())
    }
}

impl Display for ErrorList {
    /// One error plainly, several as `[a, b]` with repetitions dropped, as upstream's aggregate prints them.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut texts: Vec<String> = Vec::with_capacity(self.0.len());
        for error in &self.0 {
            let text = error.to_string();
            if !texts.contains(&text) {
                texts.push(text);
            }
        }
        match texts.as_slice() {
            [one] => f.write_str(one),
            many => write!(f, "[{}]", many.join(", ")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wording_is_upstreams() {
        let ports = Path::new("spec").child("containers").index(0).child("ports");
        let cases = [
            (Error::required(&ports.index(1).child("name"), ""), "spec.containers[0].ports[1].name: Required value"),
            (
                Error::invalid(&ports, "x", "must be a number"),
                "spec.containers[0].ports: Invalid value: \"x\": must be a number",
            ),
            (
                Error::not_supported(
                    &Path::new("spec").child("restartPolicy"),
                    "No",
                    &["Always", "OnFailure", "Never"],
                ),
                "spec.restartPolicy: Unsupported value: \"No\": supported values: \"Always\", \"OnFailure\", \"Never\"",
            ),
        ];
        for (error, want) in cases {
            assert_eq!(error.to_string(), want);
        }
    }
}
