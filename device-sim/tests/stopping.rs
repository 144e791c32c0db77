//! Runs that come to nothing end at once, and say why. The brokers here are a few lines of this file.
#![expect(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use clap::Parser;
use device_sim::{
    Args, ConnectsError, Interrupt, Plan, Report, RunError, TakeoverError, connect_all_the_time,
    run, run_until, take_over,
};

fn sim(args: &str) -> Result<Report, RunError> {
    let args = "device-sim run --quiet".split(' ').chain(args.split(' '));
    let Args::Run(args) = Args::try_parse_from(args).unwrap() else { unreachable!("a run") };
    run(&Plan::try_from(*args).unwrap())
}

/// Takes every connection, says nothing, and counts them.
fn says_nothing() -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (address, count) = (listener.local_addr().unwrap(), Arc::new(AtomicUsize::new(0)));
    let counted = Arc::clone(&count);
    std::thread::spawn(move || {
        let taken = listener.incoming().inspect(|_| {
            counted.fetch_add(1, Ordering::SeqCst);
        });
        taken.collect::<Vec<_>>()
    });
    (address, count)
}

#[test]
fn nobody_dials_once_a_run_is_over() {
    let (silent, dialled) = says_nothing();
    let outcome = sim(&format!("--broker {silent} --pattern idle -n 600 --ready-seconds 0.3"));
    assert!(matches!(outcome, Err(RunError::NotReady { ready: 0, wanted: 600, .. })));
    let dialled = dialled.load(Ordering::SeqCst);
    assert!(dialled <= 64, "{dialled}, though only 64 dial at the same time");
}

/// An address where nobody answers.
fn nobody() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

#[test]
fn who_was_not_ready_in_time_says_what_it_met() {
    let nobody = nobody();
    let outcome = sim(&format!("--broker {nobody} --reconnect --ready-seconds 0.3"));
    let told = outcome.unwrap_err().to_string();
    assert!(told.starts_with("only 0 of 2 devices were ready in time; the last that"), "{told}");
    assert!(told.contains(&format!("at {nobody}: Connection refused")), "{told}");
}

#[test]
fn who_does_not_answer_is_passed_over_if_another_broker_is_named() {
    let (nobody, serves) = (nobody(), serves());
    let report = sim(&format!("--broker {nobody},{serves} --pattern idle -n 3 --seconds 0.1"));
    let ended = report.unwrap().ended.list();
    assert_eq!(ended.len(), 1, "{ended:?}");
    assert!(ended[0].connections == 3 && ended[0].why.contains("refused"), "{ended:?}");
    let outcome = sim(&format!("--broker {nobody},{nobody} --pattern idle -n 3 --seconds 0.1"));
    assert!(matches!(outcome, Err(RunError::Device(why)) if why.contains("refused")));
}

/// Takes connections and subscriptions, and closes where something is published. Speaks 3.1.1, a packet at a time.
fn serves() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            std::thread::spawn(move || {
                let mut packet = [0; 1_024];
                while stream.read(&mut packet).is_ok_and(|count| count > 0) {
                    match packet[0] >> 4 {
                        1 => stream.write_all(&[0x20, 2, 0, 0]).unwrap(),
                        8 => stream.write_all(&[0x90, 3, packet[2], packet[3], 0]).unwrap(),
                        _ => return,
                    }
                }
            });
        }
    });
    address
}

#[test]
fn connections_that_end_too_soon_are_told_with_their_reason() {
    for client in ["lean", "rumqttc"] {
        let args = "--count 10 --settle-seconds 0.5 --client";
        let report = sim(&format!("--broker {} {args} {client}", serves())).unwrap();
        let ended = report.ended.list();
        // Whether the close or the reset behind it is seen first is the kernel's business.
        assert!(ended.len() == 1 && ended[0].connections == 1, "{client}: {ended:?}");
        assert_eq!(report.gaps.never_served_again, 1, "{client}");
        assert!(report.to_string().contains(&ended[0].why), "{report}");
    }
}

#[test]
fn what_was_due_and_never_published_is_counted_and_has_a_threshold() {
    let args = "--rate 1000 --count 300 --settle-seconds 0.5 --max-unpublished 200";
    let report = sim(&format!("--broker {} {args}", serves())).unwrap();
    assert_eq!(report.due, Some(300), "{report}");
    assert_eq!(report.published + report.unpublished, 300, "{report}");
    assert!(report.unpublished > 200, "it was cut off with its first messages: {report}");
    assert_eq!(report.exceeded.len(), 1, "{report}");
    assert!(report.to_string().contains("never published"), "{report}");
}

#[test]
fn connects_of_which_none_is_accepted_are_an_error_with_the_reason() {
    let connects = |args: &str| {
        let args = "device-sim connects -n 3 --seconds 1".split(' ').chain(args.split(' '));
        let Args::Connects(args) = Args::try_parse_from(args).unwrap() else { panic!("connects") };
        connect_all_the_time(&args, &Interrupt::default())
    };
    let error = connects(&format!("--broker {}", nobody())).unwrap_err();
    assert!(matches!(error, ConnectsError::NoneAccepted { failed: 3.., .. }), "{error}");
    assert!(error.to_string().contains("Connection refused"), "{error}");
    let pid = u32::MAX.to_string();
    let error = connects(&format!("--broker {} --broker-pid {pid}", serves())).unwrap_err();
    assert!(matches!(error, ConnectsError::NoProcess(u32::MAX)), "{error}");
    let report = connects(&format!("--broker {}", serves())).unwrap();
    assert!(report.accepted > 0 && report.failures.list().is_empty(), "{report}");
}

#[test]
fn who_waits_for_its_turn_to_connect_waits_no_longer_than_the_run() {
    for client in ["lean", "rumqttc"] {
        let (silent, dialled) = says_nothing();
        let args = format!(
            "device-sim run --quiet --broker {silent} --pattern idle -n 20 --connect-rate 0.01 --client {client}"
        );
        let Args::Run(args) = Args::try_parse_from(args.split(' ')).unwrap() else {
            panic!("a run")
        };
        let interrupt = Interrupt::default();
        interrupt.ask();
        let outcome = run_until(&Plan::try_from(*args).unwrap(), &interrupt);
        assert!(matches!(outcome, Err(RunError::Interrupted { ready: 0, wanted: 20 })));
        let dialled = dialled.load(Ordering::SeqCst);
        assert!(dialled <= 1, "{dialled}, though the second one is due after 100 s");
    }
}

#[test]
fn takeovers_that_fail_are_counted_and_none_at_all_is_an_error_with_the_reason() {
    let takeover = |args: &str| {
        let args = "device-sim takeover -n 2 --seconds 1".split(' ').chain(args.split(' '));
        let Args::Takeover(args) = Args::try_parse_from(args).unwrap() else { panic!("takeover") };
        take_over(&args, &Interrupt::default())
    };
    let error = takeover(&format!("--broker {}", nobody())).unwrap_err();
    assert!(matches!(error, TakeoverError::NoneTakenOver { failed: 2.., .. }), "{error}");
    assert!(error.to_string().contains("Connection refused"), "{error}");
}
