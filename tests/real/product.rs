//! Evenkeel on the real stack: SQL statements in both databases, records on the topics, and PostgreSQL as the judge.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::Duration;

use evenkeel::app::demo::settings::{FILE, settings_of};
use evenkeel::app::run::create_topics;
use evenkeel::app::settings::{Settings, TopicSelection};
use evenkeel::domain::instant::Instant;

use super::truth::truth;
use super::watch::Watch;
use super::{AvroIds, Result, Source, Stack};
use crate::support::auditor::Auditor;
use crate::support::product::Product;

const PARTITIONS: usize = 2;

/// Longer than any of the rules' graces, in seconds.
const BEYOND_GRACES: u32 = 17;

const LIMIT: Duration = Duration::from_secs(90);

/// How the connectors write their events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Json,
    JsonWithSchemas,
    /// With ids in front of the one's records, in headers of the other's.
    Avro,
    CloudEvents,
    /// A delete is a tombstone of the one, a row of the other.
    Flattened,
}

impl Form {
    /// The connectors, set to write it, and the demo's configuration, which says so.
    fn of(self, stack: &Stack, shop: Source, pay: Source) -> Result<(Source, Source, String)> {
        let mode = "decimal.handling.mode";
        Ok(match self {
            Form::Json => (shop, pay, FILE.to_owned()),
            // The other two ways to write decimals, too: the schema says which it is.
            Form::JsonWithSchemas => {
                (shop.with_schemas().set(mode, "double"), pay.with_schemas().set(mode, "precise"), FILE.to_owned())
            }
            Form::Avro => {
                let registry = stack.registry()?;
                let shop = shop.with_avro(registry, AvroIds::Confluent).set(mode, "double");
                let pay = pay.with_avro(registry, AvroIds::Headers).set(mode, "precise");
                (shop, pay, format!("registry: {{url: {}}}\n{FILE}", registry.native(2)))
            }
            Form::CloudEvents => (shop.with_cloud_events(false), pay.with_cloud_events(true), FILE.to_owned()),
            Form::Flattened => {
                let orders = "op,source.ts_us:AT,source.lsn,source.sequence,source.snapshot";
                let payments = "op,source.ts_ms,source.gtid,source.file,source.pos,source.row,source.snapshot";
                let set = |file: String, after: &str, line: &str| file.replace(after, &format!("{after}\n{line}"));
                let said = format!("    flattened: {{add_fields: \"{orders}\"}}");
                let file = set(FILE.to_owned(), "    kind: postgresql", &said);
                let said = format!(
                    "    flattened: {{add_fields: \"{payments}\", add_fields_prefix: _, \
                     delete_tombstone_handling_mode: rewrite}}"
                );
                let file = set(file, "    kind: mariadb", &said);
                let file = set(file, "    topic: pay.pay.payments", "    key_may_change: true");
                let shop = shop.flattened(&[("add.fields", orders)]);
                let pay = pay.flattened(&[
                    ("add.fields", payments),
                    ("add.fields.prefix", "_"),
                    ("delete.tombstone.handling.mode", "rewrite"),
                ]);
                (shop, pay, file)
            }
        })
    }
}

/// Both sources under prefixes of their own, and a reconciliation over them.
struct Scene {
    shop: Source,
    pay: Source,
    settings: Settings,
    prefix: String,
}

impl Scene {
    /// Empties both tables and prepares; nothing runs yet.
    fn prepare(stack: &Stack, name: &str, state: &Path, form: Form) -> Result<Scene> {
        stack.pg("delete from shop.orders")?;
        stack.maria("delete from pay.payments")?;
        let (shop, pay) = (Source::shop(stack, &format!("shop{name}")), Source::pay(stack, &format!("pay{name}")));
        let (shop, pay, mut file) = form.of(stack, shop, pay)?;
        if stack.is_paid_by_mysql() {
            let gtids = stack.maria("select @@gtid_mode = 'ON'")?[0][0] == Some("1".to_owned());
            file = file.replace("    kind: mariadb", &format!("    kind: mysql\n    gtids: {gtids}"));
        }
        let prefix = format!("evenkeel.{name}");
        let mut settings = settings_of(&file, &stack.bootstrap(), state);
        let topics = &mut settings.topics;
        for topic in [&mut topics.changes, &mut topics.discrepancies, &mut topics.open, &mut topics.quarantine] {
            *topic = topic.replace("evenkeel.demo", &prefix);
        }
        for group in [&mut topics.ingest_group, &mut topics.reconcile_group, &mut topics.transactional_id] {
            *group = format!("{name}-{group}");
        }
        settings.sources[0].topics = TopicSelection::List(vec![shop.topic("orders")]);
        settings.sources[1].topics = TopicSelection::List(vec![pay.topic("payments")]);
        for connector in &mut settings.connectors {
            let topic = if connector.name == "shop" { shop.heartbeat_topic() } else { pay.heartbeat_topic() };
            connector.heartbeat.as_mut().expect("both have one").topic = topic;
        }
        Ok(Scene { shop, pay, settings, prefix })
    }

