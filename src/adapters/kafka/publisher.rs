//! Publishes one partition's records exactly once: in transactions, fenced, after what the output already holds.
//!
//! Must not know: how records are made, what is tried again. After any error the producer is to be thrown away and made
//! anew (KIP-98; KIP-447's fencing by transactional id): the tail of the output says what was published.

use std::time::{Duration, Instant};

use rdkafka::error::KafkaError;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::types::RDKafkaErrorCode;

use super::admin::ANSWER;
use super::stretch::Stretch;
use super::{Context, KafkaFailure, Properties, TICK};
use crate::adapters::copy::Stored;
use crate::adapters::records::chain::{self, PREVIOUS_HEADER};
use crate::adapters::records::{CAUSE_HEADER, Message, Output, read_cause};
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

/// What is fetched ahead of an output's end, bytes.
const TAIL: usize = 1 << 20;

/// The right to publish to one partition of the output topics, once it was taken over.
pub struct OutputPartition {
    properties: Properties,
    topics: OutputTopics,
    partition: i32,
    transactional_id: String,
    producer: Option<BaseProducer>,
    /// The hash of the last discrepancy record that readers can see.
    previous: Option<String>,
}

/// A record at the end of a partition.
struct Last {
    cause: Cause,
    hash: String,
}

impl OutputPartition {
    pub fn new(
        properties: &Properties,
        topics: OutputTopics,
        partition: i32,
        transactional_id: String,
    ) -> OutputPartition {
        let (properties, producer, previous) = (properties.clone(), None, None);
        OutputPartition { properties, topics, partition, transactional_id, producer, previous }
    }

    /// Fences every earlier publisher, then reads what was last published: the cause of the last record that readers can
    /// see.
    pub fn take_over(&mut self) -> Result<Option<Cause>, KafkaFailure> {
        // The last one's librdkafka threads end before others begin.
        self.producer = None;
        self.producer = Some(begin(&self.properties, &self.transactional_id)?);
        let read = |topic| last_record(&self.properties, topic, self.partition);
        let discrepancy = read(&self.topics.discrepancies)?;
        // They are written in the same transactions.
        let others = [read(&self.topics.open)?, read(&self.topics.quarantine)?];
        let last = discrepancy.iter().chain(others.iter().flatten()).map(|last| last.cause).max();
        self.previous = discrepancy.map(|last| last.hash);
        Ok(last)
    }

    /// Publishes messages in one transaction. Returns when readers can see them. After a failure the output must be taken
    /// over anew.
    pub fn publish(&mut self, messages: &[(Cause, Message)]) -> Result<(), KafkaFailure> {
        let producer = self.producer.as_ref().expect("the output was taken over");
        self.previous = Transaction { output: self, producer }.publish(messages)?;
        Ok(())
    }

    /// Hears what the client has to say; to be called now and then where nothing is published.
    pub fn tend(&self) {
        if let Some(producer) = &self.producer {
            producer.poll(Duration::ZERO);
        }
    }
}

struct Transaction<'o> {
    output: &'o OutputPartition,
    producer: &'o BaseProducer,
}

impl Transaction<'_> {
    /// Gives the hash of the last discrepancy record.
    fn publish(&self, messages: &[(Cause, Message)]) -> Result<Option<String>, KafkaFailure> {
        let what = || format!("transaction of {}", self.output.transactional_id);
        self.producer.begin_transaction().context(what)?;
        let mut previous = self.output.previous.clone();
        for (_, message) in messages {
            let mut headers: Vec<(&str, &[u8])> =
                message.headers.iter().map(|(name, value)| (*name, value.as_bytes())).collect();
            let is_chained = message.output == Output::Discrepancies;
            let before = previous.take_if(|_| is_chained);
            headers.extend(before.as_ref().map(|before| (PREVIOUS_HEADER, before.as_bytes())));
            let key = message.key.as_deref().map(str::as_bytes);
            if is_chained {
                let all = headers.iter().map(|(name, value)| (*name, Some(*value)));
                previous = Some(chain::hash(key, message.body.as_deref(), all));
            }
            let headers = headers.into_iter().fold(OwnedHeaders::new(), |headers, (key, value)| {
                headers.insert(Header { key, value: Some(value) })
            });
            let mut record = BaseRecord::to(self.output.topics.of(message.output))
                .partition(self.output.partition)
                .headers(headers);
            if let Some(key) = key {
                record = record.key(key);
            }
            if let Some(body) = &message.body {
                record = record.payload(body.as_slice());
            }
            self.send(record).map_err(|error| self.what_stands_behind(error)).context(what)?;
        }
        self.deliver().context(what)?;
        self.producer.commit_transaction(ANSWER).context(what)?;
        Ok(previous)
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

/// Reads back from the end of a partition until a record with a cause is found: the last one of ours.
fn last_record(properties: &Properties, topic: &str, partition: i32) -> Result<Option<Last>, KafkaFailure> {
    let mut stretch = Stretch::open(properties, topic, partition, TAIL)?;
    let (start, end) = stretch.bounds();
    let mut back = 64;
    loop {
        let from = (end - back).max(start);
        stretch.seek(from);
        let mut found = None;
        while let Some(record) = stretch.read()? {
            found = ours(&record).or(found);
        }
        if found.is_some() || from <= start {
            return Ok(found);
        }
        back *= 8;
    }
}

fn ours(record: &Stored) -> Option<Last> {
    let cause = read_cause(record.header(CAUSE_HEADER)?)?;
    Some(Last { cause, hash: chain::hash_of(record) })
}
