//! What comes over the peer links, handed to whom it concerns.

use std::sync::{Arc, OnceLock};

use fanout::{Bits, GroupKey, InterestDelta, Remembered};
use maintenance::Wanted;
use protocol::peer::{HashChange, InterestChange, ReleaseOutcome, SharedTargets};
use protocol::{ClientId, GatewayId, Incarnation, LogSeq, Publication, SessionEpoch};
use smallvec::SmallVec;

use crate::hub::echo::{self, Echo, EchoWord, Word};
use crate::hub::{Forward, Post, ReleaseAsked, SharedMember, Tables};
use crate::links::{Command, LinkEvents, LinksSender, Progress, Room};
use crate::metrics::ProcessCounters;
use crate::service::{ServiceAsk, ServiceSender};
use crate::tail::{Frontier, TailAsk, TailSender, worker_of};
use crate::worker::{Mail, Mailbox, Settled};

/// The process's side of the peer links.
#[derive(Debug)]
pub struct Events {
    tables: Arc<Tables>,
    mailboxes: Vec<Arc<Mailbox>>,
    tail: TailSender,
    frontier: Arc<Frontier>,
    service: ServiceSender,
    metrics: Arc<ProcessCounters>,
    /// Set once the links run.
    links: Arc<OnceLock<LinksSender>>,
    /// Letters for each worker, and the bytes of their publications.
    batches: Vec<(Vec<Mail>, usize)>,
    /// Workers with a plain subscriber by topic, as of a version of the routes.
    cache: Remembered<Bits<u64>, u64>,
    turn: u64,
    poked: bool,
}

/// Bytes of peers' publications that may wait for one worker, before peers have to wait.
const WAITING_BYTES: usize = 32 << 20;
/// Topics remembered.
const REMEMBERED: usize = 16_384;

impl Events {
    /// Hands on to these.
    pub fn new(
        shared: (Arc<Tables>, Vec<Arc<Mailbox>>, TailSender, Arc<Frontier>),
        service: ServiceSender,
        metrics: Arc<ProcessCounters>,
        links: Arc<OnceLock<LinksSender>>,
    ) -> Self {
        let (tables, mailboxes, tail, frontier) = shared;
        let batches = mailboxes.iter().map(|_| Default::default()).collect();
        Self {
            tables,
            mailboxes,
            tail,
            frontier,
            service,
            metrics,
            links,
            batches,
            cache: Remembered::new(REMEMBERED),
            turn: 0,
            poked: false,
        }
    }

    fn workers(&mut self, topic: &str) -> Bits<u64> {
        self.tables.remember(&mut self.cache, topic, |routes| routes.workers(topic))
    }

    /// Gives a publication to the workers with plain subscribers, if it is for them, and to one member of each of these groups.
    fn hand_out(&mut self, plain: bool, shared: SharedTargets, publication: &Publication) {
        let workers = if plain { self.workers(publication.topic()).of(publication.qos) } else { 0 };
        let mut members: Vec<(u8, SharedMember)> = Vec::new();
        for target in shared {
            self.turn = self.turn.wrapping_add(1);
            let key = GroupKey { share: target.share, filter: target.filter };
            let picked = self.tables.routes().worker_of_group(&key, self.turn, publication.qos);
            // With no member left here, whoever is asked gives it to one elsewhere.
            members.push((picked.unwrap_or(0), SharedMember(key)));
        }
        let count = u8::try_from(self.mailboxes.len()).unwrap_or(u8::MAX);
        for worker in 0..count {
            let plain = workers & (1 << worker) != 0;
            let shared: SmallVec<[SharedMember; 1]> =
                members.iter().filter(|(w, _)| *w == worker).map(|(_, m)| m.clone()).collect();
            if plain || !shared.is_empty() {
                let forward = Forward { publication: publication.clone(), plain, shared };
                if let Some((_, bytes)) = self.batches.get_mut(usize::from(worker)) {
                    *bytes += publication.len_bytes();
                }
                self.letter(worker, Mail::Forward(forward));
            }
        }
    }

    /// A gateway's own word: another worker's answer to it goes back the way it came, an answer is noted, and what a trial there wants is
    /// published.
    fn hear(&mut self, from: &GatewayId, publication: &Publication) {
        let word = match echo::word_of(publication) {
            Some(Word::Echo(word)) => word,
            Some(Word::Call(call)) => {
                let me = echo::listener_of(publication);
                if let Some(said) = me.and_then(|me| call.publication(&me)) {
                    // Whoever asked hears it, or does not: nobody else waits.
                    let (post, _) = Post::of_fleet(said, None);
                    self.letter(0, Mail::Post(Box::new(post)));
                }
                return;
            }
            None => return,
        };
        let live = self.tables.gateways().iter().find(|it| it.id == *from).map(|it| it.incarnation);
        if !word.is_answer {
            let word = EchoWord { is_answer: true, ..word };
            let echo = Echo { to: from.clone(), word: Word::Echo(word) };
            let workers = u8::try_from(self.mailboxes.len()).unwrap_or(u8::MAX);
            let worker = word.worker.checked_rem(workers).unwrap_or(0);
            self.letter(worker, Mail::Echo(Box::new(echo)));
        } else if let Some(life) = live {
            self.tables.echoes().hear((from.clone(), life), word);
        }
    }

