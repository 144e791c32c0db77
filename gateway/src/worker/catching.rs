//! Publications that wait until the log was read again: while this gateway cannot be sure that others waited for it, sessions
//! may have subscribed of which it does not know (promise M1). Those that store nothing it knows only from its peers: once it is
//! back, publications wait until each of them has said anew what it wants (promise M2).

use protocol::{HashMap, HashSet, Now};

use crate::hub::{Ask, ConnId, Outlet, Tables};

/// The connections of one worker whose publications wait.
#[derive(Debug, Default)]
pub(super) struct Catching {
    /// Those that wait, and for which look at the log; and their order.
    waiting: HashMap<ConnId, u64>,
    order: Vec<ConnId>,
    /// Those that have waited: what they had sent by then goes on.
    ready: HashSet<ConnId>,
    /// The last look at the log that was asked for, and when: after so many absences.
    asked: (u64, u64),
    /// Whether it is not answered yet.
    asking: bool,
    /// Absences after which the log was read.
    known: u64,
}

impl Catching {
    /// Whether a publication that came on this connection before `now` may be routed.
    pub(super) fn may_route(&self, conn: ConnId, now: Now, tables: &Tables) -> bool {
        tables.is_awaited(now.mono, self.known) || self.ready.contains(&conn)
    }

    /// The next publication of a connection waits.
    pub(super) fn hold(&mut self, conn: ConnId, now: Now, tables: &Tables, out: &mut dyn Outlet) {
        if !self.asking && tables.knows_peers(now.mono) {
            self.ask(tables, out);
            self.waiting.insert(conn, self.asked.0);
        } else {
            // The look that is under way may have been before it came.
            self.waiting.insert(conn, self.asked.0 + 1);
        }
        self.order.push(conn);
    }

    /// Whether a connection waits.
    pub(super) fn waits(&self, conn: ConnId) -> bool {
        !self.waiting.is_empty() && self.waiting.contains_key(&conn)
    }

    /// The log was read when this was asked.
    pub(super) fn handle_caught_up(
        &mut self,
        look: u64,
        now: Now,
        tables: &Tables,
        out: &mut dyn Outlet,
    ) {
        self.asking = false;
        if !tables.knows_peers(now.mono) {
            return;
        }
        self.known = self.asked.1;
        for conn in std::mem::take(&mut self.order) {
            match self.waiting.get(&conn) {
                Some(waits_for) if *waits_for <= look => {
                    self.waiting.remove(&conn);
                    self.ready.insert(conn);
                    out.resume(conn);
                }
                Some(_) => self.order.push(conn),
                None => {}
            }
        }
        if !self.order.is_empty() {
            self.ask(tables, out);
        }
    }

    /// Time has passed: the peers may have said what they want.
    pub(super) fn handle_tick(&mut self, now: Now, tables: &Tables, out: &mut dyn Outlet) {
        if !self.order.is_empty() && !self.asking && tables.knows_peers(now.mono) {
            self.ask(tables, out);
        }
    }

    /// Everything that a connection had sent is handled.
    pub(super) fn heard_all(&mut self, conn: ConnId) {
        if !self.ready.is_empty() {
            self.ready.remove(&conn);
        }
    }

    /// A connection is over.
    pub(super) fn forget(&mut self, conn: ConnId) {
        self.heard_all(conn);
        if !self.waiting.is_empty() {
            self.waiting.remove(&conn);
        }
    }

    fn ask(&mut self, tables: &Tables, out: &mut dyn Outlet) {
        self.asked = (self.asked.0 + 1, tables.absences());
        self.asking = true;
        out.ask(Ask::CatchUp(self.asked.0));
    }
}

/// Whether a packet, of which this is the beginning, is a publication that will be acknowledged or retained. One that is retained may
/// be older than what its publisher has said elsewhere meanwhile, and would be kept in its place.
pub(super) fn has_consequences(packet: &[u8]) -> bool {
    packet.first().is_some_and(|first| first >> 4 == PUBLISH && first & (QOS | RETAIN) != 0)
}

/// PUBLISH, by the first four bits of a packet, and the bits of its level.
const PUBLISH: u8 = 3;
const QOS: u8 = 0b0110;
/// The bit of RETAIN.
const RETAIN: u8 = 0b0001;
