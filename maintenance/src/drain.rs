//! Emptying one gateway without losing a session.

use std::time::Duration;

use protocol::Now;

use crate::pace::Pace;
use crate::verdict::{Counts, Outcome, Verdict};

/// How a drain is to go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DrainPlan {
    /// At most this many clients are moved per second, whatever the receivers grant. 0 moves nobody.
    pub per_s: u32,
    /// How long to go on accepting after saying that the gateway is going, so that load balancers follow.
    pub announce: Duration,
    /// How long refusing and moving may take.
    pub timeout: Duration,
    /// What happens then.
    pub on_timeout: OnTimeout,
}

/// What happens when a drain takes too long. A session is never discarded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnTimeout {
    /// Serve again and keep what was not moved.
    Undrain,
    /// Move the rest at the plan's rate without waiting for credits, for at most the timeout again; then undrain.
    ForceRest,
}

/// What the gateway must do next, in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DrainStep {
    /// Say that this gateway is going (not ready any more), and go on accepting.
    SetAnnounced,
    /// Refuse new clients and tell them where to go.
    SetRefusing,
    /// Choose clients and move them. Each must be answered in [`Counts`]: as `moved`, or as `failed` if the
    /// move failed, the client left meanwhile or there was none to choose.
    Move {
        /// How many.
        clients: u32,
    },
    /// Accept again and say so.
    Undrain,
    /// The drain is over; store the verdict.
    Finish(Verdict),
}

/// Where a drain stands, for logs and the console.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DrainStage {
    /// Said to be going, still accepting.
    Announce,
    /// New clients are refused.
    Refuse,
    /// Clients are being moved.
    Move,
    /// Empty; safe to stop until somebody aborts.
    Quiesced,
    /// Called off.
    Aborted,
    /// Undrained because it took too long.
    TimedOut,
}

/// One drain of one gateway, from the announcement to the verdict. Tick it every [`TICK`].
#[derive(Debug)]
pub struct DrainMachine {
    plan: DrainPlan,
    /// On the monotonic clock, as all moments here.
    started: Duration,
    state: State,
    seen: Counts,
    credits: Vec<Credit>,
}

/// ```text
///           announce over          next tick         nothing left
///  Announce ─────────────► Refuse ───────────► Move ─────────────► Quiesced
///     │                      │                  │ │                   │
///     └──────────────────────┴─────── abort ────┘ │ timeout           │ abort
///                  │                              ▼                   │
///                  ▼                           TimedOut               │
///               Aborted ◄─────────────────────────────────────────────┘
/// ```
#[derive(Debug)]
enum State {
    Announce { until: Duration },
    // A state of its own, so that the clients are counted when no new ones can come.
    Refuse,
    Move(Moving),
    Quiesced(Verdict),
    Aborted,
    TimedOut,
}

#[derive(Debug)]
struct Moving {
    /// How many were here when moving began.
    clients: u64,
    asked: u64,
    pace: Option<Pace>,
    deadline: Duration,
    forced: bool,
}

/// A receiver's permission to send it clients.
#[derive(Debug)]
struct Credit {
    left: u64,
    per_s: u32,
    /// Begins with the first tick that sees it.
    pace: Option<Pace>,
}

impl DrainMachine {
    /// Begins a drain; the step is the first thing to do.
    pub fn start(plan: DrainPlan, now: Now) -> (Self, DrainStep) {
        let until = now.mono.saturating_add(plan.announce);
        let machine = Self {
            plan,
            started: now.mono,
            state: State::Announce { until },
            seen: Counts::default(),
            credits: Vec::new(),
        };
        (machine, DrainStep::SetAnnounced)
    }

    /// Where it stands.
    pub const fn stage(&self) -> DrainStage {
        match self.state {
            State::Announce { .. } => DrainStage::Announce,
            State::Refuse => DrainStage::Refuse,
            State::Move(_) => DrainStage::Move,
            State::Quiesced(_) => DrainStage::Quiesced,
            State::Aborted => DrainStage::Aborted,
            State::TimedOut => DrainStage::TimedOut,
        }
    }

    /// How many more clients the receivers would take.
    pub fn credits_left(&self) -> u64 {
        self.credits.iter().map(|credit| credit.left).fold(0, u64::saturating_add)
    }

