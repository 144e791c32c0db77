//! Whether a CONNECT is let in, and as whom.

use std::sync::Arc;

use access::Identity;
use protocol::mqtt::codec;
use protocol::mqtt::{Connect, ReasonCode, Version};
use protocol::{ClientId, levels};

use crate::hub::ConnectRequest;

use super::authenticate::authenticate;
use super::bounced::Coming;
use super::newcomer::{Halt, Newcomer, Origin, Refusal};
use super::shared::{Admission, Front};

/// What a CONNECT asks for, with the identity that was established; or how it is refused.
pub(super) async fn admit(
    newcomer: &mut Newcomer,
    packet: &[u8],
    front: &Front,
) -> Result<ConnectRequest, Halt> {
    newcomer.takes = codec::connect_maximum(packet);
    let connect = match codec::decode_connect(packet) {
        Ok(connect) => connect,
        Err(violation) => {
            tracing::debug!(remote = %newcomer.origin.remote, "a CONNECT is refused: {violation}");
            let version = codec::connect_version(packet).unwrap_or(Version::V311);
            return Err(Refusal::of_violation(version, violation).into());
        }
    };
    let refuse = |reason| Refusal::new(connect.version, reason);
    let secure = newcomer.origin.kind.is_secure();
    if let Some(identity) = front.tables.trials().recognize(&connect) {
        // Whether this gateway serves is to be known before anybody else is taken, and however many want to be.
        return let_in_for_trial(&connect, (identity, secure), front)
            .map_err(|why| refuse(why).into());
    }
    if let Some(reason) = newcomer.full.and_then(|full| full.reason(secure)) {
        return Err(refuse(reason).into());
    }
    let returned = check_admission(&connect, &newcomer.origin, front)?;
    // Before anything of it is checked that costs us more than it.
    if newcomer.origin.address().is_some_and(|address| front.bans_address(address)) {
        return Err(refuse(ReasonCode::Banned).into());
    }
    check_will(&connect, front).map_err(refuse)?;
    // Random bytes are costly, and most clients bring an id.
    let made_up = match connect.client_id {
        "" => front.make_up().map_err(refuse)?,
        _ => String::new(),
    };
    let mut request = ConnectRequest::of(&connect, &made_up, front.limits().session_expiry_max_s)
        .map_err(refuse)?;
    (request.secure, request.returned) = (secure, returned);
    let (identity, authenticated) =
        authenticate(newcomer, &connect, &request.client, front).await?;
    // Here everything about the client is known, and nothing of it has been stored.
    if let Some(kind) = front.ban_of(&identity) {
        front.porter.note_banned(&identity, kind);
        return Err(refuse(ReasonCode::Banned).into());
    }
    if front.is_banned(&identity) {
        return Err(refuse(ReasonCode::Banned).into());
    }
    request.client = identity.client.clone();
    request.identity = Arc::new(identity);
    request.authenticated = authenticated;
    Ok(request)
}

/// What a client of the gateway's own asks for: it has shown who it is.
fn let_in_for_trial(
    connect: &Connect<'_>,
    (identity, secure): (Identity, bool),
    front: &Front,
) -> Result<ConnectRequest, ReasonCode> {
    let mut request = ConnectRequest::of(connect, "", front.limits().session_expiry_max_s)?;
    (request.secure, request.identity) = (secure, Arc::new(identity));
    Ok(request)
}

/// Whether this gateway takes clients now. Answers whether this one is taken only because it came back again and again.
fn check_admission(connect: &Connect<'_>, origin: &Origin, front: &Front) -> Result<bool, Refusal> {
    let admission = front.admission();
    match admission {
        Admission::Open => Ok(false),
        Admission::Warming => warm_up(connect, origin, front).map(|()| false),
        Admission::NotYet => Err(Refusal::new(connect.version, ReasonCode::ServerBusy)),
        Admission::Elsewhere | Admission::Closed => {
            if is_let_in_again(connect, admission == Admission::Elsewhere, front) {
                return Ok(true);
            }
            let reference = elsewhere(connect, origin, front);
            let refusal = Refusal::new(connect.version, ReasonCode::UseAnotherServer);
            Err(Refusal { reference, ..refusal })
        }
    }
}

/// Whether one more client is taken by a gateway that has just begun again. Where nobody else is, all are.
fn warm_up(connect: &Connect<'_>, origin: &Origin, front: &Front) -> Result<(), Refusal> {
    if front.takes_one_more() {
        return Ok(());
    }
    let Some(reference) = elsewhere(connect, origin, front) else { return Ok(()) };
    front.counters.visits_warming_refused.add_shared(1);
    let refusal = Refusal::new(connect.version, ReasonCode::UseAnotherServer);
    Err(Refusal { reference: Some(reference), ..refusal })
}

/// Whether a client has come back so often that it is better served here, as long as that is possible (`open`).
fn is_let_in_again(connect: &Connect<'_>, open: bool, front: &Front) -> bool {
    let Ok(client) = ClientId::new(connect.client_id) else { return false };
    let coming = front.bounced.handle_coming(&client, open);
    match coming {
        Coming::New => {}
        Coming::Again => front.counters.drain_bounced.add_shared(1),
        Coming::LetIn => {
            front.counters.drain_bounced.add_shared(1);
            front.counters.drain_taken_in.add_shared(1);
        }
    }
    coming == Coming::LetIn
}

/// Where a client that is refused should go instead.
fn elsewhere(connect: &Connect<'_>, origin: &Origin, front: &Front) -> Option<String> {
    let client = match ClientId::new(connect.client_id) {
        Ok(client) => client,
        Err(_) => ClientId::new(&front.make_up().ok()?).ok()?,
    };
    front.tables.server_reference(&front.gateway, &client, origin.kind.is_secure(), None)
}

fn check_will(connect: &Connect<'_>, front: &Front) -> Result<(), ReasonCode> {
    let Some(will) = &connect.will else { return Ok(()) };
    let limits = front.limits();
    if will.properties.user_count > usize::from(limits.user_properties) {
        return Err(ReasonCode::QuotaExceeded);
    }
    if will.topic.starts_with('$') {
        // As its publication would be, and 3.x has a code for it.
        return Err(ReasonCode::NotAuthorized);
    }
    let bad = will.topic.len() > usize::from(limits.topic_bytes)
        || levels(will.topic).nth(usize::from(limits.topic_levels)).is_some();
    if bad { Err(ReasonCode::TopicNameInvalid) } else { Ok(()) }
}
