//! Counters of a process, and their text for Prometheus.

mod calls;
mod count;
mod counters;
mod reasons;
mod refused;
mod render;

pub use calls::CallCounts;
pub use count::{Count, Statements};
pub use counters::{Metrics, ProcessCounters, WorkerCounters};
pub use refused::{Refused, WhyRefused};
