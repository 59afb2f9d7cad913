//! The changes log: a writer that keeps order and leaves no gap. And a reader of a topic's partitions outside any group.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rdkafka::client::{ClientContext, DefaultClientContext};
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, DeliveryResult};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer, ProducerContext};
use rdkafka::types::RDKafkaErrorCode;
use rdkafka::{Offset, TopicPartitionList};

use super::admin::ANSWER;
use super::{Context, KafkaFailure, Properties, Quiet, TICK, passing, whole};

/// Rounds of blocks in flight, by number: how many blocks of each are not acknowledged.
#[derive(Default)]
struct Flight {
    outstanding: BTreeMap<u64, usize>,
    failed: Option<KafkaError>,
}

#[derive(Clone, Default)]
struct WriterContext {
    flight: Arc<Mutex<Flight>>,
}

impl ClientContext for WriterContext {
    fn error(&self, error: KafkaError, reason: &str) {
        super::say(&error, reason);
    }

    /// librdkafka calls the guarantee experimental at each start; what it is relied on for has tests of its own.
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        match facility {
            "CONFWARN" if message.contains("enable.gapless.guarantee") => tracing::debug!(message, "kafka client"),
            _ => DefaultClientContext.log(level, facility, message),
        }
    }
}

impl ProducerContext for WriterContext {
    type DeliveryOpaque = Box<u64>;

    fn delivery(&self, result: &DeliveryResult<'_>, round: Box<u64>) {
        let mut flight = self.flight.lock().expect("nobody panics while holding the flight");
        match result {
            Ok(_) => {
                if let Some(outstanding) = flight.outstanding.get_mut(&round) {
                    *outstanding -= 1;
                }
            }
            Err((error, _)) => flight.failed = Some(error.clone()),
        }
    }
}

/// Writes blocks; each partition's in order, none left out before a later one.
pub struct ChangesWriter {
    producer: BaseProducer<WriterContext>,
    flight: Arc<Mutex<Flight>>,
    topic: String,
    next_round: u64,
}

impl ChangesWriter {
    pub fn new(properties: &Properties, topic: &str) -> Result<ChangesWriter, KafkaFailure> {
        let config = properties.with(&[
            ("enable.idempotence", "true"),
            ("enable.gapless.guarantee", "true"),
            ("acks", "all"),
            ("message.timeout.ms", "0"),
            ("compression.type", "lz4"),
            ("linger.ms", "0"),
            ("message.max.bytes", "33554432"),
            ("queue.buffering.max.kbytes", "65536"),
            ("allow.auto.create.topics", "false"),
        ]);
        let context = WriterContext::default();
        let flight = Arc::clone(&context.flight);
        let producer =
            config.create_with_context(context).context(|| format!("producer of the changes log {topic}"))?;
        Ok(ChangesWriter { producer, flight, topic: topic.to_owned(), next_round: 0 })
    }

    /// Hands a round of `(partition, block)` to the client. Waits while its buffer is full.
    pub fn write(&mut self, blocks: &[(i32, Vec<u8>)]) -> Result<u64, KafkaFailure> {
        let round = self.next_round;
        self.next_round += 1;
        self.flight().outstanding.insert(round, blocks.len());
        for (partition, block) in blocks {
            let mut record = BaseRecord::<(), [u8], Box<u64>>::with_opaque_to(&self.topic, Box::new(round))
                .partition(*partition)
                .payload(block);
            loop {
                match self.producer.send(record) {
                    Ok(()) => break,
                    Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), returned)) => {
                        record = returned;
                        self.producer.poll(TICK);
                    }
                    Err((error, _)) => {
                        return Err(KafkaFailure::new(format!("writing to {}:{partition}", self.topic), error));
                    }
                }
            }
        }
        Ok(round)
    }

    /// How many rounds are not wholly acknowledged.
    pub fn in_flight(&self) -> usize {
        self.flight().outstanding.values().filter(|outstanding| **outstanding > 0).count()
    }

    /// The last round up to which every block is acknowledged, forgotten thereby; `None` where there is no news. Waits
    /// for news as long as told.
    pub fn acknowledged(&self, wait: Duration) -> Result<Option<u64>, KafkaFailure> {
        self.producer.poll(wait);
        let mut flight = self.flight();
        if let Some(error) = flight.failed.take() {
            return Err(KafkaFailure::new(format!("writing to {}", self.topic), error));
        }
        let mut last = None;
        while let Some(entry) = flight.outstanding.first_entry().filter(|entry| *entry.get() == 0) {
            last = Some(*entry.key());
            entry.remove();
        }
        Ok(last)
    }

    /// Waits until everything written is acknowledged.
    pub fn drain(&self) -> Result<(), KafkaFailure> {
        self.producer.flush(ANSWER).context(|| format!("waiting for {} to be written", self.topic))
    }

    fn flight(&self) -> std::sync::MutexGuard<'_, Flight> {
        self.flight.lock().expect("nobody panics while holding the flight")
    }
}

