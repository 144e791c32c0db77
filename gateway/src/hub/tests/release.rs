//! What a peer gateway that asks for a session is answered, and what becomes of a crowd with one client id.

use std::collections::VecDeque;

use proptest::prelude::*;
use protocol::peer::ReleaseOutcome;
use store::MemoryStore;

use super::gateway::Gateway;
use super::packets::*;
use crate::hub::{Ask, ConnId, ReleaseAsked};
use crate::worker::Mail;

/// Gateways on one store, with slow mail between them and slow answers of the store.
#[derive(Debug)]
struct Fleet {
    gateways: Vec<Gateway>,
    /// On its way between gateways: for whom, and what.
    posts: VecDeque<(usize, Mail)>,
    /// What the store has answered each gateway.
    answers: Vec<VecDeque<Mail>>,
    crowd: Vec<(usize, ConnId)>,
    /// What each of the crowd has heard.
    heard: Vec<Vec<String>>,
}

/// One thing that happens at a gateway.
#[derive(Debug, Clone, Copy)]
enum Step {
    Connect,
    Ask,
    Store,
    Answer,
    Follow,
    Post,
    Late,
}

impl Fleet {
    fn of(count: usize) -> Self {
        let store = MemoryStore::new();
        let names = ["gw-1", "gw-2", "gw-3"];
        let gateways = names[..count].iter().enumerate().map(|(at, name)| {
            let mut gateway = Gateway::named(name, &store, |_| {});
            gateway.knows(&names[..count]);
            gateway.numbers = u32::try_from(at * 1000 + 1).ok();
            gateway
        });
        Self {
            gateways: gateways.collect(),
            posts: VecDeque::new(),
            answers: (0..count).map(|_| VecDeque::new()).collect(),
            crowd: Vec::new(),
            heard: Vec::new(),
        }
    }

    fn take(&mut self, at: usize, step: Step) {
        let gateway = &mut self.gateways[at];
        match step {
            Step::Connect => {
                let conn = gateway.connect(durable("a"));
                self.crowd.push((at, conn));
                self.heard.push(Vec::new());
            }
            Step::Ask => while gateway.answer_asks() {},
            Step::Store => {
                let writes = gateway.worker.take_writes();
                if !writes.is_empty() {
                    let answers = gateway.store_these(writes);
                    self.answers[at].push_back(answers);
                }
            }
            Step::Answer => {
                if let Some(answers) = self.answers[at].pop_front() {
                    gateway.mail(answers);
                }
            }
            Step::Follow => {
                gateway.follow();
            }
            Step::Post => {
                if let Some((to, mail)) = self.posts.pop_front() {
                    self.gateways[to].mail(mail);
                }
            }
            // As much as an owner may take to let go.
            Step::Late => gateway.pass_unsettled(200),
        }
        self.collect_posts();
        for ((at, conn), heard) in self.crowd.iter().zip(&mut self.heard) {
            heard.append(&mut self.gateways[*at].hear(*conn));
        }
    }

    fn collect_posts(&mut self) {
        for at in 0..self.gateways.len() {
            for ask in std::mem::take(&mut self.gateways[at].asked) {
                let from = self.gateways[at].id.clone();
                let (to, mail) = if let Ask::Release { to, request, client, epoch } = ask {
                    (to, Mail::ReleaseAsked(ReleaseAsked { from, request, client, epoch }))
                } else if let Ask::Released { to, request, outcome } = ask {
                    (to, Mail::Released(request, Some(outcome)))
                } else {
                    panic!("{ask:?}")
                };
                let to = self.gateways.iter().position(|gateway| gateway.id == to).unwrap();
                self.posts.push_back((to, mail));
            }
        }
    }

    /// Until nothing is left to do.
    fn settle(&mut self) {
        let waits = |fleet: &Self| {
            let asks = |gateway: &Gateway| !gateway.sockets.asks.is_empty();
            let writes = |gateway: &Gateway| gateway.worker.has_writes();
            !fleet.posts.is_empty()
                || fleet.answers.iter().any(|answers| !answers.is_empty())
                || fleet.gateways.iter().any(|gateway| asks(gateway) || writes(gateway))
        };
        let mut rounds = 0;
        while waits(self) || rounds == 0 {
            for at in 0..self.gateways.len() {
                for step in [Step::Ask, Step::Store, Step::Answer, Step::Follow, Step::Post] {
                    self.take(at, step);
                }
            }
            rounds += 1;
            assert!(rounds < 1000, "it never ends");
        }
    }

    /// How many gateways serve the client.
    fn serving(&self) -> usize {
        let serves = |gateway: &&Gateway| gateway.worker.hub().is_held(&client("a"));
        self.gateways.iter().filter(serves).count()
    }

