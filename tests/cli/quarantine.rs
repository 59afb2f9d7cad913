//! `evenkeel quarantine`: what could not be understood, and what is made of it now.

use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use serde_json::{Value, json};

use super::{SOUND, command};

/// Kafka's timestamp of what was refused, milliseconds.
const REFUSED_AT_MS: i64 = 1_795_000_000_000;

fn payment() -> String {
    json!({
        "op": "c", "before": null,
        "after": {"id": 5, "order_id": 7, "kind": "CAPTURE", "status": "CAPTURED", "amount": "1.00", "currency": "EUR"},
        "source": {"ts_ms": 1000, "gtid": "0-1-7", "pos": 4, "row": 0, "snapshot": "false"},
    })
    .to_string()
}

/// A payment whose record is whole, and one that is not; what they were refused for is over with the configuration of now.
fn cluster() -> MockCluster<'static, rdkafka::producer::DefaultProducerContext> {
    use base64::Engine;
    let base64 = |text: &str| base64::engine::general_purpose::STANDARD.encode(text);
    let cluster = MockCluster::new(1).expect("a mock cluster starts");
    cluster.create_topic("evenkeel.orders-payments.quarantine", 8, 1).expect("a topic is created");
    let producer: BaseProducer =
        ClientConfig::new().set("bootstrap.servers", cluster.bootstrap_servers()).create().expect("a producer");
    for (offset, value) in [(41, payment()), (42, "{\"op\":".to_owned())] {
        let rejected = json!({
            "reconciliation": "orders-payments", "source": "payments", "topic": "pay.pay.payments", "partition": 1,
            "offset": offset, "timestamp": "2026-11-18T11:06:40.000000Z", "reason": "not_json", "detail": "it was not",
            "masked": false, "key_base64": base64("{\"id\":5}"), "value_base64": base64(&value),
            "headers": [{"name": "run", "value_base64": base64("one")}],
        });
        let (key, payload) = (format!("pay.pay.payments:1:{offset}"), rejected.to_string());
        let record = BaseRecord::to("evenkeel.orders-payments.quarantine").partition(3).key(&key).payload(&payload);
        producer.send(record).map_err(|(error, _)| error).expect("sent");
    }
    producer.flush(std::time::Duration::from_secs(10)).expect("written");
    cluster
}

/// The exit code, and what it prints to both.
fn run(
    cluster: &MockCluster<'static, rdkafka::producer::DefaultProducerContext>,
    verb: &[&str],
    words: &[&str],
) -> (Option<i32>, String, String) {
    let words: Vec<&str> = verb.iter().chain(words).copied().collect();
    let output = command(&words)
        .env("KAFKA_BOOTSTRAP_SERVERS", cluster.bootstrap_servers())
        .output()
        .expect("the binary starts");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

#[test]
fn cli_quarantine_lists_and_shows_what_could_not_be_understood() {
    let cluster = cluster();
    let run = |words: &[&str]| run(&cluster, &["quarantine"], words);
    let (code, listed, said) = run(&["list", "-c", SOUND]);
    assert_eq!(code, Some(0), "{said}");
    assert!(listed.contains("payments  not_json        2  2026-11-18T11:06:40"), "{listed}");
    let (_, none, _) = run(&["list", "-c", SOUND, "--reason", "truncate"]);
    assert_eq!(none, "nothing is in quarantine\n");
    let (_, listed, _) = run(&["list", "-c", SOUND, "--json"]);
    let listed: Value = serde_json::from_str(&listed).expect("it is JSON");
    assert_eq!((&listed[0]["records"], &listed[0]["place"]), (&json!(2), &json!("pay.pay.payments:1:42")));

    let (code, shown, said) = run(&["show", "-c", SOUND, "pay.pay.payments:1:41"]);
    assert_eq!(code, Some(0), "{said}");
    for part in
        ["not_json: it was not", "key    {\"id\":5}", "header run one", "understood now: a row: id=5 order_id=7 "]
    {
        assert!(shown.contains(part), "{part} is missing from\n{shown}");
    }
    let (_, shown, _) = run(&["show", "-c", SOUND, "pay.pay.payments:1:42"]);
    assert!(
        shown.contains("value  {\"op\":\n") && shown.contains("refused now: not_json: EOF while parsing"),
        "{shown}"
    );
    let (code, _, said) = run(&["show", "-c", SOUND, "pay.pay.payments:1:43"]);
    assert_eq!((code, said.as_str()), (Some(1), "error: pay.pay.payments:1:43 is not in quarantine\n"));
}

/// What comes of records that are there, of one that is there otherwise, and of one that is not.
#[test]
fn cli_quarantine_requeues_what_is_understood_and_says_what_is_not() {
    let cluster = cluster();
    cluster.create_topic("evenkeel.orders-payments.changes", 8, 1).expect("a topic is created");
    cluster.create_topic("pay.pay.payments", 2, 1).expect("a topic is created");
    let run = |words: &[&str]| run(&cluster, &["quarantine", "requeue", "-c", SOUND], words);
    let lost = run(&["pay.pay.payments:1:41"]);
    assert_eq!(lost.0, Some(1), "{lost:?}");
    assert!(lost.1.contains("not requeued: ingest has not committed so far"), "{lost:?}");

    // What stands in the topic: 41 tombstones, then what is in quarantine, as it was and otherwise.
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", cluster.bootstrap_servers());
    let producer: BaseProducer = config.create().expect("a producer");
    let send = |value: Option<&str>, millis: i64| {
        let mut record = BaseRecord::to("pay.pay.payments").partition(1).key("{\"id\":5}").timestamp(millis);
        record.payload = value;
        producer.send(record).map_err(|(error, _)| error).expect("sent");
    };
    (0..41).for_each(|_| send(None, 1));
    send(Some(&payment()), REFUSED_AT_MS);
    send(Some("{\"op\":"), REFUSED_AT_MS + 1);
    producer.flush(Duration::from_secs(10)).expect("written");
    let consumer: BaseConsumer =
        config.set("group.id", "evenkeel.orders-payments.ingest").create().expect("a consumer");
    let mut committed = TopicPartitionList::new();
    committed.add_partition_offset("pay.pay.payments", 1, Offset::Offset(43)).expect("an offset");
    consumer.commit(&committed, CommitMode::Sync).expect("committed");

    let row = "pay.pay.payments:1:41  a row: id=5 order_id=7 kind=CAPTURE status=CAPTURED amount=1.00 currency=EUR\n";
    let (code, told, _) = run(&["--all", "--dry-run"]);
    let other = "pay.pay.payments:1:42  not requeued: another record stands there now: the topic was created anew\n";
    assert_eq!((code, told), (Some(1), format!("{row}{other}1 of 2 would be requeued\n")));
    let (code, told, said) = run(&["pay.pay.payments:1:41"]);
    assert_eq!((code, told), (Some(0), format!("{row}1 of 1 requeued\n")), "{said}");
    let (_, told, _) = run(&["--source", "payments", "--json"]);
    let told: Value = serde_json::from_str(&told).expect("it is JSON");
    assert_eq!(told[0]["offset"], 41);
    assert!(told[0]["requeued"].is_string() && told[1]["not"].is_string(), "{told}");
    let (code, told, said) = run(&["pay.pay.payments:1:43"]);
    assert_eq!((code, told.as_str()), (Some(1), "nothing of that is in quarantine\n"));
    assert_eq!(said, "error: pay.pay.payments:1:43 is not in quarantine\n");
}
