//! A million damaged rows, the same in every run; `TIDEGATE_MUTATIONS` names another number.

use bytes::Bytes;
use protocol::session::DropReason;
use protocol::{Position, RefsBuilder, SessionEpoch, SessionNo, Wall};

use crate::row::{decode, encode};
use crate::{Dropped, Entry, Lost, Outline, Outlines, Rev, Space, Trim};

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
    let run = |first, count| {
        let mut outlines = Outlines::default();
        outlines.push(count - 1, Outline { bytes: 200, expires_at: None });
        outlines.push(1, Outline { bytes: 64, expires_at: Some(Wall(1 << 41)) });
        Entry::Refs { first: Position(first), count, refs: refs.clone(), outlines }
    };
    let former = Entry::Refs {
        first: Position(2),
        count: 2,
        refs: refs.clone(),
        outlines: Outlines::default(),
    };
    let dropped = |which| {
        Entry::Dropped(Dropped { session: SessionNo(7), reason: DropReason::Expired, which })
    };
    let (after, up_to) = (Position(800), Position(900));
    let left = Lost::Queued { epoch: SessionEpoch(1 << 41), after, up_to };
    let trim = Trim { session: SessionNo(7), epoch: SessionEpoch(1 << 41), up_to: Position(900) };
    let key = Bytes::from_static(b"device-1");
    let space = Space::from_number(1).unwrap();
    let doc = Entry::Doc { space, key, rev: Rev(300), value: None };
    let drops = vec![former, dropped(Lost::Missed(3)), dropped(left)];
    let all = [vec![run(5, 3)], vec![run(5, 3), run(1_000, 2), Entry::Trim(trim), doc], drops];
    all.iter()
        .map(|entries| {
            let mut row = Vec::new();
            encode(entries, &mut row);
            row
        })
        .collect()
}
