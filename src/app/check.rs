//! `evenkeel check --live`: is what runs what the configuration says?
//!
//! Must not know: how the configuration was read. Only asks; changes nothing.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant as Moment};

use rdkafka::message::Message;

use super::config::{Node, suggestion};
use super::diagnostic::{Diagnostic, Kind, SourceText};
use super::forms::objections;
use super::run::own_topics;
use super::selection::{claimed_twice, missing, select};
use super::settings::{ConnectorSettings, Settings, TopicSelection};
use super::sources::registry;
use super::understand::with_record;
use crate::adapters::debezium::{self, Decoder, Event, NO_BEFORE, NO_COLUMN, Record, Refusal, Registry};
use crate::adapters::kafka::admin::Admin;
use crate::adapters::kafka::changes::{Reading, TopicReader};
use crate::adapters::kafka::{KafkaFailure, Properties};

/// How long a topic's last record may take to come.
const PATIENCE: Duration = Duration::from_secs(10);

type Topics = BTreeMap<String, i32>;

/// Compares a configuration with the brokers, the topics, and the last records of each. A fault is shown where the
/// configuration file names what it is about.
pub fn live(settings: &Settings, file: &Path) -> Vec<Diagnostic> {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    // It was read a moment ago; where it cannot be any more, faults have no place.
    let root = Node::parse(&SourceText::new(file.display().to_string(), text)).ok();
    let properties = Properties::new(settings.kafka.clone());
    let asked = Admin::new(&properties).and_then(|admin| Ok((admin.topics()?, admin)));
    let live = match asked {
        Ok((present, admin)) => Live { root, properties, admin, present },
        Err(failure) => return vec![unreachable(settings, root.as_ref(), &failure)],
    };
    let mut faults = Vec::new();
    let registry = match registry(settings) {
        Ok(registry) => registry,
        Err(error) => {
            let place = live.root.as_ref().and_then(|root| root.entry("registry"));
            return vec![fault(place, error.to_string()).hint("Look at what registry says.")];
        }
    };
    let selected = select(settings, &live.present);
    if let Some((topic, sources)) = claimed_twice(&selected) {
        let [one, other] = sources.map(|source| &settings.sources[source].name);
        let fault = live.fault(topic, format!("topic {topic} is selected by both sources {one} and {other}"));
        faults.push(fault.hint("Make their topics or patterns narrower: a topic holds one table's changes."));
    }
    for (of, topics) in missing(settings, &live.present, &selected) {
        faults.extend(topics.iter().map(|topic| live.does_not_exist(&of, topic)));
    }
    for (source, selected) in settings.sources.iter().zip(selected) {
        let mut decoder = Decoder::new(Arc::clone(&registry));
        for (topic, partitions) in selected {
            let judge = |record: Record<'_>| match decoder.decode_in(&source.shape, record, PATIENCE) {
                Ok(Event::Change(decoded)) if decoded.incomplete => {
                    Some(Refusal { reason: "no_before", detail: NO_BEFORE.to_owned() })
                }
                Ok(Event::Change(decoded)) => decoded.change.operation.missing().next().map(|column| {
                    let name = &source.shape.columns[column].name;
                    Refusal::new("no_column", format!("\"{name}\": {NO_COLUMN}"))
                }),
                Ok(Event::Nothing) => None,
                Err(refusal) => Some(refusal),
            };
            if live.present.contains_key(&topic) {
                let pattern = match &source.topics {
                    TopicSelection::Pattern(pattern) => pattern,
                    TopicSelection::List(_) => &topic,
                };
                faults.extend(live.last_records(&source.name, pattern, (&topic, partitions), judge));
            }
        }
    }
    faults.extend(settings.connectors.iter().filter_map(|connector| live.heartbeat(connector, &registry)));
    faults.extend(settings.connectors.iter().filter_map(|connector| live.transactions(connector, &registry)));
    faults.extend(live.written(settings));
    faults.extend(live.set_otherwise(settings));
    faults.extend(live.form(settings));
    faults
}

fn unreachable(settings: &Settings, root: Option<&Node>, failure: &KafkaFailure) -> Diagnostic {
    let servers = settings.kafka.get("bootstrap.servers").map_or("", String::as_str);
    let message = format!("no broker of {servers} answers: {failure}");
    let place = root.and_then(|root| root.entry("kafka")?.entry("bootstrap.servers"));
    fault(place, message).hint("Check kafka.bootstrap.servers, and the security settings beside it.")
}

fn fault(place: Option<&Node>, message: String) -> Diagnostic {
    match place {
        Some(node) => node.fault(Kind::Live, message),
        None => Diagnostic::general(Kind::Live, message),
    }
}

/// What runs, beside the file that says what should.
struct Live {
    root: Option<Node>,
    properties: Properties,
    admin: Admin,
    present: Topics,
}

impl Live {
    /// A fault at the first place that says `words`.
    fn fault(&self, words: &str, message: String) -> Diagnostic {
        fault(self.root.as_ref().and_then(|root| root.find(words)), message)
    }

    fn does_not_exist(&self, of: &str, topic: &str) -> Diagnostic {
        let words = topic.strip_prefix("matching ").unwrap_or(topic);
        let fault = self.fault(words, format!("{of}: topic {topic} does not exist"));
        match suggestion(topic, self.present.keys().map(String::as_str)) {
            Some(hint) => fault.hint(hint),
            None => fault.hint("Debezium creates it with the table's first event, where the broker lets it."),
        }
    }

