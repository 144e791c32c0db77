//! What `%c` and its like stand for.

use crate::identity::Identity;

/// Something of an identity that a rule may name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Value {
    /// `%c`
    Client,
    /// `%u`
    User,
    /// `%cn`
    CommonName,
    /// `%o`
    Organization,
    /// `%ou`
    Unit,
    /// `%san`: the first alternative name, DNS before URI before e-mail.
    San,
}

/// Longer names first: `%cn` is not `%c` and an n.
const NAMES: [(&str, Value); 6] = [
    ("san", Value::San),
    ("cn", Value::CommonName),
    ("ou", Value::Unit),
    ("c", Value::Client),
    ("u", Value::User),
    ("o", Value::Organization),
];

/// Which names a file knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dialect {
    /// All, and nothing else behind a `%`.
    Ours,
    /// `%c` and `%u`; another `%` is itself.
    Mosquitto,
    /// None.
    Literal,
}

impl Dialect {
    fn knows(self, name: &str) -> bool {
        match self {
            Self::Ours => true,
            Self::Mosquitto => matches!(name, "c" | "u"),
            Self::Literal => false,
        }
    }
}

/// A text between or a value of an identity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Piece {
    Text(Box<str>),
    Value(Value),
}

impl Value {
    /// What it is for that identity; never empty.
    pub(super) fn of(self, who: &Identity) -> Option<&str> {
        let certificate = who.certificate.as_deref();
        let text = match self {
            Self::Client => Some(who.client.as_str()),
            Self::User => who.user.as_deref(),
            Self::CommonName => certificate?.common_name.as_deref(),
            Self::Organization => certificate?.organization.as_deref(),
            Self::Unit => certificate?.organizational_unit.as_deref(),
            Self::San => {
                let names = certificate?;
                let mut all = names.dns_names.iter().chain(&names.uris).chain(&names.emails);
                all.next().map(String::as_str)
            }
        };
        text.filter(|text| !text.is_empty())
    }
}

/// Splits a text at its `%` names; `%%` is one `%`.
///
/// # Errors
/// What follows a `%` and is no name.
pub(super) fn pieces(text: &str, dialect: Dialect) -> Result<Vec<Piece>, String> {
    let mut pieces = Vec::new();
    let mut plain = String::new();
    let mut rest = text;
    while let Some(at) = rest.find('%') {
        let (before, after) = rest.split_at(at);
        plain.push_str(before);
        let after = after.get(1..).unwrap_or_default();
        let found = NAMES.iter().find(|(name, _)| after.starts_with(name) && dialect.knows(name));
        rest = match found {
            Some((name, value)) => {
                push_text(&mut pieces, &mut plain);
                pieces.push(Piece::Value(*value));
                after.get(name.len()..).unwrap_or_default()
            }
            None if dialect != Dialect::Ours => {
                plain.push('%');
                after
            }
            None if after.starts_with('%') => {
                plain.push('%');
                after.get(1..).unwrap_or_default()
            }
            None => {
                let what: String = after.chars().take(1).collect();
                return Err(format!(
                    "`%{what}` stands for nothing; there are %c, %u, %cn, %o, %ou, %san and %%"
                ));
            }
        };
    }
    plain.push_str(rest);
    push_text(&mut pieces, &mut plain);
    Ok(pieces)
}

fn push_text(pieces: &mut Vec<Piece>, plain: &mut String) {
    if !plain.is_empty() {
        pieces.push(Piece::Text(std::mem::take(plain).into()));
    }
}
