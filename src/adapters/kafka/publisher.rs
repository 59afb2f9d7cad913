//! Publishes one partition's records exactly once: in transactions, fenced, after what the output already holds.
//!
//! Must not know: how records are made. After any error whose outcome is not certain the producer is thrown away and
//! made anew (KIP-98; KIP-447's fencing by transactional id), and the tail of the output says what was published.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rdkafka::error::KafkaError;
use rdkafka::message::{Header, Headers, Message as _, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::types::RDKafkaErrorCode;

use super::admin::ANSWER;
use super::changes::{Reading, TopicReader};
use super::{Context, KafkaFailure, Properties, TICK};
use crate::adapters::records::{CAUSE_HEADER, Message, Output};
use crate::domain::record::Cause;

/// The output topics.
#[derive(Clone, Debug)]
pub struct OutputTopics {
    pub discrepancies: String,
    pub open: String,
    pub quarantine: String,
}

impl OutputTopics {
    fn of(&self, output: Output) -> &str {
        match output {
            Output::Discrepancies => &self.discrepancies,
            Output::Open => &self.open,
            Output::Quarantine => &self.quarantine,
        }
    }
}

/// How long is waited before something is tried again.
const PAUSE: Duration = Duration::from_millis(500);

/// How often a transaction is tried that fails for a reason which does not pass by itself, as far as is known.
const TRIES: usize = 3;

/// One partition of the output topics.
pub struct OutputPartition {
    pub properties: Properties,
    pub topics: OutputTopics,
    pub partition: i32,
    pub transactional_id: String,
    /// Whoever is told to stop tries nothing again: a successor would be fenced.
    pub stop: Arc<AtomicBool>,
}

/// The right to publish to one partition of the output topics.
pub struct Publisher {
    output: OutputPartition,
    producer: BaseProducer,
    published: Option<Cause>,
}

impl Publisher {
    /// Takes over the partition: fences every earlier publisher, then reads what was last published. Waits for brokers
    /// that do not answer.
    pub fn take_over(output: OutputPartition) -> Result<Publisher, KafkaFailure> {
        let (producer, published) = output.take_over()?;
        Ok(Publisher { output, producer, published })
    }

    /// The cause of the last record that readers can see.
    pub fn published(&self) -> Option<Cause> {
        self.published
    }

    /// Publishes messages in one transaction, leaving out those that the output already holds. Returns when readers
    /// can see them.
    pub fn publish(&mut self, messages: &[(Cause, Message)]) -> Result<(), KafkaFailure> {
        let mut tries = 0;
        loop {
            let published = self.published;
            let new: Vec<&(Cause, Message)> =
                messages.iter().filter(|(cause, _)| published.is_none_or(|published| *cause > published)).collect();
            let Some((last, _)) = new.last() else { return Ok(()) };
            let Err(failure) = self.transaction(&new) else {
                self.published = Some(*last);
                return Ok(());
            };
            tries += usize::from(!failure.is_passing());
            if failure.is_fenced() || failure.is_refused() || tries == TRIES || self.output.is_stopped() {
                return Err(failure);
            }
            tracing::warn!(%failure, partition = self.output.partition, "a transaction failed; starting anew");
            std::thread::sleep(PAUSE);
            (self.producer, self.published) = self.output.take_over()?;
        }
    }

    fn transaction(&self, messages: &[&(Cause, Message)]) -> Result<(), KafkaFailure> {
        let what = || format!("transaction of {}", self.output.transactional_id);
        self.producer.begin_transaction().context(what)?;
        for (_, message) in messages {
            let headers = message.headers.iter().fold(OwnedHeaders::new(), |headers, (key, value)| {
                headers.insert(Header { key, value: Some(value.as_bytes()) })
            });
            let mut record = BaseRecord::to(self.output.topics.of(message.output))
                .partition(self.output.partition)
                .headers(headers);
            if let Some(key) = &message.key {
                record = record.key(key.as_bytes());
            }
            if let Some(body) = &message.body {
                record = record.payload(body.as_slice());
            }
            self.send(record).map_err(|error| self.what_stands_behind(error)).context(what)?;
        }
        self.deliver().context(what)?;
        self.producer.commit_transaction(ANSWER).context(what)
    }

    /// A transaction that has failed, or a producer that was fenced, takes no more records; why, is asked elsewhere.
    fn what_stands_behind(&self, error: KafkaError) -> KafkaError {
        match error.rdkafka_error_code() {
            Some(RDKafkaErrorCode::Fatal) => {
                self.producer.client().fatal_error().map_or(error, |(code, _)| KafkaError::MessageProduction(code))
            }
            // It commits nothing: that a transaction is to be aborted is what this code says.
            Some(RDKafkaErrorCode::State) => self.producer.commit_transaction(ANSWER).err().unwrap_or(error),
            _ => error,
        }
    }

    /// Hears what the client has to say; to be called now and then where nothing is published.
    pub fn tend(&self) {
        self.producer.poll(Duration::ZERO);
    }

    /// Waits until everything sent is acknowledged or has failed, which the commit then says: it does not serve the
    /// reports of delivery that it waits for.
    fn deliver(&self) -> Result<(), KafkaError> {
        let began = Instant::now();
        while self.producer.in_flight_count() > 0 {
            if began.elapsed() > ANSWER {
                return Err(KafkaError::Flush(RDKafkaErrorCode::OperationTimedOut));
            }
            self.producer.poll(TICK);
        }
        Ok(())
    }

    /// Hands a record to the client. Waits while its buffer is full.
    fn send(&self, mut record: BaseRecord<'_, [u8], [u8]>) -> Result<(), KafkaError> {
        const FULL: KafkaError = KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull);
        loop {
            match self.producer.send(record) {
                Err((error, returned)) if error == FULL => {
                    record = returned;
                    self.deliver()?;
                }
                result => return result.map_err(|(error, _)| error),
            }
        }
    }
}

