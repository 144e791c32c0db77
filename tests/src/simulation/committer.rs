//! The committer's thread: one group at a time. Mirrors `gateway/src/committer.rs`.

use std::sync::Arc;
use std::time::Duration;

use protocol::{HashMap, Position};
use store::{Outcome, StoreError, Write, Writer};
use tidegate::commit::{Answer, Ordered, Ticket};
use tidegate::committer::Refusals;
use tidegate::hub::Tables;
use tidegate::links::Command;
use tidegate::pokes::Pokes;
use tidegate::tail::TailAsk;
use tidegate::worker::Mail;

use super::agenda::{Event, Moment, Place};
use super::around::Around;
use super::mistakes::{Mistake, Spoiler};
use super::post::{Errand, Note, Order, Post};
use super::service::RENEW_MS;

/// The committer.
#[derive(Debug)]
pub(super) struct Committer {
    place: Place,
    writer: Box<dyn Writer>,
    pub(super) inbox: Vec<Order>,
    /// How long a commit takes, in milliseconds, until when.
    pub(super) slow: (u64, Moment),
    refusals: Refusals,
    spoiler: Spoiler,
    /// When the peers are told of commits, by what they want.
    pokes: (Pokes, Arc<Tables>),
    /// What is told when the writer's call returns; until then nothing else is written.
    telling: Option<Vec<Post>>,
}

/// Whose answer a write is.
#[derive(Debug, Clone, Copy)]
enum Whose {
    Worker(u8, Ticket),
    Service(Errand),
    /// It was answered before.
    Nobody,
}

/// Writes in one group; few, so that groups end in many places.
const GROUP: usize = 24;

impl Committer {
    pub(super) fn new(
        place: Place,
        writer: Box<dyn Writer>,
        tables: Arc<Tables>,
        mistake: Option<Mistake>,
    ) -> Self {
        Self {
            place,
            writer,
            inbox: Vec::new(),
            slow: (0, Moment(0)),
            refusals: Refusals::default(),
            spoiler: Spoiler::new(mistake),
            pokes: (Pokes::default(), tables),
            telling: None,
        }
    }

    /// Whether it may begin the next group.
    pub(super) const fn is_wanted(&self) -> bool {
        self.telling.is_none() && !self.inbox.is_empty()
    }

    /// Writes one group. It is durable now; who wrote is told later.
    pub(super) fn turn(&mut self, around: &mut Around) {
        if self.telling.is_some() {
            return;
        }
        let (mut writes, mut whose, mut settled) = (Vec::new(), Vec::new(), Vec::new());
        for write in std::mem::take(&mut self.spoiler.late) {
            writes.push(write);
            whose.push(Whose::Nobody);
        }
        let mut rest = std::mem::take(&mut self.inbox).into_iter();
        while writes.len() < GROUP {
            match rest.next() {
                Some(Order::Worker(worker, group)) => {
                    let refusals = &self.refusals;
                    for Ordered { ticket, mut write, .. } in
                        group.into_iter().filter(|it| !refusals.reach(worker, it.known))
                    {
                        self.spoiler.spoil(&mut write);
                        writes.push(write);
                        whose.push(Whose::Worker(worker, ticket));
                    }
                }
                Some(Order::Service(write, errand)) => {
                    writes.push(*write);
                    whose.push(Whose::Service(errand));
                }
                Some(Order::Settle(number)) => settled.push(Post::LetGo(number)),
                None => break,
            }
        }
        self.inbox = rest.collect();
        if writes.is_empty() && settled.is_empty() {
            return;
        }
        let mut posts = Vec::new();
        if !writes.is_empty() {
            posts = self.commit(&writes, &whose, around);
        }
        posts.append(&mut settled);
        self.telling = Some(posts);
        let us = if around.random.percent(3) { 40_000 } else { 1_500 };
        let us = around.random.between(50, us);
        let (slow_ms, until) = self.slow;
        let us = if around.now < until { us + slow_ms * 1000 } else { us };
        around.after_us(us, Event::Told(self.place));
    }

