//! Whole fleets on a virtual clock, from seeds: every promise holds whatever fails. `tests/simulate` plays more of them.
#![expect(clippy::print_stdout, reason = "a failing seed tells what happened")]
#![expect(clippy::panic, reason = "a test may fail loudly")]

use tests::simulation::{Campaign, Report, Scenario, Tally, shrink};

/// Seeds of one test; runners that give each test a process spread them over the machine.
const PORTION: u64 = 125;

macro_rules! portions {
    ($($name:ident: $number:expr,)*) => {$(
        #[test]
        fn $name() {
            keep_every_promise($number * PORTION + 1, PORTION);
        }
    )*};
}

portions! {
    seeds_from_1_keep_every_promise: 0,
    seeds_from_126_keep_every_promise: 1,
    seeds_from_251_keep_every_promise: 2,
    seeds_from_376_keep_every_promise: 3,
    seeds_from_501_keep_every_promise: 4,
    seeds_from_626_keep_every_promise: 5,
    seeds_from_751_keep_every_promise: 6,
    seeds_from_876_keep_every_promise: 7,
    seeds_from_1001_keep_every_promise: 8,
    seeds_from_1126_keep_every_promise: 9,
    seeds_from_1251_keep_every_promise: 10,
    seeds_from_1376_keep_every_promise: 11,
    seeds_from_1501_keep_every_promise: 12,
    seeds_from_1626_keep_every_promise: 13,
    seeds_from_1751_keep_every_promise: 14,
    seeds_from_1876_keep_every_promise: 15,
}

/// Each broke a promise once: a goodbye that was not heard (D1), a retained message that lay in a socket (M7), a short queue (M3), a
/// publication where the store took no renewal (M2), a shadow changed by who was elsewhere (V2), a death that came late (liveness),
/// a refusal that overtook (M3), a queue that outlived its second gateway too (M4), a client that went back and then did not (M1).
#[test]
fn seeds_with_every_kind_of_fault_that_broke_a_promise_keep_it() {
    for seed in [13_042, 13_202, 9_990, 21_381, 20_969, 21_002, 25_424, 38_152, 39_351] {
        let report = Scenario { all_faults: true, ..Scenario::of(seed) }.play();
        assert!(report.breach.is_none(), "{}", said(&report));
    }
}

#[test]
fn the_same_seed_plays_the_same_twice() {
    for seed in [3, 77] {
        let (one, two) = (Scenario::of(seed).play(), Scenario::of(seed).play());
        assert!(one.events > 300, "seed {seed} is nearly empty");
        assert_eq!((one.hash, one.events), (two.hash, two.events), "seed {seed}");
        assert_eq!(one.log, two.log, "seed {seed}");
    }
}

fn keep_every_promise(from: u64, seeds: u64) {
    let campaign = Campaign {
        from,
        seeds,
        threads: 1,
        gateways: None,
        all_faults: false,
        strict: false,
        mistake: None,
        enough: 20,
    };
    let mut tally = Tally::default();
    campaign.play(&tally, || ());
    let mut broken = tally.take_broken();
    for report in &broken {
        println!("{}", said(report));
    }
    if !broken.is_empty() {
        let report = shrink(broken.remove(0));
        let seed = report.scenario.seed;
        println!("--- the last events of seed {seed}, made as small as it still breaks");
        report.log.iter().for_each(|line| println!("{line}"));
        println!("--- {}", said(&report));
        panic!("a promise was broken; replay: tests/simulate --seed {seed}");
    }
    // A world in which nothing happens keeps every promise.
    assert!(*tally.acknowledged.get_mut() > seeds * 20, "little was published");
    assert!(*tally.received.get_mut() > seeds * 40, "little was received");
    assert!(*tally.wills.get_mut() > seeds / 2, "few wills were received");
    assert!(*tally.resumes.get_mut() > seeds / 5, "few devices resumed exactly");
    assert!(*tally.updates.get_mut() > seeds, "few shadows were changed");
}

fn said(report: &Report) -> String {
    let Scenario { seed, gateways, devices, .. } = &report.scenario;
    let breach = report.breach.as_ref().map(|b| format!("{}: {}", b.promise, b.what));
    format!("seed {seed}, {gateways} gateways, {devices} devices, broke {breach:?}")
}
