//! Devices that behave, on purpose: a load generator and checker for any MQTT broker.
//!
//! ```text
//! Args --> Plan --> run --> one thread per worker --> devices (one task each) --> Report
//!                    |                                   |
//!                    +------ Shared: phase, counters ----+
//! ```
//!
//! Every payload says who published it, which one it is and when, so receivers can tell what was lost,
//! repeated or out of order. Nothing here depends on which broker answers.

mod address;
mod args;
mod connects;
mod credentials;
mod device;
mod ends;
mod harvest;
mod interrupt;
mod live;
mod moves;
mod outside;
mod payload;
mod plan;
mod procfs;
mod progress;
mod publishing;
mod receiving;
mod recent;
mod report;
mod run;
mod schedule;
mod shadow_link;
mod shadow_load;
mod shadow_travels;
mod shared;
mod takeover;
mod text;
mod tls;
mod together;
mod track;
mod verified;
mod wire;
mod worker;

pub use address::{Address, InvalidAddress};
pub use args::{Args, InvalidArgs, RunArgs};
pub use connects::{ConnectsArgs, ConnectsError, ConnectsReport, connect_all_the_time};
pub use credentials::{CredentialArgs, Credentials, CredentialsError};
pub use ends::{Ended, Ends};
pub use interrupt::{INTERRUPTED, Interrupt};
pub use moves::{Moves, MovesArgs, MovesError, MovesReport, sum_moves};
pub use plan::{Amount, ClientKind, Pace, Pattern, Plan, Start, Thresholds, TlsFiles};
pub use report::{BrokerProcess, Gaps, Latency, Report};
pub use run::{RunError, run, run_until};
pub use shadow_load::{ShadowArgs, ShadowError, ShadowReport, ask_about_shadows};
pub use shadow_travels::{TravelReport, travel_with_shadows};
pub use takeover::{TakeoverArgs, TakeoverError, TakeoverReport, take_over};
pub use tls::TlsError;