    /// The writer's call returns.
    pub(super) fn told(&mut self) -> Vec<Post> {
        self.telling.take().unwrap_or_default()
    }

    /// Peers are told of what was held back for long enough.
    pub(super) fn poke(&mut self, now: Moment) -> Option<Post> {
        let due = self.pokes.0.take_due(Duration::from_micros(now.0));
        due.map(|seq| Post::Links(Command::Poke(seq)))
    }

    fn commit(&mut self, writes: &[Write], whose: &[Whose], around: &mut Around) -> Vec<Post> {
        let mut posts = Vec::new();
        let commit = match self.writer.commit(writes) {
            Err(StoreError::Unknown { .. }) => self.writer.commit_again(writes),
            other => other,
        };
        let commit = match commit {
            Ok(commit) => commit,
            Err(error) => {
                around.note(format_args!("gw-{} cannot commit: {error}", self.place.site + 1));
                for whose in whose {
                    match whose {
                        Whose::Worker(worker, ticket) => self.refusals.note(*worker, *ticket),
                        // Who cannot renew its lease is taken for dead, and asked for nothing.
                        Whose::Service(Errand::Renewal) => {
                            let again = around.now.plus_ms(RENEW_MS);
                            around.truth.trouble(around.now, again);
                        }
                        Whose::Service(Errand::Numbers(..) | Errand::Orphan) | Whose::Nobody => {}
                    }
                }
                let answers = whose.iter().map(|whose| (*whose, Answer::Unavailable));
                answer(answers, &mut posts);
                return posts;
            }
        };
        let Around { truth, journal, now, .. } = around;
        truth.committed(self.place, writes, &commit.outcomes, *now, journal);
        let mut bodies = HashMap::default();
        for (write, outcome) in writes.iter().zip(&commit.outcomes) {
            if let Outcome::Done { first, .. } = outcome {
                for (at, append) in (first.0..).zip(&write.appends) {
                    bodies.insert(Position(at), append.body.clone());
                }
            }
        }
        let (prev, seq, entries) = (commit.prev, commit.seq, commit.entries);
        if seq != prev {
            let (pokes, tables) = &mut self.pokes;
            let is_urgent = pokes.note(seq, &entries, tables, Duration::from_micros(around.now.0));
            posts.push(Post::Tail(TailAsk::Own { prev, seq, entries, bodies }));
            if is_urgent {
                posts.push(Post::Links(Command::Poke(seq)));
            }
            if let Some(due) = self.pokes.0.due() {
                let us = u64::try_from(due.as_micros()).unwrap_or(u64::MAX);
                around.agenda.at(Moment(us), Event::Held(self.place));
            }
        }
        let refusals = &mut self.refusals;
        let answers = whose.iter().zip(commit.outcomes).zip(writes);
        let answers = answers.map(|((whose, outcome), write)| match whose {
            Whose::Worker(worker, ticket) => {
                (*whose, refusals.answer((*worker, *ticket), write, (outcome, seq)))
            }
            Whose::Service(_) | Whose::Nobody => (*whose, Answer::Committed(outcome, seq)),
        });
        answer(answers, &mut posts);
        posts
    }
}

fn answer(answers: impl Iterator<Item = (Whose, Answer)>, posts: &mut Vec<Post>) {
    let mut by_worker: Vec<(u8, Vec<(Ticket, Answer)>)> = Vec::new();
    for (whose, answer) in answers {
        match whose {
            Whose::Worker(worker, ticket) => {
                match by_worker.iter_mut().find(|(w, _)| *w == worker) {
                    Some((_, answers)) => answers.push((ticket, answer)),
                    None => by_worker.push((worker, vec![(ticket, answer)])),
                }
            }
            Whose::Service(errand) => posts.push(Post::Service(Note::Written(errand, answer))),
            Whose::Nobody => {}
        }
    }
    for (worker, answers) in by_worker {
        posts.push(Post::Worker(worker, Mail::Answers(answers)));
    }
}
