//! The accept loops, one per listener and thread.

use std::future::poll_fn;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::sync::watch;

use super::door::Door;
use super::greet::greet;
use super::listening::{Accepted, Bound, Listening};
use super::newcomer::{Newcomer, Origin};
use super::shared::Front;
use super::tray::Tray;
use crate::accepts::Accepts;

/// How long to wait after an accept that failed: out of descriptors, most likely, and those who are here come first.
const ACCEPT_PAUSE: Duration = Duration::from_millis(20);

/// Accepts until told to stop, while `accepts` is on. Who is let in is put on the tray of this thread.
pub async fn serve(
    bound: Bound,
    door: Arc<Door>,
    (front, tray): (Arc<Front>, Arc<Tray>),
    (mut accepts, mut stop): (Accepts, watch::Receiver<bool>),
) {
    let listening = match Listening::new(bound) {
        Ok(listening) => listening,
        Err(error) => {
            tracing::error!(listener = door.kind.as_str(), "cannot be served: {error}");
            return;
        }
    };
    let mut arrived = Vec::new();
    loop {
        tokio::select! {
            _ = stop.changed() => return,
            () = accepts.on() => {}
        }
        let accepted = tokio::select! {
            _ = stop.changed() => return,
            () = accepts.off() => continue,
            accepted = listening.accept_some(&mut arrived) => accepted,
        };
        if let Err(error) = accepted {
            arrived.push(Err(error));
        }
        for accepted in arrived.drain(..) {
            take(accepted, &listening, &door, (&front, &tray)).await;
        }
        // Those who were accepted go first.
        tokio::task::yield_now().await;
    }
}

/// One connection is on its way in, or could not be accepted.
async fn take(
    accepted: io::Result<Accepted>,
    listening: &Listening,
    door: &Arc<Door>,
    (front, tray): (&Arc<Front>, &Arc<Tray>),
) {
    match accepted {
        Ok((socket, remote)) => {
            let Some(socket) = front.spare.keep(socket).await else {
                return front.counters.turned_away_descriptors.add_shared(1);
            };
            // Without one the connection is closed as it is dropped: it costs nothing more.
            let Some(greeting) = front.places.greet() else { return };
            let origin = Origin { kind: door.kind, remote, certificate: None };
            let newcomer = Newcomer::new(socket, origin, greeting);
            let inside = (Arc::clone(front), Arc::clone(tray));
            meet(Box::pin(greet(newcomer, Arc::clone(door), inside))).await;
        }
        Err(error) if is_short_of_descriptors(&error) => {
            front.spare.warn(&error);
            if front.spare.give(listening.accept()).await {
                front.counters.turned_away_descriptors.add_shared(1);
            }
            tokio::time::sleep(ACCEPT_PAUSE).await;
        }
        // The client gave up before it was accepted.
        Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
        Err(error) => {
            tracing::warn!(listener = door.kind.as_str(), "cannot accept: {error}");
            tokio::time::sleep(ACCEPT_PAUSE).await;
        }
    }
}

/// In a crowd most have sent their CONNECT by the time they are accepted, and nothing about it has to be waited for: they need no
/// task of their own. Who has to wait for anything gets one.
async fn meet(mut greeted: Pin<Box<impl Future<Output = ()> + Send + 'static>>) {
    let first = |cx: &mut Context<'_>| {
        // As a task would: who breaks something of ours ends alone.
        let met = catch_unwind(AssertUnwindSafe(|| greeted.as_mut().poll(cx)));
        Poll::Ready(met.is_ok_and(|met| met.is_pending()))
    };
    if poll_fn(first).await {
        tokio::spawn(greeted);
    }
}

fn is_short_of_descriptors(error: &io::Error) -> bool {
    let code = |errno: rustix::io::Errno| Some(errno.raw_os_error());
    let said = error.raw_os_error();
    said == code(rustix::io::Errno::MFILE) || said == code(rustix::io::Errno::NFILE)
}
