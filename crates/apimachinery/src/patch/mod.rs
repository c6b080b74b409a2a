//! Patches: JSON patch (RFC 6902), JSON merge patch (RFC 7386), and Kubernetes' strategic merge patch, with the
//! differences that kubectl sends as such.
//!
//! All work on parsed JSON, whose depth the parser bounds; that bounds the recursion here.
//! Source: `k8s.io/apimachinery/pkg/util/{strategicpatch,jsonmergepatch}`, `evanphx/json-patch`.
mod diff;
mod json;
mod merge;
mod order;
mod strategic;

pub use diff::{three_way_strategic, two_way_strategic};
pub use json::{JSON_PATCH_OPERATIONS_MAX, json_patch};
pub use merge::{merge_diff, merge_patch, three_way_merge};
pub use strategic::strategic_merge_patch;

use crate::{
    ApiError,
    schema::{Field, Schema, Type},
};

/// Why a patch was not applied or made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The patch is no patch: bad request.
    #[error("{0}")]
    Decode(String),
    #[error("The allowed maximum operations in a JSON patch is {JSON_PATCH_OPERATIONS_MAX}, got {0}")]
    TooManyOperations(usize),
    /// The patch does not fit the object.
    #[error("{0}")]
    Apply(String),
    #[error("unknown patch type: {0}")]
    BadPatchType(String),
    #[error("map: {map} does not contain declared merge key: {key}")]
    NoMergeKey { map: String, key: String },
    #[error("invalid patch format of retainKeys")]
    BadRetainKeys,
    #[error("invalid patch format of setElementOrder list")]
    BadSetElementOrder,
    #[error("invalid patch format of primitive list")]
    BadPrimitiveList,
    #[error("delta list contains an element of a different kind")]
    MixedList,
    #[error("merging lists cannot yet be specified in the patch")]
    ListMergeDirective,
}

impl From<Error> for ApiError {
    /// As upstream's patch handler answers.
    fn from(error: Error) -> Self {
        match error {
            Error::TooManyOperations(_) => ApiError::too_large(format!("Request entity is too large: {error}")),
            Error::Decode(text) => ApiError::bad_request(text),
            Error::Apply(_) => {
                let text = "the server rejected our request due to an error in our request";
                ApiError { details: Some(Box::default()), ..ApiError::new(422, "Invalid", text) }
            }
            other => ApiError::bad_request(other.to_string()),
        }
    }
}

const DIRECTIVE: &str = "$patch";
const RETAIN_KEYS: &str = "$retainKeys";
const DELETE_FROM_PRIMITIVE_LIST: &str = "$deleteFromPrimitiveList/";
const SET_ELEMENT_ORDER: &str = "$setElementOrder/";

/// What is known of a value's fields: a schema, a map of values of one type, or nothing.
#[derive(Clone, Copy)]
struct Node(Option<Type>);

/// The rules for one field.
#[derive(Clone, Copy)]
struct Rules {
    /// Of the field's value, or of its list's items.
    node: Node,
    field: Option<Field>,
}

impl Node {
    fn of(schema: Schema) -> Self {
        Node(Some(Type::Object(schema)))
    }

    fn rules(self, key: &str) -> Rules {
        let (type_, field) = match self.0 {
            Some(Type::Object(schema)) => {
                let field = schema.field(key);
                (field.map(Field::type_), field)
            }
            Some(Type::Map(values)) => (Some(values.get()), None),
            _ => (None, None),
        };
        let type_ = match type_ {
            Some(Type::List(items)) => Some(items.get()),
            other => other,
        };
        Rules { node: Node(type_), field }
    }
}

impl Rules {
    fn has(self, strategy: &str) -> bool {
        self.field.is_some_and(|f| f.has_patch_strategy(strategy))
    }

    fn merge_key(self) -> Option<&'static str> {
        self.field.and_then(Field::patch_merge_key)
    }
}

#[cfg(test)]
mod tests;
