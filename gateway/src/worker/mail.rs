//! What reaches a worker from other threads.

use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Waker;
use std::time::Instant;

use access::{Bans, Policy};
use protocol::peer::ReleaseOutcome;
use protocol::session::{DropReason, SessionRecord};
use protocol::{ClientId, Position, SessionEpoch, SessionNo};
use store::{Doc, Dropped, Put, Rev, Whole};

use crate::authentication::Verdict;
use crate::commit::{Answer, Progress, Ticket};
use crate::config::Settings;
use crate::control::ClientStatus;
use crate::front::Place;
use crate::hub::echo::Echo;
use crate::hub::{
    Bundle, ConnId, ConnectRequest, Forward, MoveOrder, Moved, Portion, Post, Queued, ReleaseAsked,
    ShadowMail,
};
use crate::presence::{DueLate, Errand, NearErrand, SendAway, SubscriptionStatus};
use crate::sessions::LiveQueue;
use crate::tail::{ClientOrder, Letter};
use crate::tls::{CertificateKey, Revoked};
use crate::transport::{DetachedStream, Layer, Remote};

use super::Settled;

/// A connection whose CONNECT was accepted, on its way to the worker of its client.
#[derive(Debug)]
pub struct Accepted {
    /// The socket.
    pub socket: DetachedStream,
    /// What lies between the socket and MQTT.
    pub layer: Layer,
    /// Bytes that came behind CONNECT.
    pub rest: Vec<u8>,
    /// Wire bytes that go with the answer to CONNECT.
    pub owed: Vec<u8>,
    /// What CONNECT asked for.
    pub request: ConnectRequest,
    /// The other side, for operators.
    pub remote: Remote,
    /// The certificate it was made with, if it showed one.
    pub certificate: Option<CertificateKey>,
    /// Its place among the connections that may be open.
    pub place: Place,
    /// When it was accepted.
    pub since: Instant,
}

/// How much a worker holds.
#[derive(Debug, Clone, Copy)]
pub struct Held {
    /// Network connections.
    pub connections: usize,
    /// Sessions.
    pub sessions: usize,
    /// Sessions that a drain could move now.
    pub movable: usize,
    /// Sessions whose marks are not saved.
    pub unsaved: usize,
    /// Wills of clients that are on their way out whose fate is not stored.
    pub unsaved_wills: usize,
    /// What drains moved.
    pub moved: Moved,
}

