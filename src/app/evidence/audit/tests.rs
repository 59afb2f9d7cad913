//! Whatever is done to a chain is found, and nothing else is.

use super::*;

/// A chain as the publisher makes it.
fn chain_of(count: i64) -> Vec<Stored> {
    let mut records: Vec<Stored> = Vec::new();
    for offset in 0..count {
        let mut headers = vec![(CAUSE_HEADER.to_owned(), Some(format!("{offset}:0").into_bytes()))];
        let previous = records.last().map(chain::hash_of);
        headers.extend(previous.map(|hash| (PREVIOUS_HEADER.to_owned(), Some(hash.into_bytes()))));
        let value = Some(format!("{{\"number\":{offset}}}").into_bytes());
        records.push(Stored { offset, key: Some(b"42".to_vec()), value, headers });
    }
    records
}

fn audited(records: &[Stored], start: i64, earlier: Option<Head>) -> Audited {
    let mut auditor = Auditor::begin(0, start, earlier);
    records.iter().for_each(|record| auditor.take(record));
    auditor.end()
}

/// The kinds of what is found, each with its offset.
fn found(records: &[Stored]) -> Vec<(&'static str, i64)> {
    let place = |finding: &Finding| match finding {
        Finding::Broken { offset, .. } => ("broken", *offset),
        Finding::Foreign { offset } => ("foreign", *offset),
        Finding::Repeated { offset, .. } => ("repeated", *offset),
        Finding::Rewritten { offset, .. } => ("rewritten", *offset),
    };
    audited(records, 0, None).findings.iter().map(place).collect()
}

#[test]
fn a_chain_as_it_was_published_is_sound() {
    let records = chain_of(5);
    let audited = audited(&records, 0, None);
    assert_eq!((audited.records, audited.first, audited.found, audited.is_cut), (5, Some(0), 0, false));
    assert_eq!(audited.last, Some(Head { offset: 4, hash: chain::hash_of(&records[4]) }));
    assert_eq!(audited.verdict(), "ok");
    assert_eq!(found(&[]), []);
}

#[test]
fn an_altered_record_breaks_the_chain_behind_it() {
    let alterations: [fn(&mut Stored); 5] = [
        |record| record.value = Some(b"{}".to_vec()),
        |record| record.value = None,
        |record| record.key = Some(b"43".to_vec()),
        |record| record.headers.push(("more".into(), None)),
        |record| record.headers[0].1 = Some(b"2:1".to_vec()),
    ];
    for alter in alterations {
        let mut records = chain_of(5);
        alter(&mut records[2]);
        assert_eq!(found(&records), [("broken", 3)]);
    }
}

#[test]
fn a_record_that_was_removed_put_in_or_moved_is_found() {
    let mut removed = chain_of(5);
    removed.remove(2);
    assert_eq!(found(&removed), [("broken", 3)]);

    let mut first = chain_of(5);
    first.remove(0);
    assert_eq!(found(&first), [("broken", 1)], "retention would have said where the partition begins");

    let mut inserted = chain_of(5);
    inserted.insert(3, Stored { headers: chain_of(9)[8].headers.clone(), ..inserted[2].clone() });
    assert_eq!(found(&inserted), [("broken", 2), ("broken", 3), ("repeated", 3)]);

    let mut moved = chain_of(5);
    moved.swap(2, 3);
    assert_eq!(found(&moved), [("broken", 3), ("broken", 2), ("repeated", 2), ("broken", 4)]);
}

#[test]
fn a_record_of_somebody_else_is_named_and_does_not_hide_the_chain() {
    let mut records = chain_of(5);
    records.insert(2, Stored { offset: 77, ..Stored::default() });
    assert_eq!(found(&records), [("foreign", 77)]);
}

#[test]
fn a_repetition_is_found_though_its_hashes_are_right() {
    let mut records = chain_of(3);
    let again = Some(b"1:0".to_vec());
    records[2].headers[0].1 = again;
    assert_eq!(found(&records), [("repeated", 2)]);
}

#[test]
fn where_retention_removed_the_beginning_the_chain_begins_at_what_is_left() {
    let audited = audited(&chain_of(5)[2..], 2, None);
    assert_eq!((audited.first, audited.found, audited.is_cut), (Some(2), 0, true));
    assert!(audited.verdict().starts_with("ok from there on, retention removed"), "{}", audited.verdict());
}

/// A chain that somebody wrote anew, or cut the end off, is sound in itself.
#[test]
fn what_an_earlier_audit_saw_last_must_still_be_there() {
    let records = chain_of(5);
    let head = |record: &Stored| Some(Head { offset: record.offset, hash: chain::hash_of(record) });
    assert_eq!(audited(&records, 0, head(&records[3])).found, 0);
    let mut other = chain_of(5);
    other[3].value = None;
    assert_eq!(audited(&records, 0, head(&other[3])).found, 1, "it was written anew");
    assert_eq!(audited(&records[..3], 0, head(&records[3])).found, 1, "the end was cut off");
    let mut without = chain_of(5);
    without.remove(3);
    assert_eq!(audited(&without, 0, head(&records[3])).found, 2, "it was removed");
    let late = audited(&records[4..], 4, head(&records[3]));
    assert_eq!((late.found, late.is_out_of_reach), (0, true));
}

#[test]
fn findings_are_counted_beyond_those_that_are_told() {
    let foreign: Vec<Stored> = (0..50).map(|offset| Stored { offset, ..Stored::default() }).collect();
    let audited = audited(&foreign, 0, None);
    assert_eq!((audited.findings.len(), audited.found, audited.records), (TOLD, 50, 0));
}