    /// A receiver grants `n` more clients, at most `per_s` per second. Ignored when the drain is over, and while
    /// 256 other grants are unused: the receiver's lapses.
    pub fn handle_credit(&mut self, n: u32, per_s: u32) {
        let over = match self.state {
            State::Announce { .. } | State::Refuse | State::Move(_) => false,
            State::Quiesced(_) | State::Aborted | State::TimedOut => true,
        };
        if !over && n > 0 && per_s > 0 && self.credits.len() < MAX_CREDITS {
            self.credits.push(Credit { left: n.into(), per_s, pace: None });
        }
    }

    /// Time passed; `counts` is what the gateway holds now.
    pub fn handle_tick(&mut self, now: Now, counts: Counts) -> Vec<DrainStep> {
        self.seen = counts;
        match &mut self.state {
            State::Announce { until } if now.mono < *until => Vec::new(),
            State::Announce { .. } => {
                self.state = State::Refuse;
                vec![DrainStep::SetRefusing]
            }
            State::Refuse => {
                self.state = State::Move(Moving {
                    clients: counts.clients(),
                    asked: 0,
                    pace: Pace::new(now.mono, self.plan.per_s),
                    deadline: now.mono.saturating_add(self.plan.timeout),
                    forced: false,
                });
                self.step_moving(now.mono)
            }
            State::Move(_) => self.step_moving(now.mono),
            State::Quiesced(_) | State::Aborted | State::TimedOut => Vec::new(),
        }
    }

    /// Calls the drain off: the gateway serves again, moved clients stay where they are. Also after the verdict
    /// "quiesced", as long as the operation has not begun. Nothing happens if the gateway serves again already.
    pub fn handle_abort(&mut self, now: Now) -> Vec<DrainStep> {
        let verdict = match &self.state {
            State::Announce { .. } | State::Refuse => {
                self.verdict(Outcome::Aborted, self.seen.clients(), now.mono)
            }
            State::Move(moving) => self.verdict(Outcome::Aborted, moving.clients, now.mono),
            State::Quiesced(verdict) => Verdict { outcome: Outcome::Aborted, ..*verdict },
            State::Aborted | State::TimedOut => return Vec::new(),
        };
        self.end(State::Aborted);
        vec![DrainStep::Undrain, DrainStep::Finish(verdict)]
    }

    fn step_moving(&mut self, now: Duration) -> Vec<DrainStep> {
        let State::Move(moving) = &mut self.state else {
            return Vec::new();
        };
        let clients = moving.clients;
        if self.seen.is_empty() {
            let verdict = self.verdict(Outcome::Quiesced, clients, now);
            self.end(State::Quiesced(verdict));
            return vec![DrainStep::Finish(verdict)];
        }
        if now >= moving.deadline {
            if moving.forced || self.plan.on_timeout == OnTimeout::Undrain {
                let verdict = self.verdict(Outcome::TimedOut, clients, now);
                self.end(State::TimedOut);
                return vec![DrainStep::Undrain, DrainStep::Finish(verdict)];
            }
            moving.forced = true;
            moving.deadline = now.saturating_add(self.plan.timeout);
        }
        let n = moving.ask(now, &self.seen, &mut self.credits);
        self.credits.retain(|credit| credit.left > 0);
        if n == 0 { Vec::new() } else { vec![DrainStep::Move { clients: n }] }
    }

    fn verdict(&self, outcome: Outcome, clients: u64, now: Duration) -> Verdict {
        let (evidence, moved) = (self.seen, self.seen.moved);
        let departed = clients.saturating_sub(moved).saturating_sub(evidence.clients());
        let elapsed = now.saturating_sub(self.started);
        Verdict { outcome, evidence, clients, moved, departed, elapsed }
    }

    fn end(&mut self, state: State) {
        self.state = state;
        self.credits.clear();
    }
}

impl Moving {
    /// How many to move now: as many as wait, at the plan's pace, each with a receiver's credit unless forced.
    fn ask(&mut self, now: Duration, counts: &Counts, credits: &mut [Credit]) -> u32 {
        let Some(pace) = &mut self.pace else {
            return 0;
        };
        let answered = counts.moved.saturating_add(counts.failed);
        let under_way = self.asked.saturating_sub(answered);
        let waiting = counts.clients().saturating_sub(under_way);
        let wanted = waiting.min(pace.allowed(now)).min(u32::MAX.into());
        let mut n = if self.forced { wanted } else { 0 };
        for credit in credits {
            n += credit.take(now, wanted - n);
        }
        pace.take(now, n);
        self.asked = self.asked.saturating_add(n);
        u32::try_from(n).unwrap_or(u32::MAX)
    }
}

