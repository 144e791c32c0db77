//! Reads JSON, as deep as it may lie.

use std::borrow::Cow;

use super::{Json, Number, Object};

/// More objects and arrays than this do not lie in each other in anything that is read.
pub(crate) const MAX_NESTING: usize = 64;

/// Why a text is not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unreadable {
    /// It is no JSON.
    NoJson,
    /// It is nested more than [`MAX_NESTING`] deep.
    TooDeep,
}

/// Reads a text that is one JSON value. Of members with the same name the last one counts.
pub(crate) fn read(text: &str) -> Result<Json, Unreadable> {
    let mut reader = Reader { rest: text };
    let value = reader.value(MAX_NESTING)?;
    reader.skip_space();
    if reader.rest.is_empty() { Ok(value) } else { Err(Unreadable::NoJson) }
}

/// Whether a text is a JSON number and nothing else.
pub(crate) fn is_number(text: &str) -> bool {
    let mut reader = Reader { rest: text };
    reader.number().is_ok() && reader.rest.is_empty()
}

struct Reader<'a> {
    rest: &'a str,
}

impl<'a> Reader<'a> {
    fn value(&mut self, nesting: usize) -> Result<Json, Unreadable> {
        self.skip_space();
        match self.rest.as_bytes().first() {
            Some(b'{') => Ok(Json::Object(self.object(nesting)?)),
            Some(b'[') => Ok(Json::Array(self.array(nesting)?)),
            Some(b'"') => Ok(Json::Text(self.text()?.into())),
            Some(b't') => self.expect("true").map(|()| Json::Bool(true)),
            Some(b'f') => self.expect("false").map(|()| Json::Bool(false)),
            Some(b'n') => self.expect("null").map(|()| Json::Null),
            Some(_) => Ok(Json::Number(self.number()?)),
            None => Err(Unreadable::NoJson),
        }
    }

    fn object(&mut self, nesting: usize) -> Result<Object, Unreadable> {
        let nesting = nesting.checked_sub(1).ok_or(Unreadable::TooDeep)?;
        let mut members = Object::new();
        self.expect("{")?;
        self.skip_space();
        if self.take("}") {
            return Ok(members);
        }
        loop {
            self.skip_space();
            let name = self.text()?;
            self.skip_space();
            self.expect(":")?;
            members.insert(name.into(), self.value(nesting)?);
            self.skip_space();
            if self.take("}") {
                return Ok(members);
            }
            self.expect(",")?;
        }
    }

    fn array(&mut self, nesting: usize) -> Result<Vec<Json>, Unreadable> {
        let nesting = nesting.checked_sub(1).ok_or(Unreadable::TooDeep)?;
        let mut items = Vec::new();
        self.expect("[")?;
        self.skip_space();
        if self.take("]") {
            return Ok(items);
        }
        loop {
            items.push(self.value(nesting)?);
            self.skip_space();
            if self.take("]") {
                return Ok(items);
            }
            self.expect(",")?;
        }
    }

