//! What peers ask and tell over the connections that they dialled, passed on.

use protocol::GatewayId;
use protocol::peer::AcceptorEvent;

use super::surroundings::{COME_AND_GO, Surroundings};

/// Passes on what a peer's machine has to tell.
pub(super) fn tell_acceptor_event(
    from: &GatewayId,
    event: AcceptorEvent,
    around: &mut Surroundings,
) {
    let events = &mut around.events;
    match event {
        AcceptorEvent::Connected { fresh, .. } => {
            if around.lines.admits_now(COME_AND_GO) {
                tracing::info!("a peer has greeted us");
            }
            if fresh {
                events.interest(from, true, 0, Default::default());
            }
        }
        AcceptorEvent::Interest { ticket, replace, changes, hashes } => {
            events.interest(from, replace, ticket, (changes, hashes));
        }
        AcceptorEvent::Forward { plain, shared, publication } => {
            events.forward(from, plain, shared, publication);
        }
        AcceptorEvent::Release { ticket, client, epoch } => {
            events.release(from, ticket, client, epoch);
        }
        AcceptorEvent::Poke { seq } => events.poke(seq),
        AcceptorEvent::DrainAsk { drain, clients, per_s } => {
            events.drain_ask(from, drain, clients, per_s);
        }
    }
}
