//! What every part of Kubernetes is made of: names, quantities, selectors, errors, patches, tables, codecs.
//!
//! Pure: no I/O, no clock, no randomness. Everything here is safe on hostile input.
pub mod codec;
pub mod configuration;
pub mod duration;
pub mod feature_gates;
pub mod field;
pub mod fields;
pub mod gvk;
pub mod labels;
pub mod names;
pub mod patch;
pub mod quantity;
pub mod schema;
pub mod status;
pub mod table;
pub mod time;
pub mod validation;

pub use status::ApiError;
