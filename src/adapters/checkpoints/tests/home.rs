//! The home of a state: who may work in it, and what a process that was killed leaves there.

use super::*;

/// Wherever a process is killed while a fresh state takes the place of another, the one or the other is there.
#[test]
fn a_home_clears_up_after_whoever_was_killed_there() {
    let place = Place::new();
    let folder = place.home().folder().to_owned();
    let write = |word: &str, content: &str| {
        let folder = folder.with_file_name(format!("restored{word}"));
        std::fs::create_dir_all(&folder).expect("it can be made");
        std::fs::write(folder.join("own"), content).expect("it can be written");
    };
    let check = |expected: &str| {
        assert_eq!(content(place.home().folder()), owned(&[("own", expected)]));
        let mut left: Vec<_> = paths(place.folder.path()).expect("it is there");
        left.retain(|path| path.is_dir());
        assert_eq!(left, std::slice::from_ref(&folder), "nothing else stays");
    };
    write("", "old");
    write(".fresh", "half");
    write(".checkpoint", "a copy");
    write(".dropped", "half gone");
    check("old");
    clear(&folder).expect("it can be cleared");
    write(".stale", "old");
    write(".fresh", "new");
    check("old");
    clear(&folder).expect("it can be cleared");
    write("", "new");
    write(".stale", "old");
    check("new");
}

/// RocksDB's own lock lies in the folder, which a restore replaces.
#[test]
fn nobody_else_works_on_a_state_also_while_it_is_replaced() {
    let place = Place::new();
    place.upload(10, &FIRST);
    let home = place.home();
    let (fetched, _) = place.checkpoints(4).fetch(1, 0, &home, &GO, opens);
    let is_taken = || match Home::lock(home.folder()) {
        Err(error @ HomeError::Taken { .. }) => {
            error.to_string().contains("give each process a state.dir of its own")
        }
        _ => false,
    };
    assert!(is_taken());
    fetched.expect("it is there").install().expect("it can be renamed");
    assert!(is_taken());
    let folder = home.folder().to_owned();
    drop(home);
    assert_eq!(content(Home::lock(&folder).expect("it is free").folder()), owned(&FIRST));
}

/// Whoever looks must not keep a process from beginning.
#[test]
fn a_look_at_a_state_is_in_nobodys_way() {
    let place = Place::new();
    let folder = place.folder.path().join("restored");
    assert!(!Home::is_held(&folder).expect("it can be asked"));
    assert!(paths(place.folder.path()).expect("it is there").is_empty(), "a look makes nothing");
    let home = place.home();
    assert!(Home::is_held(&folder).expect("it can be asked"));
    drop(home);
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while !is_over.load(std::sync::atomic::Ordering::Relaxed) {
                    Home::is_held(&folder).expect("it can be asked");
                }
            });
        }
        let locked = (0..2_000).filter(|_| Home::lock(&folder).is_ok()).count();
        is_over.store(true, std::sync::atomic::Ordering::Relaxed);
        assert_eq!(locked, 2_000);
    });
}

#[test]
fn a_state_is_dropped_whole_and_found_wherever_it_lies() {
    let place = Place::new();
    let folder = place.home().folder().to_owned();
    let stale = folder.with_file_name("restored.stale");
    std::fs::write(folder.join("own"), "own").expect("it can be written");
    std::fs::rename(&folder, &stale).expect("it can be renamed");
    assert_eq!(Home::find(&folder), Some(stale));
    let home = place.home();
    assert_eq!(Home::find(&folder).as_ref(), Some(&folder));
    assert_eq!(bytes_in(&folder).expect("it is there"), 3);
    home.drop_state().expect("it can be removed");
    assert_eq!(Home::find(&folder), None);
    drop(home);
    assert_eq!(content(place.home().folder()), []);
}
