//! Kafka as a store: an idempotent producer with acks=all whose delivery callback completes a counter per request.
//!
//! Records are handed to librdkafka without awaiting anything between them; its own thread reports deliveries. A
//! full queue is retried shortly and then counts as "Kafka did not take it": no runtime worker ever blocks on it.
//! Nothing here knows tenants, limits or the outbox.

use std::{
    sync::{Arc, Mutex, PoisonError, RwLock},
    time::Duration,
};

use anyhow::Context;
use futures::future::BoxFuture;
use meridian_buffer::EventRecord;
use meridian_daemon::KafkaSettings;
use rdkafka::{
    ClientConfig, ClientContext,
    config::RDKafkaLogLevel,
    error::{KafkaError, RDKafkaErrorCode},
    message::{DeliveryResult, Header, OwnedHeaders},
    producer::{BaseRecord, NoCustomPartitioner, Producer, ProducerContext, ThreadedProducer},
};
use tokio::{sync::oneshot, time::Instant};

use super::{Store, StoreFault};

/// How long librdkafka may go on trying to deliver. Longer than anybody waits: a late delivery of an event that
/// went to the outbox meanwhile is a duplicate by id.
const DELIVER_WITHIN: Duration = Duration::from_secs(30);
/// What librdkafka may hold; past it `send` says QueueFull.
const QUEUE_MESSAGES: usize = 100_000;
const QUEUE_KBYTES: usize = 128 * 1024;
const QUEUE_FULL_PAUSE: Duration = Duration::from_millis(5);
const METADATA_WITHIN: Duration = Duration::from_secs(2);
/// A producer that finds no broker for so long is replaced: the broker may be back and only this producer not know it.
const RENEW_AFTER: Duration = Duration::from_secs(15);

pub struct KafkaLog {
    config: ClientConfig,
    topic: String,
    headers: OwnedHeaders,
    /// Replaced when librdkafka declares its producer dead (a fatal error of the idempotent producer), and when it has found
    /// no broker for [`RENEW_AFTER`]: one that was told of no brokers may never ask anybody again (librdkafka issue 5301).
    producer: RwLock<Arc<EventProducer>>,
    /// Since when every look at the topic has failed with the present producer.
    lost_since: Mutex<Option<Instant>>,
}

type EventProducer = ThreadedProducer<Deliveries, NoCustomPartitioner>;

/// A record to produce: key and value.
pub struct KeyedRecord<'a> {
    pub key: &'a str,
    pub value: &'a str,
}

impl KafkaLog {
    /// Opens no connection: librdkafka does, in the background, and goes on trying.
    pub fn connect(settings: &KafkaSettings) -> anyhow::Result<KafkaLog> {
        let config = config(settings);
        let producer = RwLock::new(Arc::new(start(&config)?));
        let headers =
            OwnedHeaders::new().insert(Header { key: "content-type", value: Some("application/json") });
        let topic = settings.topic_events.clone();
        Ok(KafkaLog { config, topic, headers, producer, lost_since: Mutex::default() })
    }

    /// Produces records and waits until each is delivered, or the deadline.
    pub async fn produce(
        &self,
        records: impl ExactSizeIterator<Item = KeyedRecord<'_>>,
        deadline: Instant,
    ) -> Vec<Result<(), StoreFault>> {
        let producer = self.producer();
        let (request, done) = Request::new(records.len());
        for (index, record) in records.enumerate() {
            let place = Box::new(Place { request: request.clone(), index });
            self.enqueue(&producer, &record, place, deadline).await;
        }
        let _ = tokio::time::timeout_at(deadline, done).await;
        request.answers()
    }

