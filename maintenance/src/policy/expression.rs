//! Conditions that operators write: when the gate closes, when people must agree.

use std::fmt;

use super::facts::QUERY;

/// A condition over named facts, such as `class >= drain && hosts > 20`.
#[derive(Debug, Clone, PartialEq)]
pub enum Expression {
    /// A fact against a value.
    Compare {
        /// Which fact.
        name: &'static str,
        /// How.
        how: Comparison,
        /// Against what.
        value: Value,
    },
    /// A query for Prometheus, in its words; whether it holds is another's to say, as the fact `promql:` with these words.
    Prometheus(String),
    /// The contrary.
    Not(Box<Self>),
    /// All of them.
    All(Vec<Self>),
    /// Any of them.
    Any(Vec<Self>),
}

/// How two values are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Comparison {
    /// `<`
    Less,
    /// `<=`
    AtMost,
    /// `==`
    Equal,
    /// `!=`
    Differs,
    /// `>=`
    AtLeast,
    /// `>`
    More,
}

/// What a fact is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Value {
    /// A number; rates as parts of 1, times in seconds.
    Number(f64),
    /// One of a few words, that are in an order.
    Word(&'static str),
}

/// A fact that a condition may be about.
#[derive(Debug, Clone, Copy)]
pub struct Fact {
    /// Its name.
    pub name: &'static str,
    /// What it may be, the least first; none means a number.
    pub words: &'static [&'static str],
    /// What it is.
    pub about: &'static str,
}

/// What the gate may be closed by.
pub const GATE_FACTS: [Fact; 6] = [
    number("lost_hosts", "hosts whose lease ran out"),
    number("unplanned_down", "hosts that do not serve and hold no slot"),
    number(
        "connect_error_rate",
        "refused and failed connects of the last minute, as a part of all",
    ),
    number("connect_p99", "99th percentile of CONNECT to CONNACK over the last minute"),
    number("failed_visits", "failed visits of the last 24 hours"),
    number("ledger_age", "time since the ledger was last read"),
];

/// What an approval may depend on.
pub const APPROVAL_FACTS: [Fact; 5] = [
    Fact {
        name: "class",
        words: &["hot", "in_place", "drain", "absent"],
        about: "how much the work disturbs",
    },
    Fact {
        name: "kind",
        words: &[
            "drain_only",
            "restart",
            "cert_rotate",
            "config_change",
            "hook",
            "upgrade",
            "reboot",
        ],
        about: "what is done",
    },
    number("hosts", "hosts that the campaign visits"),
    number("priority", "of the work"),
    number("ops", "operations of the visit"),
];

const fn number(name: &'static str, about: &'static str) -> Fact {
    Fact { name, words: &[], about }
}

impl Expression {
    /// Whether it holds; nothing if that depends on a fact that is not known.
    pub fn holds(&self, facts: &dyn Fn(&str) -> Option<Value>) -> Option<bool> {
        match self {
            Self::Compare { name, how, value } => Some(how.holds(name, facts(name)?, *value)),
            Self::Prometheus(query) => match facts(&format!("{QUERY}{query}"))? {
                Value::Number(number) => Some(number != 0.0),
                Value::Word(_) => None,
            },
            Self::Not(inner) => inner.holds(facts).map(|holds| !holds),
            Self::All(parts) => settled(parts, facts, false),
            Self::Any(parts) => settled(parts, facts, true),
        }
    }
}

/// One part that is as `decides` decides; otherwise all must be known.
fn settled(
    parts: &[Expression],
    facts: &dyn Fn(&str) -> Option<Value>,
    decides: bool,
) -> Option<bool> {
    let mut known = true;
    for part in parts {
        match part.holds(facts) {
            Some(holds) if holds == decides => return Some(decides),
            Some(_) => {}
            None => known = false,
        }
    }
    known.then_some(!decides)
}

impl Comparison {
    fn holds(self, name: &str, fact: Value, against: Value) -> bool {
        let order = match (fact, against) {
            (Value::Number(fact), Value::Number(against)) => fact.partial_cmp(&against),
            (Value::Word(fact), Value::Word(against)) => {
                rank(name, fact).partial_cmp(&rank(name, against))
            }
            (Value::Number(_), Value::Word(_)) | (Value::Word(_), Value::Number(_)) => None,
        };
        match (self, order) {
            (Self::Less, Some(order)) => order.is_lt(),
            (Self::AtMost, Some(order)) => order.is_le(),
            (Self::Equal, Some(order)) => order.is_eq(),
            (Self::Differs, Some(order)) => order.is_ne(),
            (Self::AtLeast, Some(order)) => order.is_ge(),
            (Self::More, Some(order)) => order.is_gt(),
            // What cannot be compared is different.
            (Self::Differs, None) => true,
            (Self::Less | Self::AtMost | Self::Equal | Self::AtLeast | Self::More, None) => false,
        }
    }

    pub(super) const ALL: [(&'static str, Self); 7] = [
        ("<=", Self::AtMost),
        (">=", Self::AtLeast),
        ("==", Self::Equal),
        ("!=", Self::Differs),
        ("<", Self::Less),
        (">", Self::More),
        ("=", Self::Equal),
    ];
}

fn rank(name: &str, word: &str) -> Option<usize> {
    let facts = GATE_FACTS.iter().chain(&APPROVAL_FACTS);
    let fact = facts.clone().find(|fact| fact.name == name)?;
    fact.words.iter().position(|known| *known == word)
}

impl fmt::Display for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let joined = |f: &mut fmt::Formatter<'_>, parts: &[Self], with: &str| {
            f.write_str("(")?;
            for (index, part) in parts.iter().enumerate() {
                if index > 0 {
                    write!(f, " {with} ")?;
                }
                write!(f, "{part}")?;
            }
            f.write_str(")")
        };
        match self {
            Self::Compare { name, how, value } => {
                let sign = Comparison::ALL.iter().find(|(_, known)| known == how);
                write!(f, "{name} {} {value}", sign.map_or("", |(sign, _)| sign))
            }
            Self::Prometheus(query) => write!(f, "promql:{query}"),
            Self::Not(inner) => write!(f, "!({inner})"),
            Self::All(parts) => joined(f, parts, "&&"),
            Self::Any(parts) => joined(f, parts, "||"),
        }
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => write!(f, "{number}"),
            Self::Word(word) => f.write_str(word),
        }
    }
}
