//! Mistakes on purpose, one at a time, to see whether the observers find them.
//!
//! They are made where the real parts of a gateway meet simulated ones: in what is on its way to the store, to peers, to
//! devices, and in letters between threads. So no gateway has a switch for them, and what is played without one is what
//! is shipped.

use bytes::Bytes;
use protocol::session::SessionRecord;
use protocol::{HashMap, Position, Refs, RefsBuilder, SessionNo};
use store::{Append, Expect, Put, Space, Write};
use tidegate::commit::Progress;
use tidegate::hub::ShadowMail;
use tidegate::links::Command;
use tidegate::worker::Mail;

use super::post::Post;

/// A mistake that can be planted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mistake {
    /// PUBACK and PUBREC leave before the message is stored.
    AcknowledgesEarly,
    /// A session's document is written whatever its epoch is.
    ForgetsFence,
    /// A publication is given to each peer twice.
    ForwardsTwice,
    /// SUBACK waits for nobody.
    ConfirmsEarly,
    /// A session that is given up forgets which `QoS` 2 ids its client has open.
    ForgetsInbound,
    /// A session that is given up counts as acknowledged what was only sent.
    DropsSent,
    /// A will that is published stays with its session.
    KeepsWill,
    /// The first message that is retained on a topic stays.
    KeepsFirstRetained,
    /// A shared group gives each stored message to two members.
    SharesWithTwo,
    /// What is sent again does not say so.
    ForgetsDup,
    /// What a member of a shared group left is given to nobody.
    LosesReturned,
    /// Stored messages do not expire.
    DeliversExpired,
    /// A gateway does not hear that another one has a session of its own.
    HearsNothing,
    /// Some of what a gateway is interested in is not told to its peers.
    LosesInterest,
    /// A queue is trimmed beyond what was acknowledged.
    TrimsTooFar,
    /// Some publications are stored for all of their sessions but one.
    MissesOne,
    /// Messages of a stored queue change places.
    SwapsQueued,
    /// A shadow is written whatever stands there.
    ForgetsShadowFence,
    /// What is asked of a shadow is answered before it is stored.
    AnswersShadowEarly,
    /// What other gateways make of shadows is not told to those who watch.
    HearsOfNoShadow,
    /// Those who watch a shadow are now and then told of an older version.
    TellsOldVersions,
    /// Some of what is to be remembered of who is there is not.
    ForgetsPresence,
}

impl Mistake {
    /// All of them.
    pub const ALL: [Self; 22] = [
        Self::AcknowledgesEarly,
        Self::ForgetsFence,
        Self::ForwardsTwice,
        Self::ConfirmsEarly,
        Self::ForgetsInbound,
        Self::DropsSent,
        Self::KeepsWill,
        Self::KeepsFirstRetained,
        Self::SharesWithTwo,
        Self::ForgetsDup,
        Self::LosesReturned,
        Self::DeliversExpired,
        Self::HearsNothing,
        Self::LosesInterest,
        Self::TrimsTooFar,
        Self::MissesOne,
        Self::SwapsQueued,
        Self::ForgetsShadowFence,
        Self::AnswersShadowEarly,
        Self::HearsOfNoShadow,
        Self::TellsOldVersions,
        Self::ForgetsPresence,
    ];

    /// What is told of progress to SUBACKs that wait.
    pub(super) fn tells(mistake: Option<Self>, progress: Progress) -> Progress {
        if mistake == Some(Self::ConfirmsEarly) {
            return Progress::default();
        }
        progress
    }

    /// What is written to a device.
    pub(super) fn writes(mistake: Option<Self>, packets: &mut [u8]) {
        let Some(mistake @ (Self::ForgetsDup | Self::TellsOldVersions)) = mistake else { return };
        let mut rest = packets;
        while let Ok(Some(len)) = protocol::mqtt::codec::frame(rest, u32::MAX) {
            let Some((packet, after)) = rest.split_at_mut_checked(len) else { return };
            if mistake == Self::TellsOldVersions {
                age(packet);
            } else if let Some(first) = packet.first_mut().filter(|first| **first >> 4 == PUBLISH) {
                *first &= !DUP;
            }
            rest = after;
        }
    }

    /// What the threads of a gateway say to each other.
    pub(super) fn says(mistake: Option<Self>, posts: &mut Vec<Post>) {
        let Some(mistake) = mistake else { return };
        if mistake == Self::ForwardsTwice {
            for post in std::mem::take(posts) {
                if let Post::Links(Command::Forward { to, plain, shared, publication }) = &post {
                    posts.push(Post::Links(Command::Forward {
                        to: to.clone(),
                        plain: *plain,
                        shared: shared.clone(),
                        publication: publication.clone(),
                    }));
                }
                posts.push(post);
            }
        }
        posts.retain(|post| {
            let Post::Worker(_, mail) = post else { return true };
            let changed = |mail: &_| matches!(mail, Mail::Shadow(ShadowMail::Changed(..)));
            !(mistake == Self::LosesReturned && matches!(mail, Mail::Returned(_))
                || mistake == Self::HearsOfNoShadow && changed(mail)
                || mistake == Self::HearsNothing && matches!(mail, Mail::Superseded(..)))
        });
        for post in &mut *posts {
            if let Post::Links(Command::Interest { changes, .. }) = post
                && mistake == Self::LosesInterest
            {
                changes.retain(|change| change.filter.as_str().len() % 3 != 0);
            }
        }
        let queued = |post: Option<&Post>| matches!(post, Some(Post::Worker(_, Mail::Queued(_))));
        for at in 1..posts.len() {
            if mistake == Self::SwapsQueued && queued(posts.get(at - 1)) && queued(posts.get(at)) {
                posts.swap(at - 1, at);
            }
        }
    }
}

