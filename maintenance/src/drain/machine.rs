//! One drain of one gateway, from the announcement to the verdict.

use std::time::Duration;

use protocol::{GatewayId, Now};

use super::plan::{DrainPlan, OnTimeout};
use super::purse::{CreditAsk, CreditTotals, Purse};
use super::throttle::Throttle;
use crate::pace::Pace;
use crate::verdict::{Counts, Outcome, Verdict};

/// What the gateway must do next, in this order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DrainStep {
    /// Say that this gateway is going (not ready any more), and go on accepting.
    SetAnnounced,
    /// Refuse new clients and tell them where to go.
    SetRefusing,
    /// Choose clients and move them. Each must be answered in [`Counts`]: as `moved`, or as `failed` if the
    /// move failed, the client left meanwhile or there was none to choose; or by
    /// [`DrainMachine::handle_held_back`].
    Move {
        /// How many, by the gateway that each is sent to.
        to: Vec<(GatewayId, u32)>,
    },
    /// Take nobody any more, not even who comes back again and again: the drain is about to end.
    SetClosed,
    /// Say that it takes too long, and wait for somebody who decides.
    Ask,
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
    /// It took too long; nobody is moved until somebody decides.
    Asking,
    /// Empty; safe to stop until somebody aborts.
    Quiesced,
    /// Called off.
    Aborted,
    /// Undrained because it took too long.
    TimedOut,
}

/// One drain of one gateway, from the announcement to the verdict. Tick it every [`TICK`](super::TICK).
#[derive(Debug)]
pub struct DrainMachine {
    plan: DrainPlan,
    /// On the monotonic clock, as all moments here.
    started: Duration,
    state: State,
    seen: Counts,
    purse: Purse,
    /// Nobody is moved until it goes on.
    held: bool,
}

