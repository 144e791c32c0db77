//! CONNECTs that were not let in, by reason: at the front, and by the worker that was to attach the client.

use std::fmt::Write as _;

use protocol::mqtt::ReasonCode;

use super::count::Count;

/// Why a CONNECT was not let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WhyRefused {
    /// Who it says it is could not be believed.
    Credentials,
    /// It has no right to be here.
    NotAuthorized,
    /// A method of authentication that is not spoken.
    Method,
    /// Its client id cannot be used.
    ClientId,
    /// The gateway, its store, or another connection of the client is in the way; it may come again.
    Busy,
    /// There is no room for it.
    Quota,
    /// It is banned.
    Banned,
    /// It was sent to another gateway.
    Elsewhere,
    /// It broke the protocol.
    Protocol,
    /// It was given no answer before it went, or before the time for it was over.
    Unanswered,
}

impl WhyRefused {
    /// All of them, as they are shown.
    pub const ALL: [Self; 10] = [
        Self::Credentials,
        Self::NotAuthorized,
        Self::Method,
        Self::ClientId,
        Self::Busy,
        Self::Quota,
        Self::Banned,
        Self::Elsewhere,
        Self::Protocol,
        Self::Unanswered,
    ];

    /// Which of them the reason code of an answer tells.
    pub const fn of(reason: ReasonCode) -> Self {
        match reason.code() {
            0x86 => Self::Credentials,
            0x87 => Self::NotAuthorized,
            0x8c => Self::Method,
            0x85 => Self::ClientId,
            0x88 | 0x89 => Self::Busy,
            0x97 | 0x9f => Self::Quota,
            0x8a => Self::Banned,
            0x9c | 0x9d => Self::Elsewhere,
            _ => Self::Protocol,
        }
    }

    const fn label(self) -> &'static str {
        match self {
            Self::Credentials => "bad_credentials",
            Self::NotAuthorized => "not_authorized",
            Self::Method => "bad_method",
            Self::ClientId => "client_id",
            Self::Busy => "busy",
            Self::Quota => "quota",
            Self::Banned => "banned",
            Self::Elsewhere => "use_another_server",
            Self::Protocol => "protocol",
            Self::Unanswered => "unanswered",
        }
    }
}

/// How many CONNECTs were not let in, by reason. Any thread may count: it is a connection's end each time.
#[derive(Debug, Default)]
pub struct Refused {
    credentials: Count,
    not_authorized: Count,
    method: Count,
    client_id: Count,
    busy: Count,
    quota: Count,
    banned: Count,
    elsewhere: Count,
    protocol: Count,
    unanswered: Count,
}

impl Refused {
    /// How many there were for one reason.
    pub fn get(&self, why: WhyRefused) -> u64 {
        self.count_of(why).get()
    }

    /// Counts one.
    pub fn count(&self, why: WhyRefused) {
        self.count_of(why).add_shared(1);
    }

    const fn count_of(&self, why: WhyRefused) -> &Count {
        match why {
            WhyRefused::Credentials => &self.credentials,
            WhyRefused::NotAuthorized => &self.not_authorized,
            WhyRefused::Method => &self.method,
            WhyRefused::ClientId => &self.client_id,
            WhyRefused::Busy => &self.busy,
            WhyRefused::Quota => &self.quota,
            WhyRefused::Banned => &self.banned,
            WhyRefused::Elsewhere => &self.elsewhere,
            WhyRefused::Protocol => &self.protocol,
            WhyRefused::Unanswered => &self.unanswered,
        }
    }
}

/// Adds the numbers to the text for Prometheus.
pub(super) fn render(text: &mut String, count: impl Fn(WhyRefused) -> u64) {
    const FAMILY: &str = "tidegate_connect_refused_total";
    let help = "CONNECTs that were refused, by reason.";
    // Writing to a String cannot fail.
    let _ = writeln!(text, "# HELP {FAMILY} {help}\n# TYPE {FAMILY} counter");
    for why in WhyRefused::ALL {
        let _ = writeln!(text, "{FAMILY}{{reason=\"{}\"}} {}", why.label(), count(why));
    }
}
