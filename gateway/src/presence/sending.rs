//! How a client is sent away, whichever gateway serves it: by an order that stands in the store until its gateway carries it out.

use std::time::{Duration, Instant};

use bytes::Bytes;
use protocol::session::SessionRecord;
use protocol::{ClientId, SessionNo, Wall};
use store::{Doc, Expect, Put, Space};

use super::control::{SendAwayRequest, SentAway};
use super::documents::{SendAway, delete_order, put_order, session_key};
use crate::control::ControlError;

/// How long a gateway may take to end a connection.
const SENDING_PATIENCE: Duration = Duration::from_secs(5);
/// Between two looks whether it has.
const LOOK_AGAIN: Duration = Duration::from_millis(20);
/// Lost races after which an operator is told to try again.
const MAX_TRIES: usize = 16;

/// What it is read from and written to.
pub(super) trait Papers {
    /// A client's session as it stands.
    fn session(&self, client: &ClientId) -> Result<Option<(SessionRecord, Doc)>, ControlError>;

    /// A document.
    fn get(&self, space: Space, key: &[u8]) -> Result<Option<Doc>, ControlError>;

    /// Writes all or nothing; false if something is not as it is expected.
    fn write(&self, puts: Vec<Put>) -> Result<bool, ControlError>;

    /// The time.
    fn wall(&self) -> Wall;
}

/// Ends the connection of a client, and with it what else is wanted: its session, its will. What is wanted of a session that its
/// connection left meanwhile in another way is done afterwards.
pub(super) fn send_away(
    papers: &dyn Papers,
    client: &ClientId,
    how: SendAwayRequest,
) -> Result<SentAway, ControlError> {
    let nobody = || ControlError::Missing("no such client is connected".into());
    let (mut meant, mut gateway) = (None, None);
    for _ in 0..MAX_TRIES {
        let session = papers.session(client)?;
        let session = session.filter(|(it, _)| meant.is_none_or(|of| is_of(it, of)));
        let sent = |gateway| Ok(SentAway { client_id: client.as_str().to_owned(), gateway });
        let Some((record, doc)) = session else {
            // A session that is over leaves nothing to be done.
            return if meant.is_some() { sent(gateway) } else { Err(nobody()) };
        };
        if let Some(owner) = &record.owner {
            let SendAwayRequest { clean_session: end_session, prevent_will } = how;
            gateway = Some(owner.gateway.gateway().as_str().to_owned());
            let is_done =
                order(papers, client, SendAway { epoch: record.epoch, end_session, prevent_will })?;
            meant = meant.or(Some((record.no, record.epoch)));
            if !end_session && (is_done || !prevent_will) {
                return sent(gateway);
            }
            // Looked at again: another order may have been in the place of this one.
        } else if meant.is_none() && !how.clean_session {
            return Err(nobody());
        } else if finish(papers, client, (record, doc), how)? {
            return sent(gateway);
        }
    }
    Err(ControlError::Unavailable("others change it at the same time; try again".into()))
}

/// Whether a record is of the session that had this number, in this ownership.
fn is_of(record: &SessionRecord, (no, epoch): (SessionNo, protocol::SessionEpoch)) -> bool {
    record.epoch == epoch || (record.no == no && no.0 != 0)
}

/// Tells the gateway that serves a client, through the log, and waits until that ownership has ended. Answers whether it was ended by
/// the order, and not in another way.
fn order(papers: &dyn Papers, client: &ClientId, order: SendAway) -> Result<bool, ControlError> {
    papers.write(vec![put_order(client, order)])?;
    let ended = await_end(papers, client, order);
    // Whatever came of it, nobody is to carry it out later.
    let is_done = !take_back(papers, client, order)?;
    if is_done || ended? {
        return Ok(is_done);
    }
    Err(ControlError::Unavailable("its gateway has not ended the connection in time".into()))
}

fn await_end(papers: &dyn Papers, client: &ClientId, of: SendAway) -> Result<bool, ControlError> {
    let until = Instant::now() + SENDING_PATIENCE;
    loop {
        let session = papers.session(client)?;
        if session.is_none_or(|(record, _)| record.epoch != of.epoch || record.owner.is_none()) {
            return Ok(true);
        }
        if Instant::now() >= until {
            return Ok(false);
        }
        // This is a thread that may wait, and no notice tells when it is done.
        std::thread::sleep(LOOK_AGAIN);
    }
}

/// Takes an order back; whether it stood there still.
fn take_back(papers: &dyn Papers, client: &ClientId, of: SendAway) -> Result<bool, ControlError> {
    let put = put_order(client, of);
    loop {
        let stands = papers.get(put.space, &put.key)?;
        let Some(doc) = stands.filter(|doc| put.value.as_ref() == Some(&doc.value)) else {
            return Ok(false);
        };
        let gone = Put { expect: Expect::Rev(doc.rev), ..delete_order(client) };
        if papers.write(vec![gone])? {
            return Ok(true);
        }
    }
}

