//! Whom a CONNECT speaks for.

use access::Identity;
use protocol::ClientId;
use protocol::mqtt::{Connect, ReasonCode};

use super::greet::Halt;
use super::newcomer::{Newcomer, Refusal};
use super::shared::Front;

/// Establishes the identity of a connection from its CONNECT and from where it comes. `client` is the id that the CONNECT
/// gives, or one that was made up; the identity may name another. May talk to the client before it is answered.
pub(super) async fn authenticate(
    newcomer: &mut Newcomer,
    connect: &Connect<'_>,
    client: &ClientId,
    _front: &Front,
) -> Result<Identity, Halt> {
    if connect.properties.authentication_method.is_some() {
        return Err(Refusal::new(connect.version, ReasonCode::BadAuthenticationMethod).into());
    }
    let origin = &newcomer.origin;
    Ok(Identity {
        certificate: origin.certificate.clone(),
        address: origin.address(),
        ..Identity::anonymous(client.clone())
    })
}
