//! A PUBLISH from a client: checked, routed, stored for whom it must be, and only then acknowledged.

use std::rc::Rc;
use std::time::Duration;

use fanout::{Missing, Slot};
use protocol::mqtt::{Publish, ReasonCode, Version};
use protocol::session::SessionRecord;
use protocol::{PacketId, Publication, QoS, SessionNo, Violation, Wall};
use shadow::LifecycleEvent;
use store::{Append, Check, Expect, Put, Space};

use crate::hub::session::live::{Live, key};
use crate::hub::traffic::dispatch::Dispatch;
use crate::hub::traffic::drops::concerns;
use crate::hub::traffic::passing::Passing;
use crate::hub::traffic::refused::Refused;
use crate::hub::traffic::route_cache::Route;
use crate::hub::{ConnId, Fx, Hub, Output, Record, Reply, Turn};
use crate::tail::fence_check;

/// The statement by which a client is cut off whose version has no word for a refusal, and what is said of it.
pub(super) const REFUSED: (&str, &str) = ("MQTT3-3.3.5-2", "publication refused");

/// Who publishes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Publisher {
    /// A client's connection.
    Connection(ConnId),
    /// Somebody who waits for the answer, by another way than a connection.
    Poster,
    /// The fleet itself, which waits for the answer.
    Fleet,
    /// A session that may be away, or this gateway itself: nobody could send it again.
    Will,
}

impl Hub {
    pub(in crate::hub) fn handle_publish(
        &mut self,
        (conn, slot): (ConnId, Slot),
        publish: &Publish<'_>,
        raw: (&[u8], Version),
        cx: &mut Turn<'_>,
    ) -> Result<(), Violation> {
        if self.is_wordless(conn) {
            return Ok(());
        }
        let topic = self.resolve_topic(conn, publish)?;
        let topic = topic.as_deref().unwrap_or(publish.topic);
        self.metrics.count_publication(publish.qos.bits());
        if let Some(id) = publish.packet_id {
            let Some(live) = self.sessions.get(slot as usize) else { return Ok(()) };
            let opening = self.shadows.opening(conn);
            let is_open = live.session.is_open_inbound(id) || opening.contains(&id);
            if publish.qos == QoS::ExactlyOnce && is_open {
                // A repeat: acknowledged again, not dispatched again [MQTT5-4.3.3-10].
                cx.fx.then(Output::Reply(conn, Reply::PubRec(id, ReasonCode::Success)));
                return Ok(());
            }
            let open = live.session.inbound().len() + opening.len();
            self.count_open(conn, publish.qos, open)?;
        }
        let claimed = publish.properties.payload_is_utf8 && self.config.check_payload_format;
        if claimed && std::str::from_utf8(publish.payload).is_err() {
            return self.refuse_payload(conn, publish, cx.fx);
        }
        if self.refuse_too_fast(conn, publish, cx.fx)? {
            return Ok(());
        }
        if let Err(denial) = self.check_publish(conn, topic, publish, cx.now) {
            return self.deny_publish(conn, publish, &denial, cx.fx);
        }
        if topic.starts_with('$') && !self.is_on_trial(conn, topic) {
            return self.handle_reserved((conn, slot), topic, publish, cx.now, cx.fx);
        }
        // What is remembered of an exchange at QoS 2 is stored first where it outlives the connection.
        let remembers = publish.qos == QoS::ExactlyOnce && self.is_durable(slot);
        let passing = Passing::of(raw.0, raw.1, publish).filter(|_| !remembers);
        let accepted = self.accept((conn, slot), (topic, passing), publish, cx);
        let fx = &mut *cx.fx;
        let Some(id) = publish.packet_id else { return Ok(()) };
        match (publish.qos, accepted) {
            (QoS::AtMostOnce, _) => {}
            (QoS::AtLeastOnce, Ok(reason)) => {
                fx.then(Output::Reply(conn, Reply::PubAck(id, reason)));
            }
            (QoS::ExactlyOnce, Ok(reason)) => {
                // The id must survive with the message, or a repeat would be dispatched again [MQTT5-4.3.3-10].
                if let Some(live) = self.sessions.get_mut(slot as usize) {
                    live.session.open_inbound(id);
                }
                self.store_session(slot, fx);
                fx.then(Output::Reply(conn, Reply::PubRec(id, reason)));
            }
            (_, Err(refused)) if self.gets_time((conn, slot), &refused, cx.now) => {}
            (qos, Err(refused)) => return self.refuse_publish(conn, (qos, id), refused, fx),
        }
        Ok(())
    }