impl Credit {
    /// Uses up to `wanted` of it, as far as its pace allows.
    fn take(&mut self, now: Duration, wanted: u64) -> u64 {
        if self.pace.is_none() {
            self.pace = Pace::new(now, self.per_s);
        }
        let Some(pace) = &mut self.pace else {
            return 0;
        };
        let n = wanted.min(self.left).min(pace.allowed(now));
        pace.take(now, n);
        self.left -= n;
        n
    }
}

/// How often a [`DrainMachine`] wants to be ticked; when ticks come later than twice that, it moves fewer clients
/// rather than many at once.
pub const TICK: Duration = Duration::from_millis(50);

/// How many grants may be unused at once.
const MAX_CREDITS: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PLAN: DrainPlan = DrainPlan {
        per_s: 100,
        announce: Duration::from_secs(2),
        timeout: Duration::from_secs(60),
        on_timeout: OnTimeout::Undrain,
    };

    fn now(millis: u64) -> Now {
        Now { mono: Duration::from_millis(millis), ..Now::default() }
    }

    fn holding(clients: u64) -> Counts {
        Counts { connections: clients, sessions_owned: clients, ..Counts::default() }
    }

    fn stages(machine: &mut DrainMachine, counts: Counts) {
        assert_eq!(machine.handle_tick(now(1_999), counts), []);
        assert_eq!(machine.handle_tick(now(2_000), counts), [DrainStep::SetRefusing]);
        assert_eq!(machine.stage(), DrainStage::Refuse);
    }

    #[test]
    fn a_drain_announces_refuses_moves_and_proves_that_nothing_is_left() {
        let (mut machine, first) = DrainMachine::start(PLAN, now(0));
        assert_eq!(first, DrainStep::SetAnnounced);
        machine.handle_credit(10, 100);
        stages(&mut machine, holding(1));
        assert_eq!(machine.handle_tick(now(2_050), holding(1)), [DrainStep::Move { clients: 1 }]);
        assert_eq!(machine.handle_tick(now(2_100), holding(1)), []);
        let almost = Counts { moved: 1, unsaved_cursors: 1, ..Counts::default() };
        assert_eq!(machine.handle_tick(now(2_150), almost), []);
        let evidence = Counts { moved: 1, ..Counts::default() };
        let verdict = Verdict {
            outcome: Outcome::Quiesced,
            evidence,
            clients: 1,
            moved: 1,
            departed: 0,
            elapsed: Duration::from_millis(2_200),
        };
        assert_eq!(machine.handle_tick(now(2_200), evidence), [DrainStep::Finish(verdict)]);
        assert_eq!(machine.handle_tick(now(2_250), evidence), []);
        let aborted = Verdict { outcome: Outcome::Aborted, ..verdict };
        assert_eq!(
            machine.handle_abort(now(2_300)),
            [DrainStep::Undrain, DrainStep::Finish(aborted)]
        );
        assert_eq!(machine.handle_abort(now(2_350)), []);
    }

    #[test]
    fn without_credit_nobody_moves_and_time_undrains() {
        let (mut machine, _) = DrainMachine::start(PLAN, now(0));
        stages(&mut machine, holding(5));
        assert_eq!(machine.handle_tick(now(3_000), holding(5)), []);
        assert_eq!(machine.handle_tick(now(62_999), holding(5)), []);
        let steps = machine.handle_tick(now(63_000), holding(5));
        assert!(matches!(
            steps[..],
            [
                DrainStep::Undrain,
                DrainStep::Finish(Verdict { outcome: Outcome::TimedOut, clients: 5, moved: 0, .. })
            ]
        ));
        assert_eq!(machine.stage(), DrainStage::TimedOut);
        assert_eq!(machine.handle_abort(now(63_050)), []);
    }

    #[test]
    fn a_forced_drain_moves_the_rest_without_credit_and_gives_up_in_the_end() {
        let plan = DrainPlan { on_timeout: OnTimeout::ForceRest, ..PLAN };
        let (mut machine, _) = DrainMachine::start(plan, now(0));
        stages(&mut machine, holding(5));
        assert_eq!(machine.handle_tick(now(3_000), holding(5)), []);
        let forced = machine.handle_tick(now(63_000), holding(5));
        assert!(matches!(forced[..], [DrainStep::Move { clients: 1..=5 }]), "{forced:?}");
        let steps = machine.handle_tick(now(123_000), holding(5));
        assert_eq!(steps.first(), Some(&DrainStep::Undrain));
    }

    #[test]
    fn a_failed_move_is_tried_again() {
        let (mut machine, _) = DrainMachine::start(PLAN, now(0));
        machine.handle_credit(10, 100);
        stages(&mut machine, holding(1));
        assert_eq!(machine.handle_tick(now(3_000), holding(1)), [DrainStep::Move { clients: 1 }]);
        let failed = Counts { failed: 1, ..holding(1) };
        assert_eq!(machine.handle_tick(now(3_050), failed), [DrainStep::Move { clients: 1 }]);
        assert_eq!(machine.credits_left(), 8);
    }

    /// What happens at one tick of the imitated gateway.
    #[derive(Debug, Clone)]
    struct Beat {
        after_ms: u64,
        credit: Option<(u32, u32)>,
        answers: u64,
        fails: u64,
        departs: u64,
        abort: bool,
    }

    fn beat() -> impl Strategy<Value = Beat> {
        (
            1_u64..400,
            prop::option::weighted(0.3, (0_u32..60, 0_u32..200)),
            0_u64..40,
            0_u64..4,
            0_u64..3,
            prop::bool::weighted(0.01),
        )
            .prop_map(|(after_ms, credit, answers, fails, departs, abort)| Beat {
                after_ms,
                credit,
                answers,
                fails,
                departs,
                abort,
            })
    }

    proptest! {
        #[test]
        fn no_client_moves_without_credit_above_the_pace_or_out_of_sight(
            clients in 0_u64..200,
            per_s in 0_u32..300,
            beats in prop::collection::vec(beat(), 1..300),
        ) {
            let plan = DrainPlan { per_s, ..PLAN };
            let (mut machine, _) = DrainMachine::start(plan, now(0));
            let mut counts = holding(clients);
            let (mut at_ms, mut granted, mut asked, mut under_way) = (0, 0_u64, 0_u64, 0_u64);
            let mut first_ask: Option<u64> = None;
            for beat in beats {
                at_ms += beat.after_ms;
                if let Some((n, rate)) = beat.credit {
                    machine.handle_credit(n, rate);
                    granted += u64::from(n);
                }
                // Some moves are answered, then some clients leave by themselves.
                let failed = beat.fails.min(under_way);
                let moved = beat.answers.min(under_way - failed).min(counts.connections);
                under_way -= failed + moved;
                let departs = beat.departs.min(counts.connections - moved);
                let orphaned = under_way.saturating_sub(counts.connections - moved - departs);
                under_way -= orphaned;
                let left = counts.connections - moved - departs;
                counts = Counts {
                    moved: counts.moved + moved,
                    failed: counts.failed + failed + orphaned,
                    ..holding(left)
                };
                let before = machine.stage();
                let steps = if beat.abort {
                    machine.handle_abort(now(at_ms))
                } else {
                    machine.handle_tick(now(at_ms), counts)
                };
                for step in steps {
                    match step {
                        DrainStep::Move { clients } => {
                            first_ask.get_or_insert(at_ms);
                            asked += u64::from(clients);
                            under_way += u64::from(clients);
                            prop_assert!(under_way <= counts.connections);
                        }
                        DrainStep::Finish(verdict) => {
                            let rest = verdict.evidence.clients();
                            prop_assert_eq!(
                                verdict.moved + verdict.departed + rest, verdict.clients
                            );
                            prop_assert_eq!(
                                verdict.outcome == Outcome::Quiesced,
                                machine.stage() == DrainStage::Quiesced
                            );
                            prop_assert!(!beat.abort || verdict.outcome == Outcome::Aborted);
                        }
                        DrainStep::SetAnnounced => prop_assert!(false, "announced twice"),
                        DrainStep::SetRefusing | DrainStep::Undrain => {}
                    }
                }
                prop_assert!(asked <= granted);
                let moving_ms = at_ms - first_ask.unwrap_or(at_ms);
                prop_assert!(asked <= u64::from(per_s) * (moving_ms + 100) / 1_000 + 1);
                if beat.abort {
                    let ended = if before == DrainStage::TimedOut {
                        DrainStage::TimedOut
                    } else {
                        DrainStage::Aborted
                    };
                    prop_assert_eq!(machine.stage(), ended);
                }
            }
        }
    }
}
