//! Scribes of several gateways over one store, which answers when it likes.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use protocol::Wall;

use super::*;
use crate::document::{Record, Rejection, ShadowLimits};
use crate::topic::{Answer, Operation, OwnedKey, ReservedTopic, ShadowKey, ShadowName, ThingName};

fn key(thing: &str) -> OwnedKey {
    ShadowKey { thing: ThingName::new(thing).unwrap(), shadow: None }.into()
}

fn ask(operation: Operation, payload: &str) -> Ask {
    Ask::parse(operation, payload.as_bytes(), &ShadowLimits::default()).unwrap()
}

fn put(text: &str) -> Ask {
    ask(Operation::Update, &format!("{{\"state\":{{\"reported\":{{{text}}}}}}}"))
}

/// A gateway: its scribe, and what it waits for from the store.
#[derive(Debug)]
struct Gateway {
    scribe: Scribe,
    pending: Vec<ScribeOutput>,
    asked: BTreeSet<RequestNo>,
    /// What it wrote last and remembers, if it remembers anything.
    remembered: Option<BTreeMap<OwnedKey, Vec<u8>>>,
}

#[derive(Debug, Default)]
struct World {
    stored: BTreeMap<OwnedKey, Vec<u8>>,
    /// Every answer, in the order in which they were given.
    answers: Vec<(RequestNo, Result<String, Rejection>)>,
    /// The same with the answers that a gateway did not live to give.
    happened: Vec<(RequestNo, Result<String, Rejection>)>,
    told: Vec<(OwnedKey, Answer, String)>,
    changed: Vec<(OwnedKey, u64)>,
    lost: BTreeSet<RequestNo>,
}

impl Gateway {
    fn new(limits: ScribeLimits) -> Self {
        let scribe = Scribe::new(ShadowLimits::default(), limits);
        Self { scribe, pending: Vec::new(), asked: BTreeSet::new(), remembered: None }
    }

    fn remembering(limits: ScribeLimits) -> Self {
        Self { remembered: Some(BTreeMap::new()), ..Self::new(limits) }
    }

    fn request(&mut self, world: &mut World, key: OwnedKey, no: u64, ask: Ask) {
        self.asked.insert(RequestNo(no));
        let outputs = self.scribe.handle_request(key, RequestNo(no), ask);
        self.take(world, outputs);
    }

    fn take(&mut self, world: &mut World, outputs: Vec<ScribeOutput>) {
        for output in outputs {
            match output {
                ScribeOutput::Read(key) => self.look_up(key),
                ScribeOutput::Write { .. } => self.pending.push(output),
                ScribeOutput::Answer { no, result, .. } => {
                    assert!(self.asked.remove(&no), "answered twice, or never asked: {no:?}");
                    world.happened.push((no, result.clone()));
                    world.answers.push((no, result));
                }
                ScribeOutput::Tell { key, answer, payload } => {
                    world.told.push((key, answer, payload));
                }
                ScribeOutput::Changed { key, record } => {
                    world.changed.push((key, record.version()));
                }
            }
        }
        assert_eq!(self.scribe.unanswered(), self.asked.len());
    }

