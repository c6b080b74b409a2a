//! Every kind through the contract the API server uses: goldens, and what must hold for all of them.
#![allow(clippy::unwrap_used)]
mod decoding;
mod every_kind;
mod goldens;
mod support;
mod updates;
