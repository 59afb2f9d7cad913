//! Tables whose rows lie in several topics: those of one source listed, those of the other found by a pattern.

use std::time::Duration;

use evenkeel::adapters::clock::now;
use evenkeel::app::demo::connector::{ORDERS, Outgoing, PAYMENTS};
use evenkeel::app::demo::world::{Fault, Injected, Logged, Order, Payment};
use evenkeel::app::settings::TopicSelection;
use rdkafka::mocking::MockCluster;

use crate::support::product::Product;
use crate::support::theatre::{TOPICS, Theatre};

/// Orders from here on have a topic that is made while the product runs. The first has no payment.
const LATE: i64 = 990_001;

/// Rows are spread over topics by their primary keys, as over shards.
fn shard(outgoing: &Outgoing) -> String {
    match outgoing.topic {
        ORDERS if outgoing.id >= LATE => format!("{ORDERS}_late"),
        ORDERS | PAYMENTS => format!("{}_{}", outgoing.topic, outgoing.id % 2),
        other => other.to_owned(),
    }
}

#[test]
fn embedded_sources_of_several_topics_are_read_whole() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let cluster = MockCluster::new(1).expect("a mock cluster starts");
    let create = |topic: &str, partitions| cluster.create_topic(topic, partitions, 1).expect("a topic is created");
    for (topic, partitions) in TOPICS {
        match topic {
            ORDERS | PAYMENTS => [0, 1].map(|shard| create(&format!("{topic}_{shard}"), partitions + shard)),
            other => [create(other, partitions); 2],
        };
    }
    let mut theatre = Theatre::new(&cluster.bootstrap_servers(), &[]);
    theatre.topic_of = shard;
    let mut settings = theatre.settings(folder.path());
    settings.sources[0].topics = TopicSelection::Pattern(format!("{}_.+", ORDERS.replace('.', "\\.")));
    settings.sources[1].topics = TopicSelection::List([0, 1].map(|shard| format!("{PAYMENTS}_{shard}")).to_vec());
    let product = Product::start(settings);
    theatre.play(true, Duration::from_secs(60), |theatre| theatre.judge.seen.len() >= 6);
    theatre.play(false, Duration::from_secs(60), |theatre| theatre.judge.is_complete());

    create(&format!("{ORDERS}_late"), 2);
    theatre.judge.inject(&Injected { fault: Fault::LostPayment, order_id: LATE, at: now().0 });
    for order_id in [LATE, LATE + 1] {
        let after = Order { order_id, customer_id: 1, payment_status: "PAID", total_cents: 100, updated_at: now().0 };
        theatre.commit(&Logged::Order { before: None, after });
    }
    // Its order is there, though in a topic that the product has not heard of: no verdict goes without it.
    let at = now().0;
    let after = Payment {
        id: LATE,
        order_id: LATE + 1,
        kind: "CAPTURE",
        status: "CAPTURED",
        amount_cents: 100,
        captured_at: Some(at),
        updated_at: at,
    };
    theatre.commit(&Logged::Payment { before: None, after });
    theatre.play(false, Duration::from_secs(90), |theatre| theatre.judge.is_complete());
    product.stop().expect("it stops cleanly");
    let summary = theatre.judge.summary();
    assert!(summary.is_right() && summary.injected() >= 7, "{summary}");
}
