//! One event of one visit: what follows from it is stored with what the ledger says to it and with what the audit tells of
//! that, in one transaction, or not at all.

use maintenance::audit::AuditRecord;
use maintenance::execution::{Effect, Event, Ignored, LedgerStep, Reaction, VisitChange};
use maintenance::fleet::VisitId;
use maintenance::ledger::Change;
use maintenance::{Host, HostState, Ledger};
use store::{Expect, Put, Rev};

use super::document::VisitDocument;
use super::view::View;
use crate::control::ControlError;
use crate::scheduler::acts::{LEDGER, TRIES, unavailable};
use crate::scheduler::documents::{DocumentError, Documents};
use crate::scheduler::thread::Scheduler;

/// What came of an event.
#[derive(Debug)]
pub(super) enum Turned {
    /// It is stored; this is to be done now.
    Changed(Box<VisitDocument>, Vec<Effect>),
    /// Nothing follows.
    Ignored(Ignored),
}

/// Who says what happened, and why it did.
#[derive(Debug, Clone, Copy)]
pub(super) struct Said<'a> {
    pub(super) by: &'a str,
    pub(super) why: &'a str,
    /// The attempt that it is about, if it is about one.
    pub(super) attempt: Option<u32>,
}

/// The ledger as it was read.
pub(super) struct Book {
    pub(super) ledger: Ledger,
    pub(super) rev: Option<Rev>,
}

impl Scheduler {
    /// Something has happened to a visit.
    pub(super) fn turn(
        &mut self,
        visit: &VisitId,
        event: &Event,
        said: Said<'_>,
    ) -> Result<Turned, ControlError> {
        self.turn_told(visit, event, said, None)
    }

    /// The same, with an entry of the audit about the event itself.
    pub(super) fn turn_told(
        &mut self,
        visit: &VisitId,
        event: &Event,
        said: Said<'_>,
        told: Option<AuditRecord>,
    ) -> Result<Turned, ControlError> {
        let key = VisitDocument::key(visit);
        for _ in 0..TRIES {
            let stored = self.documents.get::<VisitDocument>(&key).map_err(unavailable)?;
            let Some((document, rev)) = stored else {
                return Err(ControlError::Refused(format!("there is no visit {visit}")));
            };
            let at = document.execution.at().map(|at| at.attempt);
            if said.attempt.is_some() && said.attempt != at {
                return Ok(Turned::Ignored(Ignored::Stale));
            }
            let told = told.clone();
            if let Some(turned) = self.try_turn((document, rev), event, said, told)? {
                return Ok(turned);
            }
        }
        Err(ControlError::Unavailable("others change the visit all the time".into()))
    }

    /// None if somebody else wrote meanwhile.
    fn try_turn(
        &mut self,
        (document, rev): (VisitDocument, Rev),
        event: &Event,
        said: Said<'_>,
        told: Option<AuditRecord>,
    ) -> Result<Option<Turned>, ControlError> {
        let now = self.shared.now().wall;
        let reaction = match document.execution.handle(event, now) {
            Ok(reaction) => reaction,
            Err(ignored) => return Ok(Some(Turned::Ignored(ignored))),
        };
        if reaction.next == document.execution {
            return Ok(Some(Turned::Changed(Box::new(document), reaction.effects)));
        }
        let (mut puts, mut changes) = (Vec::new(), Vec::new());
        let (reaction, before) = if reaction.ledger.is_empty() {
            (reaction, None)
        } else {
            let book = self.book()?;
            let mut view = self.fleet()?;
            // What operators allow is read only for what takes something from clients: an unreadable policy must not keep a
            // host from coming back.
            let law = if needs_law(&reaction) { self.read_law(&mut view) } else { Ok(()) };
            let reaction = match law {
                Ok(()) => Ok(reaction),
                Err(why) => document.execution.handle(&unreadable(&why), now),
            };
            let asked = reaction.and_then(|it| ask(&document, it, &book.ledger, &view));
            let (reaction, after, changed) = match asked {
                Ok(asked) => asked,
                Err(ignored) => return Ok(Some(Turned::Ignored(ignored))),
            };
            puts.push(book.put(&after)?);
            changes = changed;
            (reaction, Some(book.ledger))
        };
        let change = VisitChange::between(Some(&document.execution), &reaction.next);
        let next = VisitDocument { execution: reaction.next, ..document };
        let key = VisitDocument::key(next.execution.visit());
        puts.push(Documents::put_of(&key, &next, Expect::Rev(rev)).map_err(unavailable)?);
        let records = changes.iter().map(|change| {
            let host = change.host().and_then(|host| before.as_ref()?.slot(host));
            AuditRecord::of_change(now, said.by, said.why, change, host)
        });
        let step = change.map(|change| AuditRecord::of_visit(now, said.by, said.why, &change));
        let records: Vec<_> = told.into_iter().chain(records).chain(step).collect();
        match self.store(puts, records)? {
            true => Ok(Some(Turned::Changed(Box::new(next), reaction.effects))),
            false => Ok(None),
        }
    }

