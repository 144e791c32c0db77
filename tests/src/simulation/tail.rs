//! The tail's thread around the real follower, and how far everyone is. Mirrors `gateway/src/tail/thread.rs`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use protocol::session::DropReason;
use protocol::{ClientId, LogSeq, TopicFilter, Wall};
use store::{Reader, StoreError};
use tidegate::commit::Progress;
use tidegate::hub::{ShadowMail, Tables};
use tidegate::links::Command;
use tidegate::presence::read_presence;
use tidegate::tail::{Follower, Letters, ShadowQuestion, TailAsk, read_shadow};
use tidegate::worker::{Mail, PresenceMail};

use super::post::{Post, Then};
use super::truth::message_of;

/// The interest that all peers know, the log that they have applied, and until when it is known well enough who they are.
pub(super) type Peers = (u64, LogSeq, Duration);

/// How far this process and its peers are, for SUBACKs that wait.
#[derive(Debug)]
pub(super) struct Frontier {
    interest: u64,
    poked: LogSeq,
    good_until: Duration,
    applied: LogSeq,
    poked_for: LogSeq,
    /// Of that as much as the links were told is applied.
    answered: LogSeq,
    waiting: Vec<bool>,
}

impl Frontier {
    pub(super) fn new(workers: usize) -> Self {
        let nobody = LogSeq(u64::MAX);
        Self {
            interest: u64::MAX,
            poked: nobody,
            good_until: Duration::MAX,
            applied: LogSeq(0),
            poked_for: LogSeq(0),
            answered: LogSeq(0),
            waiting: vec![false; workers],
        }
    }

    pub(super) fn progress(&self) -> Progress {
        let seq = self.poked.min(self.applied);
        Progress { interest: self.interest, seq, good_until: self.good_until }
    }

    pub(super) fn set_applied(&mut self, seq: LogSeq, posts: &mut Vec<Post>) {
        self.applied = seq;
        self.tell(posts);
    }

    pub(super) fn note_poke(&mut self, seq: LogSeq) {
        self.poked_for = self.poked_for.max(seq);
    }

    /// As [`tidegate::tail::Frontier::answer`].
    fn answer_pokes(&mut self, posts: &mut Vec<Post>) {
        if self.poked_for > self.answered && self.applied > self.answered {
            self.answered = self.applied;
            posts.push(Post::Links(Command::Applied(self.applied)));
        }
    }

    pub(super) fn set_peers(&mut self, peers: Peers, posts: &mut Vec<Post>) {
        (self.interest, self.poked, self.good_until) = peers;
        self.tell(posts);
    }

    pub(super) fn wait(&mut self, worker: u8) {
        if let Some(waiting) = self.waiting.get_mut(usize::from(worker)) {
            *waiting = true;
        }
    }

    fn tell(&mut self, posts: &mut Vec<Post>) {
        let progress = self.progress();
        for (worker, waiting) in (0..).zip(&mut self.waiting) {
            if std::mem::take(waiting) {
                posts.push(Post::Worker(worker, Mail::Progress(progress)));
            }
        }
    }
}

/// The tail.
#[derive(Debug)]
pub(super) struct Tail {
    follower: Follower,
    reader: Box<dyn Reader>,
    pub(super) inbox: Vec<TailAsk>,
    letters: Letters,
    tables: Arc<Tables>,
    /// Who wants to know what the log holds now: worker, and which of its asks.
    refreshes: Vec<(u8, u64)>,
    /// The version of the routes that every publication goes by.
    routes: u64,
    /// Some publications may still go by older routes.
    settling: bool,
    /// The peers were told once how far it is.
    began: bool,
}

impl Tail {
    pub(super) fn new(follower: Follower, reader: Box<dyn Reader>, tables: Arc<Tables>) -> Self {
        Self {
            follower,
            reader,
            inbox: Vec::new(),
            letters: Letters::new(),
            routes: tables.routes_version(),
            tables,
            refreshes: Vec::new(),
            settling: false,
            began: false,
        }
    }

    /// What this process retains: topics, and the numbers of the messages.
    pub(super) fn retained(&self) -> BTreeMap<String, usize> {
        let mut kept = BTreeMap::new();
        if let Ok(all) = TopicFilter::new("#") {
            self.tables.retained().for_matches(&all, None, Wall(0), |message| {
                kept.extend(message.map(|it| (it.topic().to_owned(), message_of(it))));
                true
            });
        }
        kept
    }

    /// What a client's session did not get for want of room, as an operator is shown it here.
    pub(super) fn dropped(&self, client: &str) -> u64 {
        let status = ClientId::new(client).ok().and_then(|client| self.follower.queue_of(&client));
        let full = |reason| matches!(reason, DropReason::QueueCount | DropReason::QueueBytes);
        let drops = status.iter().flat_map(|status| status.drops.iter());
        drops.filter(|(reason, _)| full(*reason)).map(|(_, count)| count).sum()
    }

