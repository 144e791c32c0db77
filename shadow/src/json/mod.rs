//! JSON that comes back as it was sent: numbers keep their digits, and what is equal is equal whatever its spelling.
//!
//! Of our own, because a number must not pass through floating point, and nesting must be bounded while it is read.

mod number;
#[cfg(test)]
pub(crate) mod oracle;
mod reader;
mod value;
mod writer;

pub(crate) use number::Number;
pub(crate) use reader::{Unreadable, is_number, read};
pub(crate) use value::{Json, Object};
pub(crate) use writer::{ObjectWriter, put_array, put_json, put_text, put_u64};
