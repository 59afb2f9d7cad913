//! The command line as a user and a script meet it: the binary, its exit codes, what goes to stdout and what to stderr.

mod demo;
mod http;
mod quarantine;
mod run;
mod state;

use std::path::Path;
use std::process::{Command, Stdio};

use rdkafka::ClientConfig;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use serde_json::{Value, json};

const SOUND: &str = "deploy/evenkeel.yaml";
const TRUE: &str = "tests/golden/paid-without-payment.yaml";
const FALSE: &str = "tests/golden/false/stories.yaml";

/// A misspelt column, and a secret in the open on a line that has another fault.
const FAULTY: &str = r#"reconciliation: faulty
kafka: {bootstrap.servers: "localhost:9092"}
mask_key: hunter2
connectors:
  shop: {kind: postgresql}
sources:
  orders:
    connector: shop
    topic: shop.orders
    primary_key: order_id
    key: order_id
    columns: {order_id: bigint, total: "numeric(12,2)"}
rules:
  - id: paid
    sql: SELECT order_id, totl FROM orders
    grace: 5m
"#;

/// How a command ended.
struct Ended {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

impl Ended {
    fn json(&self) -> Value {
        serde_json::from_str(&self.stdout)
            .unwrap_or_else(|error| panic!("{error}:\n{}\n{}", self.stdout, self.stderr))
    }
}

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_evenkeel"));
    command.args(arguments).stdin(Stdio::null()).env_remove("RUST_LOG");
    command
}

fn evenkeel(arguments: &[&str]) -> Ended {
    let output = command(arguments).output().expect("the binary starts");
    let text = |bytes| String::from_utf8(bytes).expect("text");
    Ended { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
}

/// Runs it, and holds its exit code and where it spoke against what is expected.
fn check(arguments: &[&str], code: i32, speaks_on: &str) -> Ended {
    let ended = evenkeel(arguments);
    let spoke = match (ended.stdout.is_empty(), ended.stderr.is_empty()) {
        (true, true) => "nothing",
        (false, true) => "stdout",
        (true, false) => "stderr",
        (false, false) => "both",
    };
    let told = format!("evenkeel {arguments:?}\n--- stdout\n{}\n--- stderr\n{}", ended.stdout, ended.stderr);
    assert_eq!((ended.code, spoke), (Some(code), speaks_on), "{told}");
    ended
}

/// A folder with the faulty configuration, and a test file that is none.
fn faulty() -> (tempfile::TempDir, String, String) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).expect("it can be written");
        path.display().to_string()
    };
    let config = write("faulty.yaml", FAULTY);
    let stories = write("broken.yaml", &format!("config: {}\ntests:\n  - nam: x\n", absolute(SOUND)));
    (folder, config, stories)
}

fn absolute(path: &str) -> String {
    Path::new(path).canonicalize().expect("it is there").display().to_string()
}

#[test]
fn cli_exit_codes_say_what_happened() {
    let (_folder, faulty, broken) = faulty();
    check(&["check", "-c", SOUND], 0, "stdout");
    check(&["check", "--config", SOUND, "--json"], 0, "stdout");
    check(&["check", "-c", &faulty], 2, "stderr");
    check(&["check", "-c", "no/such/file.yaml"], 2, "stderr");
    check(&["run", "-c", &faulty], 2, "stderr");
    check(&["run", "-c", "no/such/file.yaml"], 2, "stderr");
    check(&["test", TRUE], 0, "stdout");
    check(&["test", FALSE], 1, "stdout");
    check(&["test", &broken], 2, "stderr");
    check(&["test", "no/such/file.yaml"], 2, "stderr");
    check(&["test", FALSE, &broken], 2, "both");
    for verb in [&["audit"][..], &["replay"], &["replay", "--diff"], &["explain", "1"]] {
        check(&[verb, &["-c", &faulty]].concat(), 2, "stderr");
        let said = check(&[verb, &["-c", SOUND, "--copy", "no/such/folder"]].concat(), 1, "stderr").stderr;
        assert!(said.contains("no/such/folder/evenkeel.orders-payments."), "{said}");
    }
    check(&["replay", "-c", SOUND, "--rules", &faulty], 2, "stderr");
    check(&["replay", "-c", SOUND, "--from", "soon"], 2, "stderr");
}

#[test]
fn cli_wrong_use_is_said_on_stderr() {
    for wrong in [
        &[][..],
        &["watch"],
        &["check"],
        &["check", "-c", SOUND, "--lively"],
        &["run"],
        &["run", "-c", SOUND, "--stage", "both"],
        &["test"],
        &["demo", "--seconds", "5"],
        &["demo", "--seconds", "soon"],
        &["demo", "--seconds", "60", "--forever"],
    ] {
        let ended = check(wrong, 2, "stderr");
        let shows_the_way = ["Usage: evenkeel", "try '--help'"].iter().any(|way| ended.stderr.contains(way));
        assert!(shows_the_way, "{wrong:?}: {}", ended.stderr);
    }
}