    /// Hands one record over; waits only while the queue is full.
    async fn enqueue(
        &self,
        producer: &EventProducer,
        record: &KeyedRecord<'_>,
        mut place: Box<Place>,
        deadline: Instant,
    ) {
        loop {
            let message = BaseRecord::with_opaque_to(&self.topic, place)
                .key(record.key)
                .payload(record.value)
                .headers(self.headers.clone());
            let Err((error, message)) = producer.send(message) else { return };
            place = message.delivery_opaque;
            let full = matches!(error, KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull));
            if full && Instant::now() + QUEUE_FULL_PAUSE < deadline {
                tokio::time::sleep(QUEUE_FULL_PAUSE).await;
                continue;
            }
            let fault = if full { StoreFault::QueueFull } else { fault(&error) };
            place.request.settle(place.index, Err(fault));
            return;
        }
    }

    /// Waits until what is queued is delivered, or given up; for the end of the process. Blocks: not for a runtime
    /// worker.
    pub fn flush(&self, within: Duration) -> Result<(), KafkaError> {
        self.producer().flush(within)
    }

    fn producer(&self) -> Arc<EventProducer> {
        self.producer.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Looks at the topic; sees to it that the producer is one that can find the brokers. Blocks.
    fn check(&self) -> Result<(), String> {
        let producer = self.producer();
        if let Some((code, reason)) = producer.client().fatal_error() {
            tracing::error!(%code, reason, "the Kafka producer is dead: starting another");
            self.renew()?;
        }
        let looked = self.check_topic();
        if self.is_lost(looked.is_ok(), Instant::now()) {
            tracing::warn!("the Kafka producer has found no broker for {RENEW_AFTER:?}: starting another");
            self.renew()?;
        }
        looked
    }

    /// Notes how a look went. True when the producer has been lost for so long that it is to be replaced.
    fn is_lost(&self, well: bool, now: Instant) -> bool {
        let mut lost_since = self.lost_since.lock().unwrap_or_else(PoisonError::into_inner);
        if well {
            *lost_since = None;
            return false;
        }
        let since = *lost_since.get_or_insert(now);
        if now.duration_since(since) < RENEW_AFTER {
            return false;
        }
        *lost_since = None;
        true
    }

    /// What the old producer still holds it goes on delivering until its last user lets it go; all of that is in the buffer.
    fn renew(&self) -> Result<(), String> {
        let fresh = start(&self.config).map_err(|error| format!("{error:#}"))?;
        *self.producer.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(fresh);
        Ok(())
    }

    /// Whether every partition of the topic has a leader. Blocks.
    fn check_topic(&self) -> Result<(), String> {
        let producer = self.producer();
        let metadata = producer
            .client()
            .fetch_metadata(Some(&self.topic), METADATA_WITHIN)
            .map_err(|error| error.to_string())?;
        let topic = metadata.topics().iter().find(|topic| topic.name() == self.topic);
        let Some(topic) = topic.filter(|topic| topic.error().is_none() && !topic.partitions().is_empty())
        else {
            return Err(format!("topic {} does not exist", self.topic));
        };
        match topic.partitions().iter().find(|partition| partition.leader() < 0) {
            Some(partition) => Err(format!("partition {} of {} has no leader", partition.id(), self.topic)),
            None => Ok(()),
        }
    }
}

/// Shared by the probe, which blocks and therefore needs a thread of its own.
pub struct KafkaStore(pub Arc<KafkaLog>);

impl Store for KafkaStore {
    fn put<'a>(
        &'a self,
        records: &'a [EventRecord],
        deadline: Instant,
    ) -> BoxFuture<'a, Vec<Result<(), StoreFault>>> {
        Box::pin(async move {
            let keys: Vec<String> = records.iter().map(EventRecord::identity_hex).collect();
            let keyed =
                keys.iter().zip(records).map(|(key, record)| KeyedRecord { key, value: &record.json });
            self.0.produce(keyed, deadline).await
        })
    }

    fn probe(&self) -> BoxFuture<'_, Result<(), String>> {
        let log = self.0.clone();
        Box::pin(async move {
            tokio::task::spawn_blocking(move || log.check()).await.unwrap_or_else(|e| Err(e.to_string()))
        })
    }
}

fn config(settings: &KafkaSettings) -> ClientConfig {
    let mut config = ClientConfig::new();
    for (name, value) in settings.client_properties() {
        config.set(name, value);
    }
    config
        .set("client.id", "meridian-ingest")
        .set("acks", "all")
        .set("enable.idempotence", "true")
        .set("compression.type", "lz4")
        // Latency first: under load the records in flight make the batches.
        .set("linger.ms", "2")
        .set("message.timeout.ms", DELIVER_WITHIN.as_millis().to_string())
        .set("request.timeout.ms", "5000")
        .set("queue.buffering.max.messages", QUEUE_MESSAGES.to_string())
        .set("queue.buffering.max.kbytes", QUEUE_KBYTES.to_string())
        .set("reconnect.backoff.ms", "50")
        .set("reconnect.backoff.max.ms", "1000")
        .set("socket.keepalive.enable", "true")
        .set("topic.metadata.refresh.interval.ms", "30000")
        .set("log.connection.close", "false")
        .set_log_level(RDKafkaLogLevel::Warning);
    config
}

