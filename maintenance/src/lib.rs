//! When and where connections live and move: windows, ledger, drain.
//!
//! The path of one visit: a [`Window`] opens → [`decide`] proposes → the [`Ledger`] grants a [`ledger::Slot`] and checks
//! again at the start → a [`DrainMachine`] empties the gateway → its [`Verdict`] goes into the ledger → the slot
//! is released once the gateway serves again. All of it is decided here; the gateway reads the clock, stores the
//! ledger by compare-and-set and moves the clients.
//!
//! By policy: [`policy`] and [`calendar`] say when and how much → [`operation`] merges what is pending into visits →
//! [`planner`] places them → [`execution`] carries each through its steps, asking [`ledger`] before whatever disturbs
//! → [`audit`] keeps who did what and why. [`fleet`] is what all of them know of the hosts. Work of seconds that disturbs nobody takes
//! a micro slot of [`pauses`].

pub mod audit;
pub mod calendar;
mod drain;
pub mod execution;
pub mod fleet;
mod lease;
pub mod ledger;
pub mod operation;
mod pace;
pub mod pauses;
pub mod planner;
pub mod policy;
mod record;
mod rendezvous;
mod scheduler;
pub mod simulate;
mod verdict;

pub use calendar::{Interval, Intervals, InvalidWindow, Window};
pub use drain::{
    CREDIT_LIFE, CreditAsk, CreditTotals, DrainMachine, DrainPace, DrainPlan, DrainStage,
    DrainStep, DrainTurn, DrainWishes, FLUSH_MOST, Grant, Intake, InvalidStandIns, MoveBudget,
    MoveWishes, OnTimeout, Profile, Room, StandIns, TICK, Taker, Throttle, Wanted, spared,
};
pub use fleet::{Host, HostState, Limits};
pub use lease::{Lease, LeaseWatch};
pub use ledger::{Ledger, SlotEpoch};
pub use rendezvous::{rendezvous, rendezvous_weighted};
pub use scheduler::{Decision, Situation, Visit, Wait, decide};
pub use verdict::{Counts, Outcome, Verdict};