    fn is_durable(&self, slot: Slot) -> bool {
        self.sessions.get(slot as usize).is_some_and(Live::durable)
    }

    /// Counts a publication that wants an answer; the client must stay within what we granted. Before 5.0 it was granted
    /// nothing, so only what we have to remember counts. `open` exchanges at QoS 2 are not released yet.
    fn count_open(&mut self, conn: ConnId, qos: QoS, open: usize) -> Result<(), Violation> {
        let Some(connection) = self.connection_mut(conn) else { return Ok(()) };
        let granted = usize::from(connection.limits.receive_maximum);
        let told = connection.version == Version::V5;
        let waiting = if told { usize::from(connection.unacknowledged) } else { 0 };
        let counts = told || qos == QoS::ExactlyOnce;
        if counts && open + waiting >= granted {
            return Err(Violation::with(
                ReasonCode::ReceiveMaximumExceeded,
                "MQTT5-3.3.4-7",
                "more publications open than the receive maximum",
            ));
        }
        if qos == QoS::AtLeastOnce {
            connection.unacknowledged = connection.unacknowledged.saturating_add(1);
        }
        Ok(())
    }

    /// Says no with the right packet in 5.0; 3.1.1 has no word for it, so the connection ends unacknowledged.
    pub(in crate::hub) fn refuse_publish(
        &self,
        conn: ConnId,
        which: (QoS, PacketId),
        refused: Refused,
        fx: &mut Fx,
    ) -> Result<(), Violation> {
        if self.connection(conn).is_none_or(|c| c.version != Version::V5) {
            return Err(Violation::with(refused.reason(), REFUSED.0, REFUSED.1));
        }
        fx.then(Output::Reply(conn, refused.reply(which)));
        Ok(())
    }

    /// A payload that is not the UTF-8 it is said to be; at QoS 0 only a DISCONNECT can say so `[MQTT5-3.3.2.3.2]`.
    fn refuse_payload(
        &self,
        conn: ConnId,
        publish: &Publish<'_>,
        fx: &mut Fx,
    ) -> Result<(), Violation> {
        let refused = Refused::Payload;
        match publish.packet_id {
            Some(id) => self.refuse_publish(conn, (publish.qos, id), refused, fx),
            None => Err(Violation::with(refused.reason(), "MQTT5-3.3.2.3.2", refused.why())),
        }
    }

