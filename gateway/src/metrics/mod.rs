//! Counters of a process, and their text for Prometheus.

mod calls;
mod counters;
mod render;

pub use calls::CallCounts;
pub use counters::{Count, Metrics, ProcessCounters, Statements, WorkerCounters};
