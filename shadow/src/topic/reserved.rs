//! The topics that belong to shadows: `$aws/things/{thing}/shadow[/name/{shadow}]/{operation}`.

use std::fmt;

use super::ShadowKey;

/// A topic of a shadow, read from a topic name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ReservedTopic<'a> {
    /// Whose shadow.
    pub thing: ThingName<'a>,
    /// Which of its shadows; `None` is the classic one.
    pub shadow: Option<ShadowName<'a>>,
    /// What is asked or answered.
    pub operation: Operation,
    /// Which answer it is; `None` is the request itself.
    pub answer: Option<Answer>,
}

/// The name of a device in topics: 1 to 128 of `a-z A-Z 0-9 : _ -`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ThingName<'a>(pub(super) &'a str);

/// The name of one of several shadows: 1 to 64 of `a-z A-Z 0-9 : _ - $`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ShadowName<'a>(pub(super) &'a str);

/// What a device asks of a shadow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Operation {
    /// Read the document.
    Get,
    /// Change the document.
    Update,
    /// Remove the document.
    Delete,
}

/// What the fleet says about a request; devices subscribe to these and never publish them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Answer {
    /// It was done.
    Accepted,
    /// It was not done.
    Rejected,
    /// After an update: where desired and reported differ.
    Delta,
    /// After an update: the documents before and after.
    Documents,
}

/// Why a topic under `$aws/things/` is none of a shadow; the publisher's fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidReserved {
    /// The thing name is empty, too long or has a character that is not allowed.
    #[error("thing name is not 1 to 128 letters, digits, colons, underscores or hyphens")]
    ThingName,
    /// The shadow name is empty, too long or has a character that is not allowed.
    #[error("shadow name is not 1 to 64 letters, digits, colons, underscores, hyphens or dollars")]
    ShadowName,
    /// The levels after the thing name are no operation of a shadow.
    #[error("is no operation of a shadow")]
    Operation,
}

impl<'a> ReservedTopic<'a> {
    /// Reads a topic name; `None` if it does not start with `$aws/things/` and so is nobody's business here.
    ///
    /// # Errors
    /// [`InvalidReserved`], by the part that cannot be read.
    pub fn parse(topic: &'a str) -> Result<Option<Self>, InvalidReserved> {
        let Some(rest) = topic.strip_prefix(PREFIX) else {
            return Ok(None);
        };
        let (thing, rest) = rest.split_once('/').unwrap_or((rest, ""));
        let thing = ThingName::new(thing)?;
        let rest = rest.strip_prefix("shadow/").ok_or(InvalidReserved::Operation)?;
        let (shadow, rest) = match rest.strip_prefix("name/") {
            None => (None, rest),
            Some(named) => {
                let (name, rest) = named.split_once('/').unwrap_or((named, ""));
                (Some(ShadowName::new(name)?), rest)
            }
        };
        let (operation, answer) = read_operation(rest).ok_or(InvalidReserved::Operation)?;
        Ok(Some(Self { thing, shadow, operation, answer }))
    }

    /// Which shadow it is about.
    pub const fn key(self) -> ShadowKey<'a> {
        ShadowKey { thing: self.thing, shadow: self.shadow }
    }

    /// The same shadow's topic for an answer to the same operation.
    pub const fn with_answer(self, answer: Answer) -> Self {
        Self { answer: Some(answer), ..self }
    }
}

impl fmt::Display for ReservedTopic<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}{}/shadow/", self.thing.as_str())?;
        if let Some(shadow) = self.shadow {
            write!(f, "name/{}/", shadow.as_str())?;
        }
        f.write_str(match self.operation {
            Operation::Get => "get",
            Operation::Update => "update",
            Operation::Delete => "delete",
        })?;
        f.write_str(match self.answer {
            None => "",
            Some(Answer::Accepted) => "/accepted",
            Some(Answer::Rejected) => "/rejected",
            Some(Answer::Delta) => "/delta",
            Some(Answer::Documents) => "/documents",
        })
    }
}

impl<'a> ThingName<'a> {
    /// Checks length and characters.
    ///
    /// # Errors
    /// [`InvalidReserved::ThingName`].
    pub fn new(text: &'a str) -> Result<Self, InvalidReserved> {
        let ok = (1..=128).contains(&text.len()) && text.bytes().all(is_name_byte);
        if ok { Ok(Self(text)) } else { Err(InvalidReserved::ThingName) }
    }

    /// The text.
    pub const fn as_str(self) -> &'a str {
        self.0
    }
}

