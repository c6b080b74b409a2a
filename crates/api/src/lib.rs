//! Every built-in kind's behaviour, one file a kind, registered by one line in `ALL`. Pure.
mod resource;

pub use resource::*;
