//! Clients are moved to the process that follows this one on the same host, at the same addresses.
//!
//! The successor is a member of the fleet of its own, at the gateway's other berth, so what holds between two gateways holds
//! between the two lives of one: each session has one owner, by its epoch, and what is published at one reaches the other.

use maintenance::OnTimeout;
use protocol::GatewayId;

use super::thread::Housekeeper;
use crate::control::{ControlError, DrainRequest, DrainStatus};

impl Housekeeper {
    /// Peers dial us there from now on.
    pub(super) fn move_peers(&mut self, address: String) -> bool {
        self.config.me.record.peer = address;
        self.renew()
    }

    /// Begins to move everybody to the successor. It takes no slot of the ledger: the gateway never ceases to serve.
    pub(super) fn follow(&mut self, successor: GatewayId) -> Result<DrainStatus, ControlError> {
        self.look_around()
            .map_err(|error| ControlError::Unavailable(format!("the store: {error}")))?;
        let serves = {
            let gateways = self.shared.tables.gateways();
            gateways.iter().any(|gateway| gateway.id == successor && gateway.serving)
        };
        if !serves {
            return Err(ControlError::Unavailable("the successor does not serve yet".into()));
        }
        self.check_drain()?;
        self.drains.successor = Some(successor);
        let request = DrainRequest {
            announce_ms: Some(0),
            on_timeout: Some(OnTimeout::ForceRest),
            reason: Some("a successor has taken over the listeners".into()),
            ..DrainRequest::default()
        };
        let begun = self.begin_drain(&request, &[]);
        if begun.is_err() {
            self.drains.successor = None;
        }
        begun
    }

    /// The successor is gone, and we have the listeners again.
    pub(super) fn serve_alone(&mut self) {
        if self.drains.successor.is_none() {
            return;
        }
        // Where nothing runs any more the clients are gone, and may come back.
        if self.abort_drain().is_err() {
            self.serve_again();
        }
        self.drains.successor = None;
        let _ = self.look_around();
    }
}
