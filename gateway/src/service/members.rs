//! The fleet as the store has it: one document per gateway, renewed while it lives.

use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use protocol::{GatewayId, HashMap, Incarnation, Now, Wall};
use store::{Expect, Pages, Put, Reader, Space, StoreError, Write};

use crate::config::{ListenKind, Resolved};
use crate::control::{Address, GatewayRecord, GatewayState};

/// A gateway's document: who it is, where it is reached, until when it is alive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// What operators see.
    #[serde(flatten)]
    pub record: GatewayRecord,
    /// Devices over TCP are sent here.
    pub mqtt: String,
    /// Devices over TLS are sent here.
    pub mqtts: String,
    /// Its lease ends then by its own clock, in milliseconds since 1970, unless it is renewed; 0 if it said goodbye.
    pub until_ms: u64,
    /// How long its lease lasts; 0 if it does not say, as gateways of older versions do not.
    #[serde(default)]
    pub ttl_ms: u64,
    /// Whether it answers words of other gateways, as those of older versions do not.
    #[serde(default)]
    pub echoes: bool,
    /// Whether it publishes to trials of other gateways that ask for it, as those of older versions do not.
    #[serde(default)]
    pub calls: bool,
}

impl Member {
    /// One life of a gateway, as configured; it starts, and has no lease yet.
    pub fn of(config: &Resolved, incarnation: Incarnation) -> Self {
        let reached = |wanted: ListenKind| {
            let found = config.listeners.iter().find(|l| l.kind == wanted);
            found.map(|l| l.advertise.clone()).unwrap_or_default()
        };
        let record = record(config, incarnation);
        let (mqtt, mqtts) = (reached(ListenKind::Tcp), reached(ListenKind::Tls));
        let ttl_ms = u64::try_from(config.lease.ttl.as_millis()).unwrap_or(u64::MAX);
        Self { record, mqtt, mqtts, until_ms: 0, ttl_ms, echoes: true, calls: true }
    }

    /// Its name.
    pub fn id(&self) -> Option<GatewayId> {
        GatewayId::new(&self.record.id).ok()
    }

    /// How long its lease lasts; `ours` where it does not say.
    fn ttl(&self, ours: Duration) -> Duration {
        if self.ttl_ms == 0 { ours } else { Duration::from_millis(self.ttl_ms) }
    }

    /// The write that renews its lease.
    pub fn renewal(&self) -> Option<Write> {
        let value = serde_json::to_vec(self).ok()?;
        let mut write = Write::default();
        write.puts.push(Put {
            space: Space::Gateway,
            key: Bytes::copy_from_slice(self.record.id.as_bytes()),
            value: Some(value.into()),
            expect: Expect::Any,
            announce: false,
        });
        Some(write)
    }
}

fn record(config: &Resolved, incarnation: Incarnation) -> GatewayRecord {
    let address =
        |kind: &str, address: &str| Address { kind: kind.to_owned(), address: address.to_owned() };
    let mut addresses: Vec<_> =
        config.listeners.iter().map(|l| address(l.kind.as_str(), &l.advertise)).collect();
    addresses.push(address("http", &config.http.advertise));
    if let Some(devices) = &config.device_http {
        addresses.push(address("device_http", &devices.advertise));
    }
    let peer = config.peer.as_ref().map(|p| p.advertise.clone()).unwrap_or_default();
    if !peer.is_empty() {
        addresses.push(address("peer", &peer));
    }
    GatewayRecord {
        id: config.id.as_str().to_owned(),
        incarnation: incarnation.0,
        state: GatewayState::Starting,
        peer,
        http: config.http.advertise.clone(),
        addresses,
    }
}

/// Who is alive, as far as the leases say that were read.
///
/// Clocks of two gateways may differ, and the clock of one may jump. So a lease is good for so long after it was *seen* to
/// change, by our own steady clock: for as long as its holder says that it lasts, who relies on it. Only what was renewed last before our first look is judged by what it says.
#[derive(Debug)]
pub struct Leases {
    clock: LeaseClock,
    ttl: Duration,
    sightings: HashMap<String, Sighting>,
}

/// A lease as it was last read.
#[derive(Debug, Clone, Copy)]
struct Sighting {
    lease: (u64, u64),
    /// When it was seen to be good; never yet, if at first sight it was over.
    changed: Option<Duration>,
}

