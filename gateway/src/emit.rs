//! What becomes of one output: seen, once what it promises is stored; lost against somebody else's write; refused by the store.

use protocol::mqtt::codec::{self, AckKind};
use protocol::mqtt::{Ack, ReasonCode, SubAck, UnsubAck};
use protocol::{ClientId, QoS};
use store::Space;
use tokio::sync::oneshot;

use crate::hub::{Ask, Close, ConnId, Hub, Output, Posted, Reply, Turn, Voice};

/// Lets one output be seen.
pub(crate) fn emit(hub: &mut Hub, output: Output, cx: &mut Turn<'_>) {
    match output {
        Output::Reply(conn, reply) => reply_to(hub, conn, reply, cx),
        Output::Dispatch(dispatch) => hub.dispatch(&dispatch, cx),
        Output::Claimed(client) => hub.handle_claimed(&client, cx),
        Output::Released(client, farewell) => {
            hub.handle_given_up(&client, *farewell, cx.now, cx.out);
        }
        Output::Abandoned(_) => {}
        Output::Transmit(conn, id) => hub.transmit_stored(conn, id, cx),
        Output::Paid(conn, slice) => hub.handle_paid(conn, (slice, true), cx),
        Output::Sure(client) => hub.handle_sure(&client),
        Output::GiveBack => hub.give_to_others(cx),
        Output::GivenBack(left) => hub.count_given_back(left.len()),
        Output::Inherited(inherited) => hub.handle_inherited(*inherited, cx),
        Output::Told(_) | Output::ToldHangs(..) => {}
        Output::AskShadow(asked) => hub.pass_shadow_ask(*asked, cx),
        Output::Awaited(awaited) => reply_to(hub, awaited.conn, awaited.reply, cx),
        Output::Shadow(word) => hub.say_of_shadow(*word, cx),
        Output::Posted(answer, posted) => tell(answer, posted),
    }
}

/// Whoever waits for the answer may have gone.
fn tell(answer: oneshot::Sender<Posted>, posted: Posted) {
    let _ = answer.send(posted);
}

fn reply_to(hub: &mut Hub, conn: ConnId, reply: Reply, cx: &mut Turn<'_>) {
    let Some(voice) = hub.voice_for(conn, &reply) else { return };
    let (kind, ack) = match reply {
        Reply::PubAck(id, reason) => (AckKind::PubAck, Ack::of(id, reason)),
        Reply::PubRec(id, reason) => (AckKind::PubRec, Ack::of(id, reason)),
        Reply::PubRel(id, reason) => (AckKind::PubRel, Ack::of(id, reason)),
        Reply::PubComp(id, reason) => (AckKind::PubComp, Ack::of(id, reason)),
        Reply::Refusal(refusal) => return hub.write_refusal(conn, voice, &refusal, cx.out),
        Reply::SubAck(packet_id, reasons, owed) => {
            let reason_string = first_words(voice, &reasons);
            let suback = SubAck { packet_id, reasons, reason_string };
            return hub.write_suback(conn, &suback, owed, cx);
        }
        Reply::UnsubAck(packet_id, reasons) => {
            let reason_string = first_words(voice, &reasons);
            let unsuback = UnsubAck { packet_id, reasons, reason_string };
            return hub.write_unsuback(conn, voice, &unsuback, cx.out);
        }
        Reply::PingResp => {
            if let Some(outbox) = cx.out.outbox(conn) {
                codec::pingresp(outbox);
                hub.count_sent();
            }
            return;
        }
    };
    if let Some(outbox) = cx.out.outbox(conn) {
        voice.say(outbox, voice.words(ack.reason), |outbox, reason_string| {
            codec::ack(outbox, voice.version, kind, &Ack { reason_string, ..ack });
        });
        hub.count_sent();
    }
}

/// Why the first of the filters that were refused was refused.
fn first_words(voice: Voice, reasons: &[ReasonCode]) -> Option<&'static str> {
    reasons.iter().find_map(|reason| voice.words(*reason))
}

