//! Whoever writes a store of their own can put it to the test from outside, with all that every backend must do.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use protocol::{LogSeq, Position, Publication};
use store::contract_suite::{Backend, Kept, Trouble, run};
use store::{
    Commit, Doc, Entry, MemoryStore, Reader, Space, Store, StoreError, Tidied, Unavailable, Write,
    Writer,
};

/// A store behind a line that loses questions and answers, as one that is reached over a network is. It knows commits by
/// the number of the call, and answers a call it has seen from what it remembers.
#[derive(Debug, Clone)]
struct Distant {
    server: Arc<Mutex<Server>>,
    line: Arc<Mutex<Option<Trouble>>>,
}

#[derive(Debug)]
struct Server {
    store: MemoryStore,
    calls: u64,
    answers: Vec<(u64, Commit)>,
}

#[derive(Debug)]
struct DistantWriter {
    distant: Distant,
    call: u64,
}

#[derive(Debug)]
struct DistantReader(Box<dyn Reader>);

fn hold<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Store for Distant {
    fn writer(&self) -> Result<Box<dyn Writer>, StoreError> {
        Ok(Box::new(DistantWriter { distant: self.clone(), call: 0 }))
    }

    fn reader(&self) -> Result<Box<dyn Reader>, StoreError> {
        Ok(Box::new(DistantReader(hold(&self.server).store.reader()?)))
    }
}

impl DistantWriter {
    fn ask(&self, batch: &[Write]) -> Result<Commit, StoreError> {
        let lost = || Err(StoreError::Unknown { source: None });
        let trouble = *hold(&self.distant.line);
        match trouble {
            Some(Trouble::Refused) => {
                let why = Unavailable::Other;
                return Err(StoreError::Unavailable { why, source: None });
            }
            Some(Trouble::AnswerLost { happened: false }) => return lost(),
            Some(Trouble::AnswerLost { happened: true }) | None => {}
        }
        let mut server = hold(&self.distant.server);
        if let Some((_, commit)) = server.answers.iter().find(|(call, _)| *call == self.call) {
            return Ok(commit.clone());
        }
        let commit = server.store.writer()?.commit(batch)?;
        server.answers.push((self.call, commit.clone()));
        if trouble.is_some() { lost() } else { Ok(commit) }
    }
}

impl Writer for DistantWriter {
    fn commit(&mut self, batch: &[Write]) -> Result<Commit, StoreError> {
        let mut server = hold(&self.distant.server);
        server.calls += 1;
        self.call = server.calls;
        drop(server);
        self.ask(batch)
    }

    fn commit_again(&mut self, batch: &[Write]) -> Result<Commit, StoreError> {
        self.ask(batch)
    }

    fn tidy(&mut self) -> Result<Tidied, StoreError> {
        Ok(Tidied::default())
    }

    fn trim_log(&mut self, keep_from: Position, keep_seq: LogSeq) -> Result<u64, StoreError> {
        hold(&self.distant.server).store.writer()?.trim_log(keep_from, keep_seq)
    }
}

impl Reader for DistantReader {
    fn head(&mut self) -> Result<(LogSeq, Position), StoreError> {
        self.0.head()
    }

    fn first_seq(&mut self) -> Result<LogSeq, StoreError> {
        self.0.first_seq()
    }

    fn log_after(
        &mut self,
        after: LogSeq,
        max_rows: usize,
    ) -> Result<Vec<(LogSeq, Vec<Entry>)>, StoreError> {
        self.0.log_after(after, max_rows)
    }

    fn bodies(
        &mut self,
        positions: &[Position],
    ) -> Result<Vec<(Position, Publication)>, StoreError> {
        self.0.bodies(positions)
    }

    fn get(&mut self, space: Space, key: &[u8]) -> Result<Option<Doc>, StoreError> {
        self.0.get(space, key)
    }

    fn scan(
        &mut self,
        space: Space,
        prefix: &[u8],
        after: Option<&[u8]>,
        max: usize,
    ) -> Result<Vec<(Bytes, Doc)>, StoreError> {
        self.0.scan(space, prefix, after, max)
    }
}

struct OverALine;

impl Backend for OverALine {
    fn empty(&self) -> Box<dyn Kept> {
        let server = Server { store: MemoryStore::new(), calls: 0, answers: Vec::new() };
        Box::new(Distant { server: Arc::new(Mutex::new(server)), line: Arc::default() })
    }
}

impl Kept for Distant {
    fn handle(&self) -> Box<dyn Store> {
        Box::new(self.clone())
    }

    fn open_with(&self, trouble: Trouble) -> Option<Box<dyn Store>> {
        *hold(&self.line) = Some(trouble);
        Some(self.handle())
    }

    fn mend(&self) {
        *hold(&self.line) = None;
    }
}

#[test]
fn a_third_backend_is_put_to_the_same_test() {
    let statements = run(&OverALine);
    assert!(statements.len() >= 25, "{statements:?}");
}

/// A backend that says that it wrote what it did not.
struct Forgetful;

impl Backend for Forgetful {
    fn empty(&self) -> Box<dyn Kept> {
        Box::new(ForgetfulPlace)
    }
}

struct ForgetfulPlace;

impl Kept for ForgetfulPlace {
    fn handle(&self) -> Box<dyn Store> {
        Box::new(MemoryStore::new())
    }
}

#[test]
fn a_backend_that_does_not_keep_what_it_is_given_is_found_out() {
    std::panic::catch_unwind(|| run(&Forgetful)).unwrap_err();
}