    /// The ledger as it stands.
    pub(super) fn book(&mut self) -> Result<Book, ControlError> {
        let (ledger, rev) = self.documents.ledger()?;
        Ok(Book { ledger, rev })
    }

    /// Stores changes with what the audit tells of them. False if somebody else wrote meanwhile.
    pub(super) fn store(
        &mut self,
        mut puts: Vec<Put>,
        records: Vec<AuditRecord>,
    ) -> Result<bool, ControlError> {
        puts.extend(self.documents.told(records)?);
        match self.documents.write(puts) {
            Ok(()) => Ok(true),
            Err(DocumentError::Conflict { .. }) => Ok(false),
            Err(error) => Err(unavailable(error)),
        }
    }
}

impl Book {
    /// The write of a ledger in the place of the one that was read.
    pub(super) fn put(&self, ledger: &Ledger) -> Result<Put, ControlError> {
        let stored = ledger.encode().map_err(|why| ControlError::Unavailable(why.to_string()))?;
        Ok(Documents::put_bytes(LEDGER, stored, self.rev.map_or(Expect::Absent, Expect::Rev)))
    }
}

/// Whether something is asked that operators may have forbidden meanwhile.
fn needs_law(reaction: &Reaction) -> bool {
    reaction.ledger.iter().any(|step| match step {
        LedgerStep::Start { .. } | LedgerStep::Cross { .. } => true,
        LedgerStep::HandBack
        | LedgerStep::Conclude(_)
        | LedgerStep::Verify(_)
        | LedgerStep::Fail
        | LedgerStep::Release
        | LedgerStep::WriteOff { .. } => false,
    })
}

/// What nobody can read allows nothing.
fn unreadable(why: &ControlError) -> Event {
    Event::Refused { why: why.to_string(), slot_gone: false }
}

type Asked = (Reaction, Ledger, Vec<Change>);

/// Asks the ledger. What it refuses is an event of its own, whose reaction it is asked about too.
fn ask(
    document: &VisitDocument,
    mut reaction: Reaction,
    ledger: &Ledger,
    view: &View,
) -> Result<Asked, Ignored> {
    let VisitDocument { execution, planned, alike, despite, .. } = document;
    let gone = Host::new(execution.host().clone(), execution.life(), HostState::Lost);
    let host = view.host(execution.host()).unwrap_or(&gone);
    let rules = view.rules(ledger, host, (planned, *alike, despite.as_ref()));
    // Twice at most: a refusal, and a refusal of what follows from it.
    for _ in 0..2 {
        let mut after = ledger.clone();
        match reaction.ask(&mut after, host, &view.seen(), &rules) {
            Ok(changes) => return Ok((reaction, after, changes)),
            Err(no) => {
                tracing::debug!("the ledger refuses a step of {}: {no}", execution.visit());
                let refused = Event::Refused { why: no.why, slot_gone: no.slot_gone };
                reaction = execution.handle(&refused, view.now)?;
            }
        }
    }
    Err(Ignored::NotNow)
}
