//! Who a connection speaks for.

mod who;

pub use who::{CertificateNames, Claims, Identity};
