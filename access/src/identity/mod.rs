//! Who a connection speaks for.

mod certificate;
mod hook;
mod passwords;
mod scram;
mod token;
mod user_name;
mod who;

pub use certificate::{
    CertificateIdentity, CertificateRefusal, CertificateRule, ClientIdRule, NameSource,
};
pub use hook::{
    CachedAnswer, HookAllows, HookAnswer, HookCache, HookError, HookKey, HookQuestion, WhenDown,
};
pub use passwords::{
    BadLine, NewLineError, PasswordCheck, PasswordFile, PasswordFileError, PasswordKind, line_name,
    password_line,
};
pub use scram::{ClientFirst, SCRAM_SHA_256, ScramError, ScramServer};
pub use token::{
    JwksError, TokenError, TokenIdentity, TokenRule, TokenVerifier, looks_like_a_token,
};
pub use user_name::login_of;
pub use who::{CertificateNames, Claims, Identity};