/// Reads partitions of a topic from given offsets, outside any group.
pub struct TopicReader {
    consumer: BaseConsumer<Quiet>,
    topic: String,
}

impl TopicReader {
    /// `fetch_bytes` bounds what is fetched ahead, over all partitions.
    pub fn open(properties: &Properties, topic: &str, fetch_bytes: usize) -> Result<TopicReader, KafkaFailure> {
        TopicReader::begin(properties, topic, fetch_bytes, &[])
    }

    /// One that is to say soon that there is nothing more: a broker holds its answer back for that long, milliseconds.
    pub fn hurried(properties: &Properties, topic: &str, fetch_bytes: usize) -> Result<TopicReader, KafkaFailure> {
        TopicReader::begin(properties, topic, fetch_bytes, &[("fetch.wait.max.ms", "20")])
    }

    fn begin(
        properties: &Properties,
        topic: &str,
        fetch_bytes: usize,
        more: &[(&str, &str)],
    ) -> Result<TopicReader, KafkaFailure> {
        let fetch_kbytes = (fetch_bytes / 1024).max(64).to_string();
        let mut config = properties.with(&[
            // librdkafka asks for a group even where none is joined.
            ("group.id", "evenkeel-reader"),
            ("enable.auto.commit", "false"),
            ("auto.offset.reset", "error"),
            ("isolation.level", "read_committed"),
            ("enable.partition.eof", "true"),
            ("queued.max.messages.kbytes", &fetch_kbytes),
            // How long a full queue is left alone; the default of a second starves the reader.
            ("fetch.queue.backoff.ms", "20"),
            ("fetch.message.max.bytes", "1048576"),
            ("allow.auto.create.topics", "false"),
        ]);
        for (name, value) in more {
            config.set(*name, *value);
        }
        let consumer = config.create_with_context(Quiet).context(|| format!("consumer of {topic}"))?;
        Ok(TopicReader { consumer, topic: topic.to_owned() })
    }

    /// The offset of the first message that a partition still has, and the one behind its last.
    pub fn bounds(&self, partition: i32) -> Result<(i64, i64), KafkaFailure> {
        let bounds = self.consumer.fetch_watermarks(&self.topic, partition, ANSWER);
        bounds.context(|| format!("asking for the bounds of {}:{partition}", self.topic))
    }

    /// Goes on with these partitions, each from its offset, and no others.
    pub fn seek(&self, partitions: &[(i32, i64)]) -> Result<(), KafkaFailure> {
        let mut list = TopicPartitionList::new();
        let what = || format!("reading {} from {partitions:?}", self.topic);
        for (partition, offset) in partitions {
            list.add_partition_offset(&self.topic, *partition, Offset::Offset(*offset)).context(what)?;
        }
        self.consumer.assign(&list).context(what)
    }

    /// The next message in time; [`Reading::End`] each time that the end of a partition is reached.
    pub fn poll(&self, timeout: Duration) -> Result<Reading<'_>, KafkaFailure> {
        match self.consumer.poll(whole(timeout)) {
            None => Ok(Reading::Nothing),
            Some(Ok(message)) => Ok(Reading::Message(message)),
            Some(Err(KafkaError::PartitionEOF(_))) => Ok(Reading::End),
            Some(Err(error)) if passing(&error) => {
                tracing::warn!(%error, topic = self.topic, "reading was disturbed; it goes on");
                Ok(Reading::Nothing)
            }
            Some(Err(error)) => Err(KafkaFailure::new(format!("reading {}", self.topic), error)),
        }
    }
}

/// What a poll brought.
pub enum Reading<'a> {
    Message(BorrowedMessage<'a>),
    /// Everything that is there has been read, of a partition.
    End,
    Nothing,
}
