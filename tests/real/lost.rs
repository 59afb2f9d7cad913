//! Rows that a connector loses without a word (debezium/dbz#1554: restarted in the middle of a COPY), and what Evenkeel says
//! of them. Three connectors read the same COPY of the same table, and each has an Evenkeel of its own. It tells what happens
//! as it goes: `make demo-real` is this test. Knows nothing of how Evenkeel finds out: here ids in the table are held against
//! ids on the topic.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::binary::{BEYOND_GRACES, Binary, Shipped};
use super::product::instant;
use super::source::{POSTGRES_CONNECTOR, POSTGRES_CONNECTOR_NEXT};
use super::topics::{Record, TopicReader};
use super::watch::Watch;
use super::{Result, Source, Stack};

const ROWS: usize = 30_000;

/// How many have arrived when a connector is restarted.
const RESTARTED_AT: usize = ROWS / 5;

const PARTITIONS: usize = 2;
const LIMIT: Duration = Duration::from_secs(120);

/// A restart that meets the very end of a heap page loses nothing: once in some 80 times.
const ATTEMPTS: usize = 3;

/// What is said of a payment whose order has not arrived.
const RULE: &str = "payment-without-order";

/// Says what happens, and when.
struct Tale(Instant);

impl Tale {
    fn say(&self, text: &str) {
        println!("{:>6.1} s  {text}", self.0.elapsed().as_secs_f64());
    }

    fn add(&self, what: &str, text: &str) {
        println!("          {what:<36}{text}");
    }
}

/// One way from the table to verdicts.
struct Way {
    title: String,
    restarted: bool,
    shop: Source,
    signals: String,
    binary: Binary,
    watch: Watch,
    arrivals: TopicReader,
    _folder: TempDir,
}

/// What came of one.
struct Ending {
    title: String,
    arrived: usize,
    counted: i64,
    missing: BTreeSet<i64>,
    opened: BTreeSet<i64>,
    resolved: usize,
}

impl Way {
    fn begin(stack: &Stack, name: &str, version: &str, restarted: bool, pay: &Source) -> Result<Way> {
        let signals = format!("signals_{name}");
        stack.pg(&format!("create table shop.{signals} (id text primary key, type text, data text)"))?;
        let shop = with_default_pace(Source::shop(stack, &format!("shop{name}")))
            .with_table(&signals, 1)
            .set("signal.data.collection", &format!("shop.{signals}"))
            .set("connector.plugin.version", version);
        stack.start_source(&shop)?;
        let folder = tempfile::tempdir()?;
        let binary = Shipped::read("evenkeel.yaml", name, &shop, pay)?.binary(stack, folder.path())?;
        binary.start()?;
        let output = format!("evenkeel.{name}");
        Ok(Way {
            title: format!("{version}, {}", if restarted { "restarted" } else { "left alone" }),
            restarted,
            signals,
            watch: Watch::begin(stack, &output)?,
            arrivals: stack.reader(&shop.topic("orders"))?,
            shop,
            binary,
            _folder: folder,
        })
    }

    /// What anybody may do to a connector at any time.
    fn restart_in_mid_copy(&mut self, stack: &Stack, tale: &Tale) -> Result {
        self.arrivals.until(LIMIT, |records| records.len() >= RESTARTED_AT)?;
        tale.say(&format!(
            "{}: {RESTARTED_AT} rows have arrived, POST /connectors/{}/restart",
            self.title, self.shop.prefix
        ));
        stack.restart_connector(&self.shop.prefix)
    }

    /// Waits until everything is beyond every grace, then reads all that is on the topics.
    fn settle(&mut self, stack: &Stack, beyond: &str) -> Result {
        let settled = |watch: &Watch| watch.has_settled(PARTITIONS, beyond);
        self.watch.until("settling beyond every grace", LIMIT, settled)?;
        self.watch.read_all(stack, LIMIT)?;
        let all: i64 = stack.topic_end_offsets(&self.shop.topic("orders"))?.values().sum();
        self.arrivals.until(LIMIT, |records| records.len() as i64 >= all).map(|_| ())
    }

