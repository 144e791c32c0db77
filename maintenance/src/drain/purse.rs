//! What the receivers of a drain have granted, and what is asked of them.

use std::collections::VecDeque;
use std::time::Duration;

use protocol::GatewayId;

use crate::pace::Pace;

/// How long a credit is good, counted by the gateway that asked and from the moment it asked. The receiver counts from
/// when it heard of that, which is later: what has lapsed there has lapsed here.
pub const CREDIT_LIFE: Duration = Duration::from_secs(2);

/// How often each receiver is asked.
const ASK_EVERY: Duration = Duration::from_millis(500);
/// Asks of one receiver that wait for an answer; older ones have lapsed before there are more.
const MAX_ASKED: usize = 8;

/// A receiver is asked to take clients.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CreditAsk {
    /// Who.
    pub to: GatewayId,
    /// Names the answer.
    pub number: u32,
    /// How many.
    pub clients: u32,
    /// At most how many per second.
    pub per_s: u32,
}

/// What became of credits since a drain began, in clients.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CreditTotals {
    /// Granted by receivers.
    pub granted: u64,
    /// Used.
    pub used: u64,
    /// Not used while they were good, or replaced by newer ones.
    pub lapsed: u64,
}

/// The credits of one drain.
#[derive(Debug, Default)]
pub(super) struct Purse {
    receivers: Vec<Receiver>,
    next_ask: u32,
    ask_at: Duration,
    totals: CreditTotals,
    /// Taken with the last tick: not known yet whether those who were to go by it did.
    taken: u64,
    /// Who is looked at first changes, so that all take their share.
    turn: usize,
    seed: u64,
}

/// A gateway that may take clients.
#[derive(Debug)]
struct Receiver {
    id: GatewayId,
    /// Numbers of asks without an answer, and when they were made.
    asked: VecDeque<(u32, Duration)>,
    /// Clients per second, as last granted; none before the first answer.
    granted: Option<u32>,
    credit: Option<Credit>,
    /// Outlives its credit, so that a new one is no reason to hurry.
    pace: Option<Pace>,
}

/// A receiver's permission to send it clients.
#[derive(Debug)]
struct Credit {
    ask: u32,
    left: u64,
    per_s: u32,
    until: Duration,
}

/// Clients for one receiver.
pub(super) type Share = (GatewayId, u32);

impl Purse {
    pub(super) fn new(seed: u64) -> Self {
        Self { seed, ..Self::default() }
    }

    pub(super) const fn totals(&self) -> CreditTotals {
        self.totals
    }

    /// So many who were to go by what was taken last wait: that has lapsed.
    pub(super) const fn handle_held_back(&mut self, clients: u64) {
        let lapsed = if clients < self.taken { clients } else { self.taken };
        self.taken -= lapsed;
        self.totals.lapsed += lapsed;
    }

    /// What was taken before and not given back is used.
    pub(super) const fn settle(&mut self) {
        self.totals.used += self.taken;
        self.taken = 0;
    }

    /// How many more clients the receivers would take.
    pub(super) fn left(&self, now: Duration) -> u64 {
        let credits = self.receivers.iter().filter_map(|receiver| receiver.credit.as_ref());
        credits.filter(|credit| now < credit.until).map(|credit| credit.left).sum()
    }

    pub(super) fn clear(&mut self) {
        self.settle();
        for receiver in &mut self.receivers {
            self.totals.lapsed += receiver.credit.take().map_or(0, |credit| credit.left);
            receiver.asked.clear();
        }
    }

    /// Asks these gateways, which are the ones that serve, to take `clients` in all, at most `per_s` per second in all. Each
    /// is asked for its share, and for what the others did not grant.
    pub(super) fn poll_asks(
        &mut self,
        now: Duration,
        serving: &[GatewayId],
        (clients, per_s): (u32, u32),
    ) -> Vec<CreditAsk> {
        self.follow(serving);
        if now < self.ask_at || clients == 0 || per_s == 0 || serving.is_empty() {
            return Vec::new();
        }
        self.ask_at = now.saturating_add(ASK_EVERY);
        let count = u32::try_from(self.receivers.len()).unwrap_or(u32::MAX);
        let share = per_s.div_ceil(count);
        let expects = |receiver: &Receiver| receiver.granted.unwrap_or(share);
        let all: u32 = self.receivers.iter().map(expects).fold(0, u32::saturating_add);
        let mut asks = Vec::new();
        for receiver in &mut self.receivers {
            let others = all.saturating_sub(receiver.granted.unwrap_or(share));
            self.next_ask = self.next_ask.wrapping_add(1);
            if receiver.asked.len() >= MAX_ASKED {
                receiver.asked.pop_front();
            }
            receiver.asked.push_back((self.next_ask, now));
            let per_s = per_s.saturating_sub(others).max(share);
            let (to, number) = (receiver.id.clone(), self.next_ask);
            asks.push(CreditAsk { to, number, clients, per_s });
        }
        asks
    }

