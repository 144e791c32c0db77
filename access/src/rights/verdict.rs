//! What one client may do, and why not.

use std::fmt;
use std::sync::Arc;

use protocol::{QoS, TopicFilter, matches};

use super::cover::{covers, overlaps};
use super::pattern::Unfilled;
use super::policy::{ClaimsMode, Policy};
use super::rule::{Action, Effect, Rule, Source};
use crate::identity::Identity;

/// A rule about a client, with its names filled in.
#[derive(Debug)]
pub(super) struct Applied {
    pub(super) rule: u32,
    /// Its filters, if they are not those of the rule itself.
    pub(super) filled: Option<Box<[Box<str>]>>,
}

/// What one client may do. Remembers the topic it last allowed, since most devices publish to few.
#[derive(Debug)]
pub struct Rights {
    policy: Arc<Policy>,
    who: Arc<Identity>,
    rules: Box<[Applied]>,
    last: String,
    last_limits: Limits,
}

/// What is allowed of a topic.
#[derive(Debug, Clone)]
struct Limits {
    max_qos: QoS,
    retain: bool,
    source: Option<Arc<Source>>,
}

/// What stood in the way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// No rule allows it.
    NoRule,
    /// A rule denies it.
    Rule,
    /// The rule that allows it does not at that level.
    Qos,
    /// The rule that allows it does not allow to retain.
    Retain,
    /// The client's token does not name it.
    Claims,
}

impl Cause {
    /// The word used in metrics and logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NoRule => "no_rule",
            Self::Rule => "rule",
            Self::Qos => "qos",
            Self::Retain => "retain",
            Self::Claims => "claims",
        }
    }
}

/// A no, and where it comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Denial {
    /// What stood in the way.
    pub cause: Cause,
    /// The rule that decided, if one did.
    pub source: Option<Arc<Source>>,
}

impl fmt::Display for Denial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.cause {
            Cause::NoRule => "no rule allows it",
            Cause::Rule => "denied",
            Cause::Qos => "not at this QoS",
            Cause::Retain => "not retained",
            Cause::Claims => "not named by the token",
        })?;
        match &self.source {
            Some(source) => write!(f, " by rule {source}"),
            None => Ok(()),
        }
    }
}

impl Policy {
    /// What somebody may do: the rules about them, with their own names filled in. `None` if nothing is to be checked.
    pub fn rights_of(self: &Arc<Self>, who: &Arc<Identity>) -> Option<Rights> {
        if self.allow_all && (who.claims.is_none() || self.claims == ClaimsMode::Grant) {
            return None;
        }
        let rules = (0..).zip(&self.rules).filter(|(_, rule)| rule.who.fits(who));
        let rules = rules.filter_map(|(index, rule)| Applied::new(index, rule, who));
        Some(Rights::new(Arc::clone(self), Arc::clone(who), rules.collect()))
    }
}

impl Applied {
    /// The rule for that client; `None` if it says nothing for it.
    fn new(rule: u32, of: &Rule, who: &Identity) -> Option<Self> {
        if of.topics.iter().all(|pattern| pattern.plain().is_some()) {
            return Some(Self { rule, filled: None });
        }
        let filled: Vec<Box<str>> = of
            .topics
            .iter()
            .filter_map(|pattern| match (pattern.fill(who), of.effect) {
                (Ok(filter), _) => Some(filter),
                (Err(Unfilled::Missing), _) | (Err(Unfilled::Unsafe), Effect::Allow) => None,
                // Nobody gets around a denial by what it calls itself.
                (Err(Unfilled::Unsafe), Effect::Deny) => Some(pattern.widened()),
            })
            .collect();
        (!filled.is_empty()).then(|| Self { rule, filled: Some(filled.into()) })
    }
}

impl Rights {
    pub(super) fn new(policy: Arc<Policy>, who: Arc<Identity>, rules: Box<[Applied]>) -> Self {
        let last_limits = Limits { max_qos: QoS::AtMostOnce, retain: false, source: None };
        Self { policy, who, rules, last: String::new(), last_limits }
    }

    /// Whose they are.
    pub const fn who(&self) -> &Arc<Identity> {
        &self.who
    }

    /// Whether a publication may be made.
    ///
    /// # Errors
    /// Why not.
    pub fn publish(&mut self, topic: &str, qos: QoS, retain: bool) -> Result<(), Denial> {
        // No topic is empty, so that nothing is allowed before something was.
        if self.last != topic {
            self.last_limits = self.decide_publish(topic)?;
            self.last.clear();
            self.last.push_str(topic);
        }
        let limits = &self.last_limits;
        let no = |cause| Err(Denial { cause, source: limits.source.clone() });
        if qos > limits.max_qos {
            no(Cause::Qos)
        } else if retain && !limits.retain {
            no(Cause::Retain)
        } else {
            Ok(())
        }
    }

