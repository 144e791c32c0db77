//! What may be said to a connection: in its version, within its packet size, with reasons in words where it wants them; and
//! the last word.

use protocol::mqtt::codec;
use protocol::mqtt::{ConnAck, Disconnect, ReasonCode, Version};
use protocol::{QoS, Violation};

use super::connection::{Connection, State};
use super::positions::resume::Resume;
use super::positions::seal::{PROPERTY, VERDICT};
use super::{Close, ConnId, ConnectRequest, Hub, Outlet, Refusal, Reply};
use crate::metrics::WhyRefused;

/// How a connection may be spoken to.
#[derive(Debug, Clone, Copy)]
pub struct Voice {
    /// Its version.
    pub version: Version,
    max_packet_bytes: usize,
    explains: bool,
}

impl Voice {
    /// Words for an acknowledgement that says no, if the client wants any `[MQTT5-3.1.2-29]`.
    pub fn words(self, reason: ReasonCode) -> Option<&'static str> {
        reason.words().filter(|_| self.explains)
    }

    /// Words of our own, if the client wants any.
    pub fn own_words(self, words: &str) -> Option<&str> {
        Some(words).filter(|_| self.explains)
    }

    /// Appends a packet. One that is larger than the client takes goes without its words, or not at all
    /// `[MQTT5-3.1.2-24]`. Says whether it went.
    pub fn say(
        self,
        out: &mut Vec<u8>,
        words: Option<&str>,
        write: impl Fn(&mut Vec<u8>, Option<&str>),
    ) -> bool {
        let from = out.len();
        write(out, words);
        if out.len() - from <= self.max_packet_bytes {
            return true;
        }
        out.truncate(from);
        words.is_some() && self.say(out, None, write)
    }
}

impl Connection {
    /// How it may be spoken to.
    pub(super) const fn voice(&self) -> Voice {
        Voice {
            version: self.version,
            max_packet_bytes: self.max_packet_bytes as usize,
            explains: self.explains,
        }
    }
}

/// A CONNACK with everything we have to say stays below this with any client id of a sane length, in bytes.
const ROOM_FOR_CONNACK: u32 = 256;

impl Hub {
    /// How to say this to a connection whose CONNECT was answered. An answered publication leaves the client's window
    /// with it `[MQTT5-3.3.4-7]`.
    pub fn voice_for(&mut self, conn: ConnId, reply: &Reply) -> Option<Voice> {
        let connection = self.connection_mut(conn)?;
        if matches!(connection.state, State::Attaching | State::Over) {
            return None;
        }
        let refused = |refusal: &Refusal| refusal.qos == QoS::AtLeastOnce;
        if matches!(reply, Reply::PubAck(..)) || matches!(reply, Reply::Refusal(it) if refused(it))
        {
            connection.unacknowledged = connection.unacknowledged.saturating_sub(1);
        }
        Some(connection.voice())
    }

    /// Why a CONNECT that the front accepted cannot be served, if so.
    pub(super) fn unfit(&self, request: &ConnectRequest) -> Option<ReasonCode> {
        if request.bad_will_payload && self.config.check_payload_format {
            return Some(ReasonCode::PayloadFormatInvalid);
        }
        if request.max_packet_bytes > ROOM_FOR_CONNACK.saturating_add(request.client_bytes()) {
            return None;
        }
        let mut whole = Vec::new();
        codec::connack(&mut whole, request.version, &self.connack(request, false, None));
        // What we grant must be told; a client that cannot take it cannot be served [MQTT5-3.1.2-24].
        (whole.len() > request.max_packet_bytes as usize).then_some(ReasonCode::PacketTooLarge)
    }

    /// Answers a CONNECT.
    pub(super) fn write_connack(
        &self,
        conn: ConnId,
        request: &ConnectRequest,
        (resumed, resume): (bool, Option<&Resume>),
        out: &mut dyn Outlet,
    ) {
        let Some(voice) = self.connection(conn).map(Connection::voice) else { return };
        let Some(outbox) = out.outbox(conn) else { return };
        let prefix = self.config.response_topic.as_deref().filter(|_| request.wants_response_topic);
        let response_topic = prefix.map(|prefix| format!("{prefix}{}", request.client.as_str()));
        let positions = resume.map_or_else(Vec::new, |resume| {
            resume.verdict.count(&self.metrics);
            let earliest = resume.earliest.as_ref().map(|it| (PROPERTY, it.as_str()));
            [(VERDICT, resume.verdict.as_str())].into_iter().chain(earliest).collect()
        });
        let say = |outbox: &mut Vec<u8>, user: &[_]| {
            voice.say(outbox, response_topic.as_deref(), |outbox, response_topic| {
                let ack = self.connack(request, resumed, response_topic);
                let ack = ConnAck { user: user.to_vec(), ..ack };
                codec::connack(outbox, voice.version, &ack);
            })
        };
        let _ = say(outbox, &positions) || say(outbox, &[]);
        self.metrics.packets_sent.add(1);
    }

