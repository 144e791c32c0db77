//! What the holder of the scheduler's lease does with the plan: it begins the visits whose time has come.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use maintenance::audit::AuditRecord;
use maintenance::execution::{End, Event, Execution, Stage, Step, StepRecord, VisitChange};
use maintenance::fleet::{Availability, Term, VisitId};
use maintenance::ledger::Grant;
use maintenance::operation::OperationId;
use maintenance::planner::{Despite, PlannedVisit, Published, Suits, Wishes};
use maintenance::policy::Effective;
use maintenance::{Host, Ledger};
use protocol::{GatewayId, Wall};
use serde_json::json;
use store::Expect;

use super::despite::{BeginDespite, overruled};
use super::document::VisitDocument;
use super::turn::Book;
use super::view::View;
use crate::control::{ControlError, DrainRequest};
use crate::scheduler::acts::unavailable;
use crate::scheduler::documents::{DESPITE, Documents, PLAIN, PREFERENCES};
use crate::scheduler::host::HostDocument;
use crate::scheduler::thread::Scheduler;
use crate::scheduler::wanted::{Acting, OperationState};

/// Where the plan stands.
pub(super) const PLAN: &str = "plan";
/// How long after it was given up a visit is tried again; after each other time twice as long, up to [`TRIES_THAT_COUNT`].
const AGAIN: Duration = Duration::from_secs(10);
/// How many times make that longer: up to 11 minutes.
const TRIES_THAT_COUNT: usize = 7;
/// Characters of the reason why a visit failed that the audit keeps.
const REASON: usize = 1000;
/// How many visits are forgotten at once.
const FORGOTTEN: usize = 256;

impl Scheduler {
    /// Begins what is due, and notices hosts that are gone in the middle of a visit.
    pub(in crate::scheduler) fn walk(&mut self) -> Result<(), ControlError> {
        let Some(term) = self.watch.held(self.shared.now().mono) else {
            self.show_asking(&BTreeMap::new());
            self.notices.forget();
            return Ok(());
        };
        let documents = self.documents.all::<VisitDocument>(VisitDocument::PREFIX);
        let documents = documents.map_err(unavailable)?;
        let documents: BTreeMap<VisitId, VisitDocument> =
            documents.into_iter().map(|it| (it.execution.visit().clone(), it)).collect();
        self.show_asking(&documents);
        self.look_for_the_lost(&documents)?;
        self.tell_notices(&documents)?;
        let plan = self.documents.get::<Published>(PLAN).map_err(unavailable)?;
        let Some((plan, _)) = plan else { return Ok(()) };
        self.waiting
            .retain(|visit, _| plan.visit(visit).is_some() || documents.contains_key(visit));
        // Also those that are planned anew meanwhile, for later.
        let wanted: BTreeSet<_> = plan.visits.iter().flat_map(tasks).collect();
        for known in documents.values() {
            if tasks(&known.planned).any(|task| wanted.contains(&task)) {
                let ended = self.end(known);
                self.note(&known.planned.visit.id, ended);
            }
        }
        self.forget(&documents)?;
        let despites = self.heed_despites(&documents)?;
        let now = self.shared.now().wall;
        // Who breaks the glass does not wait for the plan.
        let is_despite = |it: &&PlannedVisit| despites.contains_key(&it.visit.id);
        let due = plan.due(now).map(|(_, planned)| planned).filter(|it| !is_despite(it));
        let due: Vec<_> = plan.visits.iter().filter(is_despite).chain(due).collect();
        for planned in due {
            let known = documents.get(&planned.visit.id);
            let stands = known.map(|known| known.execution.stage());
            let may_begin = stands.is_none_or(|stage| match stage {
                Stage::Planned | Stage::Approved => true,
                // What it has left out is planned anew under its name.
                Stage::Done => known.is_some_and(|known| known.is_followed_by(planned)),
                Stage::Going(_)
                | Stage::NeedsOperator { .. }
                | Stage::Cancelled
                | Stage::Failed { .. }
                | Stage::WrittenOff => false,
            });
            if may_begin {
                let despite = despites.get(&planned.visit.id);
                let entry = plan.plan.entry(&planned.visit.id);
                let overruled = entry.and_then(|it| it.suits).filter(|it| it.is_overruled());
                let planned_for = (planned, alike(planned, &plan), overruled);
                let begun = self.begin(planned_for, term, despite);
                self.note(&planned.visit.id, begun);
            }
        }
        Ok(())
    }

