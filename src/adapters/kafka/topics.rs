//! Which topics there are, each with its partition count and its id, by which a topic that was deleted and created anew is
//! told from the one before (KIP-516).
//!
//! Must not know: who asks. rdkafka has no safe call for this; librdkafka's own (`rd_kafka_DescribeTopics`) is used as its
//! header describes it.

use std::collections::BTreeMap;
use std::ffi::{CStr, CString, c_char, c_int};
use std::time::Duration;

use rdkafka::bindings as native;
use rdkafka::client::{Client, ClientContext};
use rdkafka::error::KafkaError;
use rdkafka::types::{RDKafkaErrorCode, RDKafkaRespErr};

use super::KafkaFailure;

/// A topic that exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Description {
    pub partitions: i32,
    /// Tells it from others that had its name, or will; 0 where the brokers do not say.
    pub id: u64,
}

/// Frees what librdkafka gave, when it is dropped.
struct Owned<T> {
    pointer: *mut T,
    free: unsafe extern "C" fn(*mut T),
}

impl<T> Drop for Owned<T> {
    fn drop(&mut self) {
        if !self.pointer.is_null() {
            // SAFETY: the pointer is librdkafka's, of the kind that `free` takes, and is freed once.
            unsafe { (self.free)(self.pointer) };
        }
    }
}

/// Asks a broker for topics; those that do not exist are left out.
pub fn describe<C: ClientContext>(
    client: &Client<C>,
    topics: &[&str],
    broker: i32,
    within: Duration,
) -> Result<BTreeMap<String, Description>, KafkaFailure> {
    if topics.is_empty() {
        return Ok(BTreeMap::new());
    }
    let failure = |code: RDKafkaErrorCode| {
        KafkaFailure::new(format!("asking for the topics {topics:?}"), KafkaError::MetadataFetch(code))
    };
    let names: Result<Vec<CString>, _> = topics.iter().map(|topic| CString::new(*topic)).collect();
    let names = names.map_err(|_| failure(RDKafkaErrorCode::InvalidTopic))?;
    let mut pointers: Vec<*const c_char> = names.iter().map(|name| name.as_ptr()).collect();
    let within_ms = c_int::try_from(within.as_millis()).unwrap_or(c_int::MAX);
    let rk = client.native_ptr();
    // SAFETY: `rk` lives as long as `client`. The names outlive the call that copies them. What is made here is freed by its
    // `Owned`, in the order that librdkafka asks for: the event before its queue. What the event holds is read before that.
    unsafe {
        let collection = Owned {
            pointer: native::rd_kafka_TopicCollection_of_topic_names(pointers.as_mut_ptr(), pointers.len()),
            free: native::rd_kafka_TopicCollection_destroy,
        };
        let options = Owned {
            pointer: native::rd_kafka_AdminOptions_new(
                rk,
                native::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBETOPICS,
            ),
            free: native::rd_kafka_AdminOptions_destroy,
        };
        native::rd_kafka_AdminOptions_set_request_timeout(options.pointer, within_ms, std::ptr::null_mut(), 0);
        native::rd_kafka_AdminOptions_set_broker(options.pointer, broker, std::ptr::null_mut(), 0);
        let queue = Owned { pointer: native::rd_kafka_queue_new(rk), free: native::rd_kafka_queue_destroy };
        native::rd_kafka_DescribeTopics(rk, collection.pointer, options.pointer, queue.pointer);
        // It answers within its own limit; this one is for a client that is being destroyed.
        let pointer = native::rd_kafka_queue_poll(queue.pointer, within_ms.saturating_add(1000));
        let event = Owned { pointer, free: native::rd_kafka_event_destroy };
        if event.pointer.is_null() {
            return Err(failure(RDKafkaErrorCode::OperationTimedOut));
        }
        match native::rd_kafka_event_error(event.pointer) {
            RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR => {}
            error => return Err(failure(error.into())),
        }
        read(native::rd_kafka_event_DescribeTopics_result(event.pointer)).map_err(failure)
    }
}

/// # Safety
///
/// `result` is null, or librdkafka's and not freed yet.
unsafe fn read(
    result: *const native::rd_kafka_DescribeTopics_result_t,
) -> Result<BTreeMap<String, Description>, RDKafkaErrorCode> {
    if result.is_null() {
        return Err(RDKafkaErrorCode::Fail);
    }
    let mut described = BTreeMap::new();
    let mut count = 0;
    // SAFETY: as the caller says; the array has `count` elements, which live as long as the result.
    unsafe {
        let topics = native::rd_kafka_DescribeTopics_result_topics(result, &mut count);
        for index in 0..count {
            let topic = *topics.add(index);
            let error = native::rd_kafka_TopicDescription_error(topic);
            let code = if error.is_null() { None } else { Some(native::rd_kafka_error_code(error).into()) };
            match code {
                None | Some(RDKafkaErrorCode::NoError) => {}
                Some(RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownTopic) => continue,
                Some(code) => return Err(code),
            }
            let name = CStr::from_ptr(native::rd_kafka_TopicDescription_name(topic)).to_string_lossy().into_owned();
            let uuid = native::rd_kafka_TopicDescription_topic_id(topic);
            let halves = match uuid.is_null() {
                true => [0, 0],
                false => [
                    native::rd_kafka_Uuid_most_significant_bits(uuid),
                    native::rd_kafka_Uuid_least_significant_bits(uuid),
                ],
            };
            let mut partitions = 0;
            native::rd_kafka_TopicDescription_partitions(topic, &mut partitions);
            let id = (halves[0] ^ halves[1].rotate_left(1)).cast_unsigned();
            described.insert(name, Description { partitions: i32::try_from(partitions).unwrap_or(i32::MAX), id });
        }
    }
    Ok(described)
}
