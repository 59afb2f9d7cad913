//! What is in doubt when, and what is no new snapshot.

use super::*;

/// The run that began at a second.
fn run(second: u64) -> RunId {
    RunId { number: (second * 1000) << 16 | 0x7000, family: 0 }
}

/// Two lanes of one connector that two sources share, promised up to 10 by a run before.
fn known() -> Snapshots {
    let mut known = Snapshots::new(2, 1);
    for lane in 0..2 {
        known.promise((0, lane), run(1), None, (Instant(10), Instant(9)));
    }
    known
}

fn promise(known: &mut Snapshots, lane: LaneIndex, by: RunId, before: i64, time: i64) {
    known.promise((0, lane), by, Some(Instant(before)), (Instant(time), Instant(time - 1)));
}

fn begin(known: &mut Snapshots, lane: LaneIndex, by: RunId, mark: i64) {
    known.begin((0, lane), by, Some(Instant(mark)), false, || 7);
}

fn doubt(known: &Snapshots, now: i64) -> Option<(bool, Generation)> {
    known.doubt(0, Instant(now)).map(|doubt| (doubt.is_whole, doubt.generation))
}

#[test]
fn what_happened_between_the_promises_before_and_the_end_of_a_snapshot_is_in_doubt() {
    let mut known = known();
    assert!(known.is_empty());
    begin(&mut known, 0, run(5), 12);
    assert_eq!((doubt(&known, 12), doubt(&known, 13)), (None, Some((true, 1))), "promised before its first row");
    begin(&mut known, 1, run(5), 11);
    assert_eq!(doubt(&known, 12), Some((true, 1)), "in another lane it came first");
    promise(&mut known, 0, run(1), 12, 20);
    assert_eq!(
        (doubt(&known, 12), doubt(&known, 30)),
        (Some((true, 1)), Some((true, 1))),
        "an old promise ends no doubt"
    );
    promise(&mut known, 1, run(5), 10, 40);
    assert_eq!((doubt(&known, 10), doubt(&known, 11)), (None, Some((true, 1))), "the least of all");
    promise(&mut known, 0, run(5), 20, 38);
    assert_eq!((doubt(&known, 99), known.began(0, Instant(99))), (Some((true, 1)), None), "it is not settled");
    assert!(known.settle(0, Instant(40), 0..2));
    assert_eq!((doubt(&known, 41), known.began(0, Instant(41))), (Some((false, 1)), Some(Instant(40))));
    assert_eq!((known.generation_of(0, run(4)), known.generation_of(0, run(6))), (0, 1));
}

#[test]
fn it_is_settled_with_all_its_lanes_and_compared_after_that() {
    let mut known = known();
    begin(&mut known, 0, run(5), 10);
    promise(&mut known, 0, run(5), 10, 40);
    assert!(!known.settle(0, Instant(50), 0..2), "the other lane");
    promise(&mut known, 1, run(6), 10, 42);
    assert!(!known.settle(0, Instant(41), 0..2), "its rows may stand up to 42");
    assert_eq!(known.settled(0), 0);
    assert!(known.settle(0, Instant(42), 0..2) && !known.settle(0, Instant(43), 0..2));
    assert_eq!((known.settled(0), known.uncompared(), known.is_open(Instant(43))), (1, vec![0], true));
    known.compared();
    assert_eq!((known.uncompared(), known.is_open(Instant(43))), (vec![], false));
    assert_eq!(doubt(&known, 60), Some((false, 1)), "rows that it has not seen");
}

/// An operator's blocking snapshot skips nothing; and a member that was restarted tells of a run for the first time again.
#[test]
fn what_a_run_reads_after_it_was_promised_is_no_new_snapshot() {
    let mut known = known();
    let mut begins = |lane, by: RunId| {
        begin(&mut known, lane, by, 10);
        known.taken[0].iter().map(|snapshot| snapshot.run.number >> 16).collect::<Vec<_>>()
    };
    assert_eq!(begins(0, run(1)), [0; 0]);
    assert_eq!(begins(1, RunId { number: run(1).number, family: 7 }), [0; 0], "whatever its positions are");
    assert_eq!(begins(1, RunId { number: 77, family: 0 }), [0; 0], "nobody knows when that began");
    assert_eq!(begins(0, run(5)), [5000]);
    assert_eq!((begins(1, run(5)), begins(0, run(3))), (vec![5000], vec![5000]), "another lane; one that is behind");
    promise(&mut known, 0, run(8), 10, 40);
    begin(&mut known, 0, run(7), 40);
    assert_eq!(known.taken[0].len(), 1, "older than what promises rest on");
}

#[test]
fn the_first_snapshot_leaves_no_doubt() {
    let mut known = Snapshots::new(2, 1);
    known.begin((0, 0), run(5), None, true, || 7);
    known.promise((0, 0), run(5), None, (Instant(40), Instant(30)));
    known.promise((0, 1), run(5), None, (Instant(40), Instant(30)));
    assert!(known.is_empty() && doubt(&known, 50).is_none() && !known.is_open(Instant(50)));
    assert_eq!((known.last(0), known.settled(0), known.settle(0, Instant(50), 0..2)), (0, 0, false));
    assert_eq!(known.anew(0), None);
    known.begin((0, 0), run(9), Some(Instant(50)), true, || 8);
    promise(&mut known, 0, run(9), 50, 70);
    assert_eq!((doubt(&known, 60), known.last(0)), (Some((true, 2)), 2), "it was not the first");
    assert_eq!(known.anew(0), Some((run(9), 8)));
}

/// One that was not finished is begun anew by the next run.
#[test]
fn of_two_snapshots_the_last_counts_and_old_ones_are_forgotten() {
    let mut known = known();
    begin(&mut known, 0, run(5), 10);
    begin(&mut known, 0, run(7), 10);
    promise(&mut known, 0, run(7), 10, 40);
    promise(&mut known, 1, run(7), 10, 40);
    assert_eq!((known.generation_of(0, run(5)), known.generation_of(0, run(7))), (1, 2));
    assert!(known.settle(0, Instant(40), 0..2));
    assert_eq!((doubt(&known, 10), doubt(&known, 20)), (None, Some((false, 2))));
    known.compared();
    for number in 2..20 {
        let time = number as i64 * 100;
        begin(&mut known, 0, run(number * 10), time - 50);
        promise(&mut known, 0, run(number * 10), time - 50, time);
        promise(&mut known, 1, run(number * 10), time - 50, time);
        known.settle(0, Instant(time), 0..2);
        known.compared();
        assert!(known.taken[0].len() <= 3, "{:?}", known.taken);
        assert_eq!(known.generation_of(0, run(1)) + 1, known.taken[0][0].generation, "older than all that are known");
    }
}

/// A connector that fails in every snapshot leaves no more behind with each.
#[test]
fn only_so_many_snapshots_that_were_broken_off_are_told_apart() {
    let mut known = known();
    for second in 5..1000 {
        begin(&mut known, 0, run(second), 10 + second as i64);
    }
    assert_eq!(known.taken[0].len(), MOST_BROKEN_OFF, "{:?}", known.taken[0]);
    assert_eq!((doubt(&known, 15), doubt(&known, 2000)), (None, Some((true, 995))), "since the first of them");
    assert_eq!(known.generation_of(0, run(4)), 0, "what came before all of them");
    assert_eq!(known.generation_of(0, run(999)), 995);
    // One that is left out is still in doubt from where it began.
    begin(&mut known, 0, run(1000), 2);
    begin(&mut known, 0, run(1001), 3000);
    assert_eq!((doubt(&known, 2), doubt(&known, 3)), (None, Some((true, 997))));
}