    /// How many visits wait for an operator.
    fn show_asking(&self, documents: &BTreeMap<VisitId, VisitDocument>) {
        let asks =
            |it: &&VisitDocument| matches!(it.execution.stage(), Stage::NeedsOperator { .. });
        let asking = documents.values().filter(asks).count();
        self.metrics.process().visits_asking.set(u64::try_from(asking).unwrap_or(u64::MAX));
    }

    /// What a visit was for is not pending any more once it is over, but for what it has left out; what is to be done in one like it
    /// now may be more.
    fn end(&mut self, known: &VisitDocument) -> Result<(), ControlError> {
        let stage = known.execution.stage();
        let Some(state) = OperationState::left_by(stage) else { return Ok(()) };
        let by = format!("scheduler {}", self.id);
        let acting = Acting { by: &by, now: self.shared.now().wall, hosts: &[], most: self.most };
        let why = format!("visit {} is over: {}", known.execution.visit(), known.execution.told());
        let why: String = why.chars().take(REASON).collect();
        let (mut ids, left) = (known.planned.visit.operations.clone(), known.left_out());
        ids.retain(|id| !left.contains(&id));
        self.documents.end_and_learn(&ids, (state, &why), Some(known), &acting)
    }

    /// Visits that are over for long are not looked at for ever.
    fn forget(&mut self, documents: &BTreeMap<VisitId, VisitDocument>) -> Result<(), ControlError> {
        if !documents.values().any(|it| it.execution.is_over()) {
            return Ok(());
        }
        let (operations, now) = (self.documents.operations()?, self.shared.now().wall);
        let old = documents.values().filter(|it| it.is_forgotten(&operations, now));
        let key = |it: &VisitDocument| VisitDocument::key(it.execution.visit());
        let gone: Vec<_> = old.map(|it| Documents::delete_of(&key(it))).take(FORGOTTEN).collect();
        if gone.is_empty() { Ok(()) } else { self.documents.write(gone).map_err(unavailable) }
    }

    /// What is wrong with one visit does not hold up the others.
    pub(super) fn note(&mut self, visit: &VisitId, done: Result<(), ControlError>) {
        if let Err(why) = done {
            self.tell_waiting(visit, why.to_string());
        }
    }

    /// Says why a visit waits, once for each reason.
    fn tell_waiting(&mut self, visit: &VisitId, why: String) {
        if self.waiting.get(visit) != Some(&why) {
            tracing::info!("visit {visit} does not go on: {why}");
            self.waiting.insert(visit.clone(), why);
        }
    }

