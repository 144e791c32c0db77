//! Who may connect, and what they may say.
//!
//! Decides and never acts: files are read, sockets closed and clocks looked at by the gateway, which asks here.

mod bans;
mod class;
mod flapping;
mod identity;
mod rights;
#[cfg(test)]
mod tests;

pub use bans::{BanOn, BanOnError, Bans};
pub use class::{Class, ClassLimits, Classes, Excess, OnExcess, Pace};
pub use flapping::{Flapping, FlappingLimits};
pub use identity::{
    BadLine, CachedAnswer, CertificateIdentity, CertificateNames, CertificateRefusal,
    CertificateRule, Claims, ClientFirst, ClientIdRule, HookAllows, HookAnswer, HookCache,
    HookError, HookKey, HookQuestion, Identity, JwksError, NameSource, NewLineError, PasswordCheck,
    PasswordFile, PasswordFileError, PasswordKind, SCRAM_SHA_256, ScramError, ScramServer,
    TokenError, TokenIdentity, TokenRule, TokenVerifier, WhenDown, line_name, login_of,
    looks_like_a_token, password_line,
};
pub use protocol::nearest;
pub use rights::{
    AclFault, Action, Cause, ClaimsMode, Denial, Effect, Explanation, Policy, Question, Reason,
    Rights, Rule, Source, Step, Who, WhoWritten, covers, overlaps, read_acl, read_mosquitto,
};