    /// Whether a filter, without its share prefix, may be subscribed to: everything that it can match must be allowed, and
    /// by one rule. Answers the highest level it may be given.
    ///
    /// # Errors
    /// Why not.
    pub fn subscribe(&self, filter: &str) -> Result<QoS, Denial> {
        let claims = self.who.claims.as_deref();
        let named = || {
            claims.is_some_and(|c| c.subscribe.iter().any(|f| is_filter(f) && covers(f, filter)))
        };
        let limits = self.with_claims(self.decide_subscribe(filter), named)?;
        Ok(limits.max_qos)
    }

    fn decide_publish(&self, topic: &str) -> Result<Limits, Denial> {
        let claims = self.who.claims.as_deref();
        let named =
            || claims.is_some_and(|c| c.publish.iter().any(|f| is_filter(f) && matches(f, topic)));
        let decided = self
            .rules_about(Action::Publish)
            .find(|(applied, rule)| applied.filters(rule).any(|filter| matches(filter, topic)));
        let decided = match decided {
            Some((_, rule)) => verdict(rule),
            None => self.undecided(topic),
        };
        self.with_claims(decided, named)
    }

    fn decide_subscribe(&self, filter: &str) -> Result<Limits, Denial> {
        // What was allowed by then, of filters that reach no further than a part of this one.
        let mut parts: Vec<&str> = Vec::new();
        // No part may get more by the wider filter than by its own rule.
        let mut max_qos = QoS::ExactlyOnce;
        for (applied, rule) in self.rules_about(Action::Subscribe) {
            let mut filters = applied.filters(rule).filter(|f| overlaps(f, filter));
            match rule.effect {
                Effect::Allow => {
                    let from = parts.len();
                    parts.extend(filters);
                    if parts.len() > from {
                        max_qos = max_qos.min(rule.max_qos);
                    }
                    if parts.iter().skip(from).any(|part| covers(part, filter)) {
                        return verdict(rule).map(|limits| Limits { max_qos, ..limits });
                    }
                }
                Effect::Deny => {
                    let decided = |f: &str| parts.iter().any(|part| covers(part, f));
                    if filters.any(|f| !decided(f)) {
                        return verdict(rule);
                    }
                }
            }
        }
        self.undecided(filter).map(|limits| Limits { max_qos, ..limits })
    }

    fn rules_about(&self, action: Action) -> impl Iterator<Item = (&Applied, &Rule)> {
        self.rules.iter().filter_map(move |applied| {
            let rule = self.policy.rules.get(applied.rule as usize)?;
            rule.is_about(action).then_some((applied, rule))
        })
    }

    /// What holds where no rule says anything; `text` is a topic or a filter.
    fn undecided(&self, text: &str) -> Result<Limits, Denial> {
        if self.policy.allow_all || is_of_own_thing(self.who.client.as_str(), text) {
            Ok(UNLIMITED)
        } else {
            Err(Denial { cause: Cause::NoRule, source: None })
        }
    }

    fn with_claims(
        &self,
        decided: Result<Limits, Denial>,
        named: impl Fn() -> bool,
    ) -> Result<Limits, Denial> {
        if self.who.claims.is_none() {
            return decided;
        }
        match (self.policy.claims, decided) {
            (ClaimsMode::Narrow, Ok(_)) if !named() => {
                Err(Denial { cause: Cause::Claims, source: None })
            }
            (ClaimsMode::Grant, Err(denial)) if denial.cause == Cause::NoRule && named() => {
                Ok(UNLIMITED)
            }
            (ClaimsMode::Narrow | ClaimsMode::Grant, decided) => decided,
        }
    }
}

/// Whether a topic, or all that a filter matches, is of the thing that has a client's id: of that a device may read and ask
/// what a rule does not deny it.
fn is_of_own_thing(client: &str, text: &str) -> bool {
    let of_thing = text.strip_prefix("$aws/things/").and_then(|rest| rest.strip_prefix(client));
    // A client id with a wildcard or a level of its own is no thing's name.
    of_thing.is_some_and(|rest| rest.starts_with('/')) && !client.contains(['+', '#', '/'])
}

const UNLIMITED: Limits = Limits { max_qos: QoS::ExactlyOnce, retain: true, source: None };

impl Applied {
    fn filters<'a>(&'a self, rule: &'a Rule) -> impl Iterator<Item = &'a str> {
        let own = rule.topics.iter().filter(|_| self.filled.is_none());
        let own = own.filter_map(|pattern| pattern.plain());
        own.chain(self.filled.iter().flatten().map(|filter| &**filter))
    }
}

fn verdict(rule: &Rule) -> Result<Limits, Denial> {
    let source = Some(Arc::clone(&rule.source));
    match rule.effect {
        Effect::Allow => Ok(Limits { max_qos: rule.max_qos, retain: rule.retain, source }),
        Effect::Deny => Err(Denial { cause: Cause::Rule, source }),
    }
}

/// Tokens are written by others.
fn is_filter(text: &str) -> bool {
    TopicFilter::new(text).is_ok()
}
