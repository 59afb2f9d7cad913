//! Topics that their connectors write in transactions, as Kafka Connect does with exactly-once support for source
//! connectors (KIP-618): each transaction leaves a marker behind that no reader is given, also at a topic's end.

use std::time::Duration;

use crate::support::theatre::{TOPICS, Theatre};

#[test]
#[ignore = "real stack"]
fn real_sources_written_in_transactions_are_read_to_their_end() {
    // A broker of its own: the theatre's topics have the names of other tests'.
    let broker = super::Broker::start().expect("a broker starts");
    let topics = TOPICS.map(|(topic, partitions)| (topic.to_owned(), partitions));
    super::create_topics(&broker.bootstrap(), &topics).expect("the topics are created");
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut theatre = Theatre::new(&broker.bootstrap(), &[("transactional.id", "connectors")]);
    let product = theatre.product(folder.path());
    theatre.play(true, Duration::from_secs(60), |theatre| theatre.judge.seen.len() >= 6);
    // No more customers: what is wrong by now is found although the topics end in markers.
    theatre.play(false, Duration::from_secs(60), |theatre| theatre.judge.is_complete());
    product.stop().expect("the product stops cleanly");
    let summary = theatre.judge.summary();
    assert!(summary.is_right(), "{summary}");
}
