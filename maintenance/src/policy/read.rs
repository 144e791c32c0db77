//! Reading policies.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use protocol::Misread;

use super::expression::{APPROVAL_FACTS, Expression, Fact, GATE_FACTS};
use super::meant::{
    ApprovalRule, DrainRule, FailureRule, GateRule, HeadroomRule, MovesRule, Policy,
};
use super::selector::Selector;
use super::share::Share;
use super::span;
use super::times;
use super::written::{
    WrittenApproval, WrittenDrain, WrittenFile, WrittenGate, WrittenHeadroom, WrittenMoves,
    WrittenPolicy, WrittenRule,
};
use crate::calendar::{Purpose, TimeRule};
use crate::drain::{FLUSH_MOST, MoveBudget};

/// All policies of a fleet, by their names.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct PolicySet {
    pub(super) policies: Vec<Policy>,
}

/// Why policies cannot be used; the operator's to mend.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPolicies {
    /// Not TOML, or a key or a type that is not ours.
    #[error("{0}")]
    Syntax(Misread),
    /// Values that cannot be meant, all of them.
    #[error("{}", lines(.0))]
    Faults(Vec<PolicyFault>),
}

/// One value that cannot be meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyFault {
    /// Which, such as `policy.eu.windows[0]`.
    pub setting: String,
    /// What is wrong with it.
    pub what: String,
}

const MAX_POLICIES: usize = 1_000;
const MAX_NAME: usize = 64;

impl PolicySet {
    /// Reads policies, and the calendars that their exclusions name.
    ///
    /// # Errors
    /// [`InvalidPolicies`], with everything that is wrong.
    pub fn read(text: &str, calendars: &BTreeMap<String, String>) -> Result<Self, InvalidPolicies> {
        let written: WrittenFile = toml::from_str(text).map_err(|error| {
            let offset = error.span().map_or(0, |span| span.start);
            InvalidPolicies::Syntax(Misread::new(text, offset, error.message()))
        })?;
        let mut faults = Faults { all: Vec::new(), policy: String::new(), calendars };
        if written.policy.len() > MAX_POLICIES {
            faults.note("", format!("there are more than {MAX_POLICIES}"));
        }
        let mut policies = Vec::new();
        for (name, policy) in written.policy {
            faults.policy = format!("policy.{name}");
            policies.push(meant(&name, policy, &mut faults));
        }
        if faults.all.is_empty() {
            Ok(Self { policies })
        } else {
            Err(InvalidPolicies::Faults(faults.all))
        }
    }

    /// All of several sets, such as those of several files.
    ///
    /// # Errors
    /// [`InvalidPolicies::Faults`], if two have a policy of one name, or there are too many.
    pub fn together(sets: impl IntoIterator<Item = Self>) -> Result<Self, InvalidPolicies> {
        let mut policies: Vec<Policy> = sets.into_iter().flat_map(|set| set.policies).collect();
        policies.sort_by(|a, b| a.name.cmp(&b.name));
        let fault = |name: &str, what: &str| PolicyFault {
            setting: format!("policy.{name}"),
            what: what.to_owned(),
        };
        let twice = policies.windows(2).filter_map(|pair| match pair {
            [one, other] if one.name == other.name => Some(fault(&one.name, "is there twice")),
            _ => None,
        });
        let mut faults: Vec<PolicyFault> = twice.collect();
        if let Some(first) = policies.get(MAX_POLICIES) {
            faults.push(fault(&first.name, &format!("there are more than {MAX_POLICIES}")));
        }
        if faults.is_empty() { Ok(Self { policies }) } else { Err(InvalidPolicies::Faults(faults)) }
    }

    /// The policies, in the order of their names.
    pub fn policies(&self) -> &[Policy] {
        &self.policies
    }
}

/// Collects what is wrong.
struct Faults<'a> {
    all: Vec<PolicyFault>,
    policy: String,
    calendars: &'a BTreeMap<String, String>,
}

impl Faults<'_> {
    fn note(&mut self, field: &str, what: impl Into<String>) {
        let dot = if field.is_empty() { "" } else { "." };
        let setting = format!("{}{dot}{field}", self.policy);
        self.all.push(PolicyFault { setting, what: what.into() });
    }

    fn keep<T, E: ToString>(&mut self, field: &str, read: Result<T, E>) -> Option<T> {
        read.map_err(|wrong| self.note(field, wrong.to_string())).ok()
    }

    fn span(&mut self, field: &str, text: Option<&String>) -> Option<Duration> {
        text.and_then(|text| self.keep(field, span::parse(text)))
    }

    fn percent(&mut self, field: &str, text: Option<&String>) -> Option<u8> {
        let text = text?;
        let number = text.strip_suffix('%').and_then(|number| number.parse().ok());
        let fits = number.filter(|percent| *percent <= 100);
        let read = fits.ok_or_else(|| format!("{text:?} is no percentage (such as 15%)"));
        self.keep(field, read)
    }

    fn condition(&mut self, field: &str, text: &str, facts: &[Fact]) -> Option<Expression> {
        self.keep(field, Expression::parse(text, facts))
    }

    fn rules(
        &mut self,
        list: &str,
        written: Vec<WrittenRule>,
        purpose: Purpose,
    ) -> Arc<[TimeRule]> {
        let mut rules = Vec::new();
        for (index, rule) in written.into_iter().enumerate() {
            let field = format!("{list}[{index}]");
            // The way it stands in the file, less the word that all begin with.
            let name = format!("{}.{field}", self.policy.trim_start_matches("policy."));
            let read = times::rules(rule, &name, purpose, self.calendars);
            rules.extend(self.keep(&field, read).unwrap_or_default());
        }
        rules.into()
    }
}

