//! Watches a reconciliation's output topics: every record against its schema, what was opened, what is open now.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use evenkeel::adapters::records::avro;
use serde_json::Value;

use super::truth::Truth;
use super::{Record, Result, Stack, TopicReader};
use crate::support::schemas::{Schemas, Topic};

/// The most records that one look takes.
const LOOK: usize = 500;

/// The output topics of one reconciliation.
pub struct Watch {
    readers: [(Topic, TopicReader, usize); 3],
    schemas: Schemas,
    /// `(event type, rule, key)` in order of arrival.
    pub events: Vec<(String, String, String)>,
    /// The bodies of these.
    pub bodies: Vec<Value>,
    /// What was opened and not resolved, by id: its rule and key.
    standing: BTreeMap<String, (String, String)>,
    /// For each key, the rules open now, as the open topic says.
    pub open: BTreeMap<String, BTreeSet<String>>,
    pub quarantined: Vec<Value>,
    pub stalls: Vec<String>,
    /// What else was said of sources: type, source, cause.
    pub notices: Vec<String>,
    /// For each partition, the settled time of the last heartbeat, RFC 3339.
    pub settled: BTreeMap<i64, String>,
    ids: BTreeSet<String>,
}

impl Watch {
    pub fn begin(stack: &Stack, prefix: &str) -> Result<Watch> {
        let reader = |name: &str, topic| -> Result<_> { Ok((topic, stack.reader(&format!("{prefix}.{name}"))?, 0)) };
        Ok(Watch {
            readers: [
                reader("discrepancies", Topic::Discrepancies)?,
                reader("open", Topic::Open)?,
                reader("quarantine", Topic::Quarantine)?,
            ],
            schemas: Schemas::load(),
            events: Vec::new(),
            bodies: Vec::new(),
            standing: BTreeMap::new(),
            open: BTreeMap::new(),
            quarantined: Vec::new(),
            stalls: Vec::new(),
            notices: Vec::new(),
            settled: BTreeMap::new(),
            ids: BTreeSet::new(),
        })
    }

    /// Reads on until a condition holds.
    pub fn until(&mut self, what: &str, limit: Duration, done: impl Fn(&Watch) -> bool) -> Result {
        let deadline = Instant::now() + limit;
        while !done(self) {
            assert!(
                Instant::now() < deadline,
                "{what}: not within {limit:?}\nevents {:?}\nopen {:?}\nstalls {:?}\nnotices {:?}\nsettled {:?}",
                self.events,
                self.open,
                self.stalls,
                self.notices,
                self.settled
            );
            self.read()?;
        }
        Ok(())
    }

    /// The discrepancy topic's records, as far as they were read.
    pub fn discrepancies(&self) -> &[Record] {
        self.readers[0].1.records()
    }

    /// Reads everything that has been committed to the topics when this is called.
    pub fn read_all(&mut self, stack: &Stack, limit: Duration) -> Result {
        let mut counts = [0; 3];
        for (count, (_, reader, _)) in counts.iter_mut().zip(&self.readers) {
            *count = TopicReader::count_all(&stack.bootstrap(), reader.topic())?;
        }
        self.until("what is there is read", limit, |watch| {
            watch.readers.iter().zip(counts).all(|((_, _, seen), count)| *seen >= count)
        })
    }

    fn read(&mut self) -> Result {
        let mut news = Vec::new();
        for (topic, reader, seen) in &mut self.readers {
            let have = *seen;
            // A short look: what is there is taken, what is not comes with the next one.
            let _ = reader.until(Duration::from_millis(50), |records| records.len() >= have + LOOK);
            let records = reader.records();
            news.extend(records[have..].iter().map(|record| (*topic, record.clone())));
            *seen = records.len();
        }
        for (topic, record) in news {
            let body = record.value.as_deref().map(|value| match record.header("ce_dataschema") {
                Some(schema) => avro::read(schema, value).expect("it is as its schema says"),
                None => serde_json::from_slice(value).expect("JSON"),
            });
            if let Some(body) = &body {
                self.schemas.check(topic, body);
            }
            let key =
                record.key.as_ref().map(|key| String::from_utf8_lossy(key.as_ref()).into_owned()).unwrap_or_default();
            match (topic, body) {
                (Topic::Open, body) => {
                    let open = body.iter().flat_map(|body| body["open"].as_array().into_iter().flatten());
                    let rules = open.filter_map(|one| one["rule"]["id"].as_str().map(str::to_owned)).collect();
                    self.open.insert(key, rules);
                }
                (Topic::Quarantine, body) => self.quarantined.extend(body),
                (Topic::Discrepancies, body) => self.hear(&body.expect("the discrepancy topic has no nulls")),
            }
        }
        Ok(())
    }

