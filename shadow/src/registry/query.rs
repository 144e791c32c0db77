//! Searches among things, in the words of AWS's fleet indexing.

use super::Thing;
use super::condition::{Bound, Condition};
use super::field::Field;
use crate::document::Document;
use crate::json::is_number;
use crate::presence::Presence;

/// What is known of a thing when it is judged.
#[derive(Debug, Clone, Copy)]
pub struct Facts<'a> {
    /// What was written down about it.
    pub thing: &'a Thing,
    /// Its connection, if it ever had one.
    pub presence: Option<&'a Presence>,
    /// Its shadows by name; no name is the classic one.
    pub shadows: &'a [(Option<&'a str>, &'a Document)],
}

/// A search, such as `attributes.model:P4* AND (shadow.reported.bar > 7 OR NOT connectivity.connected:true)`.
///
/// A term is a field, then `:` and a text, `*` and `?` in it standing for any characters and for one; or then `>`, `>=`,
/// `<`, `<=` or `=` and a number; or then `:` and `[5 TO 7]`, with `{` and `}` for an end that is not included. Terms that
/// stand beside each other must all hold. `*` alone holds for everything. A colon in the name of an attribute is written
/// with a backslash before it.
#[derive(Debug, Clone, PartialEq)]
pub struct Query(Node);

#[derive(Debug, Clone, PartialEq)]
enum Node {
    All(Vec<Self>),
    Any(Vec<Self>),
    Not(Box<Self>),
    Term(Field, Condition),
}

/// What is wrong with a search; the searcher's fault.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum QueryError {
    /// There is no such field.
    #[error("unknown field {name:?}{}", nearest.as_ref().map(|it| format!(", did you mean {it:?}?")).unwrap_or_default())]
    Field {
        /// As it was written.
        name: String,
        /// The known one that looks most like it.
        nearest: Option<String>,
    },
    /// What was expected and where, in bytes from the beginning.
    #[error("expected {what} at byte {at}")]
    Expected {
        /// What.
        what: &'static str,
        /// Where.
        at: usize,
    },
    /// Too many terms, or too many of them in each other.
    #[error(
        "has more than {MAX_TERMS} terms, or parentheses and NOT are nested more than {MAX_NESTING} deep"
    )]
    TooLong,
}

/// A search has at most as many terms.
const MAX_TERMS: usize = 64;
/// Parentheses and NOT lie in each other at most so deep.
const MAX_NESTING: usize = 32;

impl Query {
    /// Reads a search.
    ///
    /// # Errors
    /// [`QueryError`], by what is wrong first.
    pub fn parse(text: &str) -> Result<Self, QueryError> {
        let mut parser = Parser { whole: text, rest: text, terms: 0 };
        let node = parser.any(MAX_NESTING)?;
        if parser.rest.is_empty() {
            Ok(Self(node))
        } else {
            Err(parser.expected("AND, OR or the end"))
        }
    }

    /// Whether a thing is searched for.
    pub fn matches(&self, facts: &Facts<'_>) -> bool {
        self.0.holds(facts)
    }
}

impl Node {
    fn holds(&self, facts: &Facts<'_>) -> bool {
        match self {
            Self::All(nodes) => nodes.iter().all(|node| node.holds(facts)),
            Self::Any(nodes) => nodes.iter().any(|node| node.holds(facts)),
            Self::Not(node) => !node.holds(facts),
            Self::Term(field, condition) => field.any(facts, |value| condition.holds(value)),
        }
    }
}

struct Parser<'a> {
    whole: &'a str,
    rest: &'a str,
    terms: usize,
}

impl<'a> Parser<'a> {
    fn any(&mut self, nesting: usize) -> Result<Node, QueryError> {
        let mut nodes = vec![self.all(nesting)?];
        while self.word("OR") {
            nodes.push(self.all(nesting)?);
        }
        Ok(Node::Any(nodes))
    }