fn start(config: &ClientConfig) -> anyhow::Result<EventProducer> {
    use rdkafka::config::FromClientConfigAndContext;
    EventProducer::from_config_and_context(config, Deliveries).context("starting the Kafka producer")
}

/// librdkafka's callbacks, on its own thread.
struct Deliveries;

impl ClientContext for Deliveries {
    fn error(&self, error: KafkaError, reason: &str) {
        // A wrong password shows here and nowhere else.
        tracing::warn!(%error, reason, "Kafka");
    }
}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = Box<Place>;

    fn delivery(&self, result: &DeliveryResult<'_>, place: Box<Place>) {
        let answer = result.as_ref().map(drop).map_err(|(error, _)| fault(error));
        place.request.settle(place.index, answer);
    }
}

fn fault(error: &KafkaError) -> StoreFault {
    match error.rdkafka_error_code() {
        Some(RDKafkaErrorCode::MessageTimedOut | RDKafkaErrorCode::RequestTimedOut) => StoreFault::Deadline,
        Some(
            RDKafkaErrorCode::MessageSizeTooLarge
            | RDKafkaErrorCode::InvalidMessage
            | RDKafkaErrorCode::InvalidRecord
            | RDKafkaErrorCode::InvalidMessageSize,
        ) => StoreFault::Refused,
        Some(RDKafkaErrorCode::QueueFull) => StoreFault::QueueFull,
        _ => StoreFault::Unavailable,
    }
}

/// One record's place in its request.
struct Place {
    request: Arc<Request>,
    index: usize,
}

/// The deliveries of one request as they come in.
struct Request {
    state: Mutex<RequestState>,
}

struct RequestState {
    answers: Vec<Option<Result<(), StoreFault>>>,
    open: usize,
    done: Option<oneshot::Sender<()>>,
}

impl Request {
    fn new(records: usize) -> (Arc<Request>, oneshot::Receiver<()>) {
        let (sender, done) = oneshot::channel();
        let state = RequestState {
            answers: vec![None; records],
            open: records,
            done: (records > 0).then_some(sender),
        };
        (Arc::new(Request { state: Mutex::new(state) }), done)
    }

    fn settle(&self, index: usize, answer: Result<(), StoreFault>) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.answers[index] = Some(answer);
        state.open -= 1;
        if state.open == 0
            && let Some(done) = state.done.take()
        {
            // Nobody waits any more when the deadline came first.
            let _ = done.send(());
        }
    }

    fn answers(&self) -> Vec<Result<(), StoreFault>> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.answers.iter().map(|answer| answer.unwrap_or(Err(StoreFault::Deadline))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_producer_is_replaced_only_after_it_has_been_lost_for_long() {
        let settings = KafkaSettings {
            bootstrap: "127.0.0.1:1".to_owned(),
            security_protocol: "PLAINTEXT".to_owned(),
            sasl_mechanism: String::new(),
            sasl_username: None,
            sasl_password: None,
            ca_pem: None,
            topic_events: "t".to_owned(),
            partitions: 1,
            replication: 1,
        };
        let log = KafkaLog::connect(&settings).unwrap();
        let begun = Instant::now();
        let after = |seconds| begun + Duration::from_secs(seconds);
        assert!(!log.is_lost(false, after(0)));
        assert!(!log.is_lost(false, after(14)));
        assert!(!log.is_lost(true, after(15)), "found again");
        assert!(!log.is_lost(false, after(16)));
        assert!(!log.is_lost(false, after(30)));
        assert!(log.is_lost(false, after(31)));
        assert!(!log.is_lost(false, after(32)), "the new one has its own time");
        let first = log.producer();
        log.renew().unwrap();
        assert!(!Arc::ptr_eq(&first, &log.producer()));
    }
}
