//! All rules together.

use std::sync::Arc;

use super::pattern::{Pattern, Unfilled};
use super::rule::{Effect, Rule};
use super::verdict::{Applied, Rights};
use crate::identity::Identity;

/// What the topics in a client's token mean beside the rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ClaimsMode {
    /// What the token does not name is not allowed, whatever the rules say.
    #[default]
    Narrow,
    /// What the token names is allowed unless a rule denies it.
    Grant,
}

/// Who may say what: rules in their order, or everything for everybody.
#[derive(Debug, Clone, Default)]
pub struct Policy {
    pub(super) rules: Vec<Rule>,
    pub(super) allow_all: bool,
    pub(super) claims: ClaimsMode,
}

impl Policy {
    /// Everybody may do everything, within what their tokens say.
    pub fn allow_all(claims: ClaimsMode) -> Self {
        Self { rules: Vec::new(), allow_all: true, claims }
    }

    /// What no rule allows is denied; without a rule that is everything.
    pub fn of(rules: Vec<Rule>, claims: ClaimsMode) -> Self {
        Self { rules, allow_all: false, claims }
    }

    /// Whether it allows everything to those without a token.
    pub fn is_allow_all(&self) -> bool {
        self.allow_all
    }

    /// Whether a rule goes by the client id, so that it matters who may have which.
    pub fn names_client(&self) -> bool {
        self.rules.iter().any(|rule| rule.topics.iter().any(Pattern::names_client))
    }

    /// How many rules there are.
    pub fn rules_len(&self) -> usize {
        self.rules.len()
    }

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
