//! What can happen to a visit, and what follows.

use std::time::Duration;

use protocol::{Incarnation, Wall};

use super::state::Execution;
use super::step::Step;
use crate::calendar::Interval;
use crate::fleet::{Preferred, Term};
use crate::ledger::SlotEpoch;
use crate::verdict::Verdict;

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// People have agreed, or nobody has to.
    Approved,
    /// The ledger granted a slot, in the same transaction.
    Granted {
        /// Which.
        epoch: SlotEpoch,
        /// In which reign.
        term: Term,
        /// To which life of the host.
        incarnation: Incarnation,
        /// For which opening.
        opening: Interval,
    },
    /// The visit needs no slot and begins.
    Begin,
    /// The ledger did not take what the last reaction wanted of it; nothing was stored.
    Refused {
        /// What it said.
        why: String,
        /// Whether the slot is not this visit's any more.
        slot_gone: bool,
    },
    /// A freeze has begun that excludes what is done: as long as it can be taken back, it is.
    Frozen {
        /// Which, whose and why, for people.
        why: String,
    },
    /// Somebody who runs or looks reports. One of another slot or another attempt changes nothing.
    Report {
        /// Of which slot.
        epoch: Option<SlotEpoch>,
        /// Which attempt.
        attempt: u32,
        /// What.
        what: Report,
    },
    /// What a program said that is run as an attempt; it is kept beside what came of it.
    Said {
        /// Which attempt.
        attempt: u32,
        /// The life of the host that says so; another does not carry it out any more.
        incarnation: Incarnation,
        /// The last of it.
        output: String,
    },
    /// The host says how long what is being done may take from now on, by what is configured there.
    Takes {
        /// Which attempt.
        attempt: u32,
        /// The life of the host that says so; another does not carry it out any more.
        incarnation: Incarnation,
        /// So long; what was granted before is never cut.
        limit: Duration,
    },
    /// The process that was to follow this one on the same host is gone, and this one serves on.
    TakenBack {
        /// The life of the host that goes on, older than the one that was last heard of.
        incarnation: Incarnation,
    },
    /// Whoever carries this out has started anew and has read this state: the first event of each of its lives, before
    /// any other. Nothing that the life before began still
    /// runs unwatched: it has ended, or a probe finds it running.
    Restarted {
        /// The life of the host.
        incarnation: Incarnation,
    },
    /// The host's lease ran out.
    HostLost,
    /// Time passed.
    Tick,
    /// A person wants something.
    Order {
        /// Who.
        by: String,
        /// What.
        order: Order,
    },
}

/// How an attempt went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Report {
    /// It did what it should.
    Done {
        /// How the drain ended; wanted from [`Step::Quiesced`] and from [`Step::Undrain`].
        verdict: Option<Verdict>,
    },
    /// It did not.
    Failed {
        /// Why, for programs.
        code: String,
    },
    /// The host does not agree to what was not begun yet; the visit is planned anew.
    Declined {
        /// What speaks against it, for programs.
        code: String,
        /// When that is probably over.
        until: Option<Wall>,
        /// When it would suit the host, if that is why.
        preferred: Vec<Preferred>,
    },
    /// What somebody saw who looked.
    Found(Found),
}

/// What became of an attempt that nobody watched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// It did what it should.
    Done {
        /// How the drain ended, if it is about one.
        verdict: Option<Verdict>,
    },
    /// It failed.
    Failed {
        /// Why, for programs.
        code: String,
    },
    /// It was certainly never begun.
    NotStarted,
    /// It still runs, and will report.
    Running,
    /// It cannot be told.
    Unknown,
}

/// What a person can want.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Order {
    /// Begin no other step; move nobody.
    Pause,
    /// Go on.
    Resume,
    /// Call it off: back to where the host was. Not past the point of no return.
    Abort,
    /// Give the step as much time again.
    Extend,
    /// Move the rest of the clients without credits.
    ForceRest,
    /// Try the step again.
    Retry,
    /// Go on without the step.
    Skip,
    /// Give the host up for lost.
    WriteOff {
        /// Why.
        reason: String,
    },
}

/// What follows: store `next` together with what the ledger is asked, in one transaction; then do the effects, in
/// order. If the ledger refuses, nothing is stored or done, and it is told with [`Event::Refused`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reaction {
    /// The state to store; nothing is to be stored if it is as before.
    pub next: Execution,
    /// The slot that the ledger is asked about.
    pub epoch: Option<SlotEpoch>,
    /// What the ledger has to agree to.
    pub ledger: Vec<LedgerStep>,
    /// What to do then.
    pub effects: Vec<Effect>,
}

/// What the ledger is asked about the visit's slot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LedgerStep {
    /// [`crate::Ledger::start`].
    Start {
        /// How long the rest probably takes.
        remaining: Duration,
    },
    /// [`crate::Ledger::cross`].
    Cross {
        /// How long the rest probably takes.
        remaining: Duration,
    },
    /// [`crate::Ledger::hand_back`].
    HandBack,
    /// [`crate::Ledger::conclude`].
    Conclude(Verdict),
    /// [`crate::Ledger::verify`], with the life of the host.
    Verify(Incarnation),
    /// [`crate::Ledger::fail`]; that it is noted already is no refusal.
    Fail,
    /// [`crate::Ledger::release`].
    Release,
    /// [`crate::Ledger::write_off`].
    WriteOff {
        /// Who decided it.
        actor: String,
        /// Why.
        reason: String,
    },
}

/// What is to be done once the state is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Begin a step, and report how it ended.
    Run {
        /// Which.
        step: Step,
        /// Of which work.
        work: usize,
        /// As which attempt.
        attempt: u32,
    },
    /// Look what became of a step, and report what was found.
    Probe {
        /// Which.
        step: Step,
        /// Of which work.
        work: usize,
        /// Which attempt.
        attempt: u32,
    },
    /// End a step that is running.
    Stop {
        /// Which.
        step: Step,
        /// Which attempt.
        attempt: u32,
    },
    /// Move nobody for now.
    Hold,
    /// Move on.
    Continue,
    /// Move the rest without credits.
    ForceRest,
    /// Admit so many of the clients that want to come, in percent.
    Admit(u8),
    /// Tell people that one of them has to decide.
    Page,
}

/// Why an event changes nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Ignored {
    /// It is about another slot or another attempt.
    #[error("report is out of date")]
    Stale,
    /// The visit is not where this could happen.
    #[error("visit is not at such a step")]
    NotNow,
    /// What was begun cannot be taken back.
    #[error("visit is past the point of no return")]
    PastReturn,
    /// It was ended when its time was over: there is nothing that more time would help.
    #[error("step was ended when its time was over; retry it or skip it")]
    Ended,
    /// The step protects sessions, or the slot.
    #[error("step cannot be left out")]
    NotSkipped,
    /// The visit is over.
    #[error("visit is over")]
    Over,
}