    fn all(&mut self, nesting: usize) -> Result<Node, QueryError> {
        let mut nodes = vec![self.one(nesting)?];
        loop {
            let is_more = self.word("AND");
            let is_end = self.rest.is_empty() || self.rest.starts_with(')') || self.sees("OR");
            if is_end && !is_more {
                return Ok(Node::All(nodes));
            }
            nodes.push(self.one(nesting)?);
        }
    }

    fn one(&mut self, nesting: usize) -> Result<Node, QueryError> {
        self.skip_space();
        let deeper = nesting.checked_sub(1).ok_or(QueryError::TooLong)?;
        if self.word("NOT") {
            return Ok(Node::Not(Box::new(self.one(deeper)?)));
        }
        if self.take("(") {
            let node = self.any(deeper)?;
            return if self.take(")") { Ok(node) } else { Err(self.expected("a parenthesis")) };
        }
        self.terms = self.terms.saturating_add(1);
        if self.terms > MAX_TERMS {
            return Err(QueryError::TooLong);
        }
        if self.word("*") {
            return Ok(Node::All(Vec::new()));
        }
        self.term()
    }

    fn term(&mut self) -> Result<Node, QueryError> {
        let is_end = |c: char| c.is_whitespace() || "()<>=\"[]{}".contains(c);
        let run = self.until(is_end);
        // A colon with a backslash before it belongs to the name of an attribute.
        let colon = run
            .match_indices(':')
            .find(|(at, _)| !run.get(..*at).is_some_and(|before| before.ends_with('\\')));
        let (name, value) = match colon.and_then(|(at, _)| run.split_at_checked(at)) {
            Some((name, value)) => (name, value.strip_prefix(':')),
            None => (run, None),
        };
        if name.is_empty() {
            return Err(self.expected("a field"));
        }
        let field = Field::parse(&name.replace("\\:", ":"))?;
        self.rest = self.rest.get(run.len()..).unwrap_or_default();
        if value.is_none() {
            self.skip_space();
        }
        let condition = match value {
            Some(value) if !value.is_empty() => Condition::Is(value.into()),
            Some(_) if self.rest.starts_with(['[', '{']) => self.range()?,
            Some(_) if self.rest.starts_with('"') => Condition::Is(self.quoted()?.into()),
            Some(_) | None => self.comparison()?,
        };
        self.skip_space();
        Ok(Node::Term(field, condition))
    }

    fn comparison(&mut self) -> Result<Condition, QueryError> {
        let (open, sign) = (Bound::Open, self.rest);
        for sign in [">=", "<=", ">", "<", "="] {
            if !self.take(sign) {
                continue;
            }
            let number = self.number()?;
            let (from, to) = match sign {
                ">=" => (Bound::Including(number), open),
                "<=" => (open, Bound::Including(number)),
                ">" => (Bound::Excluding(number), open),
                "<" => (open, Bound::Excluding(number)),
                _ => (Bound::Including(number), Bound::Including(number)),
            };
            return Ok(Condition::Between { from, to });
        }
        self.rest = sign;
        Err(self.expected("a colon and a value, or a comparison with a number"))
    }

    fn range(&mut self) -> Result<Condition, QueryError> {
        let includes_from = self.take("[") || !self.take("{");
        let from = self.number()?;
        if !self.word("TO") {
            return Err(self.expected("TO"));
        }
        let to = self.number()?;
        let bound = |is_included, number| {
            if is_included { Bound::Including(number) } else { Bound::Excluding(number) }
        };
        let includes_to = self.take("]");
        if !includes_to && !self.take("}") {
            return Err(self.expected("the end of the range"));
        }
        Ok(Condition::Between { from: bound(includes_from, from), to: bound(includes_to, to) })
    }

