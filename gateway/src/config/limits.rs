//! How much of anything, as written.

use access::OnExcess;
use protocol::session::WhenFull;
use serde::{Deserialize, Serialize};

use super::settings::section;

section! {
    /// How much of anything; each limit has an answer to "full".
    #[derive(Copy, Eq)]
    pub struct Limits in "limits" {
        /// Largest control packet; a larger one ends the connection (0x95), a larger delivery is dropped.
        packet_bytes: u32 = 1_114_112, "bytes", "1 MiB of payload, and 64 KiB for topic and properties" in 1_024..=268_435_455;
        /// Largest packet until a client is let in, and largest WebSocket message: CONNECT and AUTH; a larger one ends the connection (0x95). Never more than `packet_bytes`.
        connect_bytes: u32 = 65_536, "bytes", "a token and a will are a few KiB, and who is not known yet holds little memory" in 1_024..=268_435_455;
        /// Open connections of clients; more are refused (0x97).
        connections: u32 = 100_000, "connections", "more than one machine should lose at once" in 1..=10_000_000;
        /// Time from accept to a whole CONNECT; then the connection is closed.
        connect_timeout_ms: u32 = 10_000, "milliseconds", "a slow radio gets through, a silent port scan does not stay" in 100..=120_000;
        /// Connections of one address, or of one /64 of IPv6; more are refused (0x97).
        connections_per_address: u32 = 100_000, "connections", "a carrier hides many devices behind one address; less where devices have their own" in 1..=10_000_000;
        /// Connections that have not sent their CONNECT yet; more are closed at once.
        handshakes: u32 = 10_000, "connections", "a fleet that comes back all at once gets in, silence does not pile up" in 1..=1_000_000;
        /// The same of one address; more are closed at once.
        handshakes_per_address: u32 = 5_000, "connections", "one address cannot take all of them" in 1..=1_000_000;
        /// New connections per second and listener; more are refused (0x9F), or closed where there is TLS.
        connects_per_s: u32 = 5_000, "connections per second", "more than the TLS handshakes of a few cores" in 1..=10_000_000;
        /// New connections at once, after a rest, per listener.
        connects_burst: u32 = 50_000, "connections", "a fleet that comes back after an outage" in 1..=10_000_000;
        /// New connections per second and address; more are refused (0x9F), or closed where there is TLS.
        connects_per_address_per_s: u32 = 2_000, "connections per second", "half a listener's, so that one address leaves room for others" in 1..=10_000_000;
        /// New connections at once, after a rest, per address.
        connects_per_address_burst: u32 = 20_000, "connections", "a site that comes back after an outage" in 1..=10_000_000;
        /// New connections that a failed login counts for, in the rate of its address.
        failed_login_connects: u32 = 10, "connections", "a guess costs more than a connection, and a site with one wrong device gets in" in 0..=100_000;
        /// Time from the first byte of a packet to its last; then the connection is closed (0x8D).
        packet_timeout_ms: u32 = 300_000, "milliseconds", "the largest packet gets through at 30 kbit/s, a trickle does not stay" in 100..=3_600_000;
        /// Levels of a topic; a deeper one is refused.
        topic_levels: u16 = 128, "levels", "far beyond use, and matching stays short" in 1..=1_024;
        /// Length of a topic name or filter; a longer one is refused.
        topic_bytes: u16 = 4_096, "bytes", "far beyond use, and a table of them stays small" in 1..=65_535;
        /// Subscriptions of one session; more are refused (0x97).
        subscriptions_per_session: u32 = 1_000, "subscriptions", "an application may have hundreds, a runaway loop has more" in 1..=1_000_000;
        /// Shared groups of one topic that a session may be in; a filter that would add one more is refused (0x97).
        groups_per_topic: u16 = 16, "groups", "one or two are of use, and each costs every publication to the topic a choice" in 1..=65_535;
        /// Filters in one SUBSCRIBE or UNSUBSCRIBE; more end the connection.
        filters_per_subscribe: u16 = 256, "filters", "one packet should not hold up a worker" in 1..=8_192;
        /// Steps that matching one topic may take: the levels of all filters with wildcards in the fleet, where beginnings with their wildcards at the same levels count once. A filter that adds to them and goes beyond is refused (0x97).
        match_steps: u32 = 4_096, "steps", "designed topics need some hundred, and so many take about 50 microseconds" in 64..=16_777_216;
        /// The same, for the filters of one session: beyond it nothing is added to the steps of the fleet.
        match_steps_per_session: u32 = 2_048, "steps", "a thousand filters that match the same topic; above three quarters of `match_steps` a session is granted more only up to a 128th of that, at least 16" in 16..=16_777_216;
        /// The same, for those that the sessions of one user were the first in the fleet to want, as far as this gateway knows: they count as long as anybody wants them. Clients without a user or a certificate are each for themselves.
        match_steps_per_user: u32 = 2_048, "steps", "as many as one session; above three quarters of `match_steps` a user is granted more only up to a 128th of that, at least 16" in 16..=16_777_216;
        /// Topics whose receivers a worker remembers, and as many more that are published elsewhere; of more, those that are not used again and again are looked up each time.
        remembered_topics: u32 = 32_768, "topics", "some 10 MB, and a look among a million filters takes 2 microseconds" in 1..=16_777_216;
        /// User properties of one publication or will; one with more is refused (0x97), at QoS 0 ignored.
        user_properties: u16 = 256, "properties", "an application has a handful, and every receiver pays for each" in 0..=65_535;
        /// Publications of QoS 1 and 2 that one client may have in flight towards us.
        receive_maximum: u16 = 1_024, "messages", "enough to fill a group commit over a long line" in 1..=65_535;
        /// Topic aliases that one client may use towards us; 0 for none.
        topic_alias_maximum: u16 = 32, "aliases", "a device publishes to few topics" in 0..=65_535;
        /// Topic aliases that we use towards one client that takes them; 0 for none.
        topic_alias_out: u16 = 16, "aliases", "the busiest topics of a client, and few enough to be looked through" in 0..=256;
        /// Whether a client may ask to be shown positions: then all it subscribes to is stored, also at QoS 0. Who may not is told `refused`.
        positions: bool = false, "true or false", "one subscription to `#` would put everything on the disk";
        /// Messages queued for one session; then `queue_when_full` says what becomes of more, and each that is dropped is counted.
        queue_messages: u32 = 100_000, "messages", "a day away at one per second" in 1..=100_000_000;
        /// Bytes of messages queued for one session: topics, properties and payloads; then as above.
        queue_bytes: u64 = 268_435_456, "bytes", "so many of 2.6 KiB, and a device that never comes back fills no disk" in 1_024..=1_099_511_627_776;
        /// What becomes of a message at QoS 1 or 2 that finds a queue full: the publisher is refused (0x97) and nobody gets it (`reject`), the oldest that was not sent makes room (`drop-oldest`), or this session does not get it (`drop-new`).
        queue_when_full: QueueWhenFull = QueueWhenFull::DropNew, "\"reject\", \"drop-oldest\" or \"drop-new\"", "one device that is away stops nobody, and what it was promised first it gets";
        /// What may wait for one slow reader; then QoS 0 is dropped, and QoS 1 and 2 wait in the queue.
        outbox_bytes: u32 = 4_194_304, "bytes", "a few of the largest packets" in 4_096..=1_073_741_824;
        /// Entries in one mailbox between workers; then forwards of QoS 0 are dropped, and all above four times as many.
        mailbox_messages: u32 = 16_384, "entries", "some milliseconds of full load" in 64..=1_048_576;
        /// Messages in one group commit.
        commit_messages: u32 = 2_048, "messages", "beyond it a larger commit saves nothing and delays the first" in 1..=65_536;
        /// Bytes in one group commit.
        commit_bytes: u32 = 1_048_576, "bytes", "some milliseconds of a slow disk" in 4_096..=268_435_455;
        /// Longest time a detached session is kept; longer wishes are cut, and the client is told.
        session_expiry_max_s: u32 = 2_592_000, "seconds", "30 days: a device in repair comes back to its messages" in 0..=4_294_967_295;
        /// Retained messages of the fleet; then new topics are not retained.
        retained_messages: u32 = 1_000_000, "messages", "one each for a million topics" in 0..=1_000_000_000;
        /// Publications per second of one client; 0 is no limit. A second's worth may come at once.
        publish_per_s: u32 = 0, "messages per second", "what is too fast depends on the device: see `[[class]]`";
        /// Bytes of PUBLISH packets per second of one client; 0 is no limit.
        publish_bytes_per_s: u32 = 0, "bytes per second", "what is too fast depends on the device: see `[[class]]`";
        /// Packets of any kind per second of one client; 0 is no limit.
        packets_per_s: u32 = 0, "packets per second", "floods share a worker fairly without it";
        /// What becomes of what is too fast: the connection is not read until it is slow enough (`delay`), or it is refused: 0x97 where it can be answered, else the connection ends with 0x96.
        on_excess: WhatIsTooFast = WhatIsTooFast::Delay, "\"delay\" or \"refuse\"", "nothing is lost, and the sender feels it";
        /// Clients of one user that are connected to one gateway; 0 is no limit. More are refused (0x97).
        connections_per_user: u32 = 0, "clients", "many devices may share a user";
        /// Connects of one client (its user or certificate, and its id) within `flapping_within_ms` after which it is refused (0x8A) for `flapping_ban_s`; 0 is never.
        flapping_connects: u32 = 0, "connects", "a test bench connects all day with one id";
        /// The time in which connects of one client id are counted.
        flapping_within_ms: u32 = 60_000, "milliseconds", "a device that is restarted by hand stays below" in 100..=3_600_000;
        /// How long a client id that came and went too often is refused.
        flapping_ban_s: u32 = 60, "seconds", "long enough to be felt, short enough to be forgotten" in 1..=86_400;
        /// Bans of the fleet that operators may set; more are refused.
        bans: u32 = 10_000, "bans", "a list that somebody can still read" in 0..=20_000;
        /// Policies, freezes and pending operations of maintenance that operators may set, of each so many; more are refused.
        maintenance_documents: u32 = 20_000, "documents", "several operations for each of thousands of gateways" in 1..=1_000_000;
        /// Entries of the audit that are kept; the oldest of more are folded behind a checkpoint, which stands for them.
        audit_entries: u32 = 100_000, "entries", "six thousand visits, in some 150 MB of the store" in 1_000..=10_000_000;
        /// Values of each label of metrics that operators choose, domains and campaigns, that are shown by name; those beyond are shown together, as `other`.
        metric_labels: u32 = 64, "labels", "zones, racks and a year of campaigns, and few enough for Prometheus" in 1..=10_000;
        /// Longest keep alive; MQTT 5.0 clients are told, MQTT 3.1.1 has no way to say it and keeps its own.
        keep_alive_max_s: u16 = 3_600, "seconds", "a vanished device is noticed within an hour and a half" in 5..=65_535;
    }
}

