//! One network connection as the cores see it.

use std::net::IpAddr;
use std::num::NonZeroU64;
use std::sync::Arc;
use std::time::Duration;

use access::{ClassLimits, Identity};
use fanout::Slot;
use protocol::ClientId;
use protocol::mqtt::Version;

use super::standing::authenticate::Credentials;
use super::standing::rights::Guard;
use super::standing::seats::Seat;
use super::traffic::aliases::Aliases;

/// A connection of this worker: its place, and which of the place's lives it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ConnId {
    /// The place.
    pub index: u32,
    /// Grows when the place is used again.
    pub life: u32,
}

/// A moment of the gateway's clock in half the memory: microseconds since the process began, and one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Moment(NonZeroU64);

impl Moment {
    pub(super) fn of(mono: Duration) -> Self {
        let micros = u64::try_from(mono.as_micros()).unwrap_or(u64::MAX);
        Self(NonZeroU64::MIN.saturating_add(micros))
    }

    /// When that was.
    pub(super) const fn mono(self) -> Duration {
        Duration::from_micros(self.0.get() - 1)
    }
}

/// Where a connection is in its life.
///
/// ```text
///  Attaching ── claim succeeded ──► Attached ── freeze, goodbye ──► Leaving ── the last word ──► Over
///      │                               └─────────── violation, lost ─────────────────────────────┤
///      └──────────────────────────── refused, superseded ────────────────────────────────────────┘
/// ```
#[derive(Debug)]
pub(super) enum State {
    /// CONNECT is being answered; nothing is read.
    Attaching,
    /// It speaks for the session in this slot.
    Attached(Slot),
    /// It is being ended; what still comes is not processed, and what it is owed is said.
    Leaving,
    /// Nothing more is said `[MQTT5-3.14.4-1]`.
    Over,
}

/// What is known of a client besides its id.
#[derive(Debug)]
pub(super) enum Known {
    /// At most where it comes from. Most clients are anonymous, and need no identity on the heap.
    Address(Option<IpAddr>),
    /// More than that.
    Identity(Arc<Identity>),
}

impl Known {
    pub(super) fn new(identity: &Arc<Identity>) -> Self {
        // How a user was established says nothing without one.
        let Identity {
            client: _,
            user,
            user_by_certificate: _,
            certificate,
            address,
            claims,
            class,
            is_trial,
        } = &**identity;
        let bare = user.is_none() && certificate.is_none() && claims.is_none() && class.is_none();
        if bare && !is_trial {
            Self::Address(*address)
        } else {
            Self::Identity(Arc::clone(identity))
        }
    }
}

/// What the cores keep per connection.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) life: u32,
    pub(super) state: State,
    /// Who it is.
    pub(super) client: ClientId,
    pub(super) version: Version,
    /// Whom it speaks for.
    pub(super) known: Known,
    /// How much it may do.
    pub(super) limits: Arc<ClassLimits>,
    /// The largest packet that it may send, in bytes; beside the other limits, since every packet asks for it.
    pub(super) packet_bytes: u32,
    /// What is checked of it, if anything is.
    pub(super) guard: Option<Box<Guard>>,
    /// Its place among the clients of its user.
    pub(super) seat: Option<Box<Seat>>,
    /// What the client takes at most, in bytes.
    pub(super) max_packet_bytes: u32,
    /// Seconds; a silence half as long again ends the connection `[MQTT5-3.1.2-22]`. 0 if keep alive is off.
    pub(super) keep_alive_s: u16,
    /// When the last packet came.
    pub(super) heard: Moment,
    /// Since when the packet at hand is on its way; none between packets.
    pub(super) begun: Option<Moment>,
    /// Topics by alias, as the client set them.
    pub(super) aliases: Vec<Option<Box<str>>>,
    /// Aliases that we use, if the client takes any.
    pub(super) named: Option<Box<Aliases>>,
    /// QoS 1 publications of the client that are not answered yet.
    pub(super) unacknowledged: u16,
    /// Whether acknowledgements may carry words.
    pub(super) explains: bool,
    /// Whether the client holds back less than it should: its outbox is over the limit.
    pub(super) congested: bool,
    /// The last look at all connections that it has had.
    pub(super) review: u8,
    /// Whether it came over TLS.
    pub(super) secure: bool,
    /// Whether it came back although it was sent to another gateway.
    pub(super) returned: bool,
    /// How it authenticated, where that has an end or may be done again.
    pub(super) credentials: Option<Box<Credentials>>,
}

impl Connection {
    /// Whom it speaks for.
    pub(super) fn identity(&self) -> Arc<Identity> {
        match &self.known {
            Known::Identity(identity) => Arc::clone(identity),
            Known::Address(address) => {
                Arc::new(Identity { address: *address, ..Identity::anonymous(self.client.clone()) })
            }
        }
    }

    /// The user that it speaks for, if any.
    pub(super) fn user(&self) -> Option<&Arc<str>> {
        match &self.known {
            Known::Identity(identity) => identity.user.as_ref(),
            Known::Address(_) => None,
        }
    }

    /// Whether it is a client of the gateway's own.
    pub(super) fn is_trial(&self) -> bool {
        match &self.known {
            Known::Identity(identity) => identity.is_trial,
            Known::Address(_) => false,
        }
    }

    /// Silence that ends the connection; none if keep alive is off.
    pub(super) fn patience(&self) -> Option<Duration> {
        let seconds = u64::from(self.keep_alive_s);
        (seconds > 0).then(|| Duration::from_millis(seconds * 1500))
    }

    /// What may wait to be sent to it at QoS 0, in bytes, as far as its class says.
    pub(super) fn outbox_bytes(&self) -> usize {
        usize::try_from(self.limits.queue.bytes).unwrap_or(usize::MAX)
    }

    /// Whether a topic or a filter is within what its class may use.
    pub(super) fn takes_topic(&self, topic: &str) -> bool {
        let slashes = topic.bytes().filter(|byte| *byte == b'/').count();
        topic.len() <= self.limits.topic_bytes && slashes < self.limits.topic_levels
    }
}

#[cfg(test)]
mod tests {
    use std::mem::size_of;

    use super::super::session::live::Live;
    use super::*;

    #[test]
    fn a_client_costs_no_more_memory_than_is_known() {
        // Bytes of each client that is there, whatever it does: mind them.
        let sizes = (size_of::<Option<Connection>>(), size_of::<Live>(), size_of::<Guard>());
        assert!(sizes.0 <= 152 && sizes.1 <= 296 && sizes.2 <= 128, "{sizes:?}");
    }
}
