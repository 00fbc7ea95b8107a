//! The dual write against scripted stores: what is acknowledged, and how long it takes.

use std::sync::atomic::{AtomicUsize, Ordering};

use meridian_billing::{
    event::{EventDraft, EventLimits, EventOrigin},
    ids::{ProjectId, TenantId},
};

use super::*;

/// Answers every event alike, after a while.
struct Scripted {
    answer: Result<(), StoreFault>,
    after: Duration,
    asked: AtomicUsize,
}

impl Scripted {
    fn new(answer: Result<(), StoreFault>, after_ms: u64) -> Arc<Scripted> {
        Arc::new(Scripted { answer, after: Duration::from_millis(after_ms), asked: AtomicUsize::new(0) })
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }
}

impl Store for Scripted {
    fn put<'a>(
        &'a self,
        records: &'a [EventRecord],
        deadline: Instant,
    ) -> BoxFuture<'a, Vec<Result<(), StoreFault>>> {
        self.asked.fetch_add(records.len(), Ordering::Relaxed);
        Box::pin(async move {
            let answered = tokio::time::timeout_at(deadline, tokio::time::sleep(self.after)).await;
            vec![answered.map_err(|_| StoreFault::Deadline).and(self.answer); records.len()]
        })
    }

    fn probe(&self) -> BoxFuture<'_, Result<(), String>> {
        Box::pin(std::future::ready(Ok(())))
    }
}

struct World {
    buffer: Arc<Scripted>,
    outbox: Arc<Scripted>,
    kafka: Arc<Scripted>,
    stores: Stores,
}

/// Long enough that a busy machine does not blur what is compared.
const PATIENCE: Duration = Duration::from_secs(2);

fn world(buffer: Arc<Scripted>, outbox: Arc<Scripted>, kafka: Arc<Scripted>) -> World {
    let stores = Stores {
        buffer: Guarded::new("dynamodb", buffer.clone()),
        outbox: outbox.clone(),
        kafka: Guarded::new("kafka", kafka.clone()),
        patience: PATIENCE,
        metrics: Arc::default(),
    };
    stores.buffer.breaker.probed(true, Instant::now());
    stores.kafka.breaker.probed(true, Instant::now());
    World { buffer, outbox, kafka, stores }
}

fn well() -> Arc<Scripted> {
    Scripted::new(Ok(()), 5)
}

fn hung() -> Arc<Scripted> {
    Scripted::new(Ok(()), 3_600_000)
}

fn dead() -> Arc<Scripted> {
    Scripted::new(Err(StoreFault::Unavailable), 1)
}

fn records(count: usize) -> Vec<EventRecord> {
    let origin = EventOrigin {
        tenant: TenantId::new("acme").unwrap(),
        project: ProjectId::default_project(),
        default_source: "s".to_owned(),
    };
    let event = |n: usize| {
        let draft =
            EventDraft { id: Some(format!("e-{n}")), event_type: "t".to_owned(), ..EventDraft::default() };
        EventRecord::of(&draft.validate(&origin, &EventLimits::default(), 7).unwrap())
    };
    (0..count).map(event).collect()
}

async fn write(world: &World, count: usize) -> (Vec<Kept>, Duration) {
    let started = Instant::now();
    let kept = world.stores.write(&records(count)).await;
    (kept, started.elapsed())
}

const BOTH: Kept = Kept { dynamodb: true, outbox: false, kafka: true };
const KAFKA_ONLY: Kept = Kept { dynamodb: false, outbox: false, kafka: true };
const BUFFER_ONLY: Kept = Kept { dynamodb: true, outbox: true, kafka: false };
const NOWHERE: Kept = Kept { dynamodb: false, outbox: false, kafka: false };

#[tokio::test]
async fn both_stores_are_written_at_once_and_the_outbox_is_left_alone() {
    let world = world(Scripted::new(Ok(()), 1_000), well(), Scripted::new(Ok(()), 1_000));
    let (kept, took) = write(&world, 3).await;
    assert_eq!(kept, [BOTH; 3]);
    assert!(took < Duration::from_millis(1_800), "one after the other would take 2 s: {took:?}");
    assert_eq!(world.outbox.asked(), 0);
}

#[tokio::test]
async fn without_kafka_an_event_is_acknowledged_only_from_the_outbox() {
    let world = world(well(), well(), dead());
    assert_eq!(write(&world, 2).await.0, [BUFFER_ONLY; 2]);
    assert_eq!(world.outbox.asked(), 2);

    let world = self::world(well(), dead(), dead());
    let kept = write(&world, 2).await.0;
    assert!(kept.iter().all(|kept| !kept.durable()), "in the buffer alone it would never reach Kafka");
}

#[tokio::test]
async fn without_the_buffer_kafka_acknowledges() {
    let world = world(dead(), dead(), well());
    assert_eq!(write(&world, 2).await.0, [KAFKA_ONLY; 2]);
    assert_eq!(world.outbox.asked(), 0);
}

#[tokio::test]
async fn with_neither_store_nothing_is_acknowledged() {
    let world = world(dead(), dead(), dead());
    assert_eq!(write(&world, 2).await.0, [NOWHERE; 2]);
}

#[tokio::test]
async fn a_hung_store_costs_its_patience_three_times_and_then_nothing() {
    let world = world(well(), well(), hung());
    for _ in 0..3 {
        let (kept, took) = write(&world, 1).await;
        assert_eq!(kept, [BUFFER_ONLY]);
        assert!(took >= PATIENCE && took < PATIENCE * 2, "{took:?}");
    }
    let (kept, took) = write(&world, 1).await;
    assert_eq!(kept, [BUFFER_ONLY]);
    assert!(took < PATIENCE / 2, "the healthy store's time: {took:?}");
    assert_eq!(world.kafka.asked(), 3, "an open breaker asks nothing");

    world.stores.kafka.breaker.probed(true, Instant::now());
    write(&world, 1).await;
    assert_eq!(world.kafka.asked(), 4);
}

#[tokio::test]
async fn the_answer_comes_within_twice_the_patience_even_when_everything_hangs() {
    let world = world(hung(), hung(), hung());
    let (kept, took) = write(&world, 1).await;
    assert_eq!(kept, [NOWHERE]);
    assert!(took < PATIENCE * 2 + PATIENCE / 2, "{took:?}");
    assert_eq!(world.buffer.asked(), 1);
}

#[tokio::test]
async fn an_event_that_a_store_refuses_says_nothing_about_the_store() {
    let world = world(Scripted::new(Err(StoreFault::Refused), 1), well(), well());
    for _ in 0..10 {
        write(&world, 1).await;
    }
    assert!(world.stores.buffer.usable());
}
