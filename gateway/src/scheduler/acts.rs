//! What operators do to maintenance: by compare-and-set, each with its entry of the audit in the same write.

use maintenance::audit::{AuditEntry, AuditHead, AuditRecord, Checkpoint};
use maintenance::execution::{Event, Order, VisitChange};
use maintenance::fleet::VisitId;
use maintenance::ledger::Change;
use maintenance::{Host, HostState, Ledger, SlotEpoch};
use protocol::{GatewayId, Incarnation, Wall};
use serde::{Deserialize, Serialize};
use store::{Expect, Put, Rev};

use super::documents::{DocumentError, Documents};
use super::visits::VisitDocument;
use crate::control::ControlError;

/// Where the ledger stands.
pub(super) const LEDGER: &str = "ledger";
/// Where it stands where the chain of the audit ends.
pub(super) const AUDIT_HEAD: &str = "audit";
/// Where the entries of the audit stand.
pub(super) const AUDIT: &str = "audit/";
/// How often a write is tried that others were quicker than.
pub(super) const TRIES: usize = 8;
/// Entries of the audit that are told at once, at most.
const AUDIT_PAGE: usize = 1000;

/// Which host to give up for lost, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WriteOffRequest {
    /// The gateway's name.
    pub host: String,
    /// Why, for the audit; 1 to 4,096 bytes.
    pub reason: String,
}

/// A part of the audit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuditPage {
    /// Entries, the oldest first.
    pub entries: Vec<AuditEntry>,
    /// Where the whole chain ends.
    pub head: AuditHead,
    /// What stands for the oldest entries, if some were asked for that are folded; then the entries are those behind it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checkpoint: Option<Checkpoint>,
}

impl Documents {
    /// Gives a host up for lost: its slot is gone, and it does not count any more until it comes back in a new life.
    pub(super) fn write_off(
        &mut self,
        request: &WriteOffRequest,
        by: &str,
        now: Wall,
    ) -> Result<AuditEntry, ControlError> {
        let unknown = || ControlError::Refused(format!("there is no gateway {}", request.host));
        let id = GatewayId::new(&request.host).map_err(|_| unknown())?;
        for _ in 0..TRIES {
            match self.try_write_off(&id, request, (by, now)) {
                Ok(Some(entry)) => return Ok(entry),
                Ok(None) => {}
                Err(refused) => return Err(refused),
            }
        }
        Err(ControlError::Unavailable("others change the ledger all the time".into()))
    }

    /// None if somebody else wrote meanwhile.
    fn try_write_off(
        &mut self,
        id: &GatewayId,
        request: &WriteOffRequest,
        (by, now): (&str, Wall),
    ) -> Result<Option<AuditEntry>, ControlError> {
        let refused = |why: &dyn std::fmt::Display| ControlError::Refused(why.to_string());
        let (mut ledger, rev) = self.ledger()?;
        let life = self.last_life(id)?;
        let slot = ledger.slot(id);
        let Some(incarnation) = life.or_else(|| slot.map(|slot| slot.incarnation)) else {
            return Err(ControlError::Refused(format!("there is no gateway {id}")));
        };
        let epoch = slot.map(|slot| slot.epoch);
        let visit = slot.and_then(|slot| Some((slot.visit.clone()?, slot.epoch)));
        let visit = visit.and_then(|held| self.give_up(&held, request, (by, now)));
        let host = Host::new(id.clone(), incarnation, HostState::Lost);
        let change = ledger.write_off(now, &host, epoch, by, &request.reason);
        let change = change.map_err(|why| refused(&why))?;
        let (mut head, head_rev) = self.audit_head()?;
        let record = AuditRecord {
            at: now,
            actor: by.to_owned(),
            action: change.name().to_owned(),
            object: format!("host {id}"),
            before: None,
            after: told(&change),
            reason: request.reason.clone(),
        };
        let entry = head.append(record).map_err(|why| refused(&why))?;
        let (visit, told) = visit.unzip();
        let told = told.map(|change| AuditRecord::of_visit(now, by, &request.reason, &change));
        let told =
            told.map(|record| head.append(record)).transpose().map_err(|why| refused(&why))?;
        let stored = ledger.encode().map_err(|why| ControlError::Unavailable(why.to_string()))?;
        let expect = |rev: Option<Rev>| rev.map_or(Expect::Absent, Expect::Rev);
        let puts = [
            Ok(Self::put_bytes(LEDGER, stored, expect(rev))),
            Self::put_of(AUDIT_HEAD, &head, expect(head_rev)),
            Self::put_of(&entry_key(entry.seq), &entry, Expect::Absent),
        ];
        let told = told.map(|entry| Self::put_of(&entry_key(entry.seq), &entry, Expect::Absent));
        let puts = puts.into_iter().chain(visit.map(Ok)).chain(told);
        let puts = puts.collect::<Result<Vec<_>, _>>();
        match self.write(puts.map_err(unavailable)?) {
            Ok(()) => {
                tracing::warn!("{by} wrote {id} off: {}", request.reason);
                Ok(Some(entry))
            }
            Err(DocumentError::Conflict { .. }) => Ok(None),
            Err(error) => Err(unavailable(error)),
        }
    }