impl OutputPartition {
    fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// A producer that has fenced all earlier ones, and what the output holds.
    fn take_over(&self) -> Result<(BaseProducer, Option<Cause>), KafkaFailure> {
        loop {
            let producer = begin(&self.properties, &self.transactional_id);
            match producer.and_then(|producer| Ok((producer, self.last_published()?))) {
                Err(failure) if failure.is_passing() && !self.is_stopped() => {
                    tracing::warn!(%failure, partition = self.partition, "the output could not be taken over; trying again");
                    std::thread::sleep(PAUSE);
                }
                result => return result,
            }
        }
    }

    /// The greatest cause in the tails of the partition's output topics; they are written in the same transactions.
    fn last_published(&self) -> Result<Option<Cause>, KafkaFailure> {
        let outputs = [&self.topics.discrepancies, &self.topics.open, &self.topics.quarantine];
        let mut last = None;
        for topic in outputs {
            last = last.max(last_cause(&self.properties, topic, self.partition)?);
        }
        Ok(last)
    }
}

fn begin(properties: &Properties, transactional_id: &str) -> Result<BaseProducer, KafkaFailure> {
    let config = properties.with(&[
        ("transactional.id", transactional_id),
        ("transaction.timeout.ms", "30000"),
        ("enable.idempotence", "true"),
        ("acks", "all"),
        ("compression.type", "lz4"),
        ("linger.ms", "0"),
        ("message.max.bytes", "33554432"),
        // Room for one message of the largest size; where it is full, the publisher waits.
        ("queue.buffering.max.kbytes", "65536"),
        ("allow.auto.create.topics", "false"),
    ]);
    let what = || format!("transactional producer {transactional_id}");
    let producer: BaseProducer = config.create().context(what)?;
    producer.init_transactions(ANSWER).context(what)?;
    Ok(producer)
}

/// Reads back from the end of a partition until a record with a cause is found.
fn last_cause(properties: &Properties, topic: &str, partition: i32) -> Result<Option<Cause>, KafkaFailure> {
    let reader = TopicReader::open(properties, topic, 1 << 20)?;
    let (start, end) = reader.bounds(partition)?;
    let mut back = 64;
    loop {
        let from = (end - back).max(start);
        reader.seek(&[(partition, from)])?;
        let mut found = None;
        let mut heard = Instant::now();
        loop {
            match reader.poll(Duration::from_millis(100))? {
                Reading::Message(message) => {
                    heard = Instant::now();
                    found = cause_of(&message).or(found);
                }
                Reading::End => break,
                Reading::Nothing if heard.elapsed() > ANSWER => {
                    let error = KafkaError::MessageConsumption(RDKafkaErrorCode::OperationTimedOut);
                    return Err(KafkaFailure::new(format!("reading the end of {topic}:{partition}"), error));
                }
                Reading::Nothing => {}
            }
        }
        if found.is_some() || from <= start {
            return Ok(found);
        }
        back *= 8;
    }
}

fn cause_of(message: &rdkafka::message::BorrowedMessage<'_>) -> Option<Cause> {
    let header = message.headers()?.iter().find(|header| header.key == CAUSE_HEADER)?;
    let text = std::str::from_utf8(header.value?).ok()?;
    let (offset, number) = text.split_once(':')?;
    Some(Cause { offset: offset.parse().ok()?, number: number.parse().ok()? })
}
