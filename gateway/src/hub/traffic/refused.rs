//! Why a publication is not taken: for programs, and for people.

use access::Excess;
use protocol::mqtt::ReasonCode;
use protocol::{PacketId, QoS};

use crate::hub::Reply;
use crate::hub::output::Refusal;

/// Why a publication is not taken; the connection goes on if its version can be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::hub) enum Refused {
    /// Its topic is reserved, and asks nothing that is answered.
    Reserved,
    /// Its topic has too many levels or bytes.
    Topic,
    /// Its payload is not the UTF-8 that it is said to be.
    Payload,
    /// It has more user properties than are taken.
    UserProperties,
    /// The queue of a session that it is for is full, and refuses.
    FullQueue,
    /// As many messages are retained as may be.
    RetainedFull,
    /// The store did not take it.
    NotStored,
    /// Its client is faster than it may be.
    TooFast(Excess),
}

impl Refused {
    /// The code that says so.
    pub(in crate::hub) const fn reason(self) -> ReasonCode {
        match self {
            Self::Reserved => ReasonCode::NotAuthorized,
            Self::Topic => ReasonCode::TopicNameInvalid,
            Self::Payload => ReasonCode::PayloadFormatInvalid,
            Self::UserProperties
            | Self::FullQueue
            | Self::RetainedFull
            | Self::NotStored
            | Self::TooFast(_) => ReasonCode::QuotaExceeded,
        }
    }

    /// What the publisher is told; of others no more than the code says, that there are some.
    pub(in crate::hub) const fn why(self) -> &'static str {
        match self {
            Self::Reserved => "topic is reserved, and asks nothing that is answered",
            Self::Topic => "topic has more levels or bytes than its class allows",
            Self::Payload => "payload is not the utf-8 it is said to be",
            Self::UserProperties => "more user properties than are allowed",
            Self::FullQueue => "a queue that it is for is full, try again later",
            Self::RetainedFull => "as many messages are retained as may be",
            Self::NotStored => "it could not be stored, try again later",
            Self::TooFast(Excess::Packets) => "more packets per second than its class allows",
            Self::TooFast(Excess::Publications) => {
                "more publications per second than its class allows"
            }
            Self::TooFast(Excess::Bytes) => "more bytes per second than its class allows",
        }
    }

    /// The packet that says so in 5.0.
    pub(in crate::hub) fn reply(self, (qos, id): (QoS, PacketId)) -> Reply {
        let (reason, why) = (self.reason(), self.why().into());
        Reply::Refusal(Box::new(Refusal { id, qos, reason, why }))
    }
}
