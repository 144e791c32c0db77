//! Shadows for whoever asks by another way than MQTT: the API, the calls of devices over HTTPS, the command line.

use std::sync::Arc;

use access::{Identity, Policy};
use protocol::QoS;
use shadow::{
    Ask, Operation, OwnedKey, Record, Refusal, Rejection, ShadowKey, ShadowLimits, ThingName,
};
use store::{Reader, Space, StoreError};
use tokio::sync::oneshot;

use crate::hub::{Asker, ShadowAsk, ShadowMail, worker_of_thing};
use crate::tail::{ShadowQuestion, TailAsk, TailSender};
use crate::worker::{Mail, Mailbox};

/// Where to ask about shadows; whoever may ask is the caller's to know.
#[derive(Debug, Clone)]
pub struct Shadows {
    mailboxes: Vec<Arc<Mailbox>>,
    tail: TailSender,
    limits: ShadowLimits,
}

/// Names of shadows, and whether there are more.
pub type ShadowNames = (Vec<String>, bool);

/// Records read together.
const PAGE: usize = 256;

impl Shadows {
    /// Asks these workers, and this follower of the log.
    pub const fn new(mailboxes: Vec<Arc<Mailbox>>, tail: TailSender, limits: ShadowLimits) -> Self {
        Self { mailboxes, tail, limits }
    }

    /// What a shadow may be, for [`Ask::parse`].
    pub const fn limits(&self) -> &ShadowLimits {
        &self.limits
    }

    /// Asks; the message of `accepted` comes once it is stored. What follows is published as after any request.
    ///
    /// # Errors
    /// [`Rejection`], as it is published too.
    pub async fn ask(&self, key: OwnedKey, ask: Ask) -> Result<String, Rejection> {
        self.send(key, ask).await.unwrap_or_else(|_| Err(gone()))
    }

    /// The same, on a thread that may wait.
    ///
    /// # Errors
    /// [`Rejection`], as it is published too.
    pub fn ask_blocking(&self, key: OwnedKey, ask: Ask) -> Result<String, Rejection> {
        self.send(key, ask).blocking_recv().unwrap_or_else(|_| Err(gone()))
    }

    fn send(&self, key: OwnedKey, ask: Ask) -> oneshot::Receiver<Result<String, Rejection>> {
        let (asker, answer) = oneshot::channel();
        let worker = worker_of_thing(key.key().thing, self.mailboxes.len());
        if let Some(mailbox) = self.mailboxes.get(usize::from(worker)) {
            let asked = ShadowAsk { key, ask, asker: Asker::Caller(asker) };
            mailbox.send(Mail::Shadow(ShadowMail::Ask(Box::new(asked))));
        }
        answer
    }

    /// Up to `max` names of a thing's named shadows, in order, behind `after`.
    ///
    /// # Errors
    /// The store or the process does not answer.
    pub async fn names(
        &self,
        thing: ThingName<'_>,
        after: Option<&str>,
        max: usize,
    ) -> Result<ShadowNames, Refusal> {
        self.ask_names(thing, after, max).await.ok().flatten().ok_or(Refusal::Unavailable)
    }

    /// The same, on a thread that may wait.
    ///
    /// # Errors
    /// The store or the process does not answer.
    pub fn names_blocking(
        &self,
        thing: ThingName<'_>,
        after: Option<&str>,
        max: usize,
    ) -> Result<ShadowNames, Refusal> {
        let answer = self.ask_names(thing, after, max).blocking_recv();
        answer.ok().flatten().ok_or(Refusal::Unavailable)
    }

    fn ask_names(
        &self,
        thing: ThingName<'_>,
        after: Option<&str>,
        max: usize,
    ) -> oneshot::Receiver<Option<ShadowNames>> {
        let (asker, answer) = oneshot::channel();
        let thing = thing.as_str().into();
        let after = after.map(Into::into);
        // Without the thread the answer says so.
        let question = ShadowQuestion::Names { thing, after, max, answer: asker };
        let _ = self.tail.send(TailAsk::Shadow(question));
        answer
    }
}

/// Whether somebody may ask this of a shadow: whoever may publish the request.
///
/// # Errors
/// [`Refusal::Forbidden`].
pub fn check_rights(
    policy: &Arc<Policy>,
    who: &Arc<Identity>,
    key: ShadowKey<'_>,
    operation: Operation,
) -> Result<(), Refusal> {
    let Some(mut rights) = policy.rights_of(who) else { return Ok(()) };
    let topic = key.topic(operation, None).to_string();
    rights.publish(&topic, QoS::AtLeastOnce, false).map_err(|_| Refusal::Forbidden)
}

/// Reads the names of a thing's named shadows.
///
/// # Errors
/// [`StoreError`], by what is wrong with the store.
pub(crate) fn read_names(
    (thing, after): (&str, Option<&str>),
    max: usize,
    reader: &mut dyn Reader,
) -> Result<ShadowNames, StoreError> {
    let Ok(thing) = ThingName::new(thing) else { return Ok(ShadowNames::default()) };
    let prefix = ShadowKey::prefix(thing);
    // The classic shadow has no name, and comes first.
    let mut last = format!("{prefix}{}", after.unwrap_or_default()).into_bytes();
    let mut names = Vec::new();
    loop {
        let page = reader.scan(Space::Shadow, prefix.as_bytes(), Some(&last), PAGE)?;
        let Some((key, _)) = page.last() else { return Ok((names, false)) };
        last = key.to_vec();
        for (key, doc) in page {
            let name = ShadowKey::from_stored(&key).and_then(|key| key.shadow);
            let is_there = Record::decode(&doc.value).is_some_and(|it| it.document().is_some());
            let Some(name) = name.filter(|_| is_there) else { continue };
            if names.len() >= max {
                return Ok((names, true));
            }
            names.push(name.as_str().to_owned());
        }
    }
}

/// Nobody can say whether it was done.
const fn gone() -> Rejection {
    Refusal::Internal.without_token()
}
