//! The life of one pod on this node: a task that looks, plans, acts and reports, again and again.
pub mod admission;
pub mod cleanup;
pub mod hooks;
pub mod kill;
pub mod preemption;
pub mod resize;
mod resize_events;
pub mod start;
pub mod sysctls;
pub mod worker;

#[cfg(test)]
mod fake;
#[cfg(test)]
mod tests;
