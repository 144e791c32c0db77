//! Files that are read again while the gateway runs: the configuration, certificates, keys, authorities, lists of revoked
//! certificates, access files. On SIGHUP, by the API, and when one of them has changed. Nobody is disconnected but who is revoked; a file that
//! cannot be used leaves everything as it was.

mod certificates;
mod configuration;
mod credentials;
mod rights;
mod thread;
mod watch;

pub use certificates::{Certificates, PeerFilesError, peer_tls};
pub use configuration::Configuration;
pub use credentials::Credentials;
pub use rights::RightsFiles;
pub use thread::{PAUSES_FOR, Reload, ReloadSender, spawn};
pub use watch::{Before, ReloadFailed, Reloadable};