/// What becomes of a message that finds a queue full.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum QueueWhenFull {
    /// The publisher is refused, and nobody gets it.
    Reject,
    /// The oldest that has not been sent makes room.
    DropOldest,
    /// The session does not get it.
    DropNew,
}

impl From<QueueWhenFull> for WhenFull {
    fn from(written: QueueWhenFull) -> Self {
        match written {
            QueueWhenFull::Reject => Self::Reject,
            QueueWhenFull::DropOldest => Self::DropOldest,
            QueueWhenFull::DropNew => Self::DropNew,
        }
    }
}

/// What becomes of what is too fast.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WhatIsTooFast {
    /// Nothing more is read from the connection until it is slow enough.
    Delay,
    /// It is refused.
    Refuse,
}

impl From<WhatIsTooFast> for OnExcess {
    fn from(written: WhatIsTooFast) -> Self {
        match written {
            WhatIsTooFast::Delay => Self::Delay,
            WhatIsTooFast::Refuse => Self::Refuse,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_becomes_of_a_full_queue_is_shown_by_the_word_that_it_is_configured_by() {
        for word in ["reject", "drop-oldest", "drop-new"] {
            let written: QueueWhenFull = serde_json::from_value(word.into()).unwrap();
            assert_eq!(WhenFull::from(written).as_str(), word);
        }
    }
}
