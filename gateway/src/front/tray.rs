//! Connections that one of the front's threads has let in, on their way to the workers.
//!
//! A letter may wake a worker, and where processors are short that takes the processor from the front, each time. So who is let in
//! waits until the thread has heard all who are ready, and goes with the others.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;

use crate::tail::worker_of;
use crate::worker::{Accepted, Mail, Mailbox};

/// Where one of the front's threads puts who was let in. It holds as many as become ready at a time, at most as many as may be on
/// their way in.
#[derive(Debug)]
pub struct Tray {
    mailboxes: Vec<Arc<Mailbox>>,
    /// By worker.
    letters: Mutex<Vec<Vec<Mail>>>,
    filled: Notify,
}

impl Tray {
    /// An empty one.
    pub(super) fn new(mailboxes: Vec<Arc<Mailbox>>) -> Self {
        let letters = mailboxes.iter().map(|_| Vec::new()).collect();
        Self { mailboxes, letters: Mutex::new(letters), filled: Notify::new() }
    }

    /// A connection is for the worker of its client.
    pub(super) fn put(&self, accepted: Accepted) {
        let worker = worker_of(&accepted.request.client, self.mailboxes.len());
        let mut letters = self.letters.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(letters) = letters.get_mut(usize::from(worker)) {
            letters.push(Mail::Accepted(Box::new(accepted)));
        }
        self.filled.notify_one();
    }

    /// Gives the workers what there is, again and again. A task of the thread: it has its turn behind those that were ready when
    /// the first letter was put here.
    pub async fn carry(&self) {
        loop {
            self.filled.notified().await;
            let mut letters = self.letters.lock().unwrap_or_else(PoisonError::into_inner);
            for (letters, mailbox) in letters.iter_mut().zip(&self.mailboxes) {
                // No letter of these is dropped.
                mailbox.send_all(letters);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;
    use std::time::Instant;

    use protocol::mqtt::codec;

    use super::*;
    use crate::config::Written;
    use crate::front::Places;
    use crate::hub::ConnectRequest;
    use crate::transport::{DetachedStream, Layer, Remote};

    /// Somebody who was let in.
    fn accepted(places: &Arc<Places>) -> Accepted {
        let packet = b"\x10\x0d\x00\x04MQTT\x04\x02\x00\x3c\x00\x01c";
        let connect = codec::decode_connect(packet).unwrap();
        let (place, _) = places.take(&mut places.greet().unwrap(), 0, None, Instant::now());
        Accepted {
            socket: DetachedStream::Unix(UnixStream::pair().unwrap().0),
            layer: Layer::Plain,
            rest: Vec::new(),
            owed: Vec::new(),
            request: ConnectRequest::of(&connect, "", 0).unwrap(),
            remote: Remote::Unix,
            certificate: None,
            place,
            since: Instant::now(),
        }
    }

    #[tokio::test]
    async fn who_is_let_in_waits_for_all_who_are_ready_and_goes_with_them() {
        let mailbox = Arc::new(Mailbox::new(1));
        let tray = Arc::new(Tray::new(vec![Arc::clone(&mailbox)]));
        let places = Arc::new(Places::new(Written::default().limits, &[9], Arc::default()));
        let carrying = Arc::clone(&tray);
        tokio::spawn(async move { carrying.carry().await });
        let ready: Vec<_> = (0..3)
            .map(|_| {
                let (mailbox, tray) = (Arc::clone(&mailbox), Arc::clone(&tray));
                let places = Arc::clone(&places);
                tokio::spawn(async move {
                    let mut before = Vec::new();
                    mailbox.take_awake(&mut before);
                    tray.put(accepted(&places));
                    before.len()
                })
            })
            .collect();
        for ready in ready {
            assert_eq!(ready.await.unwrap(), 0, "a letter went before all were heard");
        }
        let mut letters = Vec::new();
        while letters.is_empty() {
            tokio::task::yield_now().await;
            mailbox.take_awake(&mut letters);
        }
        assert_eq!(letters.len(), 3);
    }
}