/// ```text
///           announce over          next tick         nothing left
///  Announce ─────────────► Refuse ───────────► Move ─────────────► Quiesced
///     │                      │                  │ │  ▲                │
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
    /// How many were here when moving began, and came since.
    clients: u64,
    /// How many left by themselves.
    departed: u64,
    asked: u64,
    pace: Option<Pace>,
    deadline: Duration,
    forced: bool,
    /// Somebody must decide.
    asking: bool,
    /// Nobody is taken any more.
    closed: bool,
    throttle: Throttle,
    /// When the throttle is looked at next, and whether a tick was late since the last look.
    second: Duration,
    late: bool,
    ticked: Duration,
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
            purse: Purse::new(plan.seed),
            held: false,
        };
        (machine, DrainStep::SetAnnounced)
    }

    /// Where it stands.
    pub const fn stage(&self) -> DrainStage {
        match self.state {
            State::Announce { .. } => DrainStage::Announce,
            State::Refuse => DrainStage::Refuse,
            State::Move(Moving { asking: true, .. }) => DrainStage::Asking,
            State::Move(_) => DrainStage::Move,
            State::Quiesced(_) => DrainStage::Quiesced,
            State::Aborted => DrainStage::Aborted,
            State::TimedOut => DrainStage::TimedOut,
        }
    }

    /// Whether whoever is left goes without credit, and waits for nobody.
    pub const fn is_forced(&self) -> bool {
        matches!(self.state, State::Move(Moving { forced: true, .. }))
    }

    /// How many more clients the receivers would take.
    pub fn credits_left(&self, now: Now) -> u64 {
        self.purse.left(now.mono)
    }

    /// What became of the receivers' credits.
    pub const fn credit_totals(&self) -> CreditTotals {
        self.purse.totals()
    }

    /// Whom to ask for credits now; `serving` are the gateways that clients may be sent to. Call it after every tick.
    pub fn poll_asks(&mut self, now: Now, serving: &[GatewayId]) -> Vec<CreditAsk> {
        let (clients, per_s) = match &self.state {
            // While clients may still come, and after the end, credits would lapse.
            State::Move(_) if self.held => return Vec::new(),
            State::Move(Moving { asking: true, .. })
            | State::Announce { .. }
            | State::Quiesced(_)
            | State::Aborted
            | State::TimedOut => {
                return Vec::new();
            }
            State::Refuse => (self.seen.clients(), self.plan.per_s),
            State::Move(moving) => (self.seen.clients(), moving.throttle.of(self.plan.per_s)),
        };
        let clients = u32::try_from(clients).unwrap_or(u32::MAX);
        self.purse.poll_asks(now.mono, serving, (clients, per_s))
    }

    /// A receiver answers the ask of this number: so many clients, at most `per_s` per second. Ignored when the drain is over.
    pub fn handle_credit(&mut self, from: &GatewayId, number: u32, clients: u32, per_s: u32) {
        match self.state {
            State::Announce { .. } | State::Refuse | State::Move(_) => {
                self.purse.handle_credit(from, number, (clients, per_s));
            }
            State::Quiesced(_) | State::Aborted | State::TimedOut => {}
        }
    }

    /// So many clients came although the gateway refuses: they came again and again.
    pub const fn handle_taken_in(&mut self, clients: u64) {
        if let State::Move(moving) = &mut self.state {
            moving.clients = moving.clients.saturating_add(clients);
        }
    }

    /// So many clients left by themselves: they were not moved, and are not in the next [`Counts`].
    pub const fn handle_departed(&mut self, clients: u64) {
        if let State::Move(moving) = &mut self.state {
            moving.departed = moving.departed.saturating_add(clients);
        }
    }

    /// Somebody decides about a drain that asks: it goes on for the timeout again, with this after it. Answers whether it
    /// asked.
    pub fn handle_decision(&mut self, now: Now, on_timeout: OnTimeout) -> bool {
        let State::Move(moving) = &mut self.state else { return false };
        if !moving.asking {
            return false;
        }
        moving.asking = false;
        moving.forced = on_timeout == OnTimeout::ForceRest;
        moving.deadline = now.mono.saturating_add(self.plan.timeout);
        self.plan.on_timeout = on_timeout;
        true
    }

    /// Moves nobody until it goes on; then it has the timeout again. Who left by then is gone.
    pub fn handle_hold(&mut self, now: Now, held: bool) {
        if std::mem::replace(&mut self.held, held) == held {
            return;
        }
        match &mut self.state {
            State::Move(_) if held => self.purse.clear(),
            State::Move(moving) => moving.deadline = now.mono.saturating_add(self.plan.timeout),
            State::Announce { .. }
            | State::Refuse
            | State::Quiesced(_)
            | State::Aborted
            | State::TimedOut => {}
        }
    }

    /// The window that began it ends earlier than was thought: it is not extended beyond that.
    pub fn handle_until(&mut self, until: Duration) {
        self.plan.until = Some(self.plan.until.map_or(until, |before| before.min(until)));
        let extends = self.plan.on_timeout == OnTimeout::Extend;
        if let State::Move(moving) = &mut self.state
            && extends
        {
            moving.deadline = moving.deadline.min(until);
        }
    }

    /// Whoever is left goes without credit from now on, for at most the timeout again.
    pub fn handle_force(&mut self, now: Now) {
        if let State::Move(moving) = &mut self.state {
            moving.forced = true;
            moving.asking = false;
            moving.deadline = now.mono.saturating_add(self.plan.timeout);
        }
    }

    /// What the receivers are told when the drain is over: that nobody comes any more. Once.
    pub fn poll_releases(&mut self) -> Vec<CreditAsk> {
        match self.state {
            State::Announce { .. } | State::Refuse | State::Move(_) => Vec::new(),
            State::Quiesced(_) | State::Aborted | State::TimedOut => self.purse.poll_releases(),
        }
    }

    /// So many clients that were to be moved wait for others: they are asked for again, with new credits.
    pub const fn handle_held_back(&mut self, clients: u64) {
        self.purse.handle_held_back(clients);
        if let State::Move(moving) = &mut self.state {
            moving.asked = moving.asked.saturating_sub(clients);
        }
    }

    /// Time passed; `counts` is what the gateway holds now.
    pub fn handle_tick(&mut self, now: Now, counts: Counts) -> Vec<DrainStep> {
        self.seen = counts;
        self.purse.settle();
        match &mut self.state {
            State::Announce { until } if now.mono < *until => Vec::new(),
            State::Announce { .. } => {
                self.state = State::Refuse;
                vec![DrainStep::SetRefusing]
            }
            State::Refuse => {
                self.state = State::Move(Moving {
                    clients: counts.clients(),
                    departed: 0,
                    asked: 0,
                    pace: Pace::new(now.mono, self.plan.per_s),
                    deadline: now.mono.saturating_add(self.plan.timeout),
                    forced: false,
                    asking: false,
                    closed: false,
                    throttle: Throttle::default(),
                    second: now.mono,
                    late: false,
                    ticked: now.mono,
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
                self.verdict(Outcome::Aborted, (self.seen.clients(), 0), now.mono)
            }
            State::Move(moving) => {
                let clients = (moving.clients, moving.departed);
                self.verdict(Outcome::Aborted, clients, now.mono)
            }
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
        let clients = (moving.clients, moving.departed);
        moving.watch(now);
        if self.seen.is_empty() && !moving.closed {
            // Whoever is let in at this moment is seen with the next tick.
            moving.closed = true;
            return vec![DrainStep::SetClosed];
        }
        if self.seen.is_empty() {
            let verdict = self.verdict(Outcome::Quiesced, clients, now);
            self.end(State::Quiesced(verdict));
            return vec![DrainStep::Finish(verdict)];
        }
        if moving.asking || self.held {
            return Vec::new();
        }
        if now >= moving.deadline {
            let again = now.saturating_add(self.plan.timeout);
            let until = self.plan.until.unwrap_or(Duration::MAX);
            match self.plan.on_timeout {
                OnTimeout::Extend if now < until => moving.deadline = again.min(until),
                OnTimeout::ForceRest if !moving.forced => {
                    moving.forced = true;
                    moving.deadline = again;
                }
                OnTimeout::Ask => {
                    moving.asking = true;
                    self.purse.clear();
                    return vec![DrainStep::Ask];
                }
                OnTimeout::Undrain | OnTimeout::Extend | OnTimeout::ForceRest => {
                    let verdict = self.verdict(Outcome::TimedOut, clients, now);
                    self.end(State::TimedOut);
                    return vec![DrainStep::Undrain, DrainStep::Finish(verdict)];
                }
            }
        }
        let to = moving.ask(now, self.plan.per_s, &self.seen, &mut self.purse);
        if to.is_empty() { Vec::new() } else { vec![DrainStep::Move { to }] }
    }

    fn verdict(&self, outcome: Outcome, (clients, departed): (u64, u64), now: Duration) -> Verdict {
        let (evidence, moved) = (self.seen, self.seen.moved);
        let elapsed = now.saturating_sub(self.started);
        Verdict { outcome, evidence, clients, moved, departed, elapsed }
    }

    fn end(&mut self, state: State) {
        self.state = state;
        self.purse.clear();
    }
}

impl Moving {
    /// Whether the ticks come in time: where they do not, this gateway has no time for so many.
    fn watch(&mut self, now: Duration) {
        self.late |= now.saturating_sub(self.ticked) > LATE;
        self.ticked = now;
        if now >= self.second {
            self.throttle.handle_second(!self.late);
            self.late = false;
            self.second = now.saturating_add(Duration::from_secs(1));
        }
    }

    /// Whom to move now: as many as wait, at the plan's pace, each with a receiver's credit unless forced.
    fn ask(
        &mut self,
        now: Duration,
        per_s: u32,
        counts: &Counts,
        purse: &mut Purse,
    ) -> Vec<(GatewayId, u32)> {
        let Some(pace) = &mut self.pace else {
            return Vec::new();
        };
        pace.set_rate(self.throttle.of(per_s));
        let answered = counts.moved.saturating_add(counts.failed);
        let under_way = self.asked.saturating_sub(answered);
        // A connection without a session is on its way in or out, and cannot be moved.
        let waiting = counts.sessions_owned.saturating_sub(under_way);
        let wanted = waiting.min(pace.allowed(now)).min(u32::MAX.into());
        let to = if self.forced { purse.spread(wanted) } else { purse.take(now, wanted) };
        let n: u64 = to.iter().map(|(_, n)| u64::from(*n)).sum();
        pace.take(now, n);
        self.asked = self.asked.saturating_add(n);
        to
    }
}

/// A tick that comes later than so much after the one before is a stall.
const LATE: Duration = Duration::from_millis(500);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use proptest::test_runner::{RngSeed, TestError, TestRunner};

    const PLAN: DrainPlan = DrainPlan {
        per_s: 100,
        announce: Duration::from_secs(2),
        timeout: Duration::from_secs(60),
        on_timeout: OnTimeout::Undrain,
        until: None,
        seed: 0,
    };

    fn now(millis: u64) -> Now {
        Now { mono: Duration::from_millis(millis), ..Now::default() }
    }

    fn receivers() -> Vec<GatewayId> {
        ["gw-2", "gw-3"].map(|id| GatewayId::new(id).unwrap()).into()
    }

    /// Lets both receivers answer, where the machine asks them. Answers how many clients they granted together.
    fn grant(machine: &mut DrainMachine, at: Now, (clients, per_s): (u32, u32)) -> u64 {
        let asks = machine.poll_asks(at, &receivers());
        for ask in &asks {
            machine.handle_credit(&ask.to, ask.number, clients, per_s);
        }
        u64::from(clients) * asks.len() as u64
    }

    /// How many clients a tick moves, and nothing else happens.
    fn moved(steps: &[DrainStep]) -> u32 {
        steps
            .iter()
            .map(|step| {
                let DrainStep::Move { to } = step else { panic!("{step:?}") };
                to.iter().map(|(_, n)| n).sum::<u32>()
            })
            .sum()
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
        assert_eq!(grant(&mut machine, now(0), (10, 100)), 0, "nobody is asked while clients come");
        stages(&mut machine, holding(1));
        assert_eq!(grant(&mut machine, now(2_000), (10, 100)), 20);
        assert_eq!(machine.handle_tick(now(2_050), holding(1)), []);
        assert_eq!(moved(&machine.handle_tick(now(2_100), holding(1))), 1);
        assert_eq!(machine.handle_tick(now(2_120), holding(1)), []);
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
        assert_eq!(machine.handle_tick(now(2_170), evidence), [DrainStep::SetClosed]);
        assert_eq!(machine.handle_tick(now(2_200), evidence), [DrainStep::Finish(verdict)]);
        assert_eq!(machine.poll_releases().len(), 2);
        assert_eq!(machine.poll_releases(), []);
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
        machine.poll_asks(now(2_000), &receivers());
        assert_eq!(machine.handle_tick(now(3_000), holding(5)), []);
        assert!(!machine.is_forced());
        let forced = machine.handle_tick(now(63_000), holding(5));
        assert!(machine.is_forced());
        assert!((1..=5).contains(&moved(&forced)), "{forced:?}");
        let steps = machine.handle_tick(now(123_000), holding(5));
        assert_eq!(steps.first(), Some(&DrainStep::Undrain));
    }

    #[test]
    fn a_drain_is_extended_up_to_the_end_of_its_window() {
        let until = Some(Duration::from_secs(150));
        let plan = DrainPlan { on_timeout: OnTimeout::Extend, until, ..PLAN };
        let (mut machine, _) = DrainMachine::start(plan, now(0));
        stages(&mut machine, holding(5));
        for at_ms in [3_000, 63_000, 123_000, 149_999] {
            assert_eq!(machine.handle_tick(now(at_ms), holding(5)), []);
        }
        let steps = machine.handle_tick(now(150_000), holding(5));
        assert_eq!(steps.first(), Some(&DrainStep::Undrain));
    }

    #[test]
    fn the_end_of_the_window_of_a_drain_only_comes_nearer() {
        let until = Some(Duration::from_secs(150));
        let plan = DrainPlan { on_timeout: OnTimeout::Extend, until, ..PLAN };
        let (mut machine, _) = DrainMachine::start(plan, now(0));
        stages(&mut machine, holding(5));
        for seconds in [100, 140] {
            machine.handle_until(Duration::from_secs(seconds));
        }
        for at_ms in [3_000, 63_000, 99_999] {
            assert_eq!(machine.handle_tick(now(at_ms), holding(5)), []);
        }
        let steps = machine.handle_tick(now(100_000), holding(5));
        assert_eq!(steps.first(), Some(&DrainStep::Undrain));
    }

    #[test]
    fn a_drain_that_asks_moves_nobody_until_somebody_decides() {
        let plan = DrainPlan { on_timeout: OnTimeout::Ask, ..PLAN };
        let (mut machine, _) = DrainMachine::start(plan, now(0));
        stages(&mut machine, holding(5));
        assert!(!machine.handle_decision(now(2_000), OnTimeout::Undrain));
        assert_eq!(machine.handle_tick(now(3_000), holding(5)), []);
        assert_eq!(machine.handle_tick(now(63_000), holding(5)), [DrainStep::Ask]);
        assert_eq!(machine.stage(), DrainStage::Asking);
        assert_eq!(machine.poll_asks(now(63_000), &receivers()), []);
        assert_eq!(machine.handle_tick(now(900_000), holding(5)), []);
        assert!(machine.handle_decision(now(900_000), OnTimeout::Undrain));
        assert_eq!(machine.stage(), DrainStage::Move);
        grant(&mut machine, now(900_000), (10, 100));
        assert_eq!(machine.handle_tick(now(900_050), holding(5)), []);
        assert!(moved(&machine.handle_tick(now(900_100), holding(5))) > 0);
        let steps = machine.handle_tick(now(960_000), holding(3));
        assert_eq!(steps.first(), Some(&DrainStep::Undrain));
    }

    #[test]
    fn a_drain_that_is_held_moves_nobody_and_goes_on_with_its_time_again() {
        let (mut machine, _) = DrainMachine::start(PLAN, now(0));
        stages(&mut machine, holding(5));
        machine.handle_tick(now(2_050), holding(5));
        machine.handle_hold(now(2_100), true);
        assert_eq!(grant(&mut machine, now(2_100), (10, 100)), 0);
        assert_eq!(machine.handle_tick(now(900_000), holding(5)), [], "nor does it give up");
        machine.handle_hold(now(900_000), false);
        assert!(grant(&mut machine, now(900_000), (10, 100)) > 0);
        assert_eq!(machine.handle_tick(now(900_050), holding(5)), []);
        assert!(moved(&machine.handle_tick(now(900_100), holding(5))) > 0);
        machine.handle_force(now(900_100));
        assert!(machine.is_forced());
        let steps = machine.handle_tick(now(960_100), holding(3));
        assert_eq!(steps.first(), Some(&DrainStep::Undrain));
    }

    #[test]
    fn who_is_taken_in_all_the_same_is_counted() {
        let (mut machine, _) = DrainMachine::start(PLAN, now(0));
        stages(&mut machine, holding(2));
        machine.handle_tick(now(2_050), holding(2));
        machine.handle_taken_in(1);
        let moved = Counts { moved: 3, ..Counts::default() };
        machine.handle_tick(now(2_100), moved);
        let steps = machine.handle_tick(now(2_150), moved);
        let [DrainStep::Finish(verdict @ Verdict { clients: 3, moved: 3, departed: 0, .. })] =
            steps[..]
        else {
            panic!("{steps:?}")
        };
        assert_eq!(verdict.unaccounted(), 0);
    }

    #[test]
    fn what_was_not_counted_is_no_departure() {
        let (mut machine, _) = DrainMachine::start(PLAN, now(0));
        machine.handle_departed(7);
        stages(&mut machine, holding(5));
        machine.handle_tick(now(2_050), holding(5));
        machine.handle_departed(1);
        let moved = Counts { moved: 2, ..Counts::default() };
        machine.handle_tick(now(2_100), moved);
        let steps = machine.handle_tick(now(2_150), moved);
        let [DrainStep::Finish(verdict)] = steps[..] else { panic!("{steps:?}") };
        assert_eq!((verdict.clients, verdict.moved, verdict.departed), (5, 2, 1));
        assert_eq!(verdict.unaccounted(), 2, "nobody said what became of them");
    }

    #[test]
    fn a_failed_move_is_tried_again() {
        let (mut machine, _) = DrainMachine::start(PLAN, now(0));
        stages(&mut machine, holding(1));
        grant(&mut machine, now(2_500), (10, 100));
        assert_eq!(machine.handle_tick(now(2_500), holding(1)), []);
        assert_eq!(moved(&machine.handle_tick(now(3_000), holding(1))), 1);
        let failed = Counts { failed: 1, ..holding(1) };
        assert_eq!(moved(&machine.handle_tick(now(3_050), failed)), 1);
        assert_eq!(machine.credits_left(now(3_050)), 18);
        // Of the second it is not known yet whether it waits.
        let totals = CreditTotals { granted: 20, used: 1, lapsed: 0 };
        assert_eq!(machine.credit_totals(), totals);
        machine.handle_abort(now(3_100));
        assert_eq!(machine.credit_totals(), CreditTotals { used: 2, lapsed: 18, ..totals });
    }

    #[test]
    fn the_credit_of_who_waits_for_others_was_not_used() {
        let (mut machine, _) = DrainMachine::start(PLAN, now(0));
        stages(&mut machine, holding(1));
        let granted_in_all = grant(&mut machine, now(2_500), (10, 100));
        assert_eq!(machine.handle_tick(now(2_500), holding(1)), []);
        assert_eq!(moved(&machine.handle_tick(now(3_000), holding(1))), 1);
        machine.handle_held_back(1);
        assert_eq!(moved(&machine.handle_tick(now(3_050), holding(1))), 1, "it is tried again");
        machine.handle_abort(now(3_100));
        let CreditTotals { used, lapsed, granted } = machine.credit_totals();
        assert_eq!((used, used + lapsed, granted), (1, granted_in_all, granted_in_all));
    }

    #[test]
    fn a_new_credit_takes_the_place_of_what_is_left_of_the_one_before() {
        let (mut machine, _) = DrainMachine::start(PLAN, now(0));
        stages(&mut machine, holding(500));
        assert_eq!(grant(&mut machine, now(2_000), (30, 100)), 60);
        assert_eq!(grant(&mut machine, now(2_500), (10, 100)), 20);
        assert_eq!(machine.credits_left(now(2_500)), 20, "nobody over there expects more");
        assert_eq!(machine.credit_totals().lapsed, 60);
    }

    #[test]
    fn a_credit_lapses_by_when_it_was_asked_for() {
        let (mut machine, _) = DrainMachine::start(PLAN, now(0));
        stages(&mut machine, holding(5));
        let asks = machine.poll_asks(now(2_000), &receivers());
        assert_eq!(machine.handle_tick(now(2_050), holding(5)), []);
        // The answer was long on its way.
        for ask in &asks {
            machine.handle_credit(&ask.to, ask.number, 10, 100);
            machine.handle_credit(&ask.to, ask.number, 10, 100);
        }
        assert_eq!(machine.credits_left(now(3_999)), 20, "an answer counts once");
        assert_eq!(machine.credits_left(now(4_000)), 0);
        assert_eq!(machine.handle_tick(now(4_000), holding(5)), []);
        assert_eq!(machine.credit_totals().used, 0);
    }

    #[test]
    fn what_one_receiver_does_not_take_the_other_is_asked_for() {
        let (mut machine, _) = DrainMachine::start(PLAN, now(0));
        stages(&mut machine, holding(500));
        let asks = machine.poll_asks(now(2_000), &receivers());
        assert!(asks.iter().all(|ask| (ask.clients, ask.per_s) == (500, 50)), "{asks:?}");
        machine.handle_credit(&asks[0].to, asks[0].number, 20, 10);
        let asks = machine.poll_asks(now(2_500), &receivers());
        assert_eq!(asks.iter().map(|ask| ask.per_s).collect::<Vec<_>>(), [50, 90]);
        assert_eq!(machine.poll_asks(now(2_600), &receivers()), [], "twice a second");
        // Who serves no more gets nobody.
        assert_eq!(machine.credits_left(now(2_600)), 20);
        machine.poll_asks(now(2_650), &receivers()[1..]);
        assert_eq!(machine.credits_left(now(2_650)), 0);
    }

    /// What happens at one tick of the imitated gateway.
    #[derive(Debug, Clone)]
    struct Beat {
        after_ms: u64,
        credit: Option<(u32, u32)>,
        answers: u64,
        fails: u64,
        departs: u64,
        comes: u64,
        abort: bool,
    }

    /// What the imitated gateway tells the machine wrongly.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    enum Mistake {
        /// Nobody is told who left by himself.
        ForgetsDepartures,
        /// Whose move failed since he had left is told again as somebody who left.
        TellsGoneTwice,
        /// Nobody is told who was let in all the same.
        ForgetsArrivals,
    }

    fn beat() -> impl Strategy<Value = Beat> {
        (
            1_u64..400,
            prop::option::weighted(0.3, (0_u32..60, 0_u32..200)),
            0_u64..40,
            0_u64..4,
            0_u64..3,
            prop_oneof![20 => Just(0), 1 => 1_u64..3],
            prop::bool::weighted(0.01),
        )
            .prop_map(|(after_ms, credit, answers, fails, departs, comes, abort)| Beat {
                after_ms,
                credit,
                answers,
                fails,
                departs,
                comes,
                abort,
            })
    }

    /// A gateway as the machine sees it, and what is known of it besides.
    struct Imitated {
        machine: DrainMachine,
        counts: Counts,
        at_ms: u64,
        granted: u64,
        asked: u64,
        under_way: u64,
        first_ask: Option<u64>,
        per_s: u32,
        /// Of those who were here when moving began, and came since: how many there were, and left by themselves.
        here: u64,
        left: u64,
        mistake: Option<Mistake>,
    }

    type Checked = Result<(), TestCaseError>;

    impl Imitated {
        fn new((clients, per_s): (u64, u32), mistake: Option<Mistake>) -> Self {
            let (machine, _) = DrainMachine::start(DrainPlan { per_s, ..PLAN }, now(0));
            Self {
                machine,
                counts: holding(clients),
                at_ms: 0,
                granted: 0,
                asked: 0,
                under_way: 0,
                first_ask: None,
                per_s,
                here: 0,
                left: 0,
                mistake,
            }
        }

        fn beat(&mut self, beat: &Beat) -> Checked {
            self.at_ms += beat.after_ms;
            let at = now(self.at_ms);
            if let Some(credit) = beat.credit {
                self.granted += grant(&mut self.machine, at, credit);
            }
            let before = self.machine.stage();
            let steps = if beat.abort {
                self.machine.handle_abort(at)
            } else {
                self.live(beat);
                self.machine.handle_tick(at, self.counts)
            };
            if before == DrainStage::Refuse && self.machine.stage() == DrainStage::Move {
                (self.here, self.left) = (self.counts.clients(), 0);
            }
            for step in steps {
                self.judge(step, (before, beat.abort))?;
            }
            prop_assert!(self.asked <= self.granted);
            let moving_ms = self.at_ms - self.first_ask.unwrap_or(self.at_ms);
            prop_assert!(self.asked <= u64::from(self.per_s) * (moving_ms + 100) / 1_000 + 1);
            if beat.abort {
                let timed_out = before == DrainStage::TimedOut;
                let ended = if timed_out { before } else { DrainStage::Aborted };
                prop_assert_eq!(self.machine.stage(), ended);
            }
            Ok(())
        }

        /// Some moves are answered, some clients leave by themselves, and some are let in all the same.
        fn live(&mut self, beat: &Beat) {
            let connections = self.counts.connections;
            let failed = beat.fails.min(self.under_way);
            let moved = beat.answers.min(self.under_way - failed).min(connections);
            self.under_way -= failed + moved;
            let departs = beat.departs.min(connections - moved);
            let orphaned = self.under_way.saturating_sub(connections - moved - departs);
            self.under_way -= orphaned;
            let moving = self.machine.stage() == DrainStage::Move;
            let comes = if moving { beat.comes } else { 0 };
            self.counts = Counts {
                moved: self.counts.moved + moved,
                failed: self.counts.failed + failed + orphaned,
                ..holding(connections - moved - departs + comes)
            };
            (self.here, self.left) = (self.here + comes, self.left + departs);
            match self.mistake {
                Some(Mistake::ForgetsDepartures) => {}
                Some(Mistake::TellsGoneTwice) => self.machine.handle_departed(departs + orphaned),
                Some(Mistake::ForgetsArrivals) | None => self.machine.handle_departed(departs),
            }
            if self.mistake != Some(Mistake::ForgetsArrivals) {
                self.machine.handle_taken_in(comes);
            }
        }

        fn judge(&mut self, step: DrainStep, (before, aborted): (DrainStage, bool)) -> Checked {
            match step {
                DrainStep::Move { to } => {
                    let clients: u64 = to.iter().map(|(_, n)| u64::from(*n)).sum();
                    self.first_ask.get_or_insert(self.at_ms);
                    self.asked += clients;
                    self.under_way += clients;
                    prop_assert!(self.under_way <= self.counts.connections);
                }
                DrainStep::Finish(verdict) => {
                    let moving = !matches!(before, DrainStage::Announce | DrainStage::Refuse);
                    prop_assert_eq!(verdict.unaccounted(), 0, "P34: {:?}", verdict);
                    if moving {
                        let told = (verdict.clients, verdict.departed);
                        prop_assert_eq!(told, (self.here, self.left), "P34");
                    }
                    let quiesced = self.machine.stage() == DrainStage::Quiesced;
                    prop_assert_eq!(verdict.outcome == Outcome::Quiesced, quiesced);
                    prop_assert!(!aborted || verdict.outcome == Outcome::Aborted);
                }
                DrainStep::SetAnnounced => prop_assert!(false, "announced twice"),
                DrainStep::SetRefusing
                | DrainStep::SetClosed
                | DrainStep::Ask
                | DrainStep::Undrain => {}
            }
            Ok(())
        }
    }

    fn course() -> impl Strategy<Value = ((u64, u32), Vec<Beat>)> {
        ((0_u64..200, 0_u32..300), prop::collection::vec(beat(), 1..300))
    }

    fn run((of, beats): ((u64, u32), Vec<Beat>), mistake: Option<Mistake>) -> Checked {
        let mut gateway = Imitated::new(of, mistake);
        beats.iter().try_for_each(|beat| gateway.beat(beat))
    }

    proptest! {
        #[test]
        fn no_client_moves_without_credit_above_the_pace_or_out_of_sight(course in course()) {
            run(course, None)?;
        }
    }

    #[test]
    fn a_gateway_that_does_not_tell_what_became_of_its_clients_is_found() {
        let mistakes =
            [Mistake::ForgetsDepartures, Mistake::TellsGoneTwice, Mistake::ForgetsArrivals];
        for mistake in mistakes {
            let config = ProptestConfig {
                rng_seed: RngSeed::Fixed(34),
                failure_persistence: None,
                max_shrink_iters: 0,
                ..ProptestConfig::with_cases(100)
            };
            let found = TestRunner::new(config).run(&course(), |it| run(it, Some(mistake)));
            let Err(TestError::Fail(why, _)) = found else { panic!("{mistake:?}: {found:?}") };
            assert!(why.message().contains("P34"), "{mistake:?}: {why}");
        }
    }
}
