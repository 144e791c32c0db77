//! What a search wants of a field.

use super::field::Value;
use crate::json::{Number, is_number};

/// What a value must be.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Condition {
    /// This text, in which `*` stands for any characters and `?` for one.
    Is(Box<str>),
    /// A number in a range.
    Between { from: Bound, to: Bound },
}

/// An end of a range.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Bound {
    Open,
    Including(f64),
    Excluding(f64),
}

impl Condition {
    pub(super) fn holds(&self, value: Value<'_>) -> bool {
        match self {
            Self::Is(pattern) => match value {
                Value::Text(text) => fits(pattern, text),
                Value::Truth(is_true) => fits(pattern, if is_true { "true" } else { "false" }),
                Value::Number(text) if is_number(pattern) => {
                    Number::new(text) == Number::new(pattern)
                }
                Value::Number(text) => fits(pattern, text),
                Value::Count(count) => fits(pattern, &count.to_string()),
            },
            Self::Between { from, to } => {
                let number = match value {
                    Value::Text(text) | Value::Number(text) if is_number(text) => text.parse().ok(),
                    Value::Count(count) => count.to_string().parse().ok(),
                    Value::Text(_) | Value::Number(_) | Value::Truth(_) => None,
                };
                number.is_some_and(|number: f64| {
                    let above = match from {
                        Bound::Open => true,
                        Bound::Including(least) => number >= *least,
                        Bound::Excluding(least) => number > *least,
                    };
                    let below = match to {
                        Bound::Open => true,
                        Bound::Including(most) => number <= *most,
                        Bound::Excluding(most) => number < *most,
                    };
                    above && below
                })
            }
        }
    }
}

/// Whether a text is what a pattern says. A backtrack goes to the last `*` only, so it takes no more steps than the
/// product of both lengths.
fn fits(pattern: &str, text: &str) -> bool {
    let (mut pattern, mut text) = (pattern.chars(), text.chars());
    let mut back = None;
    loop {
        let (before, wanted) = (text.clone(), pattern.next());
        match (wanted, text.next()) {
            (None, None) => return true,
            (Some('*'), _) => {
                text = before.clone();
                back = Some((pattern.clone(), before));
                continue;
            }
            (Some('?'), Some(_)) => continue,
            (Some(wanted), Some(found)) if wanted == found => continue,
            (None | Some(_), Some(_)) | (Some(_), None) => {}
        }
        let Some((behind, from)) = &mut back else { return false };
        if from.next().is_none() {
            return false;
        }
        (pattern, text) = (behind.clone(), from.clone());
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn plainly(pattern: &[char], text: &[char]) -> bool {
        match (pattern, text) {
            ([], text) => text.is_empty(),
            (['*', rest @ ..], text) => (0..=text.len()).any(|n| plainly(rest, &text[n..])),
            ([_, ..], []) => false,
            ([wanted, rest @ ..], [found, after @ ..]) => {
                (*wanted == '?' || wanted == found) && plainly(rest, after)
            }
        }
    }

    proptest! {
        #[test]
        fn patterns_fit_as_they_do_plainly(pattern in "[ab*?]{0,7}", text in "[ab]{0,8}") {
            let chars = |text: &str| text.chars().collect::<Vec<char>>();
            prop_assert_eq!(fits(&pattern, &text), plainly(&chars(&pattern), &chars(&text)));
        }
    }

    #[test]
    fn values_are_compared_as_what_they_are() {
        let is = |text: &str, value| Condition::Is(text.into()).holds(value);
        assert!(is("pump-*", Value::Text("pump-7")) && !is("pump", Value::Text("pump-7")));
        assert!(is("1.0", Value::Number("10e-1")) && !is("1.0", Value::Text("1")));
        assert!(is("1*", Value::Number("12")) && is("true", Value::Truth(true)));
        assert!(is("*", Value::Count(7)));
        let above = Condition::Between { from: Bound::Excluding(5.0), to: Bound::Open };
        assert!(above.holds(Value::Number("5.1")) && above.holds(Value::Text("6")));
        for value in [Value::Number("5"), Value::Text("six"), Value::Truth(true), Value::Count(4)] {
            assert!(!above.holds(value), "{value:?}");
        }
        let within = Condition::Between { from: Bound::Including(1.0), to: Bound::Excluding(2.0) };
        assert!(within.holds(Value::Count(1)) && !within.holds(Value::Number("2.0")));
    }
}
