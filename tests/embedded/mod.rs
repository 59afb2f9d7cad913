//! The product on librdkafka's mock cluster: real stages, consumers, producers and stores, without a broker to install.

use std::time::Duration;

use evenkeel::app::demo::connector::PAYMENTS;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseRecord, Producer};

use crate::support::theatre::{TOPICS, Theatre, cluster};

mod avro;
mod checkpoints;
mod disk;
mod evidence;
mod lost;
mod quarantine;
mod registry;
mod shards;
mod states;

#[test]
fn embedded_faults_are_found_once_while_members_come_and_go() {
    evenkeel::adapters::telemetry::install_logs();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let cluster = cluster(&TOPICS);
    let mut theatre = Theatre::new(&cluster.bootstrap_servers(), &[]);
    let first = theatre.product(&folder.path().join("first"));
    theatre.play(true, Duration::from_secs(40), |theatre| theatre.judge.seen.len() >= 3);
    let headers = OwnedHeaders::new().insert(Header { key: "why", value: Some("it") });
    let headers = headers.insert(Header::<&str> { key: "none", value: None });
    let garbage = BaseRecord::<str, str>::to(PAYMENTS).key("{}").payload("{\"op\":\"c\"}").headers(headers);
    theatre.producer.send(garbage).map_err(|(error, _)| error).expect("sent");

    let second = theatre.product(&folder.path().join("second"));
    theatre
        .play(true, Duration::from_secs(40), |_| second.status.is_ready() && !second.status.partitions().is_empty());
    let before = theatre.judge.seen.len();
    theatre.play(true, Duration::from_secs(40), |theatre| theatre.judge.seen.len() >= before + 3);

    // There are two partitions of the changes log, so the third member gets none, and is ready all the same.
    let third = theatre.product(&folder.path().join("third"));
    assert!(!third.status.is_ready(), "who has no assignment yet is not ready");
    theatre.play(true, Duration::from_secs(40), |_| third.status.is_ready());
    third.stop().expect("the third member stops cleanly");

    first.stop().expect("the first member stops cleanly");
    theatre.play(true, Duration::from_secs(40), |_| second.status.partitions().len() == 2);
    theatre.play(false, Duration::from_secs(60), |theatre| theatre.judge.is_complete());
    // The open topic says the same as the discrepancy topic, though it may be read a moment later.
    theatre.play(false, Duration::from_secs(20), |theatre| {
        theatre.judge.seen.iter().all(|seen| theatre.is_open(seen) == seen.resolved.is_none())
    });
    assert!(second.is_running());
    second.stop().expect("the second member stops cleanly");
    theatre.producer.flush(Duration::from_secs(5)).expect("flushed");

    let summary = theatre.judge.summary();
    assert!(summary.is_right(), "{summary}");
    assert!(summary.injected() >= 6, "{summary}");
    let reasons: Vec<&str> = theatre.quarantined.iter().filter_map(|body| body["reason"].as_str()).collect();
    assert_eq!(reasons, ["not_debezium"]);
    let headers =
        serde_json::json!([{"name": "why", "value_base64": "aXQ="}, {"name": "none", "value_base64": null}]);
    assert_eq!(theatre.quarantined[0]["headers"], headers);
}
