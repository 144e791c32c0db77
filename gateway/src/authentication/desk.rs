//! Where workers bring clients that authenticate again: the work is done on a thread of its own, the answer is a letter.

use std::sync::Arc;

use access::{Identity, ScramServer};
use protocol::Wall;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::{NotIdentified, Porter, Shown, Step};
use crate::hub::ConnId;
use crate::worker::{Mail, Mailbox};

/// A client that authenticates again. Each connection has one on its way at most, so that they need no further limit.
pub struct AuthenticationAsk {
    /// Which connection.
    pub conn: ConnId,
    /// Whose worker waits for the answer.
    pub worker: u8,
    /// The method of its CONNECT.
    pub method: Arc<str>,
    /// What it sent.
    pub data: Option<Vec<u8>>,
    /// What the last step left.
    pub exchange: Option<Box<ScramServer>>,
    /// Who it is so far.
    pub identity: Arc<Identity>,
}

/// A token is not for logs.
impl std::fmt::Debug for AuthenticationAsk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AuthenticationAsk")
            .field("conn", &self.conn)
            .field("method", &self.method)
            .finish_non_exhaustive()
    }
}

/// What came of it.
#[derive(Debug)]
pub enum Verdict {
    /// The client's turn: AUTH 0x18 with this.
    Continue(Box<ScramServer>, Vec<u8>),
    /// AUTH 0x00: it is who it was, with these rights and until then.
    Accepted {
        /// Who it is from now on; client id and user are as before.
        identity: Arc<Identity>,
        /// When it must have authenticated again.
        expires: Option<Wall>,
        /// The last word of the method.
        data: Option<Vec<u8>>,
    },
    /// It is not.
    Refused(NotIdentified),
}

/// Where workers bring what is to be decided.
#[derive(Debug, Clone)]
pub struct Desk(UnboundedSender<AuthenticationAsk>);

impl Desk {
    /// A desk, and what is brought there.
    pub fn new() -> (Self, UnboundedReceiver<AuthenticationAsk>) {
        let (sender, receiver) = unbounded_channel();
        (Self(sender), receiver)
    }

    /// Brings something.
    pub fn bring(&self, ask: AuthenticationAsk) {
        // At the end of the process nobody waits for an answer any more.
        let _ = self.0.send(ask);
    }
}

/// Decides what is brought, each in a task of its own.
pub(crate) async fn attend(
    mut asks: UnboundedReceiver<AuthenticationAsk>,
    porter: Arc<Porter>,
    mailboxes: Vec<Arc<Mailbox>>,
) {
    while let Some(ask) = asks.recv().await {
        let Some(mailbox) = mailboxes.get(usize::from(ask.worker)).cloned() else { continue };
        let porter = Arc::clone(&porter);
        tokio::spawn(async move {
            let conn = ask.conn;
            let verdict = decide(ask, &porter).await.unwrap_or_else(Verdict::Refused);
            mailbox.send(Mail::Authenticated(conn, Box::new(verdict)));
        });
    }
}

async fn decide(ask: AuthenticationAsk, porter: &Porter) -> Result<Verdict, NotIdentified> {
    let AuthenticationAsk { method, data, exchange, identity, .. } = ask;
    let shown = Shown {
        client_id: identity.client.as_str(),
        login: None,
        password: None,
        certificate: identity.certificate.as_deref(),
        address: identity.address,
    };
    match porter.step((&method, exchange), data.as_deref(), &shown).await? {
        Step::Continue(exchange, data) => Ok(Verdict::Continue(exchange, data)),
        Step::Done(identified, data) => {
            // A session does not change hands.
            let same_client = identified.client.as_deref().is_none_or(|it| it == shown.client_id);
            let certificate = identity.certificate.clone();
            let fresh = identified.identity(identity.client.clone(), certificate, identity.address);
            if !same_client || fresh.holder() != identity.holder() {
                porter.note_refused(&shown, &NotIdentified::SomebodyElse);
                return Err(NotIdentified::SomebodyElse);
            }
            Ok(Verdict::Accepted { identity: Arc::new(fresh), expires: identified.expires, data })
        }
    }
}