impl Leases {
    /// Nobody was seen yet. A lease lasts `ttl` and is renewed every `renew`.
    pub fn new(ttl: Duration, renew: Duration) -> Self {
        Self { clock: LeaseClock::new(ttl, renew), ttl, sightings: HashMap::default() }
    }

    /// Our own lease was renewed at this moment of the steady clock.
    pub fn handle_renewed(&mut self, now: Duration) {
        self.clock.handle_renewed(now);
    }

    /// The leases were read at this moment.
    pub fn handle_read(&mut self, members: &[Member], now: Now) {
        for member in members {
            let lease = (member.record.incarnation, member.until_ms);
            let good = member.until_ms > now.wall.0;
            let sighting = match self.sightings.get(&member.record.id) {
                Some(known) if known.lease == lease => continue,
                Some(_) => Sighting { lease, changed: Some(now.mono) },
                None => Sighting { lease, changed: good.then_some(now.mono) },
            };
            self.sightings.insert(member.record.id.clone(), sighting);
        }
    }

    /// Whether a gateway's lease is good.
    pub fn is_good(&self, member: &Member) -> bool {
        let sighting = self.sightings.get(&member.record.id);
        let changed = sighting.and_then(|sighting| sighting.changed);
        let ttl = member.ttl(self.ttl);
        member.until_ms != 0
            && changed.is_some_and(|changed| self.clock.now().saturating_sub(changed) < ttl)
    }

    /// The longest lease of anybody whose lease is good, and at least ours: so old may be what others go by.
    pub fn longest(&self, members: &[Member]) -> Duration {
        let good = members.iter().filter(|member| self.is_good(member));
        good.map(|member| member.ttl(self.ttl)).fold(self.ttl, Duration::max)
    }
}

/// The moment that leases are judged by.
///
/// While the store cannot be written nobody can renew, and that is no sign of death. So the moment stands still from our own
/// last renewal on; and after the next one for the length of a lease, in which everybody else may renew too.
#[derive(Debug, Clone, Copy)]
struct LeaseClock {
    at: Duration,
    renewed: Option<Duration>,
    held_until: Duration,
    ttl: Duration,
    /// Without a renewal for longer than this, somebody's lease may have ended for want of the store.
    gap: Duration,
}

impl LeaseClock {
    fn new(ttl: Duration, renew: Duration) -> Self {
        let (at, gap) = (Duration::ZERO, ttl.saturating_sub(renew));
        Self { at, renewed: None, held_until: at, ttl, gap }
    }

    /// Our own lease was renewed.
    fn handle_renewed(&mut self, now: Duration) {
        let since = self.renewed.map_or(Duration::ZERO, |last| now.saturating_sub(last));
        self.renewed = Some(now);
        if since > self.gap {
            self.held_until = now + self.ttl;
        }
        if now >= self.held_until {
            self.at = now;
        }
    }

    /// What counts as now.
    const fn now(&self) -> Duration {
        self.at
    }
}

/// Gateways that are read at a time.
const PAGE: usize = 1024;

/// Every gateway the store knows, alive or not.
///
/// # Errors
/// [`StoreError`], by what is wrong with the store.
pub fn read_all(reader: &mut dyn Reader) -> Result<Vec<Member>, StoreError> {
    let (mut members, mut pages) = (Vec::new(), Pages::new(Space::Gateway, &[], PAGE));
    while let Some(page) = pages.next(reader)? {
        let readable =
            page.into_iter().filter_map(|(_, doc)| serde_json::from_slice(&doc.value).ok());
        members.extend(readable);
    }
    Ok(members)
}

/// One member for each gateway, and whether its lease is good: a gateway whose successor has come is as the one is that
/// serves, or came last.
pub fn one_each(members: &[Member], is_good: impl Fn(&Member) -> bool) -> Vec<(&Member, bool)> {
    let mut best: Vec<(GatewayId, &Member, bool)> = Vec::new();
    for member in members {
        let Some(gateway) = member.id().map(|id| id.gateway()) else { continue };
        let good = is_good(member);
        let rank = |member: &Member, good| {
            (good, member.record.state == GatewayState::Serving, member.record.incarnation)
        };
        match best.iter_mut().find(|(known, ..)| *known == gateway) {
            Some((_, known, was)) if rank(known, *was) < rank(member, good) => {
                (*known, *was) = (member, good);
            }
            Some(_) => {}
            None => best.push((gateway, member, good)),
        }
    }
    best.into_iter().map(|(_, member, good)| (member, good)).collect()
}

