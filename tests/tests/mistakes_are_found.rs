//! Mistakes that are planted in the fleet are found by the simulation: a check that cannot fail is worth nothing. Nothing of
//! them is in a gateway: they are made around its real parts, see `tests/src/simulation/mistakes.rs`.

use tests::simulation::{Campaign, Mistake, Tally};

/// Seeds within which each is found; most are in the first few, some take a hundred.
const SEEDS: u64 = 600;

macro_rules! found {
    ($($name:ident: $mistake:ident,)*) => {
        $(
            #[test]
            fn $name() {
                find(Mistake::$mistake);
            }
        )*

        /// How many of them have a test.
        const TESTED: usize = [$(Mistake::$mistake),*].len();
    };
}

found! {
    an_acknowledgement_before_the_commit_is_found: AcknowledgesEarly,
    a_write_without_its_fence_is_found: ForgetsFence,
    a_publication_that_is_forwarded_twice_is_found: ForwardsTwice,
    a_suback_that_waits_for_nobody_is_found: ConfirmsEarly,
    a_lost_qos_2_id_is_found: ForgetsInbound,
    a_queue_that_loses_what_was_sent_is_found: DropsSent,
    a_will_that_is_published_twice_is_found: KeepsWill,
    an_old_retained_message_that_stays_is_found: KeepsFirstRetained,
    a_shared_message_for_two_members_is_found: SharesWithTwo,
    a_repetition_that_does_not_say_so_is_found: ForgetsDup,
    a_message_that_is_delivered_late_is_found: DeliversExpired,
    an_interest_that_is_not_told_is_found: LosesInterest,
    a_queue_that_is_trimmed_too_far_is_found: TrimsTooFar,
    a_session_that_is_left_out_is_found: MissesOne,
    messages_that_change_places_are_found: SwapsQueued,
    a_shadow_that_is_written_without_its_fence_is_found: ForgetsShadowFence,
    a_shadow_that_is_answered_early_is_found: AnswersShadowEarly,
    a_shadow_that_is_not_told_is_found: HearsOfNoShadow,
    an_old_version_that_is_told_is_found: TellsOldVersions,
    presence_that_is_not_remembered_is_found: ForgetsPresence,
}

/// Those that take too many seeds for a test, or a hole that README names excuses; they are looked for by hand, with
/// `tests/simulate --plant NAME --strict`.
const RARE: [Mistake; 2] = [Mistake::LosesReturned, Mistake::HearsNothing];

#[test]
fn every_mistake_has_its_test() {
    assert_eq!(TESTED + RARE.len(), Mistake::ALL.len());
}

fn find(mistake: Mistake) {
    let campaign = Campaign {
        from: 1,
        seeds: SEEDS,
        threads: 1,
        gateways: None,
        all_faults: false,
        strict: false,
        mistake: Some(mistake),
        enough: 1,
    };
    let tally = Tally::default();
    campaign.play(&tally, || ());
    let broken = tally.take_broken();
    assert!(!broken.is_empty(), "{mistake:?} was not found in {SEEDS} seeds");
}
