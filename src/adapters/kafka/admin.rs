//! Topics: which exist, with how many partitions; the internal ones are created when missing and never altered.

use std::collections::BTreeMap;
use std::time::Duration;

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, ResourceSpecifier, TopicReplication};
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
    /// Those of the settings that it must not be without, whoever created it.
    pub needed: &'a [&'a str],
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

    /// The id that the cluster has given itself.
    pub fn cluster(&self) -> Result<String, KafkaFailure> {
        let timed_out = KafkaError::MetadataFetch(RDKafkaErrorCode::OperationTimedOut);
        let id = self.client.inner().fetch_cluster_id(ANSWER);
        id.ok_or_else(|| KafkaFailure::new("asking for the cluster's id", timed_out))
    }

    /// Every topic and its partition count.
    pub fn topics(&self) -> Result<BTreeMap<String, i32>, KafkaFailure> {
        let metadata = self.client.inner().fetch_metadata(None, ANSWER);
        let metadata = metadata.context(|| "listing the topics".to_owned())?;
        let counts = metadata.topics().iter().map(|topic| (topic.name().to_owned(), topic.partitions().len() as i32));
        Ok(counts.filter(|(_, count)| *count > 0).collect())
    }

    /// Every topic with its partition count and the least number of replicas that one of them has.
    pub fn layout(&self) -> Result<BTreeMap<String, (i32, usize)>, KafkaFailure> {
        let metadata = self.client.inner().fetch_metadata(None, ANSWER);
        let metadata = metadata.context(|| "listing the topics".to_owned())?;
        let of = |topic: &rdkafka::metadata::MetadataTopic| {
            let replicas = topic.partitions().iter().map(|partition| partition.replicas().len()).min();
            (topic.name().to_owned(), (topic.partitions().len() as i32, replicas.unwrap_or(0)))
        };
        Ok(metadata.topics().iter().map(of).filter(|(_, (count, _))| *count > 0).collect())
    }

    /// How topics are set, the brokers' defaults included. A topic that may not be asked about is left out.
    pub async fn settings(
        &self,
        topics: &[&str],
    ) -> Result<BTreeMap<String, BTreeMap<String, String>>, KafkaFailure> {
        if topics.is_empty() {
            return Ok(BTreeMap::new());
        }
        let options = AdminOptions::new().request_timeout(Some(ANSWER));
        let asked: Vec<ResourceSpecifier<'_>> = topics.iter().map(|topic| ResourceSpecifier::Topic(topic)).collect();
        let told = self.client.describe_configs(&asked, &options).await;
        let told = told.context(|| "asking for the settings of topics".to_owned())?;
        let of = |resource: rdkafka::admin::ConfigResource| {
            let rdkafka::admin::OwnedResourceSpecifier::Topic(topic) = resource.specifier else { return None };
            let entries = resource.entries.into_iter().filter(|entry| !entry.is_sensitive);
            Some((topic, entries.filter_map(|entry| Some((entry.name, entry.value?))).collect()))
        };
        Ok(told.into_iter().filter_map(|resource| of(resource.ok()?)).collect())
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

    /// What a topic that exists is set to otherwise than it needs: the setting, what it is, what it should be.
    pub async fn differing(&self, plan: &TopicPlan<'_>) -> Result<Vec<(String, String, String)>, KafkaFailure> {
        let what = || format!("asking for the settings of {}", plan.name);
        let options = AdminOptions::new().request_timeout(Some(ANSWER));
        let asked = [ResourceSpecifier::Topic(plan.name)];
        let told = self.client.describe_configs(&asked, &options).await.context(what)?;
        let mut differing = Vec::new();
        for resource in told {
            let resource = resource.map_err(|code| KafkaFailure::new(what(), KafkaError::AdminOp(code)))?;
            for (name, wanted) in plan.settings.iter().filter(|(name, _)| plan.needed.contains(name)) {
                let found = resource.get(name).and_then(|entry| entry.value.clone());
                if let Some(found) = found.filter(|found| found != wanted) {
                    differing.push(((*name).to_owned(), found, (*wanted).to_owned()));
                }
            }
        }
        Ok(differing)
    }
}
