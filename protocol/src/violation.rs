use crate::mqtt::{ReasonCode, Version};

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

    /// The statement's id in the standard of a connection's version: ids differ, and 5.0 has statements that 3.1.1 knows only
    /// as a violation of the protocol `[MQTT3-4.8.0-1]`.
    pub fn statement_in(&self, version: Version) -> &'static str {
        match version {
            Version::V5 => self.statement,
            Version::V31 | Version::V311 if self.statement.starts_with("MQTT3-") => self.statement,
            Version::V31 | Version::V311 => {
                let known = IN_3_1_1.iter().find(|(newer, _)| *newer == self.statement);
                known.map_or("MQTT3-4.8.0-1", |(_, older)| older)
            }
        }
    }
}

/// Statements of 5.0 that a packet of 3.1.1 can break, and what 3.1.1 calls them.
const IN_3_1_1: [(&str, &str); 26] = [
    ("MQTT5-1.5.4-1", "MQTT3-1.5.3-1"),
    ("MQTT5-1.5.4-2", "MQTT3-1.5.3-2"),
    ("MQTT5-2.1.3-1", "MQTT3-2.2.2-2"),
    ("MQTT5-2.2.1-3", "MQTT3-2.3.1-1"),
    ("MQTT5-3.1.0-1", "MQTT3-3.1.0-1"),
    ("MQTT5-3.1.0-2", "MQTT3-3.1.0-2"),
    ("MQTT5-3.1.2-1", "MQTT3-3.1.2-1"),
    ("MQTT5-3.1.2-2", "MQTT3-3.1.2-2"),
    ("MQTT5-3.1.2-3", "MQTT3-3.1.2-3"),
    ("MQTT5-3.1.2-11", "MQTT3-3.1.2-13"),
    ("MQTT5-3.1.2-12", "MQTT3-3.1.2-14"),
    ("MQTT5-3.1.2-13", "MQTT3-3.1.2-15"),
    ("MQTT5-3.1.4-1", "MQTT3-3.1.4-1"),
    ("MQTT5-3.3.1-2", "MQTT3-3.3.1-2"),
    ("MQTT5-3.3.1-4", "MQTT3-3.3.1-4"),
    ("MQTT5-3.3.2-2", "MQTT3-3.3.2-2"),
    ("MQTT5-3.6.1-1", "MQTT3-3.6.1-1"),
    ("MQTT5-3.8.1-1", "MQTT3-3.8.1-1"),
    ("MQTT5-3.8.3-2", "MQTT3-3.8.3-3"),
    ("MQTT5-3.8.3-5", "MQTT3-3.8.3-4"),
    ("MQTT5-3.10.1-1", "MQTT3-3.10.1-1"),
    ("MQTT5-3.10.3-2", "MQTT3-3.10.3-2"),
    ("MQTT5-3.14.1-1", "MQTT3-3.14.1-1"),
    ("MQTT5-4.7.3-1", "MQTT3-4.7.3-1"),
    ("MQTT5-4.7.3-2", "MQTT3-4.7.3-2"),
    ("MQTT5-4.13.1-1", "MQTT3-4.8.0-1"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_statement_is_named_as_the_standard_of_the_connection_names_it() {
        let reserved = Violation::protocol("MQTT5-3.8.3-5", "qos 3 does not exist");
        assert_eq!(reserved.statement_in(Version::V5), "MQTT5-3.8.3-5");
        assert_eq!(reserved.statement_in(Version::V311), "MQTT3-3.8.3-4");
        let aliased = Violation::protocol("MQTT5-3.3.2-9", "topic alias above the maximum");
        assert_eq!(aliased.statement_in(Version::V31), "MQTT3-4.8.0-1");
        let refused = Violation::protocol("MQTT3-3.3.5-2", "publication refused");
        assert_eq!(refused.statement_in(Version::V311), "MQTT3-3.3.5-2");
    }
}
