//! What a connector says to have sent, held against what has come: nothing is missed while all comes, and what a transform
//! drops behind the connector's count is said.

use std::time::Duration;

use super::binary::{Binary, Shipped};
use super::product::{capture, instant, pg_order};
use super::shipped::{end, sources, start};
use super::watch::Watch;
use super::{AvroIds, Result, wait_until};

const LIMIT: Duration = Duration::from_secs(90);

fn counted() -> Result {
    let stack = super::stack();
    let folder = tempfile::tempdir()?;
    let (shop, pay) = sources(&stack, "counted")?;
    let registry = stack.registry()?;
    let pay = pay.with_avro(registry, AvroIds::Confluent);
    // Of a primary key that changes, the row under its new key.
    let shop = shop
        .set("transforms", "lose")
        .set("transforms.lose.type", "org.apache.kafka.connect.transforms.Filter")
        .set("transforms.lose.predicate", "moved")
        .set("predicates", "moved")
        .set("predicates.moved.type", "org.apache.kafka.connect.transforms.predicates.HasHeaderKey")
        .set("predicates.moved.name", "__debezium.oldkey");
    let shipped = Shipped::read("evenkeel.yaml", "counted", &shop, &pay)?
        .replace(
            "    kind: postgresql\n",
            &format!("    kind: postgresql\n    transactions: {}.transaction\n", shop.prefix),
        )
        .replace("    kind: mariadb\n", &format!("    kind: mariadb\n    transactions: {}.transaction\n", pay.prefix))
        .replace("\nslack: 1s\n", &format!("\nregistry: {{url: \"{}\"}}\nslack: 1s\n", registry.confluent()));
    let binary = shipped.binary(&stack, folder.path())?;
    let mut watch = start(&stack, [&shop, &pay], &binary, "counted")?;

    // Transactions of several rows, whose topics have several partitions, in both databases.
    let mut next = 1000;
    wait_until("transactions are checked", LIMIT, || {
        let orders: String = (next..next + 3).map(|order| pg_order(order, "PAID", "3.00")).collect();
        stack.pg(&format!("begin; {orders} commit;"))?;
        let payments: Vec<String> =
            (next..next + 3).map(|id| capture(id, &id.to_string(), "CAPTURED", "3.00")).collect();
        stack.maria(&format!("begin; {} commit;", payments.join(" ")))?;
        next += 3;
        Ok((binary.sum("evenkeel_checked_transactions_total", &[])? >= 6.0).then_some(()))
    })?;
    assert_eq!(watch.notices, Vec::<String>::new());

    stack.pg("update shop.orders set order_id = 9000 where order_id = 1000")?;
    let told = "source_incomplete orders, 1 of 2 have come";
    watch.until("it is said", LIMIT, |watch| watch.notices.iter().any(|notice| notice == told))?;
    let beyond = instant(&stack, 2)?;
    watch.until("more is settled", LIMIT, |watch| watch.has_settled(2, &beyond))?;
    assert_eq!(watch.notices, [told], "once, and nothing else");
    wait_until("it is counted", LIMIT, || {
        Ok((binary.sum("evenkeel_incomplete_transactions_total", &[])? == 1.0).then_some(()))
    })?;
    end(&stack, &binary, [&shop, &pay])
}

#[test]
#[ignore = "real stack"]
fn real_events_that_are_lost_behind_their_connectors_count_are_said() {
    counted().expect("the stack works");
}
