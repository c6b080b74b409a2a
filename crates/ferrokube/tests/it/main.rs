//! Whole clusters with real containers, driven as a user drives them: by the `ferrokube` command and kubectl.
//!
//! Needs root and the container packages; without them every test says so and is skipped. A cluster
//! is deleted when its test ends, however it ends (see `fixture`).
mod components;
mod errors;
mod fixture;
mod main_job;
mod node;
mod node_limits;
mod official_clients;
mod restart;
mod runtime;
