//! What is in the topic, read from its first offset to its last.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use rdkafka::{
    ClientConfig, Message, Offset, TopicPartitionList,
    admin::{AdminClient, AdminOptions, NewTopic, TopicReplication},
    client::DefaultClientContext,
    consumer::{BaseConsumer, Consumer},
};

const PARTITIONS: i32 = 12;

fn config(environment: &BTreeMap<String, String>) -> ClientConfig {
    let mut config = ClientConfig::new();
    for (property, name) in [
        ("bootstrap.servers", "MERIDIAN_KAFKA_BOOTSTRAP"),
        ("security.protocol", "MERIDIAN_KAFKA_SECURITY_PROTOCOL"),
        ("sasl.mechanism", "MERIDIAN_KAFKA_SASL_MECHANISM"),
        ("sasl.username", "MERIDIAN_KAFKA_SASL_USERNAME"),
        ("sasl.password", "MERIDIAN_KAFKA_SASL_PASSWORD"),
    ] {
        config.set(property, &environment[name]);
    }
    config
}

pub async fn create_topic(environment: &BTreeMap<String, String>) {
    let admin: AdminClient<DefaultClientContext> = config(environment).create().unwrap();
    let topic =
        NewTopic::new(&environment["MERIDIAN_KAFKA_TOPIC_EVENTS"], PARTITIONS, TopicReplication::Fixed(1));
    let options = AdminOptions::new().operation_timeout(Some(Duration::from_secs(20)));
    for created in admin.create_topics([&topic], &options).await.unwrap() {
        created.unwrap();
    }
}

/// A record's value, read.
pub struct Found {
    pub key: String,
    pub event: serde_json::Value,
}

pub fn read_all(environment: &BTreeMap<String, String>) -> Vec<Found> {
    let topic = &environment["MERIDIAN_KAFKA_TOPIC_EVENTS"];
    let consumer: BaseConsumer = config(environment)
        .set("group.id", "reader")
        .set("enable.auto.commit", "false")
        .set("isolation.level", "read_committed")
        .create()
        .unwrap();
    let mut assignment = TopicPartitionList::new();
    let mut left = 0;
    for partition in 0..PARTITIONS {
        assignment.add_partition_offset(topic, partition, Offset::Beginning).unwrap();
        let (low, high) = consumer.fetch_watermarks(topic, partition, Duration::from_secs(20)).unwrap();
        left += high - low;
    }
    consumer.assign(&assignment).unwrap();
    let mut found = Vec::new();
    let started = Instant::now();
    while left > 0 {
        assert!(started.elapsed() < Duration::from_secs(60), "{left} records do not come");
        let Some(message) = consumer.poll(Duration::from_millis(500)) else { continue };
        let message = message.unwrap();
        found.push(Found {
            key: String::from_utf8(message.key().unwrap().to_vec()).unwrap(),
            event: serde_json::from_slice(message.payload().unwrap()).unwrap(),
        });
        left -= 1;
    }
    found
}

/// How often each id is there.
pub fn ids(environment: &BTreeMap<String, String>) -> BTreeMap<String, usize> {
    let mut ids = BTreeMap::new();
    for found in read_all(environment) {
        let id = found.event["id"].as_str().unwrap().to_owned();
        *ids.entry(id).or_insert(0) += 1;
    }
    ids
}