    fn letter(&mut self, worker: u8, mail: Mail) {
        if let Some(batch) = self.batches.get_mut(usize::from(worker)) {
            batch.0.push(mail);
        }
    }
}

impl LinkEvents for Events {
    fn interest(
        &mut self,
        from: &GatewayId,
        replace: bool,
        ticket: u64,
        (changes, hashes): (Vec<InterestChange>, Vec<HashChange>),
    ) {
        let peer = self.tables.peer_index(from);
        let deltas: Vec<_> = changes
            .into_iter()
            .map(|c| InterestDelta { filter: c.filter, share: c.share, members: c.members })
            .collect();
        if let Some(peer) = peer {
            self.tables.set_peer(peer, replace, (&deltas, &hashes));
        }
        if ticket == 0 {
            return;
        }
        if replace {
            self.service.send(ServiceAsk::Synced(from.clone()));
        }
        // What was routed without it is stored before the peer may tell its subscribers that they are known (promise M7).
        let (links, from) = (Arc::clone(&self.links), from.clone());
        Settled::start(&self.mailboxes, move || {
            if let Some(links) = links.get() {
                links.send(&mut vec![Command::InterestApplied { from, ticket }]);
            }
        });
    }

    fn forward(
        &mut self,
        from: &GatewayId,
        plain: bool,
        shared: SharedTargets,
        publication: Publication,
    ) {
        if echo::is_echo(&publication) {
            return self.hear(from, &publication);
        }
        self.metrics.forwards_received.add(1);
        self.hand_out(plain, shared, &publication);
    }

    fn unclaimed(&mut self, shared: SharedTargets, publication: Publication) {
        self.hand_out(false, shared, &publication);
    }

    fn room(&mut self) -> Room {
        let rooms = self.mailboxes.iter().map(|mailbox| mailbox.room(WAITING_BYTES));
        let least = rooms.fold((usize::MAX, usize::MAX), |a, b| (a.0.min(b.0), a.1.min(b.1)));
        Room { forwards: least.0 as u64, bytes: least.1 as u64 }
    }

    fn release(&mut self, from: &GatewayId, ticket: u64, client: ClientId, epoch: SessionEpoch) {
        let worker = worker_of(&client, self.mailboxes.len());
        let asked = ReleaseAsked { from: from.clone(), request: ticket, client, epoch };
        self.letter(worker, Mail::ReleaseAsked(asked));
    }

    fn released(&mut self, _from: &GatewayId, request: u64, outcome: Option<ReleaseOutcome>) {
        // The worker that asked stands in the top byte.
        let worker = u8::try_from(request >> 56).unwrap_or(0);
        self.letter(worker, Mail::Released(request & !(0xff << 56), outcome));
    }

    fn poke(&mut self, seq: LogSeq) {
        self.frontier.note_poke(seq);
        self.poked = true;
    }

    fn drain_ask(&mut self, from: &GatewayId, drain: u64, clients: u32, per_s: u32) {
        let wanted = Wanted { clients, per_s };
        self.service.send(ServiceAsk::DrainAsk { from: from.clone(), drain, wanted });
    }

    fn credit(&mut self, from: &GatewayId, drain: u64, clients: u32, per_s: u32) {
        self.service.send(ServiceAsk::Credit { from: from.clone(), drain, clients, per_s });
    }

    fn peer_up(&mut self, peer: &GatewayId, _incarnation: Incarnation) {
        tracing::info!(%peer, "peer link is up");
    }

    fn peer_down(&mut self, peer: &GatewayId) {
        tracing::info!(%peer, "peer link is down");
        // What it committed last may not have been told.
        self.poked = true;
    }

    fn progress(&mut self, progress: Progress) {
        self.tables.set_heard(progress.heard);
        self.frontier.set_peers(progress.acked_interest, progress.poked, progress.good_until);
        self.metrics.peers_up.set(progress.peers_up as u64);
        self.frontier.set_unacknowledged(progress.unacknowledged as u64);
    }

    fn flush(&mut self) {
        for ((batch, bytes), mailbox) in self.batches.iter_mut().zip(&self.mailboxes) {
            let dropped = mailbox.send_weighed(batch, std::mem::take(bytes));
            self.metrics.forwards_not_taken.add(dropped as u64);
        }
        if std::mem::take(&mut self.poked) {
            // The tail ends after the links.
            let _ = self.tail.send(TailAsk::Poke);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::metrics::Metrics;

    #[test]
    fn what_peers_have_not_acknowledged_is_there_to_be_looked_at_and_wakes_nobody() {
        let frontier = Arc::new(Frontier::new(Vec::new()));
        let (service, asks) = ServiceSender::channel();
        let shared = (Arc::default(), Vec::new(), crate::tail::asks().0, Arc::clone(&frontier));
        let metrics = Arc::clone(Metrics::new(1).process());
        let mut events = Events::new(shared, service, metrics, Arc::default());
        for unacknowledged in [7, 8, 0] {
            events.progress(Progress {
                acked_interest: 1,
                poked: LogSeq(unacknowledged as u64),
                good_until: Duration::ZERO,
                heard: 1,
                unacknowledged,
                peers: 1,
                peers_up: 1,
            });
            assert_eq!(frontier.unacknowledged(), unacknowledged as u64);
        }
        assert!(asks.try_recv().is_err());
    }
}
