//! Whole fleets on a virtual clock, from seeds: M1 to M4 and S1 hold whatever fails.
#![expect(clippy::print_stdout, reason = "a failing seed tells what happened")]

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use tests::simulation::{Report, Scenario};

/// Seeds that each run of the tests plays.
const SEEDS: u64 = 200;

/// `FROM=1000 SEEDS=5000` plays others, for a longer search.
fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|value| value.parse().ok()).unwrap_or(default)
}

#[test]
fn two_hundred_seeds_keep_every_promise() {
    let (from, seeds) = (number("FROM", 1), number("SEEDS", SEEDS));
    let next = AtomicU64::new(from);
    let failed = Mutex::new(Vec::new());
    let (acknowledged, received) = (AtomicU64::new(0), AtomicU64::new(0));
    let play_all = || {
        let mine = std::iter::repeat_with(|| next.fetch_add(1, Ordering::Relaxed));
        for seed in mine.take_while(|seed| *seed < from + seeds) {
            let report = Scenario::short(seed).play();
            acknowledged.fetch_add(report.acknowledged as u64, Ordering::Relaxed);
            received.fetch_add(report.received, Ordering::Relaxed);
            failed.lock().unwrap().extend(report.breach.is_some().then_some(report));
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(play_all);
        }
    });
    let mut failed = failed.into_inner().unwrap();
    failed.sort_by_key(|report| report.seed);
    for report in failed.iter().take(60) {
        let breach = report.breach.as_ref().unwrap();
        println!("seed {}: {}: {}", report.seed, breach.promise, breach.what);
    }
    if let Some(report) = failed.first() {
        tell(report);
        panic!("{} of {seeds} seeds broke a promise", failed.len());
    }
    // A world in which nothing happens keeps every promise.
    assert!(acknowledged.into_inner() > seeds * 50, "little was published");
    assert!(received.into_inner() > seeds * 100, "little was received");
}

#[test]
fn one_seed_keeps_every_promise() {
    let seed = number("SEED", 1);
    // FOCUS="d3 m120 fault" logs what concerns these, from the beginning.
    let focus = std::env::var("FOCUS").unwrap_or_default();
    let focus: Vec<&str> = focus.split_whitespace().collect();
    let report = Scenario::short(seed).play_and_log(&focus);
    if report.breach.is_some() {
        tell(&report);
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

fn tell(report: &Report) {
    let Report { seed, breach, log, .. } = report;
    println!("--- the last events of seed {seed}");
    log.iter().for_each(|line| println!("{line}"));
    if let Some(breach) = breach {
        println!("--- seed {seed} broke {}: {}", breach.promise, breach.what);
    }
    println!("--- replay: SEED={seed} cargo test -p tests --test simulation one_seed");
}
