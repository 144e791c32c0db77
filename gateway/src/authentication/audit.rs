//! Who was turned away, in the log.

use protocol::mqtt::ReasonCode;

use crate::line_limit::{Line, LineLimit};

/// Writes who was turned away, as long as they are not too many.
#[derive(Debug, Default)]
pub(super) struct Audit {
    lines: LineLimit,
}

impl Audit {
    /// A client was turned away.
    pub(super) fn refused(
        &self,
        second: u64,
        (client_id, login): (&str, Option<&str>),
        address: Option<std::net::IpAddr>,
        (reason, why): (ReasonCode, &dyn std::fmt::Display),
    ) {
        match self.lines.line(second) {
            Line::Write => {}
            Line::Last => {
                tracing::info!(target: "audit", "more clients are turned away than are written down");
            }
            Line::Silent => return,
        }
        tracing::info!(
            target: "audit",
            client_id,
            user = login,
            address = address.map(tracing::field::display),
            reason = format!("0x{:02x}", reason as u8),
            "a client is turned away: {why}"
        );
    }
}
