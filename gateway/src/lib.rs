//! The one room with sockets, threads and the wall clock: what a gateway process is made of.

pub mod authentication;
pub mod bans;
pub mod caretaker;
pub mod cli;
pub mod commit;
pub mod committer;
pub mod config;
pub mod control;
pub mod fleet;
pub mod front;
pub mod http;
pub mod hub;
pub mod line_limit;
pub mod links;
pub mod logging;
pub mod metrics;
pub mod operator;
pub mod process;
pub mod reload;
pub mod rights;
pub mod service;
pub mod sessions;
mod strangers;
pub mod tail;
pub mod tls;
pub mod transport;
pub mod worker;