    fn look_up(&mut self, key: OwnedKey) {
        let stored = self.remembered.as_mut().and_then(|remembered| remembered.remove(&key));
        let change = |stored: Vec<u8>| {
            self.scribe.handle_remembered(&key, &stored, Wall(5_000), |_: ReservedTopic<'_>| true)
        };
        self.pending
            .push(stored.and_then(change).unwrap_or_else(|| ScribeOutput::Read(key.clone())));
    }

    /// The store does one of the things that this gateway waits for.
    fn work(&mut self, world: &mut World, which: usize, is_unavailable: bool) {
        if self.pending.is_empty() {
            return;
        }
        let now = Wall(5_000);
        let wanted = |_: ReservedTopic<'_>| true;
        let outputs = match self.pending.remove(which % self.pending.len()) {
            ScribeOutput::Read(key) if is_unavailable => {
                self.scribe.handle_read(&key, Stored::Unavailable, now, wanted)
            }
            ScribeOutput::Read(key) => {
                let found = Stored::Found(world.stored.get(&key).map(Vec::as_slice));
                self.scribe.handle_read(&key, found, now, wanted)
            }
            ScribeOutput::Write { key, .. } if is_unavailable => {
                self.scribe.handle_written(&key, Written::Unavailable, now, wanted)
            }
            ScribeOutput::Write { key, expect, record, mut then, again: _ } => {
                let present = world.stored.get(&key);
                if present.map(|bytes| bytes[..8].try_into().unwrap()) == expect {
                    if let Some(remembered) = &mut self.remembered {
                        remembered.insert(key.clone(), record.clone());
                    }
                    world.stored.insert(key.clone(), record);
                    then.append(&mut self.scribe.handle_written(&key, Written::Done, now, wanted));
                    then
                } else {
                    let present = Written::Conflict(present.map(Vec::as_slice));
                    self.scribe.handle_written(&key, present, now, wanted)
                }
            }
            other @ (ScribeOutput::Answer { .. }
            | ScribeOutput::Tell { .. }
            | ScribeOutput::Changed { .. }) => panic!("nobody waits for {other:?}"),
        };
        self.take(world, outputs);
    }

    fn finish(&mut self, world: &mut World) {
        while !self.pending.is_empty() {
            self.work(world, 0, false);
        }
        assert_eq!(self.scribe.unanswered(), 0);
    }
}

impl World {
    fn answered(&self, no: u64) -> Option<&Result<String, Rejection>> {
        let mut answers = self.answers.iter().filter(|(found, _)| *found == RequestNo(no));
        answers.next().map(|(_, result)| result)
    }

