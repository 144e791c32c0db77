//! What a CONNECT asks for.

use std::sync::Arc;
use std::time::Duration;

use access::Identity;
use protocol::mqtt::{Connect, ReasonCode, Version};
use protocol::session::StoredWill;
use protocol::{ClientId, Publication};

use crate::hub::positions::seal::PROPERTY;
use crate::hub::standing::authenticate::Authenticated;

/// What CONNECT asked for, checked and owned.
#[derive(Debug, Clone)]
pub struct ConnectRequest {
    /// The protocol version.
    pub version: Version,
    /// How long its connection had been open when it came here.
    pub waited: Duration,
    /// Whether it came back although it was sent to another gateway.
    pub returned: bool,
    /// The client, with an id made up if it gave none.
    pub client: ClientId,
    /// Whether the id was made up.
    pub assigned: bool,
    /// Clean Start.
    pub clean_start: bool,
    /// Seconds; 0 is off.
    pub keep_alive_s: u16,
    /// Seconds the session outlives the connection, at most the configured maximum.
    pub expiry_s: u32,
    /// What the client takes in flight.
    pub receive_maximum: u16,
    /// What the client takes at most, in bytes.
    pub max_packet_bytes: u32,
    /// Topic aliases that the client takes.
    pub topic_alias_maximum: u16,
    /// Whether acknowledgements may carry reason strings `[MQTT5-3.1.2-29]`.
    pub problem_information: bool,
    /// Whether the client asked what its response topics should begin with `[MQTT5-3.1.2-28]`.
    pub wants_response_topic: bool,
    /// Whether the payload of its will is said to be UTF-8 and is not.
    pub bad_will_payload: bool,
    /// Its will.
    pub will: Option<StoredWill>,
    /// Whether it came over TLS, and should be sent to TLS.
    pub secure: bool,
    /// The position that it shows, if it wants to be shown positions; empty if it has none.
    pub position: Option<Box<str>>,
    /// Whom it speaks for.
    pub identity: Arc<Identity>,
    /// How it authenticated, where that has an end or may be done again.
    pub authenticated: Option<Box<Authenticated>>,
}

impl ConnectRequest {
    /// Copies what matters out of a decoded CONNECT. `made_up` is the id for a client that gave none.
    ///
    /// # Errors
    /// The reason to refuse with: an empty id that asks for an old session `[MQTT3-3.1.3-8]`.
    pub fn of(connect: &Connect<'_>, made_up: &str, expiry_max_s: u32) -> Result<Self, ReasonCode> {
        let assigned = connect.client_id.is_empty();
        if assigned && connect.version != Version::V5 && !connect.clean_start {
            return Err(ReasonCode::ClientIdentifierNotValid);
        }
        let id = if assigned { made_up } else { connect.client_id };
        let client = ClientId::new(id).map_err(|_| ReasonCode::ClientIdentifierNotValid)?;
        let will = connect.will.as_ref().map(|will| StoredWill {
            publication: Publication::new(
                will.topic,
                &will.properties.end_to_end,
                will.payload,
                will.qos,
                will.retain,
            ),
            delay_s: will.properties.delay_s,
            expiry_s: will.properties.message_expiry_s,
        });
        let bad_will_payload = connect.will.as_ref().is_some_and(|will| {
            will.properties.payload_is_utf8 && std::str::from_utf8(will.payload).is_err()
        });
        let identity = Arc::new(Identity::anonymous(client.clone()));
        Ok(Self {
            version: connect.version,
            waited: Duration::ZERO,
            returned: false,
            client,
            assigned,
            clean_start: connect.clean_start,
            keep_alive_s: connect.keep_alive_s,
            expiry_s: connect.properties.session_expiry_s.min(expiry_max_s),
            receive_maximum: connect.properties.receive_maximum,
            max_packet_bytes: connect.properties.maximum_packet_bytes,
            topic_alias_maximum: connect.properties.topic_alias_maximum,
            problem_information: connect.properties.request_problem_information,
            wants_response_topic: connect.properties.request_response_information,
            bad_will_payload,
            will,
            secure: false,
            position: position_in(&connect.properties.user),
            identity,
            authenticated: None,
        })
    }

    /// Length of the client id, in bytes.
    pub(in crate::hub) fn client_bytes(&self) -> u32 {
        u32::try_from(self.client.as_str().len()).unwrap_or(u32::MAX)
    }
}

/// The position among the user properties of a CONNECT.
fn position_in(properties: &[(&str, &str)]) -> Option<Box<str>> {
    let (_, value) = properties.iter().find(|(name, _)| *name == PROPERTY)?;
    // Whatever is longer is no position, and need not be remembered.
    value.get(..value.floor_char_boundary(LONGEST_POSITION)).map(Into::into)
}

/// More bytes than any position has.
const LONGEST_POSITION: usize = 64;
