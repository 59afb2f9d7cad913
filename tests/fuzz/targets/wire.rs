//! The changes log's blocks and what a state keeps.

use std::sync::LazyLock;

use evenkeel::domain::catalog::{Catalog, Column, SourceTable};
use evenkeel::domain::change::Entry;
use evenkeel::domain::snapshots::Snapshots;
use evenkeel::domain::sql::Query;
use evenkeel::domain::value::Type;
use evenkeel::task::reconcile::{Confirming, Rest};
use evenkeel::task::wire::block as blocks;
use evenkeel::task::wire::rules::{decode_rules, encode_rules};
use evenkeel::task::wire::snapshots::{decode_snapshots, encode_snapshots};
use evenkeel::task::wire::state::{
    Layouts, decode_chunk, decode_key, decode_memory, encode_chunk, encode_key, encode_memory,
};
use evenkeel::task::wire::transactions::{decode_ledgers, encode_ledgers};

/// Two tables with the columns of the golden files, of every type, and fewer of them in the second.
static CATALOG: LazyLock<Catalog> = LazyLock::new(|| {
    let types = [
        Type::Text,
        Type::Text,
        Type::Bool,
        Type::Bool,
        Type::Int,
        Type::Decimal { scale: Some(2) },
        Type::Decimal { scale: None },
        Type::Text,
        Type::Bytes,
        Type::TimestampTz,
        Type::Date,
        Type::Time { precision: 6 },
        Type::Uuid,
        Type::Json,
    ];
    let table = |name: &str, count: usize| {
        let column = |(index, ty): (usize, &Type)| Column { name: format!("c{index}"), ty: *ty };
        let columns = types.iter().take(count).enumerate().map(column).collect();
        SourceTable { name: name.to_owned(), columns, key: 0, primary_key: vec![0] }
    };
    Catalog { sources: vec![table("orders", types.len()), table("payments", 5)], lookups: Vec::new() }
});

/// What a block says is written again, and read as the same; its rules are compiled as a member compiles them.
pub fn block(input: &[u8]) {
    let _ = blocks::fingerprint(input);
    let Ok(block) = blocks::decode(input, &CATALOG) else { return };
    let again = blocks::encode(&block, &CATALOG);
    assert_eq!(blocks::decode(&again, &CATALOG).as_ref(), Ok(&block), "a block is read as it was written");
    for entry in &block.entries {
        if let Entry::Rules(set) = entry {
            assert_eq!(decode_rules(&encode_rules(set)).as_ref(), Ok(set));
            let catalog = Catalog { sources: CATALOG.sources.clone(), lookups: set.lookups.clone() };
            set.rules.iter().for_each(|rule| drop(Query::compile(&rule.sql, &catalog)));
        }
    }
}

/// The first byte chooses what is read of a state.
pub fn state(input: &[u8]) {
    let Some((chosen, bytes)) = input.split_first() else { return };
    let layouts = Layouts::new(Vec::new(), &CATALOG).expect("the catalog's own layout fits");
    // What came last has a byte of its own, so that what was kept before says what it said.
    match if *chosen == u8::MAX { 5 } else { chosen % 5 } {
        0 => {
            let Ok((state, due)) = decode_key(bytes, &layouts) else { return };
            let again = encode_key(&state, due, &layouts);
            assert_eq!(decode_key(&again, &layouts), Ok((state, due)), "a key is read as it was written");
        }
        1 => {
            let Ok(memory) = decode_memory(bytes) else { return };
            assert_eq!(decode_memory(&encode_memory(&memory)).as_ref(), Ok(&memory));
            let _ = Layouts::new(memory.layouts, &CATALOG);
        }
        2 => {
            let Ok(waiting) = decode_chunk(bytes, 0, 1, &layouts) else { return };
            let again = encode_chunk(waiting.iter(), &layouts);
            assert_eq!(decode_chunk(&again, 0, 1, &layouts).as_ref(), Ok(&waiting));
        }
        3 => {
            let Ok((counted, ledgers)) = decode_ledgers(bytes, &CATALOG) else { return };
            let again = encode_ledgers(counted, &ledgers, &CATALOG);
            assert_eq!(
                decode_ledgers(&again, &CATALOG),
                Ok((counted, ledgers)),
                "counts are read as they were written"
            );
        }
        4 => {
            let Ok(set) = decode_rules(bytes) else { return };
            assert_eq!(decode_rules(&encode_rules(&set)).as_ref(), Ok(&set));
        }
        _ => {
            let nothing = || Confirming {
                known: Snapshots::new(2, 2).into(),
                rests: vec![Rest::default(); 2],
                ..Confirming::default()
            };
            let [mut known, mut again] = [nothing(), nothing()];
            if decode_snapshots(bytes, &mut known).is_ok() {
                assert_eq!(decode_snapshots(&encode_snapshots(&known), &mut again), Ok(()));
                assert_eq!(again, known, "snapshots are read as they were written");
            }
        }
    }
}