    /// The end of the visit that held a slot, so that its host, if it comes back, is not held back by it. One that cannot be
    /// read ends when its host finds its slot gone.
    fn give_up(
        &mut self,
        (visit, epoch): &(VisitId, SlotEpoch),
        request: &WriteOffRequest,
        (by, now): (&str, Wall),
    ) -> Option<(Put, VisitChange)> {
        let key = VisitDocument::key(visit);
        let stored = self.get::<VisitDocument>(&key);
        let stored = stored.inspect_err(|error| tracing::warn!("visit {visit}: {error}"));
        let (document, rev) = stored.ok().flatten()?;
        let order = Order::WriteOff { reason: request.reason.clone() };
        let event = Event::Order { by: by.to_owned(), order };
        let own = Some(&document.execution).filter(|it| it.epoch() == Some(*epoch))?;
        let execution = own.handle(&event, now).ok()?.next;
        let change = VisitChange::between(Some(own), &execution)?;
        let next = VisitDocument { execution, ..document };
        Some((Self::put_of(&key, &next, Expect::Rev(rev)).ok()?, change))
    }

    /// Up to `max` entries of the audit behind that one, and where the chain ends; of what is folded its checkpoint.
    pub(super) fn audit(&mut self, asked: u64, max: usize) -> Result<AuditPage, ControlError> {
        // The head first: entries that follow later belong to the next page.
        let (head, _) = self.audit_head()?;
        let max = max.min(AUDIT_PAGE);
        let (mut begin, mut checkpoint) = (asked, None);
        loop {
            let entries = self.page::<AuditEntry>(AUDIT, &entry_key(begin), max);
            let mut entries = entries.map_err(unavailable)?;
            entries.retain(|entry| entry.seq <= head.seq);
            let follows = entries.first().is_some_and(|first| first.seq == begin + 1);
            if !follows && head.seq > begin {
                // What lies between is folded, if it is not gone; more of it may be with each look.
                let (folded, _) = self.checkpoint()?;
                if folded.head.seq > begin {
                    begin = folded.head.seq;
                    checkpoint = Some(folded);
                    continue;
                }
            }
            return Ok(AuditPage { entries, head, checkpoint });
        }
    }

    pub(super) fn audit_head(&mut self) -> Result<(AuditHead, Option<Rev>), ControlError> {
        let stored = self.get::<AuditHead>(AUDIT_HEAD).map_err(unavailable)?;
        let (head, rev) = stored.unzip();
        Ok((head.unwrap_or_default(), rev))
    }

    pub(super) fn ledger(&mut self) -> Result<(Ledger, Option<Rev>), ControlError> {
        let Some((bytes, rev)) = self.bytes(LEDGER).map_err(unavailable)? else {
            return Ok((Ledger::default(), None));
        };
        let ledger = Ledger::decode(&bytes);
        let ledger = ledger.map_err(|why| ControlError::Unavailable(why.to_string()))?;
        Ok((ledger, Some(rev)))
    }

    /// The life of a gateway that was last heard of.
    fn last_life(&mut self, id: &GatewayId) -> Result<Option<Incarnation>, ControlError> {
        let members = self.members().map_err(|why| unavailable(why.into()))?;
        let own = members.iter().filter(|it| it.id().is_some_and(|own| own.gateway() == *id));
        Ok(own.map(|member| Incarnation(member.record.incarnation)).max())
    }
}

/// In the order of their numbers.
pub(super) fn entry_key(seq: u64) -> String {
    format!("{AUDIT}{seq:020}")
}

fn told(change: &Change) -> Option<serde_json::Value> {
    serde_json::to_value(change).ok()
}

pub(super) fn unavailable(error: DocumentError) -> ControlError {
    ControlError::Unavailable(error.to_string())
}

#[cfg(test)]
mod tests {
    use maintenance::audit;
    use maintenance::execution::Stage;
    use maintenance::ledger::{Grant, GrantRules, Seen, SlotClass};
    use maintenance::{Interval, Limits};

