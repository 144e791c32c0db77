//! Patterns for names: `*` is anything, `?` one character, `%c` and its like what the client itself says.

use super::value::{Dialect, Piece, Value, pieces};
use crate::identity::Identity;

/// A pattern for a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Glob(Vec<Token>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    Text(Box<str>),
    Value(Value),
    One,
    Any,
}

impl Glob {
    /// Reads a pattern.
    ///
    /// # Errors
    /// It is empty, or names something unknown.
    pub(super) fn new(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Err("is empty".to_owned());
        }
        let mut tokens = Vec::new();
        for piece in pieces(text, Dialect::Ours)? {
            match piece {
                Piece::Text(text) => split(&text, &mut tokens),
                Piece::Value(value) => tokens.push(Token::Value(value)),
            }
        }
        Ok(Self(tokens))
    }

    /// A pattern that only that name fits.
    pub(super) fn literal(text: &str) -> Self {
        Self(vec![Token::Text(text.into())])
    }

    /// Whether a name fits. Takes at most the product of both lengths, whatever a stranger calls itself.
    pub(super) fn fits(&self, name: &str, who: &Identity) -> bool {
        let tokens = &self.0;
        let (mut at, mut rest) = (0, name);
        // Where to go on when what follows the last `*` does not fit: one character further.
        let mut retry: Option<(usize, &str)> = None;
        loop {
            let step = match tokens.get(at) {
                None if rest.is_empty() => return true,
                None => None,
                Some(Token::Any) => {
                    retry = Some((at + 1, rest));
                    Some(rest)
                }
                Some(Token::One) => without_first(rest),
                Some(Token::Text(text)) => rest.strip_prefix(&**text),
                Some(Token::Value(value)) => value.of(who).and_then(|v| rest.strip_prefix(v)),
            };
            if let Some(after) = step {
                (at, rest) = (at + 1, after);
                continue;
            }
            let Some((behind, from)) = retry else { return false };
            let Some(further) = without_first(from) else { return false };
            retry = Some((behind, further));
            (at, rest) = (behind, further);
        }
    }
}

fn without_first(text: &str) -> Option<&str> {
    let first = text.chars().next()?;
    text.get(first.len_utf8()..)
}

fn split(text: &str, tokens: &mut Vec<Token>) {
    let mut rest = text;
    while let Some(at) = rest.find(['*', '?']) {
        let (before, after) = rest.split_at(at);
        if !before.is_empty() {
            tokens.push(Token::Text(before.into()));
        }
        tokens.push(if after.starts_with('*') { Token::Any } else { Token::One });
        rest = after.get(1..).unwrap_or_default();
    }
    if !rest.is_empty() {
        tokens.push(Token::Text(rest.into()));
    }
}