/// Where the last life of a gateway lay, so that the next one is known for its own: its sessions are not another gateway's.
///
/// # Errors
/// [`StoreError`], by what is wrong with the store.
pub fn last_berth(gateway: &GatewayId, reader: &mut dyn Reader) -> Result<GatewayId, StoreError> {
    let members = read_all(reader)?;
    let lives = members.iter().filter(|it| it.id().is_some_and(|id| id.gateway() == *gateway));
    let last = lives.max_by_key(|member| member.record.incarnation);
    Ok(last.and_then(Member::id).unwrap_or_else(|| gateway.clone()))
}

/// A new life of a gateway: the clock, in milliseconds, or one above its last life, at either berth, if the clock was set back
/// since; peers take no earlier one for it.
///
/// # Errors
/// [`StoreError`], by what is wrong with the store.
pub fn begin_life(
    id: &GatewayId,
    now: Wall,
    reader: &mut dyn Reader,
) -> Result<Incarnation, StoreError> {
    let members = read_all(reader)?;
    let before = members.iter().filter(|it| it.id().is_some_and(|it| it.gateway() == id.gateway()));
    let above = before.map(|member| member.record.incarnation.saturating_add(1)).max();
    let above = above.unwrap_or_default();
    Ok(Incarnation(now.0.max(above)))
}

#[cfg(test)]
mod tests {
    use store::{MemoryStore, Store as _};

    use super::*;

    const TTL: Duration = Duration::from_secs(3);
    const RENEW: Duration = Duration::from_secs(1);

    #[test]
    fn nobody_is_dead_for_want_of_a_store_that_takes_renewals() {
        let at = Duration::from_millis;
        let mut clock = LeaseClock::new(TTL, RENEW);
        clock.handle_renewed(at(10_000));
        clock.handle_renewed(at(11_000));
        assert_eq!(clock.now(), at(11_000));
        // Here the store stands still for a minute.
        clock.handle_renewed(at(71_000));
        assert_eq!(clock.now(), at(11_000));
        for second in [72, 73] {
            clock.handle_renewed(at(second * 1_000));
            assert_eq!(clock.now(), at(11_000), "the others may not have had their turn");
        }
        clock.handle_renewed(at(74_000));
        assert_eq!(clock.now(), at(74_000));
        clock.handle_renewed(at(75_900));
        assert_eq!(clock.now(), at(75_900), "late, and still within the others' leases");
    }

    #[test]
    fn a_lease_is_good_for_so_long_after_it_changed_whatever_any_clock_says() {
        let mut leases = Leases::new(TTL, RENEW);
        let hour_ms = 3_600_000;
        // What its clock says, second by second, beginning with ours: an hour ahead, behind, and back.
        for (second, ahead_ms) in (10..).zip([0, 0, hour_ms, hour_ms, 0, -hour_ms, 0]) {
            let lease = second * 1_000 + hour_ms + ahead_ms;
            look(&mut leases, second, lease);
            assert!(leases.is_good(&member(lease)), "{second}");
        }
        // It is not renewed any more, however far ahead its end was.
        let last = 9 * hour_ms;
        look(&mut leases, 17, last);
        look(&mut leases, 18, last);
        look(&mut leases, 19, last);
        assert!(leases.is_good(&member(last)));
        look(&mut leases, 20, last);
        assert!(!leases.is_good(&member(last)));
        // It lives again; and it says goodbye.
        look(&mut leases, 21, 1);
        assert!(leases.is_good(&member(1)));
        look(&mut leases, 22, 0);
        assert!(!leases.is_good(&member(0)));
    }

