//! Kafka: topics, consumer groups, the changes log, the output's transactions.
//!
//! Must not know: what a message means. One file a job; every client is made here, so that a librdkafka property from
//! the configuration reaches all of them and what correctness rests on cannot be overridden.

pub mod admin;
pub mod changes;
pub mod group;
pub mod offsets;
pub mod publisher;
pub mod reader;
pub mod stretch;
pub mod topics;

use std::collections::BTreeMap;
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::client::ClientContext;
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaErrorCode;

/// What failed, on what, and librdkafka's own error.
#[derive(Debug, thiserror::Error)]
#[error("{what}: {source}")]
pub struct KafkaFailure {
    what: String,
    source: KafkaError,
}

impl KafkaFailure {
    pub fn new(what: impl Into<String>, source: KafkaError) -> KafkaFailure {
        KafkaFailure { what: what.into(), source }
    }

    /// True where another member has taken over what this client wrote: it must not go on.
    pub fn is_fenced(&self) -> bool {
        use rdkafka::types::RDKafkaErrorCode as Code;
        let code = self.source.rdkafka_error_code();
        matches!(code, Some(Code::Fenced | Code::InvalidProducerEpoch | Code::ProducerFenced))
    }

    /// True where it may pass by itself: brokers that do not answer, or tell to try again.
    pub fn is_passing(&self) -> bool {
        let is_retriable = matches!(&self.source, KafkaError::Transaction(error) if error.is_retriable());
        is_retriable || passing(&self.source)
    }

    /// True where it may pass by itself and a topic is somebody else's.
    pub fn is_passing_of_source(&self) -> bool {
        passing_of_source(&self.source)
    }

    /// True where trying again cannot help: a message too large, a right that is missing.
    pub fn is_refused(&self) -> bool {
        use rdkafka::types::RDKafkaErrorCode as Code;
        let code = self.source.rdkafka_error_code();
        let refused = [
            Code::MessageSizeTooLarge,
            Code::InvalidMessageSize,
            Code::TopicAuthorizationFailed,
            Code::ClusterAuthorizationFailed,
            Code::TransactionalIdAuthorizationFailed,
        ];
        code.is_some_and(|code| refused.contains(&code))
    }
}

/// True for errors that librdkafka itself recovers from, and for those of brokers that Kafka's own clients try again after
/// (`org.apache.kafka.common.errors.RetriableException`).
pub fn passing(error: &KafkaError) -> bool {
    use rdkafka::types::RDKafkaErrorCode as Code;
    matches!(
        error.rdkafka_error_code(),
        Some(
            Code::BrokerTransportFailure
                | Code::AllBrokersDown
                | Code::OperationTimedOut
                | Code::Resolve
                | Code::NotCoordinator
                | Code::CoordinatorNotAvailable
                | Code::CoordinatorLoadInProgress
                | Code::LeaderNotAvailable
                | Code::NotLeaderForPartition
                | Code::NotController
                | Code::ReplicaNotAvailable
                | Code::NotEnoughReplicas
                | Code::NotEnoughReplicasAfterAppend
                | Code::FencedLeaderEpoch
                | Code::UnknownLeaderEpoch
                | Code::OffsetNotAvailable
                | Code::ListenerNotFound
                | Code::KafkaStorageError
                | Code::NetworkException
                | Code::RequestTimedOut
                | Code::ConcurrentTransactions
                | Code::UnstableOffsetCommit
                | Code::ThrottlingQuotaExceeded
                | Code::RebalanceInProgress
                | Code::UnknownTopicOrPartition
                | Code::UnknownTopic
        )
    )
}

/// True for errors that pass where a topic is somebody else's, who may delete it and create it anew.
pub fn passing_of_source(error: &KafkaError) -> bool {
    use rdkafka::types::RDKafkaErrorCode as Code;
    passing(error) || error.rdkafka_error_code() == Some(Code::UnknownPartition)
}

/// How long is waited before brokers that did not answer are asked again.
const PAUSE: Duration = Duration::from_millis(500);

/// Asks until the brokers answer, or it is told to stop.
pub fn insist<T>(
    is_stopped: impl Fn() -> bool,
    ask: impl Fn() -> Result<T, KafkaFailure>,
) -> Result<T, KafkaFailure> {
    loop {
        match ask() {
            Err(failure) if failure.is_passing() && !is_stopped() => {
                tracing::warn!(%failure, "the brokers are asked again");
                std::thread::sleep(PAUSE);
            }
            asked => return asked,
        }
    }
}

/// Gives an operation its name for the error message.
pub trait Context<T> {
    fn context(self, what: impl FnOnce() -> String) -> Result<T, KafkaFailure>;
}

impl<T> Context<T> for Result<T, KafkaError> {
    fn context(self, what: impl FnOnce() -> String) -> Result<T, KafkaFailure> {
        self.map_err(|source| KafkaFailure::new(what(), source))
    }
}

/// How long a producer is polled at a time. rdkafka's producers wait the whole time, whatever comes, and spin through
/// what is left of it below a millisecond; hence so little, and hardly more than a millisecond.
pub const TICK: Duration = Duration::from_micros(1_020);

/// A consumer's timeout, rounded up: librdkafka waits whole milliseconds, and rdkafka spins through the rest.
fn whole(timeout: Duration) -> Duration {
    Duration::from_millis(timeout.as_micros().div_ceil(1000) as u64)
}

/// The librdkafka properties of the configuration; every client begins with them.
#[derive(Clone, Debug)]
pub struct Properties(BTreeMap<String, String>);

impl Properties {
    pub fn new(properties: BTreeMap<String, String>) -> Properties {
        Properties(properties)
    }

    /// A client's configuration: the user's properties, then those that its job needs.
    pub fn with(&self, needed: &[(&str, &str)]) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("client.id", "evenkeel");
        // A topic that is created later, and a partition that is added, are found soon; the default is five minutes.
        config.set("topic.metadata.refresh.interval.ms", "10000");
        // A broker that is back is found soon; the default is ten seconds.
        config.set("reconnect.backoff.max.ms", "1000");
        for (name, value) in &self.0 {
            config.set(name, value);
        }
        for (name, value) in needed {
            config.set(*name, *value);
        }
        config
    }
}

/// A client whose own messages go to the log, those that say nothing left out.
#[derive(Clone, Copy, Default)]
pub struct Quiet;

impl ClientContext for Quiet {
    fn error(&self, error: KafkaError, reason: &str) {
        say(&error, reason);
    }
}

impl ConsumerContext for Quiet {}

/// Logs what librdkafka says about a connection. That a partition's end was reached is no error, and what it recovers
/// from by itself is worth a look, not an alarm.
fn say(error: &KafkaError, reason: &str) {
    match error.rdkafka_error_code() {
        Some(RDKafkaErrorCode::PartitionEOF) => {}
        _ => tracing::warn!(%error, reason, "kafka client"),
    }
}

/// Why librdkafka refuses a property or its value; `None` where it does not. Connects to nothing.
pub fn refused_property(name: &str, value: &str) -> Option<String> {
    let error = ClientConfig::new().set(name, value).create_native_config().err()?;
    match error {
        KafkaError::ClientConfig(_, reason, ..) => Some(reason),
        other => Some(other.to_string()),
    }
}
