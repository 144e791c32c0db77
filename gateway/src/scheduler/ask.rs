//! What the scheduler's thread is asked.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use maintenance::audit::AuditEntry;

use super::acts::{AuditPage, WriteOffRequest};
use super::status::{HostStatus, SchedulerStatus};
use super::thread::Scheduler;
use super::visits::{OrderRequest, VisitDocument};
use crate::config::{Roles, Settings};
use crate::control::ControlError;
use crate::reply::{Reply, reply};

/// A letter to the thread.
#[derive(Debug)]
pub enum SchedulerAsk {
    /// Every registered gateway, with its answer.
    Hosts(Reply<Result<Vec<HostStatus>, ControlError>>),
    /// Who holds the scheduler's lease.
    Lease(Reply<Result<SchedulerStatus, ControlError>>),
    /// Give a host up for lost, in the name of an operator.
    WriteOff(WriteOffRequest, String, Reply<Result<AuditEntry, ControlError>>),
    /// Entries of the audit behind that one, so many at most.
    Audit(u64, usize, Reply<Result<AuditPage, ControlError>>),
    /// Something that is done between two looks.
    Act(Act),
    /// The visits that are on their way or were.
    Visits(Reply<Result<Vec<VisitDocument>, ControlError>>),
    /// What an operator wants of a visit, and the operator's name.
    Order(OrderRequest, String, Reply<Result<VisitDocument, ControlError>>),
    /// How this gateway is described, from now on.
    Settings(Arc<Settings>),
    /// The settings that are not in force without a restart, by name; none if all are.
    NeedsRestart(Vec<String>),
    /// The process ends.
    Stop,
}

/// Work for the thread, which answers whoever sent it.
pub struct Act(Box<dyn FnOnce(&mut Scheduler) + Send>);

/// Where to write to the thread.
#[derive(Debug, Clone)]
pub struct SchedulerSender {
    asks: Sender<SchedulerAsk>,
    /// Here, so that who may do what is known even while the thread waits for the store.
    roles: Arc<RwLock<Arc<Roles>>>,
}

/// How long it may take to answer: it may have to wait for the store.
const PATIENCE: Duration = Duration::from_secs(10);

impl SchedulerSender {
    /// A channel to the thread, of whom operators with these roles ask.
    pub fn channel(roles: Roles) -> (Self, Receiver<SchedulerAsk>) {
        let (asks, receiver) = channel();
        (Self { asks, roles: Arc::new(RwLock::new(Arc::new(roles))) }, receiver)
    }

    /// Sends a letter. The roles in settings hold from now on, for everybody who sends.
    pub fn send(&self, ask: SchedulerAsk) {
        if let SchedulerAsk::Settings(settings) = &ask {
            let roles = Arc::new(settings.maintenance.roles.clone());
            *self.roles.write().unwrap_or_else(PoisonError::into_inner) = roles;
        }
        // After the end of the process nobody cares.
        let _ = self.asks.send(ask);
    }

    /// Which operators may do what.
    pub fn roles(&self) -> Arc<Roles> {
        Arc::clone(&self.roles.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Has something done by the thread, and waits for the answer.
    ///
    /// # Errors
    /// What the work answers, or that the thread does not.
    pub fn act<T: Send + 'static>(
        &self,
        act: impl FnOnce(&mut Scheduler) -> Result<T, ControlError> + Send + 'static,
    ) -> Result<T, ControlError> {
        self.ask(|answer| {
            let act = move |scheduler: &mut Scheduler| answer.with(|| act(scheduler));
            SchedulerAsk::Act(Act(Box::new(act)))
        })
    }

    /// Asks and waits for the answer. What the thread has not begun by the time that it is given up it does not.
    ///
    /// # Errors
    /// What the thread answers, or that it does not.
    pub fn ask<T>(
        &self,
        ask: impl FnOnce(Reply<Result<T, ControlError>>) -> SchedulerAsk,
    ) -> Result<T, ControlError> {
        let (reply, waiting) = reply();
        self.send(ask(reply));
        waiting.within(PATIENCE).map_err(|silence| silence.of("scheduler"))?
    }
}

impl Act {
    pub(super) fn run(self, scheduler: &mut Scheduler) {
        (self.0)(scheduler);
    }
}

impl std::fmt::Debug for Act {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Act")
    }
}