    /// Holds what has arrived against the table, and what Evenkeel has said against both.
    fn compare(&self, stack: &Stack, tale: &Tale, log: usize) -> Result<Ending> {
        let records = self.arrivals.records();
        let (runs, counted) = (runs(records), self.counted_by_debezium(stack)?);
        let arrived: BTreeSet<i64> = records.iter().filter_map(order).collect();
        let table = ids(stack, "select order_id from shop.orders")?;
        let missing: BTreeSet<i64> = table.difference(&arrived).copied().collect();
        let opened = self.keys_said("opened");

        // However far a heartbeat is ahead of the rows before it.
        let late = self.binary.sum("evenkeel_late_changes_total", &[])?;
        assert!(late == 0.0, "{}: {late} changes came behind a promise", self.title);
        tale.say(&self.title);
        tale.add("Debezium says", self.is_well(stack, log)?);
        tale.add("its own count of the COPY", &counted.to_string());
        tale.add("rows sent by each run of its task", &format!("{runs:?}"));
        tale.add("in the table, not on the topic", &told(&missing));
        tale.add("open discrepancies", &told(&opened));
        assert_eq!(opened, missing, "{}: what is open is what is missing", self.title);
        assert_eq!(self.watch.events.len(), missing.len(), "each once, nothing else: {:?}", self.watch.events);
        assert_eq!(runs.len(), 1 + usize::from(self.restarted), "{}: restarted in mid-COPY: {runs:?}", self.title);
        if !missing.is_empty() {
            tale.add("the same ids, each said once", "yes");
        }
        Ok(Ending { title: self.title.clone(), arrived: arrived.len(), counted, missing, opened, resolved: 0 })
    }

    /// Whatever can be asked of Debezium says that all is well.
    fn is_well(&self, stack: &Stack, log: usize) -> Result<&'static str> {
        let status = stack.connector_status(&self.shop.prefix)?;
        let states = [&status["connector"]["state"], &status["tasks"][0]["state"]];
        assert_eq!(states, ["RUNNING", "RUNNING"], "{status}");
        let log = std::fs::read_to_string(stack.log("connect"))?[log..].to_owned();
        let errors: Vec<&str> = log.lines().filter(|line| line.contains(" ERROR ")).collect();
        assert_eq!(errors, Vec::<&str>::new());
        Ok("connector RUNNING, task RUNNING, and logs no error")
    }

    /// The END record of the COPY says how many rows it had.
    fn counted_by_debezium(&self, stack: &Stack) -> Result<i64> {
        let topic = format!("{}.transaction", self.shop.prefix);
        let most = |records: &[Record]| records.iter().filter_map(|it| it.event()["event_count"].as_i64()).max();
        let records = stack.consume(&topic, |records| most(records).is_some_and(|count| count > 1), LIMIT)?;
        Ok(most(&records).unwrap_or_default())
    }

    /// Has the connector read the missing rows again, and waits until nothing is open.
    fn mend(&mut self, stack: &Stack, tale: &Tale, ending: &mut Ending) -> Result {
        let missing = &ending.missing;
        let list: Vec<String> = missing.iter().map(i64::to_string).collect();
        let data = serde_json::json!({
            "type": "INCREMENTAL",
            "data-collections": ["shop.orders"],
            "additional-conditions":
                [{"data-collection": "shop.orders", "filter": format!("order_id in ({})", list.join(", "))}],
        });
        tale.say(&format!("{}: execute-snapshot of the {} missing rows", self.title, missing.len()));
        let asked = Instant::now();
        stack.pg(&format!("insert into shop.{} values ('again', 'execute-snapshot', '{data}')", self.signals))?;
        let count = 2 * missing.len();
        self.watch.until("each is resolved", LIMIT, |watch| watch.events.len() >= count)?;
        self.watch.read_all(stack, LIMIT)?;
        assert_eq!(self.keys_said("resolved"), *missing);
        assert_eq!(self.watch.events.len(), count, "each once, nothing else: {:?}", self.watch.events);
        assert!(self.watch.open.values().all(BTreeSet::is_empty), "nothing is open: {:?}", self.watch.open);
        ending.resolved = missing.len();
        let took = asked.elapsed().as_secs_f64();
        tale.say(&format!("{}: {} resolved after {took:.1} s, none is open", self.title, missing.len()));
        Ok(())
    }

    /// Of which orders the discrepancy topic says it, all under the one rule.
    fn keys_said(&self, event: &str) -> BTreeSet<i64> {
        let said = self.watch.events.iter().filter(|(it, _, _)| it == event);
        said.map(|(_, rule, key)| {
            assert_eq!(rule, RULE, "of {key}");
            key.parse().expect("an order's id")
        })
        .collect()
    }

    fn end(self, stack: &Stack) -> Result {
        self.binary.stop()?;
        stack.remove_source(&self.shop)?;
        stack.pg(&format!("drop table shop.{}", self.signals)).map(|_| ())
    }
}

