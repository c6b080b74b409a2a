//! How components reach the API: connections, shared caches, work queues, leader election, events.
//!
//! Built on `kube`. A component is given a [`Connection`] and never asks where the server is.
pub mod connection;

pub use connection::{Connection, Error};