    use super::*;
    use crate::scheduler::documents::in_memory;

    /// A ledger in which a gateway holds a slot.
    fn held(by: &str) -> Ledger {
        let hosts = [by, "gw-9"].map(|name| {
            Host::new(GatewayId::new(name).unwrap(), Incarnation(3), HostState::Serving)
        });
        let mut ledger = Ledger::default();
        let grant = Grant {
            host: &hosts[0].id,
            offered: Incarnation(3),
            visit: None,
            term: ledger.term(),
            class: SlotClass::Drain,
            opening: Interval { from: Wall(0), to: Wall(100) },
            remaining: std::time::Duration::ZERO,
            once: true,
            asked: None,
        };
        let seen = Seen { now: Wall(1), hosts: &hosts, answers: None };
        let rules = GrantRules::plain(Limits { min_available: 1, max_concurrent: 1 });
        ledger.grant(&grant, &seen, &rules).unwrap();
        ledger
    }

    fn request(host: &str, reason: &str) -> WriteOffRequest {
        WriteOffRequest { host: host.to_owned(), reason: reason.to_owned() }
    }

    #[test]
    fn who_is_written_off_holds_no_slot_and_the_audit_says_by_whom() {
        let mut documents = in_memory();
        let stored = held("gw-1").encode().unwrap();
        let put = Documents::put_bytes(LEDGER, stored, Expect::Absent);
        documents.write(vec![put]).unwrap();
        let entry = documents.write_off(&request("gw-1", "disk dead"), "ada", Wall(7)).unwrap();
        assert_eq!((entry.seq, entry.record.actor.as_str()), (1, "ada"));
        assert_eq!(entry.record.action, "host.written_off");
        let (ledger, _) = documents.ledger().unwrap();
        assert!(ledger.slot(&GatewayId::new("gw-1").unwrap()).is_none());
        let page = documents.audit(0, 10).unwrap();
        assert_eq!(page.entries, [entry]);
        assert_eq!(audit::verify(AuditHead::default(), &page.entries), Ok(page.head));
        assert!(documents.audit(1, 10).unwrap().entries.is_empty());
    }

    #[test]
    fn the_visit_of_who_is_written_off_is_over_in_the_same_write() {
        let mut documents = in_memory();
        let visit = VisitId::new("gw-1/restart").unwrap();
        let opening = Interval { from: Wall(0), to: Wall(100) };
        let mut ledger = held("gw-1");
        let epoch = ledger.slot(&GatewayId::new("gw-1").unwrap()).unwrap().epoch;
        let mut stored: serde_json::Value =
            serde_json::from_slice(&ledger.encode().unwrap()).unwrap();
        *stored.pointer_mut("/slots/0/visit").unwrap() = "gw-1/restart".into();
        ledger = Ledger::decode(stored.to_string().as_bytes()).unwrap();
        let put = Documents::put_bytes(LEDGER, ledger.encode().unwrap(), Expect::Absent);
        documents.write(vec![put]).unwrap();
        let mut document = crate::scheduler::visits::written_for_tests(&visit, "gw-1");
        let incarnation = Incarnation(3);
        for event in
            [Event::Approved, Event::Granted { epoch, term: ledger.term(), incarnation, opening }]
        {
            document.execution = document.execution.handle(&event, Wall(1)).unwrap().next;
        }
        documents.put(&VisitDocument::key(&visit), &document, Expect::Absent).unwrap();
        documents.write_off(&request("gw-1", "disk dead"), "ada", Wall(7)).unwrap();
        let (document, _) =
            documents.get::<VisitDocument>(&VisitDocument::key(&visit)).unwrap().unwrap();
        assert_eq!(document.execution.stage(), &Stage::WrittenOff);
        assert!(documents.ledger().unwrap().0.slots().is_empty());
    }

    #[test]
    fn nobody_is_written_off_without_a_reason_or_who_is_not_there() {
        let mut documents = in_memory();
        let stored = held("gw-1").encode().unwrap();
        documents.write(vec![Documents::put_bytes(LEDGER, stored, Expect::Absent)]).unwrap();
        for (host, reason) in [("gw-1", " "), ("gw-2", "gone"), ("", "gone")] {
            let answer = documents.write_off(&request(host, reason), "ada", Wall(7));
            assert!(matches!(answer, Err(ControlError::Refused(_))), "{host}: {answer:?}");
        }
        assert!(documents.audit(0, 10).unwrap().entries.is_empty());
    }
}
