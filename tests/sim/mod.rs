//! The simulator: seeded histories of two databases, delivered as Debezium would, through the product's own ingest
//! and task, crashed at any step; and an oracle that knows what must come of it, to the letter.
//!
//! `EVENKEEL_SEEDS` is how many seeds are tried, `EVENKEEL_SEED` tries one of them and tells what it was; `EVENKEEL_CUTS` leaves
//! out some of it.

mod checks;
mod delivery;
mod doubts;
mod events;
mod feed;
mod law;
mod life;
mod misfits;
mod operator;
mod oracle;
mod outside;
mod process;
mod product;
mod published;
mod rules;
mod search;
mod seat;
mod transactions;
mod world;

use std::collections::BTreeSet;
use std::rc::Rc;

use self::delivery::{Delivery, PARTITIONS, Trouble};
use self::life::Said;
use self::oracle::{Oracle, Verdict};
use self::outside::{Happened, Hazards};
use self::product::{Faults, Product, SLACK, STALL_AFTER};
use self::search::{Cuts, Scenario};
use self::world::{BEGIN, Micros, SECOND, World};
use crate::support::dice::Dice;

const SEEDS: u64 = 10_000;

#[test]
fn sim_says_what_the_oracle_says() {
    if let Some(seed) = number("EVENKEEL_SEED") {
        simulate(seed, &search::cuts_told());
        return;
    }
    let seeds = number("EVENKEEL_SEEDS").unwrap_or(SEEDS);
    let sums = search::search(seeds);
    println!("{seeds} seeds: {sums:?}");
    // A simulation in which nothing happens proves nothing.
    let Sums { transactions, said, open, late, repeated, replayed, stalls, disturbances, turns, .. } = sums;
    let Sums { epochs, held, grown, clocks, incomplete, rereads, unseen, confirmed, faults, .. } = sums;
    let Happened { crashes, fenced, in_doubt, restored, refused, lost_disks, retained, gaps, stuck, requeued } =
        faults;
    let happened = [
        [
            transactions,
            said,
            open,
            late,
            repeated,
            replayed,
            stalls,
            disturbances,
            turns,
            epochs,
            held,
            grown,
            clocks,
            incomplete,
            rereads,
            unseen,
            confirmed,
        ]
        .as_slice(),
        &[crashes, fenced, in_doubt, restored, refused, lost_disks, retained, gaps, stuck, requeued],
    ]
    .concat();
    assert!(seeds < 200 || happened.iter().all(|count| *count > seeds / 50), "{sums:?}");
}

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable}={text} is no number")))
}

/// What was simulated, so that it can be seen to have happened.
#[derive(Clone, Copy, Debug, Default)]
struct Sums {
    transactions: u64,
    said: u64,
    open: u64,
    late: u64,
    repeated: u64,
    replayed: u64,
    stalls: u64,
    disturbances: u64,
    /// How often rules were said, mostly others.
    turns: u64,
    /// Changes that began positions anew.
    epochs: u64,
    /// Discrepancies that nobody could say were over.
    held: u64,
    /// Partitions that were added.
    grown: u64,
    /// Clocks that were set.
    clocks: u64,
    /// Transactions that were said to lack something.
    incomplete: u64,
    /// Snapshots that connectors took since they began, rows that these did not see, and such as operators said to be gone or kept.
    rereads: u64,
    unseen: u64,
    confirmed: u64,
    faults: Happened,
}

impl Sums {
    fn add(&mut self, other: &Sums) {
        self.transactions += other.transactions;
        self.said += other.said;
        self.open += other.open;
        self.late += other.late;
        self.repeated += other.repeated;
        self.replayed += other.replayed;
        self.stalls += other.stalls;
        self.disturbances += other.disturbances;
        self.turns += other.turns;
        self.epochs += other.epochs;
        self.held += other.held;
        self.grown += other.grown;
        self.clocks += other.clocks;
        self.incomplete += other.incomplete;
        self.rereads += other.rereads;
        self.unseen += other.unseen;
        self.confirmed += other.confirmed;
        self.faults.add(&other.faults);
    }
}

