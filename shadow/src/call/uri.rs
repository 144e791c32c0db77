//! Paths and queries of requests.

/// A text in which `%` and two digits stand for a byte; `None` if they do not, or the bytes are no text.
pub(super) fn decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((byte, after)) = rest.split_first() {
        rest = after;
        if *byte != b'%' {
            bytes.push(*byte);
            continue;
        }
        let (digits, after) = rest.split_first_chunk::<2>()?;
        let [high, low] = digits.map(|digit| char::from(digit).to_digit(16));
        bytes.push(u8::try_from(high? * 16 + low?).ok()?);
        rest = after;
    }
    String::from_utf8(bytes).ok()
}

/// The query of a request.
#[derive(Debug, Clone, Copy)]
pub(super) struct Query<'a>(pub(super) &'a str);

impl Query<'_> {
    /// The value of a parameter, the first if there are more; `Err` if it cannot be decoded.
    pub(super) fn text(self, name: &str) -> Result<Option<String>, ()> {
        let mut pairs = self.0.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
        match pairs.find(|(found, _)| *found == name) {
            Some((_, value)) => decode(value).map(Some).ok_or(()),
            None => Ok(None),
        }
    }

    /// The same as a whole number within a range.
    pub(super) fn number(
        self,
        name: &str,
        range: std::ops::RangeInclusive<u64>,
    ) -> Result<Option<u64>, ()> {
        match self.text(name)? {
            None => Ok(None),
            Some(text) => {
                let number = text.parse().map_err(|_| ())?;
                if range.contains(&number) { Ok(Some(number)) } else { Err(()) }
            }
        }
    }

    /// The same as true or false; false if it is not there.
    pub(super) fn truth(self, name: &str) -> Result<bool, ()> {
        match self.text(name)?.as_deref() {
            None | Some("false") => Ok(false),
            Some("true") => Ok(true),
            Some(_) => Err(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percent_signs_stand_for_bytes() {
        assert_eq!(decode("a%2Fb%c3%A4+%25").as_deref(), Some("a/bä+%"));
        for text in ["%", "%2", "%zz", "%c3", "%+1", "a%"] {
            assert_eq!(decode(text), None, "{text}");
        }
    }

    #[test]
    fn parameters_are_found_by_name_and_checked() {
        let query = Query("a=1&b=%41&c&a=2&d=true&e=x%");
        assert_eq!(query.text("b"), Ok(Some("A".to_owned())));
        assert_eq!(query.text("c"), Ok(Some(String::new())));
        assert_eq!(query.text("z"), Ok(None));
        assert_eq!(query.text("e"), Err(()));
        assert_eq!(query.number("a", 0..=1), Ok(Some(1)));
        assert_eq!(query.number("a", 2..=3), Err(()));
        assert_eq!(query.number("b", 0..=1), Err(()));
        assert_eq!(query.truth("d"), Ok(true));
        assert_eq!(query.truth("z"), Ok(false));
        assert_eq!(query.truth("a"), Err(()));
    }
}
