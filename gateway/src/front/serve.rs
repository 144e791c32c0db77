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
    let (mut arrived, mut spare) = (Vec::new(), None);
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
            if let Some(newcomer) = take(accepted, &listening, &door, &front).await {
                let inside = (Arc::clone(&front), Arc::clone(&tray));
                meet(greet(newcomer, Arc::clone(&door), inside), &mut spare).await;
            }
        }
        // Those who were accepted go first.
        tokio::task::yield_now().await;
    }
}

/// One connection is on its way in, or could not be accepted or may not come in.
async fn take(
    accepted: io::Result<Accepted>,
    listening: &Listening,
    door: &Door,
    front: &Front,
) -> Option<Newcomer> {
    match accepted {
        Ok((socket, remote)) => {
            let Some(socket) = front.spare.keep(socket).await else {
                front.counters.turned_away_descriptors.add_shared(1);
                return None;
            };
            // Without one the connection is closed as it is dropped: it costs nothing more.
            let greeting = front.places.greet()?;
            let origin = Origin { kind: door.kind, remote, certificate: None };
            return Some(Newcomer::new(socket, origin, greeting));
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
    None
}

/// In a crowd most have sent their CONNECT by the time they are accepted, and nothing about it has to be waited for: they need no
/// task of their own, and are greeted in the same memory, one after the other. Who has to wait for anything gets a task, and the
/// memory with it.
async fn meet<F: Future<Output = ()> + Send + 'static>(
    greeting: F,
    spare: &mut Option<Pin<Box<F>>>,
) {
    let mut greeted = match spare.take() {
        Some(mut spare) => {
            spare.set(greeting);
            spare
        }
        None => Box::pin(greeting),
    };
    let first = |cx: &mut Context<'_>| {
        // As a task would: who breaks something of ours ends alone.
        let met = catch_unwind(AssertUnwindSafe(|| greeted.as_mut().poll(cx)));
        Poll::Ready(met.is_ok_and(|met| met.is_pending()))
    };
    if poll_fn(first).await {
        tokio::spawn(greeted);
    } else {
        *spare = Some(greeted);
    }
}

fn is_short_of_descriptors(error: &io::Error) -> bool {
    let code = |errno: rustix::io::Errno| Some(errno.raw_os_error());
    let said = error.raw_os_error();
    said == code(rustix::io::Errno::MFILE) || said == code(rustix::io::Errno::NFILE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone, Copy)]
    enum Guest {
        Ready,
        Waiting,
        Breaking,
    }

    async fn greeting(guest: Guest) {
        match guest {
            Guest::Ready => {}
            Guest::Waiting => std::future::pending().await,
            Guest::Breaking => panic!("this one breaks something"),
        }
    }

    #[tokio::test]
    async fn who_need_not_wait_is_greeted_in_the_memory_of_the_one_before() {
        let mut spare = None;
        meet(greeting(Guest::Ready), &mut spare).await;
        let memory = spare.as_deref().map(std::ptr::from_ref);
        assert!(memory.is_some());
        for guest in [Guest::Ready, Guest::Breaking, Guest::Ready] {
            meet(greeting(guest), &mut spare).await;
            assert_eq!(spare.as_deref().map(std::ptr::from_ref), memory);
        }
        meet(greeting(Guest::Waiting), &mut spare).await;
        assert!(spare.is_none(), "who waits keeps it");
        meet(greeting(Guest::Ready), &mut spare).await;
        assert_ne!(spare.as_deref().map(std::ptr::from_ref), memory);
    }
}
