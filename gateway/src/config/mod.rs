//! Configuration, twice: as written in the file, and as meant by it.
//!
//! [`Written`] is the shape of the file; every setting stands once in its table with unit, default and the
//! reason for it, and the example file is printed from the same table. [`Resolved`] is what the running code
//! sees: ranges and relations are checked, paths are whole, so nothing checks them again.

mod authentication;
mod classes;
mod doors;
mod example;
mod fault;
mod listeners;
mod mqtt;
mod resolved;
mod resume;
mod rights;
mod settings;
mod windows;
mod written;

pub use authentication::{
    Authentication, CertificateAccess, Expired, Hook, HookAccess, HookAsks, PasswordAccess,
    TokenAccess,
};
pub use classes::{ClassSection, QueueWhenFull, WhatIsTooFast};
pub use doors::{
    ClientCertificate, Listen, ListenKind, TlsCertificate, TlsFiles, TlsVersion, UnknownName,
};
pub use example::example;
pub use fault::{ConfigError, Fault};
pub use listeners::{Authority, Bind, Listener, NamedCertificate, Tls};
pub use mqtt::Mqtt;
pub use resolved::{
    DrainDefaults, HttpListener, Lease, MaintenanceLimits, PeerListener, Resolved, Source, read,
    resolve,
};
pub use resume::ResumeSettings;
pub use rights::Rights;
pub use settings::Setting;
pub use windows::MaintenanceWindow;
pub use written::{
    Access, ClaimsMeaning, DeniedPublish, DrainSettings, Gateway, Http, LeaseSettings, Limits, Log,
    LogLevel, Maintenance, Operation, Peer, Store, Synchronous, UserClientIds, Weekday, Window,
    Written, parse,
};