    /// Begins a visit, if its host and the ledger agree.
    fn begin(
        &mut self,
        (planned, alike, overruled): (&PlannedVisit, usize, Option<Suits>),
        term: Term,
        despite: Option<&BeginDespite>,
    ) -> Result<(), ControlError> {
        let key = VisitDocument::key(&planned.visit.id);
        let stored = self.documents.get::<VisitDocument>(&key).map_err(unavailable)?;
        let (known, rev) = stored.unzip();
        // One at a time, also of those that need no slot.
        let going = self.documents.going(Some(&planned.visit.host))?;
        let mut others = going.iter().map(|it| it.execution.visit());
        if let Some(other) = others.find(|other| **other != planned.visit.id) {
            self.tell_waiting(&planned.visit.id, format!("visit {other} is not over"));
            return Ok(());
        }
        let (book, view) = (self.book()?, self.view()?);
        let Some(own) = view.host(&planned.visit.host) else { return Ok(()) };
        let told = self.documents.get::<HostDocument>(&HostDocument::key(&own.id));
        let told = told.map_err(unavailable)?;
        let law = view.law(&book.ledger);
        let effective = law.effective(own);
        let of_moves = effective.flush.value.is_some() || effective.per_device.value.is_some();
        let version = match despite {
            _ if of_moves || overruled.is_some() => PREFERENCES,
            Some(_) => DESPITE,
            None => PLAIN,
        };
        if told.is_some_and(|(told, _)| told.version < version) {
            let why = "its gateway is of a version that does not carry out such visits".to_owned();
            self.tell_waiting(&planned.visit.id, why);
            return Ok(());
        }
        if let Some(until) = self.closed_until(&law, &effective)? {
            let why = format!("its gate was closed lately, and opens at {} ms", until.0);
            self.tell_waiting(&planned.visit.id, why);
            return Ok(());
        }
        let word = despite.map(|it| &it.despite);
        let known = known.as_ref();
        let offer = Offer { planned, alike, overruled, term, own, known, despite: word };
        let (document, mut records, ledger) = match offer.take(&book, &view) {
            Ok(taken) => taken,
            Err(why) => {
                self.tell_waiting(&planned.visit.id, why);
                return Ok(());
            }
        };
        // The plan may be older than what operators want, and what is before it may take longer than was planned.
        let held = self.documents.hold_operations(planned, view.now)?;
        let mut puts = match held {
            Ok(puts) => puts,
            Err(why) => {
                self.tell_waiting(&planned.visit.id, why);
                return Ok(());
            }
        };
        if let Some(despite) = despite {
            // A glass that has ended meanwhile begins nothing.
            let held = self.documents.hold_glass(despite, view.now)?;
            let Some(held) = held else { return Ok(()) };
            puts.push(held);
        }
        // Of one that was planned anew meanwhile the steps before are another's.
        let before = known.filter(|known| known.planned == *planned);
        let begun = VisitChange::between(before.map(|it| &it.execution), &document.execution);
        let (by, why) = (format!("scheduler {}", self.id), format!("visit {}", planned.visit.id));
        let told = |change| AuditRecord::of_visit(view.now, &by, &why, &change);
        records.extend(begun.map(told));
        let expect = rev.map_or(Expect::Absent, Expect::Rev);
        puts.push(Documents::put_of(&key, &document, expect).map_err(unavailable)?);
        if let Some(ledger) = ledger {
            puts.push(book.put(&ledger)?);
        }
        if self.store(puts, records)? {
            tracing::info!("visit {} begins", planned.visit.id);
            self.metrics.process().visits_begun.add(1);
        }
        Ok(())
    }
}

/// What is done in a visit, and where.
fn tasks(planned: &PlannedVisit) -> impl Iterator<Item = (&GatewayId, &OperationId)> {
    planned.visit.operations.iter().map(|id| (&planned.visit.host, id))
}

/// How many hosts are visited for the same: those of its campaigns.
fn alike(planned: &PlannedVisit, plan: &Published) -> usize {
    let of = |campaign| {
        let shares = |it: &&PlannedVisit| it.visit.batches.iter().any(|b| b.campaign == campaign);
        plan.visits.iter().filter(shares).count()
    };
    planned.visit.batches.iter().map(|batch| of(batch.campaign.clone())).max().unwrap_or(1)
}

/// A visit that could begin now.
struct Offer<'a> {
    planned: &'a PlannedVisit,
    alike: usize,
    /// Why the plan does not heed what its host prefers, if it does not.
    overruled: Option<Suits>,
    term: Term,
    own: &'a Host,
    known: Option<&'a VisitDocument>,
    /// By whose word it begins, if not by the plan's alone.
    despite: Option<&'a Despite>,
}

type Taken = (VisitDocument, Vec<AuditRecord>, Option<Ledger>);

