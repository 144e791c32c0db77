//! All rules together.

use super::pattern::Pattern;
use super::rule::Rule;

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
}
