//! Tries seed after seed, on all cores; a seed that fails is made smaller before it is told.

use std::collections::BTreeSet;
use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use super::delivery::Trouble;
use super::outside::Hazards;
use super::product::Faults;
use super::world::{BEGIN, World};
use super::{Sums, simulate};

/// What a seed comes to before it is lived through.
pub struct Scenario<'s> {
    pub world: &'s mut World,
    pub trouble: &'s mut Trouble,
    pub faults: &'s mut Faults,
    pub hazards: &'s mut Hazards,
}

type Cut = (&'static str, fn(&mut Scenario<'_>));

/// What may be left out of a scenario.
const CUTS: [Cut; 25] = [
    ("late-half", |scenario| scenario.world.quiet_from -= (scenario.world.quiet_from - BEGIN) / 2),
    ("late-quarter", |scenario| scenario.world.quiet_from -= (scenario.world.quiet_from - BEGIN) / 4),
    ("orders", |scenario| scenario.world.have_orders(1)),
    ("failovers", |scenario| scenario.world.databases.iter_mut().for_each(|database| database.failover = None)),
    ("clocks", |scenario| scenario.world.databases.iter_mut().for_each(|database| database.clock_step = None)),
    ("stall", |scenario| scenario.trouble.stall = None),
    ("blind", |scenario| scenario.trouble.blind = None),
    ("connectors", |scenario| scenario.trouble.crashes = 0),
    ("deaths", |scenario| scenario.faults.deaths = 0),
    ("lost-disks", |scenario| scenario.faults.disks = 0),
    ("sleeps", |scenario| scenario.faults.sleeps = 0),
    ("moves", |scenario| scenario.faults.moves = 0),
    ("rules", |scenario| scenario.faults.rules = 0),
    ("retention", |scenario| scenario.faults.retention = 0),
    ("poison", |scenario| scenario.trouble.poison = 0),
    ("backlogs", |scenario| scenario.trouble.backlogs = 0),
    ("drops", |scenario| scenario.trouble.drops = 0),
    ("losses", |scenario| scenario.trouble.losses = 0),
    ("readings", |scenario| scenario.trouble.readings = 0),
    ("confirms", |scenario| scenario.faults.confirms = 0),
    ("counts", |scenario| (scenario.trouble.counts, scenario.trouble.drops) = (false, 0)),
    ("gaps", |scenario| scenario.faults.gaps = 0),
    ("brokers", |scenario| scenario.hazards.brokers = 0),
    ("vault", |scenario| (scenario.hazards.vault, scenario.hazards.damage) = (0, 0)),
    ("checkpoints", |scenario| scenario.hazards.checkpoints = 0),
];

/// Names of what is left out.
pub type Cuts = BTreeSet<String>;

impl Scenario<'_> {
    pub fn cut(&mut self, cuts: &Cuts) {
        for (_, cut) in CUTS.iter().filter(|(name, _)| cuts.contains(*name)) {
            cut(self);
        }
    }
}

/// What `EVENKEEL_CUTS` says, separated by commas.
pub fn cuts_told() -> Cuts {
    let told = std::env::var("EVENKEEL_CUTS").unwrap_or_default();
    told.split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

fn fails(seed: u64, cuts: &Cuts) -> bool {
    catch_unwind(AssertUnwindSafe(|| simulate(seed, cuts))).is_err()
}

/// Leaves out whatever a seed fails without.
fn shrink(seed: u64) -> Cuts {
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let mut cuts = Cuts::new();
    for (name, _) in CUTS {
        let more: Cuts = cuts.iter().cloned().chain([name.to_owned()]).collect();
        if fails(seed, &more) {
            cuts = more;
        }
    }
    std::panic::set_hook(hook);
    cuts
}

/// Lives through so many seeds. Panics with the least that fails.
pub fn search(seeds: u64) -> Sums {
    let next = AtomicU64::new(1);
    let failed = AtomicU64::new(u64::MAX);
    let sums = Mutex::new(Sums::default());
    let work = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed > seeds.min(failed.load(Ordering::Relaxed)) {
                return;
            }
            if seed.is_multiple_of((seeds / 10).max(1)) {
                // Past the test harness, which shows what is printed only where a test fails.
                let _ = writeln!(std::io::stderr(), "simulator: {seed} of {seeds} seeds");
            }
            match catch_unwind(AssertUnwindSafe(|| simulate(seed, &Cuts::new()))) {
                Ok(one) => sums.lock().expect("nobody panics while holding the sums").add(&one),
                Err(_) => drop(failed.fetch_min(seed, Ordering::Relaxed)),
            }
        }
    };
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| (0..cores).for_each(|_| drop(scope.spawn(work))));
    let failed = failed.into_inner();
    if failed < u64::MAX {
        let cuts = shrink(failed).into_iter().collect::<Vec<_>>().join(",");
        panic!(
            "seed {failed} of {seeds}; to see what is left of it, alone: \
             EVENKEEL_SEED={failed} EVENKEEL_CUTS={cuts} cargo test --test it -- --nocapture sim_"
        );
    }
    sums.into_inner().expect("nobody panicked while holding the sums")
}
