//! What a client shows, and what comes of it.

use std::net::IpAddr;
use std::sync::Arc;

use access::{
    CertificateNames, CertificateRefusal, Claims, HookAllows, Identity, ScramError, ScramServer,
    TokenError, TokenIdentity,
};
use protocol::mqtt::ReasonCode;
use protocol::{ClientId, Wall};

/// What a client shows to be let in.
#[derive(Clone, Copy)]
pub struct Shown<'a> {
    /// The client id that it asks for; empty if it leaves that to us.
    pub client_id: &'a str,
    /// The login in its user name.
    pub login: Option<&'a str>,
    /// Its password, or a token in its place.
    pub password: Option<&'a [u8]>,
    /// Its certificate, which was verified.
    pub certificate: Option<&'a CertificateNames>,
    /// Where it comes from.
    pub address: Option<IpAddr>,
}

/// A password is not for logs.
impl std::fmt::Debug for Shown<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shown").field("client_id", &self.client_id).finish_non_exhaustive()
    }
}

/// Who a client is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Identified {
    /// The client id that it must have; none: the one it asks for.
    pub client: Option<String>,
    /// The user.
    pub user: Option<Arc<str>>,
    /// Whether its certificate named the user, and nothing else did.
    pub user_by_certificate: bool,
    /// The rights that it carries.
    pub claims: Option<Arc<Claims>>,
    /// The class that the hook put it into.
    pub class: Option<Arc<str>>,
    /// When it must have authenticated again.
    pub expires: Option<Wall>,
}

impl Identified {
    /// The identity of a client with this id.
    pub fn identity(
        &self,
        client: ClientId,
        certificate: Option<Arc<CertificateNames>>,
        address: Option<IpAddr>,
    ) -> Identity {
        Identity {
            user: self.user.clone(),
            user_by_certificate: self.user_by_certificate,
            certificate,
            address,
            claims: self.claims.clone(),
            class: self.class.clone(),
            ..Identity::anonymous(client)
        }
    }

    /// Something else than the certificate says who it is.
    pub(super) fn set_user(&mut self, user: Arc<str>) {
        self.user = Some(user);
        self.user_by_certificate = false;
    }

    pub(super) fn add_token(&mut self, token: TokenIdentity) {
        self.client = token.client.or_else(|| self.client.take());
        if let Some(user) = token.user {
            self.set_user(user);
        }
        self.claims = token.claims;
        self.expires = Some(token.expires);
    }

    /// What the hook says. `login` is the one whose password it was asked about, if it was.
    pub(super) fn add_hook(&mut self, allows: HookAllows, login: Option<&str>) {
        if let Some(user) = allows.user.or_else(|| login.map(Arc::from)) {
            self.set_user(user);
        }
        self.class = allows.class;
        self.claims = allows.claims.or_else(|| self.claims.take());
        self.expires = match (self.expires, allows.expires) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        };
    }
}

/// What one message of enhanced authentication leads to.
#[derive(Debug)]
pub enum Step {
    /// The client's turn: AUTH with this.
    Continue(Box<ScramServer>, Vec<u8>),
    /// It is done; the last word for the client, if the method has one.
    Done(Identified, Option<Vec<u8>>),
}

/// Why a client is not let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotIdentified {
    /// Its certificate does not let it in: its fault, or the rule's.
    #[error(transparent)]
    Certificate(#[from] CertificateRefusal),
    /// Its token does not: its fault, or the rule's.
    #[error("the token is refused: {0}")]
    Token(#[from] TokenError),
    /// Unknown user or wrong password: its fault.
    #[error("the user name or the password is wrong")]
    Password,
    /// The exchange failed: its fault.
    #[error("enhanced authentication failed: {0}")]
    Scram(#[from] ScramError),
    /// The hook says no.
    #[error("the hook refuses it")]
    Hook,
    /// The hook cannot be asked: the operator's to mend.
    #[error("the hook is down")]
    HookDown,
    /// Too many are being checked: the load's.
    #[error("too many logins are being checked")]
    Busy,
    /// It shows nothing, and that is not enough here: its fault.
    #[error("it shows nothing by which it could be known")]
    Nothing,
    /// The method is not offered: its fault.
    #[error("the authentication method is not offered")]
    Method,
    /// It asks for a client id that is not its own: its fault.
    #[error("the client id is not the one it may use")]
    ClientId,
    /// It authenticates again as somebody else: its fault.
    #[error("it authenticated again as somebody else")]
    SomebodyElse,
    /// More messages than an exchange needs: its fault.
    #[error("the exchange has too many rounds")]
    Rounds,
}

impl NotIdentified {
    /// Whether somebody who guesses would see it.
    pub const fn is_wrong_credentials(self) -> bool {
        match self {
            Self::Token(_) | Self::Password | Self::Scram(_) | Self::Hook => true,
            Self::Certificate(_)
            | Self::HookDown
            | Self::Busy
            | Self::Nothing
            | Self::Method
            | Self::ClientId
            | Self::SomebodyElse
            | Self::Rounds => false,
        }
    }

    /// What the client is told.
    pub const fn reason(self) -> ReasonCode {
        match self {
            Self::Certificate(CertificateRefusal::OtherClientId) | Self::ClientId => {
                ReasonCode::ClientIdentifierNotValid
            }
            Self::Certificate(_)
            | Self::Scram(_)
            | Self::Hook
            | Self::Nothing
            | Self::SomebodyElse
            | Self::Rounds => ReasonCode::NotAuthorized,
            Self::Token(_) | Self::Password => ReasonCode::BadUserNameOrPassword,
            Self::HookDown => ReasonCode::ServerUnavailable,
            Self::Busy => ReasonCode::ServerBusy,
            Self::Method => ReasonCode::BadAuthenticationMethod,
        }
    }

    /// The same for a client that has a session, by DISCONNECT, which has fewer reasons `[MQTT5-3.14.2-1]`.
    pub const fn disconnect_reason(self) -> ReasonCode {
        match self {
            Self::Busy => ReasonCode::ServerBusy,
            Self::Certificate(_)
            | Self::Token(_)
            | Self::Password
            | Self::Scram(_)
            | Self::Hook
            | Self::HookDown
            | Self::Nothing
            | Self::Method
            | Self::ClientId
            | Self::SomebodyElse
            | Self::Rounds => ReasonCode::NotAuthorized,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(login: Option<&str>, says: Option<&str>) -> Option<String> {
        let mut known = Identified { user: Some("cn".into()), ..Identified::default() };
        known.user_by_certificate = true;
        let user = says.map(Arc::from);
        known.add_hook(HookAllows { user, ..HookAllows::default() }, login);
        assert_eq!(known.user_by_certificate, login.is_none() && says.is_none());
        known.user.map(|user| user.to_string())
    }

    #[test]
    fn the_hook_makes_a_user_by_saying_so_or_by_taking_its_password() {
        assert_eq!(after(None, None).as_deref(), Some("cn"), "who was established before");
        assert_eq!(after(Some("anna"), None).as_deref(), Some("anna"));
        assert_eq!(after(Some("anna"), Some("mia")).as_deref(), Some("mia"));
    }
}
