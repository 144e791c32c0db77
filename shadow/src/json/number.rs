use std::cmp::Ordering;

/// A number as it was written. Equal are numbers of the same value, exactly: `1`, `1.0` and `10e-1`.
#[derive(Debug, Clone)]
pub(crate) struct Number(Box<str>);

/// The value as digits without zeros at either end, and the power of ten that they are multiplied with.
struct Value<'a> {
    is_negative: bool,
    integer: &'a [u8],
    fraction: &'a [u8],
    power: i64,
}

impl Number {
    /// Of a text that is a JSON number, which the caller has seen to.
    pub(crate) fn new(text: &str) -> Self {
        Self(text.into())
    }

    /// As it was written.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// As a whole number, if it is written as one that is not negative.
    pub(crate) fn as_u64(&self) -> Option<u64> {
        self.0.parse().ok()
    }

    /// `None` if the power of ten is beyond counting.
    fn value(&self) -> Option<Value<'_>> {
        let (is_negative, text) = match self.0.strip_prefix('-') {
            Some(text) => (true, text),
            None => (false, &*self.0),
        };
        let (digits, power) = match text.split_once(['e', 'E']) {
            Some((digits, power)) => (digits, power.parse::<i64>().ok()?),
            None => (text, 0),
        };
        let (integer, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        let fraction_len = i64::try_from(fraction.len()).ok()?;
        let mut value = Value {
            is_negative,
            integer: integer.as_bytes(),
            fraction: fraction.as_bytes(),
            power: power.checked_sub(fraction_len)?,
        };
        value.strip()?;
        Some(value)
    }
}

impl Value<'_> {
    /// Takes zeros off both ends, so that equal values have equal digits and an equal power.
    fn strip(&mut self) -> Option<()> {
        while let [b'0', rest @ ..] = self.integer {
            self.integer = rest;
        }
        if self.integer.is_empty() {
            while let [b'0', rest @ ..] = self.fraction {
                self.fraction = rest;
            }
        }
        while let [rest @ .., b'0'] = self.fraction {
            (self.fraction, self.power) = (rest, self.power.checked_add(1)?);
        }
        if self.fraction.is_empty() {
            while let [rest @ .., b'0'] = self.integer {
                (self.integer, self.power) = (rest, self.power.checked_add(1)?);
            }
        }
        Some(())
    }

    fn digits(&self) -> impl Iterator<Item = &u8> {
        self.integer.iter().chain(self.fraction)
    }

    fn is_equal(&self, other: &Self) -> bool {
        let (is_zero, other_is_zero) =
            (self.digits().next().is_none(), other.digits().next().is_none());
        if is_zero || other_is_zero {
            return is_zero == other_is_zero;
        }
        (self.is_negative, self.power) == (other.is_negative, other.power)
            && self.digits().cmp(other.digits()) == Ordering::Equal
    }
}

impl PartialEq for Number {
    fn eq(&self, other: &Self) -> bool {
        if self.0 == other.0 {
            return true;
        }
        match (self.value(), other.value()) {
            (Some(one), Some(other)) => one.is_equal(&other),
            (None, _) | (_, None) => false,
        }
    }
}

impl Eq for Number {}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_equal(one: &str, other: &str) -> bool {
        let (one, other) = (Number::new(one), Number::new(other));
        let is_equal = one == other;
        assert_eq!(other == one, is_equal);
        is_equal
    }

    #[test]
    fn numbers_are_compared_by_value_and_exactly() {
        for (one, other) in [
            ("1", "1.0"),
            ("1", "10e-1"),
            ("100", "1e2"),
            ("100", "1E+2"),
            ("1.5", "0.15e1"),
            ("0", "-0.0"),
            ("0", "0e77"),
            ("1200.0", "12e2"),
            ("0.00120", "12e-4"),
            ("10.010", "1001e-2"),
            ("12345678901234567890123", "12345678901234567890123.0"),
        ] {
            assert!(is_equal(one, other), "{one} {other}");
        }
        for (one, other) in [
            ("1", "-1"),
            ("1", "10"),
            ("1", "1e1"),
            ("0", "1"),
            ("0", "0.1"),
            ("1.01", "1.1"),
            ("10.01", "1.001"),
            ("12345678901234567890123", "12345678901234567890124"),
            ("0.1", "0.10000000000000001"),
            ("1e99999999999999999999", "1e99999999999999999998"),
        ] {
            assert!(!is_equal(one, other), "{one} {other}");
        }
        assert!(is_equal("1e99999999999999999999", "1e99999999999999999999"));
    }

    #[test]
    fn whole_numbers_are_read_as_such() {
        assert_eq!(Number::new("18446744073709551615").as_u64(), Some(u64::MAX));
        for text in ["18446744073709551616", "-1", "1.0", "1e2"] {
            assert_eq!(Number::new(text).as_u64(), None, "{text}");
        }
    }
}