impl Offer<'_> {
    /// The visit with its slot, or why it has none.
    fn take(&self, book: &Book, view: &View) -> Result<Taken, String> {
        let law = view.law(&book.ledger);
        let opening = law.opening(self.own, self.planned);
        let is_open = opening.is_some();
        let opening = self.despite.map_or(opening, |it| it.opening(opening, view.now));
        let opening = opening.ok_or("no window is open")?;
        let rules = view.rules(&book.ledger, self.own, (self.planned, self.alike, self.despite));
        let answer = view.answers.get(&self.own.id);
        let answer = answer.filter(|answer| answer.is_fresh(view.now, self.own.incarnation));
        let answer = answer.ok_or("the host has not answered lately")?;
        let mut document = match self.known {
            Some(known) if known.planned == *self.planned => known.clone(),
            Some(_) | None => {
                let effective = law.effective(self.own);
                self.document(&effective, answer, opening.length())
            }
        };
        document.despite = self.despite.cloned();
        document.overruled = self.overruled;
        let yields_to = law.effective(self.own).soft_yields_to.value;
        self.suits_its_host(answer, yields_to, (view.now, rules.glass_broken))?;
        let until = declined_until(document.execution.journal(), answer);
        if until.filter(|_| !rules.glass_broken).is_some_and(|until| view.now < until) {
            return Err("the host declined it".to_owned());
        }
        let said = self.despite.map(|despite| despite.at);
        if again(document.execution.journal(), said).is_some_and(|at| view.now < at) {
            return Err("it was tried a moment ago".to_owned());
        }
        let visit = &self.planned.visit.id;
        let told = |despite| overruled((visit, despite), (is_open, answer), view.now);
        let mut records: Vec<_> = self.despite.map(told).into_iter().collect();
        records.extend(self.overruled.map(|why| self.overrules(why, answer, view.now)));
        let incarnation = self.own.incarnation;
        if let Ok(reaction) = document.execution.handle(&Event::Approved, view.now) {
            document.execution = reaction.next;
        }
        // What needs no slot begins as soon as it is approved.
        let Some(class) = document.execution.course().slot else {
            let allowed = book.ledger.may_begin(&self.own.id, &view.seen(), &rules);
            allowed.map_err(|why| why.to_string())?;
            let reaction = document.execution.handle(&Event::Begin, view.now);
            document.execution = reaction.map_err(|why| why.to_string())?.next;
            return Ok((document, records, None));
        };
        let grant = Grant {
            host: &self.own.id,
            offered: incarnation,
            visit: Some(self.planned.visit.id.clone()),
            term: self.term,
            class,
            opening,
            remaining: document.execution.course().remaining(0),
            once: false,
            asked: None,
        };
        let mut ledger = book.ledger.clone();
        let change = ledger.grant(&grant, &view.seen(), &rules).map_err(|why| why.to_string())?;
        let epoch = change.epoch().ok_or("the grant has no number")?;
        let granted = Event::Granted { epoch, term: self.term, incarnation, opening };
        let reaction = document.execution.handle(&granted, view.now);
        document.execution = reaction.map_err(|why| why.to_string())?.next;
        let why = format!("visit {}", self.planned.visit.id);
        records.push(AuditRecord::of_change(view.now, "scheduler", &why, &change, None));
        Ok((document, records, Some(ledger)))
    }

    /// Whether its host says nothing against it, and prefers no other time that the plan has not overruled.
    fn suits_its_host(
        &self,
        answer: &Availability,
        yields_to: Option<u8>,
        (now, glass_broken): (Wall, bool),
    ) -> Result<(), String> {
        let declined = self.planned.visit.declined_by(&answer.blockers, yields_to, now);
        if let Some(blocker) = declined.filter(|_| !glass_broken) {
            return Err(format!("host is blocked: {}", blocker.code));
        }
        let is_asked = self.despite.is_none() && self.overruled.is_none();
        if is_asked && !self.planned.visit.counter(&answer.preferred, yields_to, now).is_empty() {
            return Err("its host prefers another time, and it is to be planned anew".to_owned());
        }
        Ok(())
    }

    /// What the audit is told of a visit that begins at a time that its host does not prefer.
    fn overrules(&self, why: Suits, answer: &Availability, now: Wall) -> AuditRecord {
        AuditRecord {
            at: now,
            actor: "scheduler".to_owned(),
            action: "visit.preference_overruled".to_owned(),
            object: format!("visit {}", self.planned.visit.id),
            before: None,
            after: Some(json!({ "suits": why, "preferred": answer.preferred })),
            reason: why.to_string(),
        }
    }

    /// The visit as the policies want it done, in a window that is open for so long.
    fn document(
        &self,
        effective: &Effective,
        answer: &Availability,
        open: Duration,
    ) -> VisitDocument {
        let visit = &self.planned.visit;
        let Wishes { course, drain } = Wishes::new(self.planned, effective, answer, open);
        let reason = Some(format!("visit {}", visit.id));
        VisitDocument {
            execution: Execution::new(visit.id.clone(), visit.host.clone(), course),
            planned: self.planned.clone(),
            alike: self.alike,
            drain: DrainRequest { reason, ..DrainRequest::from(drain) },
            despite: None,
            overruled: None,
        }
    }
}

