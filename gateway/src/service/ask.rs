//! What the housekeeper is asked.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use access::BanOn;
use maintenance::Wanted;
use protocol::GatewayId;

use super::visited::{VisitAsk, VisitedState};
use crate::bans::{Ban, NewBan};
use crate::config::Settings;
use crate::control::{ControlError, DrainRequest, DrainStatus, GatewayRecord};
use crate::reply::{Reply, Silence, reply};

/// How long it may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// A letter to the housekeeper.
#[derive(Debug)]
pub enum ServiceAsk {
    /// A worker is about to run out of session numbers.
    Numbers(usize),
    /// Begin a drain; the name of the operator who asks.
    StartDrain(DrainRequest, String, Reply<Result<DrainStatus, ControlError>>),
    /// End the drain and serve again; the name of the operator who asks.
    AbortDrain(String, Reply<Result<DrainStatus, ControlError>>),
    /// What a visit of the plan wants of this gateway.
    Visit(VisitAsk, Reply<Result<VisitedState, ControlError>>),
    /// Serve again after a drain; the name of the operator who asks.
    Undrain(String, Reply<Result<(), ControlError>>),
    /// The drain that runs, or the last one.
    Drain(Reply<Option<DrainStatus>>),
    /// The fleet as the store has it.
    Gateways(Reply<Vec<GatewayRecord>>),
    /// The ledger as last read.
    Visits(Reply<serde_json::Value>),
    /// How much of anything, and when, from now on.
    Settings(Arc<Settings>),
    /// The bans that hold.
    Bans(Reply<Result<Vec<Ban>, ControlError>>),
    /// Set a ban.
    AddBan(NewBan, Reply<Result<Ban, ControlError>>),
    /// Lift a ban; the name of the operator who asks.
    RemoveBan(BanOn, String, Reply<Result<Option<Ban>, ControlError>>),
    /// A peer that is drained asks how many clients we take.
    DrainAsk {
        /// Who.
        from: GatewayId,
        /// Which ask of which drain; the answer names it.
        drain: u64,
        /// How many, and how many in a second.
        wanted: Wanted,
    },
    /// A peer takes clients of our drain.
    Credit {
        /// Who.
        from: GatewayId,
        /// Which ask of which drain.
        drain: u64,
        /// How many.
        clients: u32,
        /// How many in a second.
        per_s: u32,
    },
    /// A peer's first interest has arrived in full.
    Synced(GatewayId),
    /// Peers dial this process here, since its successor has its usual port; or there again. Answered when the store has it.
    Reached(String, Reply<bool>),
    /// Move the clients to the successor, a life of this gateway at its other berth.
    FollowedBy(GatewayId, Reply<Result<DrainStatus, ControlError>>),
    /// The successor is gone: serve on.
    Alone,
    /// The process ends.
    Stop,
}

/// Where to write to the housekeeper.
#[derive(Debug, Clone)]
pub struct ServiceSender(Sender<ServiceAsk>);

impl ServiceSender {
    /// A channel to the housekeeper.
    pub fn channel() -> (Self, Receiver<ServiceAsk>) {
        let (sender, receiver) = channel();
        (Self(sender), receiver)
    }

    /// Sends a letter; the housekeeper ends last, so it arrives.
    pub fn send(&self, ask: ServiceAsk) {
        // After the end of the process nobody cares.
        let _ = self.0.send(ask);
    }

    /// A worker is about to run out of session numbers.
    pub fn want_numbers(&self, worker: usize) {
        self.send(ServiceAsk::Numbers(worker));
    }

    /// Asks and waits for the answer. What the housekeeper has not begun by the time that it is given up it does not.
    ///
    /// # Errors
    /// [`Silence`] if it does not answer in time.
    pub fn ask<T>(&self, ask: impl FnOnce(Reply<T>) -> ServiceAsk) -> Result<T, Silence> {
        let (reply, waiting) = reply();
        self.send(ask(reply));
        waiting.within(PATIENCE)
    }
}
