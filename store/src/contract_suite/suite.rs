//! Who is put to the test, and by which statements.

use super::{documents::*, log::*, trouble::*};
use crate::Store;

/// A backend that is put to the test.
pub trait Backend {
    /// An empty store, another one with each call. It may go when the value goes.
    fn empty(&self) -> Box<dyn Kept>;
}

/// One store of a backend.
pub trait Kept {
    /// Opens it once more, as another process would.
    fn handle(&self) -> Box<dyn Store>;

    /// Opens it with a trouble that the next commit will meet and that lasts until [`Self::mend`]. `None` if that cannot be
    /// arranged: then the statement is left out.
    fn open_with(&self, trouble: Trouble) -> Option<Box<dyn Store>> {
        let _ = trouble;
        None
    }

    /// Ends the trouble.
    fn mend(&self) {}
}

/// What a backend may meet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// It cannot write: a full disk, a failing one, a lock that somebody keeps.
    Refused,
    /// The answer to a commit is lost on its way.
    AnswerLost {
        /// Whether the commit happened.
        happened: bool,
    },
}

/// A statement with its name.
type Statement = (&'static str, fn(&dyn Kept));

/// Tries every statement on an empty store of its own; answers their names.
///
/// # Panics
/// At the first that does not hold.
pub fn run(backend: &dyn Backend) -> Vec<&'static str> {
    let all: &[Statement] = crate::contract_suite! { @names table () };
    all.iter()
        .map(|(name, statement)| {
            statement(&*backend.empty());
            *name
        })
        .collect()
}

/// Makes a `#[test]` of every statement: `contract_suite!(MyBackend)`, with a [`Backend`](crate::contract_suite::Backend).
#[macro_export]
macro_rules! contract_suite {
    ($backend:expr) => {
        $crate::contract_suite! { @names tests ($backend) }
    };
    (@tests ($backend:expr) $($name:ident)*) => {
        $(#[test]
        fn $name() {
            let kept = $crate::contract_suite::Backend::empty(&$backend);
            $crate::contract_suite::$name(&*kept);
        })*
    };
    (@table () $($name:ident)*) => {
        &[$((stringify!($name), $name as fn(&dyn Kept)),)*]
    };
    (@names $then:ident ($($arguments:tt)*)) => {
        $crate::contract_suite! { @$then ($($arguments)*)
            a_new_store_is_empty
            compare_and_set_lets_one_of_two_win
            a_conflict_drops_all_of_its_write_and_nothing_else
            later_writes_of_a_batch_see_earlier_ones
            revisions_never_come_back
            who_has_an_older_epoch_is_fenced_out
            a_fence_that_may_be_at_most_so_high_is_one_until_it_is_raised
            what_is_only_checked_stops_its_write_and_stays
            the_first_thing_is_seen_by_who_expects_none
            a_write_that_carries_its_mark_happens_once
            only_what_tells_something_takes_a_place_in_the_log
            positions_and_places_grow_without_gap_over_two_writers
            writers_at_the_same_time_share_one_sequence
            a_tailing_process_reads_what_the_writer_said
            whoever_reads_sees_a_commit_whole
            announced_documents_come_with_the_value_of_now
            shadows_are_announced_without_their_value
            equal_references_share_an_entry
            size_and_end_of_each_publication_are_told
            drops_are_told_before_marks_and_documents
            bodies_are_found_by_position_and_missing_ones_left_out
            trimming_keeps_what_is_needed_and_makes_a_gap
            what_was_trimmed_stays_away_after_reopening
            a_session_that_is_forgotten_leaves_nothing_behind
            a_reader_from_another_store_is_told
            scans_page_through_a_prefix_in_order
            keys_of_any_bytes_keep_apart
            what_is_too_large_is_named_and_nothing_of_its_batch_happens
            what_is_refused_does_not_happen_and_passes
            a_lost_answer_is_asked_for_again_and_the_commit_happens_once
            everything_is_there_after_reopening
        }
    };
}
