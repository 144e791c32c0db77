//! No two pause together, nobody waits for the dead, and nobody waits for ever.

use std::time::Duration;

use proptest::prelude::*;
use protocol::{GatewayId, Incarnation, Wall};

use super::*;

fn gateway(number: u8, life: u64) -> PauseHolder {
    let id = GatewayId::new(&format!("gw-{number}")).unwrap();
    PauseHolder::Gateway { id, life: Incarnation(life) }
}

fn begin(
    pauses: &mut Pauses,
    by: &PauseHolder,
    dead: &[PauseHolder],
) -> Result<Begun, PauseRefused> {
    pauses.begin(by, PauseFor::Checkpoint, (1, Wall(5)), |holder| !dead.contains(holder))
}

#[test]
fn two_gateways_never_pause_together() {
    let (one, two) = (gateway(1, 1), gateway(2, 1));
    let mut pauses = Pauses::default();
    let first = begin(&mut pauses, &one, &[]).unwrap();
    let refused = begin(&mut pauses, &two, &[]).unwrap_err();
    assert_eq!(refused.to_string(), "gw-1 pauses for checkpoint");
    // What it does besides is the same pause to others.
    let beside = pauses.begin(&one, PauseFor::Certificates, (1, Wall(6)), |_| true).unwrap();
    assert_eq!(pauses.held().len(), 2);
    assert!(pauses.end(&one, first.number));
    begin(&mut pauses, &two, &[]).unwrap_err();
    // Another's word ends nothing.
    assert!(!pauses.end(&two, beside.number));
    assert!(pauses.end(&one, beside.number) && !pauses.end(&one, beside.number));
    let second = begin(&mut pauses, &two, &[]).unwrap();
    assert!(second.number > beside.number);
    let both = pauses.begin(&one, PauseFor::Backup, (2, Wall(7)), |_| true).unwrap();
    assert_eq!(Pauses::decode(&pauses.encode().unwrap()).unwrap(), pauses);
    assert!(pauses.end(&one, both.number));
}

#[test]
fn a_pause_ends_with_the_life_that_holds_it() {
    let (one, two) = (gateway(1, 1), gateway(2, 1));
    let mut pauses = Pauses::default();
    let held = begin(&mut pauses, &one, &[]).unwrap();
    begin(&mut pauses, &two, &[]).unwrap_err();
    begin(&mut pauses, &gateway(1, 2), &[]).unwrap_err();
    let begun = begin(&mut pauses, &two, std::slice::from_ref(&one)).unwrap();
    assert_eq!(begun.left.len(), 1);
    assert_eq!((&begun.left[0].by, begun.left[0].number), (&one, held.number));
    // Who was only frozen ends nothing that is another's by now.
    assert!(!pauses.end(&one, held.number));
    // The next life is another holder.
    begin(&mut pauses, &gateway(1, 2), std::slice::from_ref(&one)).unwrap_err();
}

#[test]
fn whose_answer_was_lost_begins_again() {
    let one = gateway(1, 1);
    let mut pauses = Pauses::default();
    let lost = begin(&mut pauses, &one, &[]).unwrap();
    let again = begin(&mut pauses, &one, &[]).unwrap();
    assert_eq!(pauses.held().len(), 1);
    assert!(!pauses.end(&one, lost.number) && pauses.end(&one, again.number));
}

#[test]
fn a_command_holds_its_pause_for_as_long_as_it_says() {
    let says = |until| PauseHolder::Command { name: "backup 7".to_owned(), until: Wall(until) };
    let at = |now: u64| {
        move |holder: &PauseHolder| match holder {
            PauseHolder::Gateway { .. } => true,
            PauseHolder::Command { until, .. } => Wall(now) < *until,
        }
    };
    let mut pauses = Pauses::default();
    let begun = pauses.begin(&says(10), PauseFor::Backup, (1, Wall(1)), at(1)).unwrap();
    let two = gateway(2, 1);
    let ask = |pauses: &mut Pauses, now| {
        pauses.begin(&two, PauseFor::Vacuum, (1, Wall(now)), at(now)).map(|begun| begun.left.len())
    };
    ask(&mut pauses, 9).unwrap_err();
    assert!(pauses.go_on(&says(20), begun.number));
    ask(&mut pauses, 19).unwrap_err();
    assert_eq!(ask(&mut pauses, 20), Ok(1));
    assert!(!pauses.go_on(&says(30), begun.number) && !pauses.end(&says(30), begun.number));
}

#[test]
fn whoever_waits_too_long_goes_alone_unless_the_work_shrinks() {
    let at = Duration::from_secs;
    let mut patience = Patience::default();
    let most = (at(60), 0);
    assert_eq!(patience.urge(at(100), 5_000, most), Urge::Wait);
    assert_eq!(patience.urge(at(159), 6_000, most), Urge::Wait);
    assert_eq!(patience.urge(at(160), 6_000, most), Urge::Alone);
    // Others have done some of it.
    assert_eq!(patience.urge(at(161), 4_000, most), Urge::Wait);
    assert_eq!(patience.urge(at(220), 9_000, most), Urge::Wait);
    assert_eq!(patience.urge(at(221), 9_000, most), Urge::Alone);
    patience.over();
    assert_eq!(patience.urge(at(230), 9_000, most), Urge::Wait);
    // Not all go at the same moment.
    let late = (at(60), u8::MAX);
    assert_eq!(patience.urge(at(304), 9_000, late), Urge::Wait);
    assert_eq!(patience.urge(at(305), 9_000, late), Urge::Alone);
}

/// What one of the gateways does.
#[derive(Debug, Clone, Copy)]
enum Act {
    Begin(u8),
    End(u8),
    Die(u8),
}

proptest! {
    /// Whatever happens in whatever order, no more than are allowed pause, as far as they live, and whoever asks gets a pause once
    /// all others have ended theirs or died.
    #[test]
    fn no_more_pause_than_may(
        acts in prop::collection::vec(
            (0..3_u8, 0..4_u8).prop_map(|(kind, who)| match kind {
                0 => Act::Begin(who),
                1 => Act::End(who),
                _ => Act::Die(who),
            }),
            0..200,
        ),
        at_once in 1..3_usize,
    ) {
        let mut pauses = Pauses::default();
        let mut lives = [1_u64; 4];
        // What each life believes it holds, told by what it was answered, not by the record.
        let mut holds = [None::<u64>; 4];
        for act in acts {
            match act {
                Act::Begin(who) => {
                    let at = usize::from(who);
                    let alive = |holder: &PauseHolder| {
                        (0..4_u8).any(|n| *holder == gateway(n, lives[usize::from(n)]))
                    };
                    let others = holds.iter().enumerate().filter(|(n, it)| *n != at && it.is_some());
                    let others = others.count();
                    let by = gateway(who, lives[at]);
                    let begun = pauses.begin(&by, PauseFor::Checkpoint, (at_once, Wall(1)), alive);
                    prop_assert_eq!(begun.is_ok(), others < at_once);
                    holds[at] = begun.ok().map(|begun| begun.number).or(holds[at]);
                }
                Act::End(who) => {
                    let at = usize::from(who);
                    if let Some(number) = holds[at].take() {
                        prop_assert!(pauses.end(&gateway(who, lives[at]), number));
                    }
                }
                Act::Die(who) => {
                    let at = usize::from(who);
                    (holds[at], lives[at]) = (None, lives[at] + 1);
                }
            }
            prop_assert!(holds.iter().flatten().count() <= at_once);
        }
    }
}