#[test]
fn cli_help_of_each_verb_has_its_options_and_an_example() {
    let all = check(&["--help"], 0, "stdout").stdout;
    for (verb, options) in [
        ("run", &["--config", "--stage", "ingest", "reconcile", "SIGTERM"][..]),
        ("check", &["--config", "--live", "--json"]),
        ("test", &["<FILE>...", "--json"]),
        ("state", &["--config", "--json", "verify", "restore", "drop"]),
        ("acknowledge", &["--config", "<SOURCE>"]),
        ("confirm", &["--config", "<SOURCE>", "gone", "kept"]),
        ("audit", &["--config", "--copy", "--earlier", "--json"]),
        ("copy", &["--config", "<FOLDER>"]),
        ("replay", &["--config", "--from", "--to", "--rules", "--diff", "--copy", "--state"]),
        ("explain", &["--config", "<KEY>", "--at", "--rule", "--copy", "--state", "--json"]),
        ("demo", &["--seconds", "--forever", "--json", "[default: 60]"]),
    ] {
        assert!(all.lines().any(|line| line.trim_start().starts_with(verb)), "{verb} is missing from\n{all}");
        let help = check(&[verb, "--help"], 0, "stdout").stdout;
        assert!(help.contains(&format!("Usage: evenkeel {verb}")) && help.contains("Example"), "{help}");
        for option in options {
            assert!(help.contains(option), "{option} is missing from\n{help}");
        }
    }
    for (verb, options) in [
        ("verify", &["--config", "--partition <N>", "--json"][..]),
        ("restore", &["--config", "--partition <N>", "--checkpoint <OFFSET|NAME>"]),
        ("drop", &["--config", "--partition <N>", "--checkpoint <OFFSET|NAME>", "--yes", "--lose-it"]),
    ] {
        let help = check(&["state", verb, "--help"], 0, "stdout").stdout;
        assert!(help.contains(&format!("Usage: evenkeel state {verb}")) && help.contains("Example"), "{help}");
        assert!(options.iter().all(|option| help.contains(option)), "{help}");
    }
    let version = check(&["--version"], 0, "stdout").stdout;
    assert_eq!(version, format!("evenkeel {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn cli_check_tells_scripts_where_why_and_what_to_do() {
    let sound = check(&["check", "-c", SOUND, "--json"], 0, "stdout");
    assert_eq!(sound.json(), json!({"ok": true, "errors": []}));

    let (_folder, faulty, _) = faulty();
    let report = check(&["check", "-c", &faulty, "--json"], 2, "stdout").json();
    assert_eq!(report["ok"], false);
    let errors = report["errors"].as_array().expect("a list");
    let secret = errors.iter().find(|error| error["line"] == 3).expect("a short key is a fault");
    assert_eq!(secret["excerpt"], "mask_key: *******", "{report:#}");
    let misspelt = errors.iter().find(|error| error["line"] == 15).expect("the misspelt column is a fault");
    let expected = json!({
        "file": faulty,
        "line": 15,
        "column": 27,
        "excerpt": "    sql: SELECT order_id, totl FROM orders",
        "kind": "sql",
        "message": "rule \"paid\": column \"totl\" is not in \"orders\"",
        "hint": "Did you mean \"total\"?",
    });
    assert_eq!(*misspelt, expected);
    assert_eq!(errors.len(), 2, "{report:#}");

    let report = check(&["check", "-c", "no/such/file.yaml", "--json"], 2, "stdout").json();
    let error = &report["errors"][0];
    assert_eq!((&error["kind"], &error["line"], &error["excerpt"]), (&json!("file"), &json!(0), &Value::Null));
}

#[test]
fn cli_check_tells_people_the_same() {
    let (_folder, faulty, _) = faulty();
    let said = check(&["check", "-c", &faulty], 2, "stderr").stderr;
    let place = format!("{faulty}:15:27");
    for part in [&place, "15 |     sql: SELECT order_id, totl FROM orders", "^^^^", "Did you mean", "2 errors found"]
    {
        assert!(said.contains(part), "{part} is missing from\n{said}");
    }
    assert!(!said.contains("hunter2"), "{said}");
    assert!(!said.contains('\u{1b}'), "colours are for terminals:\n{said}");
}

/// The configuration is sound, so what is wrong is what runs: 1, not 2.
#[test]
fn cli_check_live_compares_with_what_runs() {
    let cluster = MockCluster::new(1).expect("a mock cluster starts");
    let output = command(&["check", "-c", SOUND, "--live", "--json"])
        .env("KAFKA_BOOTSTRAP_SERVERS", cluster.bootstrap_servers())
        .output()
        .expect("the binary starts");
    let report: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!((output.status.code(), &report["ok"]), (Some(1), &json!(false)), "{report:#}");
    let errors = report["errors"].as_array().expect("a list");
    assert!(errors.iter().all(|error| error["kind"] == "live"), "{report:#}");
    let about = |topic: &str| {
        let told = errors.iter().find(|error| error["message"].as_str().unwrap_or("").contains(topic));
        told.unwrap_or_else(|| panic!("{topic} is not in {report:#}"))
    };
    let missing = about("topic shop.shop.orders does not exist");
    assert_eq!(missing["excerpt"].as_str().map(str::trim), Some("topic: shop.shop.orders"), "{report:#}");
}

/// A record that nobody understands and a topic with another count of partitions are said, each at its place.
#[test]
fn cli_check_live_looks_at_records_and_own_topics() {
    let cluster = MockCluster::new(1).expect("a mock cluster starts");
    let changes = "evenkeel.orders-payments.changes";
    let sources = ["shop.shop.orders", "shop.shop.heartbeat", "pay.pay.payments", "pay.pay.heartbeat"];
    for (topic, partitions) in sources.map(|topic| (topic, 2)).into_iter().chain([(changes, 3)]) {
        cluster.create_topic(topic, partitions, 1).expect("a topic is created");
    }
    let producer: BaseProducer =
        ClientConfig::new().set("bootstrap.servers", cluster.bootstrap_servers()).create().expect("a producer");
    let without_currency = r#"{"op":"c","after":{"order_id":1,"payment_status":"PAID","total":"1.00"},
        "source":{"ts_us":1795000000000000,"lsn":7,"snapshot":"false"}}"#;
    for (topic, payload) in [("pay.pay.payments", "{\"op\":\"c\"}"), ("shop.shop.orders", without_currency)] {
        let record = BaseRecord::to(topic).key("k").payload(payload);
        producer.send(record).map_err(|(error, _)| error).expect("sent");
    }
    producer.flush(std::time::Duration::from_secs(10)).expect("written");
    let output = command(&["check", "-c", SOUND, "--live"])
        .env("KAFKA_BOOTSTRAP_SERVERS", cluster.bootstrap_servers())
        .output()
        .expect("the binary starts");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    for part in [
        "offset 0 is not understood (not_debezium)",
        "offset 0 is not understood (no_column): \"currency\": events lack this kept column",
        "topic: pay.pay.payments",
        "topic evenkeel.orders-payments.changes has 3 partitions, the configuration says 8",
        "partitions: 8",
        "3 errors found",
    ] {
        assert!(said.contains(part), "{part} is missing from\n{said}");
    }
}

#[test]
fn cli_test_shows_what_differs() {
    let failing = check(&["test", FALSE], 1, "stdout").stdout;
    let golden = std::fs::read_to_string("tests/golden/false/stories.txt").expect("it is there");
    assert_eq!(failing, golden);
    let (expected, got) = ("      - since: 12:00:00", "      + since: 12:00:05");
    assert!(failing.contains(&format!("{expected}\n{got}\n")), "{failing}");
    let passing = check(&["test", TRUE], 0, "stdout").stdout;
    assert!(passing.ends_with(" stories, 0 failed\n") && passing.lines().count() == 1, "{passing}");
}

#[test]
fn cli_test_tells_scripts_each_story() {
    let report = check(&["test", TRUE, FALSE, "--json"], 1, "stdout").json();
    assert_eq!((&report["ok"], &report["errors"]), (&json!(false), &json!([])), "{report:#}");
    let stories = report["stories"].as_array().expect("a list");
    let failed: Vec<&Value> = stories.iter().filter(|story| story["passed"] == false).collect();
    assert!(stories.len() > 3 && failed.len() == 2, "{report:#}");
    let (wrong, failure) = (failed[1], &failed[1]["failures"][0]);
    let place = (&wrong["file"], &wrong["line"], &wrong["name"], &failure["line"]);
    assert_eq!(place, (&json!(FALSE), &json!(13), &json!("the wrong key, amount and time"), &json!(17)));
    let difference: Vec<&str> =
        failure["difference"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    assert!(difference.contains(&"- since: 12:00:00") && difference.contains(&"+ since: 12:00:05"), "{difference:?}");

    let (_folder, _, broken) = faulty();
    let report = check(&["test", TRUE, &broken, "--json"], 2, "stdout").json();
    assert_eq!((&report["ok"], report["stories"].as_array().map(Vec::is_empty)), (&json!(false), Some(false)));
    let error = &report["errors"][0];
    assert_eq!((&error["file"], &error["line"]), (&json!(broken), &json!(3)), "{report:#}");
    assert_eq!(error["excerpt"], "  - nam: x", "{report:#}");
}
