//! What survives: the Store trait, SQLite, memory.