    /// The first record among the last ones of each partition that is not understood.
    fn last_records(
        &self,
        of: &str,
        words: &str,
        (topic, partitions): (&str, i32),
        mut judge: impl FnMut(Record<'_>) -> Option<Refusal>,
    ) -> Option<Diagnostic> {
        (0..partitions).find_map(|partition| match last_record(&self.properties, topic, partition, &mut judge) {
            Ok(None) => None,
            Ok(Some((offset, Refusal { reason, detail }))) => {
                let message =
                    format!("{of}: {topic}:{partition}, offset {offset} is not understood ({reason}): {detail}");
                let hint =
                    "Such records go to quarantine. Compare the source's columns and their types with the record.";
                Some(self.fault(words, message).hint(hint))
            }
            Err(failure) => {
                let hint = "The brokers did not answer, or refused: check that this user may read the topic.";
                Some(self.fault(words, format!("{of}: {failure}")).hint(hint))
            }
        })
    }

    fn heartbeat(&self, connector: &ConnectorSettings, registry: &Arc<dyn Registry>) -> Option<Diagnostic> {
        let heartbeat = connector.heartbeat.as_ref()?;
        let mut decoder = Decoder::new(Arc::clone(registry));
        self.aside(format!("heartbeat of connector {}", connector.name), &heartbeat.topic, |record| {
            let event = decoder.decode_in(&heartbeat.shape, record, PATIENCE);
            event.and_then(|event| debezium::heartbeat(&heartbeat.shape, event)).err()
        })
    }

    fn transactions(&self, connector: &ConnectorSettings, registry: &Arc<dyn Registry>) -> Option<Diagnostic> {
        let transactions = connector.transactions.as_ref()?;
        let mut decoder = Decoder::new(Arc::clone(registry));
        self.aside(format!("transactions of connector {}", connector.name), &transactions.topic, |record| {
            decoder.end_in(&transactions.shape, record, PATIENCE).err()
        })
    }

    /// Of a topic that a connector writes beside those of tables. That it does not exist is said elsewhere.
    fn aside(&self, of: String, topic: &str, judge: impl FnMut(Record<'_>) -> Option<Refusal>) -> Option<Diagnostic> {
        let partitions = *self.present.get(topic)?;
        self.last_records(&of, topic, (topic, partitions), judge)
    }

    /// Evenkeel's own topics may be missing; those that exist must have the partitions that the configuration says.
    fn written(&self, settings: &Settings) -> Vec<Diagnostic> {
        let topics = &settings.topics;
        let own = [&topics.changes, &topics.discrepancies, &topics.open, &topics.quarantine];
        let place = self.root.as_ref().and_then(|root| root.entry("topics")?.entry("partitions"));
        let differing = own.into_iter().filter_map(|topic| {
            let found = *self.present.get(topic)?;
            let wanted = topics.partitions;
            let message = format!("topic {topic} has {found} partitions, the configuration says {wanted}");
            let hint = "A key's partition depends on the count, so it is fixed with the first start.";
            (found != wanted).then(|| fault(place, message).hint(hint))
        });
        differing.collect()
    }

    /// What the registry would say to the schemas of the output.
    fn form(&self, settings: &Settings) -> Vec<Diagnostic> {
        let place = self.root.as_ref().and_then(|root| root.entry("output"));
        let fault = |message| fault(place, message);
        match objections(settings) {
            Err(error) => vec![fault(format!("output: {error}")).hint("Nothing is published before it answers.")],
            Ok(objections) => {
                let hint = "Register the file of schemas/avro under it, or set auto_register: true; or look who else writes to it.";
                let said = |(subject, why)| fault(format!("output: subject {subject}: {why}")).hint(hint);
                objections.into_iter().map(said).collect()
            }
        }
    }

    /// Topics that were created by somebody else may lose what Evenkeel builds on.
    fn set_otherwise(&self, settings: &Settings) -> Vec<Diagnostic> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.expect("the system can make a runtime");
        let plans = own_topics(&settings.topics).into_iter().filter(|plan| self.present.contains_key(plan.name));
        // Who may not ask how topics are set may still check the rest.
        let asked = plans.filter_map(|plan| {
            let differing = runtime.block_on(self.admin.differing(&plan)).ok()?;
            Some((plan.name.to_owned(), differing))
        });
        let all: Vec<(String, Vec<_>)> = asked.collect();
        let place = self.root.as_ref().and_then(|root| root.entry("topics"));
        let each = all.iter().flat_map(|(topic, differing)| differing.iter().map(move |one| (topic, one)));
        let fault = |(topic, (name, found, wanted)): (&String, &(String, String, String))| {
            let hint = "Evenkeel never alters a topic. Where it is missing, it is created as it should be.";
            fault(place, format!("topic {topic} has {name}={found}, it needs {wanted}")).hint(hint)
        };
        each.map(fault).collect()
    }
}

/// Reads a partition's last record, if it has one, and gives its offset with what `judge` finds wrong.
fn last_record(
    properties: &Properties,
    topic: &str,
    partition: i32,
    mut judge: impl FnMut(Record<'_>) -> Option<Refusal>,
) -> Result<Option<(i64, Refusal)>, KafkaFailure> {
    let reader = TopicReader::open(properties, topic, 1 << 20)?;
    let (start, end) = reader.bounds(partition)?;
    if start == end {
        return Ok(None);
    }
    reader.seek(&[(partition, start.max(end - 2))])?;
    let deadline = Moment::now() + PATIENCE;
    while Moment::now() < deadline {
        match reader.poll(Duration::from_millis(100))? {
            Reading::Message(message) => {
                if let Some(refusal) = with_record(&message, &mut judge) {
                    return Ok(Some((message.offset(), refusal)));
                }
            }
            Reading::End => break,
            Reading::Nothing => {}
        }
    }
    Ok(None)
}
