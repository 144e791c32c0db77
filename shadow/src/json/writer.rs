//! Writes JSON, member by member and without white space.

use std::fmt::Write as _;

use super::{Json, Object};

/// Writes an object member by member.
pub(crate) struct ObjectWriter<'a> {
    out: &'a mut String,
    is_empty: bool,
}

impl<'a> ObjectWriter<'a> {
    /// Opens an object.
    pub(crate) fn begin(out: &'a mut String) -> Self {
        out.push('{');
        Self { out, is_empty: true }
    }

    /// Names the next member, whose value is to be written to what is given back.
    pub(crate) fn member(&mut self, name: &str) -> &mut String {
        if !self.is_empty {
            self.out.push(',');
        }
        self.is_empty = false;
        put_text(self.out, name);
        self.out.push(':');
        self.out
    }

    /// A member that is a text.
    pub(crate) fn text(&mut self, name: &str, text: &str) {
        put_text(self.member(name), text);
    }

    /// A member that is a whole number.
    pub(crate) fn number(&mut self, name: &str, number: u64) {
        put_u64(self.member(name), number);
    }

    /// A member that is true or false.
    pub(crate) fn truth(&mut self, name: &str, is_true: bool) {
        self.member(name).push_str(if is_true { "true" } else { "false" });
    }

    /// Closes the object.
    pub(crate) fn end(self) {
        self.out.push('}');
    }
}

/// Appends a value in its shortest form.
pub(crate) fn put_json(out: &mut String, json: &Json) {
    match json {
        Json::Null => out.push_str("null"),
        Json::Bool(true) => out.push_str("true"),
        Json::Bool(false) => out.push_str("false"),
        Json::Number(number) => out.push_str(number.as_str()),
        Json::Text(text) => put_text(out, text),
        Json::Array(items) => put_array(out, items, put_json),
        Json::Object(members) => put_object(out, members),
    }
}

fn put_object(out: &mut String, members: &Object) {
    let mut object = ObjectWriter::begin(out);
    for (name, value) in members {
        put_json(object.member(name), value);
    }
    object.end();
}

/// Appends an array, each item as `put` says.
pub(crate) fn put_array<T>(
    out: &mut String,
    items: impl IntoIterator<Item = T>,
    mut put: impl FnMut(&mut String, T),
) {
    out.push('[');
    for (at, item) in items.into_iter().enumerate() {
        if at > 0 {
            out.push(',');
        }
        put(out, item);
    }
    out.push(']');
}

/// Appends a whole number.
pub(crate) fn put_u64(out: &mut String, number: u64) {
    // A string takes whatever is written to it.
    let _ = write!(out, "{number}");
}

/// Appends a text in quotation marks.
pub(crate) fn put_text(out: &mut String, text: &str) {
    out.push('"');
    let mut rest = text;
    while let Some(at) = rest.bytes().position(|byte| matches!(byte, b'"' | b'\\' | 0..0x20)) {
        let (plain, special) = rest.split_at(at);
        out.push_str(plain);
        let mut chars = special.chars();
        match chars.next() {
            Some('"') => out.push_str("\\\""),
            Some('\\') => out.push_str("\\\\"),
            Some('\n') => out.push_str("\\n"),
            Some('\r') => out.push_str("\\r"),
            Some('\t') => out.push_str("\\t"),
            Some(control) => {
                let _ = write!(out, "\\u{:04x}", u32::from(control));
            }
            None => {}
        }
        rest = chars.as_str();
    }
    out.push_str(rest);
    out.push('"');
}
