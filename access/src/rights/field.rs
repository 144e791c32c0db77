//! Reading a table of a TOML file by hand, so that all its faults are told at once and each with its line.

use std::fmt;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::nearest;

/// One thing that is wrong with an access file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AclFault {
    /// Line in the file, from 1.
    pub line: u32,
    /// What is wrong, as a lower-case fragment.
    pub what: String,
}

impl fmt::Display for AclFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.what)
    }
}

/// The lines of a text.
#[derive(Debug)]
pub(super) struct Lines(Vec<usize>);

impl Lines {
    pub(super) fn of(text: &str) -> Self {
        Self(text.bytes().enumerate().filter(|(_, b)| *b == b'\n').map(|(at, _)| at).collect())
    }

    /// The line of a place in the text, from 1.
    pub(super) fn at(&self, offset: usize) -> u32 {
        u32::try_from(self.0.partition_point(|end| *end < offset) + 1).unwrap_or(u32::MAX)
    }
}

/// One table of the file, whose keys are taken one after another; what is left is unknown.
#[derive(Debug)]
pub(super) struct Fields<'a, 'f> {
    table: &'a DeTable<'a>,
    pub(super) line: u32,
    lines: &'a Lines,
    faults: &'f mut Vec<AclFault>,
    known: Vec<&'static str>,
}

impl<'a, 'f> Fields<'a, 'f> {
    pub(super) fn new(
        (table, offset): (&'a DeTable<'a>, usize),
        lines: &'a Lines,
        faults: &'f mut Vec<AclFault>,
    ) -> Self {
        Self { table, line: lines.at(offset), lines, faults, known: Vec::new() }
    }

    /// Notes a fault in the line of a key, or of the table if the key is not there.
    pub(super) fn fault(&mut self, key: &str, what: &str) {
        let line = self.table.iter().find(|(name, _)| *name.get_ref() == key);
        let line = line.map_or(self.line, |(name, _)| self.lines.at(name.span().start));
        self.faults.push(AclFault { line, what: format!("`{key}` {what}") });
    }

    fn get(&mut self, key: &'static str) -> Option<&'a Spanned<DeValue<'a>>> {
        self.known.push(key);
        self.table.get(key)
    }

    /// Takes a value that must be of one kind; `wanted` names it.
    fn take<T>(
        &mut self,
        key: &'static str,
        wanted: &str,
        read: impl Fn(&'a DeValue<'a>) -> Option<T>,
    ) -> Option<T> {
        let value = self.get(key)?.get_ref();
        let read = read(value);
        if read.is_none() {
            self.fault(key, &format!("is {}, not {wanted}", kind(value)));
        }
        read
    }

    pub(super) fn text(&mut self, key: &'static str) -> Option<&'a str> {
        self.take(key, "a string", DeValue::as_str)
    }

    pub(super) fn truth(&mut self, key: &'static str) -> Option<bool> {
        self.take(key, "true or false", DeValue::as_bool)
    }

    pub(super) fn number(&mut self, key: &'static str) -> Option<u64> {
        self.take(key, "a number from 0", |value| {
            let number = value.as_integer()?;
            u64::from_str_radix(number.as_str(), number.radix()).ok()
        })
    }

    /// A string, or a list of at least one.
    pub(super) fn texts(&mut self, key: &'static str) -> Vec<String> {
        let Some(value) = self.get(key) else { return Vec::new() };
        let value = value.get_ref();
        let texts = match (value.as_str(), value.as_array()) {
            (Some(text), _) => Some(vec![text.to_owned()]),
            (None, list) => list.and_then(|list| {
                list.iter().map(|it| it.get_ref().as_str().map(str::to_owned)).collect()
            }),
        };
        match texts {
            Some(texts) if !texts.is_empty() => texts,
            Some(_) => {
                self.fault(key, "is an empty list: leave it out for everything");
                Vec::new()
            }
            None => {
                self.fault(key, "is neither a string nor a list of strings");
                Vec::new()
            }
        }
    }

    /// A list of tables, each with its place in the text.
    pub(super) fn tables(&mut self, key: &'static str) -> Vec<(&'a DeTable<'a>, usize)> {
        let Some(value) = self.get(key) else { return Vec::new() };
        let tables = value.get_ref().as_array().and_then(|list| {
            list.iter().map(|it| Some((it.get_ref().as_table()?, it.span().start))).collect()
        });
        tables.unwrap_or_else(|| {
            self.fault(key, "is no list of tables: write [[rule]]");
            Vec::new()
        })
    }

    /// Notes every key that nobody asked for.
    pub(super) fn finish(self) {
        for name in self.table.keys() {
            if !self.known.contains(&&**name.get_ref()) {
                let near = nearest(name.get_ref(), self.known.iter().copied());
                let hint = near.map(|near| format!("; did you mean `{near}`?"));
                let what = format!("unknown key `{}`{}", name.get_ref(), hint.unwrap_or_default());
                self.faults.push(AclFault { line: self.lines.at(name.span().start), what });
            }
        }
    }
}

fn kind(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) | DeValue::Float(_) => "a number",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a time",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}
