//! What the standard leaves to us.

use super::fault::Fault;
use super::settings::section;

section! {
    /// What the MQTT standard leaves to the server.
    pub struct Mqtt in "mqtt" {
        /// Whether a payload that is said to be UTF-8 must be; if it is not, the publication is refused (0x99).
        check_payload_format: bool = true, "true or false", "what a receiver is told of a payload should be true";
        /// What the response topics of a client that asks begin with; its client id follows.
        response_topic: Option<String> = None, "beginning of a topic", "absent: no response information is given" shown "\"reply/\"";
    }
}

impl Mqtt {
    /// Checks what a range cannot say.
    pub(super) fn check(&self, faults: &mut Vec<Fault>) {
        let Some(prefix) = &self.response_topic else { return };
        if prefix.is_empty() || prefix.starts_with('$') || prefix.contains(['+', '#', '\0']) {
            let what = format!("{prefix:?} cannot begin the name of a topic that clients may use");
            faults.push(Fault::new("mqtt.response_topic", what));
        }
    }
}
