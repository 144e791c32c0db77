//! A client that authenticates again while it is connected, and the end of one that should have.
//!
//! ```text
//!  Idle ── AUTH 0x19 ──► Deciding ── accepted, AUTH 0x00 ──► Idle
//!                         │    ▲
//!       continue, AUTH 0x18    │ AUTH 0x18
//!                         ▼    │
//!                        ClientsTurn
//! ```
//!
//! Everything else that the client sends meanwhile is handled as ever: it is who it was until another word is in.

use std::sync::Arc;

use access::ScramServer;
use protocol::mqtt::codec;
use protocol::mqtt::{Auth, ReasonCode};
use protocol::{Now, Violation, Wall};

use crate::authentication::{AuthenticationAsk, Verdict};
use crate::hub::{Ask, Close, ConnId, Hub, Outlet, Turn};

/// How a client authenticated, where that has an end or may be done again.
#[derive(Debug, Clone)]
pub struct Authenticated {
    /// The method of enhanced authentication, if it was used.
    pub method: Option<Arc<str>>,
    /// The method's last word, for CONNACK.
    pub data: Option<Vec<u8>>,
    /// When the client must have authenticated again; then its connection ends.
    pub expires: Option<Wall>,
    /// What it is told then.
    pub expired: ReasonCode,
}

/// The same, while the client is connected.
#[derive(Debug)]
pub(in crate::hub) struct Credentials {
    method: Option<Arc<str>>,
    expires: Option<Wall>,
    pub(in crate::hub) expired: ReasonCode,
    stage: Stage,
    /// Messages from the client in this exchange.
    rounds: u8,
}

#[derive(Debug)]
enum Stage {
    Idle,
    Deciding,
    ClientsTurn(Box<ScramServer>),
}

/// Messages that one exchange may take from a client; SCRAM needs two.
const MAX_ROUNDS: u8 = 8;

impl Credentials {
    pub(in crate::hub) fn new(authenticated: &Authenticated) -> Self {
        Self {
            method: authenticated.method.clone(),
            expires: authenticated.expires,
            expired: authenticated.expired,
            stage: Stage::Idle,
            rounds: 0,
        }
    }

    /// Whether the client should have authenticated again by now.
    pub(in crate::hub) fn is_over(&self, now: Now) -> bool {
        self.expires.is_some_and(|at| at <= now.wall)
    }
}

impl Hub {
    /// AUTH from an attached client.
    pub(in crate::hub) fn handle_auth(
        &mut self,
        conn: ConnId,
        auth: &Auth<'_>,
        out: &mut dyn Outlet,
    ) -> Result<(), Violation> {
        let worker = self.config.worker;
        let found = self.connection_mut(conn).and_then(|connection| {
            let identity = connection.identity();
            let credentials = connection.credentials.as_deref_mut()?;
            let method = credentials.method.clone()?;
            Some((credentials, method, identity))
        });
        let Some((credentials, method, identity)) = found else {
            let what = "auth without an authentication method in connect";
            return Err(Violation::protocol("MQTT5-4.12.0-7", what));
        };
        if auth.method != Some(&*method) {
            let reason = ReasonCode::BadAuthenticationMethod;
            return Err(Violation::with(
                reason,
                "MQTT5-4.12.1-1",
                "another method than in connect",
            ));
        }
        let exchange = match (auth.reason, std::mem::replace(&mut credentials.stage, Stage::Idle)) {
            (ReasonCode::ReAuthenticate, Stage::Idle) => {
                credentials.rounds = 0;
                None
            }
            (ReasonCode::ContinueAuthentication, Stage::ClientsTurn(exchange)) => Some(exchange),
            _ => {
                let what = "auth that is not the client's turn";
                return Err(Violation::protocol("MQTT5-4.12.0-3", what));
            }
        };
        credentials.rounds += 1;
        if credentials.rounds > MAX_ROUNDS {
            let reason = ReasonCode::NotAuthorized;
            return Err(Violation::with(reason, "MQTT5-4.12.0-4", "too many rounds of auth"));
        }
        credentials.stage = Stage::Deciding;
        let data = auth.data.map(<[u8]>::to_vec);
        let ask = AuthenticationAsk { conn, worker, method, data, exchange, identity };
        out.ask(Ask::Authenticate(Box::new(ask)));
        Ok(())
    }

    /// What came of it.
    pub fn handle_authenticated(&mut self, conn: ConnId, verdict: Verdict, cx: &mut Turn<'_>) {
        // The client may have gone meanwhile.
        let attached = self.is_attached(conn);
        let Some(connection) = self.connection_mut(conn).filter(|_| attached) else { return };
        let voice = connection.voice();
        let Some(credentials) = connection.credentials.as_deref_mut() else { return };
        let Some(method) = credentials.method.clone() else { return };
        let (reason, data, fresh) = match verdict {
            Verdict::Continue(exchange, data) => {
                credentials.stage = Stage::ClientsTurn(exchange);
                (ReasonCode::ContinueAuthentication, Some(data), None)
            }
            Verdict::Accepted { identity, expires, data } => {
                credentials.stage = Stage::Idle;
                credentials.expires = expires;
                (ReasonCode::Success, data, Some(identity))
            }
            Verdict::Refused(why) => {
                // [MQTT5-4.12.1-2]
                tracing::debug!("a client could not authenticate again: {why}");
                return self.lose_connection(conn, Close::Reason(why.disconnect_reason()), cx);
            }
        };
        if let Some(outbox) = cx.out.outbox(conn) {
            let (method, data) = (Some(&*method), data.as_deref());
            let auth = Auth { reason, method, data, reason_string: None };
            voice.say(outbox, None, |outbox, _| codec::auth(outbox, &auth));
            self.count_sent();
        }
        if let Some(identity) = fresh {
            // Its rights may be others now.
            self.set_identity(conn, identity, cx);
        }
    }
}