    /// Tells everybody who was asked that nobody comes any more.
    pub(super) fn poll_releases(&mut self) -> Vec<CreditAsk> {
        let all = self.receivers.drain(..);
        all.map(|receiver| CreditAsk { to: receiver.id, number: 0, clients: 0, per_s: 0 }).collect()
    }

    /// Who no longer serves gets nobody.
    fn follow(&mut self, serving: &[GatewayId]) {
        for gone in self.receivers.extract_if(.., |receiver| !serving.contains(&receiver.id)) {
            self.totals.lapsed += gone.credit.map_or(0, |credit| credit.left);
        }
        for id in serving {
            if !self.receivers.iter().any(|receiver| receiver.id == *id) {
                self.receivers.push(Receiver {
                    id: id.clone(),
                    asked: VecDeque::new(),
                    granted: None,
                    credit: None,
                    pace: None,
                });
            }
        }
    }

    /// A receiver's answer takes the place of its earlier ones; one to an ask that is not remembered is none.
    pub(super) fn handle_credit(
        &mut self,
        from: &GatewayId,
        number: u32,
        (clients, per_s): (u32, u32),
    ) {
        let Some(receiver) = self.receivers.iter_mut().find(|receiver| receiver.id == *from) else {
            return;
        };
        let Some(at) = receiver.asked.iter().position(|(asked, _)| *asked == number) else {
            return;
        };
        let mut answered = receiver.asked.drain(..=at);
        let Some((_, asked_at)) = answered.next_back() else { return };
        drop(answered);
        receiver.granted = Some(if clients > 0 { per_s } else { 0 });
        self.totals.granted += u64::from(clients);
        self.totals.lapsed += receiver.credit.take().map_or(0, |credit| credit.left);
        if clients > 0 && per_s > 0 {
            let until = asked_at.saturating_add(CREDIT_LIFE);
            receiver.credit = Some(Credit { ask: number, left: clients.into(), per_s, until });
        } else {
            self.totals.lapsed += u64::from(clients);
        }
    }

    /// Takes up to `wanted` of what was granted, as the receivers' paces allow.
    pub(super) fn take(&mut self, now: Duration, wanted: u64) -> Vec<Share> {
        let count = self.receivers.len();
        self.turn = self.turn.wrapping_add(1);
        let mut shares = Vec::new();
        let mut left = wanted;
        for step in 0..count {
            let Some(receiver) = self.receivers.get_mut((self.turn + step) % count) else { break };
            // Who is not the last leaves something for the others.
            let rest = u64::try_from(count - step).unwrap_or(u64::MAX);
            let (n, lapsed) = receiver.take(now, left.div_ceil(rest), self.seed);
            self.taken += n;
            self.totals.lapsed += lapsed;
            left -= n;
            if n > 0 {
                shares.push((receiver.id.clone(), u32::try_from(n).unwrap_or(u32::MAX)));
            }
        }
        shares
    }

    /// Spreads clients over the receivers that serve, whatever they granted.
    pub(super) fn spread(&self, wanted: u64) -> Vec<Share> {
        let mut left = wanted;
        let mut shares = Vec::new();
        for (at, receiver) in self.receivers.iter().enumerate() {
            let rest = u64::try_from(self.receivers.len() - at).unwrap_or(u64::MAX);
            let n = left.div_ceil(rest);
            left -= n;
            if n > 0 {
                shares.push((receiver.id.clone(), u32::try_from(n).unwrap_or(u32::MAX)));
            }
        }
        shares
    }
}

impl Receiver {
    /// Uses up to `wanted` of its credit, as far as its pace allows. Answers that, and how many lapsed.
    fn take(&mut self, now: Duration, wanted: u64, seed: u64) -> (u64, u64) {
        let Some(credit) = &mut self.credit else { return (0, 0) };
        if now >= credit.until {
            let lapsed = credit.left;
            self.credit = None;
            return (0, lapsed);
        }
        if let Some(pace) = &mut self.pace {
            pace.set_rate(credit.per_s);
        } else {
            self.pace = Pace::begin(now, credit.per_s, seed ^ u64::from(credit.ask));
        }
        let Some(pace) = &mut self.pace else { return (0, 0) };
        let n = wanted.min(credit.left).min(pace.allowed(now));
        pace.take(now, n);
        credit.left -= n;
        (n, 0)
    }
}