/// Does what is wanted of the session of a client that is away: it has expired from now on and its will is due now, or its will is
/// forgotten. False if somebody was quicker: its client may be there now.
fn finish(
    papers: &dyn Papers,
    client: &ClientId,
    (mut record, doc): (SessionRecord, Doc),
    how: SendAwayRequest,
) -> Result<bool, ControlError> {
    let now = papers.wall();
    let key = session_key(client);
    let mut puts = Vec::new();
    if record.will.is_some() {
        let due = if how.prevent_will {
            record.will = None;
            None
        } else {
            let mut due = now.0.to_be_bytes().to_vec();
            due.extend_from_slice(&record.epoch.0.to_be_bytes());
            Some(Bytes::from(due))
        };
        let (space, key) = (Space::Will, key.clone());
        puts.push(Put { space, key, value: due, expect: Expect::Any, announce: false });
    } else if !how.clean_session {
        return Ok(true);
    }
    if how.clean_session {
        record.expiry_s = 0;
        record.detached_at = Some(now);
    }
    puts.push(Put {
        space: Space::Session,
        key,
        value: Some(record.encode()),
        expect: Expect::Rev(doc.rev),
        announce: record.no.0 != 0,
    });
    papers.write(puts)
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use protocol::session::{Owner, StoredWill};
    use protocol::{GatewayId, Incarnation, Publication, QoS, SessionEpoch};
    use store::{MemoryStore, Outcome, Reader, Store as _, Write, Writer};

    use super::*;
    use crate::presence::order_of;

    const CLEAN: SendAwayRequest = SendAwayRequest { clean_session: true, prevent_will: false };
    const QUIET: SendAwayRequest = SendAwayRequest { clean_session: false, prevent_will: true };
    const PLAIN: SendAwayRequest = SendAwayRequest { clean_session: false, prevent_will: false };

    /// What happens while an order waits.
    #[derive(Debug, Clone, Copy)]
    enum Meanwhile {
        /// It is carried out.
        Done,
        /// Its client goes by itself.
        Leaves,
        /// Its client connects anew.
        ComesBack,
        /// Its client begins a new session.
        BeginsAnew,
    }

    #[derive(Debug)]
    struct Desk {
        writer: RefCell<Box<dyn Writer>>,
        reader: RefCell<Box<dyn Reader>>,
        steps: RefCell<Vec<Meanwhile>>,
        orders: RefCell<Vec<SendAway>>,
    }

    fn client() -> ClientId {
        ClientId::new("a").unwrap()
    }

    fn served(no: u32, epoch: u64) -> SessionRecord {
        let mut record = SessionRecord::new(SessionNo(no), SessionEpoch(epoch), 100);
        let gateway = GatewayId::new("gw-1").unwrap();
        record.owner = Some(Owner { gateway, incarnation: Incarnation(1) });
        let publication = Publication::new("will", &[], b"gone", QoS::AtLeastOnce, false);
        record.will = Some(StoredWill { publication, delay_s: 50, expiry_s: None });
        record
    }

    impl Desk {
        fn new(no: u32, mut steps: Vec<Meanwhile>) -> Self {
            let store = MemoryStore::new();
            steps.reverse();
            let desk = Self {
                writer: RefCell::new(store.writer().unwrap()),
                reader: RefCell::new(store.reader().unwrap()),
                steps: RefCell::new(steps),
                orders: RefCell::default(),
            };
            desk.put_session(Some(&served(no, 1)));
            desk
        }

        fn put_session(&self, record: Option<&SessionRecord>) {
            let value = record.map(SessionRecord::encode);
            let (space, key, expect) = (Space::Session, session_key(&client()), Expect::Any);
            assert!(self.commit(vec![Put { space, key, value, expect, announce: true }]));
        }

        fn commit(&self, puts: Vec<Put>) -> bool {
            let write = Write { puts: puts.into(), ..Write::default() };
            let commit = self.writer.borrow_mut().commit(&[write]).unwrap();
            matches!(commit.outcomes[0], Outcome::Done { .. })
        }

        fn stored(&self) -> Option<(SessionRecord, Doc)> {
            let doc = self.reader.borrow_mut().get(Space::Session, &session_key(&client()));
            let doc = doc.unwrap()?;
            Some((SessionRecord::decode(&doc.value).unwrap(), doc))
        }

        fn order_stands(&self) -> Option<SendAway> {
            let any = SendAway { epoch: SessionEpoch(0), end_session: false, prevent_will: false };
            let key = put_order(&client(), any).key;
            let doc = self.reader.borrow_mut().get(Space::Presence, &key).unwrap()?;
            order_of(&key, &doc.value).map(|(_, order)| order)
        }

        fn do_meanwhile(&self, order: SendAway) {
            let Some(step) = self.steps.borrow_mut().pop() else { return };
            self.orders.borrow_mut().push(order);
            let (mut record, _) = self.stored().unwrap();
            match step {
                Meanwhile::Done | Meanwhile::Leaves => {
                    let is_done = matches!(step, Meanwhile::Done);
                    record.owner = None;
                    if is_done {
                        assert!(self.commit(vec![delete_order(&client())]));
                    }
                    let ends = is_done && order.end_session;
                    if is_done && order.prevent_will {
                        record.will = None;
                    }
                    self.put_session(Some(&record).filter(|_| !ends));
                }
                Meanwhile::ComesBack => {
                    self.put_session(Some(&served(record.no.0, record.epoch.0 + 1)));
                }
                Meanwhile::BeginsAnew => {
                    self.put_session(Some(&served(record.no.0 + 1, record.epoch.0 + 1)));
                }
            }
        }

        fn send_away(&self, how: SendAwayRequest) -> Option<Option<String>> {
            let sent = send_away(self, &client(), how).ok();
            assert_eq!(self.order_stands(), None, "it is nobody's any more");
            assert!(self.steps.borrow().is_empty());
            sent.map(|it| it.gateway)
        }
    }

    impl Papers for Desk {
        fn session(&self, _: &ClientId) -> Result<Option<(SessionRecord, Doc)>, ControlError> {
            if let Some(order) = self.order_stands() {
                self.do_meanwhile(order);
            }
            Ok(self.stored())
        }

        fn get(&self, space: Space, key: &[u8]) -> Result<Option<Doc>, ControlError> {
            Ok(self.reader.borrow_mut().get(space, key).unwrap())
        }

        fn write(&self, puts: Vec<Put>) -> Result<bool, ControlError> {
            Ok(self.commit(puts))
        }

        fn wall(&self) -> Wall {
            Wall(7)
        }
    }

    #[test]
    fn an_order_that_is_carried_out_is_one_order() {
        for how in [PLAIN, CLEAN, QUIET] {
            let desk = Desk::new(5, vec![Meanwhile::Done]);
            assert_eq!(desk.send_away(how), Some(Some("gw-1".into())));
            let left = desk.stored().map(|(record, _)| record.will.is_some());
            assert_eq!(left, (!how.clean_session).then_some(!how.prevent_will));
        }
    }

    #[test]
    fn what_is_wanted_of_a_session_whose_client_left_by_itself_is_done_all_the_same() {
        let desk = Desk::new(5, vec![Meanwhile::Leaves]);
        assert_eq!(desk.send_away(CLEAN), Some(Some("gw-1".into())));
        let (record, _) = desk.stored().unwrap();
        assert_eq!((record.expiry_s, record.detached_at), (0, Some(Wall(7))));
        assert!(desk.get(Space::Will, &session_key(&client())).unwrap().is_some(), "it is due");
        let desk = Desk::new(5, vec![Meanwhile::Leaves]);
        assert_eq!(desk.send_away(QUIET), Some(Some("gw-1".into())));
        let (record, _) = desk.stored().unwrap();
        assert_eq!((record.expiry_s, record.will), (100, None));
        let desk = Desk::new(5, vec![Meanwhile::Leaves]);
        assert_eq!(desk.send_away(PLAIN), Some(Some("gw-1".into())));
        assert!(desk.stored().unwrap().0.will.is_some());
    }

    #[test]
    fn a_client_that_came_back_to_the_session_that_is_to_end_is_sent_away_again() {
        for how in [CLEAN, QUIET] {
            let desk = Desk::new(5, vec![Meanwhile::ComesBack, Meanwhile::Done]);
            assert_eq!(desk.send_away(how), Some(Some("gw-1".into())));
            let epochs: Vec<_> = desk.orders.borrow().iter().map(|it| it.epoch.0).collect();
            assert_eq!(epochs, [1, 2]);
            assert_eq!(desk.stored().is_none(), how.clean_session);
        }
        let desk = Desk::new(5, vec![Meanwhile::ComesBack]);
        assert_eq!(desk.send_away(PLAIN), Some(Some("gw-1".into())), "that connection is over");
        assert!(desk.stored().unwrap().0.owner.is_some());
    }

    #[test]
    fn a_session_that_begins_anew_is_another_one() {
        for no in [0, 5] {
            let desk = Desk::new(
                no,
                vec![if no == 0 { Meanwhile::ComesBack } else { Meanwhile::BeginsAnew }],
            );
            assert_eq!(desk.send_away(CLEAN), Some(Some("gw-1".into())));
            assert!(desk.stored().unwrap().0.owner.is_some());
        }
    }

    #[test]
    fn of_who_is_away_only_the_session_can_end() {
        let away = || {
            let desk = Desk::new(5, vec![]);
            let (mut record, _) = desk.stored().unwrap();
            record.owner = None;
            desk.put_session(Some(&record));
            desk
        };
        assert_eq!(away().send_away(PLAIN), None);
        assert_eq!(away().send_away(QUIET), None);
        let desk = away();
        assert_eq!(desk.send_away(CLEAN), Some(None));
        assert_eq!(desk.stored().unwrap().0.expiry_s, 0);
    }
}
