//! Orders on their way to the committer. While it rests, so that writes gather which can wait, only who has one that cannot wakes
//! it: else it would wake for each round of each worker, to look and to rest on.

use std::sync::mpsc::{
    Receiver, RecvError, RecvTimeoutError, SendError, Sender, TryRecvError, channel,
};
use std::sync::{Arc, OnceLock};
use std::thread::Thread;
use std::time::Duration;

use store::{Outlives, Write};

use crate::commit::{Answer, Ordered};
use crate::worker::Settled;

/// Who wants writes.
#[derive(Debug)]
pub enum Order {
    /// A worker, in order; answered by mail.
    Worker(u8, Vec<Ordered>),
    /// Someone who waits for one answer.
    Other(Box<Write>, Sender<Answer>),
    /// To be dropped when what was ordered before is written.
    Settle(Arc<Settled>),
    /// The process ends: what was ordered before is written.
    Stop,
}

impl Order {
    /// Whether it waits for no others: something of it must reach the disk, or somebody waits for it to be written.
    pub(crate) fn is_urgent(&self) -> bool {
        let must_last = |write: &Write| write.outlives == Outlives::PowerFailure;
        match self {
            Self::Worker(_, writes) => writes.iter().any(|ordered| must_last(&ordered.write)),
            Self::Other(write, _) => must_last(write),
            Self::Settle(_) | Self::Stop => true,
        }
    }
}

/// Where to order.
#[derive(Debug, Clone)]
pub struct CommitSender {
    orders: Sender<Order>,
    taker: Arc<OnceLock<Thread>>,
}

/// What was ordered and is not taken yet: as much as workers and others may have on its way, which is limited where they are.
#[derive(Debug)]
pub struct Orders {
    waiting: Receiver<Order>,
    /// The thread that takes them, once it has begun to.
    taker: Arc<OnceLock<Thread>>,
}

/// A channel to the committer.
pub fn orders() -> (CommitSender, Orders) {
    let (orders, waiting) = channel();
    let taker = Arc::default();
    (CommitSender { orders, taker: Arc::clone(&taker) }, Orders { waiting, taker })
}

impl CommitSender {
    /// Orders.
    ///
    /// # Errors
    /// The order, if nobody takes any more.
    pub fn send(&self, order: Order) -> Result<(), SendError<Order>> {
        let is_urgent = order.is_urgent();
        self.orders.send(order)?;
        if is_urgent && let Some(taker) = self.taker.get() {
            taker.unpark();
        }
        Ok(())
    }
}

impl Orders {
    /// The next order; waits for it.
    ///
    /// # Errors
    /// Nobody is left who could order.
    pub fn recv(&self) -> Result<Order, RecvError> {
        self.taker.get_or_init(std::thread::current);
        self.waiting.recv()
    }

    /// The next order; waits for it, for so long at most.
    ///
    /// # Errors
    /// It did not come in time, or nobody is left who could order.
    pub fn recv_timeout(&self, most: Duration) -> Result<Order, RecvTimeoutError> {
        self.taker.get_or_init(std::thread::current);
        self.waiting.recv_timeout(most)
    }

    /// The next order, if there is one.
    ///
    /// # Errors
    /// There is none, or nobody is left who could order.
    pub fn try_recv(&self) -> Result<Order, TryRecvError> {
        self.waiting.try_recv()
    }

    /// Rests for so long at most, until there is an order that cannot wait. Who has taken orders by [`Self::recv`] is woken; it may
    /// also be woken for nothing.
    pub(crate) fn rest(&self, most: Duration) {
        std::thread::park_timeout(most);
    }
}

#[cfg(test)]
mod tests {
    use smallvec::smallvec;

    use super::*;

    fn order(outlives: Outlives) -> Order {
        let write = Write { outlives, ..Write::default() };
        let put = store::Put {
            space: store::Space::Session,
            key: bytes::Bytes::from_static(b"c"),
            value: None,
            expect: store::Expect::Any,
            announce: false,
        };
        let write = Write { puts: smallvec![put], ..write };
        Order::Worker(0, vec![Ordered { ticket: 1, known: 0, write }])
    }

    #[test]
    fn only_what_waits_for_clean_sessions_alone_can_wait() {
        assert!(!order(Outlives::Processes).is_urgent());
        assert!(order(Outlives::PowerFailure).is_urgent());
        assert!(Order::Stop.is_urgent());
        let both = [Outlives::Processes, Outlives::PowerFailure].map(order).into_iter();
        let both = both.flat_map(|order| match order {
            Order::Worker(_, writes) => writes,
            Order::Other(..) | Order::Settle(_) | Order::Stop => Vec::new(),
        });
        assert!(Order::Worker(0, both.collect()).is_urgent());
    }

    #[test]
    fn who_rests_is_woken_by_what_cannot_wait_whenever_that_comes() {
        const FOR_EVER: Duration = Duration::from_secs(1 << 32);
        let (sender, orders) = orders();
        sender.send(order(Outlives::Processes)).unwrap();
        let taker = std::thread::spawn(move || {
            let mut taken = vec![orders.recv().unwrap()];
            while !taken.iter().any(Order::is_urgent) {
                match orders.try_recv() {
                    Ok(next) => taken.push(next),
                    Err(_) => orders.rest(FOR_EVER),
                }
            }
            taken.len()
        });
        while sender.taker.get().is_none() {
            std::thread::yield_now();
        }
        sender.send(order(Outlives::Processes)).unwrap();
        sender.send(order(Outlives::PowerFailure)).unwrap();
        assert_eq!(taker.join().unwrap(), 3);
    }
}