/// As it is where nobody sets it: other tests are in a hurry.
fn with_default_pace(source: Source) -> Source {
    source.set("poll.interval.ms", "500")
}

fn order(record: &Record) -> Option<i64> {
    record.key_json()["order_id"].as_i64()
}

/// How many records each run of the connector's task has sent, in order.
fn runs(records: &[Record]) -> Vec<usize> {
    let mut runs: BTreeMap<&[u8], (Option<i64>, usize)> = BTreeMap::new();
    for record in records {
        let run = record.headers.iter().find(|(name, _)| name == "__debezium.context.runId");
        let run = run.and_then(|(_, value)| value.as_deref()).unwrap_or_default();
        let (first, count) = runs.entry(run).or_insert((order(record), 0));
        *first = order(record).min(*first);
        *count += 1;
    }
    let mut runs: Vec<_> = runs.into_values().collect();
    runs.sort();
    runs.into_iter().map(|(_, count)| count).collect()
}

fn ids(stack: &Stack, sql: &str) -> Result<BTreeSet<i64>> {
    let rows = stack.pg(sql)?.into_iter();
    Ok(rows.filter_map(|row| row[0].as_ref()?.parse().ok()).collect())
}

/// Their number, and the ids with those that follow each other as `first-last`.
fn told(ids: &BTreeSet<i64>) -> String {
    let mut ranges: Vec<(i64, i64)> = Vec::new();
    for id in ids {
        match ranges.last_mut() {
            Some((_, last)) if *last + 1 == *id => *last = *id,
            _ => ranges.push((*id, *id)),
        }
    }
    let ranges = ranges.iter().map(|(first, last)| match first == last {
        true => first.to_string(),
        false => format!("{first}-{last}"),
    });
    format!("{:<6}{}", ids.len(), ranges.collect::<Vec<_>>().join(" ")).trim_end().to_owned()
}

/// All orders by one COPY, and a payment for each: both databases agree.
fn sell(stack: &Stack, tale: &Tale) -> Result {
    let lines: String = (1..=ROWS).map(|id| format!("{id}\t1\tPAID\t{}.00\n", 5 + id % 200)).collect();
    let orders = "copy shop.orders (order_id, customer_id, payment_status, total) from stdin";
    let count = stack.pg_session()?.copy(orders, &lines)?;
    tale.say(&format!("PostgreSQL: {count} paid orders, by one COPY"));
    stack.maria(&format!(
        "insert into pay.payments (id, order_id, status, amount)
         select seq, seq, 'CAPTURED', 5 + seq mod 200 from pay.seq_1_to_{ROWS}"
    ))?;
    tale.say("MariaDB: the captured payment of each");
    Ok(())
}