    /// Every client of the crowd was told what became of it, and one is left, which is served.
    fn one_is_left(&mut self) {
        let gone = |heard: &Vec<String>| {
            let mut heard: Vec<_> = heard.iter().map(String::as_str).collect();
            // Both who takes a session and who loses it may say that its connection is over.
            heard.dedup();
            match heard[..] {
                ["CONNACK ServerBusy", "closed"] => true,
                [hello, "DISCONNECT SessionTakenOver", "closed"] => {
                    assert!(hello.starts_with("CONNACK Success"), "{hello}");
                    true
                }
                [hello] => {
                    assert!(hello.starts_with("CONNACK Success"), "{hello}");
                    false
                }
                ref other => panic!("{other:?}"),
            }
        };
        let left: Vec<_> =
            self.crowd.iter().zip(&self.heard).filter(|(_, heard)| !gone(heard)).collect();
        let [((at, conn), _)] = left[..] else { panic!("{left:?}") };
        let gateway = &mut self.gateways[*at];
        gateway.subscribe(*conn, "t", Q1);
        assert_eq!(gateway.record("a").unwrap().owner.unwrap().gateway, gateway.id);
        assert_eq!(self.serving(), 1);
    }
}

fn steps(late: bool) -> impl Strategy<Value = Vec<(usize, Step)>> {
    let step = prop_oneof![
        1 => Just(Step::Connect),
        4 => Just(Step::Ask),
        4 => Just(Step::Store),
        4 => Just(Step::Answer),
        1 => Just(Step::Follow),
        4 => Just(Step::Post),
        u32::from(late) => Just(Step::Late),
    ];
    proptest::collection::vec((0..3_usize, step), 1..400)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn of_a_crowd_at_several_gateways_never_more_than_one_is_served(steps in steps(false)) {
        let mut fleet = Fleet::of(3);
        fleet.take(0, Step::Connect);
        for (at, step) in steps {
            fleet.take(at, step);
            prop_assert!(fleet.serving() <= 1);
        }
        fleet.settle();
        fleet.one_is_left();
    }

    #[test]
    fn of_a_crowd_at_gateways_that_are_late_one_is_left(steps in steps(true)) {
        let mut fleet = Fleet::of(3);
        fleet.take(0, Step::Connect);
        for (at, step) in steps {
            fleet.take(at, step);
        }
        fleet.settle();
        fleet.one_is_left();
    }
}

/// Two gateways; the client's claim at the second is stored, which nobody has told it yet, and the first asks for it.
fn asked_while_it_is_claimed() -> Fleet {
    let mut fleet = Fleet::of(2);
    for step in [Step::Connect, Step::Ask, Step::Store] {
        fleet.take(1, step);
    }
    for step in [Step::Connect, Step::Ask] {
        fleet.take(0, step);
    }
    assert!(matches!(fleet.posts.front(), Some((1, Mail::ReleaseAsked(_)))), "{:?}", fleet.posts);
    fleet.take(1, Step::Post);
    fleet.take(1, Step::Ask);
    assert!(fleet.posts.is_empty(), "not answered before it is known what to say");
    fleet
}

#[test]
fn a_session_that_is_asked_for_while_it_is_claimed_is_served_and_then_let_go() {
    let mut fleet = asked_while_it_is_claimed();
    fleet.settle();
    let taken = ["CONNACK Success", "DISCONNECT SessionTakenOver", "closed"];
    assert_eq!(fleet.heard, [&taken[..], &["CONNACK Success present"]]);
    fleet.one_is_left();
}

#[test]
fn whose_claim_comes_to_nothing_tells_who_waits_for_it() {
    let mut fleet = asked_while_it_is_claimed();
    let (at, conn) = fleet.crowd[0];
    fleet.gateways[at].lose(conn);
    fleet.settle();
    assert_eq!(fleet.heard[1], ["CONNACK Success present"]);
    assert_eq!(fleet.serving(), 1);
}

#[test]
fn who_asks_for_a_session_that_is_being_given_up_waits_for_that() {
    let mut gateway = Gateway::new();
    let a = gateway.join(durable("a"));
    let epoch = gateway.record("a").unwrap().epoch;
    gateway.worker.handle_lost(a, gateway.now, &mut gateway.sockets);
    let from = protocol::GatewayId::new("gw-2").unwrap();
    let asked = ReleaseAsked { from, request: 5, client: client("a"), epoch };
    gateway.mail(Mail::ReleaseAsked(asked));
    gateway.answer_asks();
    assert!(gateway.asked.is_empty(), "its last write is not stored yet");
    gateway.settle();
    let [Ask::Released { request: 5, outcome: ReleaseOutcome::NotOwner, .. }] = gateway.asked[..]
    else {
        panic!("{:?}", gateway.asked)
    };
}

#[test]
fn a_gateway_that_is_too_busy_to_let_go_is_asked_again() {
    let mut fleet = Fleet::of(2);
    fleet.take(1, Step::Connect);
    fleet.settle();
    for step in [Step::Connect, Step::Ask] {
        fleet.take(0, step);
    }
    let Some((_, Mail::ReleaseAsked(asked))) = fleet.posts.pop_front() else { panic!() };
    fleet.gateways[0].mail(Mail::Released(asked.request, Some(ReleaseOutcome::Busy)));
    fleet.settle();
    assert!(fleet.heard[1].is_empty(), "it waits");
    fleet.take(0, Step::Late);
    fleet.settle();
    assert_eq!(fleet.heard[1], ["CONNACK Success present"]);
    assert_eq!(fleet.heard[0][1..], ["DISCONNECT SessionTakenOver", "closed"]);
}