/// Until when a host has declined a visit; none once it has said anything newer without a word of that.
fn declined_until(journal: &[StepRecord], answer: &Availability) -> Option<Wall> {
    let ended = journal.last()?.outcome.as_ref()?;
    let End::Declined { code, until, preferred } = &ended.end else { return None };
    // What would suit it is in its answer.
    if !preferred.is_empty() {
        return None;
    }
    let says_so = answer.blockers.iter().any(|blocker| blocker.code == *code);
    until.filter(|_| says_so || answer.issued <= ended.at)
}

/// When a visit that was tried may be tried again: each try begins with a check. A word of somebody who was not heard yet is.
pub(super) fn again(journal: &[StepRecord], said: Option<Wall>) -> Option<Wall> {
    let ended = journal.last()?.outcome.as_ref()?.at;
    if said.is_some_and(|said| ended < said) {
        return said;
    }
    let tries = journal.iter().filter(|record| record.step == Step::PreCheck).count();
    let doubled = tries.clamp(1, TRIES_THAT_COUNT) - 1;
    Some(ended.after(AGAIN * (1 << doubled)))
}

#[cfg(test)]
mod tests {
    use maintenance::HostState;
    use maintenance::execution::{Ended, Track};
    use maintenance::fleet::{Blocker, Estimate, Forecast, Load, OwnDrain, Preferred};
    use maintenance::operation::{Class, Due, OpKind, Operation};
    use maintenance::policy::{Facts, PolicySet};
    use protocol::Incarnation;

    use super::*;
    use crate::scheduler::planned::Gates;
    use crate::scheduler::visits::document::begun_for_tests;

    /// 2026-01-05 10:00 UTC.
    const NOW: Wall = Wall(1_767_607_200_000);

    fn id() -> GatewayId {
        GatewayId::new("gw-1").unwrap()
    }

    /// The gateway that is to be visited, which says this of itself, and one that is lost.
    fn fleet(blockers: Vec<Blocker>, policies: &str) -> View {
        let host = Host::new(id(), Incarnation(1), HostState::Serving);
        let lost = GatewayId::new("gw-2").unwrap();
        let lost = Host::new(lost, Incarnation(1), HostState::Lost);
        let answer = Availability {
            host: id(),
            incarnation: host.incarnation,
            state: HostState::Serving,
            seq: 1,
            issued: NOW,
            valid_until: Wall(u64::MAX),
            blockers,
            load: Load::default(),
            forecast: Forecast::new(Vec::new()),
            drain_estimate: Estimate::default(),
            drain: OwnDrain::default(),
            sessions: 0,
            v5_share_percent: None,
            needs: Vec::new(),
            preferred: Vec::new(),
        };
        View {
            now: NOW,
            hosts: vec![host, lost],
            answers: BTreeMap::from([(id(), answer)]),
            policies: PolicySet::read(policies, &BTreeMap::new()).unwrap(),
            freezes: Vec::new(),
            facts: Facts::default(),
            gates: Gates::default(),
        }
    }

    fn planned() -> PlannedVisit {
        let rotate = Operation::new(OperationId::new("r").unwrap(), OpKind::CertRotate, id());
        begun_for_tests(rotate).planned
    }

