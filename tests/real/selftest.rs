//! The stack tested by itself: what is done to the databases arrives on the topics as Debezium promises.

use std::time::Duration;

use serde_json::{Value, json};

use super::{Record, Result, Source, Stack, stack};

const LIMIT: Duration = Duration::from_secs(30);

/// The operations on rows whose key field `id` has this value, in order, with the images; tombstones are "-".
fn story(records: &[Record], id: &str, value: i64, fields: &[&str]) -> Vec<Value> {
    let ours = records.iter().filter(|record| record.key_json()[id] == value);
    ours.map(|record| {
        let event = record.event();
        json!([event["op"].as_str().unwrap_or("-"), image(&event["before"], fields), image(&event["after"], fields)])
    })
    .collect()
}

fn image(row: &Value, fields: &[&str]) -> Value {
    if row.is_null() { Value::Null } else { fields.iter().map(|field| row[*field].clone()).collect() }
}

fn start(stack: &Stack, sources: &[&Source]) -> Result {
    std::thread::scope(|scope| {
        let starts: Vec<_> = sources.iter().map(|source| scope.spawn(|| stack.start_source(source))).collect();
        starts.into_iter().try_for_each(|start| start.join().expect("starting a source does not panic"))
    })
}

#[test]
#[ignore = "needs the real stack"]
fn real_changes_arrive_with_their_images() -> Result {
    let stack = stack();
    let (shop, pay) = (Source::shop(&stack, "shop"), Source::pay(&stack, "pay"));
    start(&stack, &[&shop, &pay])?;

    stack.pg(
        "insert into shop.orders (order_id, customer_id, payment_status, total) values (101, 7, 'PENDING', 12.30)",
    )?;
    stack.pg("update shop.orders set payment_status = 'PAID' where order_id = 101")?;
    stack.pg("delete from shop.orders where order_id = 101")?;
    let records =
        stack.consume(&shop.topic("orders"), |records| story(records, "order_id", 101, &[]).len() >= 4, LIMIT)?;
    let fields = ["payment_status", "total"];
    let orders = story(&records, "order_id", 101, &fields);
    // Under PostgreSQL's default replica identity an update has no old row, and a delete's is invented.
    assert_eq!(orders[0], json!(["c", null, ["PENDING", "12.30"]]));
    assert_eq!(orders[1], json!(["u", null, ["PAID", "12.30"]]));
    assert_eq!(orders[2], json!(["d", ["", "0.00"], null]));
    assert_eq!(orders[3], json!(["-", null, null]));

    stack.maria("insert into pay.payments (id, order_id, status, amount) values (201, 101, 'PENDING', 12.30)")?;
    stack.maria("update pay.payments set status = 'CAPTURED' where id = 201")?;
    stack.maria("delete from pay.payments where id = 201")?;
    let records =
        stack.consume(&pay.topic("payments"), |records| story(records, "id", 201, &[]).len() >= 4, LIMIT)?;
    let payments = story(&records, "id", 201, &["order_id", "kind", "status", "amount"]);
    let (pending, captured) =
        (json!([101, "CAPTURE", "PENDING", "12.30"]), json!([101, "CAPTURE", "CAPTURED", "12.30"]));
    assert_eq!(payments[0], json!(["c", null, pending]));
    assert_eq!(payments[1], json!(["u", pending, captured]));
    assert_eq!(payments[2], json!(["d", captured, null]));
    assert_eq!(payments[3], json!(["-", null, null]));

    assert_eq!(stack.topic_end_offsets(&shop.topic("orders"))?.len(), 4);
    assert_eq!(stack.topic_end_offsets(&pay.topic("payments"))?.len(), 3);
    Ok(())
}

#[test]
#[ignore = "needs the real stack"]
fn real_stopped_connector_is_silent_and_catches_up_when_resumed() -> Result {
    let stack = stack();
    let (shop, pay) = (Source::shop(&stack, "shop"), Source::pay(&stack, "pay"));
    start(&stack, &[&shop, &pay])?;

    stack.stop_connector("pay")?;
    let (payments, heartbeat) = (pay.topic("payments"), pay.heartbeat_topic());
    let before = (stack.topic_end_offsets(&payments)?, stack.topic_end_offsets(&heartbeat)?);
    stack.maria("insert into pay.payments (id, order_id, status, amount) values (211, 1, 'CAPTURED', 5.00)")?;
    stack.maria("insert into pay.payments (id, order_id, status, amount) values (212, 2, 'CAPTURED', 6.00)")?;
    // Three ticks of the other side: time enough for this one to have spoken.
    for _ in 0..3 {
        stack.wait_tick(&shop)?;
    }
    assert_eq!(before, (stack.topic_end_offsets(&payments)?, stack.topic_end_offsets(&heartbeat)?));

    stack.resume_connector("pay")?;
    let both = |records: &[Record]| [211, 212].iter().all(|id| story(records, "id", *id, &["amount"]).len() == 1);
    let records = stack.consume(&payments, both, LIMIT)?;
    assert_eq!(story(&records, "id", 212, &["amount"]), [json!(["c", null, ["6.00"]])]);
    stack.wait_tick(&pay)
}

