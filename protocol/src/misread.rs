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
}

impl Misread {
    /// From what a parser says of a place in the text, in bytes: its list of known names becomes the nearest one.
    pub fn new(text: &str, offset: usize, message: &str) -> Self {
        let before = text.get(..offset).unwrap_or(text);
        let line = before.bytes().filter(|byte| *byte == b'\n').count() + 1;
        let mut quoted = message.split('`').skip(1).step_by(2);
        let nearest = (message.starts_with("unknown"))
            .then(|| quoted.next().and_then(|unknown| nearest(unknown, quoted).map(str::to_owned)))
            .flatten();
        // The list of every known name would bury the one that was meant.
        let what = match &nearest {
            Some(_) => message.split(", expected").next().unwrap_or(message),
            None => message,
        };
        Self { line, what: what.trim_end().replace('\n', ", "), nearest }
    }
}

impl fmt::Display for Misread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.what)?;
        match &self.nearest {
            Some(name) => write!(f, "; did you mean `{name}`?"),
            None => Ok(()),
        }
    }
}
