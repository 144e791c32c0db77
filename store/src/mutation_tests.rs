//! A million damaged rows, the same in every run; `TIDEGATE_MUTATIONS` names another number.

use bytes::Bytes;
use protocol::{Position, RefsBuilder, SessionEpoch, SessionNo};

use crate::row::{decode, encode};
use crate::{Entry, Rev, Space, Trim};

#[path = "../../protocol/src/tests/mutation.rs"]
mod mutation;

const INPUTS: u64 = 1_000_000;

#[test]
fn no_mutated_row_does_harm() {
    let told = std::env::var("TIDEGATE_MUTATIONS");
    let inputs = told.map_or(INPUTS, |text| text.parse().unwrap());
    mutation::run("rows", &rows(), inputs, |row| {
        let Some(entries) = decode(row) else { return };
        let mut again = Vec::new();
        encode(&entries, &mut again);
        assert_eq!(decode(&again), Some(entries));
    });
}

fn rows() -> Vec<Vec<u8>> {
    let mut builder = RefsBuilder::new();
    for session in [1, 2, 500, 70_000] {
        builder.push(SessionNo(session), 5);
    }
    let refs = builder.build();
    let run = |first, count| Entry::Refs { first: Position(first), count, refs: refs.clone() };
    let trim = Trim { session: SessionNo(7), epoch: SessionEpoch(1 << 41), up_to: Position(900) };
    let key = Bytes::from_static(b"device-1");
    let space = Space::from_number(1).unwrap();
    let doc = Entry::Doc { space, key, rev: Rev(300), value: None };
    let all = [vec![run(5, 3)], vec![run(5, 3), run(1_000, 1), Entry::Trim(trim), doc]];
    all.iter()
        .map(|entries| {
            let mut row = Vec::new();
            encode(entries, &mut row);
            row
        })
        .collect()
}
