//! Counters of a process, and their text for Prometheus.

mod calls;
mod count;
mod counters;
mod drains;
mod labelled;
mod moves;
mod reasons;
mod refused;
mod render;
mod scheduled;

pub use calls::CallCounts;
pub use count::{Count, Statements};
pub use counters::{Metrics, ProcessCounters, WorkerCounters};
pub use drains::{DrainShown, Drains};
pub use labelled::Labels;
pub use moves::{Back, BackFrom, Came};
pub use refused::{Refused, WhyRefused};
pub use scheduled::{NO_CAMPAIGN, Scheduled, SlotShown, SlotState};