fn meant(name: &str, written: WrittenPolicy, faults: &mut Faults<'_>) -> Policy {
    let of_name = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if name.is_empty() || name.len() > MAX_NAME || !name.chars().all(of_name) {
        faults.note("", "a name has 1 to 64 letters, digits, `-`, `_` or `.`");
    }
    let selector = written.selector.parse::<Selector>();
    let windows = written.windows.map(|rules| faults.rules("windows", rules, Purpose::Window));
    let failure = written.failure.and_then(|failure| {
        let per = faults.span("failure.per", Some(&failure.per))?;
        Some(FailureRule { max: failure.max, per })
    });
    Policy {
        name: Arc::from(name),
        selector: faults.keep("selector", selector).unwrap_or_default(),
        windows,
        exclude: faults.rules("exclude", written.exclude, Purpose::Exclusion),
        min_available: written.min_available,
        max_concurrent: written.max_concurrent,
        never_together: written.never_together,
        headroom: headroom(&written.headroom, faults),
        drain: drain(&written.drain, faults),
        moves: moves(&written.moves, faults),
        failure,
        gate: gate(&written.gate, faults),
        approval: written.approval.and_then(|approval| approved(&approval, faults)),
        on_failed_work: written.on_failed_work,
        soak: faults.span("soak", written.soak.as_ref()),
        needs: written.needs,
        soft_yields_to: written.soft_yields_to,
        on_window_end: written.on_window_end,
    }
}

fn headroom(written: &WrittenHeadroom, faults: &mut Faults<'_>) -> HeadroomRule {
    HeadroomRule {
        connections_percent: faults.percent("headroom.conns", written.conns.as_ref()),
        messages_percent: faults.percent("headroom.msgs", written.msgs.as_ref()),
        forecast: written.forecast,
    }
}

fn drain(written: &WrittenDrain, faults: &mut Faults<'_>) -> DrainRule {
    for (field, rate) in
        [("drain.host_rate", written.host_rate), ("drain.fleet_rate", written.fleet_rate)]
    {
        if rate == Some(0) {
            faults.note(field, "at least 1 client per second");
        }
    }
    DrainRule {
        profile: written.profile,
        host_rate: written.host_rate,
        fleet_rate: written.fleet_rate,
        lb_grace: faults.span("drain.lb_grace", written.lb_grace.as_ref()),
        flush: flush(written.flush.as_ref(), faults),
        takeover_wait: faults.span("drain.takeover_wait", written.takeover_wait.as_ref()),
        timeout: faults.span("drain.timeout", written.timeout.as_ref()),
        on_timeout: written.on_timeout,
        warm: faults.span("drain.warm", written.warm.as_ref()),
    }
}

fn moves(written: &WrittenMoves, faults: &mut Faults<'_>) -> MovesRule {
    let second_moves = written.second_moves.as_ref().and_then(|text| {
        let part = match text.parse() {
            Ok(Share::Part(part)) => Ok(part),
            Ok(Share::Hosts(_) | Share::AllBut(_)) | Err(_) => {
                Err(format!("{text:?} is no percentage (such as 2%)"))
            }
        };
        faults.keep("moves.second_moves", part)
    });
    let per_device = written.per_device.as_ref().and_then(|budget| {
        let per = faults.span("moves.per_device.per", Some(&budget.per))?;
        Some(MoveBudget { max: budget.max, per })
    });
    MovesRule { second_moves, per_device }
}

fn flush(written: Option<&String>, faults: &mut Faults<'_>) -> Option<Duration> {
    let flush = faults.span("drain.flush", written)?;
    if flush > FLUSH_MOST {
        let what = format!("at most {}: receivers wait no longer", span::shown(FLUSH_MOST));
        faults.note("drain.flush", what);
    }
    Some(flush)
}

fn gate(written: &WrittenGate, faults: &mut Faults<'_>) -> GateRule {
    let mut close_if = Vec::new();
    for (index, text) in written.close_if.iter().enumerate() {
        close_if.extend(faults.condition(&format!("gate.close_if[{index}]"), text, &GATE_FACTS));
    }
    let reopen_after = faults.span("gate.reopen_after", written.reopen_after.as_ref());
    GateRule { close_if, reopen_after }
}

fn approved(written: &WrittenApproval, faults: &mut Faults<'_>) -> Option<ApprovalRule> {
    let when = written
        .when
        .as_ref()
        .and_then(|text| faults.condition("approval.when", text, &APPROVAL_FACTS));
    if matches!(when, Some(Expression::Prometheus(_))) {
        faults.note("approval.when", "a query is for the gate");
    }
    if written.approvers == 0 {
        faults.note("approval.approvers", "at least 1");
    }
    let valid = faults.span("approval.valid", Some(&written.valid))?;
    Some(ApprovalRule { when, approvers: written.approvers, valid })
}

impl fmt::Display for PolicyFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.setting, self.what)
    }
}

fn lines(faults: &[PolicyFault]) -> String {
    faults.iter().map(PolicyFault::to_string).collect::<Vec<_>>().join("\n")
}
