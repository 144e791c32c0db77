//! P35: the chain holds, and nothing can be changed, left out, added or moved without being seen.

use proptest::prelude::*;
use protocol::Wall;
use serde_json::json;

use super::*;

fn record(n: u64) -> AuditRecord {
    AuditRecord {
        at: Wall(1_000 + n),
        actor: "alice".into(),
        action: "policy.replaced".into(),
        object: format!("policy {}", n % 3),
        before: n.is_multiple_of(2).then(|| json!({ "max": n })),
        after: Some(json!({ "max": n + 1, "zone": ["a", "b"] })),
        reason: format!("CHG-{n}"),
    }
}

fn chain(length: u64) -> (Vec<AuditEntry>, AuditHead) {
    let mut head = AuditHead::default();
    let entries = (0..length).map(|n| head.append(record(n)).unwrap()).collect();
    (entries, head)
}

#[test]
fn p35_the_chain_holds_also_in_parts_and_after_it_was_stored() {
    let (entries, head) = chain(20);
    let stored: Vec<String> =
        entries.iter().map(|entry| serde_json::to_string(entry).unwrap()).collect();
    let read: Vec<AuditEntry> =
        stored.iter().map(|text| serde_json::from_str(text).unwrap()).collect();
    assert_eq!(read, entries);
    assert_eq!(verify(AuditHead::default(), &read), Ok(head));
    let half = verify(AuditHead::default(), &read[..10]).unwrap();
    assert_eq!(verify(half, &read[10..]), Ok(head));
}

#[test]
fn nobody_acts_without_a_name_or_a_reason() {
    let mut head = AuditHead::default();
    let nameless = AuditRecord { actor: "  ".into(), ..record(1) };
    assert_eq!(head.append(nameless), Err(InvalidRecord::Missing("actor")));
    let reason = AuditRecord { reason: String::new(), ..record(1) };
    assert_eq!(head.append(reason), Err(InvalidRecord::Missing("reason")));
    let long = AuditRecord { object: "x".repeat(257), ..record(1) };
    let too_long = InvalidRecord::TooLong { field: "object", limit_bytes: 256 };
    assert_eq!(head.append(long), Err(too_long));
    assert_eq!(head, AuditHead::default());
}

#[test]
fn a_hash_that_was_not_written_here_is_refused() {
    let hash = AuditHash([0xa7; 32]);
    let text = serde_json::to_string(&hash).unwrap();
    assert_eq!(serde_json::from_str::<AuditHash>(&text).unwrap(), hash);
    let odd = [
        "\"\"".to_owned(),
        text.to_uppercase(),
        text.replacen("a7", "+7", 1),
        text.replacen("a7", "ä", 1),
    ];
    for odd in odd {
        assert!(serde_json::from_str::<AuditHash>(&odd).is_err(), "{odd}");
    }
}

/// What somebody may do to a chain that he can write, without the last hash, which others know.
#[derive(Debug, Clone)]
enum Forgery {
    Leave(usize),
    Swap(usize),
    Repeat(usize),
    When(usize),
    Who(usize),
    What(usize),
    Whom(usize),
    Why(usize),
    Before(usize),
    After(usize),
    /// Changes an entry, and its hash with it.
    Reseal(usize),
}

fn forgery() -> impl Strategy<Value = Forgery> {
    let kinds = [
        Forgery::Leave,
        Forgery::Swap,
        Forgery::Repeat,
        Forgery::When,
        Forgery::Who,
        Forgery::What,
        Forgery::Whom,
        Forgery::Why,
        Forgery::Before,
        Forgery::After,
        Forgery::Reseal,
    ];
    (0..kinds.len(), 0_usize..11).prop_map(move |(kind, at)| kinds[kind](at))
}

proptest! {
    #[test]
    fn p35_every_forgery_is_seen(forgery in forgery()) {
        let (mut entries, head) = chain(12);
        match forgery {
            Forgery::Leave(at) => {
                entries.remove(at);
            }
            Forgery::Swap(at) => entries.swap(at, at + 1),
            Forgery::Repeat(at) => entries.insert(at, entries[at].clone()),
            Forgery::When(at) => entries[at].record.at.0 += 1,
            Forgery::Who(at) => entries[at].record.actor.push('x'),
            Forgery::What(at) => entries[at].record.action.push('x'),
            Forgery::Whom(at) => entries[at].record.object.push('x'),
            Forgery::Why(at) => entries[at].record.reason.push('x'),
            Forgery::Before(at) => entries[at].record.before = Some(json!(null)),
            Forgery::After(at) => entries[at].record.after = None,
            Forgery::Reseal(at) => {
                let prev = entries[at].prev;
                let mut before = AuditHead { seq: entries[at].seq - 1, hash: prev };
                let changed = AuditRecord { reason: "nothing to see".into(), ..record(0) };
                entries[at] = before.append(changed).unwrap();
            }
        }
        let found = verify(AuditHead::default(), &entries);
        prop_assert!(found != Ok(head), "{:?}", found);
    }
}

proptest! {
    #[test]
    fn p35_a_chain_that_was_folded_holds_from_its_checkpoint_and_what_was_changed_is_found(
        length in 2_u64..40,
        cuts in prop::collection::vec(1_usize..12, 1..5),
        changed in any::<prop::sample::Index>(),
    ) {
        let (mut entries, mut head) = chain(length);
        let mut checkpoint = Checkpoint::default();
        for (nth, cut) in cuts.into_iter().enumerate() {
            let rest = entries.split_off(cut.min(entries.len()));
            let next = checkpoint.fold(&entries, |_| true).unwrap();
            // One that was changed is not folded.
            let mut other = entries.clone();
            changed.get_mut(&mut other).record.actor.push('x');
            prop_assert!(checkpoint.fold(&other, |_| true).is_err());
            entries = rest;
            checkpoint = next;
            entries.push(head.append(checkpoint.record(Wall(nth as u64), "gw-1", "full")).unwrap());
        }
        let stored = serde_json::to_string(&checkpoint).unwrap();
        let read: Checkpoint = serde_json::from_str(&stored).unwrap();
        prop_assert_eq!(&read, &checkpoint);
        prop_assert_eq!(verify(read.head, &entries), Ok(head));
        prop_assert!(read.check(&entries).is_ok());
        let without = &entries[..entries.len() - 1];
        prop_assert!(read.check(without).is_err(), "nobody tells of it");
        let mut later = read.clone();
        later.at = Wall(read.at.0 + 1);
        for forged in [
            later,
            serde_json::from_str(&stored.replace("\"slots\":[]", "\"slots\":[1]")).unwrap(),
        ] {
            prop_assert!(forged.check(&entries).is_err(), "{forged:?}");
        }
        prop_assert_eq!(Checkpoint::default().check(&[]).is_ok(), true);
    }
}
