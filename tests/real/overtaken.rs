//! Retention of the changes log that goes further than what a disk holds: a checkpoint makes up for it, or it is an error
//! with a name, which says whether a checkpoint might.

use std::time::Duration;

use rdkafka::admin::AdminOptions;
use rdkafka::{Offset, TopicPartitionList};

use super::anew::admin;
use super::binary::{Binary, Shipped};
use super::product::instant;
use super::shipped::{compare, end, sell, sources, start};
use super::watch::Watch;
use super::{Result, Stack, wait_until};

const LIMIT: Duration = Duration::from_secs(90);

const CHANGES: &str = "evenkeel.cut.changes";

/// Deletes the records of topic-partitions below offsets.
pub fn delete_below(stack: &Stack, topic: &str, offsets: impl IntoIterator<Item = (i32, i64)>) -> Result {
    let mut list = TopicPartitionList::new();
    for (partition, offset) in offsets {
        list.add_partition_offset(topic, partition, Offset::Offset(offset))?;
    }
    let deleted = admin(stack)?;
    tokio::runtime::Runtime::new()?.block_on(deleted.delete_records(&list, &AdminOptions::new()))?;
    Ok(())
}

fn overtaken() -> Result {
    let stack = super::stack();
    let folder = tempfile::tempdir()?;
    let (shop, pay) = sources(&stack, "cut")?;
    let [store, away] = ["store", "away"].map(|name| folder.path().join(name));
    std::fs::create_dir(&store)?;
    let checkpoints = format!("\ncheckpoints: {{url: \"{}\", every: 1s}}\nslack: 1s\n", store.display());
    let shipped = Shipped::read("evenkeel.yaml", "cut", &shop, &pay)?.replace("\nslack: 1s\n", &checkpoints);
    let binary = shipped.binary(&stack, folder.path())?;
    let mut watch = start(&stack, [&shop, &pay], &binary, "cut")?;
    sell(&stack, 10)?;
    let sold = instant(&stack, 0)?;
    watch.until("it has read them", LIMIT, |watch| watch.has_settled(2, &sold))?;
    let first = furthest_checkpoints(&binary.state()?);
    wait_until("later checkpoints", LIMIT, || {
        let later = furthest_checkpoints(&binary.state()?);
        Ok((later.len() == 2 && later.iter().all(|one| !first.contains(one))).then_some(()))
    })?;
    binary.stop()?;
    let kept = furthest_checkpoints(&binary.state()?);
    delete_below(&stack, CHANGES, kept.clone())?;
    binary.erase()?;

    std::fs::rename(&store, &away)?;
    std::fs::write(&store, "no folder")?;
    let said = failure(&binary)?;
    assert!(said.contains(&format!("changes log {CHANGES}:")), "{said}");
    assert!(said.contains("a checkpoint that may go further was not taken"), "{said}");

    std::fs::remove_file(&store)?;
    std::fs::create_dir(&store)?;
    let said = failure(&binary)?;
    assert!(said.contains(&format!("changes log {CHANGES}:")), "{said}");
    assert!(said.contains("Give the reconciliation a new name"), "{said}");

    std::fs::remove_dir_all(&store)?;
    std::fs::rename(&away, &store)?;
    binary.start()?;
    sell(&stack, 20)?;
    compare(&stack, &shipped, &binary, &mut watch)?;
    end(&stack, &binary, [&shop, &pay])
}

/// Starts it; gives the error with which it ends.
fn failure(binary: &Binary) -> Result<String> {
    binary.launch()?;
    let log = binary.failure();
    Ok(binary.last_error().unwrap_or(log))
}

/// Of each partition that has any, the offset of the furthest.
fn furthest_checkpoints(state: &serde_json::Value) -> Vec<(i32, i64)> {
    let partitions = state["partitions"].as_array().expect("it lists partitions");
    let furthest = partitions.iter().filter_map(|partition| {
        let number = partition["partition"].as_i64().expect("it has a number");
        Some((number as i32, partition["checkpoints"][0]["next_offset"].as_i64()?))
    });
    furthest.collect()
}

#[test]
#[ignore = "real stack"]
fn real_changes_log_that_retention_has_cut_needs_a_checkpoint() {
    overtaken().expect("the stack works");
}
