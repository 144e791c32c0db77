//! Which hosts a policy is about.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::fleet::Host;

/// Hosts by their labels: `role=gateway, region!=us, zone in (eu-1, eu-2)`; all parts must hold. Without parts it
/// is every host. The label `host` is the name of the host.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selector(Vec<Part>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Part {
    label: String,
    /// Whether the value is to be one of these, or none of them.
    wanted: bool,
    values: Vec<String>,
}

/// What of a selector cannot be read, and where; the operator's to mend.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("at position {at}: {what}")]
pub struct InvalidSelector {
    /// In bytes from 1.
    pub at: usize,
    /// What is wrong there.
    pub what: &'static str,
}

const MAX_LENGTH: usize = 4096;

impl Selector {
    /// Whether it is about a host. A host without a label has no value of it, so only `!=` holds.
    pub fn matches(&self, host: &Host) -> bool {
        self.0.iter().all(|part| {
            let value = match part.label.as_str() {
                "host" => Some(host.id.as_str()),
                label => host.labels.get(label).map(String::as_str),
            };
            let listed = value.is_some_and(|value| part.values.iter().any(|it| it == value));
            listed == part.wanted
        })
    }
}

impl FromStr for Selector {
    type Err = InvalidSelector;

    fn from_str(text: &str) -> Result<Self, InvalidSelector> {
        let mut reading = Reading { text, at: 0 };
        let mut parts = Vec::new();
        if text.len() > MAX_LENGTH {
            return Err(reading.wrong("is too long"));
        }
        reading.blank();
        while !reading.rest().is_empty() {
            if !parts.is_empty() && !reading.take(",") {
                return Err(reading.wrong("a comma is missing"));
            }
            parts.push(reading.part()?);
        }
        Ok(Self(parts))
    }
}

struct Reading<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Reading<'a> {
    fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn wrong(&self, what: &'static str) -> InvalidSelector {
        InvalidSelector { at: self.at + 1, what }
    }

    fn blank(&mut self) {
        let rest = self.rest();
        self.at += rest.len() - rest.trim_start().len();
    }

    fn take(&mut self, sign: &str) -> bool {
        let found = self.rest().starts_with(sign);
        if found {
            self.at += sign.len();
            self.blank();
        }
        found
    }

    fn word(&mut self, what: &'static str) -> Result<String, InvalidSelector> {
        let of_word = |c: char| c.is_alphanumeric() || "-_./:".contains(c);
        let rest = self.rest();
        let end = rest.find(|c| !of_word(c)).unwrap_or(rest.len());
        let word = rest.get(..end).filter(|word| !word.is_empty());
        let word = word.ok_or_else(|| self.wrong(what))?;
        self.at += end;
        self.blank();
        Ok(word.to_owned())
    }

    fn part(&mut self) -> Result<Part, InvalidSelector> {
        let label = self.word("a label is missing")?;
        if self.take("!=") {
            return Ok(Part { label, wanted: false, values: vec![self.value()?] });
        }
        if self.take("==") || self.take("=") {
            return Ok(Part { label, wanted: true, values: vec![self.value()?] });
        }
        let at = self.at;
        let listed = |word: &str| ["in", "notin"].contains(&word);
        let Some(word) = self.word("=, != or in is missing").ok().filter(|word| listed(word))
        else {
            self.at = at;
            return Err(self.wrong("=, != or in is missing"));
        };
        if !self.take("(") {
            return Err(self.wrong("( is missing"));
        }
        let mut values = vec![self.value()?];
        while self.take(",") {
            values.push(self.value()?);
        }
        if !self.take(")") {
            return Err(self.wrong(") is missing"));
        }
        Ok(Part { label, wanted: word == "in", values })
    }

    fn value(&mut self) -> Result<String, InvalidSelector> {
        self.word("a value is missing")
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, Part { label, wanted, values }) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str(",")?;
            }
            match (values.as_slice(), wanted) {
                ([value], true) => write!(f, "{label}={value}")?,
                ([value], false) => write!(f, "{label}!={value}")?,
                (values, true) => write!(f, "{label} in ({})", values.join(","))?,
                (values, false) => write!(f, "{label} notin ({})", values.join(","))?,
            }
        }
        Ok(())
    }
}

impl Serialize for Selector {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Selector {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        String::deserialize(from)?.parse().map_err(serde::de::Error::custom)
    }
}