impl<'a> ShadowName<'a> {
    /// Checks length and characters.
    ///
    /// # Errors
    /// [`InvalidReserved::ShadowName`].
    pub fn new(text: &'a str) -> Result<Self, InvalidReserved> {
        let ok =
            (1..=64).contains(&text.len()) && text.bytes().all(|b| is_name_byte(b) || b == b'$');
        if ok { Ok(Self(text)) } else { Err(InvalidReserved::ShadowName) }
    }

    /// The text.
    pub const fn as_str(self) -> &'a str {
        self.0
    }
}

fn read_operation(text: &str) -> Option<(Operation, Option<Answer>)> {
    let (operation, answer) = match text.split_once('/') {
        None => (text, None),
        Some((operation, answer)) => (operation, Some(answer)),
    };
    let operation = match operation {
        "get" => Operation::Get,
        "update" => Operation::Update,
        "delete" => Operation::Delete,
        _ => return None,
    };
    let answer = match (answer, operation) {
        (None, _) => None,
        (Some("accepted"), _) => Some(Answer::Accepted),
        (Some("rejected"), _) => Some(Answer::Rejected),
        (Some("delta"), Operation::Update) => Some(Answer::Delta),
        (Some("documents"), Operation::Update) => Some(Answer::Documents),
        (Some(_), _) => return None,
    };
    Some((operation, answer))
}

const fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b':' | b'_' | b'-')
}

/// What all topics of things begin with.
pub(super) const PREFIX: &str = "$aws/things/";

#[cfg(test)]
mod tests {
    use super::*;

    const TOPICS: [&str; 11] = [
        "get",
        "get/accepted",
        "get/rejected",
        "update",
        "update/accepted",
        "update/rejected",
        "update/delta",
        "update/documents",
        "delete",
        "delete/accepted",
        "delete/rejected",
    ];

    #[test]
    fn every_topic_of_both_kinds_of_shadow_reads_and_writes_the_same() {
        for end in TOPICS {
            for middle in ["", "name/$config:1/"] {
                let text = format!("$aws/things/pump:7_a-B/shadow/{middle}{end}");
                let topic = ReservedTopic::parse(&text).unwrap().unwrap();
                assert_eq!(topic.thing.as_str(), "pump:7_a-B");
                assert_eq!(topic.shadow.is_some(), !middle.is_empty());
                assert_eq!(topic.answer.is_some(), end.contains('/'));
                assert_eq!(topic.to_string(), text);
            }
        }
        let topic = ReservedTopic::parse("$aws/things/t/shadow/update").unwrap().unwrap();
        let delta = topic.with_answer(Answer::Delta);
        assert_eq!(delta.to_string(), "$aws/things/t/shadow/update/delta");
    }

    #[test]
    fn other_topics_are_left_alone() {
        for topic in ["a", "$aws", "$aws/things", "$aws/events/x", "x/$aws/things/t/shadow/get"] {
            assert_eq!(ReservedTopic::parse(topic), Ok(None), "{topic}");
        }
    }

    #[test]
    fn names_have_limits() {
        let longest = format!("$aws/things/{}/shadow/get", "x".repeat(128));
        assert!(ReservedTopic::parse(&longest).unwrap().is_some());
        let too_long = "x".repeat(129);
        for thing in ["", "a b", "a+b", "ä", "a.b", "$a", &too_long] {
            let topic = format!("$aws/things/{thing}/shadow/get");
            assert_eq!(ReservedTopic::parse(&topic), Err(InvalidReserved::ThingName), "{thing}");
        }
        let longest = format!("$aws/things/t/shadow/name/{}/get", "x".repeat(64));
        assert!(ReservedTopic::parse(&longest).unwrap().is_some());
        let too_long = "x".repeat(65);
        for name in ["", "a b", "ä", "a.b", &too_long] {
            let topic = format!("$aws/things/t/shadow/name/{name}/get");
            assert_eq!(ReservedTopic::parse(&topic), Err(InvalidReserved::ShadowName), "{name}");
        }
    }

    #[test]
    fn what_is_no_operation_is_refused() {
        for end in [
            "t",
            "t/",
            "t/shadow",
            "t/shadow/",
            "t/shadow/put",
            "t/shadow/get/",
            "t/shadow/get/delta",
            "t/shadow/delete/documents",
            "t/shadow/get/accepted/x",
            "t/jobs/get",
            "t/shadow/GET",
            "t/shadow/name/n",
            "t/shadow/name/n/",
            "t/shadow/name/n/name/m/get",
        ] {
            let topic = format!("$aws/things/{end}");
            assert_eq!(ReservedTopic::parse(&topic), Err(InvalidReserved::Operation), "{end}");
        }
    }
}
