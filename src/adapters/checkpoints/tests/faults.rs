//! Two writers, one of them a zombie, and one who restores, on a store that fails by chance. Who goes next is chance, too,
//! request by request, so a seed says all.
//!
//! `EVENKEEL_SEED` tries one seed.

#[path = "../../../../tests/support/dice.rs"]
mod dice;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};

use object_store::path::Path as Key;
use sha2::{Digest, Sha256};
use tokio::runtime::Handle;

use self::dice::Dice;
use super::toxic::{Fate, Request, Shelf, Toxic};
use super::*;

const SEEDS: u64 = 200;
const ROUNDS: i64 = 6;
const PARTITION: i32 = 1;
const OWNER: usize = 0;
const ZOMBIE: usize = 1;
const RESTORER: usize = 2;

/// Who may go, and what has happened in the round.
struct Stage {
    dice: Dice,
    /// One request in so many fails.
    rate: Option<u64>,
    /// Those that work still, and those of them that wait for their turn.
    working: BTreeSet<usize>,
    waiting: BTreeSet<usize>,
    turn: Option<usize>,
    /// Deletes that are acknowledged, and will happen, or not.
    late: Vec<Key>,
    was_late: bool,
    restorer_failed: bool,
    /// The manifests that were intact when the round began, and those that were so all the time since.
    at_first: BTreeSet<String>,
    always: BTreeSet<String>,
    /// Those that were intact when the restorer, who had leased them, read what they name.
    leased: BTreeSet<String>,
}

struct World {
    shelf: Arc<Shelf>,
    stage: Mutex<Stage>,
    moved: Condvar,
}

/// The manifests whose every file is there, to the byte.
fn intact(shelf: &Shelf) -> BTreeSet<String> {
    let keys = shelf.keys();
    let is_whole = |key: &Key, sha256: &str| shelf.read(key).is_some_and(|text| hex(&Sha256::digest(text)) == sha256);
    let is_intact = |manifest: &Key| {
        let (folder, name) = manifest.as_ref().rsplit_once("/checkpoints/")?;
        let sha256 = name.strip_suffix(".json")?.split_once('-')?.1;
        let text = is_whole(manifest, sha256).then(|| shelf.read(manifest)).flatten()?;
        let text: serde_json::Value = serde_json::from_slice(&text).ok()?;
        let mut files = text["files"].as_array()?.iter().filter_map(|file| file["sha256"].as_str());
        let all = files.all(|sha256| is_whole(&Key::from(format!("{folder}/files/{sha256}")), sha256));
        all.then(|| name.to_owned())
    };
    keys.iter().filter_map(is_intact).collect()
}

fn next_offset(name: &str) -> i64 {
    name.split_once('-').and_then(|(offset, _)| offset.parse().ok()).unwrap_or(-1)
}

impl World {
    fn new(seed: u64) -> World {
        let mut dice = Dice::new(seed);
        let rate = dice.pick(&[None, Some(40), Some(12)]);
        let stage = Stage {
            dice,
            rate,
            working: BTreeSet::new(),
            waiting: BTreeSet::new(),
            turn: None,
            late: Vec::new(),
            was_late: false,
            restorer_failed: false,
            at_first: BTreeSet::new(),
            always: BTreeSet::new(),
            leased: BTreeSet::new(),
        };
        World { shelf: Arc::default(), stage: Mutex::new(stage), moved: Condvar::new() }
    }

    fn lock(&self) -> MutexGuard<'_, Stage> {
        self.stage.lock().expect("nobody panics with it")
    }

    /// A request of somebody's, as soon as it is their turn.
    fn ask(&self, who: usize, request: &Request<'_>) -> Fate {
        let mut stage = self.lock();
        let now = intact(&self.shelf);
        stage.always.retain(|name| now.contains(name));
        stage.turn = stage.turn.filter(|turn| *turn != who);
        stage.waiting.insert(who);
        loop {
            self.choose(&mut stage);
            if stage.turn == Some(who) {
                break;
            }
            stage = self.moved.wait(stage).expect("nobody panics with it");
        }
        self.fate(&mut stage, who, request)
    }

    /// Once everybody has come to a request, one of them goes on.
    fn choose(&self, stage: &mut Stage) {
        if stage.turn.is_none() && !stage.waiting.is_empty() && stage.waiting == stage.working {
            let waiting: Vec<usize> = stage.waiting.iter().copied().collect();
            let turn = stage.dice.pick(&waiting);
            stage.waiting.remove(&turn);
            stage.turn = Some(turn);
            self.moved.notify_all();
        }
    }

    fn leave(&self, who: usize) {
        let mut stage = self.lock();
        stage.working.remove(&who);
        stage.turn = stage.turn.filter(|turn| *turn != who);
        self.choose(&mut stage);
    }

    fn fate(&self, stage: &mut Stage, who: usize, request: &Request<'_>) -> Fate {
        if let (RESTORER, Request::Get(key)) = (who, request) {
            let now = intact(&self.shelf);
            stage.leased.extend(key.filename().filter(|name| now.contains(*name)).map(str::to_owned));
        }
        let Some(rate) = stage.rate else { return Fate::Served };
        if stage.dice.once_in(8) && !stage.late.is_empty() {
            let index = stage.dice.below(stage.late.len() as u64) as usize;
            self.shelf.remove(&stage.late.swap_remove(index));
            stage.was_late = true;
        }
        if !stage.dice.once_in(rate) {
            return Fate::Served;
        }
        stage.restorer_failed |= who == RESTORER;
        match (stage.dice.between(0, 3), request) {
            (0, Request::Delete(key)) => {
                stage.late.push((*key).clone());
                Fate::Lost
            }
            (1, Request::Delete(_)) => Fate::Lost,
            (0, _) => Fate::Torn,
            (1 | 2, _) => Fate::Unheard,
            _ => Fate::Refused,
        }
    }

    fn begin_round(&self, working: &[usize]) {
        let mut stage = self.lock();
        stage.working = working.iter().copied().collect();
        (stage.turn, stage.was_late, stage.restorer_failed) = (None, false, false);
        stage.at_first = intact(&self.shelf);
        stage.always = stage.at_first.clone();
        stage.leased.clear();
    }
}