    #[test]
    fn a_lease_is_good_for_as_long_as_its_holder_says() {
        let mut leases = Leases::new(TTL, RENEW);
        let lasts = |ttl_ms| Member { ttl_ms, ..member(9_000_000) };
        look(&mut leases, 10, 8_000_000);
        for second in 11..=15 {
            look(&mut leases, second, 9_000_000);
        }
        // Seen to change at 11.
        let good = [0, 4_000, 4_001, 10_000].map(|ttl_ms| leases.is_good(&lasts(ttl_ms)));
        assert_eq!(good, [false, false, true, true]);
        let longest =
            |of: &[u64]| leases.longest(&of.iter().map(|ms| lasts(*ms)).collect::<Vec<_>>());
        assert_eq!(longest(&[10_000, 20_000, 0]), Duration::from_secs(20));
        assert_eq!(longest(&[4_000]), TTL, "it is over");
    }

    #[test]
    fn a_lease_that_was_over_before_we_looked_is_over_until_it_is_renewed() {
        let mut leases = Leases::new(TTL, RENEW);
        look(&mut leases, 10, 9_000);
        look(&mut leases, 11, 9_000);
        assert!(!leases.is_good(&member(9_000)));
        look(&mut leases, 12, 9_500);
        assert!(leases.is_good(&member(9_500)));
    }

    #[test]
    fn a_new_life_is_later_than_the_last_although_the_clock_was_set_back() {
        let store = MemoryStore::new();
        let id = GatewayId::new("gw-2").unwrap();
        let begin = |now| begin_life(&id, Wall(now), &mut *store.reader().unwrap()).unwrap().0;
        assert_eq!(begin(5_000), 5_000, "nobody knows it yet");
        let mut known = member(1);
        known.record.incarnation = 9_000;
        store.writer().unwrap().commit(&[known.renewal().unwrap()]).unwrap();
        assert_eq!(begin(5_000), 9_001);
        assert_eq!(begin(9_000), 9_001);
        assert_eq!(begin(10_000), 10_000);
    }

    #[test]
    fn a_gateway_with_two_lives_counts_once_and_the_next_begins_where_the_last_one_lay() {
        let store = MemoryStore::new();
        let id = GatewayId::new("gw-2").unwrap();
        let write = |name: &str, incarnation, state| {
            let mut life = member(1);
            life.record = GatewayRecord { id: name.to_owned(), incarnation, state, ..life.record };
            store.writer().unwrap().commit(&[life.renewal().unwrap()]).unwrap();
        };
        let berth = || last_berth(&id, &mut *store.reader().unwrap()).unwrap();
        let shown = |good: &[&str]| {
            let members = read_all(&mut *store.reader().unwrap()).unwrap();
            let each = one_each(&members, |member| good.contains(&member.record.id.as_str()));
            let named = |(member, good): &(&Member, bool)| (member.record.id.clone(), *good);
            each.iter().map(named).collect::<Vec<_>>()
        };
        let named = |name: &str, good| vec![(name.to_owned(), good)];
        assert_eq!(berth(), id, "nobody knows it yet");
        write("gw-2", 7, GatewayState::Serving);
        write("gw-2~", 9, GatewayState::Starting);
        assert_eq!(shown(&["gw-2", "gw-2~"]), named("gw-2", true), "it serves still");
        write("gw-2", 7, GatewayState::Moving);
        assert_eq!(shown(&["gw-2", "gw-2~"]), named("gw-2~", true));
        assert_eq!(shown(&["gw-2"]), named("gw-2", true), "its successor died");
        assert_eq!(shown(&[]), named("gw-2~", false));
        assert_eq!(berth(), id.other_berth());
        assert_eq!(begin_life(&id, Wall(5), &mut *store.reader().unwrap()).unwrap().0, 10);
    }

    /// A renewal of ours and a look, at a second of both clocks.
    fn look(leases: &mut Leases, second: i64, until_ms: i64) {
        let second = u64::try_from(second).unwrap();
        let (mono, wall) = (Duration::from_secs(second), Wall(second * 1_000));
        leases.handle_renewed(mono);
        leases.handle_read(&[member(until_ms)], Now { mono, wall });
    }

    fn member(until_ms: i64) -> Member {
        let record = serde_json::json!({
            "id": "gw-2", "state": "serving", "incarnation": 1, "peer": "", "http": "",
            "addresses": [], "mqtt": "", "mqtts": "", "until_ms": u64::try_from(until_ms).unwrap(),
        });
        serde_json::from_value(record).unwrap()
    }
}