    fn code(&self, no: u64) -> u16 {
        self.answered(no).unwrap().as_ref().unwrap_err().refusal.code()
    }
}

#[test]
fn nothing_is_answered_before_it_is_stored() {
    let (mut world, mut gateway) = (World::default(), Gateway::new(ScribeLimits::default()));
    gateway.request(&mut world, key("t"), 1, put("\"a\":1"));
    gateway.work(&mut world, 0, false);
    assert!(matches!(gateway.pending[..], [ScribeOutput::Write { expect: None, .. }]));
    assert_eq!((world.answers.len(), world.told.len(), world.changed.len()), (0, 0, 0));
    gateway.work(&mut world, 0, false);
    assert!(world.answered(1).unwrap().as_ref().unwrap().contains("\"version\":1"));
    assert_eq!(world.told.len(), 1, "documents, and no delta");
    assert_eq!(world.changed, [(key("t"), 1)]);
}

#[test]
fn who_creates_a_shadow_beside_somebody_else_has_it_read_again_and_may_be_too_late() {
    let named = ShadowName::new("n").unwrap();
    let key: OwnedKey =
        ShadowKey { thing: ThingName::new("t").unwrap(), shadow: Some(named) }.into();
    let (mut world, mut gateway) = (World::default(), Gateway::new(ScribeLimits::default()));
    let wanted = |_: ReservedTopic<'_>| true;
    gateway.request(&mut world, key.clone(), 1, put("\"a\":1"));
    for lost in [Written::Overtaken, Written::Conflict(None)] {
        gateway.work(&mut world, 0, false);
        assert!(matches!(gateway.pending.pop(), Some(ScribeOutput::Write { .. })));
        let again = gateway.scribe.handle_written(&key, lost, Wall(5_000), wanted);
        assert_eq!(again, [ScribeOutput::Read(key.clone())]);
        assert!(gateway.scribe.counts_names(&key));
        gateway.take(&mut world, again);
    }
    gateway.pending.clear();
    let full = gateway.scribe.handle_read(&key, Stored::Full(None), Wall(5_000), wanted);
    gateway.take(&mut world, full);
    assert_eq!((world.code(1), gateway.scribe.unanswered()), (400, 0));
}

#[test]
fn what_is_made_again_is_made_for_nobody_who_has_connected_again_since() {
    let (mut world, mut gateway) = (World::default(), Gateway::new(ScribeLimits::default()));
    let wanted = |_: ReservedTopic<'_>| true;
    gateway.request(&mut world, key("t"), 1, put("\"a\":1"));
    gateway.request(&mut world, key("t"), 2, put("\"b\":1"));
    gateway.work(&mut world, 0, false);
    assert!(matches!(gateway.pending.pop(), Some(ScribeOutput::Write { again: false, .. })));
    let again =
        gateway.scribe.handle_written(&key("t"), Written::Conflict(None), Wall(5_000), wanted);
    assert!(matches!(again[..], [ScribeOutput::Write { again: true, .. }]));
    let superseded = Written::Superseded(&[RequestNo(1)]);
    let without = gateway.scribe.handle_written(&key("t"), superseded, Wall(5_000), wanted);
    gateway.take(&mut world, without);
    assert_eq!(world.code(1), 409);
    gateway.work(&mut world, 0, false);
    assert!(matches!(gateway.pending[..], [ScribeOutput::Write { again: true, .. }]));
    gateway.finish(&mut world);
    assert!(world.answered(2).unwrap().as_ref().unwrap().contains("\"version\":1"));
    // With nobody left nothing is read.
    gateway.request(&mut world, key("t"), 3, put("\"a\":3"));
    gateway.work(&mut world, 0, false);
    gateway.pending.clear();
    let superseded = Written::Superseded(&[RequestNo(3)]);
    let without = gateway.scribe.handle_written(&key("t"), superseded, Wall(5_000), wanted);
    assert!(matches!(without[..], [ScribeOutput::Answer { .. }]), "{without:?}");
    assert_eq!(gateway.scribe.unanswered(), 0);
}

#[test]
fn what_waits_for_one_shadow_goes_in_one_write_and_in_order() {
    use Operation::{Delete, Get};
    let (mut world, mut gateway) = (World::default(), Gateway::new(ScribeLimits::default()));
    gateway.request(&mut world, key("t"), 1, put("\"a\":1"));
    gateway.request(&mut world, key("t"), 2, ask(Get, ""));
    gateway.request(&mut world, key("t"), 3, ask(Delete, ""));
    gateway.request(&mut world, key("t"), 4, ask(Get, "{\"clientToken\":\"x\"}"));
    gateway.request(&mut world, key("t"), 5, put("\"b\":1"));
    gateway.request(&mut world, key("other"), 6, ask(Get, ""));
    gateway.work(&mut world, 0, false);
    gateway.work(&mut world, 0, false);
    assert_eq!(world.code(6), 404, "another shadow waits for nobody");
    gateway.work(&mut world, 0, false);
    assert!(gateway.pending.is_empty(), "{:?}", gateway.pending);
    let order: Vec<u64> = world.answers.iter().map(|(no, _)| no.0).collect();
    assert_eq!(order, [6, 1, 2, 3, 4, 5]);
    assert!(world.answered(2).unwrap().as_ref().unwrap().contains("\"a\":1"));
    let missed = world.answered(4).unwrap().as_ref().unwrap_err();
    assert_eq!(missed.token.as_ref().unwrap().as_str(), "x");
    assert!(world.answered(5).unwrap().as_ref().unwrap().contains("\"version\":2"));

    gateway.request(&mut world, key("t"), 7, put("\"c\":1"));
    gateway.work(&mut world, 0, false);
    let fence: [u8; 8] = world.stored[&key("t")][..8].try_into().unwrap();
    assert!(
        matches!(gateway.pending[..], [ScribeOutput::Write { expect: Some(e), .. }] if e == fence)
    );
    gateway.work(&mut world, 0, false);
    assert!(world.answered(7).unwrap().as_ref().unwrap().contains("\"version\":3"));
}

#[test]
fn whether_there_is_room_is_asked_only_for_who_may_create_a_shadow() {
    use crate::topic::ShadowName;
    let mut scribe = Scribe::new(ShadowLimits::default(), ScribeLimits::default());
    let shadow = Some(ShadowName::new("n").unwrap());
    let key = OwnedKey::from(ShadowKey { thing: ThingName::new("t").unwrap(), shadow });
    let read = vec![ScribeOutput::Read(key.clone())];
    let get = ask(Operation::Get, "");
    assert_eq!(scribe.handle_request(key.clone(), RequestNo(1), get), read);
    assert!(!scribe.counts_names(&key));
    // It comes while the reader looks, which was not asked to count.
    assert_eq!(scribe.handle_request(key.clone(), RequestNo(2), put("\"a\":1")), []);
    let done = scribe.handle_read(&key, Stored::Found(None), Wall(1), |_| true);
    let [ScribeOutput::Answer { no: RequestNo(1), result: Err(_), .. }, again] = &done[..] else {
        panic!("{done:?}")
    };
    assert_eq!(*again, read[0]);
    assert!(scribe.counts_names(&key));
    let done = scribe.handle_read(&key, Stored::Full(None), Wall(1), |_| true);
    let [ScribeOutput::Answer { no: RequestNo(2), result: Err(rejection), .. }] = &done[..] else {
        panic!("{done:?}")
    };
    assert_eq!(rejection.refusal.code(), 400);
    assert_eq!(scribe.unanswered(), 0);
}

#[test]
fn too_much_is_refused_at_once_and_what_is_damaged_stays() {
    let limits = ScribeLimits { requests: 4, requests_per_shadow: 2, ..ScribeLimits::default() };
    let (mut world, mut gateway) = (World::default(), Gateway::new(limits));
    for no in 1..=3 {
        gateway.request(&mut world, key("t"), no, put("\"a\":1"));
    }
    assert_eq!(world.code(3), 429);
    for no in 4..=6 {
        gateway.request(&mut world, key(&format!("t{no}")), no, put("\"a\":1"));
    }
    assert_eq!(world.code(6), 503);
    gateway.finish(&mut world);
    assert_eq!(world.answers.iter().filter(|(_, result)| result.is_ok()).count(), 4);

    world.stored.insert(key("t"), vec![7; 20]);
    gateway.request(&mut world, key("t"), 7, put("\"a\":1"));
    gateway.finish(&mut world);
    assert_eq!(world.code(7), 500);
    assert_eq!(world.stored[&key("t")], [7; 20]);
}

#[test]
fn who_loses_every_race_is_refused_in_the_end() {
    let limits = ScribeLimits { attempts: 3, ..ScribeLimits::default() };
    let (mut world, mut slow) = (World::default(), Gateway::new(limits));
    let mut quick = Gateway::new(limits);
    slow.request(&mut world, key("t"), 1, put("\"a\":1"));
    slow.work(&mut world, 0, false);
    for no in 2..=5 {
        assert_eq!(world.answered(1), None);
        quick.request(&mut world, key("t"), no, put("\"b\":1"));
        quick.finish(&mut world);
        slow.work(&mut world, 0, false);
    }
    assert_eq!(world.code(1), 503);
}

#[derive(Debug, Clone)]
enum Step {
    Ask {
        gateway: usize,
        thing: usize,
        operation: Operation,
    },
    Work {
        gateway: usize,
        which: usize,
        is_unavailable: bool,
    },
    /// What the store does is done, and nobody hears of it.
    Die {
        gateway: usize,
        which: usize,
    },
}

fn any_step() -> impl Strategy<Value = Step> {
    let operation = prop_oneof![
        6 => Just(Operation::Update),
        1 => Just(Operation::Delete),
        2 => Just(Operation::Get),
    ];
    let ask = (0_usize..3, 0_usize..2, operation)
        .prop_map(|(gateway, thing, operation)| Step::Ask { gateway, thing, operation });
    let work = (0_usize..3, 0_usize..4, prop::bool::weighted(0.05))
        .prop_map(|(gateway, which, is_unavailable)| Step::Work { gateway, which, is_unavailable });
    let die = (0_usize..3, 0_usize..4).prop_map(|(gateway, which)| Step::Die { gateway, which });
    prop_oneof![9 => ask, 14 => work, 1 => die]
}

/// The requests of a run: by number, which shadow, what, and in which life of which gateway.
type Asked = BTreeMap<RequestNo, (usize, Operation, (usize, u64))>;

/// Answers of a life to its requests about one shadow come in the order in which these were made.
fn is_in_order(world: &World, asked: &Asked) -> bool {
    let mut last = BTreeMap::new();
    world.answers.iter().all(|(no, _)| {
        let (thing, _, life) = asked[no];
        last.insert((thing, life), *no).is_none_or(|before| before < *no)
    })
}

/// The version in a message.
fn version(message: &str) -> u64 {
    let value: serde_json::Value = serde_json::from_str(message).unwrap();
    value["version"].as_u64().unwrap()
}

/// What happened to one shadow, told or not, explains what is stored; nobody was told of an older version after a newer.
fn check(world: &World, asked: &Asked, thing: usize, stored: Option<&Record>) {
    let of_thing = |results: &[(RequestNo, Result<String, Rejection>)]| {
        let done = results.iter().filter_map(|(no, result)| {
            let version = version(result.as_ref().ok()?);
            (asked[no].0 == thing).then_some((version, asked[no].1, *no))
        });
        done.collect::<Vec<_>>()
    };
    let told: Vec<u64> = of_thing(&world.answers).iter().map(|(version, ..)| *version).collect();
    assert!(told.is_sorted(), "{told:?}");

    let mut versions = 0;
    let mut present = BTreeSet::new();
    for (version, operation, no) in of_thing(&world.happened) {
        match operation {
            Operation::Get => {}
            Operation::Update => {
                versions += 1;
                assert_eq!(version, versions, "each update has the next version");
                present.insert(format!("k{}", no.0));
            }
            Operation::Delete => {
                assert_eq!(version, versions);
                present.clear();
            }
        }
    }
    assert_eq!(stored.map_or(0, Record::version), versions);
    let shown = stored.and_then(Record::document).map(|it| it.documents_now(None, Wall(0)));
    let shown: serde_json::Value = serde_json::from_str(shown.as_deref().unwrap_or("{}")).unwrap();
    let reported = shown["current"]["state"]["reported"].as_object();
    let kept: BTreeSet<String> = reported.iter().flat_map(|it| it.keys().cloned()).collect();
    assert_eq!(kept, present);
}

proptest! {
    /// Three gateways change two shadows at once, the store fails now and then, and gateways die with what they had in
    /// hand, before it was stored or after.
    #[test]
    fn no_accepted_update_is_ever_lost(steps in prop::collection::vec(any_step(), 1..150)) {
        let limits = ScribeLimits { batch: 3, ..ScribeLimits::default() };
        let mut world = World::default();
        let mut gateways: Vec<Gateway> = (0..3).map(|_| Gateway::remembering(limits)).collect();
        let things = [key("t0"), key("t1")];
        let (mut asked, mut lives, mut no) = (Asked::new(), [0_u64; 3], 0_u64);
        for step in steps {
            match step {
                Step::Ask { gateway, thing, operation } => {
                    no += 1;
                    asked.insert(RequestNo(no), (thing, operation, (gateway, lives[gateway])));
                    let what = match operation {
                        Operation::Update => put(&format!("\"k{no}\":1")),
                        Operation::Get | Operation::Delete => ask(operation, ""),
                    };
                    gateways[gateway].request(&mut world, things[thing].clone(), no, what);
                }
                Step::Work { gateway, which, is_unavailable } => {
                    gateways[gateway].work(&mut world, which, is_unavailable);
                }
                Step::Die { gateway, which } => {
                    let told = world.answers.len();
                    let mut dying = std::mem::replace(&mut gateways[gateway], Gateway::remembering(limits));
                    world.lost.append(&mut dying.asked.clone());
                    dying.work(&mut world, which, false);
                    world.answers.truncate(told);
                    lives[gateway] += 1;
                }
            }
        }
        gateways.iter_mut().for_each(|gateway| gateway.finish(&mut world));

        prop_assert_eq!(world.answers.len() + world.lost.len(), asked.len());
        prop_assert!(is_in_order(&world, &asked), "{:?}", world.answers);
        for (thing, key) in things.iter().enumerate() {
            let record = world.stored.get(key).map(|bytes| Record::decode(bytes).unwrap());
            check(&world, &asked, thing, record.as_ref());
        }
    }
}
