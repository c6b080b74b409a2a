//! Every built-in kind's behaviour, one file a kind, registered by one line in [`ALL`]. Pure.
pub mod openapi;
mod amounts;
mod apps;
mod batch;
mod cells;
mod core;
mod data;
mod decode;
mod difference;
mod info;
mod kind;
mod meta;
mod registry;
mod resource;

pub use crate::core::{node, pod};
pub use info::ALL_VERBS;
pub use kind::{Erased, Kind};
pub use registry::{ALL, registry};
pub use resource::*;
