//! Another policy, or other settings, while clients are here: their connections are looked at again some at a time, so that
//! nobody waits for all of them. Whoever speaks before its turn has come is looked at first.

use std::sync::Arc;
use std::time::Duration;

use access::Policy;

use crate::config::{DeniedPublish, Settings};
use crate::hub::{ConnId, Hub, HubConfig};

/// Connections that are looked at again in one turn.
const SLICE: usize = 256;

/// How far the look at all connections is.
#[derive(Debug)]
pub(in crate::hub) struct Review {
    /// Which look it is: connections that have another number have not had it.
    pub(in crate::hub) number: u8,
    /// The first place that has not had its turn.
    next: usize,
}

impl Default for Review {
    fn default() -> Self {
        Self { number: 0, next: usize::MAX }
    }
}

impl HubConfig {
    /// Takes over what may change while a gateway runs.
    pub fn apply(&mut self, settings: &Settings) {
        let limits = &settings.limits;
        self.outbox_bytes = limits.outbox_bytes as usize;
        self.topic_alias_out = limits.topic_alias_out;
        self.check_payload_format = settings.mqtt.check_payload_format;
        self.response_topic = settings.mqtt.response_topic.as_deref().map(Arc::from);
        self.user_properties = usize::from(limits.user_properties);
        self.match_steps = limits.match_steps as usize;
        self.match_steps_per_session = limits.match_steps_per_session as usize;
        self.match_steps_per_user = limits.match_steps_per_user as usize;
        self.remembered_topics = limits.remembered_topics as usize;
        self.classes = Arc::clone(&settings.classes);
        self.retained_messages = limits.retained_messages as usize;
        self.session_expiry_max_s = limits.session_expiry_max_s;
        self.packet_timeout = Duration::from_millis(u64::from(limits.packet_timeout_ms));
        self.keep_alive_max_s = limits.keep_alive_max_s;
        self.presence = settings.presence;
        self.flush = settings.drain.flush;
        self.takeover_wait = settings.drain.takeover_wait;
        self.stand_ins = Arc::clone(&settings.stand_ins);
        self.sessions_change_hands = settings.sessions_change_hands;
        self.close_denied = settings.denied_publish_3x == DeniedPublish::Close;
    }
}

impl Hub {
    /// Another policy holds from now on.
    pub fn set_policy(&mut self, policy: Arc<Policy>) {
        self.guards.policy = policy;
        self.begin_review();
    }

    /// Other settings hold from now on.
    pub fn set_settings(&mut self, settings: &Settings) {
        self.config.apply(settings);
        self.cache.set_limit(self.config.remembered_topics);
        self.begin_review();
    }

    fn begin_review(&mut self) {
        self.guards.review = Review { number: self.guards.review.number.wrapping_add(1), next: 0 };
    }

    /// Whether connections are still to be looked at again.
    pub fn is_reviewing(&self) -> bool {
        self.guards.review.next < self.connections.len()
    }

    /// Whether a connection is to be looked at again before what it says is handled.
    pub(crate) fn is_due(&self, conn: ConnId) -> bool {
        self.is_reviewing()
            && self.connection(conn).is_some_and(|it| it.review != self.guards.review.number)
    }

    /// The connections that are to be looked at again in this turn.
    pub fn next_to_review(&mut self) -> Vec<ConnId> {
        let from = self.guards.review.next;
        self.guards.review.next = from.saturating_add(SLICE);
        let places = self.connections.iter().enumerate().skip(from).take(SLICE);
        places
            .filter_map(|(index, place)| {
                let life = place.as_ref()?.life;
                Some(ConnId { index: u32::try_from(index).ok()?, life })
            })
            .collect()
    }

    /// Gives a connection the limits that it has now, unless it was told others with its CONNACK: those are what it goes by
    /// as long as it is here.
    pub(in crate::hub) fn renew_limits(&mut self, conn: ConnId) {
        let (classes, number) = (Arc::clone(&self.config.classes), self.guards.review.number);
        let Some(connection) = self.connection_mut(conn) else { return };
        connection.review = number;
        let limits = classes.limits_of(&connection.identity());
        let told = &connection.limits;
        if limits.receive_maximum == told.receive_maximum
            && limits.packet_bytes == told.packet_bytes
        {
            connection.limits = Arc::clone(limits);
        }
    }
}
