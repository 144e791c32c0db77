//! The fleet seen from outside.

mod code;
pub mod harness;
pub mod simulation;
mod tree;

pub use code::{code_only, without_tests};
pub use tree::{SourceFile, tracked_files, workspace_root};
