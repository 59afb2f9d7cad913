//! What a configuration is read into, and what is said of everything that can be wrong with one.
//!
//! Each file of tests/golden/config/ is a configuration; beside it stands what is said of it. UPDATE_GOLDEN=1 rewrites
//! the expected text, to be looked at before it is committed.

use std::path::{Path, PathBuf};

use super::{load_rules, load_source, load_str};
use crate::app::diagnostic::{Diagnostic, SourceText, render_all};
use crate::app::settings::{Settings, TopicSelection};
use crate::domain::value::Type;

fn environment(name: &str) -> Option<String> {
    match name {
        "KAFKA_PASSWORD" => Some("hunter2".to_owned()),
        "EMPTY" => Some(String::new()),
        "GRACE" => Some("a-secret-that-must-not-be-shown".to_owned()),
        "MASK_KEY" => Some("0123456789abcdef0123456789abcdef".to_owned()),
        _ => None,
    }
}

fn yaml_files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).expect("the folder is there");
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "yaml"));
    paths.sort();
    paths
}

#[test]
fn faults_are_said_as_expected() {
    let folder = PathBuf::from("tests/golden/config");
    let paths = yaml_files(&folder);
    assert!(!paths.is_empty());
    let mut differing = Vec::new();
    for path in paths {
        let text = std::fs::read_to_string(&path).expect("it can be read");
        let name = path.file_name().expect("a name").to_string_lossy().into_owned();
        let said = match load_source(&SourceText::new(&name, text), Path::new("tests/golden/config"), &environment) {
            Ok(_) => "no error\n".to_owned(),
            Err(faults) => render_all(&faults, false),
        };
        assert!(!said.contains("hunter2") && !said.contains("must-not-be-shown"), "{name} shows a secret:\n{said}");
        let expected_path = path.with_extension("txt");
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::write(&expected_path, &said).expect("it can be written");
        }
        let expected = std::fs::read_to_string(&expected_path).unwrap_or_default();
        if said != expected {
            differing.push(format!("--- {name}, got:\n{said}"));
        }
    }
    assert!(differing.is_empty(), "UPDATE_GOLDEN=1 accepts what follows\n{}", differing.join("\n"));
}

fn read(text: &str) -> Settings {
    load_str(text, Path::new("."), &environment).unwrap_or_else(|faults| panic!("{}", render_all(&faults, false)))
}

const SMALL: &str = r#"
reconciliation: orders-payments
kafka: {bootstrap.servers: "localhost:9092", sasl.password: "${KAFKA_PASSWORD}"}
connectors:
  shop: {kind: postgresql, decimal_handling_mode: string}
  pay: {kind: mariadb, heartbeat: {topic: pay.pay.heartbeat}, decimal_handling_mode: string}
sources:
  payments:
    connector: pay
    topic: pay.pay.payments
    primary_key: id
    key: order_id
    columns: {id: bigint, order_id: bigint, amount: "decimal(12,2)", updated_at: timestamp(6)}
  lines:
    connector: shop
    topic_pattern: 'shop\.shop\.lines_\d+'
    primary_key: [id]
    key: order_id
    columns: {id: bigint, order_id: bigint, email: {type: text, mask: hash}}
    key_may_change: true
    history: partial
  orders:
    connector: shop
    topics: [shop.shop.orders]
    primary_key: order_id
    key: order_id
    columns: {order_id: bigint}
mask_key: ${MASK_KEY}
rules:
  - {id: b, grace: "${NOT_SET:-5m}", sql: "SELECT order_id FROM orders WHERE order_id < 0"}
  - {id: a, grace: 0s, sql: "SELECT order_id FROM orders WHERE order_id < 0"}
"#;

#[test]
fn a_small_configuration_has_every_default() {
    let settings = read(SMALL);
    let names = |names: Vec<&str>| names.join(" ");
    let plan = &settings.plan;
    assert_eq!(names(settings.connectors.iter().map(|connector| &*connector.name).collect()), "pay shop");
    assert_eq!(names(settings.sources.iter().map(|source| &*source.name).collect()), "lines orders payments");
    assert_eq!(names(plan.catalog.sources.iter().map(|table| &*table.name).collect()), "lines orders payments");
    assert_eq!(names(plan.rules.iter().map(|rule| &*rule.id).collect()), "a b");
    assert_eq!(plan.sources.iter().map(|source| source.connector).collect::<Vec<_>>(), [1, 1, 0]);
    assert_eq!(settings.connectors.iter().map(|connector| connector.commit_time).collect::<Vec<_>>(), [false, true]);
    // A row of lines cannot say its order when it is deleted; an order's key is its primary key.
    assert_eq!(plan.sources.iter().map(|source| source.find_rows).collect::<Vec<_>>(), [true, false, false]);
    assert_eq!(plan.sources.iter().map(|source| source.partial_history).collect::<Vec<_>>(), [true, false, false]);
    assert_eq!(settings.sources.iter().map(|source| source.key_may_change).collect::<Vec<_>>(), [true, false, false]);
    assert_eq!(settings.sources.iter().map(|s| s.shape.full_before).collect::<Vec<_>>(), [false, false, true]);
    assert_eq!(settings.sources[0].topics, TopicSelection::Pattern(r"shop\.shop\.lines_\d+".to_owned()));
    assert_eq!(settings.sources[2].shape.columns[2].ty, Type::Decimal { scale: Some(2) });
    let digits: Vec<_> = settings.sources[2].shape.details.iter().map(|detail| detail.digits).collect();
    assert_eq!(digits, [None, None, Some(12), None]);
    assert_eq!(settings.sources[2].shape.columns[3].ty, Type::TimestampTz);
    assert_eq!(plan.rules[1].grace_us, 300_000_000);
    assert_eq!(settings.kafka["sasl.password"], "hunter2");
    assert_eq!(settings.topics.discrepancies, "evenkeel.orders-payments.discrepancies");
    assert_eq!(settings.topics.ingest_group, "evenkeel.orders-payments.ingest");
    assert_eq!((settings.topics.partitions, settings.topics.replication_factor), (8, -1));
    assert_eq!(settings.http.map(|address| address.port()), Some(9464));
    assert_eq!((settings.patience.slack_us, settings.patience.stall_after_us), (2_000_000, 120_000_000));
    assert_eq!(plan.heartbeat_us, 10_000_000);
    assert_eq!(settings.mask_key.len(), 32);
}