    fn start_sources(&self, stack: &Stack) -> Result {
        stack.start_source(&self.shop)?;
        stack.start_source(&self.pay)
    }

    fn watch(&self, stack: &Stack) -> Result<Watch> {
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        runtime.block_on(create_topics(&self.settings)).expect("the topics are created");
        Watch::begin(stack, &self.prefix)
    }

    fn end(self, stack: &Stack, product: Product) -> Result {
        product.stop().expect("it stops cleanly");
        let (_, summary) = Auditor { settings: &self.settings, copy: None }.must_be_sound();
        assert!(summary.compared.is_some_and(|compared| compared.same > 0 && compared.unpublished == 0), "{summary}");
        stack.remove_source(&self.shop)?;
        stack.remove_source(&self.pay)
    }
}

/// An instant of the orders' database from now, RFC 3339 in UTC with microseconds.
pub fn instant(stack: &Stack, seconds: u32) -> Result<String> {
    let asked = format!(
        "select to_char((clock_timestamp() + interval '{seconds} s') at time zone 'utc', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')"
    );
    Ok(stack.pg(&asked)?[0][0].clone().expect("an instant"))
}

pub fn pairs(list: &[(&str, &str)]) -> BTreeSet<(String, String)> {
    list.iter().map(|(rule, key)| ((*rule).to_owned(), (*key).to_owned())).collect()
}

/// Waits until everything written so far is beyond every grace, then holds what is open against the truth.
fn compare(stack: &Stack, scene: &Scene, watch: &mut Watch) -> Result {
    let beyond = instant(stack, BEYOND_GRACES)?;
    watch.until("settling beyond every grace", LIMIT, |watch| watch.has_settled(PARTITIONS, &beyond))?;
    let config = serde_saphyr::from_str(FILE).expect("the demo's configuration is YAML");
    let truth = truth(stack, &[config], &scene.settings.plan.catalog.lookups)?;
    watch.compare(&truth);
    Ok(())
}

pub fn pg_order(id: i64, status: &str, total: &str) -> String {
    format!(
        "insert into shop.orders (order_id, customer_id, payment_status, total) values ({id}, 1, '{status}', {total});"
    )
}

pub fn capture(id: i64, order: &str, status: &str, amount: &str) -> String {
    format!(
        "insert into pay.payments (id, order_id, kind, status, amount) values ({id}, {order}, 'CAPTURE', '{status}', {amount});"
    )
}

