//! `/metrics`, `/livez` and `/readyz` as a monitoring system meets them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::{Duration, Instant};

use evenkeel::adapters::clock::now;
use evenkeel::adapters::telemetry::{self, Kind, METRICS};
use evenkeel::app::demo::connector::{PAY_HEARTBEAT, PAYMENTS};
use evenkeel::app::demo::settings::FILE;
use evenkeel::app::demo::world::{Logged, Order};
use rdkafka::producer::{BaseRecord, Producer};

use super::run::{Ground, served};
use crate::support::registry::Registry;
use crate::support::theatre::Theatre;

const LIMIT: Duration = Duration::from_secs(60);

/// An address on which nobody listens.
fn free() -> String {
    let free = std::net::TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr());
    free.expect("a free port").to_string()
}

/// A status and a body; `None` while nobody listens.
fn ask(address: &str, path: &str) -> Option<(u16, String)> {
    let agent: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
    let mut answer = agent.get(format!("http://{address}/{path}")).call().ok()?;
    Some((answer.status().as_u16(), answer.body_mut().read_to_string().ok()?))
}

/// For each metric that is shown, its labels.
fn shown(text: &str) -> BTreeMap<String, BTreeSet<String>> {
    let mut shown: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let (name, rest) = line.split_once('{').expect("every metric has a label");
        let (labels, _) = rest.split_once('}').expect("labels end");
        let histograms = METRICS.iter().filter(|metric| metric.kind == Kind::Histogram);
        let of_histogram = histograms.map(|metric| metric.name).find(|histogram| name.starts_with(histogram));
        let labels = labels.split(',').filter_map(|label| Some(label.split_once('=')?.0.to_owned()));
        let named = shown.entry(of_histogram.unwrap_or(name).to_owned()).or_default();
        named.extend(labels.filter(|label| of_histogram.is_none() || label != "le"));
    }
    shown
}

/// What is only counted when it happens: a record, a heartbeat and a transaction's end that nobody understands, a registry that does not answer, an update without its before image of a row
/// that belongs to no order, a value that the event does not carry, a discrepancy that is resolved.
fn make_trouble(theatre: &mut Theatre) {
    let update = serde_json::json!({
        "before": null, "op": "u", "ts_ms": now().0 / 1000,
        "after": {"id": 990_001, "order_id": null, "kind": "CAPTURE", "status": "CAPTURED", "amount": "1.00", "currency": "EUR"},
        "source": {
            "connector": "mariadb", "ts_ms": now().0 / 1000, "ts_us": now().0, "snapshot": null,
            "gtid": "0-223344-1", "file": "mysql-bin.000001", "pos": 4, "row": 0,
        },
    });
    // It begins like Avro, with the id of a schema.
    let unknown = BaseRecord::<str, [u8]>::to(PAYMENTS).key("{}").payload(&[0, 0, 0, 0, 7, 1]);
    theatre.producer.send(unknown).map_err(|(error, _)| error).expect("sent");
    let garbage = "{\"op\":\"c\"}".to_owned();
    let told = [PAYMENTS, PAY_HEARTBEAT, TRANSACTIONS].map(|topic| (topic, garbage.clone()));
    for (topic, payload) in told.into_iter().chain([(PAYMENTS, update.to_string())]) {
        let record = BaseRecord::<str, str>::to(topic).key("{}").payload(&payload);
        theatre.producer.send(record).map_err(|(error, _)| error).expect("sent");
    }
    theatre.producer.flush(LIMIT).expect("written");
    theatre.commit(&Logged::Order { before: None, after: order(990_002, "__debezium_unavailable_value") });
    // What disagrees is told, grows old, and is mended.
    theatre.commit(&Logged::Order { before: None, after: order(MENDED, "PAID") });
    let is_told = |theatre: &Theatre| theatre.judge.seen.iter().any(|seen| seen.order == MENDED.to_string());
    theatre.play(true, LIMIT, is_told);
    let (before, after) = (Some(order(MENDED, "PAID")), order(MENDED, "CANCELLED"));
    theatre.commit(&Logged::Order { before, after });
}

