//! What is wrong with a text that people write, said so that it can be mended.

use std::fmt;

use crate::nearest::nearest;

/// A place in a text that could not be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Misread {
    /// Line in the text, from 1.
    pub line: usize,
    /// What is wrong there.
    pub what: String,
    /// The known name that looks most like an unknown one.
    pub nearest: Option<String>,
    /// Where the nearest name is known, if not where the unknown one was written.
    pub elsewhere: Vec<String>,
}

impl Misread {
    /// From what a parser says of a place in the text, in bytes: its list of known names becomes the nearest one.
    pub fn new(text: &str, offset: usize, message: &str) -> Self {
        Self::or_elsewhere(text, offset, message, &[])
    }

    /// The same, where fields are known in other places too, each with its place: a name that fits better there is the nearest.
    pub fn or_elsewhere(
        text: &str,
        offset: usize,
        message: &str,
        fields: &[(&str, String)],
    ) -> Self {
        let before = text.get(..offset).unwrap_or(text);
        let line = before.bytes().filter(|byte| *byte == b'\n').count() + 1;
        let mut quoted = message.split('`').skip(1).step_by(2);
        let unknown = quoted.next().filter(|_| message.starts_with("unknown")).unwrap_or_default();
        let here = nearest(unknown, quoted);
        let fields = if message.starts_with("unknown field") { fields } else { &[] };
        let nearest =
            nearest(unknown, here.into_iter().chain(fields.iter().map(|(name, _)| *name)));
        let places = fields.iter().filter(|(name, _)| nearest != here && nearest == Some(name));
        // The list of every known name would bury the one that was meant.
        let what = match nearest {
            Some(_) => message.split(", expected").next().unwrap_or(message),
            None => message,
        };
        Self {
            line,
            what: what.trim_end().replace('\n', ", "),
            nearest: nearest.map(str::to_owned),
            elsewhere: places.map(|(_, place)| place.clone()).collect(),
        }
    }
}

impl fmt::Display for Misread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.what)?;
        match &self.nearest {
            Some(name) if self.elsewhere.is_empty() => write!(f, "; did you mean `{name}`?"),
            Some(name) => write!(f, "; did you mean `{name}` in {}?", self.elsewhere.join(" or ")),
            None => Ok(()),
        }
    }
}