/// Lives through one seed and compares.
fn simulate(seed: u64, cuts: &Cuts) -> Sums {
    let Lived { product, settled, books, partial } = live(seed, cuts);
    let (world, delivery) = {
        let outside = product.outside();
        (Rc::clone(&outside.world), Rc::clone(&outside.delivery))
    };
    let (world, delivery) = (world.borrow(), delivery.borrow());
    compare(&world, &delivery, (&product, &settled), (&books, partial), seed)
}

/// What a seed has come to.
struct Lived {
    product: Product,
    /// For each partition of the changes log.
    settled: Vec<Option<Micros>>,
    books: Vec<rules::Book>,
    partial: [bool; 3],
}

/// Lives through one seed, until everything is judged and stopped in order.
fn live(seed: u64, cuts: &Cuts) -> Lived {
    let mut dice = Dice::new(seed);
    let mut world = World::new(&mut dice);
    let stall_from = BEGIN + dice.between(5, 20) * SECOND;
    let stall = dice.once_in(3).then(|| {
        let length = if dice.once_in(2) { STALL_AFTER + 20 * SECOND } else { 8 * SECOND };
        (dice.below(2) as usize, stall_from, stall_from + length)
    });
    let blind = dice.once_in(3).then(|| {
        let lane = dice.below(PARTITIONS.iter().sum::<i32>() as u64) as usize;
        // Often while a database fails over: then others hear of the new positions first.
        let failovers: Vec<_> = world.databases.iter().filter_map(|database| Some(database.failover?.at)).collect();
        let from = match failovers.as_slice() {
            [] => BEGIN + dice.between(5, 50) * SECOND,
            some => dice.pick(some) - dice.between(0, 6) * SECOND,
        };
        (lane, from, from + dice.between(1, 15) * SECOND)
    });
    let breaks_promises = dice.once_in(4);
    // Only what is on its way for long can be lost, and come again after a promise.
    let (delays, crashes) = match breaks_promises {
        true => ([SLACK / 2, SLACK - 1, SLACK - 1], [20, 30, 100]),
        false => ([1, SECOND / 10, SLACK - 1], [0, 30, 100]),
    };
    let mut trouble = Trouble {
        delay: dice.pick(&delays),
        crashes: dice.pick(&crashes),
        breaks_promises,
        stall,
        blind,
        // Without the orders' first rows their notes are unknown, and what rests on them.
        without_snapshot: [5, 2, 5].map(|often| dice.once_in(often)),
        poison: 0,
        backlogs: 0,
        pause: SLACK / 2,
        counts: false,
        losses: 0,
        readings: 0,
        drops: 0,
    };
    // Mostly it is said where history is known in part only.
    let partial = trouble.without_snapshot.map(|lacks| lacks != dice.once_in(8));
    let mut faults = Faults {
        deaths: dice.pick(&[0, 20, 80]),
        disks: dice.pick(&[0, 2, 6]),
        sleeps: dice.pick(&[0, 40, 100]),
        moves: dice.pick(&[0, 30]),
        rules: dice.pick(&[0, 0, 30, 100]),
        retention: dice.pick(&[0, 10, 40]),
        gaps: dice.pick(&[0, 0, 0, 40]),
        requeues: 0,
        confirms: 0,
    };
    // Dice of their own: what else a seed comes to does not depend on them.
    let mut operators = Dice::new(!seed);
    trouble.poison = operators.pick(&[0, 0, 5, 40]);
    faults.requeues = operators.pick(&[10, 40]);
    trouble.counts = operators.once_in(2);
    trouble.drops = if trouble.counts { operators.pick(&[0, 0, 10, 40]) } else { 0 };
    let mut snapshots = Dice::new(seed ^ 0x5A5A_5A5A_5A5A_5A5A);
    trouble.losses = snapshots.pick(&[0, 0, 2, 6]);
    faults.confirms = snapshots.pick(&[0, 40]);
    trouble.readings = Dice::new(seed ^ 0x3C3C_3C3C_3C3C_3C3C).pick(&[0, 0, 10]);
    // What is not understood does not tell whether more is on its way.
    let backlogs = Dice::new(seed ^ 0x6969_6969_6969_6969).pick(&[0, 0, 2, 5]);
    trouble.backlogs = if trouble.poison == 0 { backlogs } else { 0 };
    let mut hazards = Hazards {
        brokers: dice.pick(&[0, 5, 30]),
        vault: dice.pick(&[0, 2, 10]),
        checkpoints: dice.pick(&[0, 5, 30]),
        damage: dice.pick(&[0, 3]),
        disks: dice.pick(&[3, 10]),
        look_up: dice.pick(&[1, 3, 6]),
    };
    let (world_, trouble_) = (&mut world, &mut trouble);
    Scenario { world: world_, trouble: trouble_, faults: &mut faults, hazards: &mut hazards }.cut(cuts);
    let quiet = world.quiet_from;
    let books = rules::books(&mut dice);
    let plans: Vec<_> = books.iter().map(|book| rules::plan(book, partial)).collect();
    let delivery = Delivery::new(&mut dice, &world, trouble);
    let mut product = Product::new(&mut dice, &plans, (world, delivery), (faults, hazards));
    let (world, delivery) = {
        let outside = product.outside();
        (Rc::clone(&outside.world), Rc::clone(&outside.delivery))
    };
    let mut now = BEGIN;
    let end = quiet.max(trouble.stall.map_or(0, |(_, _, until)| until)) + 30 * SECOND;
    let mut steps = 0;
    if number("EVENKEEL_SEED").is_some() {
        println!("{:?} {:?} {:?}", product.faults, product.outside().hazards, delivery.borrow().trouble);
    }
    let mut is_calm = false;
    while now < end
        || !delivery.borrow().is_done(&world.borrow(), end)
        || !product.has_settled(end)
        || !product.requeue_all()
    {
        let longest = if dice.once_in(8) { 3 * SECOND } else { SECOND / 3 };
        now += dice.between(1, longest);
        steps += 1;
        assert!(steps < 20_000, "it comes to no end: settled up to {:?}, wanted {end}", product.settled());
        world.borrow_mut().advance(&mut dice, now);
        delivery.borrow_mut().advance(&mut dice, &world.borrow(), now);
        if now > end && (!is_calm || dice.once_in(20)) {
            is_calm = true;
            delivery.borrow_mut().trouble.crashes = 0;
            product.calm();
        }
        product.requeue(&mut operators);
        product.confirm(&mut snapshots);
        product.step(&mut dice, now);
    }
    product.finish(&mut dice, now);
    if trouble.poison > 0 && is_told_whole(&world.borrow(), &delivery.borrow()) {
        product.check_rows();
    }
    let settled = product.settled();
    product.end();
    Lived { product, settled, books, partial }
}

