//! Whole gateways on one thread, on a virtual clock and a simulated network, with faults from a seed.
//!
//! Real: the hub with the gate (`WorkerMachine`), the log's follower, the tables, both machines of the peer links, the
//! keeper's and the session numbers' writes, the memory store, and the codec on both sides. Simulated: threads, sockets,
//! clocks, and the loops that carry letters between them, which mirror those of `gateway/src` in the file that each
//! names. Observers judge every step by what they alone know.

mod agenda;
mod around;
mod campaign;
mod committer;
mod device;
mod device_packets;
mod facts;
mod forwards;
mod groups;
mod journal;
mod links;
mod mistakes;
mod network;
mod outlet;
mod owners;
mod peer;
mod plan;
mod post;
mod presence;
mod process;
mod promises;
mod random;
mod resumes;
mod retained;
mod scenario;
mod service;
mod shadow_device;
mod shadows;
mod shrink;
mod striking;
mod tail;
mod troubles;
mod truth;
mod wills;
mod worker;
mod world;

pub use campaign::{Campaign, Tally};
pub use mistakes::Mistake;
pub use random::Random;
pub use scenario::{Report, Scenario, Telling};
pub use shrink::shrink;
pub use truth::Breach;