#[test]
fn a_rules_version_changes_with_its_meaning_only() {
    let version = |text: &str| read(text).plan.rules[1].version.clone();
    let before = version(SMALL);
    assert_eq!(before.len(), 16);
    for (from, to, same) in [
        ("orders WHERE order_id < 0\"}\n  - {id: a", "orders WHERE order_id < 1\"}\n  - {id: a", false),
        ("NOT_SET:-5m", "NOT_SET:-6m", false),
        ("{id: b,", "{id: b, labels: {severity: high},", false),
        ("{id: b,", "{id: b, identity: order_id,", false),
        ("{order_id: bigint}", "{order_id: bigint, note: text}", false),
        ("{id: b,", "{id: b, annotations: {summary: x},", true),
        ("topic: pay.pay.payments", "topic: other", true),
    ] {
        assert!(SMALL.contains(from), "{from}");
        assert_eq!(version(&SMALL.replacen(from, to, 1)) == before, same, "{from} → {to}");
    }
}

/// For a rehearsal: of a rule file, of another configuration; and what is wrong with them is said as ever.
#[test]
fn other_rules_stand_in_the_place_of_a_configurations_own() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let config = Path::new("deploy/evenkeel.yaml");
    let ids = |rules: &Path| -> Result<Vec<String>, Vec<String>> {
        let loaded = load_rules(config, rules);
        let messages = |faults: Vec<Diagnostic>| faults.into_iter().map(|fault| fault.message).collect::<Vec<_>>();
        Ok(loaded.map_err(messages)?.rules.iter().map(|rule| rule.id.to_string()).collect())
    };
    assert_eq!(ids(Path::new("deploy/rules/stuck-pending.yaml")), Ok(vec!["stuck-pending".to_owned()]));
    // With a lookup table of its own.
    assert_eq!(ids(Path::new("deploy/rules/status-matrix.yaml")), Ok(vec!["status-matrix".to_owned()]));
    assert_eq!(ids(config).map(|all| all.len()), Ok(6));
    let faulty = folder.path().join("faulty.yaml");
    std::fs::write(&faulty, "rules:\n  - {id: a, grace: 1s, sql: SELECT totl FROM orders}\n")
        .expect("it can be written");
    assert_eq!(ids(&faulty), Err(vec!["rule \"a\": column \"totl\" is not in \"orders\"".to_owned()]));
    let missing = ids(&folder.path().join("none.yaml")).expect_err("it is not there");
    assert!(missing[0].contains("none.yaml cannot be read"), "{missing:?}");
}

fn faults(text: &str) -> Vec<Diagnostic> {
    load_str(text, Path::new(""), &|_| None).expect_err("it is no configuration")
}

/// A few lines must not keep the reader busy, nor what it says about them fill memory.
#[test]
fn what_stands_for_too_much_is_not_read() {
    let mut laughs = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..9 {
        let before = vec![format!("*a{}", level - 1); 10].join(", ");
        laughs.push_str(&format!("a{level}: &a{level} [{before}]\n"));
    }
    assert!(faults(&laughs)[0].message.starts_with("not valid YAML: alias"), "{:?}", faults(&laughs)[0]);
    let deep = faults(&"[".repeat(100_000));
    assert!(deep[0].message.starts_with("not valid YAML: "), "{:?}", deep[0]);
    assert_eq!(faults(&"x: y\n".repeat(1 << 20))[0].message, "not read: it is longer than 4 MiB");
}

#[test]
fn so_many_faults_are_told_and_no_more() {
    let line: String = (0..20_000).map(|number| format!("unknown{number}: x, ")).collect();
    let all = faults(&format!("{{{line}}}"));
    assert_eq!((all.len(), all[0].line, all[0].column), (1000, 1, 2));
    assert_eq!((all[999].line, all[999].column), (1, 2 + 10 * 13 + 90 * 14 + 899 * 15));
    assert_eq!(all[0].to_json()["excerpt"], serde_json::Value::Null, "so long a line is not quoted");
    let again = faults(&"kafka: {}\n".repeat(20_000));
    assert_eq!(again.len(), 1000);
}
