//! Why a question is answered as it is: each rule in its order, and what it had to say.

use std::sync::Arc;

use protocol::{QoS, matches};

use super::cover::{covers, overlaps};
use super::pattern::{Pattern, Unfilled};
use super::policy::Policy;
use super::rule::{Action, Effect, Rule, Source};
use super::verdict::Denial;
use crate::identity::Identity;

/// What is asked.
#[derive(Debug, Clone, Copy)]
pub struct Question<'a> {
    /// Publish or subscribe.
    pub action: Action,
    /// A topic name, or a filter without its share prefix.
    pub topic: &'a str,
    /// At which level.
    pub qos: QoS,
    /// Whether to retain, for a publication.
    pub retain: bool,
}

/// What one rule had to say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reason {
    /// It is about others: this key does not fit.
    Others(&'static str),
    /// It is about the other action.
    OtherAction,
    /// It is about other topics.
    OtherTopics,
    /// The client has nothing that could be filled in.
    NothingToFillIn,
    /// The client's own name would bring in a level or a wildcard.
    UnsafeName,
    /// It allows a part of what the filter matches.
    Part,
    /// It decides.
    Decides,
}

/// One rule and what it had to say.
#[derive(Debug, Clone)]
pub struct Step {
    /// The rule.
    pub source: Arc<Source>,
    /// Whether it allows or denies.
    pub effect: Effect,
    /// What it had to say.
    pub reason: Reason,
}

/// The answer, and how it came about.
#[derive(Debug, Clone)]
pub struct Explanation {
    /// The highest level, or why not.
    pub answer: Result<QoS, Denial>,
    /// The rules that were asked, up to the one that decided.
    pub steps: Vec<Step>,
}

impl Policy {
    /// Answers as the gateway does, and says how that comes about.
    pub fn explain(self: &Arc<Self>, who: &Arc<Identity>, question: Question<'_>) -> Explanation {
        let Question { action, topic, qos, retain } = question;
        let answer = match self.rights_of(who) {
            None => Ok(QoS::ExactlyOnce),
            Some(mut rights) => match action {
                Action::Publish => rights.publish(topic, qos, retain).map(|()| qos),
                Action::Subscribe => rights.subscribe(topic),
            },
        };
        let mut steps = Vec::new();
        let mut parts = Vec::new();
        for rule in &self.rules {
            let reason = reason(rule, who, question, &mut parts);
            let decides = reason == Reason::Decides;
            steps.push(Step { source: Arc::clone(&rule.source), effect: rule.effect, reason });
            if decides {
                break;
            }
        }
        Explanation { answer, steps }
    }
}

fn reason(
    rule: &Rule,
    who: &Identity,
    question: Question<'_>,
    parts: &mut Vec<Box<str>>,
) -> Reason {
    if let Some(key) = rule.who.mismatch(who) {
        return Reason::Others(key);
    }
    if !rule.is_about(question.action) {
        return Reason::OtherAction;
    }
    let mut reason = Reason::OtherTopics;
    for pattern in &rule.topics {
        let filter = match filled(rule, pattern, who) {
            Ok(filter) => filter,
            Err(unfilled) => {
                reason = unfilled;
                continue;
            }
        };
        match question.action {
            Action::Publish if matches(&filter, question.topic) => return Reason::Decides,
            Action::Publish => {}
            Action::Subscribe if !overlaps(&filter, question.topic) => {}
            Action::Subscribe => match rule.effect {
                Effect::Allow if covers(&filter, question.topic) => return Reason::Decides,
                Effect::Allow => {
                    parts.push(filter);
                    reason = Reason::Part;
                }
                Effect::Deny if parts.iter().any(|part| covers(part, &filter)) => {}
                Effect::Deny => return Reason::Decides,
            },
        }
    }
    reason
}

fn filled(rule: &Rule, pattern: &Pattern, who: &Identity) -> Result<Box<str>, Reason> {
    match (pattern.fill(who), rule.effect) {
        (Ok(filter), _) => Ok(filter),
        (Err(Unfilled::Missing), _) => Err(Reason::NothingToFillIn),
        (Err(Unfilled::Unsafe), Effect::Allow) => Err(Reason::UnsafeName),
        (Err(Unfilled::Unsafe), Effect::Deny) => Ok(pattern.widened()),
    }
}