    /// Everything that waits, then one look at the log if a peer poked.
    ///
    /// # Errors
    /// What the store says; the process is dying then.
    pub(super) fn turn(
        &mut self,
        frontier: &mut Frontier,
        posts: &mut Vec<Post>,
    ) -> Result<(), StoreError> {
        let mut poked = false;
        for ask in std::mem::take(&mut self.inbox) {
            if matches!(ask, TailAsk::Poke) {
                poked = true;
            } else {
                self.handle(ask, frontier, posts)?;
            }
        }
        if poked {
            self.follower.catch_up(&mut *self.reader, &mut self.letters)?;
        }
        while self.follower.gives_back() {
            let everyone = frontier.progress();
            self.follower.give_back(&everyone, &mut *self.reader, &mut self.letters)?;
        }
        for (worker, letter) in self.letters.drain(..) {
            posts.push(Post::Worker(worker, letter.into()));
        }
        if !self.refreshes.is_empty() {
            let refreshes = std::mem::take(&mut self.refreshes);
            posts.push(Post::Settle(Then::Ask(TailAsk::Settled(refreshes))));
        }
        self.publish(frontier, posts);
        Ok(())
    }

    /// Says how far we are, once every publication goes by it.
    fn publish(&mut self, frontier: &mut Frontier, posts: &mut Vec<Post>) {
        let (applied, routes) = (self.follower.applied(), self.tables.routes_version());
        if !std::mem::replace(&mut self.began, true) {
            return announce(applied, frontier, posts);
        }
        if applied == frontier.applied || self.settling {
            return frontier.answer_pokes(posts);
        }
        if routes == self.routes {
            return announce(applied, frontier, posts);
        }
        self.routes = routes;
        self.settling = true;
        posts.push(Post::Settle(Then::Ask(TailAsk::InForce(applied))));
    }

    fn handle(
        &mut self,
        ask: TailAsk,
        frontier: &mut Frontier,
        posts: &mut Vec<Post>,
    ) -> Result<(), StoreError> {
        let (reader, letters) = (&mut *self.reader, &mut self.letters);
        match ask {
            TailAsk::Read { worker, client } => {
                let (doc, whole) = self.follower.look_up(&client, reader, letters)?;
                let whole = whole.map(|whole| Mail::Whole(client.clone(), whole));
                let mails = whole.into_iter().chain([Mail::Record(client, doc)]);
                posts.extend(mails.map(|mail| Post::Worker(worker, mail)));
                Ok(())
            }
            TailAsk::Shadow(question) => {
                posts.extend(about_shadow(question, reader));
                Ok(())
            }
            TailAsk::Attach { worker, session, after, credit } => {
                self.follower.catch_up(reader, letters)?;
                self.follower.attach((session, after, credit), worker, reader, letters)
            }
            TailAsk::Refresh { worker, refresh } => {
                self.refreshes.push((worker, refresh));
                Ok(())
            }
            TailAsk::CatchUp { worker, look } => {
                self.follower.catch_up(reader, letters)?;
                posts.push(Post::Worker(worker, Mail::CaughtUp(look)));
                Ok(())
            }
            TailAsk::Settled(refreshes) => {
                self.follower.catch_up(reader, letters)?;
                let told = |(worker, refresh)| Post::Worker(worker, Mail::Refreshed(refresh));
                posts.extend(refreshes.into_iter().map(told));
                Ok(())
            }
            TailAsk::InForce(seq) => {
                self.settling = false;
                announce(seq, frontier, posts);
                Ok(())
            }
            TailAsk::Detach(session) => {
                self.follower.detach(session);
                Ok(())
            }
            TailAsk::Advance(session) => {
                self.follower.advance(session, letters);
                Ok(())
            }
            TailAsk::NotGiven(of) => {
                self.follower.handle_not_given(of);
                Ok(())
            }
            TailAsk::Forget(up_to, answer) => {
                self.follower.forget_kept(up_to);
                let _ = answer.send(self.follower.newest());
                Ok(())
            }
            TailAsk::Pull(session, credit) => self.follower.pull(session, credit, reader, letters),
            TailAsk::Own { prev, seq, entries, bodies } => {
                let known = self.follower.applied() >= seq
                    || self.follower.apply_own((prev, seq), entries, &bodies, letters);
                if known { Ok(()) } else { self.follower.catch_up(reader, letters) }
            }
            TailAsk::Lowest(answer) => {
                let _ = answer.send((self.follower.lowest(), self.follower.applied()));
                Ok(())
            }
            TailAsk::Sweep(now) => self.follower.sweep(now, reader, letters),
            TailAsk::Presence { worker, client } => about_presence(worker, client, reader, posts),
            TailAsk::Session(..) | TailAsk::Poke | TailAsk::Stop => Ok(()),
        }
    }
}

fn about_presence(
    worker: u8,
    client: ClientId,
    reader: &mut dyn Reader,
    posts: &mut Vec<Post>,
) -> Result<(), StoreError> {
    let (doc, is_thing) = read_presence(reader, &client)?;
    let read = PresenceMail::Read(client, doc, is_thing);
    posts.push(Post::Worker(worker, Mail::Presence(read)));
    Ok(())
}

fn about_shadow(question: ShadowQuestion, reader: &mut dyn Reader) -> Option<Post> {
    match question {
        ShadowQuestion::Read { worker, key, most } => {
            let read = read_shadow(&key, most, reader);
            Some(Post::Worker(worker, Mail::Shadow(ShadowMail::Read(key, read))))
        }
        // Nobody asks for it here.
        ShadowQuestion::Names { .. } => None,
    }
}

fn announce(seq: LogSeq, frontier: &mut Frontier, posts: &mut Vec<Post>) {
    frontier.set_applied(seq, posts);
    frontier.answer_pokes(posts);
}
