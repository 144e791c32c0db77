//! The steps of a visit, as they follow from its work.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::step::Step;
use crate::ledger::SlotClass;
use crate::operation::{Class, OpKind, Operation};
use crate::record;

/// What is done in a visit, in order, with limits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Course {
    /// What the ledger has to allow; nothing for work that disturbs nobody.
    pub slot: Option<SlotClass>,
    /// What is done to the host.
    pub works: Vec<Work>,
    /// The steps.
    pub steps: Vec<PlannedStep>,
    /// What happens when the drain takes too long.
    pub on_timeout: DrainTimeout,
    /// How clients are admitted again.
    pub warming: Warming,
    /// What becomes of a drained host whose work failed.
    #[serde(default)]
    pub on_failure: WorkFailure,
}

/// One piece of work: an operation of the plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Work {
    /// The operation's name.
    pub operation: String,
    /// Whether the host goes away for it, and comes back in a new life.
    pub absent: bool,
    /// How long it may take.
    #[serde(rename = "limit_ms", with = "record::millis")]
    pub limit: Duration,
    /// How long it probably takes (p95).
    #[serde(rename = "estimate_ms", with = "record::millis")]
    pub estimate: Duration,
}

/// A step with its limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlannedStep {
    /// Which.
    pub step: Step,
    /// Which work it belongs to; zero for steps of the whole visit.
    pub work: usize,
    /// How long it may take, or takes if it only waits.
    #[serde(rename = "limit_ms", with = "record::millis")]
    pub limit: Duration,
    /// How long it probably takes (p95).
    #[serde(rename = "estimate_ms", with = "record::millis")]
    pub estimate: Duration,
    /// How often it is tried before somebody is asked.
    pub tries: u32,
}

/// What happens when a drain takes too long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DrainTimeout {
    /// The host serves again and keeps what it still has.
    #[default]
    Undrain,
    /// It goes on as long as the window is open.
    Extend,
    /// The rest is moved without waiting for the receivers' credits.
    ForceRest,
    /// Nothing moves until an operator has decided.
    Ask,
}

/// What becomes of a drained host whose work failed. One that still has its clients serves on in any case.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum WorkFailure {
    /// It is checked, and serves again.
    Return,
    /// It stays out of service until somebody has decided.
    #[default]
    StayOut,
}

/// How clients are admitted after a visit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Warming {
    /// How many of those that want to come are admitted first, in percent.
    pub from_percent: u8,
    /// How long until all are.
    #[serde(rename = "over_ms", with = "record::millis")]
    pub over: Duration,
}

/// What a course is made from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CourseWishes {
    /// What the ledger has to allow; nothing for work that disturbs nobody.
    pub slot: Option<SlotClass>,
    /// What is done to the host, in order.
    pub works: Vec<Work>,
    /// How long the host says that it will go before it refuses clients.
    pub announce: Duration,
    /// How long the drain may take.
    pub drain: Duration,
    /// How long the drain probably takes (p95).
    pub drain_estimate: Duration,
    /// What happens when it takes longer.
    pub on_timeout: DrainTimeout,
    /// How long the host stays drained behind its work.
    pub hold: Duration,
    /// How long a program or a check may take.
    pub patience: Duration,
    /// How often checks are made before somebody is asked.
    pub verify_tries: u32,
    /// How long a host may be away.
    pub return_by: Duration,
    /// How clients are admitted after the work.
    pub warming: Warming,
    /// What becomes of a drained host whose work failed.
    pub on_failure: WorkFailure,
    /// How long the host is watched after that.
    pub soak: Duration,
}

/// How long a host may take to start a program, and to say how it ended.
const AROUND_HOOK: Duration = Duration::from_secs(30);

impl Course {
    /// The steps that such a visit takes.
    pub fn new(wishes: CourseWishes) -> Self {
        let CourseWishes { slot, works, on_timeout, warming, .. } = &wishes;
        let mut steps = Vec::new();
        let mut push = |step, limit, estimate, tries| {
            steps.push(PlannedStep { step, work: 0, limit, estimate, tries });
        };
        let (zero, patience) = (Duration::ZERO, wishes.patience);
        let drains = *slot == Some(SlotClass::Drain);
        let checked = slot.is_some();
        if checked {
            push(Step::PreCheck, patience, zero, 1);
        }
        if drains {
            push(Step::Announce, wishes.announce.saturating_add(patience), wishes.announce, 1);
            push(Step::Drain, wishes.drain, wishes.drain_estimate, 1);
            push(Step::HandOff, patience, zero, 1);
            push(Step::Quiesced, patience, zero, 1);
        }
        for (work, Work { absent, limit, estimate, .. }) in works.iter().enumerate() {
            let (limit, estimate) = (*limit, *estimate);
            steps.push(PlannedStep { step: Step::Operate, work, limit, estimate, tries: 1 });
            if *absent {
                let limit = wishes.return_by;
                steps.push(PlannedStep { step: Step::Away, work, limit, estimate: zero, tries: 1 });
            }
        }
        let mut push = |step, limit, estimate, tries| {
            steps.push(PlannedStep { step, work: 0, limit, estimate, tries });
        };
        // Behind what else is done, so that it is held as it will be.
        if drains && (works.is_empty() || !wishes.hold.is_zero()) {
            push(Step::Hold, wishes.hold, zero, 1);
        }
        push(Step::Verify, patience, zero, wishes.verify_tries.max(1));
        if drains {
            push(Step::Warm, warming.over, warming.over, 1);
        }
        if checked {
            push(Step::Soak, wishes.soak, zero, 1);
        }
        if slot.is_some() {
            push(Step::Release, patience, zero, 1);
        }
        let (slot, on_timeout, warming) = (*slot, *on_timeout, *warming);
        let on_failure = wishes.on_failure;
        Self { slot, works: wishes.works, steps, on_timeout, warming, on_failure }
    }

    /// How long the steps from one on probably take (p95), until the host serves as before.
    pub fn remaining(&self, from: usize) -> Duration {
        let ahead = self.steps.iter().skip(from).map(|step| step.estimate);
        ahead.fold(Duration::ZERO, Duration::saturating_add)
    }

    /// Whether the ledger is asked again at the start and before each step that cannot be taken back.
    pub(super) const fn is_checked(&self) -> bool {
        self.slot.is_some()
    }
}

impl Work {
    /// The work of an operation, which may take `patience` if it does not say how long; none for a drain without
    /// work.
    pub fn of(operation: &Operation, patience: Duration) -> Option<Self> {
        let (absent, limit) = match &operation.kind {
            OpKind::DrainOnly { .. } => return None,
            // The process ends with it, and with the process whoever carries the visit out.
            OpKind::Restart | OpKind::Upgrade { .. } | OpKind::Reboot => (true, patience),
            OpKind::CertRotate | OpKind::ConfigChange { .. } => (false, patience),
            // Its own limit comes first: then the host says how it ended.
            OpKind::Hook { timeout, class, .. } => {
                (*class == Class::Absent, timeout.saturating_add(AROUND_HOOK))
            }
        };
        let (id, estimate) = (operation.id.to_string(), operation.estimate.p95);
        Some(Self { operation: id, absent, limit: limit.max(estimate), estimate })
    }
}

impl Warming {
    /// How many are admitted some time after it began, in percent.
    pub fn admit(&self, elapsed: Duration) -> u8 {
        let from = u128::from(self.from_percent.min(100));
        let over = self.over.as_millis();
        if elapsed.as_millis() >= over {
            return 100;
        }
        let more = (100 - from) * elapsed.as_millis() / over;
        u8::try_from(from + more).unwrap_or(100)
    }
}