/// Somebody who copies a state as it grows.
struct Writer {
    who: usize,
    folder: PathBuf,
    next_offset: i64,
    checkpoints: Checkpoints,
    digests: Digests,
}

impl Writer {
    /// Some tables come, as many go. Both writers have the same, and a file of their own.
    fn grow(&mut self, by: i64) {
        let table = |number: i64| self.folder.join(format!("{number:06}.sst"));
        for number in self.next_offset..self.next_offset + by {
            std::fs::write(table(number), format!("table {number}")).expect("it can be written");
            let _ = std::fs::remove_file(table(number - 3));
        }
        self.next_offset += by;
        std::fs::write(self.folder.join(NEXT), self.next_offset.to_string()).expect("it can be written");
        std::fs::write(self.folder.join("WHO"), self.who.to_string()).expect("it can be written");
    }

    fn upload(&mut self) -> Result<Uploaded, CheckpointError> {
        let Writer { folder, next_offset, checkpoints, digests, .. } = self;
        checkpoints.upload(PARTITION, folder, &about(*next_offset), digests, &GO)
    }
}

struct Play {
    seed: u64,
    world: Arc<World>,
    folder: tempfile::TempDir,
    owner: Writer,
    zombie: Writer,
    restorer: Checkpoints,
    /// What was to be uploaded, by where it goes on.
    states: BTreeMap<i64, Vec<Content>>,
}

impl Play {
    fn new(seed: u64, runtime: &Handle) -> Play {
        let (world, folder) = (Arc::new(World::new(seed)), folder());
        let checkpoints = |who| {
            let asked = Arc::clone(&world);
            let toxic = Toxic::new(&world.shelf, move |request| asked.ask(who, &request));
            Checkpoints::new(Store::of(Arc::new(toxic), runtime.clone()), identity(4), VERSION, 1)
        };
        let writer = |who: usize| {
            let path = folder.path().join(who.to_string());
            std::fs::create_dir(&path).expect("it can be made");
            let checkpoints = checkpoints(who);
            Writer { who, folder: path, next_offset: 0, checkpoints, digests: Digests::default() }
        };
        let (owner, zombie, restorer) = (writer(OWNER), writer(ZOMBIE), checkpoints(RESTORER));
        Play { seed, world, folder, owner, zombie, restorer, states: BTreeMap::new() }
    }

    fn home(&self) -> Arc<Home> {
        Arc::new(Home::lock(&self.folder.path().join("home")).expect("it is free"))
    }

    /// All at once, each request in its turn.
    fn round(&mut self) {
        let mut stage = self.world.lock();
        let (owner, zombie, long) = (stage.dice.between(1, 2), stage.dice.between(0, 2), stage.dice.once_in(2));
        drop(stage);
        self.world.shelf.pass(if long { 2 * PATIENCE } else { PATIENCE / 8 });
        self.owner.grow(owner);
        // It lags, and comes to what the other one has left.
        self.zombie.grow(zombie.min(self.owner.next_offset - self.zombie.next_offset));
        for writer in [&self.owner, &self.zombie] {
            self.states.entry(writer.next_offset).or_default().push(content(&writer.folder));
        }
        self.world.begin_round(&[OWNER, ZOMBIE, RESTORER]);
        let home = self.home();
        let (world, restorer) = (&self.world, &self.restorer);
        let (fetched, refused) = std::thread::scope(|scope| {
            for writer in [&mut self.owner, &mut self.zombie] {
                scope.spawn(|| {
                    let _ = writer.upload();
                    world.leave(writer.who);
                });
            }
            let fetched = scope.spawn(|| {
                let fetched = restorer.fetch(PARTITION, 0, &home, &GO, opens);
                world.leave(RESTORER);
                fetched
            });
            fetched.join().expect("it ends")
        });
        let fetched = fetched.map(|fetched| fetched.install().expect("it can be renamed").next_offset);
        self.check(fetched, &refused, home.folder());
    }

