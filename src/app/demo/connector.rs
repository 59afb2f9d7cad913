//! Two simulated Debezium connectors: what each database's log holds becomes events on Kafka, a little later.
//!
//! Must not know: why a change was made. Shapes as captured from real connectors (`tests/fixtures/debezium`):
//! PostgreSQL tells commit times in microseconds, MariaDB statement times in whole seconds.

use std::collections::VecDeque;

use serde_json::{Value as Json, json};

use super::world::{Logged, Micros, Order, Payment};

/// An event on its way to Kafka.
#[derive(Clone, Debug)]
pub struct Outgoing {
    pub topic: &'static str,
    /// The message key decides the partition, as a producer's partitioner would.
    pub id: i64,
    pub key: String,
    pub value: String,
    due: Micros,
}

pub const ORDERS: &str = "shop.shop.orders";
pub const PAYMENTS: &str = "pay.pay.payments";
pub const SHOP_HEARTBEAT: &str = "shop.shop.heartbeat";
pub const PAY_HEARTBEAT: &str = "pay.pay.heartbeat";

/// How long a change takes from its commit to Kafka, microseconds.
const LAG: Micros = 80_000;

/// Which database a connector reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Database {
    /// PostgreSQL, the orders.
    Shop,
    /// MariaDB, the payments.
    Pay,
}

/// One connector.
pub struct Connector {
    database: Database,
    /// LSN or GTID number of the last transaction.
    position: u64,
    transactions: u64,
    queue: VecDeque<Outgoing>,
    pub stopped: bool,
    next_heartbeat: Micros,
    beats: i64,
}

impl Connector {
    pub fn new(database: Database, now: Micros) -> Connector {
        let position = if database == Database::Shop { 22_234_720 } else { 8 };
        Connector {
            database,
            position,
            transactions: 0,
            queue: VecDeque::new(),
            stopped: false,
            next_heartbeat: now,
            beats: 0,
        }
    }

    /// Takes a committed change from the database's log.
    pub fn log(&mut self, at: Micros, logged: &Logged) {
        let source = self.next_transaction(at, if self.database == Database::Shop { "orders" } else { "payments" });
        let (topic, id, key, before, after) = match logged {
            Logged::Order { before, after } => {
                // REPLICA IDENTITY DEFAULT: an update has no before image.
                (ORDERS, after.order_id, "order_id", Json::Null, (order(after), before.is_some()))
            }
            Logged::Payment { before, after } => {
                let before_row = before.as_ref().map_or(Json::Null, payment);
                (PAYMENTS, after.id, "id", before_row, (payment(after), before.is_some()))
            }
        };
        let (after, is_update) = after;
        let op = if is_update { "u" } else { "c" };
        self.send(at, topic, id, json!({key: id}), event(before, after, source, op, at));
    }

    /// Writes and captures the heartbeat row, once a second.
    pub fn heartbeat(&mut self, now: Micros) {
        if now < self.next_heartbeat {
            return;
        }
        self.next_heartbeat = now + 1_000_000;
        self.beats += 1;
        let topic = if self.database == Database::Shop { SHOP_HEARTBEAT } else { PAY_HEARTBEAT };
        let source = self.next_transaction(now, "heartbeat");
        let row = json!({"id": 1, "at": timestamp(now), "n": self.beats});
        self.send(now, topic, 1, json!({"id": 1}), event(Json::Null, row, source, "u", now));
    }

    fn send(&mut self, at: Micros, topic: &'static str, id: i64, key: Json, value: Json) {
        let outgoing = Outgoing { topic, id, key: key.to_string(), value: value.to_string(), due: at + LAG };
        self.queue.push_back(outgoing);
    }

    fn next_transaction(&mut self, at: Micros, table: &str) -> Json {
        self.transactions += 1;
        match self.database {
            Database::Shop => {
                let last_commit = self.position;
                self.position += 120;
                let lsn = self.position;
                self.position += 48;
                json!({
                    "version": "3.6.3.Final", "connector": "postgresql", "name": "shop", "ts_ms": at / 1000,
                    "snapshot": null, "db": "postgres", "sequence": format!("[\"{last_commit}\",\"{lsn}\"]"),
                    "ts_us": at, "ts_ns": at * 1000, "schema": "shop", "table": table,
                    "txId": 760 + self.transactions, "lsn": lsn, "xmin": null,
                })
            }
            Database::Pay => {
                self.position += 1;
                let second = at / 1_000_000;
                json!({
                    "version": "3.5.0.Final", "connector": "mariadb", "name": "pay", "ts_ms": second * 1000,
                    "snapshot": null, "db": "pay", "sequence": null, "ts_us": second * 1_000_000,
                    "ts_ns": second * 1_000_000_000, "table": table, "server_id": 223_344,
                    "gtid": format!("0-223344-{}", self.position), "file": "mysql-bin.000001",
                    "pos": 300 + 600 * self.position, "row": 0, "thread": null, "query": null,
                })
            }
        }
    }

    /// What the connector writes to Kafka now.
    pub fn drain(&mut self, now: Micros) -> Vec<Outgoing> {
        if self.stopped {
            return Vec::new();
        }
        let ready = self.queue.iter().take_while(|outgoing| outgoing.due <= now).count();
        self.queue.drain(..ready).collect()
    }

    /// True when everything logged has been written.
    pub fn is_drained(&self) -> bool {
        self.queue.is_empty()
    }
}

fn event(before: Json, after: Json, source: Json, op: &str, at: Micros) -> Json {
    let seen = at + LAG / 2;
    json!({
        "before": before, "after": after, "source": source, "transaction": null, "op": op,
        "ts_ms": seen / 1000, "ts_us": seen, "ts_ns": seen * 1000,
    })
}

fn order(order: &Order) -> Json {
    json!({
        "order_id": order.order_id, "customer_id": order.customer_id, "payment_status": order.payment_status,
        "total": cents(order.total_cents), "currency": "EUR", "note": null, "updated_at": timestamp(order.updated_at),
    })
}

fn payment(payment: &Payment) -> Json {
    json!({
        "id": payment.id, "order_id": payment.order_id, "kind": payment.kind, "status": payment.status,
        "amount": cents(payment.amount_cents), "currency": "EUR", "captured_at": payment.captured_at,
        "updated_at": timestamp(payment.updated_at),
    })
}

fn cents(cents: i64) -> String {
    format!("{}.{:02}", cents / 100, cents % 100)
}

fn timestamp(micros: Micros) -> String {
    crate::domain::instant::Instant(micros).to_string()
}
