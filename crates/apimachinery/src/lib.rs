//! What every part of Kubernetes is made of: names, quantities, selectors, errors, patches, tables, codecs.
//!
//! Pure: no I/O, no clock, no randomness. Everything here is safe on hostile input.
pub mod field;
pub mod status;
pub mod table;

pub use status::ApiError;
