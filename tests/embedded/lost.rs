//! Topics that are not what they were.

use std::time::{Duration, Instant};

use evenkeel::adapters::records::CAUSE_HEADER;
use evenkeel::app::StageError;
use rdkafka::ClientConfig;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};

use crate::support::theatre::{TOPICS, Theatre, cluster};

/// The output tells of a changes log that was longer: what the new one brings would be taken for repetitions.
#[test]
fn embedded_a_changes_log_that_was_lost_is_an_error() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let cluster = cluster(&TOPICS);
    let mut config = ClientConfig::new();
    let producer: BaseProducer = config.set("bootstrap.servers", cluster.bootstrap_servers()).create().expect("made");
    let headers = OwnedHeaders::new().insert(Header { key: CAUSE_HEADER, value: Some("1000000:3") });
    let old = BaseRecord::to("evenkeel.demo.quarantine").partition(1).key("k").payload("{}").headers(headers);
    producer.send(old).map_err(|(error, _)| error).expect("sent");
    producer.flush(Duration::from_secs(10)).expect("written");

    let product = Theatre::new(&cluster.bootstrap_servers(), &[]).product(folder.path());
    let deadline = Instant::now() + Duration::from_secs(40);
    while product.is_running() && Instant::now() < deadline {
        producer.poll(Duration::from_millis(50));
    }
    match product.stop() {
        Err(StageError::OutputAhead { topic, partition: 1, published: 1_000_000, .. }) => {
            assert_eq!(topic, "evenkeel.demo.changes");
        }
        other => panic!("{other:?}"),
    }
}