    fn check(&self, fetched: Option<i64>, refused: &Refused, folder: &Path) {
        if let Some(next) = fetched {
            let states = self.states.get(&next).into_iter().flatten();
            assert!(states.clone().any(|state| *state == content(folder)), "a state that nobody had, at {next}");
        }
        let stage = self.world.lock();
        if stage.restorer_failed {
            return;
        }
        let furthest = stage.always.iter().map(|name| next_offset(name)).max();
        assert!(fetched >= furthest, "{fetched:?} was taken where {furthest:?} was intact; {refused:?}");
        if stage.was_late {
            return;
        }
        for (_, error) in &refused.0 {
            if let CheckpointError::Unfit { name, .. } = &error {
                let was_safe = stage.at_first.contains(name) && stage.leased.contains(name);
                assert!(!was_safe, "it was leased and lost: {error}");
            }
        }
    }

    /// When nothing fails any more, all is well after an upload, and nothing is left over after two.
    fn end(&mut self) {
        self.world.lock().rate = None;
        for key in std::mem::take(&mut self.world.lock().late) {
            self.world.shelf.remove(&key);
        }
        for _ in 0..2 {
            self.world.shelf.pass(2 * PATIENCE);
            self.owner.grow(1);
            self.world.begin_round(&[OWNER]);
            self.owner.upload().expect("the store works");
            self.world.leave(OWNER);
            self.world.begin_round(&[RESTORER]);
            let home = self.home();
            let (fetched, refused) = self.restorer.fetch(PARTITION, 0, &home, &GO, opens);
            self.world.leave(RESTORER);
            let next = fetched.expect("it is there").install().expect("it can be renamed").next_offset;
            assert_eq!((next, refused.reasons()), (self.owner.next_offset, vec![]));
            assert_eq!(content(home.folder()), content(&self.owner.folder));
        }
        let files = std::fs::read_dir(&self.owner.folder).expect("it is there").count();
        let keys = self.world.shelf.keys();
        assert_eq!(keys.len(), 1 + files, "a manifest and its files, not {keys:?}");
    }
}

impl Drop for Play {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("to see it alone: EVENKEEL_SEED={} cargo test --lib faults", self.seed);
        }
    }
}

#[test]
fn whatever_fails_a_restore_gives_the_furthest_intact_state() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let runtime = runtime.expect("a runtime");
    let one = std::env::var("EVENKEEL_SEED").ok().and_then(|seed| seed.parse().ok());
    for seed in one.map_or(0..SEEDS, |seed: u64| seed..seed + 1) {
        let mut play = Play::new(seed, runtime.handle());
        for _ in 0..ROUNDS {
            play.round();
        }
        play.end();
    }
}

/// A writer of a state of its own, on a store that does as it is told.
fn writer(
    folder: &Path,
    shelf: &Arc<Shelf>,
    runtime: &Handle,
    ask: impl Fn(Request<'_>) -> Fate + Send + Sync + 'static,
) -> Writer {
    let store = Store::of(Arc::new(Toxic::new(shelf, ask)), runtime.clone());
    let checkpoints = Checkpoints::new(store, identity(4), VERSION, 1);
    Writer { who: OWNER, folder: folder.to_owned(), next_offset: 0, checkpoints, digests: Digests::default() }
}

/// Wherever an upload ends, what is listed is whole.
#[test]
fn a_manifest_comes_after_what_it_names() {
    let place = Place::new();
    let mut is_done = false;
    for served in 0..100 {
        let (folder, shelf) = (folder(), Arc::default());
        let left = Mutex::new(served);
        let fails = move |_: Request<'_>| {
            let mut left = left.lock().expect("nobody panics with it");
            *left -= 1;
            if *left < 0 { Fate::Refused } else { Fate::Served }
        };
        let mut writer = writer(folder.path(), &shelf, place.runtime.handle(), fails);
        writer.grow(2);
        is_done = writer.upload().is_ok();
        let manifests = shelf.keys().iter().filter(|key| key.as_ref().contains("/checkpoints/")).count();
        assert_eq!(intact(&shelf).len(), manifests, "after {served} requests");
    }
    assert!(is_done, "in the end all are served");
}

/// Nobody names it before, and it may be as old as a checkpoint that is gone.
#[test]
fn a_file_that_is_collected_before_it_is_named_is_written_again() {
    let place = Place::new();
    let (folder, shelf) = (folder(), Arc::<Shelf>::default());
    let (others, is_collected) = (Arc::clone(&shelf), AtomicBool::new(false));
    let collects = move |request: Request<'_>| {
        let names = matches!(request, Request::Put(key) if key.as_ref().contains("/checkpoints/"));
        if names && !is_collected.swap(true, std::sync::atomic::Ordering::Relaxed) {
            let keys = others.keys().into_iter().filter(|key| key.as_ref().contains("/files/"));
            keys.for_each(|key| others.remove(&key));
        }
        Fate::Served
    };
    let mut writer = writer(folder.path(), &shelf, place.runtime.handle(), collects);
    writer.grow(2);
    writer.upload().expect("the store works");
    assert_eq!(intact(&shelf).len(), 1);
}
