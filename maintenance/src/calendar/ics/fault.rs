//! What is wrong with a calendar.

/// What of a calendar cannot be heeded, and where; its author's to mend.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {what}")]
pub struct IcsFault {
    /// Line in the text, from 1.
    pub line: usize,
    /// What is wrong there.
    pub what: String,
}

impl IcsFault {
    pub(super) fn new(line: usize, what: impl Into<String>) -> Self {
        Self { line, what: what.into() }
    }
}

/// Enough of a text to know it again.
pub(super) fn shown(text: &str) -> String {
    text.chars().take(60).collect()
}
