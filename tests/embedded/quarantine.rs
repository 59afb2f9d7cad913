//! The way out of quarantine: what was refused is understood by a mended configuration, and comes to be as if it always had.

use std::time::{Duration, Instant};

use evenkeel::app::demo::connector::PAYMENTS;
use evenkeel::app::demo::settings::{FILE, settings_of};
use evenkeel::app::demo::world::{Logged, Order, Payment};
use evenkeel::app::quarantine::{Outcome, requeue};
use rdkafka::producer::BaseRecord;

use crate::support::product::Product;
use crate::support::theatre::{TOPICS, Theatre, cluster};

const LIMIT: Duration = Duration::from_secs(60);

fn paid(order_id: i64) -> Logged {
    let order = Order { order_id, customer_id: 1, payment_status: "PAID", total_cents: 1_050, updated_at: 0 };
    Logged::Order { before: None, after: order }
}

fn payment(order_id: i64, status: &'static str) -> Payment {
    Payment { id: order_id, order_id, kind: "CAPTURE", status, amount_cents: 1_050, captured_at: None, updated_at: 0 }
}

#[test]
fn embedded_what_was_in_quarantine_is_requeued_behind_nothing_newer() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let cluster = cluster(&TOPICS);
    let bootstrap = cluster.bootstrap_servers();
    let mut theatre = Theatre::new(&bootstrap, &[]);
    let mended = theatre.settings(folder.path());
    let wrong = FILE.replace("status: text, amount: \"numeric(12,2)\"", "status: text, amount: bigint");
    let mut broken = settings_of(&wrong, &bootstrap, folder.path());
    broken.kafka = mended.kafka.clone();

    let product = Product::start(broken);
    for order in [1, 2] {
        theatre.commit(&paid(order));
    }
    theatre.commit(&Logged::Payment { before: None, after: payment(1, "CAPTURED") });
    theatre.commit(&Logged::Payment { before: None, after: payment(2, "PENDING") });
    theatre.play(false, LIMIT, |theatre| theatre.judge.seen.len() == 2 && theatre.quarantined.len() == 2);
    product.stop().expect("it stops cleanly");

    let product = theatre.product(folder.path());
    theatre.commit(&Logged::Payment { before: Some(payment(2, "PENDING")), after: payment(2, "CAPTURED") });
    theatre.play(false, LIMIT, |theatre| theatre.judge.seen.iter().any(|seen| seen.resolved.is_some()));
    let dry = requeue(&mended, |_| true, true).expect("it can be looked at");
    assert!(dry.is_all(), "{dry}");
    let requeued = requeue(&mended, |_| true, false).expect("it can be written");
    assert_eq!(requeued, dry, "it does what it said");
    let places: Vec<String> = theatre
        .quarantined
        .iter()
        .map(|body| format!("pay.pay.payments:{}:{}", body["partition"], body["offset"]))
        .collect();
    for place in &places {
        assert!(matches!(requeued.of(place), Some(Outcome::Requeued(_))), "{place}: {requeued}");
    }
    theatre.play(false, LIMIT, |theatre| theatre.judge.seen.iter().all(|seen| seen.resolved.is_some()));

    // Long enough for what would be wrong by now.
    theatre.commit(&paid(3));
    theatre.play(false, LIMIT, |theatre| theatre.judge.seen.iter().any(|seen| seen.order == "3"));
    let of = |order: &str| theatre.judge.seen.iter().filter(|seen| seen.order == order).count();
    assert_eq!([of("1"), of("2"), of("3")], [1, 1, 1], "the older state of the second payment has not come back");
    // What its topic does not have any more is not guessed.
    let gone = requeue(&mended, |one| one.offset == 99, false).expect("it can be looked at");
    assert!(!gone.is_all() && gone.to_string() == "nothing of that is in quarantine\n", "{gone}");
    product.stop().expect("it stops cleanly");
}

/// Where every record is refused, the disks of the brokers are not filled: what is beyond a burst waits in its own topic, the
/// source is said to stand still, and no order is accused meanwhile. Nothing of it is lost.
#[test]
fn embedded_a_flood_of_poison_slows_down_and_is_said() {
    const POISON: &str = "{\"op\":\"c\"}";
    const FLOOD: usize = 1000;
    const A_SECOND: usize = 8;
    let folder = tempfile::tempdir().expect("a temporary folder");
    let cluster = cluster(&TOPICS);
    let mut theatre = Theatre::new(&cluster.bootstrap_servers(), &[]);
    let mut narrow = theatre.settings(folder.path());
    narrow.limits.quarantine_bytes = A_SECOND;
    let began = Instant::now();
    let product = Product::start(narrow);
    for _ in 0..FLOOD {
        let poison = BaseRecord::<str, str>::to(PAYMENTS).partition(1).payload(POISON);
        theatre.producer.send(poison).map_err(|(error, _)| error).expect("sent");
    }
    theatre.commit(&paid(1));
    // What is beyond the burst waits, and goes on where it was: some of it a few times.
    let burst = A_SECOND * 1024 / POISON.len();
    theatre.play(false, LIMIT, |theatre| theatre.quarantined.len() >= burst + 4 && theatre.judge.stalls_reported > 0);
    let most = A_SECOND * (1024 + began.elapsed().as_secs() as usize + 1) / POISON.len() + 1;
    assert!(theatre.quarantined.len() <= most, "{} in quarantine, {most} at most", theatre.quarantined.len());
    assert_eq!(theatre.judge.seen.len(), 0, "a payment may stand behind the flood");
    product.stop().expect("it stops cleanly");

    let product = theatre.product(folder.path());
    theatre.play(false, LIMIT, |theatre| theatre.quarantined.len() >= FLOOD && theatre.judge.seen.len() == 1);
    let mut offsets: Vec<i64> = theatre.quarantined.iter().filter_map(|body| body["offset"].as_i64()).collect();
    offsets.sort_unstable();
    assert!(offsets.iter().copied().eq(0..FLOOD as i64), "each is there once: {offsets:?}");
    product.stop().expect("it stops cleanly");
}
