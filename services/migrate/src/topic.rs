//! The event topic: created, or grown to the partitions that are asked for. Partitions are never taken away: Kafka cannot,
//! and an event id would move to another partition's dedupe index. Growing moves ids as well; the consumer decides by id over
//! all partitions' rows for that reason.

use std::time::Duration;

use meridian_daemon::KafkaSettings;
use rdkafka::{
    ClientConfig,
    admin::{AdminClient, AdminOptions, NewPartitions, NewTopic, TopicReplication},
    client::DefaultClientContext,
    types::RDKafkaErrorCode,
};

use crate::patience::Failure;

const ANSWER_WITHIN: Duration = Duration::from_secs(15);
/// Kafka keeps events this long for replay by offset; the buffer keeps them for a year.
const RETENTION_MS: &str = "604800000";

#[derive(Debug, thiserror::Error)]
pub enum TopicError {
    #[error("Kafka does not answer")]
    Away(#[source] rdkafka::error::KafkaError),
    #[error("Kafka refused topic {topic}: {code}")]
    Refused { topic: String, code: RDKafkaErrorCode },
    #[error(
        "topic {topic} has {there} partitions and {wanted} are configured: partitions can grow, never shrink"
    )]
    TooMany { topic: String, there: i32, wanted: i32 },
}

impl From<TopicError> for Failure {
    fn from(error: TopicError) -> Self {
        match &error {
            TopicError::Away(_) | TopicError::Refused { .. } => Self::transient(error),
            TopicError::TooMany { .. } => Self::permanent(error),
        }
    }
}

/// Creates or grows the topic; says what was done.
pub async fn ensure(settings: &KafkaSettings) -> Result<String, Failure> {
    let mut config = ClientConfig::new();
    for (name, value) in settings.client_properties() {
        config.set(name, value);
    }
    let admin: AdminClient<DefaultClientContext> = config.create().map_err(TopicError::Away)?;
    let topic = settings.topic_events.as_str();
    if create(&admin, settings).await? {
        return Ok(format!("{topic} created with {} partitions", settings.partitions));
    }
    let there = partitions_of(&admin, topic)?;
    if there > settings.partitions {
        return Err(
            TopicError::TooMany { topic: topic.to_owned(), there, wanted: settings.partitions }.into()
        );
    }
    if there == settings.partitions {
        return Ok(format!("{topic} has its {there} partitions"));
    }
    let wanted = NewPartitions::new(topic, usize::try_from(settings.partitions).unwrap_or_default());
    let answers = admin.create_partitions([&wanted], &options()).await.map_err(TopicError::Away)?;
    refused(answers)?;
    Ok(format!("{topic} grown from {there} to {} partitions", settings.partitions))
}

/// True when it was made now, false when it is there.
async fn create(
    admin: &AdminClient<DefaultClientContext>,
    settings: &KafkaSettings,
) -> Result<bool, TopicError> {
    // With three copies a write is acknowledged by two, so that one broker may be away; with fewer, by all there are.
    let in_sync = if settings.replication >= 3 { "2" } else { "1" };
    let new = NewTopic::new(
        &settings.topic_events,
        settings.partitions,
        TopicReplication::Fixed(settings.replication),
    )
    .set("min.insync.replicas", in_sync)
    .set("retention.ms", RETENTION_MS)
    .set("cleanup.policy", "delete");
    let answers = admin.create_topics([&new], &options()).await.map_err(TopicError::Away)?;
    match refused(answers) {
        Ok(()) => Ok(true),
        Err(TopicError::Refused { code: RDKafkaErrorCode::TopicAlreadyExists, .. }) => Ok(false),
        Err(error) => Err(error),
    }
}

fn partitions_of(admin: &AdminClient<DefaultClientContext>, topic: &str) -> Result<i32, TopicError> {
    let metadata = admin.inner().fetch_metadata(Some(topic), ANSWER_WITHIN).map_err(TopicError::Away)?;
    let count = metadata.topics().iter().find(|t| t.name() == topic).map_or(0, |t| t.partitions().len());
    Ok(i32::try_from(count).unwrap_or(i32::MAX))
}

fn refused(answers: Vec<Result<String, (String, RDKafkaErrorCode)>>) -> Result<(), TopicError> {
    for answer in answers {
        answer.map_err(|(topic, code)| TopicError::Refused { topic, code })?;
    }
    Ok(())
}

fn options() -> AdminOptions {
    AdminOptions::new().request_timeout(Some(ANSWER_WITHIN)).operation_timeout(Some(ANSWER_WITHIN))
}
