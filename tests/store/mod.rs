//! The two stores of the task held against each other: what one answers, the other does. And the store of checkpoints.

mod s3;

use evenkeel::adapters::rocksdb::{RocksStore, SharedMemory};
use evenkeel::task::store::{Batch, MemoryStore, Pair, Space, Store};

use crate::support::dice::Dice;

/// Few and short, so that keys meet: again, as prefixes of each other, and at the ends of the order.
fn bytes(dice: &mut Dice) -> Vec<u8> {
    let length = dice.below(4);
    (0..length).map(|_| dice.pick(&[0, 1, b'a', 0x7f, 0x80, 0xff])).collect()
}

fn batch(dice: &mut Dice) -> Batch {
    let mut batch = Batch::default();
    for _ in 0..dice.below(8) {
        let (space, key) = (dice.pick(&Space::ALL), bytes(dice));
        match dice.once_in(3) {
            true => batch.delete(space, key),
            false => batch.put(space, key, bytes(dice)),
        }
    }
    batch
}

/// The answer to a question asked by chance.
fn answer<S: Store>(store: &S, mut dice: Dice) -> (Option<Vec<u8>>, Vec<Pair>) {
    let space = dice.pick(&Space::ALL);
    let found = store.get(space, &bytes(&mut dice)).expect("it can be read");
    let (from, until) = (bytes(&mut dice), bytes(&mut dice));
    let until = dice.once_in(2).then_some(until);
    let limit = dice.pick(&[0, 1, 3, 1000]);
    (found, store.scan(space, &from, until.as_deref(), limit).expect("it can be read"))
}

#[test]
fn store_on_disk_and_store_in_memory_are_one() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let shared = SharedMemory::new(8 << 20);
    let open = || RocksStore::open(folder.path(), &shared).expect("it opens");
    let (mut disk, mut memory) = (open(), MemoryStore::default());
    let mut dice = Dice::new(1);
    for step in 0..3000 {
        let batch = batch(&mut dice);
        disk.write(batch.clone()).expect("it can be written");
        memory.write(batch).expect("it can be written");
        if dice.once_in(300) {
            drop(disk);
            disk = open();
        }
        for _ in 0..4 {
            let question = dice.next();
            let [on_disk, in_memory] = [answer(&disk, Dice::new(question)), answer(&memory, Dice::new(question))];
            assert_eq!(on_disk, in_memory, "after step {step}, question {question}");
        }
    }
}
