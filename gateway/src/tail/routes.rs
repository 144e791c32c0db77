//! The routes of stored sessions, as their documents say. A document that is there and cannot be read, by damage or because a
//! newer version wrote it, says nothing: its session is not gone.

use fanout::{DurableSubscription, Neighbour};
use protocol::session::SessionRecord;
use protocol::{ClientId, HashMap, SessionNo, TopicFilter, hash64};

use super::Follower;

impl Follower {
    /// Which worker of this process serves a client.
    pub fn worker_of(&self, client: &ClientId) -> u8 {
        worker_of(client, self.workers)
    }

    /// What a session is subscribed to, and who serves it.
    pub(super) fn set_routes(&self, client: &ClientId, record: &SessionRecord) {
        let online = self.online(client, record);
        let subscriptions = record.subscriptions.iter().filter_map(|stored| {
            let (share, filter) = TopicFilter::parse_subscription(&stored.filter).ok()?;
            Some(DurableSubscription {
                filter,
                share,
                qos: stored.qos,
                no_local: stored.no_local,
                retain_as_published: stored.retain_as_published,
                all_stored: record.shown.is_some(),
            })
        });
        let subscriptions = subscriptions.collect();
        let anew = self.loading;
        self.tables.change_routes(|routes| {
            if anew {
                // Whether its queue is full is found out anew.
                routes.remove_durable(record.no);
            }
            routes.on_behalf_of(record.holder);
            routes.set_durable(record.no, subscriptions, online);
            routes.set_hangs(record.no, record.hangs);
        });
    }

    fn online(&self, client: &ClientId, record: &SessionRecord) -> Option<Neighbour> {
        let owner = record.owner.as_ref()?;
        if owner.gateway == self.gateway {
            return Some(Neighbour::Worker(self.worker_of(client)));
        }
        let gateways = self.tables.gateways();
        gateways.iter().find(|g| g.id == owner.gateway).map(|g| Neighbour::Peer(g.peer))
    }

    /// Keeps what is known of a session, and says once that its document cannot be read.
    pub(super) fn note_unreadable(&mut self, client: ClientId) {
        if !self.unreadable.contains(&client) {
            tracing::error!(
                client_id = client.as_str(),
                "this session's document cannot be read: nobody gets the session, and nothing is deleted from the store"
            );
            self.unreadable.insert(client);
        }
    }

    /// Takes the routes away of what was known before everything was read anew and was not found again.
    pub(super) fn forget_missing(&mut self, before: HashMap<ClientId, SessionNo>) {
        let mut gone = Vec::new();
        for (client, session) in before {
            if self.unreadable.contains(&client) {
                self.numbers.insert(client, session);
            } else if self.numbers.get(&client) != Some(&session) {
                gone.push(session);
            }
        }
        self.tables.change_routes(|routes| {
            for session in gone {
                routes.remove_durable(session);
            }
        });
    }
}

/// Which of a process's workers serves a client: always the same, so a takeover within a process stays on one thread.
pub fn worker_of(client: &ClientId, workers: usize) -> u8 {
    let spread = hash64(client.as_str().as_bytes()) % u64::try_from(workers.max(1)).unwrap_or(1);
    u8::try_from(spread).unwrap_or(0)
}
