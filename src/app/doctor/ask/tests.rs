//! Kafka Connect is a server of this process here; what it says is read, and what it does not say stays unknown.

use std::path::Path;

use super::*;
use crate::adapters::http::served::serve;
use crate::app::config::load_str;
use crate::app::doctor::finding::Level;

#[test]
fn a_version_is_known_where_there_is_but_one() {
    let plugin = |class: &str, version: &str| serde_json::json!({"class": class, "version": version});
    let plugins = [plugin("a.b.Pg", "3.6.3.Final"), plugin("a.b.My", "3.5.0.Final"), plugin("a.b.My", "3.7.0.Final")];
    assert_eq!(plugin_version(&plugins, "a.b.Pg"), Some("3.6.3.Final".to_owned()));
    assert_eq!(plugin_version(&plugins, "Pg"), Some("3.6.3.Final".to_owned()));
    assert_eq!(plugin_version(&plugins, "a.b.My"), None, "one of two runs, nobody knows which");
    assert_eq!(plugin_version(&plugins, "a.b.Other"), None);
}

#[test]
fn a_trace_shows_no_secret() {
    let config = Config::of(&[("database.password", "hush")]);
    let answer = serde_json::json!({
        "connector": {"state": "RUNNING"},
        "tasks": [{"state": "FAILED", "trace": "Error: login with hush failed\n\tat x"}, {"state": "RUNNING"}],
    });
    let status = status(&answer, &config);
    assert_eq!(status.connector, "RUNNING");
    let expected = [("FAILED", "Error: login with *** failed"), ("RUNNING", "")];
    assert_eq!(status.tasks, expected.map(|(state, trace)| (state.to_owned(), trace.to_owned())));
}

#[test]
fn answers_of_databases_are_read() {
    let row = |columns: &[Option<&str>]| columns.iter().map(|column| column.map(str::to_owned)).collect();
    let read = pairs(vec![row(&[Some("a"), Some("1")]), row(&[Some("b"), None]), row(&[None, Some("x")])]);
    assert_eq!(read, BTreeMap::from([("a".to_owned(), "1".to_owned()), ("b".to_owned(), String::new())]));
    assert_eq!(values(vec![row(&[Some("{\"x\":1}")]), row(&[None])]), [serde_json::json!({"x": 1})]);
}

/// A worker with one connector, called `Shop`.
fn worker(path: &str) -> (u16, &'static str) {
    match path {
        "/" => (200, r#"{"version": "4.0.0"}"#),
        "/connectors" => (200, r#"["Shop", "other"]"#),
        "/connectors/Shop/config" => (
            200,
            r#"{"connector.class": "a.b.PostgresConnector", "topic.prefix": "shop", "database.password": "hush"}"#,
        ),
        "/connectors/Shop/status" => (
            200,
            r#"{"connector": {"state": "RUNNING"}, "tasks": [{"id": 0, "state": "FAILED", "trace": "no hush\n\tat"}]}"#,
        ),
        "/connector-plugins" => (200, r#"[{"class": "a.b.PostgresConnector", "version": "3.6.3.Final"}]"#),
        "/connectors/pay/config" => (403, "{}"),
        _ => (404, "{}"),
    }
}

fn settings(connect: &str) -> Settings {
    let text = format!(
        "reconciliation: r
kafka: {{bootstrap.servers: \"127.0.0.1:1\"}}
{connect}
connectors:
  gone: {{kind: postgresql}}
  pay: {{kind: postgresql}}
  shop: {{kind: postgresql, name_in_connect: Shop}}
sources:
  orders: {{connector: shop, topic: shop.shop.orders, primary_key: id, key: id, columns: {{id: bigint}}}}
rules:
  - {{id: some, sql: SELECT id FROM orders, grace: 1s}}
"
    );
    load_str(&text, Path::new("."), &|_| None).unwrap_or_else(|faults| panic!("{faults:?}"))
}

fn levels(access: &[Finding]) -> Vec<String> {
    access.iter().map(|one| format!("{} {}", one.level.name(), one.check)).collect()
}

#[test]
fn what_kafka_connect_tells_is_read() {
    let served = serve("/", |path, _| {
        let (status, body) = worker(path);
        (status, body.to_owned())
    });
    let settings = settings(&format!("connect: {{url: \"{}\"}}", served.url));
    let mut access = Vec::new();
    let [gone, pay, shop] = &connect(&settings, &mut access)[..] else { panic!("there are three") };
    assert_eq!(levels(&access), ["PASS Kafka Connect", "FAIL connector gone", "FAIL connector pay"]);
    assert!(format!("{:?}", access[1].mends).contains("Shop, other"), "it says which there are: {access:?}");
    assert!(gone.config.is_none() && pay.config.is_none());
    assert_eq!(shop.version.as_deref(), Some("3.6.3.Final"));
    let config = shop.config.as_ref().expect("it is there");
    assert_eq!(config.said("topic.prefix"), Said::Is("shop"));
    let status = shop.status.as_ref().expect("it is there");
    assert_eq!(status.tasks, [("FAILED".to_owned(), "no ***".to_owned())]);
}

#[test]
fn without_kafka_connect_its_side_is_unknown() {
    let mut access = Vec::new();
    let told = connect(&settings(""), &mut access);
    assert_eq!((told.len(), levels(&access)), (3, vec!["UNKNOWN Kafka Connect".to_owned()]));
    let mut access = Vec::new();
    let told = connect(&settings("connect: {url: \"http://127.0.0.1:1\"}"), &mut access);
    assert_eq!((told.len(), access[0].level), (3, Level::Fail));
    assert!(told.iter().all(|told| told.config.is_none()));
}