/// A write lost against another one: the session may not be ours any more, or the claim looks again.
pub(crate) fn lost(
    hub: &mut Hub,
    outputs: Vec<Output>,
    (space, key, stands): (Space, &[u8], Option<&bytes::Bytes>),
    cx: &mut Turn<'_>,
) {
    let client = std::str::from_utf8(key).ok().and_then(|text| ClientId::new(text).ok());
    let mut claimed = None;
    for output in outputs {
        match output {
            Output::Claimed(client) => claimed = Some(client),
            // Somebody else looks after the session already.
            Output::Released(client, farewell) => {
                hub.handle_given_up(&client, *farewell, cx.now, cx.out);
            }
            Output::GivenBack(left) => hub.give_again(left),
            Output::Inherited(inherited) => cx.out.ask(Ask::NotGiven(inherited.of)),
            Output::Shadow(word) => hub.lose_shadow_write(*word, (space, key, stands), cx),
            Output::AskShadow(asked) => hub.forget_shadow_ask(&asked),
            Output::Posted(answer, _) => tell(answer, Posted::NotStored),
            Output::Reply(..)
            | Output::Awaited(_)
            | Output::Dispatch(_)
            | Output::Sure(_)
            // Somebody else has it by now.
            | Output::Abandoned(_)
            | Output::Transmit(..)
            | Output::Paid(..)
            | Output::Told(_)
            | Output::ToldHangs(..)
            | Output::GiveBack => {}
        }
    }
    if let Some(client) = claimed {
        hub.handle_claim_lost(&client, cx.now, cx.out);
    } else if let Some(client) = client.filter(|_| space == Space::Session) {
        hub.handle_conflict(&client, stands, cx.now, cx.out);
    }
}

/// The store could not write: nobody is told that it did. Answers what is left to be seen, in its turn on the lane.
pub(crate) fn refuse(hub: &mut Hub, outputs: Vec<Output>, cx: &mut Turn<'_>) -> Vec<Output> {
    let mut left = Vec::new();
    for output in outputs {
        match output {
            Output::Reply(conn, reply) => left.extend(refuse_reply(hub, conn, reply, cx)),
            Output::Transmit(conn, _) => {
                hub.lose_connection(conn, Close::Reason(ReasonCode::ServerBusy), cx);
            }
            Output::Claimed(client) => {
                hub.refuse_claim(&client, ReasonCode::ServerUnavailable, cx.out);
            }
            Output::Released(client, farewell) => hub.write_off_later(client, *farewell),
            Output::Abandoned(abandoned) => hub.abandon_later(*abandoned),
            Output::Paid(conn, slice) => hub.handle_paid(conn, (slice, false), cx),
            Output::Sure(client) => hub.handle_unsure(client),
            Output::GivenBack(left) => hub.give_again(left),
            Output::Told(drops) => hub.tell_again(&drops),
            Output::ToldHangs(no, epoch) => hub.handle_not_told((no, epoch)),
            // At QoS 0 no client is told that it is stored; but what is retained, all shall see alike, and a will is tried again.
            Output::Dispatch(it) if it.needs_no_store() => left.push(Output::Dispatch(it)),
            // The log's follower gives it when it looks again.
            Output::Inherited(inherited) => cx.out.ask(Ask::NotGiven(inherited.of)),
            Output::AskShadow(asked) => hub.forget_shadow_ask(&asked),
            Output::Awaited(awaited) => {
                left.extend(refuse_reply(hub, awaited.conn, awaited.reply, cx));
            }
            Output::Shadow(word) => hub.refuse_shadow_write(*word, cx),
            Output::Posted(answer, _) => tell(answer, Posted::NotStored),
            // What waits goes with the next tick.
            Output::Dispatch(_) | Output::GiveBack => {}
        }
    }
    left
}

fn refuse_reply(hub: &mut Hub, conn: ConnId, reply: Reply, cx: &mut Turn<'_>) -> Option<Output> {
    let refused = match reply {
        Reply::PubAck(id, _) => hub.refuse_stored(conn, (QoS::AtLeastOnce, id), cx),
        Reply::PubRec(id, _) => hub.refuse_stored(conn, (QoS::ExactlyOnce, id), cx),
        Reply::Refusal(_)
        | Reply::PubRel(..)
        | Reply::PubComp(..)
        | Reply::SubAck(..)
        | Reply::UnsubAck(..)
        | Reply::PingResp => {
            hub.lose_connection(conn, Close::Reason(ReasonCode::ServerBusy), cx);
            None
        }
    };
    refused.map(|reply| Output::Reply(conn, reply))
}
