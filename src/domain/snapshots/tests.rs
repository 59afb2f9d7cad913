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

fn doubt(known: &Snapshots, now: i64) -> Option<(bool, Generation)> {
    known.doubt(0, Instant(now)).map(|doubt| (doubt.is_whole, doubt.generation))
}

#[test]
fn what_happened_between_the_promises_before_and_the_end_of_a_snapshot_is_in_doubt() {
    let mut known = known();
    assert!(known.is_empty());
    assert!(known.begin(0, 0, run(5), false));
    assert!(!known.begin(0, 1, run(5), false), "another lane of it");
    assert_eq!((doubt(&known, 50), known.is_open(Instant(50))), (None, false), "nothing of it is promised");
    promise(&mut known, 1, run(5), 12, 40);
    assert_eq!(doubt(&known, 12), None, "promised before it");
    assert_eq!(doubt(&known, 13), Some((true, 1)));
    promise(&mut known, 0, run(5), 10, 38);
    assert_eq!((doubt(&known, 10), doubt(&known, 11)), (None, Some((true, 1))), "the least of both");
    assert_eq!((doubt(&known, 39), doubt(&known, 40)), (Some((true, 1)), Some((false, 1))), "the greatest of both");
    assert_eq!((known.generation_of(0, run(4)), known.generation_of(0, run(6))), (0, 1));
    assert_eq!((known.began(0, Instant(39)), known.began(0, Instant(40))), (None, Some(Instant(40))));
}

#[test]
fn it_is_settled_with_all_its_lanes_and_compared_after_that() {
    let mut known = known();
    known.begin(0, 0, run(5), false);
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
    assert!(!known.begin(0, 0, run(1), false));
    assert!(!known.begin(0, 1, RunId { number: run(1).number, family: 7 }, false), "whatever its positions are");
    assert!(known.begin(0, 0, run(5), false));
    promise(&mut known, 0, run(8), 10, 40);
    assert!(!known.begin(0, 0, run(7), false), "older than what promises rest on");
    assert!(!known.begin(0, 1, run(4), false), "a lane that is behind tells of an older one");
    assert!(!known.begin(0, 1, RunId { number: 77, family: 0 }, false), "nobody knows when that began");
}

#[test]
fn the_first_snapshot_leaves_no_doubt() {
    let mut known = Snapshots::new(2, 1);
    assert!(known.begin(0, 0, run(5), true));
    known.promise((0, 0), run(5), None, (Instant(40), Instant(30)));
    known.promise((0, 1), run(5), None, (Instant(40), Instant(30)));
    assert!(known.is_empty() && doubt(&known, 50).is_none() && !known.is_open(Instant(50)));
    assert_eq!((known.last(0), known.settled(0), known.settle(0, Instant(50), 0..2)), (0, 0, false));
    assert!(known.begin(0, 0, run(9), true), "it was not the first");
    promise(&mut known, 0, run(9), 50, 70);
    assert_eq!((doubt(&known, 60), known.last(0)), (Some((true, 2)), 2));
}

/// One that was not finished is begun anew by the next run.
#[test]
fn of_two_snapshots_the_last_counts_and_old_ones_are_forgotten() {
    let mut known = known();
    known.begin(0, 0, run(5), false);
    known.begin(0, 0, run(7), false);
    promise(&mut known, 0, run(7), 10, 40);
    promise(&mut known, 1, run(7), 10, 40);
    assert_eq!((doubt(&known, 20), doubt(&known, 40)), (Some((true, 2)), Some((false, 2))));
    assert_eq!((known.generation_of(0, run(5)), known.generation_of(0, run(7))), (1, 2));
    assert!(known.settle(0, Instant(40), 0..2));
    known.compared();
    for number in 2..20 {
        known.begin(0, 0, run(number * 10), false);
        let time = number as i64 * 100;
        promise(&mut known, 0, run(number * 10), time - 50, time);
        promise(&mut known, 1, run(number * 10), time - 50, time);
        known.settle(0, Instant(time), 0..2);
        known.compared();
        assert!(known.taken[0].len() <= 3, "{:?}", known.taken);
        assert_eq!(known.generation_of(0, run(1)) + 1, known.taken[0][0].generation, "older than all that are known");
    }
}
