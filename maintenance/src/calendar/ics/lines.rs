//! Content lines: folded in the text, whole here.

use super::fault::{IcsFault, shown};

/// One property: `NAME;PARAMETER=VALUE:VALUE`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Property {
    /// Line in the text, from 1.
    pub(super) line: usize,
    /// In capitals.
    pub(super) name: String,
    /// Names in capitals.
    parameters: Vec<(String, String)>,
    pub(super) value: String,
}

impl Property {
    pub(super) fn parameter(&self, name: &str) -> Option<&str> {
        self.parameters.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    pub(super) fn fault(&self, what: impl std::fmt::Display) -> IcsFault {
        IcsFault::new(self.line, format!("{}: {what}", shown(&self.name)))
    }
}

/// The properties of a text, each with its line, or what is wrong with that line.
pub(super) fn properties(text: &str) -> impl Iterator<Item = Result<Property, IcsFault>> {
    unfolded(text).into_iter().map(|(line, content)| {
        property(line, &content)
            .ok_or_else(|| IcsFault::new(line, format!("{:?} is no property", shown(&content))))
    })
}

/// A line that begins with a blank goes on where the one before ended.
fn unfolded(text: &str) -> Vec<(usize, String)> {
    let mut lines: Vec<(usize, String)> = Vec::new();
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    for (number, line) in (1..).zip(text.split('\n')) {
        let line = line.strip_suffix('\r').unwrap_or(line);
        match (line.strip_prefix([' ', '\t']), lines.last_mut()) {
            (Some(rest), Some((_, last))) => last.push_str(rest),
            (Some(_), None) | (None, _) if line.trim().is_empty() => {}
            (Some(_), None) | (None, _) => lines.push((number, line.to_owned())),
        }
    }
    lines
}

fn property(line: usize, content: &str) -> Option<Property> {
    let end = content.find([';', ':'])?;
    let (name, mut rest) = content.split_at(end);
    let word = |text: &str| {
        !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
    };
    if !word(name) {
        return None;
    }
    let mut parameters = Vec::new();
    while let Some(more) = rest.strip_prefix(';') {
        let (name, after) = more.split_once('=')?;
        if !word(name) {
            return None;
        }
        let (value, after) = parameter(after)?;
        parameters.push((name.to_ascii_uppercase(), value));
        rest = after;
    }
    let value = rest.strip_prefix(':')?.to_owned();
    Some(Property { line, name: name.to_ascii_uppercase(), parameters, value })
}

/// The value of a parameter, perhaps quoted, and what follows it.
fn parameter(text: &str) -> Option<(String, &str)> {
    let mut quoted = false;
    let end = text.find(|c: char| {
        quoted ^= c == '"';
        !quoted && matches!(c, ';' | ':')
    })?;
    let (value, rest) = text.split_at(end);
    Some((value.replace('"', ""), rest))
}
