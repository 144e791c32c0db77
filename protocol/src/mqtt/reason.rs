//! Reason codes `[MQTT5-2.4]` and where each may stand.

macro_rules! reason_codes {
    ($($(#[$doc:meta])* $name:ident = $code:literal,)*) => {
        /// Why something went as it did: the codes of MQTT 5, also used inside for 3.x connections.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        pub enum ReasonCode {
            $($(#[$doc])* $name = $code,)*
        }

        impl ReasonCode {
            /// The code for a wire byte, if the standard knows it.
            pub const fn from_code(code: u8) -> Option<Self> {
                match code {
                    $($code => Some(Self::$name),)*
                    _ => None,
                }
            }
        }
    };
}

reason_codes! {
    /// Success, normal disconnection or granted `QoS` 0.
    Success = 0x00,
    /// The subscription is served with at most `QoS` 1.
    GrantedQoS1 = 0x01,
    /// The subscription is served with at most `QoS` 2.
    GrantedQoS2 = 0x02,
    /// The client leaves and wants its will published.
    DisconnectWithWill = 0x04,
    /// Accepted, but nobody subscribes to the topic.
    NoMatchingSubscribers = 0x10,
    /// Nothing to unsubscribe from.
    NoSubscriptionExisted = 0x11,
    /// One more step of enhanced authentication.
    ContinueAuthentication = 0x18,
    /// The client starts to authenticate again.
    ReAuthenticate = 0x19,
    /// An error without a name.
    UnspecifiedError = 0x80,
    /// Bytes that do not fit the format.
    MalformedPacket = 0x81,
    /// A packet that is not allowed here.
    ProtocolError = 0x82,
    /// Valid, but refused by this implementation.
    ImplementationSpecificError = 0x83,
    /// The protocol name or level is not spoken here.
    UnsupportedProtocolVersion = 0x84,
    /// A client id that is not allowed.
    ClientIdentifierNotValid = 0x85,
    /// Wrong credentials.
    BadUserNameOrPassword = 0x86,
    /// Not allowed to do this.
    NotAuthorized = 0x87,
    /// Out of service.
    ServerUnavailable = 0x88,
    /// Try later.
    ServerBusy = 0x89,
    /// Excluded by an operator.
    Banned = 0x8A,
    /// The server is going down.
    ServerShuttingDown = 0x8B,
    /// The authentication method is unknown or changed.
    BadAuthenticationMethod = 0x8C,
    /// Silent for 1.5 times the keep alive.
    KeepAliveTimeout = 0x8D,
    /// Another connection uses the client id.
    SessionTakenOver = 0x8E,
    /// The filter is well formed but refused, or no filter at all.
    TopicFilterInvalid = 0x8F,
    /// The topic name is refused.
    TopicNameInvalid = 0x90,
    /// The packet id is taken.
    PacketIdentifierInUse = 0x91,
    /// The packet id is unknown.
    PacketIdentifierNotFound = 0x92,
    /// More unacknowledged publications than agreed.
    ReceiveMaximumExceeded = 0x93,
    /// An alias of 0, above the maximum or never set.
    TopicAliasInvalid = 0x94,
    /// Larger than agreed.
    PacketTooLarge = 0x95,
    /// Faster than allowed.
    MessageRateTooHigh = 0x96,
    /// Beyond a limit.
    QuotaExceeded = 0x97,
    /// An operator closed the connection.
    AdministrativeAction = 0x98,
    /// The payload is not what its format indicator says.
    PayloadFormatInvalid = 0x99,
    /// The server keeps no retained messages.
    RetainNotSupported = 0x9A,
    /// Above the server's maximum `QoS`.
    QoSNotSupported = 0x9B,
    /// Use another server for now.
    UseAnotherServer = 0x9C,
    /// Use another server from now on.
    ServerMoved = 0x9D,
    /// No shared subscriptions here.
    SharedSubscriptionsNotSupported = 0x9E,
    /// Too many connections per second.
    ConnectionRateExceeded = 0x9F,
    /// The longest time allowed for a connection is over.
    MaximumConnectTime = 0xA0,
    /// No subscription identifiers here.
    SubscriptionIdentifiersNotSupported = 0xA1,
    /// No wildcards here.
    WildcardSubscriptionsNotSupported = 0xA2,
}

/// The kinds of packet that carry a reason code, by who sends them where that matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ReasonPlace {
    ConnAck,
    /// PUBACK and PUBREC.
    Receipt,
    /// PUBREL and PUBCOMP.
    Release,
    SubAck,
    UnsubAck,
    ClientDisconnect,
    ServerDisconnect,
    ClientAuth,
    ServerAuth,
}

impl ReasonCode {
    /// The wire byte.
    pub const fn code(self) -> u8 {
        self as u8
    }

    /// Whether it says that something failed.
    pub const fn is_error(self) -> bool {
        self.code() >= 0x80
    }

    /// The CONNACK return code of 3.x, 0 to 5, that comes closest; `None` where the standard wants the close and no
    /// CONNACK: for what breaks the format, and for what no return code is about `[MQTT3-3.1.4-1]` `[MQTT3-3.2.2-6]`.
    pub const fn connack_return_code(self) -> Option<u8> {
        Some(match self.code() {
            0x81 | 0x82 | 0x90 | 0x95 | 0x99..=0x9B => return None,
            0x84 => 1,
            0x85 => 2,
            0x86 | 0x8C => 4,
            0x87 | 0x8A => 5,
            0x80.. => 3,
            _ => 0,
        })
    }

    /// The code for a CONNACK return code of 3.x.
    pub(crate) const fn from_connack_return_code(code: u8) -> Option<Self> {
        Some(match code {
            0 => Self::Success,
            1 => Self::UnsupportedProtocolVersion,
            2 => Self::ClientIdentifierNotValid,
            3 => Self::ServerUnavailable,
            4 => Self::BadUserNameOrPassword,
            5 => Self::NotAuthorized,
            _ => return None,
        })
    }

    /// The code for a DISCONNECT from the server: this one if it is listed there, otherwise the nearest `[MQTT5-3.14.2-1]`.
    pub const fn in_disconnect(self) -> Self {
        if self.fits(ReasonPlace::ServerDisconnect) {
            return self;
        }
        match self.code() {
            0x86 | 0x8A | 0x8C => Self::NotAuthorized,
            0x88 => Self::ServerBusy,
            _ => Self::ProtocolError,
        }
    }

    /// The code for a CONNACK: this one if it is listed there, otherwise the nearest `[MQTT5-3.2.2-8]`.
    pub const fn in_connack(self) -> Self {
        if self.fits(ReasonPlace::ConnAck) {
            return self;
        }
        match self.code() {
            0x8B | 0x8E => Self::ServerUnavailable,
            _ => Self::UnspecifiedError,
        }
    }

    /// Why something was refused, for a reason string; none for what is no error.
    pub const fn words(self) -> Option<&'static str> {
        Some(match self {
            Self::Success
            | Self::GrantedQoS1
            | Self::GrantedQoS2
            | Self::DisconnectWithWill
            | Self::NoMatchingSubscribers
            | Self::NoSubscriptionExisted
            | Self::ContinueAuthentication
            | Self::ReAuthenticate => return None,
            Self::UnspecifiedError => "unspecified error",
            Self::MalformedPacket => "malformed packet",
            Self::ProtocolError => "not allowed here by the protocol",
            Self::ImplementationSpecificError => "refused by this gateway",
            Self::UnsupportedProtocolVersion => "this protocol version is not spoken here",
            Self::ClientIdentifierNotValid => "client id is not allowed",
            Self::BadUserNameOrPassword => "wrong user name or password",
            Self::NotAuthorized => "not authorized",
            Self::ServerUnavailable => "out of service",
            Self::ServerBusy => "busy, try again later",
            Self::Banned => "banned",
            Self::ServerShuttingDown => "shutting down",
            Self::BadAuthenticationMethod => "authentication method is unknown or changed",
            Self::KeepAliveTimeout => "silent for longer than the keep alive allows",
            Self::SessionTakenOver => "another connection uses the client id",
            Self::TopicFilterInvalid => "topic filter is malformed, too long or too deep",
            Self::TopicNameInvalid => "topic name is reserved, too long or too deep",
            Self::PacketIdentifierInUse => "packet id is in use",
            Self::PacketIdentifierNotFound => "packet id is unknown",
            Self::ReceiveMaximumExceeded => "more unacknowledged publications than agreed",
            Self::TopicAliasInvalid => "topic alias is not valid",
            Self::PacketTooLarge => "packet is larger than agreed",
            Self::MessageRateTooHigh => "too many messages per second",
            Self::QuotaExceeded => "a limit of this gateway is reached",
            Self::AdministrativeAction => "ended by an operator",
            Self::PayloadFormatInvalid => "payload is not the utf-8 it is said to be",
            Self::RetainNotSupported => "retained messages are not allowed",
            Self::QoSNotSupported => "qos is above the maximum",
            Self::UseAnotherServer => "use another gateway",
            Self::ServerMoved => "use another gateway from now on",
            Self::SharedSubscriptionsNotSupported => "shared subscriptions are not allowed",
            Self::ConnectionRateExceeded => "too many connections per second",
            Self::MaximumConnectTime => "longest time for a connection is over",
            Self::SubscriptionIdentifiersNotSupported => "subscription identifiers are not allowed",
            Self::WildcardSubscriptionsNotSupported => "wildcards are not allowed",
        })
    }

    /// Whether the standard lists the code for that packet `[MQTT5-2.4]`.
    pub(crate) const fn fits(self, place: ReasonPlace) -> bool {
        let code = self.code();
        match place {
            ReasonPlace::ConnAck => {
                matches!(code, 0 | 0x80..=0x8A | 0x8C | 0x90 | 0x95 | 0x97 | 0x99..=0x9D | 0x9F)
            }
            ReasonPlace::Receipt => {
                matches!(code, 0 | 0x10 | 0x80 | 0x83 | 0x87 | 0x90 | 0x91 | 0x97 | 0x99)
            }
            ReasonPlace::Release => matches!(code, 0 | 0x92),
            ReasonPlace::SubAck => {
                matches!(code, 0..=2 | 0x80 | 0x83 | 0x87 | 0x8F | 0x91 | 0x97 | 0x9E | 0xA1 | 0xA2)
            }
            ReasonPlace::UnsubAck => {
                matches!(code, 0 | 0x11 | 0x80 | 0x83 | 0x87 | 0x8F | 0x91)
            }
            ReasonPlace::ClientDisconnect => {
                matches!(code, 0 | 4 | 0x80..=0x83 | 0x90 | 0x93..=0x99)
            }
            ReasonPlace::ServerDisconnect => matches!(
                code,
                0 | 0x80..=0x83 | 0x87 | 0x89 | 0x8B | 0x8D..=0x90 | 0x93..=0xA2
            ),
            ReasonPlace::ClientAuth => matches!(code, 0x18 | 0x19),
            ReasonPlace::ServerAuth => matches!(code, 0 | 0x18),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_reads_back_and_the_rest_is_unknown() {
        let known = (0..=u8::MAX).filter_map(ReasonCode::from_code);
        assert_eq!(known.clone().count(), 43);
        for reason in known {
            assert_eq!(ReasonCode::from_code(reason.code()), Some(reason));
            assert_eq!(reason.is_error(), reason.code() >= 0x80);
        }
    }

    #[test]
    fn every_error_has_words_and_a_place_in_disconnect_and_connack() {
        for reason in (0..=u8::MAX).filter_map(ReasonCode::from_code) {
            assert_eq!(reason.words().is_some(), reason.is_error(), "{reason:?}");
            assert!(reason.in_disconnect().fits(ReasonPlace::ServerDisconnect), "{reason:?}");
            assert!(reason.in_connack().fits(ReasonPlace::ConnAck), "{reason:?}");
        }
    }

    #[test]
    fn codes_of_3_x_go_there_and_back() {
        for code in 0..=5 {
            let reason = ReasonCode::from_connack_return_code(code).unwrap();
            assert_eq!(reason.connack_return_code(), Some(code));
        }
        assert_eq!(ReasonCode::UseAnotherServer.connack_return_code(), Some(3));
        assert_eq!(ReasonCode::ServerShuttingDown.connack_return_code(), Some(3));
        assert_eq!(ReasonCode::MalformedPacket.connack_return_code(), None);
        assert_eq!(ReasonCode::TopicNameInvalid.connack_return_code(), None);
    }
}
