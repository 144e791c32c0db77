//! Coming in the next commit.
