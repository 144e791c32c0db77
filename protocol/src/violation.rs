use crate::mqtt::ReasonCode;

/// A broken normative statement, by its id with version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{what} [{statement}]")]
pub struct Violation {
    /// The statement's id, such as `MQTT5-3.1.0-1`.
    pub statement: &'static str,
    /// What was wrong, as a lower-case fragment.
    pub what: &'static str,
    /// The reason code that answers it.
    pub reason: ReasonCode,
}

impl Violation {
    /// A packet that does not fit the format: 0x81.
    pub const fn malformed(statement: &'static str, what: &'static str) -> Self {
        Self { statement, what, reason: ReasonCode::MalformedPacket }
    }

    /// A packet that is well formed but not allowed here: 0x82.
    pub const fn protocol(statement: &'static str, what: &'static str) -> Self {
        Self { statement, what, reason: ReasonCode::ProtocolError }
    }

    /// Any other answer.
    pub const fn with(reason: ReasonCode, statement: &'static str, what: &'static str) -> Self {
        Self { statement, what, reason }
    }
}