    fn hear(&mut self, body: &Value) {
        let text = |name: &str| body[name].as_str().unwrap_or_default().to_owned();
        match text("type").as_str() {
            "heartbeat" => {
                self.settled.insert(body["partition"].as_i64().expect("a partition"), text("settled_time"));
            }
            "source_stalled" | "source_recovered" => self.stalls.push(format!("{} {}", text("type"), text("source"))),
            "source_gap" | "source_gap_acknowledged" | "source_widened" => {
                self.notices.push(format!("{} {} {}", text("type"), text("source"), text("cause")).trim().to_owned());
            }
            "source_unconfirmed" | "source_confirmed" => {
                let notice = format!("{} {} {} {}", text("type"), text("source"), text("unseen"), body["rows"]);
                self.notices.push(notice.replace("  ", " "));
            }
            "source_incomplete" => {
                let (sent, arrived) = (&body["sent"], &body["arrived"]);
                self.notices.push(format!("source_incomplete {}, {arrived} of {sent} have come", text("source")));
            }
            event => {
                let id = format!("{}/{}", text("id"), body["revision"]);
                assert!(self.ids.insert(id.clone()), "{id} was said twice");
                let (rule, key) = (body["rule"]["id"].as_str().unwrap_or_default().to_owned(), text("key"));
                match event {
                    "opened" => drop(self.standing.insert(text("id"), (rule.clone(), key.clone()))),
                    "resolved" => drop(self.standing.remove(&text("id")).expect("what is resolved was opened")),
                    _ => assert!(self.standing.contains_key(&text("id")), "what is {event} was opened"),
                }
                self.events.push((event.to_owned(), rule, key));
                self.bodies.push(body.clone());
            }
        }
    }

    /// True once every partition has looked beyond an instant (RFC 3339, UTC, microseconds).
    pub fn has_settled(&self, partitions: usize, beyond: &str) -> bool {
        self.settled.len() == partitions && self.settled.values().all(|settled| settled.as_str() > beyond)
    }

    /// Holds what is open now against the truth: as the open topic says, and as the discrepancy topic adds up to.
    pub fn compare(&self, truth: &Truth) {
        let by_rule = |pairs: Vec<(&String, &String)>| {
            let mut by_rule: Truth = truth.keys().map(|rule| (rule.clone(), BTreeSet::new())).collect();
            for (rule, key) in pairs {
                by_rule.entry(rule.clone()).or_default().insert(key.clone());
            }
            by_rule
        };
        let open = self.open.iter().flat_map(|(key, rules)| rules.iter().map(move |rule| (rule, key))).collect();
        let (events, settled) = (&self.events, &self.settled);
        let told = || format!("what the topics say is what PostgreSQL says; settled {settled:?}, said {events:?}");
        assert_eq!(by_rule(open), *truth, "open: {}", told());
        let standing = self.standing.values().map(|(rule, key)| (rule, key)).collect();
        assert_eq!(by_rule(standing), *truth, "discrepancies: {}", told());
    }

    /// Every `(rule, key)` that was ever opened.
    pub fn ever_opened(&self) -> BTreeSet<(String, String)> {
        let opened = self.events.iter().filter(|(event, _, _)| event == "opened");
        opened.map(|(_, rule, key)| (rule.clone(), key.clone())).collect()
    }
}
