//! A state, a changes log and an output that are not each other's: whoever is to work with them says so, and does nothing.

use evenkeel::task::worker::Misfit;

use super::live;
use super::outside::{Log, Outside};
use super::product::Product;
use super::search::Cuts;
use super::seat::Fault;
use crate::support::dice::Dice;

const PARTITION: usize = 0;

/// Lives through a seed, changes what is outside, and begins again.
fn after(change: impl FnOnce(&mut Outside)) -> (Product, Result<(), Fault>) {
    let mut product = live(1, &Cuts::new()).product;
    change(&mut product.outside_mut());
    let begun = product.begin_again(&mut Dice::new(1), PARTITION);
    (product, begun)
}

fn log(outside: &mut Outside) -> &mut Log {
    outside.vault[PARTITION].clear();
    &mut outside.log[PARTITION]
}

/// Nothing more is said, and the fault is such a one.
fn check(change: impl FnOnce(&mut Outside), is_it: impl Fn(Misfit) -> bool) {
    let said = live(1, &Cuts::new()).product.outside().outlets[PARTITION].visible.len();
    let (product, begun) = after(change);
    match begun {
        Err(Fault::Misfit(misfit)) if is_it(misfit) => {}
        other => panic!("{other:?}"),
    }
    assert_eq!(product.outside().outlets[PARTITION].visible.len(), said);
}

#[test]
fn sim_what_fits_goes_on() {
    let (_, begun) = after(|_| {});
    assert!(begun.is_ok(), "{begun:?}");
}

#[test]
fn sim_a_changes_log_that_retention_has_cut_behind_the_state_is_refused() {
    let cut = |outside: &mut Outside| {
        let log = log(outside);
        let block = log.blocks.pop().expect("there are blocks");
        // As long as before, and two more.
        let more = [(); 3].map(|()| super::outside::Logged { bytes: block.bytes.clone(), lines: Vec::new() });
        log.blocks.extend(more);
        log.start = log.blocks.len() - 1;
    };
    check(cut, |misfit| matches!(misfit, Misfit::Overtaken { next, start } if start > next));
}

#[test]
fn sim_a_changes_log_that_ends_before_the_state_is_refused() {
    check(|outside| log(outside).blocks.truncate(1), |misfit| matches!(misfit, Misfit::Gap { end: 1, .. }));
}

#[test]
fn sim_a_changes_log_with_other_blocks_is_refused() {
    let swap = |outside: &mut Outside| {
        let blocks = &mut log(outside).blocks;
        let last = blocks.len() - 1;
        blocks.swap(0, last);
    };
    check(swap, |misfit| matches!(misfit, Misfit::Another { .. }));
}