    fn text(&mut self) -> Result<Cow<'a, str>, Unreadable> {
        self.expect("\"")?;
        let first = self.plain()?;
        if self.take("\"") {
            return Ok(Cow::Borrowed(first));
        }
        let mut text = first.to_owned();
        loop {
            text.push(self.escaped()?);
            text.push_str(self.plain()?);
            if self.take("\"") {
                return Ok(Cow::Owned(text));
            }
        }
    }

    /// Takes all up to the next quotation mark or backslash.
    fn plain(&mut self) -> Result<&'a str, Unreadable> {
        let is_special = |byte: u8| matches!(byte, b'"' | b'\\' | 0..0x20);
        let len = self.rest.bytes().position(is_special).ok_or(Unreadable::NoJson)?;
        self.split(len)
    }

    fn escaped(&mut self) -> Result<char, Unreadable> {
        self.expect("\\")?;
        let letter = self.split(1)?;
        Ok(match letter {
            "\"" | "\\" | "/" => letter.chars().next().ok_or(Unreadable::NoJson)?,
            "b" => '\u{8}',
            "f" => '\u{c}',
            "n" => '\n',
            "r" => '\r',
            "t" => '\t',
            "u" => self.code_point()?,
            _ => return Err(Unreadable::NoJson),
        })
    }

    /// What stands behind `\u`: one unit of UTF-16, or two that belong together.
    fn code_point(&mut self) -> Result<char, Unreadable> {
        let first = self.unit()?;
        let units = if (0xd800..0xdc00).contains(&first) {
            self.expect("\\u")?;
            [first, self.unit()?]
        } else {
            [first, 0]
        };
        let mut read = char::decode_utf16(units);
        let read = read.next().ok_or(Unreadable::NoJson)?;
        read.map_err(|_| Unreadable::NoJson)
    }

    fn unit(&mut self) -> Result<u16, Unreadable> {
        let digits = self.split(4)?;
        if !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(Unreadable::NoJson);
        }
        u16::from_str_radix(digits, 16).map_err(|_| Unreadable::NoJson)
    }

    fn number(&mut self) -> Result<Number, Unreadable> {
        let begin = self.rest;
        self.take("-");
        if !self.take("0") {
            self.digits()?;
        }
        if self.take(".") {
            self.digits()?;
        }
        if self.take("e") || self.take("E") {
            let _ = self.take("+") || self.take("-");
            self.digits()?;
        }
        let len = begin.len().saturating_sub(self.rest.len());
        begin.get(..len).map(Number::new).ok_or(Unreadable::NoJson)
    }

    /// Takes at least one digit.
    fn digits(&mut self) -> Result<(), Unreadable> {
        let rest = self.rest.trim_start_matches(|c: char| c.is_ascii_digit());
        if rest.len() == self.rest.len() {
            return Err(Unreadable::NoJson);
        }
        self.rest = rest;
        Ok(())
    }

    fn skip_space(&mut self) {
        self.rest = self.rest.trim_start_matches([' ', '\n', '\r', '\t']);
    }

    fn take(&mut self, text: &str) -> bool {
        match self.rest.strip_prefix(text) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn expect(&mut self, text: &str) -> Result<(), Unreadable> {
        if self.take(text) { Ok(()) } else { Err(Unreadable::NoJson) }
    }

    fn split(&mut self, len: usize) -> Result<&'a str, Unreadable> {
        let (taken, rest) = self.rest.split_at_checked(len).ok_or(Unreadable::NoJson)?;
        self.rest = rest;
        Ok(taken)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::oracle::{any_text, judge};
    use super::*;

    #[test]
    fn what_is_json_is_read() {
        for text in [
            "0",
            "-0",
            "1.50",
            "1e+5",
            "1E-5",
            "123456789012345678901234567890",
            "true",
            "false",
            "null",
            r#""""#,
            r#""\ud800\udc00\udbff\udfff""#,
            r#""\u0041\ud83d\ude00\/\b\f\n\r\t\"\\""#,
            "\"\u{7f}ä\u{ffff}\"",
            "[]",
            "{}",
            " [ 1 , [ ] , { } ] ",
            r#"{"a":1,"a":2,"":{}}"#,
            "\t\r\n{\n}\n",
            r#""\u0000""#,
        ] {
            assert!(judge(text), "{text}");
        }
    }

    #[test]
    fn what_is_no_json_is_refused() {
        for text in [
            "",
            " ",
            "01",
            "-",
            "1.",
            ".5",
            "1e",
            "1e+",
            "+1",
            "0x1",
            "1 2",
            "tru",
            "True",
            "nul",
            "\"",
            r#""\""#,
            r#""\x""#,
            r#""\u12""#,
            r#""\u+123""#,
            r#""\ud800""#,
            r#""\udc00""#,
            r#""\ud800\u0041""#,
            r#""\ud800x""#,
            "\"\n\"",
            "[",
            "[1",
            "[1,]",
            "[,]",
            "[1 2]",
            "{",
            "{\"a\"}",
            "{\"a\":}",
            "{\"a\":1,}",
            "{a:1}",
            "{1:1}",
            "{\"a\":1 \"b\":2}",
            "]",
            "}",
            "[}",
            "{]",
            "\u{feff}1",
            "\u{a0}1",
            "NaN",
            "Infinity",
            "'a'",
            "/**/1",
            r#""\u00é""#,
        ] {
            assert!(!judge(text), "{text}");
        }
    }

    #[test]
    fn nesting_is_bounded() {
        let nested = |n: usize| format!("{}{}", "[".repeat(n), "]".repeat(n));
        assert_eq!(read(&nested(MAX_NESTING)).map(|json| json.nesting()), Ok(MAX_NESTING));
        assert_eq!(read(&nested(MAX_NESTING + 1)), Err(Unreadable::TooDeep));
        assert_eq!(read(&"[".repeat(1_000_000)), Err(Unreadable::TooDeep));
        assert_eq!(read(&"{\"a\":".repeat(1_000_000)), Err(Unreadable::TooDeep));
    }

    proptest! {
        #[test]
        fn it_reads_what_another_library_reads(text in any_text()) {
            prop_assert!(judge(&text));
        }

        #[test]
        fn it_refuses_what_another_library_refuses(text in any_text(), at: prop::sample::Index, put in r#"[ -~\n]?"#) {
            let chars: Vec<char> = text.chars().collect();
            let at = at.index(chars.len());
            let damaged: String =
                chars[..at].iter().chain(&put.chars().collect::<Vec<_>>()).chain(&chars[at + 1..]).collect();
            judge(&damaged);
        }
    }
}
