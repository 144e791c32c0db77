//! What workers ask about clients that connect: all that was asked meanwhile is read together.

use bytes::Bytes;
use protocol::ClientId;
use protocol::session::SessionRecord;
use store::{Doc, Reader, Space, StoreError};

use super::follower::{Follower, Letters};
use crate::presence::{record_key, session_key};
use crate::worker::{Mail, PresenceMail};

/// Asks about clients that wait to be answered.
#[derive(Debug, Default)]
pub(super) struct Looks(Vec<Look>);

#[derive(Debug)]
struct Look {
    worker: u8,
    client: ClientId,
    what: What,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum What {
    /// The session document.
    Session,
    /// The record of its presence, and whether it is a thing that is known.
    Presence,
}

impl Looks {
    /// A worker wants a client's session document.
    pub(super) fn add_session(&mut self, worker: u8, client: ClientId) {
        self.0.push(Look { worker, client, what: What::Session });
    }

    /// A worker wants the record of a client's presence.
    pub(super) fn add_presence(&mut self, worker: u8, client: ClientId) {
        self.0.push(Look { worker, client, what: What::Presence });
    }

    /// Answers all of them, in the order in which they were asked; `batches` are the letters to each worker.
    ///
    /// # Errors
    /// [`StoreError`], by what is wrong with the store; who asked is told that it cannot be read.
    pub(super) fn answer(
        &mut self,
        follower: &mut Follower,
        reader: &mut dyn Reader,
        letters: &mut Letters,
        batches: &mut [Vec<Mail>],
    ) -> Result<(), StoreError> {
        if self.0.is_empty() {
            return Ok(());
        }
        let keys: Vec<_> = self.0.iter().flat_map(Look::keys).collect();
        let mut result = Ok(());
        let mut docs = reader.get_all(&keys).map(Vec::into_iter);
        for look in self.0.drain(..) {
            let Some(batch) = batches.get_mut(usize::from(look.worker)) else { continue };
            let answered = match &mut docs {
                Err(_) => Err(None),
                Ok(docs) => look.answer(docs, follower, (reader, letters), batch).map_err(Some),
            };
            if let Err(error) = answered {
                batch.push(Mail::Unreadable(look.client));
                result = error.map_or(result, Err);
            }
        }
        docs.and(result)
    }
}

impl Look {
    fn keys(&self) -> impl Iterator<Item = (Space, Bytes)> + use<> {
        let key = session_key(&self.client);
        let (first, second) = match self.what {
            What::Session => ((Space::Session, key), None),
            What::Presence => {
                let record = (Space::Presence, record_key(self.client.as_str()));
                (record, Some((Space::Thing, key)))
            }
        };
        std::iter::once(first).chain(second)
    }

    fn answer(
        &self,
        docs: &mut impl Iterator<Item = Option<Doc>>,
        follower: &mut Follower,
        (reader, letters): (&mut dyn Reader, &mut Letters),
        batch: &mut Vec<Mail>,
    ) -> Result<(), StoreError> {
        let client = self.client.clone();
        let doc = docs.next().flatten();
        match self.what {
            What::Presence => {
                let is_thing = docs.next().flatten().is_some();
                batch.push(Mail::Presence(PresenceMail::Read(client, doc, is_thing)));
            }
            What::Session if !is_shown(doc.as_ref()) => batch.push(Mail::Record(client, doc)),
            What::Session => {
                let (doc, whole) = follower.look_up(&client, reader, letters)?;
                batch.extend(whole.map(|whole| Mail::Whole(client.clone(), whole)));
                batch.push(Mail::Record(client, doc));
            }
        }
        Ok(())
    }
}

/// Whether a session may go back: then it must be known what of its queue is still there.
fn is_shown(doc: Option<&Doc>) -> bool {
    doc.is_some_and(|doc| SessionRecord::is_shown(&doc.value))
}
