//! How fast an order is explained and a log replayed: a measurement, for docs/evidence.md.
//!
//! EVENKEEL_LINES=1000000 cargo test --release --lib -- --ignored --nocapture replay_speed

use std::path::Path;
use std::time::Instant as Moment;

use super::stories::{Deployment, deployments};
use crate::domain::change::{Block, Change, Entry, Key, Mark, Operation, Position};
use crate::domain::value::Value;

/// Lines of a block, beside its promises.
const BLOCK: i64 = 250;

/// Orders that come, and are cancelled half a log later.
fn many(lines: i64) -> Deployment {
    let story = deployments(Path::new("tests/golden/paid-without-payment.yaml")).swap_remove(0).1;
    let template = &story.blocks[1];
    let Some(Entry::Change(change)) = template.entries.first() else { panic!("the story begins with a change") };
    let mut blocks = vec![story.blocks[0].clone()];
    for from in (0..lines).step_by(BLOCK as usize) {
        let mut entries: Vec<Entry> =
            (from..from + BLOCK).map(|line| Entry::Change(Box::new(one(change, line, lines / 2)))).collect();
        let time = change.source_time.plus((from + BLOCK - 1) * 100);
        entries.extend(
            (0..2).map(|topic_partition| Entry::Mark(Mark { topic_partition, time, proof: None, counted: false })),
        );
        blocks.push(Block { entries, ..template.clone() });
    }
    Deployment::new(story.settings.clone(), blocks)
}

fn one(template: &Change, line: i64, orders: i64) -> Change {
    let (order, number) = (line % orders, line as u64 + 1000);
    let status = if line < orders { "PENDING" } else { "CANCELLED" };
    let mut change = template.clone();
    change.offset = line + 1;
    change.source_time = template.source_time.plus(line * 100);
    change.position = Some(Position { transaction: number.into(), row: number.into() });
    change.transaction = number;
    change.key = Some(Key(order.to_string().as_str().into()));
    if let Operation::Upsert { columns, .. } = &mut change.operation {
        columns[0] = Value::Int(order);
        columns[1] = Value::Text(status.into());
    }
    change
}

#[test]
#[ignore = "a measurement"]
fn replay_speed() {
    let lines = std::env::var("EVENKEEL_LINES").ok().and_then(|text| text.parse().ok()).unwrap_or(100_000);
    let deployment = many(lines);
    let began = Moment::now();
    let (differing, summary) = deployment.replay(None, true);
    let replayed = began.elapsed();
    assert!(differing.is_empty() && summary.is_same(), "{summary}");
    let began = Moment::now();
    let account = deployment.explain("42", None, None);
    let explained = began.elapsed();
    let per_second = |took: std::time::Duration| summary.lines as f64 / took.as_secs_f64();
    println!("{summary}{account}");
    println!("replay --diff {replayed:?}, {:.0} lines a second", per_second(replayed));
    println!("explain       {explained:?}, {:.0} lines a second", per_second(explained));
}
