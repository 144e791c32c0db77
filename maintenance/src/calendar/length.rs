//! How long a window is: days of the calendar, or time that elapses.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// A length as ISO 8601 writes it: `P…W` and `P…D` are days of the calendar, however long those are; `PT…H…M…S`
/// is time that elapses. From 1 minute to 366 days.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Length {
    days: u32,
    elapsed: Duration,
}

/// Why a text is no length; the operator's to mend.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidLength {
    /// Not written as in ISO 8601.
    #[error("{0:?} is no length (such as PT4H, PT90M, P1D)")]
    Form(String),
    /// Out of range.
    #[error("{0:?} is not between 1 minute and 366 days")]
    Range(String),
}

const MIN: Duration = Duration::from_secs(60);
const MAX_DAYS: u32 = 366;
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

impl Length {
    /// Time that elapses.
    pub const fn elapsed(elapsed: Duration) -> Self {
        Self { days: 0, elapsed }
    }

    /// Days of the calendar.
    pub const fn days(days: u32) -> Self {
        Self { days, elapsed: Duration::ZERO }
    }

    /// Its days of the calendar, and the time that elapses after them.
    pub const fn parts(self) -> (u32, Duration) {
        (self.days, self.elapsed)
    }

    /// The days that it may reach over, at most.
    pub(super) fn days_reached(self) -> i64 {
        let elapsed = i64::try_from(self.elapsed.as_secs() / DAY.as_secs()).unwrap_or(i64::MAX);
        elapsed.saturating_add(i64::from(self.days)).saturating_add(1)
    }

    /// How long it is on a day without a clock change.
    pub fn usual(self) -> Duration {
        DAY.saturating_mul(self.days).saturating_add(self.elapsed)
    }

    /// Whether something may recur that is so long; events of other calendars may be short.
    pub(super) fn fits_an_event(self) -> bool {
        self.usual() <= DAY * MAX_DAYS
    }

    fn is_in_range(self) -> bool {
        (MIN..=DAY * MAX_DAYS).contains(&self.usual())
    }
}

impl FromStr for Length {
    type Err = InvalidLength;

    fn from_str(text: &str) -> Result<Self, InvalidLength> {
        let length = parse(text).ok_or_else(|| InvalidLength::Form(shown(text)))?;
        length.is_in_range().then_some(length).ok_or_else(|| InvalidLength::Range(shown(text)))
    }
}

fn shown(text: &str) -> String {
    text.chars().take(40).collect()
}

/// `P2W`, `P1DT2H`, `PT4H30M`.
pub(super) fn parse(text: &str) -> Option<Length> {
    let text = text.strip_prefix(['P', 'p'])?;
    let (days, time) = match text.split_once(['T', 't']) {
        Some((_, "")) => return None,
        Some((days, time)) => (days, time),
        None => (text, ""),
    };
    if days.is_empty() && time.is_empty() {
        return None;
    }
    let mut length = Length { days: 0, elapsed: Duration::ZERO };
    for (number, unit) in amounts(days, &['W', 'D'])? {
        let each = if unit == 'W' { 7 } else { 1 };
        length.days = length.days.checked_add(number.checked_mul(each)?)?;
    }
    for (number, unit) in amounts(time, &['H', 'M', 'S'])? {
        let each = match unit {
            'H' => 3600,
            'M' => 60,
            _ => 1,
        };
        let span = Duration::from_secs(u64::from(number).checked_mul(each)?);
        length.elapsed = length.elapsed.checked_add(span)?;
    }
    Some(length)
}

/// Numbers, each with its unit; units at most once and in their order.
fn amounts(mut text: &str, units: &[char]) -> Option<Vec<(u32, char)>> {
    let mut found = Vec::new();
    let mut allowed = units;
    while !text.is_empty() {
        let end = text.find(|c: char| !c.is_ascii_digit())?;
        let (number, rest) = text.split_at(end);
        let unit = rest.chars().next()?.to_ascii_uppercase();
        let at = allowed.iter().position(|known| *known == unit)?;
        allowed = allowed.get(at + 1..)?;
        found.push((number.parse().ok()?, unit));
        text = rest.get(1..)?;
    }
    Some(found)
}

impl fmt::Display for Length {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("P")?;
        if self.days > 0 || self.elapsed.is_zero() {
            write!(f, "{}D", self.days)?;
        }
        let seconds = self.elapsed.as_secs();
        if seconds > 0 {
            f.write_str("T")?;
        }
        for (amount, unit) in [(seconds / 3600, 'H'), (seconds / 60 % 60, 'M'), (seconds % 60, 'S')]
        {
            if amount > 0 {
                write!(f, "{amount}{unit}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_read_and_written_again() {
        for text in ["PT4H", "PT90M", "P1D", "P2W", "P1DT2H", "PT1M", "PT1H0M5S", "P366D"] {
            let length: Length = text.parse().unwrap();
            assert_eq!(length.to_string().parse(), Ok(length), "{text}");
        }
        assert_eq!("PT90M".parse(), Ok(Length::elapsed(Duration::from_secs(5400))));
        assert_eq!("P2W".parse(), Ok(Length::days(14)));
    }

    #[test]
    fn what_is_no_length_is_refused() {
        for text in [
            "", "P", "PT", "4H", "P4H", "PT4D", "PT1M2H", "PT1H1H", "P1.5D", "P-1D", "P1DT", "PT5",
            "PTü",
        ] {
            assert_eq!(text.parse::<Length>(), Err(InvalidLength::Form(text.into())));
        }
        for text in ["PT59S", "P0D", "P367D", "PT8785H", "P99999W"] {
            assert_eq!(text.parse::<Length>(), Err(InvalidLength::Range(text.into())));
        }
    }
}
