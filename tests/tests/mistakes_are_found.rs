//! Mistakes that are planted in the gateway are found by the simulation: a check that cannot fail is worth nothing.

use tests::simulation::{Campaign, Tally};
use tidegate::planted::{Mistake, plant};

/// Seeds within which each is found; most are in the first few.
const SEEDS: u64 = 150;

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
    an_ownership_without_an_epoch_of_its_own_is_found: KeepsEpoch,
}

/// Those that take too many seeds for a test; they are looked for by hand, with `simulate --plant`.
const RARE: [Mistake; 3] =
    [Mistake::ReversesResent, Mistake::ForgetsLeft, Mistake::DeliversExpired];

#[test]
fn every_mistake_has_its_test() {
    assert_eq!(TESTED + RARE.len(), Mistake::ALL.len());
}

fn find(mistake: Mistake) {
    if !plant(None) {
        // A release build makes no mistakes on purpose, which is what it is for.
        return;
    }
    let campaign = Campaign {
        from: 1,
        seeds: SEEDS,
        threads: 1,
        gateways: None,
        all_faults: false,
        strict: false,
        enough: 1,
    };
    let tally = Tally::default();
    let planted = || {
        plant(Some(mistake));
    };
    campaign.play(&tally, planted, || ());
    let broken = tally.take_broken();
    assert!(!broken.is_empty(), "{mistake:?} was not found in {SEEDS} seeds");
}
