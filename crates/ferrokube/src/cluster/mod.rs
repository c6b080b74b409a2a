//! One cluster on this machine: where its files are, how it is started, watched over, stopped and deleted.
//!
//! A cluster is a data directory. Everything that outlives a process is found from it: the options it
//! was made with, its certificates and objects, its container runtime. Nothing of a cluster is
//! outside of it but run-time state under `/run/ferrokube/<name>`, one bridge, and our nftables tables,
//! all named after it.
mod capabilities;
pub mod containerd;
pub mod credentials;
pub mod daemon;
pub mod external;
pub mod images;
pub mod layout;
pub mod lifecycle;
pub mod manifests;
pub mod preflight;
pub mod process;
pub mod ready;
pub mod registry;
pub mod steps;