    /// Routes a publication and adds what must be stored and who gets it to the effects.
    fn accept(
        &mut self,
        (conn, slot): (ConnId, Slot),
        (topic, passing): (&str, Option<Passing<'_>>),
        publish: &Publish<'_>,
        cx: &mut Turn<'_>,
    ) -> Result<ReasonCode, Refused> {
        if self.connection(conn).is_some_and(|c| !c.takes_topic(topic)) {
            self.metrics.limited_topic.add(1);
            return Err(Refused::Topic);
        }
        let properties = &publish.properties.end_to_end;
        if publish.properties.user_count > self.config.user_properties {
            self.metrics.refused_user_properties.add(1);
            return Err(Refused::UserProperties);
        }
        let route = self.cache.get(topic, &self.table, &self.tables);
        if let Some(reason) = passing.and_then(|it| self.pass((&it, conn), &route, cx)) {
            return Ok(reason);
        }
        let mut publication = if publish.qos == QoS::AtMostOnce && !publish.retain {
            // Whoever gets it gets it now, so nobody keeps it.
            Publication::passing(&mut self.bodies, topic, properties, publish.payload)
        } else {
            Publication::new(topic, properties, publish.payload, publish.qos, publish.retain)
        };
        publication.expires_at = publish
            .properties
            .message_expiry_s
            .map(|s| cx.now.wall.after(Duration::from_secs(u64::from(s))));
        let no = self.sessions.get(slot as usize).map(|live| live.no);
        let by = (Publisher::Connection(conn), no);
        self.take_by(route, publication, (by, cx.now.wall), cx.fx)
    }

    /// Takes a publication, from a client's connection, or on behalf of its session, which may be away. Answers with the code
    /// of success, which says so if nobody in the fleet has a subscription that matches `[MQTT5-3.4.2-1]`.
    pub(super) fn take(
        &mut self,
        publication: Publication,
        by: (Publisher, Option<SessionNo>),
        (now, fx): (Wall, &mut Fx),
    ) -> Result<ReasonCode, Refused> {
        let route = self.cache.get(publication.topic(), &self.table, &self.tables);
        self.take_by(route, publication, (by, now), fx)
    }

    /// As [`Self::take`], where it is known who wants it.
    fn take_by(
        &mut self,
        route: Rc<Route>,
        publication: Publication,
        ((by, no), now): ((Publisher, Option<SessionNo>), Wall),
        fx: &mut Fx,
    ) -> Result<ReasonCode, Refused> {
        let topic = publication.topic();
        let publisher = match by {
            Publisher::Connection(conn) => Some(conn),
            Publisher::Poster | Publisher::Fleet | Publisher::Will => None,
        };
        let stays = publication.qos != QoS::AtMostOnce;
        let missing: &[Missing] = if stays { &route.fleet.missing } else { &[] };
        // A client without a word for it would be cut off by its own full queue before it comes to what waits there.
        let wordless = |conn| self.connection(conn).is_some_and(|c| c.version != Version::V5);
        let spared = no.filter(|_| publisher.is_some_and(wordless));
        let rejects = |missing: &Missing| {
            missing.full.rejects && Some(missing.session) != spared && concerns(missing, no)
        };
        // Nobody could send a will again, and what the fleet says one full queue must not keep from all others.
        let is_rejected = match by {
            Publisher::Connection(_) | Publisher::Poster => missing.iter().any(rejects),
            Publisher::Fleet | Publisher::Will => false,
        };
        if is_rejected {
            self.metrics.refused_queue.add(1);
            return Err(Refused::FullQueue);
        }
        if publication.retain {
            let full = self.tables.retained().is_full_for(topic, self.config.retained_messages);
            if !full || publication.payload().is_empty() {
                let fence = publisher.and_then(|conn| self.fence_of(conn));
                fence.into_iter().for_each(|fence| fx.first(Record::Check(fence)));
                fx.first(Record::Put(put_retained(&publication, now)));
            } else if publication.qos != QoS::AtMostOnce {
                return Err(Refused::RetainedFull);
            } else {
                self.metrics.retained_not_kept.add(1);
            }
        }
        let (dispatch, nobody) = self.spread(publication, route, (publisher, no), fx);
        if let Some(dispatch) = dispatch {
            fx.then(Output::Dispatch(dispatch));
        }
        Ok(if nobody { ReasonCode::NoMatchingSubscribers } else { ReasonCode::Success })
    }

    /// That the session of a publisher is still ours. What is retained stays for as long as nobody says anything newer: what lay
    /// in a socket while its client went elsewhere must not take the place of what it has said there (promise M7).
    fn fence_of(&self, conn: ConnId) -> Option<Check> {
        let (_, slot) = self.attached(conn)?;
        let live = self.sessions.get(slot as usize)?;
        let expect = Expect::Prefix(SessionRecord::fence(live.epoch));
        Some(Check { space: Space::Session, key: key(&live.client), expect })
    }

    /// Takes what the fleet publishes itself, at QoS 1 and without RETAIN: adds what must be stored, and answers who gets it
    /// beside that.
    pub(in crate::hub) fn address(
        &mut self,
        publication: Publication,
        fx: &mut Fx,
    ) -> Option<Dispatch> {
        let route = self.cache.get(publication.topic(), &self.table, &self.tables);
        self.spread(publication, route, (None, None), fx).0
    }

    /// Adds what must be stored of a publication; answers who gets it beside that, and whether nobody gets anything.
    #[inline]
    fn spread(
        &mut self,
        publication: Publication,
        route: Rc<Route>,
        (publisher, no): (Option<ConnId>, Option<SessionNo>),
        fx: &mut Fx,
    ) -> (Option<Dispatch>, bool) {
        if publication.qos != QoS::AtMostOnce && !route.fleet.missing.is_empty() {
            self.note_missing(&route.fleet.missing, no);
        }
        self.charge_groups(route.fleet.groups.len());
        let plan = self.plan(&route, publication.qos, no);
        let stored = !plan.refs.is_empty();
        if plan.given {
            fx.first(Record::Check(fence_check(self.name.clone(), route.fleet.fence)));
        }
        if stored {
            fx.first(Record::Append(Append { body: publication.clone(), refs: plan.refs }));
        }
        let here = !route.local.sessions.is_empty();
        let (workers, peers) = (route.fleet.workers, route.fleet.peers);
        let level = publication.qos;
        let elsewhere = workers.of(level) != 0 || peers.of(level) != 0 || !plan.shared.is_empty();
        let nobody = !(stored || here || elsewhere) && route.fleet.missing.is_empty();
        let dispatch = (here || elsewhere).then(|| {
            let shared = plan.shared;
            Dispatch { publication, route, publisher, shared }
        });
        (dispatch, nobody)
    }

    /// Publishes a will; No Local spares the session that it is of [MQTT5-3.8.3-3]. It is nobody's packet, so a refusal is
    /// only counted.
    pub(in crate::hub) fn publish_will(
        &mut self,
        publication: Publication,
        of: SessionNo,
        (now, fx): (Wall, &mut Fx),
    ) {
        self.metrics.wills_published.add(1);
        let by = (Publisher::Will, Some(of));
        if let Err(refused) = self.take(publication, by, (now, fx)) {
            let reason_code = refused.reason().code();
            tracing::warn!(reason_code, "a will could not be published: {}", refused.why());
        }
    }

    /// Whether anybody in the fleet wants to hear of this.
    pub(in crate::hub) fn is_wanted(&mut self, event: &LifecycleEvent) -> bool {
        if !self.may_tell_events() {
            return false;
        }
        let topic = event.topic();
        topic.is_some_and(|it| self.cache.look_up(&it, &self.table, &self.tables).is_wanted())
    }

    /// Whether anybody in the fleet may want to hear of any event.
    pub(in crate::hub) fn may_tell_events(&mut self) -> bool {
        self.cache.may_want_events(&self.table, &self.tables)
    }

    /// Publishes what happened to a client, if anybody in the fleet wants to hear of it.
    pub(in crate::hub) fn publish_event(&mut self, event: &LifecycleEvent, fx: &mut Fx) {
        if !self.may_tell_events() {
            return;
        }
        let Some(topic) = event.topic() else { return };
        let route = self.cache.look_up(&topic, &self.table, &self.tables);
        if !route.is_wanted() {
            return;
        }
        self.metrics.events_published.add(1);
        let (level, payload) = (QoS::AtLeastOnce, event.payload());
        let event = Publication::new(&topic, &[], payload.as_bytes(), level, false);
        // Nothing of it is retained.
        let by = ((Publisher::Will, None), Wall(0));
        if let Err(refused) = self.take_by(route, event, by, fx) {
            let reason_code = refused.reason().code();
            tracing::warn!(reason_code, "an event could not be published: {}", refused.why());
        }
    }

    /// The topic that an alias stands for; `None` if the packet names its topic `[MQTT5-3.3.2-12]`.
    fn resolve_topic(
        &mut self,
        conn: ConnId,
        publish: &Publish<'_>,
    ) -> Result<Option<Box<str>>, Violation> {
        let Some(alias) = publish.properties.topic_alias else { return Ok(None) };
        let max = self.config.topic_alias_maximum;
        let invalid = |what| Violation::with(ReasonCode::TopicAliasInvalid, "MQTT5-3.3.2-9", what);
        if alias > max {
            return Err(invalid("topic alias above the maximum"));
        }
        let Some(connection) = self.connection_mut(conn) else { return Ok(None) };
        let place = usize::from(alias);
        if connection.aliases.len() <= place {
            connection.aliases.resize(place + 1, None);
        }
        let Some(known) = connection.aliases.get_mut(place) else { return Ok(None) };
        if publish.topic.is_empty() {
            return match known {
                Some(topic) => Ok(Some(topic.clone())),
                None => {
                    Err(Violation::protocol("MQTT5-3.3.2-7", "topic alias used before it is set"))
                }
            };
        }
        *known = Some(publish.topic.into());
        Ok(None)
    }
}

/// The document of a retained message; an empty payload deletes it `[MQTT5-3.3.1-6]`.
fn put_retained(publication: &Publication, now: Wall) -> Put {
    let value = (!publication.payload().is_empty()).then(|| publication.encode_since(now));
    Put {
        space: Space::Retained,
        key: bytes::Bytes::copy_from_slice(publication.topic().as_bytes()),
        value,
        expect: Expect::Any,
        announce: true,
    }
}