/// A PUBLISH, by its first four bits, and the flag of one that may be a repetition.
const PUBLISH: u8 = 3;
const DUP: u8 = 0b1000;

/// Takes some off the version of a shadow that a packet tells of, as long as that has two digits.
fn age(packet: &mut [u8]) {
    let name = b"\"version\":";
    let topic = b"/shadow/update/delta";
    let is_told = packet.windows(topic.len()).any(|bytes| bytes == topic);
    let at = packet.windows(name.len()).position(|bytes| bytes == name).filter(|_| is_told);
    let Some([tens, ones, ..]) = at.and_then(|at| packet.get_mut(at + name.len()..)) else {
        return;
    };
    if tens.is_ascii_digit() && *ones == b'7' {
        *ones = b'4';
    }
}

/// A committer that makes a mistake, or none.
#[derive(Debug, Default)]
pub(super) struct Spoiler {
    mistake: Option<Mistake>,
    /// What stood under a key when it was first, or last, written.
    stood: HashMap<(Space, Bytes), Bytes>,
    /// What was answered and is still to be written.
    pub(super) late: Vec<Write>,
    member: SessionNo,
    count: u64,
}

impl Spoiler {
    pub(super) fn new(mistake: Option<Mistake>) -> Self {
        Self { mistake, ..Self::default() }
    }

    /// What is written in place of a worker's write.
    pub(super) fn spoil(&mut self, write: &mut Write) {
        let Some(mistake) = self.mistake else { return };
        let only_appends = write.puts.is_empty() && write.trims.is_empty();
        if mistake == Mistake::AcknowledgesEarly && only_appends && write.drops.is_empty() {
            return self.late.push(std::mem::take(write));
        }
        if mistake == Mistake::AnswersShadowEarly
            && write.puts.iter().any(|put| put.space == Space::Shadow)
        {
            return self.late.push(std::mem::take(write));
        }
        if mistake == Mistake::ForgetsPresence {
            let seen = |put: &Put| put.space != Space::Presence || put.key.first() != Some(&b'p');
            self.count += 1;
            write.puts.retain(|put| !self.count.is_multiple_of(7) || seen(put));
        }
        if mistake == Mistake::TrimsTooFar {
            write.trims.iter_mut().for_each(|trim| trim.up_to = Position(trim.up_to.0 + 1));
        }
        if mistake == Mistake::KeepsWill {
            self.keep_will(write);
        }
        if mistake == Mistake::ForgetsFence {
            write.checks.clear();
        }
        write.puts.iter_mut().for_each(|put| self.spoil_put(mistake, put));
        write.appends.iter_mut().for_each(|append| self.spoil_append(mistake, append));
    }

    /// The will that a write publishes is due again.
    fn keep_will(&mut self, write: &mut Write) {
        let publishes = !write.appends.is_empty();
        let puts = write.puts.iter_mut().filter(|put| put.space == Space::Session);
        let mut due = None;
        for put in puts {
            let Some(mut record) = put.value.as_ref().and_then(SessionRecord::decode) else {
                continue;
            };
            let key = (put.space, put.key.clone());
            let before = self.stood.get(&key).and_then(SessionRecord::decode);
            if publishes && record.owner.is_none() && record.will.is_none() {
                record.will = before.and_then(|before| before.will);
                if record.will.is_some() {
                    due = Some((put.key.clone(), record.epoch));
                    put.value = Some(record.encode());
                }
            }
            self.stood.insert(key, record.encode());
        }
        if let Some((key, epoch)) = due {
            write.puts.retain(|put| put.space != Space::Will);
            let value = [[0; 8], epoch.0.to_be_bytes()].concat();
            let (space, expect, announce) = (Space::Will, Expect::Any, false);
            write.puts.push(Put { space, key, value: Some(value.into()), expect, announce });
        }
    }

    fn spoil_put(&mut self, mistake: Mistake, put: &mut Put) {
        let key = (put.space, put.key.clone());
        match (mistake, put.space) {
            (Mistake::ForgetsShadowFence, Space::Shadow) => put.expect = Expect::Any,
            (Mistake::ForgetsFence, Space::Session) => {
                if let Expect::Prefix(_) = put.expect {
                    put.expect = Expect::Any;
                }
            }
            (Mistake::ForgetsInbound | Mistake::DropsSent, Space::Session) => {
                let record = put.value.as_ref().and_then(SessionRecord::decode);
                let Some(mut record) = record.filter(|record| record.owner.is_none()) else {
                    return;
                };
                if mistake == Mistake::ForgetsInbound {
                    record.inbound.clear();
                } else {
                    (record.acknowledged, record.inflight) = (record.sent, Vec::new());
                }
                put.value = Some(record.encode());
            }
            (Mistake::KeepsFirstRetained, Space::Retained) => {
                if let Some(value) = &mut put.value {
                    *value = self.stood.entry(key).or_insert_with(|| value.clone()).clone();
                }
            }
            _ => {}
        }
    }

    fn spoil_append(&mut self, mistake: Mistake, append: &mut Append) {
        self.count += 1;
        let mut builder = RefsBuilder::new();
        let shared = append.refs.iter().find(|(_, flags)| Refs::is_returned(*flags));
        if mistake == Mistake::DeliversExpired {
            append.body.expires_at = None;
        } else if mistake == Mistake::MissesOne && self.count.is_multiple_of(10) {
            append.refs.iter().skip(1).for_each(|(no, flags)| builder.push(no, flags));
            append.refs = builder.build();
        } else if mistake == Mistake::SharesWithTwo
            && let Some((no, flags)) = shared
        {
            append.refs.iter().for_each(|(no, flags)| builder.push(no, flags));
            builder.push(std::mem::replace(&mut self.member, no), flags);
            append.refs = builder.build();
        }
    }
}