/// A letter to a worker.
#[derive(Debug)]
pub enum Mail {
    /// A new connection.
    Accepted(Box<Accepted>),
    /// A publication from another worker or a peer gateway.
    Forward(Forward),
    /// Publications from another worker, as they came.
    Bundle(Bundle),
    /// A message of a session's stored queue.
    Queued(Queued),
    /// The committer's answers.
    Answers(Vec<(Ticket, Answer)>),
    /// A session document that was asked for.
    Record(ClientId, Option<Doc>),
    /// About who is there.
    Presence(PresenceMail),
    /// How much is there of the queue of the session whose document comes next: its client may go back in it.
    Whole(ClientId, Whole),
    /// Everything of a session's queue up to here was handed over.
    Passed(SessionNo, Position),
    /// Something of a session's queue that was not handed over is gone, up to here.
    Interrupted(SessionNo, Position),
    /// The session document that was asked for cannot be read.
    Unreadable(ClientId),
    /// A client's session belongs to another gateway, or to nobody, in this ownership.
    Superseded(ClientId, SessionEpoch),
    /// The log spoke of a client's session, and it is not there any more.
    Gone(ClientId),
    /// The log could not be followed without a gap: any session may be lost.
    Gap,
    /// Messages that a session left which is over, for other members of their shared groups.
    Returned(Portion),
    /// What must leave queues, to be written down.
    Drops(Vec<Dropped>),
    /// The fence of a gateway that is not alive, to be raised.
    Fence(Put),
    /// So many messages left queues undelivered.
    Left(DropReason, u64),
    /// A peer gateway answered a release of ours, by its number; `None` if it cannot be reached.
    Released(u64, Option<ReleaseOutcome>),
    /// A peer gateway wants a session.
    ReleaseAsked(ReleaseAsked),
    /// The peers know more.
    Progress(Progress),
    /// The log was read when this was asked.
    Refreshed(u64),
    /// The log was read for publications that waited for that, when this was asked.
    CaughtUp(u64),
    /// To be passed on to the committer behind what was written before.
    Settle(Arc<Settled>),
    /// A block of session numbers: from, and the first that is not ours.
    SessionNumbers(u32, u32),
    /// A will is due, and this gateway is its keeper.
    FireWill(ClientId, Box<SessionRecord>, Rev),
    /// Who may say what from now on.
    Policy(Arc<Policy>),
    /// How much of anything from now on.
    Settings(Arc<Settings>),
    /// These are banned now: who is among them goes.
    Bans(Arc<Bans>),
    /// These certificates are revoked now: who came with one goes.
    Revoked(Arc<Revoked>),
    /// Hand clients over to other gateways.
    Move(MoveOrder),
    /// What waits in memory for a client whose session ends with its connection, if it is here.
    Waiting(ClientId, Sender<Option<LiveQueue>>),
    /// What a client is subscribed to whose session ends with its connection, if it is here.
    Filters(ClientId, Sender<Option<Vec<SubscriptionStatus>>>),
    /// Who is here.
    Clients(Sender<Vec<ClientStatus>>),
    /// How much is here.
    Count(Sender<Held>),
    /// A publication that came by another way than a client's connection.
    Post(Box<Post>),
    /// A client that authenticates again is who it says, or not.
    Authenticated(ConnId, Box<Verdict>),
    /// A word to another gateway.
    Echo(Box<Echo>),
    /// About shadows.
    Shadow(ShadowMail),
    /// End every connection with "server shutting down" and stop.
    Stop,
}

/// A letter about who is there.
#[derive(Debug)]
pub enum PresenceMail {
    /// The record of a client's presence, and whether it is a thing that is known; they were asked for.
    Read(ClientId, Option<Doc>, bool),
    /// A client that was expected did not come, and this gateway is its keeper.
    Late(DueLate),
    /// An operator wants a client's connection to end.
    SendAway(ClientId, SendAway),
    /// Somebody in the fleet wants something of a client.
    Run(ClientId, Box<Errand>),
    /// Somebody in this process does.
    RunNear(ClientId, Box<NearErrand>),
    /// A client was not let in, since it has no right to be here.
    Refused(ClientId),
}

impl From<Letter> for Mail {
    fn from(letter: Letter) -> Self {
        match letter {
            Letter::Queued(queued) => Self::Queued(queued),
            Letter::Superseded(client, epoch) => Self::Superseded(client, epoch),
            Letter::Gone(client) => Self::Gone(client),
            Letter::Order(client, ClientOrder::SendAway(order)) => {
                Self::Presence(PresenceMail::SendAway(client, order))
            }
            Letter::Order(client, ClientOrder::Run(errand)) => {
                Self::Presence(PresenceMail::Run(client, errand))
            }
            Letter::Gap => Self::Gap,
            Letter::Returned(portion) => Self::Returned(portion),
            Letter::Passed(session, position) => Self::Passed(session, position),
            Letter::Interrupted(session, up_to) => Self::Interrupted(session, up_to),
            Letter::Drops(drops) => Self::Drops(drops),
            Letter::Fence(put) => Self::Fence(put),
            Letter::Left(reason, count) => Self::Left(reason, count),
            Letter::Shadow(key, stored) => Self::Shadow(ShadowMail::Changed(key, stored)),
        }
    }
}

/// A worker's letters, written by any thread, read by its own. Bounded for publications only: what else comes is bounded
/// by what was asked for. A publication that is forwarded is for sessions without a stored queue, so that dropping it when
/// a worker does not keep up breaks no promise: QoS 0 goes first, everything above four times the limit.
#[derive(Debug)]
pub struct Mailbox {
    inner: Mutex<Inner>,
    limit: usize,
}

