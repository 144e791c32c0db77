//! The command line.

mod api;

pub use api::{Api, ApiError};
