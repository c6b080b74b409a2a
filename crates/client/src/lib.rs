//! How components reach the API: connections, shared caches, work queues, leader election, events.
//!
//! Built on `kube`. A component is given a [`Connection`] and never asks where the server is. Events
//! carry keys, never decisions: dropping any cache here is always safe, a re-list rebuilds it.
//!
//! A component's loop is: [`Caches`] hands out one shared [`cache::Cache`] per kind, the cache tells
//! which keys changed, [`queue::Queue`] holds the keys until a worker takes them, the worker plans
//! from the caches and writes through the [`kube::Client`].
pub mod cache;
pub mod connection;
pub mod events;
pub mod key;
pub mod leader;
pub mod queue;
mod service_account;
pub mod throttle;
mod told;

pub use cache::{Cache, Caches};
pub use connection::{Connection, Error, in_process};
pub use key::Key;
pub use told::told;
