//! Whom a CONNECT speaks for.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use access::{CertificateRefusal, Identity, ScramServer, login_of};
use protocol::mqtt::codec::{self, Sender};
use protocol::mqtt::{Auth, Connect, Packet, ReasonCode, Version};
use protocol::{ClientId, Violation};

use crate::authentication::{Identified, NotIdentified, Shown, Step};
use crate::hub::Authenticated;

use super::newcomer::{Halt, Lost, Newcomer, Refusal};
use super::shared::Front;

/// Messages that one exchange may take from a client before it is refused; SCRAM needs two.
const MAX_ROUNDS: usize = 8;

/// Establishes the identity of a connection from its CONNECT and from where it comes. `client` is the id that the CONNECT
/// gives, or one that was made up; the identity may name another. May talk to the client before it is answered.
pub(super) async fn authenticate(
    newcomer: &mut Newcomer,
    connect: &Connect<'_>,
    client: &ClientId,
    front: &Front,
) -> Result<(Identity, Option<Box<Authenticated>>), Halt> {
    let origin = newcomer.origin.clone();
    let refuse = |why| not_let_in(why, connect.version, origin.address(), front);
    if newcomer.shows_unreadable_certificate() {
        return Err(refuse(CertificateRefusal::NoName.into()));
    }
    let shown = Shown {
        client_id: connect.client_id,
        login: connect.user_name.and_then(login_of),
        password: connect.password,
        certificate: origin.certificate.as_deref(),
        address: origin.address(),
    };
    let method = connect.properties.authentication_method;
    let (identified, last) = match method {
        None => (front.porter.identify(&shown).await.map_err(refuse)?, None),
        Some(method) => {
            let data = connect.properties.authentication_data;
            // Seldom: it must not make everybody's task large.
            Box::pin(enhanced(newcomer, (method, data), &shown, front)).await?
        }
    };
    let client = match &identified.client {
        None => client.clone(),
        Some(own) => ClientId::new(own).map_err(|_| refuse(NotIdentified::ClientId))?,
    };
    let identity = identified.identity(client, origin.certificate.clone(), origin.address());
    tracing::debug!(
        target: "audit",
        client_id = identity.client.as_str(),
        user = identity.user.as_deref(),
        remote = %origin.remote,
        "a client is let in"
    );
    let bound = method.is_some() || identified.expires.is_some();
    let authenticated = bound.then(|| {
        Box::new(Authenticated {
            method: method.map(Arc::from),
            data: last,
            expires: identified.expires,
            expired: front.porter.expired_reason(),
        })
    });
    Ok((identity, authenticated))
}

/// Who guesses comes back less often.
fn not_let_in(
    why: NotIdentified,
    version: Version,
    address: Option<IpAddr>,
    front: &Front,
) -> Halt {
    if let Some(address) = address.filter(|_| why.is_wrong_credentials()) {
        front.places.note_failed_login(address, Instant::now());
    }
    Refusal::new(version, why.reason()).into()
}

/// Talks to the client until it is known, or not `[MQTT5-4.12.0-2]`. The client has the time that it has for CONNECT.
async fn enhanced(
    newcomer: &mut Newcomer,
    (method, data): (&str, Option<&[u8]>),
    shown: &Shown<'_>,
    front: &Front,
) -> Result<(Identified, Option<Vec<u8>>), Halt> {
    let refuse = |why| not_let_in(why, Version::V5, shown.address, front);
    let mut exchange: Option<Box<ScramServer>> = None;
    let mut data = data.map(<[u8]>::to_vec);
    for _ in 0..MAX_ROUNDS {
        let step = front.porter.step((method, exchange.take()), data.as_deref(), shown).await;
        match step.map_err(refuse)? {
            Step::Done(identified, last) => return Ok((identified, last)),
            Step::Continue(server, challenge) => {
                exchange = Some(server);
                data = reply_to(newcomer, (method, &challenge), front).await?;
            }
        }
    }
    Err(refuse(NotIdentified::Rounds))
}

/// Sends AUTH 0x18 and waits for the client's.
async fn reply_to(
    newcomer: &mut Newcomer,
    (method, challenge): (&str, &[u8]),
    front: &Front,
) -> Result<Option<Vec<u8>>, Halt> {
    let auth = Auth {
        reason: ReasonCode::ContinueAuthentication,
        method: Some(method),
        data: Some(challenge),
        reason_string: None,
    };
    let mut bytes = Vec::new();
    codec::auth(&mut bytes, &auth);
    newcomer.send(&bytes).await?;
    let refuse = |violation: Violation| Halt::from(Refusal::new(Version::V5, violation.reason));
    let packet = match newcomer.packet(front.connect_bytes()).await {
        Err(Lost::Violation(violation)) => return Err(refuse(violation)),
        packet => packet?,
    };
    match codec::decode(&packet, Version::V5, Sender::Client).map_err(refuse)? {
        Packet::Auth(auth) if auth.method != Some(method) => {
            Err(Refusal::new(Version::V5, ReasonCode::BadAuthenticationMethod).into())
        }
        // [MQTT5-4.12.0-3]
        Packet::Auth(auth) if auth.reason == ReasonCode::ContinueAuthentication => {
            Ok(auth.data.map(<[u8]>::to_vec))
        }
        Packet::Disconnect(_) => Err(Lost::Closed.into()),
        // [MQTT5-3.1.2-30]
        Packet::Connect(_)
        | Packet::ConnAck(_)
        | Packet::Publish(_)
        | Packet::PubAck(_)
        | Packet::PubRec(_)
        | Packet::PubRel(_)
        | Packet::PubComp(_)
        | Packet::Subscribe(_)
        | Packet::SubAck(_)
        | Packet::Unsubscribe(_)
        | Packet::UnsubAck(_)
        | Packet::PingReq
        | Packet::PingResp
        | Packet::Auth(_) => Err(Refusal::new(Version::V5, ReasonCode::ProtocolError).into()),
    }
}
