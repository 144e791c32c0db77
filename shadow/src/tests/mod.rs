//! Damaged input for everything here that reads bytes from outside.

mod any_bytes;
mod mutated_input;
#[path = "../../../protocol/src/tests/mutation.rs"]
mod mutation;
