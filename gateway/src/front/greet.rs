//! A new connection's way in: TLS, WebSocket, CONNECT, then to the worker of its client.

use std::sync::Arc;

use protocol::Violation;
use protocol::mqtt::codec;
use protocol::mqtt::{ReasonCode, Version};

use super::admit::admit;
use super::door::Door;
use super::newcomer::{Halt, Lost, Newcomer, Refusal};
use super::shared::Front;
use super::tray::Tray;
use crate::metrics::{ProcessCounters, WhyRefused};

/// Takes a connection as far as it gets, within the deadline.
pub(super) async fn greet(
    newcomer: Newcomer,
    door: Arc<Door>,
    (front, tray): (Arc<Front>, Arc<Tray>),
) {
    let remote = newcomer.origin.remote;
    let met = tokio::time::timeout(front.deadline(), meet(newcomer, &door, (&front, &tray)));
    let outcome = met.await.unwrap_or(Err(Lost::Late));
    match outcome {
        Ok(()) => {}
        Err(lost @ (Lost::Stranger | Lost::Proxy(_))) => {
            front.counters.turned_away_proxy.add_shared(1);
            if front.may_tell() {
                tracing::info!(%remote, "a connection is closed: {lost}");
            }
        }
        Err(lost @ Lost::TlsOnPlain) => {
            if front.may_tell() {
                tracing::info!(%remote, listener = door.kind.as_str(), "a connection is closed: {lost}");
            }
        }
        Err(Lost::Handshake(failure, error)) => {
            failure.counter(&front.counters).add_shared(1);
            if front.may_tell() {
                tracing::info!(
                    %remote, listener = door.kind.as_str(), reason = failure.as_str(),
                    "a handshake failed: {error}"
                );
            }
        }
        Err(lost) => tracing::debug!(%remote, "a connection came to nothing: {lost}"),
    }
}

async fn meet(
    mut newcomer: Newcomer,
    door: &Door,
    (front, tray): (&Front, &Tray),
) -> Result<(), Lost> {
    if let Some(proxies) = &door.proxies {
        // What most do not come by must not make everybody's task large.
        Box::pin(newcomer.hear_proxy(proxies)).await?;
    }
    check_address(&newcomer, door, front)?;
    newcomer.take_place(door, front)?;
    if let Some(tls) = &door.tls {
        Box::pin(newcomer.become_tls(tls)).await?;
    }
    if door.kind.is_websocket() {
        Box::pin(newcomer.become_websocket(&door.path, front.connect_bytes())).await?;
    }
    let packet = match connect_packet(&mut newcomer, front).await {
        Ok(packet) => packet,
        Err(Halt::Refused(refusal)) => {
            return Box::pin(turn_away(newcomer, refusal, front)).await;
        }
        Err(Halt::Lost(lost)) => return Err(lost),
    };
    let mut pending = Pending { counters: &front.counters, is_answered: false };
    let admitted = admit(&mut newcomer, &packet, front).await;
    pending.is_answered = !matches!(admitted, Err(Halt::Lost(_)));
    match admitted {
        Ok(request) => {
            tray.put(newcomer.accepted(request, front.limits().packet_bytes)?);
            Ok(())
        }
        Err(Halt::Refused(refusal)) => {
            front.tell_refused(&packet, refusal.reason);
            Box::pin(turn_away(newcomer, refusal, front)).await
        }
        Err(Halt::Lost(lost)) => Err(lost),
    }
}

/// A CONNECT that somebody thinks about: one that is given up meanwhile, by whichever side, is counted.
struct Pending<'a> {
    counters: &'a ProcessCounters,
    is_answered: bool,
}

impl Drop for Pending<'_> {
    fn drop(&mut self) {
        if !self.is_answered {
            self.counters.refused.count(WhyRefused::Unanswered);
        }
    }
}

/// A banned address is not worth a handshake; where MQTT is spoken at once it is told with the answer to its CONNECT.
fn check_address(newcomer: &Newcomer, door: &Door, front: &Front) -> Result<(), Lost> {
    let mute = door.tls.is_some() || door.kind.is_websocket();
    if mute && newcomer.origin.address().is_some_and(|address| front.bans_address(address)) {
        front.counters.turned_away_banned.add_shared(1);
        return Err(Lost::Banned);
    }
    Ok(())
}

async fn turn_away(newcomer: Newcomer, refusal: Refusal, front: &Front) -> Result<(), Lost> {
    let reason = refusal.reason;
    front.counters.refused.count(WhyRefused::of(reason));
    if let Some(violation) = refusal.broken {
        front.counters.violations.count(violation.statement_in(refusal.version));
    }
    newcomer.refuse(refusal).await?;
    Err(Lost::Refused(reason))
}

/// The packet type of CONNECT.
const CONNECT: u8 = 1;
/// The bytes of a large CONNECT in which its version is: header, protocol name, level.
const VERSION_WITHIN: usize = 5 + 2 + 6 + 1;
/// How a TLS handshake begins.
const TLS_HELLO: &[u8] = &[0x16, 3];

/// The first packet, whole. What cannot be a CONNECT ends here, with its first byte.
async fn connect_packet(newcomer: &mut Newcomer, front: &Front) -> Result<Vec<u8>, Halt> {
    while newcomer.inbox().is_empty() {
        newcomer.more().await?;
    }
    if newcomer.inbox().starts_with(TLS_HELLO) {
        return Err(Lost::TlsOnPlain.into());
    }
    if newcomer.inbox().first().is_some_and(|byte| byte >> 4 != CONNECT) {
        let violation = Violation::protocol("MQTT5-3.1.0-1", "something else before CONNECT");
        front.counters.violations.count(violation.statement);
        return Err(violation.into());
    }
    match newcomer.packet(front.connect_bytes()).await {
        Err(Lost::Violation(violation)) if violation.reason == ReasonCode::PacketTooLarge => {
            while newcomer.inbox().len() < VERSION_WITHIN {
                newcomer.more().await?;
            }
            let version = codec::connect_version(newcomer.inbox()).unwrap_or(Version::V311);
            Err(Refusal::of_violation(version, violation).into())
        }
        packet => Ok(packet?),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes of what a function of three returns.
    fn bytes_of<A, B, C, F>(_: impl Fn(A, B, C) -> F) -> usize {
        size_of::<F>()
    }

    #[test]
    fn who_comes_costs_no_more_memory_than_is_known() {
        // Of each connection that is on its way in, and written anew for each that comes: mind them.
        let bytes = bytes_of(greet);
        assert!(bytes <= 2_304, "{bytes}");
    }
}
