//! JSON as it was read.

use std::collections::BTreeMap;

use super::Number;

/// The members of an object by name; the order in which they were sent says nothing.
pub(crate) type Object = BTreeMap<Box<str>, Json>;

/// Any JSON value. Equal are values that mean the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Json {
    Null,
    Bool(bool),
    Number(Number),
    Text(Box<str>),
    Array(Vec<Self>),
    Object(Object),
}

impl Json {
    /// How many objects and arrays lie in each other at most, this one included.
    pub(crate) fn nesting(&self) -> usize {
        let inner = match self {
            Self::Null | Self::Bool(_) | Self::Number(_) | Self::Text(_) => return 0,
            Self::Array(items) => items.iter().map(Self::nesting).max(),
            Self::Object(members) => members.values().map(Self::nesting).max(),
        };
        inner.unwrap_or(0).saturating_add(1)
    }

    /// Whether `null` stands in it, at any depth.
    pub(crate) fn has_null(&self) -> bool {
        match self {
            Self::Null => true,
            Self::Bool(_) | Self::Number(_) | Self::Text(_) => false,
            Self::Array(items) => items.iter().any(Self::has_null),
            Self::Object(members) => members.values().any(Self::has_null),
        }
    }

    /// Whether an array in it, at any depth, has `null` in it.
    pub(crate) fn has_null_in_array(&self) -> bool {
        match self {
            Self::Null | Self::Bool(_) | Self::Number(_) | Self::Text(_) => false,
            Self::Array(_) => self.has_null(),
            Self::Object(members) => members.values().any(Self::has_null_in_array),
        }
    }
}
