//! What a component serves beside its work: health, metrics and its configuration, to whom the API server lets in.
//!
//! [`listener`] bounds who may connect; [`health`] answers; [`delegated`] asks the API server who somebody is and what he
//! may do; [`secure_port`] is all of it behind upstream's flags.
pub mod delegated;
pub mod health;
pub mod listener;
pub mod secure_port;
