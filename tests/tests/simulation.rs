//! Whole fleets on a virtual clock, from seeds: M1 to M4 and S1 hold whatever fails.
#![expect(clippy::print_stdout, reason = "a failing seed tells what happened")]
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test may fail loudly")]

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use tests::simulation::{Report, Scenario};

#[test]
fn two_hundred_seeds_keep_every_promise() {
    // `FROM=1000 SEEDS=5000` plays others, for a longer search; `GATEWAYS=3` larger fleets.
    play_all(fleet(), number("FROM", 1), number("SEEDS", 200));
}

#[test]
fn thirty_seeds_of_three_gateways_keep_every_promise() {
    play_all(3, 1, 30);
}

#[test]
fn one_seed_keeps_every_promise() {
    let seed = number("SEED", 1);
    // FOCUS="d3 m120 fault" logs what concerns these, from the beginning.
    let focus = std::env::var("FOCUS").unwrap_or_default();
    let focus: Vec<&str> = focus.split_whitespace().collect();
    let report = scenario(fleet(), seed).play_and_log(&focus);
    if report.breach.is_some() {
        tell(&report, fleet());
        panic!("seed {seed} broke a promise");
    }
}

#[test]
fn the_same_seed_plays_the_same_twice() {
    for seed in [3, 77] {
        let (one, two) = (Scenario::short(seed).play(), Scenario::short(seed).play());
        assert!(one.events > 500, "seed {seed} is nearly empty");
        assert_eq!((one.hash, one.events), (two.hash, two.events), "seed {seed}");
        assert_eq!(one.log, two.log, "seed {seed}");
    }
}

fn play_all(gateways: usize, from: u64, seeds: u64) {
    let next = AtomicU64::new(from);
    let failed = Mutex::new(Vec::new());
    let (acknowledged, received) = (AtomicU64::new(0), AtomicU64::new(0));
    let wills = AtomicU64::new(0);
    let play = || {
        let mine = std::iter::repeat_with(|| next.fetch_add(1, Ordering::Relaxed));
        for seed in mine.take_while(|seed| *seed < from + seeds) {
            let report = scenario(gateways, seed).play();
            acknowledged.fetch_add(report.acknowledged as u64, Ordering::Relaxed);
            received.fetch_add(report.received, Ordering::Relaxed);
            wills.fetch_add(report.wills, Ordering::Relaxed);
            failed.lock().unwrap().extend(report.breach.is_some().then_some(report));
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(play);
        }
    });
    let mut failed = failed.into_inner().unwrap();
    failed.sort_by_key(|report| report.seed);
    for report in failed.iter().take(60) {
        let breach = report.breach.as_ref().unwrap();
        println!("seed {}: {}: {}", report.seed, breach.promise, breach.what);
    }
    if let Some(report) = failed.first() {
        tell(report, gateways);
        panic!("{} of {seeds} seeds broke a promise", failed.len());
    }
    // A world in which nothing happens keeps every promise.
    assert!(acknowledged.into_inner() > seeds * 50, "little was published");
    assert!(received.into_inner() > seeds * 100, "little was received");
    assert!(wills.into_inner() > seeds * 2, "few wills were received");
}

fn scenario(gateways: usize, seed: u64) -> Scenario {
    Scenario { gateways, ..Scenario::short(seed) }
}

fn fleet() -> usize {
    usize::try_from(number("GATEWAYS", 2)).unwrap()
}

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|value| value.parse().ok()).unwrap_or(default)
}

fn tell(report: &Report, gateways: usize) {
    let Report { seed, breach, log, .. } = report;
    println!("--- the last events of seed {seed}");
    log.iter().for_each(|line| println!("{line}"));
    if let Some(breach) = breach {
        println!("--- seed {seed} broke {}: {}", breach.promise, breach.what);
    }
    let size = if gateways == 2 { String::new() } else { format!("GATEWAYS={gateways} ") };
    println!("--- replay: {size}SEED={seed} cargo test -p tests --test simulation one_seed");
}
