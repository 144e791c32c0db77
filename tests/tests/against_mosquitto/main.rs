//! The same script, from a seed, is played to a gateway and to mosquitto, and both must give the same answers, but for what
//! `seen.rs` says the standard leaves open and `differences.rs` says mosquitto does otherwise.
#![expect(clippy::print_stdout, reason = "a failing seed tells what happened")]
#![expect(clippy::expect_used, clippy::panic, reason = "a test may fail loudly")]
#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "what is not evened out is compared, whatever it is"
)]

mod broker;
mod differences;
mod player;
mod raw;
mod script;
mod seen;

use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use tests::harness::{Fleet, Settings};

use broker::Mosquitto;
use differences::Differences;
use script::Script;

#[test]
fn mosquitto_and_a_gateway_answer_alike() {
    // `FROM=1000 SEEDS=5000` plays others, for a longer search.
    play_all(number("FROM", 1), number("SEEDS", 50));
}

#[test]
fn one_script_is_answered_alike() {
    let seed = number("SEED", 1);
    play_all(seed, 1);
}

fn play_all(from: u64, seeds: u64) {
    let fleet = Fleet::start_with(1, &Settings::default());
    let mosquitto = Mosquitto::start();
    let places = [fleet.mqtt(1), mosquitto.place()];
    let next = AtomicU64::new(from);
    let failed = Mutex::new(Vec::new());
    let play = || {
        let mine = std::iter::repeat_with(|| next.fetch_add(1, Ordering::Relaxed));
        for seed in mine.take_while(|seed| *seed < from + seeds) {
            if let Err(told) = answers_differ(seed, places) {
                failed.lock().expect("nobody panics with it").push((seed, told));
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..AT_A_TIME {
            scope.spawn(play);
        }
    });
    let mut failed = failed.into_inner().expect("nobody panicked with it");
    failed.sort();
    for (seed, told) in failed.iter().take(5) {
        println!("{told}");
        println!(
            "--- replay: SEED={seed} cargo test -p tests --test against_mosquitto one_script\n"
        );
    }
    let seeds: Vec<_> = failed.iter().map(|(seed, _)| seed).collect();
    assert!(failed.is_empty(), "answers differ in seeds {seeds:?}");
}

/// Plays one script to both; an error tells it up to the step at which they differ.
fn answers_differ(seed: u64, [gateway, mosquitto]: [SocketAddr; 2]) -> Result<(), String> {
    let script = Script::from_seed(seed);
    let all_ours = player::play(&script, gateway);
    let all_theirs = player::play(&script, mosquitto);
    let known = Differences::of(&script);
    for (at, step) in script.steps.iter().enumerate() {
        let told = |played: &[player::Answers]| played.get(at).map(|answers| known.even(answers));
        let (ours, theirs) = (told(&all_ours), told(&all_theirs));
        if ours != theirs {
            let before = script.steps.iter().take(at).map(|step| format!("  {step:?}\n"));
            let before: String = before.collect();
            let after: Vec<_> = all_ours.iter().skip(at + 1).map(|it| known.even(it)).collect();
            return Err(format!(
                "--- seed {seed}, clients of {:?}\n{before}> {step:?}\n  gateway:   {ours:?}\n  mosquitto: {theirs:?}\n  gateway afterwards: {after:?}",
                script.versions
            ));
        }
    }
    Ok(())
}

/// Scripts that are played at the same time: each mostly waits.
const AT_A_TIME: usize = 8;

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|value| value.parse().ok()).unwrap_or(default)
}
