//! Every right for a while: what an operator takes when nobody else is there, and what everybody is told of it.

use std::time::Duration;

use protocol::Wall;
use serde::{Deserialize, Serialize};
use store::{Expect, Put};

use super::change::{Acting, Step, put, value};
use crate::config::{Right, Roles};
use crate::control::ControlError;
use crate::scheduler::acts::unavailable;
use crate::scheduler::ask::SchedulerSender;
use crate::scheduler::documents::Documents;

/// Every right, asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GlassRequest {
    /// For how many seconds; as long as the configuration allows when absent.
    #[serde(default)]
    pub for_s: Option<u64>,
    /// Why; everybody is told. 1 to 4,096 bytes.
    pub reason: String,
}

/// Who has every right, and until when: `glass/` and the operator's name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Glass {
    /// Which operator.
    pub by: String,
    /// Why.
    pub reason: String,
    /// Since when, in milliseconds since 1970.
    pub since_ms: u64,
    /// Until when, in milliseconds since 1970.
    pub until_ms: u64,
    /// The number of its entry in the audit.
    pub revision: u64,
}

/// By what an operator may do something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Allowed {
    /// A role, or that nobody has one.
    ByRole,
    /// The glass that was broken.
    ByGlass(Glass),
}

const PREFIX: &str = "glass/";

impl Documents {
    /// Who has every right now.
    pub(in crate::scheduler) fn glasses(&mut self, now: Wall) -> Result<Vec<Glass>, ControlError> {
        let mut glasses: Vec<Glass> = self.kind(PREFIX)?;
        glasses.retain(|glass| now.0 < glass.until_ms);
        Ok(glasses)
    }

    /// The glass that an operator holds, with what makes a write fail if it ends or is broken anew meanwhile.
    pub(in crate::scheduler) fn glass_of(
        &mut self,
        by: &str,
        now: Wall,
    ) -> Result<Option<(Glass, Put)>, ControlError> {
        let key = format!("{PREFIX}{by}");
        let stored = self.get::<Glass>(&key).map_err(unavailable)?;
        let Some((glass, rev)) = stored.filter(|(glass, _)| now.0 < glass.until_ms) else {
            return Ok(None);
        };
        let held = Self::put_of(&key, &glass, Expect::Rev(rev)).map_err(unavailable)?;
        Ok(Some((glass, held)))
    }

    /// Every right for one operator, until that moment.
    pub(in crate::scheduler) fn break_glass(
        &mut self,
        (reason, until): (&str, Wall),
        acting: &Acting<'_>,
    ) -> Result<Glass, ControlError> {
        let key = format!("{PREFIX}{}", acting.by);
        self.change(acting, |documents, seq| {
            let before = documents.get::<Glass>(&key).map_err(unavailable)?;
            let glass = Glass {
                by: acting.by.to_owned(),
                reason: reason.to_owned(),
                since_ms: acting.now.0,
                until_ms: until.0,
                revision: seq,
            };
            Ok(Step {
                action: "glass.broken",
                object: format!("operator {}", acting.by),
                before: before.and_then(|(before, _)| value(&before)),
                after: value(&glass),
                reason: reason.to_owned(),
                puts: vec![put(&key, &glass)?],
                made: glass,
            })
        })
    }

    /// The end of that, before its time.
    pub(in crate::scheduler) fn mend_glass(
        &mut self,
        reason: &str,
        acting: &Acting<'_>,
    ) -> Result<Glass, ControlError> {
        let key = format!("{PREFIX}{}", acting.by);
        self.change(acting, |documents, _| {
            let stored = documents.get::<Glass>(&key).map_err(unavailable)?;
            let glass = stored.map(|(glass, _)| glass).filter(|it| acting.now.0 < it.until_ms);
            let glass =
                glass.ok_or_else(|| ControlError::Missing("no glass is broken".to_owned()))?;
            let object = format!("operator {}", acting.by);
            Ok(Step::removal("glass.mended", object, reason, (&key, glass)))
        })
    }
}

