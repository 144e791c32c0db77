/// Why a client is not there any more, in AWS's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DisconnectReason {
    /// What it may do was taken from it, or its authentication failed.
    AuthError,
    /// It said goodbye.
    ClientInitiatedDisconnect,
    /// It broke the protocol.
    ClientError,
    /// The connection ended without a word.
    ConnectionLost,
    /// Somebody connected with the same client id.
    DuplicateClientId,
    /// It may not be here: banned.
    ForbiddenAccess,
    /// It was silent for longer than its keep alive allows.
    MqttKeepAliveTimeout,
    /// Something went wrong here, such as the death of its gateway.
    ServerError,
    /// Sent away for reasons of operation: a drain.
    ServerInitiatedDisconnect,
    /// Sent away by an operator.
    ApiInitiatedDisconnect,
    /// Too fast.
    Throttled,
    /// A WebSocket was open for longer than allowed.
    WebsocketTtlExpiration,
    /// What it authenticated with has ended.
    CustomauthTtlExpiration,
}

impl DisconnectReason {
    /// Every reason; the place in this list is how it is stored.
    pub const ALL: [Self; 13] = [
        Self::AuthError,
        Self::ClientInitiatedDisconnect,
        Self::ClientError,
        Self::ConnectionLost,
        Self::DuplicateClientId,
        Self::ForbiddenAccess,
        Self::MqttKeepAliveTimeout,
        Self::ServerError,
        Self::ServerInitiatedDisconnect,
        Self::ApiInitiatedDisconnect,
        Self::Throttled,
        Self::WebsocketTtlExpiration,
        Self::CustomauthTtlExpiration,
    ];

    /// How it is stored.
    pub(super) fn number(self) -> u64 {
        Self::ALL
            .iter()
            .zip(0..)
            .find_map(|(it, number)| (*it == self).then_some(number))
            .unwrap_or(0)
    }

    /// The one that is stored so.
    pub(super) fn numbered(number: u64) -> Option<Self> {
        Self::ALL.get(usize::try_from(number).ok()?).copied()
    }

    /// As it stands in events.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::AuthError => "AUTH_ERROR",
            Self::ClientInitiatedDisconnect => "CLIENT_INITIATED_DISCONNECT",
            Self::ClientError => "CLIENT_ERROR",
            Self::ConnectionLost => "CONNECTION_LOST",
            Self::DuplicateClientId => "DUPLICATE_CLIENTID",
            Self::ForbiddenAccess => "FORBIDDEN_ACCESS",
            Self::MqttKeepAliveTimeout => "MQTT_KEEP_ALIVE_TIMEOUT",
            Self::ServerError => "SERVER_ERROR",
            Self::ServerInitiatedDisconnect => "SERVER_INITIATED_DISCONNECT",
            Self::ApiInitiatedDisconnect => "API_INITIATED_DISCONNECT",
            Self::Throttled => "THROTTLED",
            Self::WebsocketTtlExpiration => "WEBSOCKET_TTL_EXPIRATION",
            Self::CustomauthTtlExpiration => "CUSTOMAUTH_TTL_EXPIRATION",
        }
    }

    /// Whether the client itself ended it.
    pub const fn is_by_client(self) -> bool {
        matches!(self, Self::ClientInitiatedDisconnect)
    }
}