/// What happens in the databases after the snapshot: honest lives, and one of each fault.
pub fn play(stack: &Stack) -> Result {
    stack.pg(&pg_order(3, "PENDING", "10.00"))?;
    stack.maria(&capture(103, "3", "PENDING", "10.00"))?;
    stack.maria("update pay.payments set status = 'CAPTURED', captured_at = now(6) where id = 103")?;
    stack.pg("update shop.orders set payment_status = 'PAID' where order_id = 3")?;
    // Two captures that add up, after an attempt that failed, in one transaction.
    stack.pg(&pg_order(4, "PAID", "10.00"))?;
    let together = [("1041", "FAILED", "10.00"), ("1042", "CAPTURED", "6.00"), ("1043", "CAPTURED", "4.00")];
    let inserts = together.map(|(id, status, amount)| capture(id.parse().expect("a number"), "4", status, amount));
    stack.maria(&format!("begin; {} commit", inserts.join(" ")))?;
    stack.pg(&pg_order(5, "PAID", "20.00"))?;
    stack.maria(&capture(105, "5", "CAPTURED", "15.00"))?;
    stack.pg(&pg_order(6, "PAID", "5.00"))?;
    stack.maria(&format!("{} {}", capture(1061, "6", "CAPTURED", "5.00"), capture(1062, "6", "CAPTURED", "5.00")))?;
    stack.maria(&capture(107, "7", "CAPTURED", "7.00"))?;
    stack.pg(&pg_order(8, "CANCELLED", "8.00"))?;
    stack.maria(&capture(108, "8", "CAPTURED", "8.00"))?;
    stack.pg(&pg_order(9, "PENDING", "9.00"))?;
    // A payment that is moved to its order, and one that is assigned late.
    stack.maria(&format!(
        "{} {}",
        capture(110, "999", "CAPTURED", "10.00"),
        capture(111, "null", "CAPTURED", "11.00")
    ))?;
    stack.maria(
        "update pay.payments set order_id = 10 where id = 110; update pay.payments set order_id = 11 where id = 111",
    )?;
    stack.pg(&format!("begin; {} {} commit", pg_order(10, "PAID", "10.00"), pg_order(11, "PAID", "11.00")))?;
    // A payment that is deleted, an order that is deleted.
    stack.maria(&capture(112, "12", "CAPTURED", "12.00"))?;
    stack.pg(&format!("{} {}", pg_order(12, "PAID", "12.00"), pg_order(13, "PAID", "13.00")))?;
    stack.maria("delete from pay.payments where id = 112")?;
    stack.pg("delete from shop.orders where order_id = 13")?;
    // Primary keys that change, on either side.
    stack.maria(&capture(114, "14", "CAPTURED", "14.00"))?;
    stack.pg(&format!("{} {}", pg_order(14, "PAID", "14.00"), pg_order(15, "PAID", "15.00")))?;
    stack.maria(&format!(
        "update pay.payments set id = 1140 where id = 114; {}",
        capture(115, "150", "CAPTURED", "15.00")
    ))?;
    stack.pg("update shop.orders set order_id = 150 where order_id = 15")?;
    // A pair of statuses that stands in no table, and over which no amount is at odds.
    stack.pg(&pg_order(16, "CANCELLED", "16.00"))?;
    stack.maria(&capture(116, "16", "PENDING", "16.00"))?;
    Ok(())
}

fn snapshot_then_stream(name: &str, form: Form) -> Result {
    judged(&super::stack(), name, form)
}

fn judged(stack: &Stack, name: &str, form: Form) -> Result {
    let state = tempfile::tempdir().expect("a folder");
    let scene = Scene::prepare(stack, name, state.path(), form)?;
    stack.pg(&format!("{} {}", pg_order(1, "PAID", "10.00"), pg_order(2, "PAID", "20.00")))?;
    stack.maria(&capture(101, "1", "CAPTURED", "10.00"))?;
    scene.start_sources(stack)?;
    let mut watch = scene.watch(stack)?;
    let product = Product::start(scene.settings.clone());
    play(stack)?;
    compare(stack, &scene, &mut watch)?;
    let expected = pairs(&[
        ("paid-without-payment", "2"),
        ("paid-without-payment", "12"),
        ("captured-amount", "5"),
        ("captured-amount", "6"),
        ("duplicate-capture", "6"),
        ("payment-without-order", "7"),
        ("status-matrix", "8"),
        ("stuck-pending", "9"),
        ("status-matrix", "16"),
    ]);
    assert_eq!(watch.ever_opened(), expected, "nothing else was ever said: {:?}", watch.events);
    if form == Form::Avro {
        // An upgrade of the converter may change where schemas' ids are, in the middle of a topic.
        stack.start_source(&scene.pay.clone().with_avro(stack.registry()?, AvroIds::Confluent))?;
    }
    // Mended: what was lost arrives after all.
    stack.maria(&format!("{} {}", capture(102, "2", "CAPTURED", "20.00"), capture(1051, "5", "CAPTURED", "5.00")))?;
    stack.pg("update shop.orders set payment_status = 'CANCELLED' where order_id = 9")?;
    let mended = pairs(&[("paid-without-payment", "2"), ("captured-amount", "5"), ("stuck-pending", "9")]);
    let resolved = |watch: &Watch| {
        let resolved = watch.events.iter().filter(|(event, _, _)| event == "resolved");
        resolved.map(|(_, rule, key)| (rule.clone(), key.clone())).collect::<BTreeSet<_>>()
    };
    watch.until("the mended ones resolve", LIMIT, |watch| resolved(watch) == mended)?;
    compare(stack, &scene, &mut watch)?;
    assert_eq!(watch.quarantined, Vec::<serde_json::Value>::new());
    assert_eq!(watch.stalls, Vec::<String>::new());
    scene.end(stack, product)
}

