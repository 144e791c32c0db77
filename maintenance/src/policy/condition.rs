//! Reading a condition.

use protocol::nearest;

use super::expression::{Comparison, Expression, Fact, Value};

/// What of a condition cannot be read, and where; the operator's to mend.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("at position {at}: {what}")]
pub struct InvalidExpression {
    /// In bytes from 1.
    pub at: usize,
    /// What is wrong there.
    pub what: String,
}

const MAX_LENGTH: usize = 4096;
/// Brackets and negations may stand in one another so deep.
const MAX_DEPTH: usize = 16;
/// Units of numbers, longer names first.
const UNITS: [(&str, f64); 5] =
    [("%", 0.01), ("ms", 0.001), ("s", 1.0), ("m", 60.0), ("h", 3600.0)];

impl Expression {
    /// A condition over some facts: comparisons with `&&`, `||`, `!` and brackets, or `promql:` and a query.
    ///
    /// # Errors
    /// [`InvalidExpression`], with the position.
    pub fn parse(text: &str, facts: &[Fact]) -> Result<Self, InvalidExpression> {
        if let Some(query) = text.trim_start().strip_prefix("promql:") {
            let query = query.trim();
            if query.is_empty() {
                return Err(InvalidExpression { at: 1, what: "the query is missing".into() });
            }
            return Ok(Self::Prometheus(query.to_owned()));
        }
        let mut reading = Reading { text, facts, at: 0, depth: 0 };
        if text.len() > MAX_LENGTH {
            return reading.wrong("it is too long");
        }
        reading.blank();
        let expression = reading.any()?;
        match reading.rest() {
            "" => Ok(expression),
            _ => reading.wrong("&& or || is missing"),
        }
    }
}

struct Reading<'a> {
    text: &'a str,
    facts: &'a [Fact],
    at: usize,
    depth: usize,
}

impl<'a> Reading<'a> {
    fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn wrong<T>(&self, what: impl Into<String>) -> Result<T, InvalidExpression> {
        Err(InvalidExpression { at: self.at + 1, what: what.into() })
    }

    fn advance(&mut self, bytes: usize) {
        self.at += bytes;
        self.blank();
    }

    fn blank(&mut self) {
        let rest = self.rest();
        self.at += rest.len() - rest.trim_start().len();
    }

    fn take(&mut self, sign: &str) -> bool {
        let found = self.rest().starts_with(sign);
        if found {
            self.advance(sign.len());
        }
        found
    }

    fn any(&mut self) -> Result<Expression, InvalidExpression> {
        let mut parts = vec![self.all()?];
        while self.take("||") {
            parts.push(self.all()?);
        }
        Ok(one_or(parts, Expression::Any))
    }

    fn all(&mut self) -> Result<Expression, InvalidExpression> {
        let mut parts = vec![self.single()?];
        while self.take("&&") {
            parts.push(self.single()?);
        }
        Ok(one_or(parts, Expression::All))
    }

    fn single(&mut self) -> Result<Expression, InvalidExpression> {
        let negated = self.take("!");
        if !negated && !self.rest().starts_with('(') {
            return self.comparison();
        }
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return self.wrong("brackets stand in one another too deep");
        }
        let inner = if negated {
            Expression::Not(Box::new(self.single()?))
        } else {
            self.take("(");
            let inner = self.any()?;
            if !self.take(")") {
                return self.wrong(") is missing");
            }
            inner
        };
        self.depth -= 1;
        Ok(inner)
    }

    fn comparison(&mut self) -> Result<Expression, InvalidExpression> {
        let name = self.word();
        let known = self.facts.iter().find(|fact| fact.name == name);
        let Some(fact) = known else {
            return self.wrong(self.unknown(name));
        };
        self.advance(name.len());
        let Some((sign, how)) = Comparison::ALL.iter().find(|(s, _)| self.rest().starts_with(s))
        else {
            return self.wrong("a comparison is missing (<, <=, ==, !=, >=, >)");
        };
        self.advance(sign.len());
        let value = if fact.words.is_empty() { self.number()? } else { self.one_of(fact)? };
        Ok(Expression::Compare { name: fact.name, how: *how, value })
    }

    fn word(&self) -> &'a str {
        let rest = self.rest();
        let end = rest.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(rest.len());
        rest.get(..end).unwrap_or_default()
    }

    fn unknown(&self, name: &str) -> String {
        let names = self.facts.iter().map(|fact| fact.name);
        if name.is_empty() {
            return format!("a name is missing ({})", names.collect::<Vec<_>>().join(", "));
        }
        let shown: String = name.chars().take(40).collect();
        match nearest(name, names.clone()) {
            Some(near) => format!("unknown name `{shown}`; did you mean `{near}`?"),
            None => format!("unknown name `{shown}` ({})", names.collect::<Vec<_>>().join(", ")),
        }
    }

    fn number(&mut self) -> Result<Value, InvalidExpression> {
        let rest = self.rest();
        let end = rest.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(rest.len());
        let digits =
            rest.get(..end).filter(|digits| digits.starts_with(|c: char| c.is_ascii_digit()));
        let parsed = digits.and_then(|digits| digits.parse::<f64>().ok());
        let Some(number) = parsed.filter(|number| number.is_finite()) else {
            return self.wrong("a number is missing");
        };
        let after = rest.get(end..).unwrap_or_default();
        let unit = UNITS.iter().find(|(unit, _)| after.starts_with(unit));
        let (length, factor) = unit.map_or((0, 1.0), |(unit, factor)| (unit.len(), *factor));
        self.at += end + length;
        if self.rest().starts_with(|c: char| c.is_alphanumeric()) {
            return self.wrong("unknown unit (%, ms, s, m, h)");
        }
        self.blank();
        Ok(Value::Number(number * factor))
    }

    fn one_of(&mut self, fact: &Fact) -> Result<Value, InvalidExpression> {
        let word = self.word();
        match fact.words.iter().find(|known| known.eq_ignore_ascii_case(word)) {
            Some(known) => {
                self.advance(word.len());
                Ok(Value::Word(known))
            }
            None => self.wrong(format!("{} is one of {}", fact.name, fact.words.join(", "))),
        }
    }
}

fn one_or(mut parts: Vec<Expression>, many: impl Fn(Vec<Expression>) -> Expression) -> Expression {
    match (parts.pop(), parts.is_empty()) {
        (Some(only), true) => only,
        (last, _) => {
            parts.extend(last);
            many(parts)
        }
    }
}
