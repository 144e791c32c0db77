//! Damaged input for everything here that reads bytes from outside.

mod any_bytes;
mod mutated_input;
mod mutation;
mod peer_versions;