    fn number(&mut self) -> Result<f64, QueryError> {
        self.skip_space();
        let text = self.until(|c| c.is_whitespace() || ")]}".contains(c));
        let number = text.parse().ok().filter(|_| is_number(text));
        let number = number.ok_or_else(|| self.expected("a number"))?;
        self.rest = self.rest.get(text.len()..).unwrap_or_default();
        self.skip_space();
        Ok(number)
    }

    fn quoted(&mut self) -> Result<&'a str, QueryError> {
        let text = self.rest.strip_prefix('"').and_then(|rest| rest.split_once('"'));
        let (text, rest) = text.ok_or_else(|| self.expected("the end of the quotation"))?;
        self.rest = rest;
        Ok(text)
    }

    fn until(&self, is_end: impl Fn(char) -> bool) -> &'a str {
        let end = self.rest.find(is_end).unwrap_or(self.rest.len());
        self.rest.get(..end).unwrap_or_default()
    }

    fn skip_space(&mut self) {
        self.rest = self.rest.trim_start();
    }

    fn take(&mut self, text: &str) -> bool {
        let Some(rest) = self.rest.strip_prefix(text) else { return false };
        self.rest = rest.trim_start();
        true
    }

    /// Whether a word stands here, and not only the beginning of one.
    fn sees(&self, word: &str) -> bool {
        let is_end = |rest: &str| rest.is_empty() || rest.starts_with([' ', '\t', '\n', '(', ')']);
        self.rest.strip_prefix(word).is_some_and(is_end)
    }

    fn word(&mut self, word: &str) -> bool {
        self.sees(word) && self.take(word)
    }

    const fn expected(&self, what: &'static str) -> QueryError {
        let at = self.whole.len().saturating_sub(self.rest.len());
        QueryError::Expected { what, at }
    }
}

#[cfg(test)]
mod tests {
    use protocol::{ClientId, GatewayId, Incarnation, Wall};

    use super::*;
    use crate::document::{Record, ShadowLimits, UpdateRequest, update};
    use crate::presence::{Arrival, DisconnectReason, PresenceLimits};
    use crate::topic::ThingName;

    fn record(state: &str) -> Record {
        let limits = ShadowLimits::default();
        let request = format!("{{\"state\":{state}}}");
        let request = UpdateRequest::parse(request.as_bytes(), &limits).unwrap();
        update(None, &request, Wall(5_000), &limits).unwrap().into_record()
    }

