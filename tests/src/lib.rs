//! The fleet seen from outside.
