//! Development and test identities: CA, gateways, devices, operators.
//!
//! One folder holds one authority: `ca.pem` and `ca.key`, a `<name>.pem` and `<name>.key` for each identity,
//! `crl.pem` with what is revoked, and `index.json` with everything ever issued. For production fleets bring
//! an authority of your own; only the names in the certificates matter to a gateway, see [`role_of`].

mod authority;
mod development;
mod files;
mod index;
mod role;

pub use authority::{Authority, AuthorityError, Identity, IssueError, RevokeError};
pub use development::{DevelopmentError, development_set};
pub use files::FileError;
pub use index::{IndexError, Issued};
pub use role::{InvalidName, Role, role_of};
