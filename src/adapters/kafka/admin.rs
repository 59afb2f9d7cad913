//! Topics: which exist, with how many partitions; the internal ones are created when missing and never altered.

use std::collections::BTreeMap;
use std::time::Duration;

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaErrorCode;

use super::{Context, KafkaFailure, Properties};

/// How long the brokers may take to answer.
pub const ANSWER: Duration = Duration::from_secs(30);

/// A topic as it is to be created.
pub struct TopicPlan<'a> {
    pub name: &'a str,
    pub partitions: i32,
    /// -1 is the broker's default.
    pub replication_factor: i32,
    pub settings: &'a [(&'a str, &'a str)],
}

/// Asks brokers about topics.
pub struct Admin {
    client: AdminClient<DefaultClientContext>,
}

impl Admin {
    pub fn new(properties: &Properties) -> Result<Admin, KafkaFailure> {
        let client = properties.with(&[]).create().context(|| "admin client".to_owned())?;
        Ok(Admin { client })
    }

    /// Every topic and its partition count.
    pub fn topics(&self) -> Result<BTreeMap<String, i32>, KafkaFailure> {
        let metadata = self.client.inner().fetch_metadata(None, ANSWER);
        let metadata = metadata.context(|| "listing the topics".to_owned())?;
        let counts = metadata.topics().iter().map(|topic| (topic.name().to_owned(), topic.partitions().len() as i32));
        Ok(counts.filter(|(_, count)| *count > 0).collect())
    }

    /// Creates those topics that are missing; gives their names.
    pub async fn create_missing(&self, plans: &[TopicPlan<'_>]) -> Result<Vec<String>, KafkaFailure> {
        let present = self.topics()?;
        let missing: Vec<&TopicPlan<'_>> = plans.iter().filter(|plan| !present.contains_key(plan.name)).collect();
        if missing.is_empty() {
            return Ok(Vec::new());
        }
        let topics: Vec<NewTopic<'_>> = missing
            .iter()
            .map(|plan| {
                let replication = TopicReplication::Fixed(plan.replication_factor);
                let topic = NewTopic::new(plan.name, plan.partitions, replication);
                plan.settings.iter().fold(topic, |topic, (name, value)| topic.set(name, value))
            })
            .collect();
        let options = AdminOptions::new().operation_timeout(Some(ANSWER));
        let results = self.client.create_topics(&topics, &options).await;
        for result in results.context(|| "creating topics".to_owned())? {
            match result {
                Ok(_) | Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
                Err((topic, code)) => {
                    return Err(KafkaFailure::new(format!("creating topic {topic}"), KafkaError::AdminOp(code)));
                }
            }
        }
        Ok(missing.iter().map(|plan| plan.name.to_owned()).collect())
    }
}