#[test]
#[ignore = "needs the real stack"]
fn real_idle_databases_tick() -> Result {
    let stack = stack();
    let (shop, pay) = (Source::shop(&stack, "shop"), Source::pay(&stack, "pay"));
    start(&stack, &[&shop, &pay])?;
    for source in [&shop, &pay] {
        let mut ticks = stack.reader_from_now(&source.heartbeat_topic())?;
        let records = ticks.until(LIMIT, |records| records.len() >= 3)?;
        let counts: Vec<i64> = records.iter().filter_map(|record| record.event()["after"]["n"].as_i64()).collect();
        assert!(counts.windows(2).all(|pair| pair[0] < pair[1]), "{:?} ticks {counts:?}", source.prefix);
    }
    Ok(())
}

#[test]
#[ignore = "needs the real stack"]
fn real_connector_ticks_for_a_database_without_a_scheduler() -> Result {
    let stack = stack();
    let pay = Source::pay(&stack, "payticks").with_connector_tick();
    stack.start_source(&pay)?;
    stack.maria("set global event_scheduler = off")?;
    let ticked = (|| {
        stack.wait_tick(&pay)?;
        stack.wait_tick(&pay)
    })();
    stack.maria("set global event_scheduler = on")?;
    ticked?;
    stack.remove_source(&pay)
}

#[test]
#[ignore = "needs the real stack"]
fn real_open_transaction_is_seen_only_when_it_commits() -> Result {
    let stack = stack();
    let shop = Source::shop(&stack, "shop");
    stack.start_source(&shop)?;
    let mut orders = stack.reader_from_now(&shop.topic("orders"))?;

    let mut session = stack.pg_session()?;
    session.query("begin; insert into shop.orders values (301, 1, 'PENDING', 1)")?;
    stack.wait_tick(&shop)?;
    stack.pg("insert into shop.orders values (302, 1, 'PENDING', 2)")?;
    let seen = orders.until(LIMIT, |records| !records.is_empty())?;
    assert_eq!(seen[0].key_json()["order_id"], 302);
    session.query("insert into shop.orders values (303, 1, 'PENDING', 3); commit")?;
    let seen = orders.until(LIMIT, |records| records.len() >= 3)?;
    let commits: Vec<Value> = seen[1..].iter().map(|record| record.event()["source"]["ts_us"].clone()).collect();
    assert_eq!(commits[0], commits[1], "one transaction has one commit time");
    Ok(())
}

#[test]
#[ignore = "needs the real stack"]
fn real_killed_worker_carries_on_when_started_again() -> Result {
    let stack = stack();
    let pay = Source::pay(&stack, "pay");
    stack.start_source(&pay)?;
    stack.kill_connect()?;
    stack.maria("insert into pay.payments (id, order_id, status, amount) values (221, 1, 'CAPTURED', 7.00)")?;
    stack.start_connect()?;
    let topic = pay.topic("payments");
    stack.consume(&topic, |records| !story(records, "id", 221, &[]).is_empty(), LIMIT)?;
    Ok(())
}

#[test]
#[ignore = "needs the real stack"]
fn real_broker_comes_back_with_its_records() -> Result {
    let stack = stack();
    let shop = Source::shop(&stack, "shop");
    stack.start_source(&shop)?;
    stack.pg("insert into shop.orders values (401, 1, 'PENDING', 1)")?;
    let topic = shop.topic("orders");
    let seen = |id: i64| move |records: &[Record]| !story(records, "order_id", id, &[]).is_empty();
    stack.consume(&topic, seen(401), LIMIT)?;
    stack.kill_kafka()?;
    stack.pg("insert into shop.orders values (402, 1, 'PENDING', 1)")?;
    stack.start_kafka()?;
    stack.consume(&topic, |records| seen(401)(records) && seen(402)(records), LIMIT)?;
    Ok(())
}

#[test]
#[ignore = "needs the real stack"]
fn real_schemas_travel_with_events_and_more_tables_can_be_captured() -> Result {
    let stack = stack();
    stack.pg("create table if not exists shop.refunds (id int primary key, amount numeric(12,2))")?;
    let source = Source::shop(&stack, "shopschema").with_schemas().with_table("refunds", 2);
    stack.start_source(&source)?;
    stack.pg("insert into shop.refunds values (1, 2.50)")?;
    let topic = source.topic("refunds");
    let records = stack.consume(&topic, |records| !records.is_empty(), LIMIT)?;
    assert_eq!(story(&records, "id", 1, &["amount"]), [json!(["c", null, ["2.50"]])]);
    let raw: Value = serde_json::from_slice(records[0].value.as_deref().unwrap_or_default())?;
    assert_eq!(raw["schema"]["name"], "shopschema.shop.refunds.Envelope");

    stack.remove_source(&source)?;
    let slots = stack.pg("select slot_name from pg_replication_slots where slot_name = 'shopschema_slot'")?;
    assert!(slots.is_empty(), "the slot is left: {slots:?}");
    Ok(())
}