    fn is_found(query: &str) -> bool {
        let query = Query::parse(query).unwrap_or_else(|why| panic!("{query}: {why}"));
        let mut thing = Thing::new(ThingName::new("pump-7").unwrap(), Wall(0));
        thing.set_attribute("model", "P400").unwrap();
        thing.set_attribute("site:id", "12").unwrap();
        thing.set_attribute("place", "hall two").unwrap();
        thing.join("north").unwrap();
        thing.attach(&"ab".repeat(32)).unwrap();
        let (client, mut presence) = (ClientId::new("pump-7").unwrap(), Presence::never());
        let arrival = Arrival {
            session: "s".into(),
            since: Wall(1_000),
            gateway: GatewayId::new("gw-1").unwrap(),
            incarnation: Incarnation(1),
            principal: "p".into(),
            address: "192.0.2.1".into(),
            thing: None,
            clean: false,
            keep_alive_s: 0,
            expiry_s: 0,
        };
        presence.arrive(&client, arrival, &PresenceLimits::default());
        presence.leave(&client, "s", DisconnectReason::ConnectionLost, Wall(2_000));
        let classic = record(
            r#"{"reported":{"bar":7.5,"tags":["a","b",3],"on":true,"deep":{"er":"x"}},"desired":{"bar":8}}"#,
        );
        let named = record(r#"{"reported":{"fw":"1.2.3"}}"#);
        let shadows =
            [(None, classic.document().unwrap()), (Some("conf"), named.document().unwrap())];
        query.matches(&Facts { thing: &thing, presence: Some(&presence), shadows: &shadows })
    }

    #[test]
    fn things_are_found_by_what_is_known_of_them() {
        for query in [
            "*",
            "thingName:pump-7",
            "thingName:pump-?",
            "thingGroupNames:north",
            "certificates:abab*",
            "attributes.model:P4*",
            r"attributes.site\:id:12",
            r"attributes.site\:id > 11",
            "attributes.place:\"hall two\"",
            "connectivity.connected:false",
            "connectivity.disconnectReason:CONNECTION_LOST",
            "connectivity.timestamp:>=2000",
            "connectivity.timestamp:[1000 TO 3000]",
            "shadow.reported.bar:7.50",
            "shadow.reported.bar>7",
            "shadow.reported.bar <= 7.5",
            "shadow.reported.bar:{7 TO 8}",
            "shadow.desired.bar=8",
            "shadow.reported.tags:b AND shadow.reported.tags = 3",
            "shadow.reported.on:true",
            "shadow.reported.deep.er:x",
            "shadow.hasDelta:true",
            "shadow.name.conf.hasDelta:false",
            "shadow.name.conf.reported.fw:1.2.*",
            "shadow.version:1",
            "NOT thingName:other",
            "NOT (thingName:other OR attributes.model:x)",
            "attributes.model:x OR thingName:pump-7",
            "thingName:pump-7 attributes.model:P400",
            "NOT thingName:pump:7 AND *",
            "thingName:a AND attributes.model:P400 OR thingName:pump-7",
            "thingName:pump-7 AND (attributes.model:x OR attributes.model:P400)",
            "NOT NOT *",
        ] {
            assert!(is_found(query), "{query}");
        }
        for query in [
            "thingName:pump",
            "attributes.other:*",
            "connectivity.connected:true",
            "connectivity.timestamp:{2000 TO 3000]",
            "shadow.reported.bar:8",
            "shadow.reported.bar < 7.5",
            "shadow.reported.deep:*",
            "shadow.reported.bar.x:*",
            "shadow.name.none.reported.fw:*",
            "shadow.name.conf.reported.bar:*",
            "thingName:pump-7 AND attributes.model:x",
            "NOT *",
        ] {
            assert!(!is_found(query), "{query}");
        }
    }

    #[test]
    fn what_is_no_search_is_told_where() {
        let error = |text: &str| Query::parse(text).unwrap_err().to_string();
        assert_eq!(error("thingNam:x"), r#"unknown field "thingNam", did you mean "thingName"?"#);
        assert_eq!(error("zzzzzzzz:x"), r#"unknown field "zzzzzzzz""#);
        for (text, message) in [
            ("", "expected a field at byte 0"),
            (":x", "expected a field at byte 0"),
            ("thingName", "expected a colon and a value, or a comparison with a number at byte 9"),
            (
                "thingName:",
                "expected a colon and a value, or a comparison with a number at byte 10",
            ),
            ("thingName > x", "expected a number at byte 12"),
            ("thingName:\"x", "expected the end of the quotation at byte 10"),
            ("thingName:[1 2]", "expected TO at byte 13"),
            ("thingName:[1 TO 2)", "expected the end of the range at byte 17"),
            ("(thingName:x", "expected a parenthesis at byte 12"),
            ("thingName:x)", "expected AND, OR or the end at byte 11"),
            ("thingName:x AND", "expected a field at byte 15"),
            ("thingName:x OR OR", "unknown field \"OR\""),
        ] {
            assert!(error(text).starts_with(message), "{text}: {}", error(text));
        }
        for text in ["attributes.:x", "shadow.reported.:x", "shadow.name.n:x", "shadow.x:1"] {
            assert!(error(text).starts_with("unknown field"), "{text}");
        }
        assert!(error(&"* ".repeat(65)).starts_with("has more than 64 terms"));
        assert!(error(&"(".repeat(100_000)).starts_with("has more than 64 terms"));
        assert!(error(&"NOT ".repeat(100_000)).starts_with("has more than 64 terms"));
    }
}
