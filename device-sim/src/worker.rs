//! One thread of devices.

use std::cell::RefCell;
use std::convert::Infallible;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::task::{JoinSet, LocalSet};
use tokio::time::{MissedTickBehavior, interval};

use crate::{
    Pattern, Plan, Start,
    device::{Device, Role},
    harvest::Harvest,
    live::{Worker, live},
    publishing::Publishing,
    receiving::{Receiving, Tally},
    shared::Shared,
    tls::Tls,
};

/// Bytes a worker reads at once.
const INBOX_BYTES: usize = 256 * 1_024;
/// Connections a worker opens at the same time.
const DIALLING: usize = 64;
/// How often a worker tells what it has seen, for lines of progress once per second.
const TELL: Duration = Duration::from_millis(250);

/// One device to be: its place, its role and where it connects first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Part {
    pub(crate) place: usize,
    pub(crate) kind: PartKind,
    pub(crate) worker: usize,
    pub(crate) first: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PartKind {
    Publisher(usize),
    Receiver(usize),
    Idle(usize),
    Watcher,
}

/// All devices of a run. Publishers come first, so that their number is their place.
pub(crate) fn cast(plan: &Plan) -> Vec<Part> {
    let idle = if plan.pattern == Pattern::Idle { plan.devices } else { 0 };
    let kinds = (0..plan.publishers())
        .map(PartKind::Publisher)
        .chain((0..plan.receivers()).map(PartKind::Receiver))
        .chain((0..idle).map(PartKind::Idle))
        .chain(plan.wills.then_some(PartKind::Watcher));
    kinds.enumerate().map(|(place, kind)| part(plan, place, kind)).collect()
}

fn part(plan: &Plan, place: usize, kind: PartKind) -> Part {
    // Who talks to each other lives on one thread where that is possible.
    let number = match kind {
        PartKind::Publisher(number) | PartKind::Receiver(number) | PartKind::Idle(number) => number,
        PartKind::Watcher => 0,
    };
    let first = match plan.start {
        Start::First => 0,
        Start::Spread => place,
        Start::Split => usize::from(matches!(kind, PartKind::Receiver(_) | PartKind::Watcher)),
    };
    Part { place, kind, worker: number % plan.workers.max(1), first }
}

/// Lets devices live on this thread until the run is over.
pub(crate) fn work(
    shared: &Arc<Shared>,
    number: usize,
    parts: Vec<Part>,
    tls: Option<Tls>,
) -> io::Result<Harvest> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        // A look at the network after so many tasks: devices are many and short.
        .event_interval(31)
        .build()?;
    let worker = Rc::new(Worker {
        tls,
        inbox: RefCell::new(vec![0; INBOX_BYTES]),
        tally: RefCell::new(Tally::new().map_err(io::Error::other)?),
        dialling: Arc::new(Semaphore::new(DIALLING)),
    });
    let local = LocalSet::new();
    let outcomes = local.block_on(&runtime, async {
        let mut lives = JoinSet::new();
        for part in parts {
            let device = Device::new(Arc::clone(shared), part.place, role(shared, part.kind));
            lives.spawn_local(live(device, Rc::clone(&worker), part.first));
        }
        tokio::select! {
            outcomes = lives.join_all() => outcomes,
            never = tell_progress(shared, number, &worker) => match never {},
        }
    });
    drop(local);
    let worker = Rc::into_inner(worker).ok_or_else(|| io::Error::other("a device still lives"))?;
    let mut harvest = Harvest::new(worker.tally.into_inner());
    outcomes.into_iter().for_each(|outcome| harvest.add(outcome));
    Ok(harvest)
}

/// Tells again and again what the devices of this thread have seen.
async fn tell_progress(shared: &Shared, number: usize, worker: &Worker) -> Infallible {
    if shared.plan.quiet {
        return std::future::pending().await;
    }
    let mut ticks = interval(TELL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        shared.recent.tell(number, &worker.tally.borrow().latency_ns);
    }
}

fn role(shared: &Shared, kind: PartKind) -> Role {
    let (plan, run) = (&shared.plan, shared.run);
    match kind {
        PartKind::Publisher(number) => {
            Role::Publisher(Box::new(Publishing::new(plan, number, run)))
        }
        PartKind::Receiver(number) => Role::Receiver(Box::new(Receiving::new(plan, number, run))),
        PartKind::Idle(number) => Role::Idle(number),
        PartKind::Watcher => Role::Watcher(std::collections::BTreeSet::new()),
    }
}