/// Does something with several ways at the same time.
fn each<'a>(ways: impl Iterator<Item = &'a mut Way>, act: impl Fn(&mut Way) -> Result + Sync) -> Result {
    let act = &act;
    std::thread::scope(|scope| {
        let threads: Vec<_> = ways.map(|way| scope.spawn(move || act(way))).collect();
        let mut outcomes = threads.into_iter().map(|thread| thread.join().expect("nothing panicked"));
        outcomes.try_for_each(|outcome| outcome)
    })
}

fn sell_and_restart(stack: &Stack, tale: &Tale, ways: &mut [Way]) -> Result {
    std::thread::scope(|scope| {
        let sold = scope.spawn(|| sell(stack, tale));
        each(ways.iter_mut().filter(|way| way.restarted), |way| way.restart_in_mid_copy(stack, tale))?;
        sold.join().expect("nothing panicked")
    })
}

fn summary(endings: &[Ending]) {
    println!("\n  PostgreSQL connector      copied  arrived  Debezium's count  lost  found  false  resolved");
    for Ending { title, arrived, counted, missing, opened, resolved } in endings {
        let (found, wrong) = (opened.intersection(missing).count(), opened.difference(missing).count());
        let lost = missing.len();
        println!("  {title:<24}{ROWS:>8}{arrived:>9}{counted:>18}{lost:>6}{found:>7}{wrong:>7}{resolved:>10}");
    }
    println!();
}

/// Other tests' orders have some of the same ids.
fn empty(stack: &Stack) -> Result {
    stack.pg("delete from shop.orders")?;
    stack.maria("delete from pay.payments").map(|_| ())
}

/// Gives how many rows the connector with the defect has lost.
fn lose_rows(attempt: usize) -> Result<usize> {
    let stack = super::stack();
    let tale = Tale(Instant::now());
    println!("\n  one COPY, three connectors: rows lost in silence (debezium/dbz#1554), and who says so\n");
    empty(&stack)?;
    let log = std::fs::read_to_string(stack.log("connect"))?.len();
    let pay = with_default_pace(Source::pay(&stack, &format!("paylost{attempt}")));
    stack.start_source(&pay)?;
    let name = |name: &str| format!("{name}{attempt}");
    let mut ways = vec![
        Way::begin(&stack, &name("lost"), POSTGRES_CONNECTOR, true, &pay)?,
        Way::begin(&stack, &name("calm"), POSTGRES_CONNECTOR, false, &pay)?,
        Way::begin(&stack, &name("next"), POSTGRES_CONNECTOR_NEXT, true, &pay)?,
    ];
    tale.say("PostgreSQL, MariaDB, Kafka, four connectors and three Evenkeels are running");
    sell_and_restart(&stack, &tale, &mut ways)?;
    let beyond = instant(&stack, BEYOND_GRACES)?;
    each(ways.iter_mut(), |way| way.settle(&stack, &beyond))?;
    let mut endings = Vec::new();
    for way in &mut ways {
        let mut ending = way.compare(&stack, &tale, log)?;
        if !ending.missing.is_empty() {
            way.mend(&stack, &tale, &mut ending)?;
        }
        endings.push(ending);
    }
    summary(&endings);
    assert!(endings[1].missing.is_empty(), "nothing is lost where nothing is restarted");
    ways.into_iter().try_for_each(|way| way.end(&stack))?;
    stack.remove_source(&pay)?;
    empty(&stack)?;
    Ok(endings[0].missing.len())
}

#[test]
#[ignore = "real stack"]
fn real_rows_that_a_connector_loses_are_found() {
    let lost = (1..=ATTEMPTS).any(|attempt| lose_rows(attempt).expect("the stack works") > 0);
    assert!(lost, "the connector loses rows when it is restarted in mid-COPY");
}