impl SchedulerSender {
    /// By what an operator may do something.
    ///
    /// # Errors
    /// [`ControlError::Forbidden`] with the role that is missing, or the store does not answer.
    pub(super) fn allowed(&self, right: Right, by: &str) -> Result<Allowed, ControlError> {
        let roles = self.roles();
        if !roles.are_given() || roles.allow(by, right) {
            return Ok(Allowed::ByRole);
        }
        let may_break = roles.allow(by, Right::BreakGlass);
        if may_break && right != Right::BreakGlass {
            let name = by.to_owned();
            let glass = self.act(move |scheduler| {
                let now = scheduler.shared.now().wall;
                let glasses = scheduler.documents.glasses(now)?;
                Ok(glasses.into_iter().find(|glass| glass.by == name))
            })?;
            if let Some(glass) = glass {
                return Ok(Allowed::ByGlass(glass));
            }
        }
        let hint = if may_break { "; in an emergency: `maintenance break-glass`" } else { "" };
        let why = format!("this needs the role {} in maintenance.roles{hint}", right.role());
        Err(ControlError::Forbidden(why))
    }
}

/// Until when every right may be had, if that can be meant.
pub(super) fn until(
    request: &GlassRequest,
    roles: &Roles,
    now: Wall,
) -> Result<Wall, ControlError> {
    if !roles.are_given() {
        let why = "nobody has a role: everybody may do everything as it is";
        return Err(ControlError::Refused(why.to_owned()));
    }
    let most = u64::from(roles.break_glass_s);
    let for_s = request.for_s.unwrap_or(most);
    if !(1..=most).contains(&for_s) {
        let why = format!("maintenance.roles.break_glass_s allows 1 to {most} seconds");
        return Err(ControlError::Invalid(why));
    }
    Ok(now.after(Duration::from_secs(for_s)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scheduler::documents::in_memory;

    #[test]
    fn every_right_is_had_until_its_time_or_its_end_and_the_audit_tells() {
        let mut documents = in_memory();
        let acting = Acting { by: "dan", now: Wall(1000), hosts: &[], most: 3 };
        assert!(documents.mend_glass("over", &acting).is_err());
        let glass = documents.break_glass(("fire", Wall(5000)), &acting).unwrap();
        assert_eq!((glass.by.as_str(), glass.revision), ("dan", 1));
        assert_eq!(documents.glasses(Wall(4999)).unwrap(), std::slice::from_ref(&glass));
        assert!(documents.glasses(Wall(5000)).unwrap().is_empty());
        assert!(documents.break_glass((" ", Wall(5000)), &acting).is_err(), "nobody says why");
        assert_eq!(documents.mend_glass("over", &acting).unwrap(), glass);
        assert!(documents.glasses(Wall(1000)).unwrap().is_empty());
        let told = documents.audit(0, 10).unwrap().entries;
        let told: Vec<_> = told.iter().map(|it| it.record.action.as_str()).collect();
        assert_eq!(told, ["glass.broken", "glass.mended"]);
    }

    #[test]
    fn the_time_is_limited_and_there_must_be_something_to_break() {
        let ask = |for_s| GlassRequest { for_s, reason: "fire".to_owned() };
        let none = until(&ask(None), &Roles::default(), Wall(0));
        assert!(matches!(none, Err(ControlError::Refused(_))), "{none:?}");
        let roles = Roles { operator: vec!["ada".to_owned()], ..Roles::default() };
        assert_eq!(until(&ask(None), &roles, Wall(0)), Ok(Wall(14_400_000)));
        assert_eq!(until(&ask(Some(60)), &roles, Wall(1)), Ok(Wall(60_001)));
        assert!(until(&ask(Some(0)), &roles, Wall(0)).is_err());
        assert!(until(&ask(Some(14_401)), &roles, Wall(0)).is_err());
    }
}
