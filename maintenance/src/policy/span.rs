//! Spans of time as policies write them: `30s`, `20m`, `48h`.

use std::time::Duration;

const UNITS: [(&str, u64); 5] =
    [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];

/// A whole number with its unit, at most 10 years.
pub(super) fn parse(text: &str) -> Result<Duration, String> {
    let wrong = || {
        let shown: String = text.chars().take(40).collect();
        format!("{shown:?} is no span of time (such as 500ms, 30s, 20m, 48h, 7d)")
    };
    let end = text.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
    let (number, unit) = text.split_at(end);
    let (_, each) = UNITS.iter().find(|(known, _)| *known == unit).ok_or_else(wrong)?;
    let millis = number.parse::<u64>().ok().and_then(|number| number.checked_mul(*each));
    let span = Duration::from_millis(millis.ok_or_else(wrong)?);
    (span <= MAX).then_some(span).ok_or_else(wrong)
}

/// With the largest unit that divides it.
pub(super) fn shown(span: Duration) -> String {
    let millis = u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
    let fitting = UNITS.iter().rev().find(|(_, each)| millis % each == 0 && millis > 0);
    match fitting {
        Some((unit, each)) => format!("{}{unit}", millis / each),
        None => "0s".to_owned(),
    }
}

const MAX: Duration = Duration::from_secs(10 * 366 * 24 * 3600);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_read_and_shown() {
        for text in ["500ms", "30s", "20m", "48h", "7d", "0s"] {
            let span = parse(text).unwrap();
            assert_eq!(parse(&shown(span)), Ok(span), "{text}");
        }
        assert_eq!(shown(Duration::from_secs(90)), "90s");
        for text in ["", "s", "3", "3 s", "-1s", "1.5h", "99999999999999999999s", "9999999d", "ü"]
        {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