    fn offer<'a>(planned: &'a PlannedVisit, own: &'a Host) -> Offer<'a> {
        let (overruled, despite, known) = (None, None, None);
        Offer { planned, alike: 1, overruled, term: Term(1), own, known, despite }
    }

    #[test]
    fn hot_work_does_not_begin_while_its_gate_is_closed() {
        let text = r#"
            [policy.all]
            windows = [{ from = "2026-01-05T00:00:00", to = "2026-01-06T00:00:00", tz = "UTC" }]
            gate = { close_if = ["lost_hosts >= 1"] }
        "#;
        let (mut view, planned) = (fleet(Vec::new(), text), planned());
        let own = view.hosts[0].clone();
        let book = Book { ledger: Ledger::default(), rev: None };
        let (planned, own) = (&planned, &own);
        let offer = offer(planned, own);
        let why = offer.take(&book, &view).unwrap_err();
        assert!(why.contains("lost_hosts"), "{why}");
        view.hosts.pop();
        // It is open again, and has been for too short a time.
        let ten = Duration::from_secs(600);
        view.gates.note(BTreeMap::from([(vec!["all".into()], ten)]), NOW);
        let why = offer.take(&book, &view).unwrap_err();
        assert!(why.contains("closed lately"), "{why}");
        view.now = NOW.after(ten);
        let (document, records, ledger) = offer.take(&book, &view).unwrap();
        assert!(matches!(document.execution.stage(), Stage::Going(_)));
        assert!(records.is_empty() && ledger.is_none(), "it takes no slot");
    }

    #[test]
    fn a_soft_blocker_is_heard_at_the_begin_unless_the_visit_is_urgent() {
        let text = r#"
            [policy.all]
            soft_yields_to = 7
            windows = [{ from = "2026-01-05T00:00:00", to = "2026-01-06T00:00:00", tz = "UTC" }]
        "#;
        let later = Some(NOW.after(Duration::from_secs(3600)));
        let (code, detail) = ("match".to_owned(), String::new());
        let mut view = fleet(vec![Blocker { code, until: later, hard: false, detail }], text);
        view.hosts.pop();
        let own = view.hosts[0].clone();
        let book = Book { ledger: Ledger::default(), rev: None };
        let begins = |view: &View, of: &PlannedVisit| {
            let (planned, own) = (of, &own);
            let offer = offer(planned, own);
            offer.take(&book, view).map(|_| ())
        };
        let plain = planned();
        assert_eq!(begins(&view, &plain), Err("host is blocked: match".to_owned()));
        let mut important = plain.clone();
        important.visit.priority = 7;
        assert_eq!(begins(&view, &important), Ok(()));
        let mut due = plain.clone();
        due.visit.deadline = Some(Due { at: NOW.after(Duration::from_secs(600)), hard: false });
        assert_eq!(begins(&view, &due), Ok(()));
        view.now = NOW.after(Duration::from_secs(3600));
        assert_eq!(begins(&view, &plain), Ok(()), "it is over");
    }

    #[test]
    fn what_a_host_prefers_is_waited_for_unless_the_plan_overrules_it_and_the_audit_tells() {
        let text = r#"
            [policy.all]
            windows = [{ from = "2026-01-05T00:00:00", to = "2026-01-06T00:00:00", tz = "UTC" }]
            min_available = { fleet = 0 }
        "#;
        let mut view = fleet(Vec::new(), text);
        view.hosts.pop();
        let hour = |hours: u64| NOW.after(Duration::from_secs(hours * 3600));
        let later = Preferred { cost: 2, from: hour(1), until: hour(3) };
        view.answers.get_mut(&id()).unwrap().preferred = vec![later];
        let own = view.hosts[0].clone();
        let book = Book { ledger: Ledger::default(), rev: None };
        let mut planned = planned();
        planned.visit.class = Class::Drain;
        let plain = offer(&planned, &own);
        let why = plain.take(&book, &view).unwrap_err();
        assert!(why.contains("prefers another time"), "{why}");
        let overruled = Offer { overruled: Some(Suits::Late), ..offer(&planned, &own) };
        let (document, records, _) = overruled.take(&book, &view).unwrap();
        assert_eq!(document.overruled, Some(Suits::Late), "its host must know");
        let told = &records[0];
        assert_eq!(told.action, "visit.preference_overruled");
        assert_eq!(told.after.as_ref().unwrap()["suits"], "late");
        assert!(told.reason.contains("would be late"), "{}", told.reason);
        view.now = hour(1);
        let (document, records, _) = plain.take(&book, &view).unwrap();
        assert_eq!(document.overruled, None);
        assert!(records.iter().all(|it| it.action != "visit.preference_overruled"));
    }

