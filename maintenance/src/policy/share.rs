//! How many of some hosts: a number, all but some, or a part of them.

use std::fmt;
use std::str::FromStr;

use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer};

/// How many of the hosts of a domain, resolved against those that are registered there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Share {
    /// So many, however many there are.
    Hosts(usize),
    /// All but so many: `n-1`.
    AllBut(usize),
    /// So much of them, in hundredths of a percent, up to 10,000.
    Part(u32),
}

/// Why a text is no share; the operator's to mend.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no share of hosts (such as 3, n-1, 97%)")]
pub struct InvalidShare(pub String);

/// A whole, in hundredths of a percent.
const WHOLE: u32 = 10_000;

impl Share {
    /// As a number that must be reached: parts are rounded up.
    pub fn at_least(self, registered: usize) -> usize {
        match self {
            Self::Part(part) => self.of(registered, part, WHOLE as usize - 1),
            Self::Hosts(_) | Self::AllBut(_) => self.of(registered, 0, 0),
        }
    }

    /// As a number that must not be passed: parts are rounded down.
    pub fn at_most(self, registered: usize) -> usize {
        match self {
            Self::Part(part) => self.of(registered, part, 0),
            Self::Hosts(_) | Self::AllBut(_) => self.of(registered, 0, 0),
        }
    }

    fn of(self, registered: usize, part: u32, rounding: usize) -> usize {
        match self {
            Self::Hosts(hosts) => hosts,
            Self::AllBut(but) => registered.saturating_sub(but),
            Self::Part(_) => {
                registered.saturating_mul(part as usize).saturating_add(rounding) / WHOLE as usize
            }
        }
    }
}

impl FromStr for Share {
    type Err = InvalidShare;

    fn from_str(text: &str) -> Result<Self, InvalidShare> {
        let compact: String = text.split_whitespace().collect();
        let found = if let Some(percent) = compact.strip_suffix('%') {
            hundredths(percent).filter(|part| *part <= WHOLE).map(Self::Part)
        } else if compact == "n" {
            Some(Self::AllBut(0))
        } else if let Some(but) = compact.strip_prefix("n-") {
            number(but).map(Self::AllBut)
        } else {
            number(&compact).map(Self::Hosts)
        };
        found.ok_or_else(|| InvalidShare(text.chars().take(40).collect()))
    }
}

fn number(text: &str) -> Option<usize> {
    let digits = !text.is_empty() && text.len() <= 9 && text.bytes().all(|b| b.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten()
}

/// `97`, `97.5` or `97.25` as hundredths.
fn hundredths(text: &str) -> Option<u32> {
    let (whole, part) = text.split_once('.').unwrap_or((text, "0"));
    let tail = match part.len() {
        1 => number(part)? * 10,
        2 => number(part)?,
        _ => return None,
    };
    u32::try_from(number(whole)?.checked_mul(100)?.checked_add(tail)?).ok()
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hosts(hosts) => write!(f, "{hosts}"),
            Self::AllBut(0) => f.write_str("n"),
            Self::AllBut(but) => write!(f, "n-{but}"),
            Self::Part(part) if part % 100 == 0 => write!(f, "{}%", part / 100),
            Self::Part(part) => write!(f, "{}.{:02}%", part / 100, part % 100),
        }
    }
}

/// A number, or a text.
impl<'de> Deserialize<'de> for Share {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Reading;
        impl Visitor<'_> for Reading {
            type Value = Share;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a share of hosts (such as 3, \"n-1\", \"97%\")")
            }

            fn visit_i64<E: Error>(self, number: i64) -> Result<Share, E> {
                self.visit_str(&number.to_string())
            }

            fn visit_u64<E: Error>(self, number: u64) -> Result<Share, E> {
                self.visit_str(&number.to_string())
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Share, E> {
                text.parse().map_err(E::custom)
            }
        }
        from.deserialize_any(Reading)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_read_and_resolved_on_the_safe_side() {
        let share = |text: &str| text.parse::<Share>().unwrap();
        for (text, registered, least, most) in [
            ("97%", 300, 291, 291),
            ("97%", 10, 10, 9),
            ("3%", 10, 1, 0),
            ("97.5%", 1000, 975, 975),
            ("100%", 7, 7, 7),
            ("0%", 7, 0, 0),
            ("n-1", 5, 4, 4),
            ("n - 2", 1, 0, 0),
            ("n", 5, 5, 5),
            ("12", 5, 12, 12),
        ] {
            let share = share(text);
            assert_eq!(
                (share.at_least(registered), share.at_most(registered)),
                (least, most),
                "{text}"
            );
            assert_eq!(share.to_string().parse(), Ok(share));
        }
    }

    #[test]
    fn what_is_no_share_is_refused() {
        for text in ["", "%", "-1", "n-", "n+1", "101%", "1.5", "1.555%", "half", "9999999999"] {
            assert_eq!(text.parse::<Share>(), Err(InvalidShare(text.into())));
        }
    }
}
