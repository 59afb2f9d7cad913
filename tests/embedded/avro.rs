//! Records that leave as Avro: what waits for a registry that is away, what is said where it refuses, and that they say the
//! same as JSON.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use evenkeel::app::check::live;
use evenkeel::app::demo::settings::{FILE, settings_of};
use evenkeel::app::settings::Settings;

use crate::support::audience::{AVRO, JSON};
use crate::support::auditor::Auditor;
use crate::support::product::Product;
use crate::support::registry::{Registry, Shared};
use crate::support::theatre::{self, TOPICS, Theatre};

/// The theatre's settings, with Avro for the output.
fn settings(theatre: &Theatre, bootstrap: &str, registry: &str, more: &str, state: &Path) -> Settings {
    let file = format!("registry: {{url: \"{registry}\"}}\noutput: {{format: avro{more}}}\n{FILE}");
    let mut settings = settings_of(&file, bootstrap, state);
    settings.kafka.extend(theatre.settings(state).kafka.into_iter().filter(|(name, _)| name != "bootstrap.servers"));
    settings
}

#[test]
fn embedded_avro_says_the_same_and_waits_for_its_registry() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let cluster = theatre::cluster(&TOPICS);
    let bootstrap = cluster.bootstrap_servers();
    let mut theatre = Theatre::new(&bootstrap, &[]);
    theatre.audience.forms = &[AVRO];
    let (subjects, answers) = (Shared::default(), Arc::new(AtomicBool::new(false)));
    let registry = {
        let (subjects, answers) = (Arc::clone(&subjects), Arc::clone(&answers));
        Registry::serve(move |path, posted, _| match answers.load(Ordering::SeqCst) {
            true => subjects.lock().expect("nobody panics").answer(path, posted),
            false => (503, String::new()),
        })
    };
    let state = folder.path().join("state");
    let settings = settings(&theatre, &bootstrap, &registry.url, "", &state);

    // Nothing is published while it is away, and nobody ends because of it.
    let waiting = Product::start(settings.clone());
    theatre.play(true, Duration::from_secs(60), |_| registry.asked() >= 3);
    assert!(waiting.is_running() && !waiting.status.is_ready() && theatre.judge.seen.is_empty());
    waiting.stop().expect("it stops in order while it waits");

    answers.store(true, Ordering::SeqCst);
    let first = Product::start(settings.clone());
    theatre.play(true, Duration::from_secs(60), |theatre| theatre.judge.seen.len() >= 3);
    first.stop().expect("it stops cleanly");
    let known: Vec<String> = subjects.lock().expect("nobody panics").ids.keys().cloned().collect();
    assert_eq!(known, ["evenkeel.demo.discrepancies-value", "evenkeel.demo.open-value"]);

    // A restart needs no registry.
    answers.store(false, Ordering::SeqCst);
    let asked = registry.asked();
    let second = Product::start(settings.clone());
    let before = theatre.judge.seen.len();
    theatre.play(true, Duration::from_secs(60), |theatre| theatre.judge.seen.len() >= before + 3);
    assert_eq!(registry.asked(), asked);
    second.stop().expect("it stops cleanly");

    // What was published is what JSON would have said, byte for byte, and a chain.
    let (audited, compared) = Auditor { settings: &settings, copy: None }.must_be_sound();
    let records: u64 = audited.partitions.iter().map(|audited| audited.records).sum();
    // What was written last may be unpublished yet.
    assert_eq!(compared.compared.map(|all| all.same), Some(records), "{compared}");

    // Who changes his mind goes on in the same chain.
    theatre.audience.forms = &[AVRO, JSON];
    let json = Product::start(theatre.settings(&state));
    let before = theatre.judge.seen.len();
    theatre.play(true, Duration::from_secs(60), |theatre| theatre.judge.seen.len() > before);
    theatre.play(false, Duration::from_secs(60), |theatre| theatre.judge.is_complete());
    json.stop().expect("it stops cleanly");
    Auditor { settings: &settings, copy: None }.must_be_sound();
    let summary = theatre.judge.summary();
    assert!(summary.is_right(), "{summary}");
}

#[test]
fn embedded_avro_ends_where_the_registry_refuses() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let cluster = theatre::cluster(&TOPICS);
    let bootstrap = cluster.bootstrap_servers();
    let mut theatre = Theatre::new(&bootstrap, &[]);
    // `check --live` asks the registry, also where there are no topics yet.
    let empty = theatre::cluster(&[]);
    let refuses = Registry::serve(|path, _, _| match path {
        "/subjects/evenkeel.demo.open-value/versions" => {
            (409, "{\"error_code\":409,\"message\":\"it cannot be read by version 3\"}".to_owned())
        }
        "/subjects/evenkeel.demo.open-value" => (404, "{\"error_code\":40403}".to_owned()),
        "/compatibility/subjects/evenkeel.demo.open-value/versions/latest" => {
            (200, "{\"is_compatible\":false}".to_owned())
        }
        _ => (200, "{\"id\":1}".to_owned()),
    });
    let lacks = Registry::serve(|_, _, _| (404, "{\"error_code\":40401}".to_owned()));
    for (registry, more, objected, words) in [
        (
            &refuses,
            "",
            1,
            ["evenkeel.demo.open-value: it cannot be read by version 3 (409)", "subject_name_strategy"],
        ),
        (
            &lacks,
            ", auto_register: false, subject_name_strategy: record_name",
            4,
            ["subject evenkeel.v1.Discrepancy", "auto_register: true"],
        ),
    ] {
        let state = tempfile::tempdir_in(folder.path()).expect("a folder");
        let asked = settings(&theatre, &empty.bootstrap_servers(), &registry.url, more, state.path());
        let said = live(&asked, Path::new("evenkeel.yaml"));
        let objections = said.iter().filter(|fault| fault.message.starts_with("output: subject ")).count();
        assert_eq!(objections, objected, "{said:?}");
        let product = Product::start(settings(&theatre, &bootstrap, &registry.url, more, state.path()));
        theatre.play(false, Duration::from_secs(60), |_| !product.is_running());
        let error = product.stop().expect_err("it cannot publish").to_string();
        assert!(words.iter().all(|word| error.contains(word)), "{error}");
    }
}
