//! Topic patterns of rules: MQTT filters in which `%c` and its like stand for what the client itself says.

use protocol::TopicFilter;

use super::value::{Dialect, Piece, Value, pieces};
use crate::identity::Identity;

/// A topic pattern of a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pattern {
    /// Empty when it stands for itself.
    pieces: Vec<Piece>,
    /// Without names to be filled in, the filter itself.
    plain: Box<str>,
}

/// Why a pattern says nothing for a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unfilled {
    /// The client has nothing of the kind.
    Missing,
    /// The client's own name would bring in a level, a wildcard or a leading `$`.
    Unsafe,
}

impl Pattern {
    /// Reads a pattern.
    ///
    /// # Errors
    /// It is no filter, or names something unknown.
    pub(super) fn new(text: &str, dialect: Dialect) -> Result<Self, String> {
        let pieces = pieces(text, dialect)?;
        // What is filled in is a part of one level, so that any word shows whether the rest is a filter.
        let sample: String = pieces
            .iter()
            .map(|piece| match piece {
                Piece::Text(text) => &**text,
                Piece::Value(_) => "x",
            })
            .collect();
        TopicFilter::new(&sample).map_err(|error| format!("{text:?} {error}"))?;
        if sample.starts_with("$share/") {
            return Err(format!("{text:?} names a shared group: its filter alone is judged"));
        }
        let filled = pieces.iter().any(|piece| matches!(piece, Piece::Value(_)));
        Ok(Self { pieces: if filled { pieces } else { Vec::new() }, plain: sample.into() })
    }

    /// Whether the client id is filled in.
    pub(super) fn names_client(&self) -> bool {
        self.pieces.iter().any(|piece| matches!(piece, Piece::Value(Value::Client)))
    }

    /// The filter, if nothing has to be filled in.
    pub(super) fn plain(&self) -> Option<&str> {
        self.pieces.is_empty().then_some(&*self.plain)
    }

    /// The filter for that client.
    pub(super) fn fill(&self, who: &Identity) -> Result<Box<str>, Unfilled> {
        let mut filter = String::new();
        for piece in &self.pieces {
            match piece {
                Piece::Text(text) => filter.push_str(text),
                Piece::Value(value) => {
                    let value = value.of(who).ok_or(Unfilled::Missing)?;
                    let first = filter.is_empty() && value.starts_with('$');
                    if first || value.contains(['/', '+', '#']) {
                        return Err(Unfilled::Unsafe);
                    }
                    filter.push_str(value);
                }
            }
        }
        Ok(if self.pieces.is_empty() { self.plain.clone() } else { filter.into() })
    }

    /// What a deny rule means for a client whose own name cannot be filled in: everything from that level on.
    pub(super) fn widened(&self) -> Box<str> {
        let mut filter = String::new();
        for piece in &self.pieces {
            match piece {
                Piece::Text(text) => filter.push_str(text),
                Piece::Value(_) => break,
            }
        }
        let end = filter.rfind('/').map_or(0, |at| at + 1);
        filter.truncate(end);
        filter.push('#');
        filter.into()
    }
}