#[test]
#[ignore = "real stack"]
fn real_rules_find_what_sql_finds() {
    snapshot_then_stream("plain", Form::Json).expect("the stack works");
}

/// With GTIDs its times are those of commits; without, those of statements, and positions those of the binlog.
#[test]
#[ignore = "real stack"]
fn real_rules_find_what_sql_finds_in_mysql() {
    let stack = super::stack();
    let Some(mysql) = stack.paid_by_mysql().expect("MySQL starts") else { return };
    judged(&stack, "mysql", Form::JsonWithSchemas).expect("the stack works");
    mysql.use_gtids(false).expect("the server takes it");
    judged(&stack, "binlog", Form::Json).expect("the stack works");
    mysql.use_gtids(true).expect("the server takes it");
}

#[test]
#[ignore = "real stack"]
fn real_rules_find_what_sql_finds_in_events_with_schemas() {
    snapshot_then_stream("schemas", Form::JsonWithSchemas).expect("the stack works");
}

#[test]
#[ignore = "real stack"]
fn real_rules_find_what_sql_finds_in_avro() {
    snapshot_then_stream("avro", Form::Avro).expect("the stack works");
}

#[test]
#[ignore = "real stack"]
fn real_rules_find_what_sql_finds_in_cloud_events() {
    snapshot_then_stream("cloud", Form::CloudEvents).expect("the stack works");
}

#[test]
#[ignore = "real stack"]
fn real_rules_find_what_sql_finds_in_flattened_events() {
    snapshot_then_stream("flat", Form::Flattened).expect("the stack works");
}

/// The payments feed stands still for longer than every grace: nothing may be said for want of a payment.
fn stall() -> Result {
    let stack = super::stack();
    let state = tempfile::tempdir().expect("a folder");
    let scene = Scene::prepare(&stack, "stall", state.path(), Form::Json)?;
    scene.start_sources(&stack)?;
    let mut watch = scene.watch(&stack)?;
    let product = Product::start(scene.settings.clone());
    stack.pg(&pg_order(1, "PAID", "1.00"))?;
    stack.maria(&capture(101, "1", "CAPTURED", "1.00"))?;
    let begun = instant(&stack, 0)?;
    watch.until("both feeds flow", LIMIT, |watch| watch.has_settled(PARTITIONS, &begun))?;

    stack.stop_connector(&scene.pay.prefix)?;
    stack.pg(&format!("{} {}", pg_order(2, "PAID", "2.00"), pg_order(3, "PAID", "3.00")))?;
    stack.maria(&capture(102, "2", "CAPTURED", "2.00"))?;
    let stopped = instant(&stack, 0)?;
    watch.until("the stall is said", LIMIT, |watch| watch.stalls == ["source_stalled payments"])?;
    // The orders' own feed goes on, and all partitions come to know it up to well beyond the grace.
    let beyond_grace = instant(&stack, 6)?;
    let frontiers_of_orders = || {
        let partitions = product.status.partitions().into_iter();
        partitions.map(|(_, status)| Instant(status.frontiers[0].load(Ordering::Relaxed))).collect::<Vec<_>>()
    };
    super::wait_until("the orders are known beyond the grace", LIMIT, || {
        let known = frontiers_of_orders();
        let all = known.len() == PARTITIONS && known.iter().all(|frontier| frontier.to_string() > beyond_grace);
        Ok(all.then_some(()))
    })?;
    watch.read_all(&stack, LIMIT)?;
    assert_eq!(watch.events, Vec::new(), "a silent feed is no missing payment");
    assert!(watch.settled.values().all(|settled| *settled <= stopped), "verdicts are held: {:?}", watch.settled);

    stack.resume_connector(&scene.pay.prefix)?;
    watch.until("the recovery is said", LIMIT, |watch| watch.stalls.len() == 2)?;
    compare(&stack, &scene, &mut watch)?;
    assert_eq!(watch.stalls, ["source_stalled payments", "source_recovered payments"], "each exactly once");
    assert_eq!(watch.ever_opened(), pairs(&[("paid-without-payment", "3")]), "{:?}", watch.events);
    scene.end(&stack, product)
}

#[test]
#[ignore = "real stack"]
fn real_stalled_feed_holds_verdicts() {
    stall().expect("the stack works");
}