    fn connack<'a>(
        &self,
        request: &'a ConnectRequest,
        resumed: bool,
        response_information: Option<&'a str>,
    ) -> ConnAck<'a> {
        if request.version == Version::V31 {
            // 3.1 has no session present flag.
            return ConnAck::of(false, ReasonCode::Success);
        }
        let keep_alive = self.keep_alive(request.version, request.keep_alive_s);
        let (config, limits) = (&self.config, self.config.classes.limits_of(&request.identity));
        let authenticated = request.authenticated.as_deref();
        ConnAck {
            session_expiry_s: (request.expiry_s == config.session_expiry_max_s)
                .then_some(request.expiry_s),
            receive_maximum: Some(limits.receive_maximum),
            maximum_packet_bytes: Some(limits.packet_bytes),
            assigned_client_id: request.assigned.then(|| request.client.as_str()),
            topic_alias_maximum: Some(config.topic_alias_maximum),
            server_keep_alive_s: (keep_alive != request.keep_alive_s).then_some(keep_alive),
            response_information,
            // [MQTT5-4.12.0-5]
            authentication_method: authenticated.and_then(|it| it.method.as_deref()),
            authentication_data: authenticated.and_then(|it| it.data.as_deref()),
            ..ConnAck::of(resumed, ReasonCode::Success)
        }
    }

    /// Counts and logs a broken statement, under the id that the connection's standard gives it.
    pub(super) fn count_violation(&self, conn: ConnId, violation: Violation) -> Violation {
        let version = self.connection(conn).map_or(Version::V5, |c| c.version);
        let statement = violation.statement_in(version);
        self.metrics.violations.count(statement);
        tracing::debug!(violation = statement, "a client broke a rule: {}", violation.what);
        Violation { statement, ..violation }
    }

    /// Ends a connection, with the word its version has for it.
    pub(super) fn end_connection(&mut self, conn: ConnId, how: Close, out: &mut dyn Outlet) {
        let Some(connection) = self.connection_mut(conn) else { return };
        let before = std::mem::replace(&mut connection.state, State::Over);
        let voice = connection.voice();
        let word = LastWord::of(how, &before);
        if matches!(before, State::Attaching) {
            let why = word.as_ref().map_or(WhyRefused::Unanswered, LastWord::why);
            self.metrics.refused.count(why);
        }
        if let (Some(outbox), Some(word)) = (out.outbox(conn), word) {
            self.say_last(conn, voice, word, outbox);
        }
        out.close(conn, how);
    }

    fn say_last(&self, conn: ConnId, voice: Voice, word: LastWord, outbox: &mut Vec<u8>) {
        let version = voice.version;
        let to = match word {
            LastWord::Refusal(reason) => {
                let reason = reason.in_connack();
                voice.say(outbox, reason.words(), |outbox, reason_string| {
                    let ack = ConnAck { reason_string, ..ConnAck::of(false, reason) };
                    codec::connack(outbox, version, &ack);
                });
                return;
            }
            // Before 5.0 only clients send DISCONNECT: the close says it all.
            LastWord::Disconnect(..) | LastWord::Redirect(_) if version != Version::V5 => return,
            LastWord::Disconnect(reason, words) => {
                let disconnect = Disconnect::of(reason.in_disconnect());
                voice.say(outbox, words.as_deref(), |outbox, reason_string| {
                    codec::disconnect(outbox, version, &Disconnect { reason_string, ..disconnect });
                });
                return;
            }
            LastWord::Redirect(to) => to,
        };
        let Some(connection) = self.connection(conn) else { return };
        let (me, client) = (&self.config.gateway, &connection.client);
        let reference = self.tables.server_reference(me, client, connection.secure, to);
        let disconnect = Disconnect::of(ReasonCode::UseAnotherServer);
        voice.say(outbox, reference.as_deref(), |outbox, server_reference| {
            codec::disconnect(outbox, version, &Disconnect { server_reference, ..disconnect });
        });
    }
}

/// The last packet of a connection.
enum LastWord {
    Refusal(ReasonCode),
    Disconnect(ReasonCode, Option<String>),
    Redirect(Option<u8>),
}

impl LastWord {
    /// What is counted of somebody who was not let in.
    const fn why(&self) -> WhyRefused {
        match self {
            Self::Refusal(reason) => WhyRefused::of(reason.in_connack()),
            Self::Disconnect(..) | Self::Redirect(_) => WhyRefused::Unanswered,
        }
    }

    /// There is no DISCONNECT before CONNACK `[MQTT5-3.14.0-1]`, and one last word.
    fn of(how: Close, before: &State) -> Option<Self> {
        let refused = match before {
            State::Attaching => true,
            State::Attached(_) | State::Leaving => false,
            State::Over => return None,
        };
        Some(match how {
            Close::Quiet => return None,
            Close::Refuse(reason) => Self::Refusal(reason),
            Close::Reason(reason) if refused => Self::Refusal(reason),
            Close::Broke(violation) if refused => Self::Refusal(violation.reason),
            Close::Redirect(_) if refused => Self::Refusal(ReasonCode::UseAnotherServer),
            Close::Reason(reason) => Self::Disconnect(reason, reason.words().map(str::to_owned)),
            Close::Broke(violation) => {
                Self::Disconnect(violation.reason, Some(violation.to_string()))
            }
            Close::Redirect(to) => Self::Redirect(to),
        })
    }
}
