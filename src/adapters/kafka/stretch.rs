//! A topic-partition's records as they stand: from an offset up to where it ended when it was asked, and no further.
//!
//! Must not know: what a record means. Reads committed records only, outside any group.

use std::time::{Duration, Instant};

use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Headers, Message as _};
use rdkafka::types::RDKafkaErrorCode;

use super::admin::ANSWER;
use super::changes::{Reading, TopicReader};
use super::{KafkaFailure, Properties};
use crate::adapters::copy::Stored;

/// Reads one topic-partition once.
pub struct Stretch {
    reader: TopicReader,
    topic: String,
    partition: i32,
    start: i64,
    end: i64,
    /// Where to begin, until it was begun.
    from: Option<i64>,
    is_over: bool,
}

impl Stretch {
    /// Looks where the partition begins and ends now. `fetch_bytes` bounds what is fetched ahead.
    pub fn open(
        properties: &Properties,
        topic: &str,
        partition: i32,
        fetch_bytes: usize,
    ) -> Result<Stretch, KafkaFailure> {
        let reader = TopicReader::hurried(properties, topic, fetch_bytes)?;
        let (start, end) = reader.bounds(partition)?;
        let from = Some(start);
        Ok(Stretch { reader, topic: topic.to_owned(), partition, start, end, from, is_over: start >= end })
    }

    /// The offset of the first record that is still there, and the one behind the last.
    pub fn bounds(&self) -> (i64, i64) {
        (self.start, self.end)
    }

    /// Goes on at an offset that is there.
    pub fn seek(&mut self, offset: i64) {
        self.is_over = offset >= self.end;
        self.from = Some(offset);
    }

    /// The next record; `None` after the last.
    pub fn read(&mut self) -> Result<Option<Stored>, KafkaFailure> {
        Ok(self.message()?.as_ref().map(stored))
    }

    /// The next record as it came; `None` after the last.
    pub fn message(&mut self) -> Result<Option<BorrowedMessage<'_>>, KafkaFailure> {
        if let Some(from) = self.from.take_if(|_| !self.is_over) {
            self.reader.seek(&[(self.partition, from)])?;
        }
        let heard = Instant::now();
        while !self.is_over {
            match self.reader.poll(Duration::from_millis(100))? {
                // Who writes goes on meanwhile.
                Reading::Message(message) if message.offset() >= self.end => self.is_over = true,
                Reading::Message(message) => return Ok(Some(message)),
                Reading::End => self.is_over = true,
                Reading::Nothing if heard.elapsed() > ANSWER => {
                    let error = KafkaError::MessageConsumption(RDKafkaErrorCode::OperationTimedOut);
                    return Err(KafkaFailure::new(format!("reading {}:{}", self.topic, self.partition), error));
                }
                Reading::Nothing => {}
            }
        }
        Ok(None)
    }
}

fn stored(message: &BorrowedMessage<'_>) -> Stored {
    let headers = message.headers().into_iter().flat_map(Headers::iter);
    Stored {
        offset: message.offset(),
        key: message.key().map(<[u8]>::to_vec),
        value: message.payload().map(<[u8]>::to_vec),
        headers: headers.map(|header| (header.key.to_owned(), header.value.map(<[u8]>::to_vec))).collect(),
    }
}