#[derive(Debug, Default)]
struct Inner {
    letters: Vec<Mail>,
    /// Publications in bundles among them.
    bundled: usize,
    /// Bytes of the publications of peer gateways among them.
    peer_bytes: usize,
    waker: Option<Waker>,
}

impl Mailbox {
    /// An empty one that takes at most `limit` publications at a time.
    pub fn new(limit: usize) -> Self {
        Self { inner: Mutex::default(), limit }
    }

    /// Adds one letter.
    pub fn send(&self, mail: Mail) {
        self.with(|inner| inner.letters.push(mail));
    }

    /// Adds letters, leaving `letters` empty with its allocation. Returns how many publications were dropped: of a batch that is
    /// too much, at `QoS` 0 those for which there is no room; the others only if there are far too many of themselves.
    pub fn send_all(&self, letters: &mut Vec<Mail>) -> usize {
        if letters.is_empty() {
            return 0;
        }
        let limit = self.limit;
        self.with(|inner| {
            let waiting = inner.letters.len() + inner.bundled;
            let bundled = letters.iter().map(beyond_one).sum::<usize>();
            if waiting + letters.len() + bundled <= limit {
                inner.bundled += bundled;
                inner.letters.append(letters);
                return 0;
            }
            let firm = letters.iter().filter(|mail| !is_at_most_once(mail));
            let firm = waiting + firm.map(|mail| 1 + beyond_one(mail)).sum::<usize>();
            let (drowning, mut room) = (firm > limit * 4, limit.saturating_sub(firm));
            let mut dropped = 0;
            for mail in letters.drain(..) {
                let more = beyond_one(&mail);
                let lost = if is_at_most_once(&mail) {
                    // The last that is taken may go beyond the limit: a bundle is not cut.
                    let full = room == 0;
                    room = room.saturating_sub(1 + more);
                    full
                } else {
                    drowning && matches!(mail, Mail::Forward(_) | Mail::Bundle(_))
                };
                if lost {
                    dropped += 1 + more;
                } else {
                    inner.bundled += more;
                    inner.letters.push(mail);
                }
            }
            dropped
        })
    }

    /// The same for letters that hold so many bytes of publications of peer gateways.
    pub fn send_weighed(&self, letters: &mut Vec<Mail>, bytes: usize) -> usize {
        if bytes > 0 {
            // Before the letters, so that whoever takes them resets it.
            self.inner.lock().unwrap_or_else(PoisonError::into_inner).peer_bytes += bytes;
        }
        self.send_all(letters)
    }

    /// What it still takes of peer gateways: so many publications, and so many bytes of them beside those that wait.
    pub fn room(&self, max_bytes: usize) -> (usize, usize) {
        let inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let waiting = inner.letters.len() + inner.bundled;
        let publications = self.limit.saturating_sub(waiting);
        (publications, max_bytes.saturating_sub(inner.peer_bytes))
    }

    /// Takes everything that waits, while the worker is awake and need not be woken.
    pub(crate) fn take_awake(&self, into: &mut Vec<Mail>) {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.waker = None;
        if !inner.letters.is_empty() {
            std::mem::swap(&mut inner.letters, into);
            (inner.peer_bytes, inner.bundled) = (0, 0);
        }
    }

    /// Takes everything that waits, or leaves the waker to be woken.
    pub(super) fn take(&self, into: &mut Vec<Mail>, waker: &Waker) -> bool {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        if inner.letters.is_empty() {
            if !inner.waker.as_ref().is_some_and(|w| w.will_wake(waker)) {
                inner.waker = Some(waker.clone());
            }
            return false;
        }
        std::mem::swap(&mut inner.letters, into);
        (inner.peer_bytes, inner.bundled) = (0, 0);
        true
    }

