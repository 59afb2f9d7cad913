//! What the product leaves behind, looked at afterwards: on its topics, and on a copy of them.

use std::path::Path;
use std::time::Duration;

use evenkeel::app::demo::settings::FILE;
use evenkeel::app::evidence::copy::copy;
use rdkafka::ClientConfig;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};

use crate::support::auditor::Auditor;
use crate::support::theatre::{TOPICS, Theatre, cluster};

#[test]
fn embedded_evidence_is_the_same_of_the_topics_and_of_a_copy() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let cluster = cluster(&TOPICS);
    let mut theatre = Theatre::new(&cluster.bootstrap_servers(), &[]);
    let settings = theatre.settings(&folder.path().join("state"));
    // The first member dies on the way, so that the second goes on from what it left.
    let first = theatre.product(&folder.path().join("state"));
    theatre.play(true, Duration::from_secs(60), |theatre| theatre.judge.seen.len() >= 3);
    first.stop().expect("it stops cleanly");
    let second = theatre.product(&folder.path().join("other"));
    theatre.play(true, Duration::from_secs(60), |theatre| theatre.judge.seen.len() >= 6);
    let open = theatre.judge.seen.iter().find(|seen| seen.resolved.is_none()).map(|seen| seen.order.clone());
    // Nobody needs to stop for an audit.
    let live = Auditor { settings: &settings, copy: None };
    live.must_be_sound();
    second.stop().expect("it stops cleanly");

    let (audited, compared) = live.must_be_sound();
    assert!(audited.partitions.iter().all(|audited| audited.records > 0), "{audited}");
    let records: u64 = audited.partitions.iter().map(|audited| audited.records).sum();
    assert_eq!(compared.compared.map(|all| (all.same, all.unpublished)), Some((records, 0)), "{compared}");

    let (taken, copied) = (folder.path().join("copy"), copy(&settings, &folder.path().join("copy")));
    assert_eq!(copied.expect("it can be written").len(), 4, "two topics of two partitions");
    let offline = Auditor { settings: &settings, copy: Some(&taken) };
    assert_eq!(offline.audit().to_json(), audited.to_json());
    assert_eq!(offline.replay(None, true), (Vec::new(), compared));
    assert_eq!(offline.replay(None, false), live.replay(None, false));
    let key = open.expect("something is open");
    let account = live.explain(&key);
    assert_eq!(account, offline.explain(&key));
    assert!(account.events.len() > 2 && account.to_string().contains(&key), "{account}");

    let mut rules = settings.plan.rule_set();
    rules.rules.clear();
    let (lines, without) = offline.replay(Some(rules), true);
    let missing = without.compared.map_or(0, |all| all.missing);
    assert!(missing >= 6 && lines.len() as u64 == missing, "{without}");
    binary_says_the_same(&cluster.bootstrap_servers(), &taken, &key);
    forged_record_is_found(&cluster.bootstrap_servers(), &live);
}

/// As a user asks, with the demo's own configuration.
fn binary_says_the_same(bootstrap: &str, taken: &Path, key: &str) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let config = folder.path().join("evenkeel.yaml");
    std::fs::write(&config, FILE).expect("it can be written");
    let ask = |arguments: &[&str]| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_evenkeel"));
        command.args([arguments, &["-c", &config.display().to_string()]].concat());
        command.env("DEMO_BOOTSTRAP", bootstrap).env("DEMO_STATE", folder.path());
        let output = command.output().expect("the binary starts");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.code(), text(&output.stdout), text(&output.stderr))
    };
    let copy = taken.display().to_string();
    for more in [&[][..], &["--copy", &copy]] {
        let (code, told, said) = ask(&[&["audit"], more].concat());
        assert!(code == Some(0) && told.contains("hash of the last") && said.is_empty(), "{told}{said}");
        let (code, told, said) = ask(&[&["explain", key], more].concat());
        assert!(code == Some(0) && told.starts_with(&format!("{key} of demo: ")) && said.is_empty(), "{told}{said}");
        let (code, told, said) = ask(&[&["replay", "--diff"], more].concat());
        assert!(
            code == Some(0) && told.is_empty() && said.contains("0 missing, 0 additional, 0 different"),
            "{said}"
        );
    }
    let (code, told, _) = ask(&["explain", key, "--copy", &copy, "--json"]);
    let account: serde_json::Value = serde_json::from_str(&told).expect("JSON");
    assert_eq!((code, &account["key"]), (Some(0), &key.into()));
}

fn forged_record_is_found(bootstrap: &str, live: &Auditor<'_>) {
    let producer: BaseProducer =
        ClientConfig::new().set("bootstrap.servers", bootstrap).create().expect("a producer");
    let forged = BaseRecord::to(&live.settings.topics.discrepancies).partition(1).key("7").payload("{}");
    producer.send(forged).map_err(|(error, _)| error).expect("sent");
    producer.flush(Duration::from_secs(10)).expect("written");
    let report = live.audit();
    let found: Vec<usize> = report.partitions.iter().map(|audited| audited.found).collect();
    assert_eq!(found, [0, 1], "{report}");
    assert!(report.to_string().contains("is not Evenkeel's"), "{report}");
}
