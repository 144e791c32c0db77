//! Configuration, twice: as written in the file, and as meant by it.
//!
//! [`Written`] is the shape of the file; every setting stands once in its table with unit, default and the
//! reason for it, and the example file is printed from the same table. [`Resolved`] is what the running code
//! sees: ranges and relations are checked, paths are whole, so nothing checks them again.

mod example;
mod fault;
mod mqtt;
mod resolved;
mod rights;
mod settings;
mod windows;
mod written;

pub use example::example;
pub use fault::{ConfigError, Fault};
pub use mqtt::Mqtt;
pub use resolved::{
    DrainDefaults, HttpListener, Lease, Listener, MaintenanceLimits, PeerListener, Resolved, Tls,
    read, resolve,
};
pub use rights::Rights;
pub use settings::Setting;
pub use windows::MaintenanceWindow;
pub use written::{
    Access, ClaimsMeaning, DeniedPublish, DrainSettings, Gateway, Http, LeaseSettings, Limits,
    Listen, ListenKind, Log, LogLevel, Maintenance, Operation, Peer, Store, Synchronous, TlsFiles,
    Weekday, Window, Written, parse,
};