    /// Changes the letters; a worker that sleeps is woken once.
    fn with<T>(&self, change: impl FnOnce(&mut Inner) -> T) -> T {
        let (result, waker) = {
            let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
            let result = change(&mut inner);
            (result, inner.waker.take())
        };
        if let Some(waker) = waker {
            waker.wake();
        }
        result
    }
}

impl Mail {
    /// How much work it is, as against others: the pieces that it has.
    pub(super) const fn pieces(&self) -> usize {
        if let Self::Bundle(bundle) = self {
            bundle.len()
        } else if let Self::Answers(answers) = self {
            answers.len()
        } else {
            1
        }
    }
}

/// Whether a letter is publications that nobody was promised.
fn is_at_most_once(mail: &Mail) -> bool {
    matches!(mail, Mail::Bundle(bundle) if !bundle.is_promised())
        || matches!(mail, Mail::Forward(f) if f.publication.qos == protocol::QoS::AtMostOnce)
}

/// Publications in a letter beyond the first.
const fn beyond_one(mail: &Mail) -> usize {
    if let Mail::Bundle(bundle) = mail { bundle.len().saturating_sub(1) } else { 0 }
}

#[cfg(test)]
mod tests {
    use protocol::mqtt::Version;

    use super::*;
    use crate::hub::Passing;

    fn bundle(count: usize) -> Mail {
        bundle_of(count, &[0x30, 3, 0, 1, b't'])
    }

    fn promised(count: usize) -> Mail {
        bundle_of(count, &[0x32, 5, 0, 1, b't', 0, 1])
    }

    fn bundle_of(count: usize, packet: &[u8]) -> Mail {
        let passing = Passing::sample(packet, Version::V311);
        let mut bundle = Bundle::within(Vec::new(), passing.qos() != protocol::QoS::AtMostOnce);
        (0..count).for_each(|_| assert!(bundle.add(&passing)));
        Mail::Bundle(bundle)
    }

    #[test]
    fn of_a_batch_that_is_too_much_what_there_is_room_for_is_taken_and_letters_do_not_suffer() {
        let mailbox = Mailbox::new(10);
        let mut batch: Vec<_> = (0..20).map(|_| bundle(6)).collect();
        batch.push(Mail::Gap);
        assert_eq!(mailbox.send_all(&mut batch), 18 * 6, "9 fit, and a bundle is not cut");
        let mut taken = Vec::new();
        assert!(mailbox.take(&mut taken, Waker::noop()));
        assert!(matches!(&taken[..], [Mail::Bundle(_), Mail::Bundle(_), Mail::Gap]));
    }

    #[test]
    fn publications_that_were_promised_go_only_when_there_are_far_too_many_of_them() {
        let mailbox = Mailbox::new(10);
        assert_eq!(mailbox.send_all(&mut vec![promised(30)]), 0, "beyond the limit");
        assert_eq!(mailbox.send_all(&mut vec![bundle(2), promised(9), Mail::Gap]), 2);
        assert_eq!(mailbox.send_all(&mut vec![promised(5), Mail::Gap]), 5, "four times as many");
        let mut taken = Vec::new();
        assert!(mailbox.take(&mut taken, Waker::noop()));
        let counts = taken.iter().map(Mail::pieces).collect::<Vec<_>>();
        assert_eq!(counts, [30, 9, 1, 1]);
    }

    #[test]
    fn a_bundle_weighs_as_much_as_what_is_in_it_and_goes_first() {
        let mailbox = Mailbox::new(10);
        assert_eq!(mailbox.send_all(&mut vec![bundle(8), Mail::Gap]), 0);
        assert_eq!(mailbox.room(0).0, 1);
        assert_eq!(mailbox.send_all(&mut vec![bundle(3), Mail::Gap]), 3, "other letters stay");
        let mut taken = Vec::new();
        assert!(mailbox.take(&mut taken, Waker::noop()));
        assert!(matches!(&taken[..], [Mail::Bundle(it), Mail::Gap, Mail::Gap] if it.len() == 8));
        assert_eq!(mailbox.send_all(&mut vec![bundle(10)]), 0, "there is room again");
    }
}
