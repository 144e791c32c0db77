//! What clients publish to topics that begin with a dollar.

use fanout::Slot;
use protocol::mqtt::{Publish, ReasonCode};
use protocol::session::SessionRecord;
use protocol::{Now, PacketId, Publication, QoS, Violation};
use shadow::{Answer, Ask, OwnedKey, PublishAim, Refusal, Rejection, ReservedTopic, publish_aim};
use store::{Check, Expect, Space};

use super::scribing::Awaited;
use super::{Asker, ShadowAsk, ShadowMail};
use crate::hub::connection::State;
use crate::hub::session::live::key;
use crate::hub::traffic::refused::Refused;
use crate::hub::{ConnId, Fx, Hub, Output, Reply, Turn};

impl Hub {
    /// Takes what a client publishes to a topic that begins with a dollar: a request about a shadow, or nothing that anybody
    /// may publish `[MQTT5-4.7.2-1]`. A request is acknowledged once it is answered, and not known by its packet id before:
    /// a session that is read again after a crash must not take for done what nobody was asked. What was done and is not
    /// acknowledged when its connection ends is done again.
    pub(in crate::hub) fn handle_reserved(
        &mut self,
        (conn, slot): (ConnId, Slot),
        topic: &str,
        publish: &Publish<'_>,
        now: Now,
        fx: &mut Fx,
    ) -> Result<(), Violation> {
        let asked = self.ask_about_shadow(conn, topic, publish, now, fx);
        let Some(id) = publish.packet_id else { return Ok(()) };
        let no = match asked {
            Ok(no) => no,
            Err(refused) => return self.refuse_publish(conn, (publish.qos, id), refused, fx),
        };
        let reply = match publish.qos {
            QoS::AtMostOnce | QoS::AtLeastOnce => Reply::PubAck(id, ReasonCode::Success),
            QoS::ExactlyOnce => Reply::PubRec(id, ReasonCode::Success),
        };
        let is_twice = publish.qos == QoS::ExactlyOnce;
        let Some(no) = no else {
            if is_twice {
                self.open_exchange((slot, id), fx);
            }
            fx.then(Output::Reply(conn, reply));
            return Ok(());
        };
        if is_twice {
            self.shadows.opening.entry(conn).or_default().push(id);
        }
        fx.then(Output::Awaited(Box::new(Awaited { no, conn, reply })));
        Ok(())
    }

    /// What must be stored before a request that is answered is acknowledged: that a repeat of its packet is one.
    pub(crate) fn records_before(&mut self, awaited: &Awaited) -> Fx {
        let mut fx = Fx::new();
        if let Reply::PubRec(id, _) = awaited.reply
            && self.shadows.take_opening(awaited.conn, id)
            && let Some(State::Attached(slot)) = self.connection(awaited.conn).map(|it| &it.state)
        {
            self.open_exchange((*slot, id), &mut fx);
        }
        fx
    }

    fn open_exchange(&mut self, (slot, id): (Slot, PacketId), fx: &mut Fx) {
        if let Some(live) = self.sessions.get_mut(slot as usize) {
            live.session.open_inbound(id);
        }
        self.store_session(slot, fx);
    }

    /// Hands a request on; answers its number, or none if it is answered already.
    fn ask_about_shadow(
        &mut self,
        conn: ConnId,
        topic: &str,
        publish: &Publish<'_>,
        now: Now,
        fx: &mut Fx,
    ) -> Result<Option<u64>, Refused> {
        let Ok(PublishAim::Request(request)) = publish_aim(topic, publish.retain) else {
            self.metrics.refused_reserved.add(1);
            return Err(Refused::Reserved);
        };
        let rules = self.config.shadow;
        let ask = match Ask::parse(request.operation, publish.payload, &rules.limits) {
            Ok(ask) => ask,
            Err(rejection) => {
                self.reject_request(request, &rejection, now, fx);
                return Ok(None);
            }
        };
        let Some(no) = self.shadows.begin(conn, request.thing, &rules.rates, now) else {
            let rejection = ask.reject(Refusal::TooManyRequests);
            self.reject_request(request, &rejection, now, fx);
            return Ok(None);
        };
        let key = OwnedKey::from(request.key());
        let asker = Asker::Worker(self.config.worker, no);
        let latest = self.is_latest(conn);
        fx.then(Output::AskShadow(Box::new(ShadowAsk { key, ask, asker, latest })));
        Ok(Some(no))
    }

    /// That the client of a connection has not connected again since, anywhere. It may have left.
    fn is_latest(&self, conn: ConnId) -> Option<Check> {
        let (_, slot) = self.attached(conn)?;
        let live = self.sessions.get(slot as usize)?;
        let expect = Expect::AtMost(SessionRecord::fence(live.epoch));
        Some(Check { space: Space::Session, key: key(&live.client), expect })
    }

    /// Answers a request that comes no further than here.
    fn reject_request(
        &mut self,
        request: ReservedTopic<'_>,
        rejection: &Rejection,
        now: Now,
        fx: &mut Fx,
    ) {
        self.count_answer(request.operation, Err(rejection));
        let topic = request.with_answer(Answer::Rejected).to_string();
        let message = rejection.message(now.wall);
        let publication =
            Publication::new(&topic, &[], message.as_bytes(), QoS::AtLeastOnce, false);
        if let Some(dispatch) = self.address(publication, fx) {
            fx.then(Output::Dispatch(dispatch));
        }
    }

    /// A request leaves the connection that it came on.
    pub(crate) fn pass_shadow_ask(&mut self, asked: ShadowAsk, cx: &mut Turn<'_>) {
        let worker = super::worker_of_thing(asked.key.key().thing, self.config.workers);
        if worker == self.config.worker {
            self.handle_shadow_ask(asked, cx);
        } else {
            cx.out.ask(crate::hub::Ask::Shadow(worker, ShadowMail::Ask(Box::new(asked))));
        }
    }

    /// A letter about shadows.
    pub fn handle_shadow_mail(&mut self, mail: ShadowMail, cx: &mut Turn<'_>) {
        match mail {
            ShadowMail::Ask(asked) => self.handle_shadow_ask(*asked, cx),
            ShadowMail::Answered(no) => self.handle_shadow_answered(no),
            ShadowMail::Read(key, read) => self.handle_shadow_read(&key, &read, cx),
            ShadowMail::Changed(key, stored) => {
                self.handle_shadow_changed(&key, stored.as_ref(), cx);
            }
        }
    }

    /// A request will never be asked: what was to be stored with it is not.
    pub(crate) fn forget_shadow_ask(&mut self, asked: &ShadowAsk) {
        match &asked.asker {
            Asker::Worker(_, no) => self.shadows.end(*no),
            Asker::Caller(_) => {}
        }
    }

    /// A request of one of our clients is answered, and what it awaits may go on.
    pub(super) fn handle_shadow_answered(&mut self, no: u64) {
        self.shadows.end(no);
    }

    /// Whether a request of one of our clients is not answered yet.
    pub(crate) fn is_asking(&self, no: u64) -> bool {
        self.shadows.is_asking(no)
    }

    /// A connection that waited for an answer and need not any longer.
    pub(crate) fn take_answered(&mut self) -> Option<ConnId> {
        self.shadows.take_answered()
    }

    /// Whether nothing is asked of shadows that is not answered.
    pub(crate) fn shadows_are_idle(&self) -> bool {
        self.shadows.is_idle()
    }
}