/// True where nothing was lost on the way from the databases, or in quarantine when nobody could say what has followed.
fn is_told_whole(world: &World, delivery: &Delivery) -> bool {
    let without = delivery.trouble.without_snapshot.contains(&true);
    let is_restored = |database: &world::Database| database.failover.is_some() || database.clock_step.is_some();
    let is_restored = world.databases.iter().any(is_restored);
    let Trouble { breaks_promises, drops, .. } = delivery.trouble;
    let is_skipped = !delivery.skipped.is_empty();
    let is_cut = delivery.lanes.iter().any(|lane| lane.start > 0);
    !without && !is_restored && !breaks_promises && !is_skipped && !is_cut && drops == 0 && delivery.lost.is_empty()
}

/// Two lives of an order, line by line: what was to be said and was not, what was said and should not have been.
fn show(expected: &[Said], got: &[Said]) {
    let mut got = got.iter().peekable();
    for one in expected {
        if !got.clone().any(|said| said == one) {
            println!("- {one:?}");
            continue;
        }
        while let Some(said) = got.next_if(|said| *said != one) {
            println!("+ {said:?}");
        }
        got.next();
        println!("  {one:?}");
    }
    got.for_each(|said| println!("+ {said:?}"));
}

fn compare(
    world: &World,
    delivery: &Delivery,
    (product, settled): (&Product, &[Option<Micros>]),
    (books, partial): (&[rules::Book], [bool; 3]),
    seed: u64,
) -> Sums {
    let told = number("EVENKEEL_SEED").is_some();
    let honest = !delivery.trouble.breaks_promises;
    let mut sums = Sums {
        disturbances: product.disturbances,
        stalls: product.stalls(),
        grown: product.grown,
        clocks: world.databases.iter().filter(|database| database.clock_step.is_some()).count() as u64,
        rereads: delivery.rereads.len() as u64,
        faults: product.outside().happened,
        ..Sums::default()
    };
    sums.transactions = world.databases.iter().map(|database| database.log.len() as u64).sum();
    let outside = product.outside();
    for (partition, log) in outside.log.iter().enumerate() {
        let (published, counted) = (&outside.outlets[partition].visible, product.counted(partition));
        let oracle = Oracle { world, delivery, books, partial, partition_of: &Product::partition_of, partition };
        let lines: Vec<_> = log.blocks.iter().map(|block| block.lines.clone()).collect();
        let verdict: Verdict = oracle.judge(&lines);
        if honest {
            assert_eq!(oracle.broken_promises(&lines), [""; 0]);
            // What was lost, and sent again by its connector, comes after the promises that were acknowledged meanwhile.
            let may_be_late = outside.happened.gaps > 0;
            assert!(may_be_late || verdict.late == 0, "seed {seed}: nothing is late where no promise is broken");
            assert!(
                may_be_late || verdict.unplaced || !verdict.lifted,
                "seed {seed}: a change stands where its database says"
            );
            assert_eq!(verdict.lacking, [""; 0], "seed {seed}: what is settled is all there");
        }
        let said = published::said(published, &outside.group.topics);
        for key in verdict.said.keys().chain(said.keys()) {
            let (expected, got) = (verdict.said.get(key), said.get(key));
            if told && expected != got {
                show(expected.map_or(&[], Vec::as_slice), got.map_or(&[], Vec::as_slice));
            }
            assert!(expected == got, "seed {seed}, partition {partition}, order {key}: something else was said");
        }
        // Rules that come, go and come again in one instant may find the same again; else nothing is said twice.
        if verdict.turns == 0 {
            let revision = |said: &Said| (said.key, said.rule, said.identity.clone(), said.since, said.revision);
            let revisions: BTreeSet<_> = said.values().flatten().map(revision).collect();
            assert_eq!(revisions.len(), said.values().flatten().count(), "seed {seed}: each revision is said once");
        }
        assert_eq!(published::open_now(published), verdict.open, "seed {seed}, partition {partition}: what is open");
        assert_eq!(settled[partition], verdict.settled, "seed {seed}: settled");
        let (expected, got) = (verdict.epochs, counted.epochs);
        let counted_again = counted.opened > 1 && got > expected;
        // What was lost may have been what would have told.
        let not_heard = (outside.happened.gaps > 0 || !delivery.rereads.is_empty()) && got < expected;
        assert!(
            counted_again || not_heard || got == expected,
            "seed {seed}: positions began anew {got} times, not {expected}"
        );
        sums.said += verdict.said.values().map(|said| said.len() as u64).sum::<u64>();
        sums.open += verdict.open.len() as u64;
        sums.late += verdict.late;
        sums.repeated += counted.repeated;
        sums.replayed += counted.replayed;
        sums.epochs += verdict.epochs;
        sums.held += verdict.held;
        sums.turns += verdict.turns;
    }
    product.check_notices(delivery.trouble.stall);
    product.check_quarantine();
    (sums.unseen, sums.confirmed) = product.unconfirmed();
    if honest {
        sums.incomplete = product.check_transactions(settled.iter().flatten().min().copied().unwrap_or(BEGIN));
    }
    sums
}