    #[test]
    fn what_a_host_has_declined_waits_until_its_time_or_until_it_says_otherwise() {
        let (code, until) = ("backup".to_owned(), Some(Wall(NOW.0 + 60_000)));
        let end = End::Declined { code: code.clone(), until, preferred: Vec::new() };
        let record = StepRecord {
            track: Track::Forward,
            place: 0,
            step: Step::PreCheck,
            work: 0,
            attempt: 1,
            epoch: None,
            life: Incarnation(1),
            intent: NOW,
            outcome: Some(Ended { at: NOW, end }),
            output: None,
        };
        let mut answer = fleet(Vec::new(), "").answers.remove(&id()).unwrap();
        let asked = |answer: &Availability| declined_until(std::slice::from_ref(&record), answer);
        assert_eq!(asked(&answer), until, "the answer is not newer");
        answer.issued = Wall(NOW.0 + 1);
        assert_eq!(asked(&answer), None, "it has thought better of it");
        answer.blockers.push(Blocker { code, until, hard: true, detail: String::new() });
        assert_eq!(asked(&answer), until);
        assert_eq!(declined_until(&[], &answer), None);
        // What would suit it, its answer says.
        let preferred = vec![Preferred { cost: 1, from: Wall(1), until: Wall(2) }];
        let end = End::Declined { code: "prefers_other_time".to_owned(), until, preferred };
        let outcome = Some(Ended { at: NOW, end });
        let countered = StepRecord { outcome, ..record.clone() };
        assert_eq!(declined_until(&[countered], &answer), None);
    }

    #[test]
    fn who_breaks_the_glass_overrules_what_the_host_and_the_calendar_say_and_not_a_gate() {
        let (code, until) = ("backup".to_owned(), None);
        let backup = Blocker { code, until, hard: true, detail: String::new() };
        let closed = "[policy.all]\ngate = { close_if = [\"lost_hosts >= 1\"] }";
        let mut view = fleet(vec![backup], closed);
        let (planned, own) = (planned(), view.hosts[0].clone());
        let book = Book { ledger: Ledger::default(), rev: None };
        let despite = Despite {
            by: "dan".to_owned(),
            reason: "fire".to_owned(),
            at: Wall(NOW.0 - 1),
            until: NOW.after(Duration::from_secs(60)),
        };
        let (planned, own) = (&planned, &own);
        let plain = offer(planned, own);
        assert_eq!(plain.take(&book, &view).unwrap_err(), "no window is open");
        let loud = Offer { despite: Some(&despite), ..plain };
        let why = loud.take(&book, &view).unwrap_err();
        assert!(why.contains("lost_hosts"), "{why}");
        view.hosts.pop();
        let (document, records, _) = loud.take(&book, &view).unwrap();
        assert!(matches!(document.execution.stage(), Stage::Going(_)));
        assert_eq!(document.despite.as_ref(), Some(&despite), "each later question is asked so");
        let [told] = &records[..] else { panic!("{records:?}") };
        assert_eq!((told.actor.as_str(), told.action.as_str()), ("dan", "visit.begun_despite"));
        let after = told.after.as_ref().unwrap();
        assert_eq!((&after["blocker"], &after["no_window"]), (&"backup".into(), &true.into()));
        view.now = despite.until;
        assert_eq!(loud.take(&book, &view).unwrap_err(), "no window is open", "its time is over");
    }
}
