//! From a record of a source's topic to what it says.
//!
//! Must not know: who reads it, what is made of it.

use metrics::counter;
use rdkafka::message::{BorrowedMessage, Headers, Message};

use super::settings::{SourceSettings, TransactionSettings};
use crate::adapters::debezium::frame::SchemaId;
use crate::adapters::debezium::{Decoder, Event, Record, Refusal, Undecoded, blot};
use crate::adapters::telemetry;
use crate::domain::change::{Header, Operation, Reject};
use crate::domain::instant::Instant;
use crate::task::ingest::Reading;

/// Hands a message to who decodes it.
pub fn with_record<T>(message: &BorrowedMessage<'_>, decode: impl FnOnce(Record<'_>) -> T) -> T {
    let headers = message.headers();
    let find = |name: &str| headers?.iter().find(|header| header.key == name)?.value;
    decode(Record { key: message.key(), value: message.payload(), timestamp: timestamp(message), headers: &find })
}

/// Kafka's.
pub fn timestamp(message: &BorrowedMessage<'_>) -> Instant {
    Instant(message.timestamp().to_millis().unwrap_or(0).saturating_mul(1000))
}

/// What a message says; the id of its schema where that is not known yet.
pub fn understand(
    source: &SourceSettings,
    decoder: &mut Decoder,
    message: &BorrowedMessage<'_>,
) -> Result<Reading, SchemaId> {
    match with_record(message, |record| decoder.decode(&source.shape, record)) {
        Ok(Event::Nothing) => Ok(Reading::Nothing),
        Ok(Event::Change(mut decoded)) => {
            decoded.change.offset = message.offset();
            if decoded.incomplete {
                counter!(telemetry::INCOMPLETE, "source" => source.name.clone()).increment(1);
            }
            let belongs = decoded.change.key.is_some() || decoded.change.key_before.is_some();
            if !belongs && matches!(decoded.change.operation, Operation::Upsert { .. }) {
                counter!(telemetry::UNASSIGNED, "source" => source.name.clone()).increment(1);
            }
            Ok(Reading::Change(decoded))
        }
        Err(Undecoded::Waits(id)) => Err(id),
        Err(Undecoded::Refused(refusal)) => Ok(Reading::Reject(Box::new(reject(source, message, refusal)))),
    }
}

/// The end of a transaction, or nothing: what cannot be read of these is not checked, and counted, and said where its reason
/// is news. The id of its schema where that is not known yet.
pub fn understand_end(
    (connector, transactions): (&str, &TransactionSettings),
    decoder: &mut Decoder,
    message: &BorrowedMessage<'_>,
    is_news: impl FnOnce(&'static str) -> bool,
) -> Result<Reading, SchemaId> {
    match with_record(message, |record| decoder.end(&transactions.shape, record)) {
        Ok(end) => Ok(end.map_or(Reading::Nothing, Reading::Ended)),
        Err(Undecoded::Waits(id)) => Err(id),
        Err(Undecoded::Refused(Refusal { reason, detail })) => {
            let labels = [("connector", connector.to_owned()), ("reason", reason.to_owned())];
            counter!(telemetry::TRANSACTIONS_REFUSED, &labels).increment(1);
            if is_news(reason) {
                let topic = &transactions.topic;
                tracing::warn!(
                    topic,
                    reason,
                    detail,
                    "records of transactions are not understood: these are not checked"
                );
            }
            Ok(Reading::Nothing)
        }
    }
}

fn reject(source: &SourceSettings, message: &BorrowedMessage<'_>, Refusal { reason, detail }: Refusal) -> Reject {
    let bytes = |bytes: Option<&[u8]>| match bytes {
        Some(bytes) => match blot(&source.shape, bytes) {
            Some(blotted) => (Some(blotted.into_boxed_slice()), true),
            None => (Some(bytes.into()), false),
        },
        None => (None, false),
    };
    let (key, key_masked) = bytes(message.key());
    let (value, value_masked) = bytes(message.payload());
    let header = |header: rdkafka::message::Header<'_, &[u8]>| {
        // What Debezium and the registries' converters write there themselves is of no row.
        let is_theirs = header.key.starts_with("__debezium.context.") || header.key.starts_with("apicurio.");
        let (value, masked) = if is_theirs { (header.value.map(Into::into), false) } else { bytes(header.value) };
        (Header { name: header.key.into(), value }, masked)
    };
    let headers = message.headers().into_iter().flat_map(|headers| headers.iter().map(header));
    let (headers, headers_masked): (Vec<_>, Vec<_>) = headers.unzip();
    Reject {
        topic_partition: 0,
        offset: message.offset(),
        timestamp: timestamp(message),
        key,
        value,
        headers,
        masked: key_masked || value_masked || headers_masked.contains(&true),
        reason: reason.into(),
        detail: detail.into(),
    }
}
