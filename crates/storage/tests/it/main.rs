//! The storage contract over every backend, and the embedded store against crashes and damage.
#![allow(clippy::unwrap_used)]
mod cache;
mod contract;
mod crash;
mod damage;
mod etcd;
mod etcd_server;
mod model;
mod tcp_proxy;
