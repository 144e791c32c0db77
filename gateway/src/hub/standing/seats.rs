//! How many clients of each user are connected to this gateway, over all its workers.

use std::sync::{Arc, Mutex, PoisonError};

use protocol::{ClientId, HashMap};

/// The clients of each user that are connected. Looked at when a client comes and when it goes, never in between.
#[derive(Debug, Default)]
pub struct Seats(Mutex<Users>);

type Users = HashMap<Arc<str>, HashMap<ClientId, u32>>;

/// One connection's seat; given back when dropped.
#[derive(Debug)]
pub struct Seat {
    seats: Arc<Seats>,
    user: Arc<str>,
    client: ClientId,
}

impl Seats {
    /// A seat for one more connection; none if as many other clients of that user are connected as may be.
    pub fn take(self: &Arc<Self>, user: &Arc<str>, client: &ClientId, most: u32) -> Option<Seat> {
        self.change(|users| {
            let clients = users.entry(Arc::clone(user)).or_default();
            let full = clients.len() >= most as usize && !clients.contains_key(client);
            if full {
                return None;
            }
            *clients.entry(client.clone()).or_default() += 1;
            Some(Seat { seats: Arc::clone(self), user: Arc::clone(user), client: client.clone() })
        })
    }

    fn change<T>(&self, change: impl FnOnce(&mut Users) -> T) -> T {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.seats.change(|users| {
            let Some(clients) = users.get_mut(&self.user) else { return };
            if let Some(count) = clients.get_mut(&self.client) {
                *count -= 1;
                if *count == 0 {
                    clients.remove(&self.client);
                }
            }
            if clients.is_empty() {
                users.remove(&self.user);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_has_as_many_clients_as_it_may_and_one_that_comes_again_is_the_same() {
        let seats = Arc::new(Seats::default());
        let user: Arc<str> = "u".into();
        let take = |name: &str| seats.take(&user, &ClientId::new(name).unwrap(), 2);
        let (first, again, other) = (take("a").unwrap(), take("a").unwrap(), take("b").unwrap());
        assert!(take("c").is_none());
        drop(first);
        assert!(take("c").is_none(), "the client is still there with its newer connection");
        drop((again, other));
        assert!(take("c").is_some());
        assert!(seats.0.lock().unwrap().is_empty());
    }
}