/// Where the checkpoint store was, something else is.
fn lose(store: &Path) {
    let mut number = 0;
    // It may be made anew in between.
    while store.is_dir() || std::fs::write(store, "").is_err() {
        number += 1;
        let _ = std::fs::rename(store, store.with_extension(number.to_string()));
    }
}

const MENDED: i64 = 990_003;

const TRANSACTIONS: &str = "shop.transaction";

fn order(order_id: i64, payment_status: &'static str) -> Order {
    Order { order_id, customer_id: 1, payment_status, total_cents: 100, updated_at: now().0 }
}

#[test]
fn cli_run_shows_every_declared_metric_and_when_it_is_ready() {
    let address = free();
    let escalates = FILE
        .replace("flap_window: 1m", "escalate: [{after: 5s, severity: critical}]")
        .replace("    kind: postgresql\n", &format!("    kind: postgresql\n    transactions: {TRANSACTIONS}\n"));
    let folder = tempfile::tempdir().expect("a temporary folder");
    let store = folder.path().join("store");
    let checkpoints = format!("checkpoints: {{url: \"{}\", every: 1s}}", store.display());
    // It is not well at first, and then has no schema at all.
    let none = r#"{"error_code":40403,"message":"Schema not found"}"#;
    let registry = Registry::start(move |_, number| (if number == 0 { 503 } else { 404 }, none.to_owned()));
    let served = format!("http: {{listen: \"{address}\"}}\nregistry: {{url: \"{}\"}}", registry.url);
    let ground = Ground::prepare(&format!("{escalates}\n{served}\n{checkpoints}\n"));
    ground.cluster.create_topic(TRANSACTIONS, 1, 1).expect("a topic is created");
    let mut theatre = Theatre::new(&ground.cluster.bootstrap_servers(), &[]);
    let mut process = ground.run(&[]);
    let log = process.stderr();
    std::thread::spawn(move || log.count());

    let mut first = None;
    theatre.play(false, LIMIT, |_| {
        first = first.take().or_else(|| ask(&address, "readyz"));
        first.is_some()
    });
    let (status, why) = first.expect("it listens");
    assert_eq!((status, ask(&address, "livez").map(|(status, _)| status)), (503, Some(200)), "{why}");
    theatre.play(true, LIMIT, |_| ask(&address, "readyz").is_some_and(|(status, _)| status == 200));

    make_trouble(&mut theatre);
    let labels = |metric: &evenkeel::adapters::telemetry::Metric| {
        metric.labels.iter().chain(&["reconciliation"]).map(|label| (*label).to_owned()).collect()
    };
    let declared: BTreeMap<String, BTreeSet<String>> =
        METRICS.iter().map(|metric| (metric.name.to_owned(), labels(metric))).collect();
    let deadline = Instant::now() + LIMIT;
    let mut text = String::new();
    theatre.play(true, LIMIT * 2, |_| {
        text = ask(&address, "metrics").expect("it is served").1;
        if text.contains(&format!("{}{{", telemetry::CHECKPOINT_BYTES)) && store.is_dir() {
            lose(&store);
        }
        shown(&text).len() >= declared.len() || Instant::now() > deadline
    });
    assert_eq!(shown(&text), declared, "what is shown is what is declared");
    for metric in METRICS {
        let kind = format!("# TYPE {} {}\n", metric.name, format!("{:?}", metric.kind).to_lowercase());
        assert!(text.contains(&kind), "{kind}{text}");
        assert!(text.contains(&format!("# HELP {} {}\n", metric.name, metric.help)), "{}\n{text}", metric.name);
    }
    process.signal("TERM");
    assert_eq!(process.exit_code(), Some(0));
}

/// Where the brokers do not answer, it lives and says so, is not ready, and ends when it is told to.
#[test]
fn cli_run_is_alive_while_it_waits_for_brokers() {
    let address = free();
    let ground = Ground::prepare(&served(&address));
    let mut process = ground.run_on(&free(), &[]);
    let mut log = process.stderr();
    assert!(log.any(|line| line.contains("serving /metrics")), "it serves at once");
    let status = |path: &str| ask(&address, path).map(|(status, _)| status);
    assert_eq!([status("livez"), status("readyz"), status("metrics")], [Some(200), Some(503), Some(200)]);
    process.signal("TERM");
    assert_eq!(process.exit_code(), Some(0));
}
