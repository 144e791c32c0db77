//! One rule.

use std::fmt;
use std::sync::Arc;

use protocol::QoS;

use super::pattern::Pattern;
use super::who::Who;

/// What is done with a topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// PUBLISH, and the publication of a will.
    Publish,
    /// SUBSCRIBE.
    Subscribe,
}

impl Action {
    /// The word used in files, logs and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Publish => "publish",
            Self::Subscribe => "subscribe",
        }
    }
}

/// What a rule does when it decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// Yes, within the rule's limits.
    Allow,
    /// No.
    Deny,
}

impl Effect {
    /// The word used in files.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Deny => "deny",
        }
    }
}

/// Where a rule stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// Name of the file.
    pub file: Arc<str>,
    /// Line, from 1.
    pub line: u32,
    /// The rule's name, if it has one.
    pub name: Option<Arc<str>>,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.name {
            Some(name) => write!(f, "{name:?} ({}:{})", self.file, self.line),
            None => write!(f, "{}:{}", self.file, self.line),
        }
    }
}

/// One rule: who, what, and yes or no.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    pub(super) source: Arc<Source>,
    pub(super) who: Who,
    pub(super) publish: bool,
    pub(super) subscribe: bool,
    pub(super) topics: Vec<Pattern>,
    pub(super) effect: Effect,
    pub(super) max_qos: QoS,
    pub(super) retain: bool,
}

impl Rule {
    /// Where it stands.
    pub fn source(&self) -> &Source {
        &self.source
    }

    /// Whether it speaks of that action.
    pub(super) const fn is_about(&self, action: Action) -> bool {
        match action {
            Action::Publish => self.publish,
            Action::Subscribe => self.subscribe,
        }
    }
}
