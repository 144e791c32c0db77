//! Counters of a process, and their text for Prometheus.

mod counters;
mod render;

pub use counters::{Count, Metrics, ProcessCounters, Statements, WorkerCounters};
