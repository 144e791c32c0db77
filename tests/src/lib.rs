//! The fleet seen from outside.

mod code;
mod tree;

pub use code::{code_only, without_tests};
pub use tree::{SourceFile, tracked_files, workspace_root};
