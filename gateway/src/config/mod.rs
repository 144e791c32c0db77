//! Configuration, twice: as written in the file, and as meant by it.
//!
//! [`Written`] is the shape of the file; every setting stands once in its table with unit, default and the
//! reason for it, and the example file is printed from the same table. [`Resolved`] is what the running code
//! sees: ranges and relations are checked, paths are whole, so nothing checks them again.

mod asked;
mod authentication;
mod classes;
mod device_http;
mod doors;
mod endpoint;
mod example;
mod fault;
mod limits;
mod listeners;
mod live;
mod mqtt;
mod presence;
mod programs;
mod resolved;
mod resume;
mod rights;
mod roles;
mod settings;
mod shadow;
mod source;
mod threads;
mod told;
mod who;
mod windows;
mod written;

pub use asked::{Prometheus, PrometheusSection};
pub use authentication::{Authentication, Hook};
pub use classes::ClassSection;
pub use device_http::{DeviceHttp, DeviceHttpListener};
pub use doors::{
    ClientCertificate, Listen, ListenKind, TlsCertificate, TlsFiles, TlsVersion, UnknownName,
};
pub use endpoint::Endpoint;
pub use example::example;
pub use fault::{ConfigError, Fault};
pub use limits::{Limits, QueueWhenFull, WhatIsTooFast};
pub use listeners::{Authority, Bind, Listener, NamedCertificate, Tls};
pub use live::{Reread, Settings};
pub use mqtt::Mqtt;
pub use presence::{CreateThings, KeepPresence, PresenceSettings};
pub use programs::{HookClass, HostProgram, MaintenanceHook};
pub use resolved::{
    DrainDefaults, HttpListener, Lease, MaintenanceLimits, PeerListener, Resolved, read, resolve,
};
pub use resume::ResumeSettings;
pub use rights::Rights;
pub use roles::{Right, Roles};
pub use settings::Setting;
pub use shadow::ShadowSettings;
pub use source::Source;
pub use told::{Webhook, WebhookSection};
pub use who::{
    Access, CertificateAccess, ClaimsMeaning, DeniedPublish, Expired, HookAccess, HookAsks,
    PasswordAccess, TokenAccess, UserClientIds,
};
pub use windows::MaintenanceWindow;
pub use written::{
    DrainSettings, Gateway, Http, LeaseSettings, Log, LogLevel, Maintenance, Operation, Peer,
    Restart, Store, Synchronous, Weekday, Wills, Window, Written, parse,
};
