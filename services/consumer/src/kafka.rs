//! The one thread that talks to Kafka: it polls, commits, asks for offsets, and is told of rebalances.
//!
//! One thread on purpose. librdkafka tells of a rebalance inside `poll`, and does not join the group's next generation
//! before that call has returned. A commit made by the same thread is therefore made in the generation in which its partition
//! was still ours; from another thread it could slip behind the revocation and be taken by the broker in the new one, where
//! the broker no longer asks who owns the partition. Commits are synchronous for the same reason.
//! Cooperative-sticky is as safe as eager under this rule: a partition is given to another member only after the revocation
//! was served here, and a rebalance leaves the other partitions running.
//!
//! Records go into a bounded buffer for each partition; a partition whose buffer is full is paused, so that memory stays
//! bounded while ClickHouse is away and offsets stay where they are. This thread decides nothing about records.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
        mpsc,
    },
    time::Duration,
};

use meridian_daemon::HealthFlag;
use rdkafka::{
    ClientConfig, ClientContext, Message, Offset, TopicPartitionList,
    config::FromClientConfigAndContext,
    consumer::{BaseConsumer, CommitMode, Consumer, ConsumerContext, Rebalance},
    error::KafkaError,
    message::BorrowedMessage,
};
use tokio::sync::{mpsc::UnboundedSender, oneshot};
use tokio_util::sync::CancellationToken;

use crate::{buffer::Buffer, config::Config, decide::Record, metrics::Metrics};

/// How long a poll waits for a record, and so the longest that a command waits for an idle thread.
const POLL_WAIT: Duration = Duration::from_millis(10);
/// Records taken in a row before commands are looked at.
const POLLS_IN_A_ROW: usize = 2_000;
/// Longest wait for an answer about offsets.
const OFFSETS_WAIT: Duration = Duration::from_secs(5);
/// Least buffer of a partition, however many there are.
const PARTITION_BYTES_MIN: usize = 1 << 20;

/// A partition that was assigned to us. A later assignment of the same partition is another one, with a higher epoch.
#[derive(Clone)]
pub struct Assignment {
    pub partition: i32,
    pub epoch: u64,
    pub buffer: Arc<Buffer>,
    /// Cancelled the moment the partition is revoked or lost: nothing may be begun for it then.
    pub lost: CancellationToken,
}

/// Where a partition stands in the group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Committed {
    /// `None` before the group's first commit.
    pub offset: Option<i64>,
    pub metadata: String,
    /// Of the whole topic.
    pub partitions: i64,
}

/// Offsets of a partition as the broker has them: the first that is kept, and the next to be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Watermarks {
    pub partition: i32,
    pub low: i64,
    pub high: i64,
}

#[derive(Debug, thiserror::Error)]
pub enum KafkaFailure {
    #[error("the partition is no longer ours")]
    NotOwned,
    #[error("Kafka fails: {0}")]
    Refused(#[from] KafkaError),
    #[error("the Kafka thread has stopped")]
    Stopped,
}

enum Command {
    Commit {
        partition: i32,
        epoch: u64,
        offset: i64,
        metadata: String,
        reply: oneshot::Sender<Result<(), KafkaFailure>>,
    },
    Committed {
        partition: i32,
        reply: oneshot::Sender<Result<Committed, KafkaFailure>>,
    },
    Watermarks {
        partitions: Vec<i32>,
        reply: oneshot::Sender<Result<Vec<Watermarks>, KafkaFailure>>,
    },
}

/// The handle by which everybody else talks to the thread.
#[derive(Clone)]
pub struct Kafka {
    commands: mpsc::Sender<Command>,
}

impl Kafka {
    /// Commits a position with its metadata, fenced by the group's generation and by the assignment's epoch.
    pub async fn commit(&self, of: &Assignment, offset: i64, metadata: String) -> Result<(), KafkaFailure> {
        let (partition, epoch) = (of.partition, of.epoch);
        self.ask(|reply| Command::Commit { partition, epoch, offset, metadata, reply }).await
    }

    pub async fn committed(&self, partition: i32) -> Result<Committed, KafkaFailure> {
        self.ask(|reply| Command::Committed { partition, reply }).await
    }

    pub async fn watermarks(&self, partitions: Vec<i32>) -> Result<Vec<Watermarks>, KafkaFailure> {
        self.ask(|reply| Command::Watermarks { partitions, reply }).await
    }

    async fn ask<T>(
        &self,
        command: impl FnOnce(oneshot::Sender<Result<T, KafkaFailure>>) -> Command,
    ) -> Result<T, KafkaFailure> {
        let (reply, answer) = oneshot::channel();
        self.commands.send(command(reply)).map_err(|_| KafkaFailure::Stopped)?;
        answer.await.map_err(|_| KafkaFailure::Stopped)?
    }
}

/// Starts the thread. Assignments come out of `assigned`; the thread ends, leaving the group, when `stop` is cancelled.
pub fn start(
    config: &Config,
    metrics: Metrics,
    health: HealthFlag,
    assigned: UnboundedSender<Assignment>,
    stop: CancellationToken,
) -> Result<(Kafka, std::thread::JoinHandle<()>), KafkaError> {
    let group = Arc::new(Group {
        assignments: Mutex::default(),
        epochs: AtomicU64::new(1),
        assigned,
        health,
        metrics,
    });
    let consumer =
        BaseConsumer::from_config_and_context(&client_config(config), GroupContext(group.clone()))?;
    consumer.subscribe(&[&config.kafka.topic_events])?;
    let (sender, commands) = mpsc::channel();
    let thread = Thread {
        consumer,
        topic: config.kafka.topic_events.clone(),
        group,
        commands,
        buffer_bytes: config.buffer_bytes,
        paused: HashMap::new(),
    };
    let handle = std::thread::Builder::new()
        .name("kafka".to_owned())
        .spawn(move || thread.run(&stop))
        .expect("the system can start one thread more");
    Ok((Kafka { commands: sender }, handle))
}

fn client_config(config: &Config) -> ClientConfig {
    let mut client = ClientConfig::new();
    for (name, value) in config.kafka.client_properties() {
        client.set(name, value);
    }
    client
        .set("group.id", &config.group)
        .set("client.id", "meridian-consumer")
        .set("partition.assignment.strategy", "cooperative-sticky")
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        // A group without offsets begins at the beginning: ids, not offsets, say what is new.
        .set("auto.offset.reset", "earliest")
        .set("isolation.level", "read_committed")
        // A member that died is noticed after this; one that lives beats five times in it.
        .set("session.timeout.ms", config.session_timeout_ms.to_string())
        .set("heartbeat.interval.ms", (config.session_timeout_ms / 5).to_string())
        .set("max.poll.interval.ms", "120000")
        .set("socket.timeout.ms", "10000")
        .set("reconnect.backoff.max.ms", "2000")
        .set("topic.metadata.refresh.interval.ms", "30000")
        // librdkafka's own queue in front of our buffers.
        .set("queued.max.messages.kbytes", "8192")
        .set("queued.min.messages", "20000")
        .set("fetch.wait.max.ms", "100")
        .set("log.connection.close", "false");
    client
}

/// What the rebalance callbacks and the thread share.
struct Group {
    assignments: Mutex<HashMap<i32, Assignment>>,
    epochs: AtomicU64,
    assigned: UnboundedSender<Assignment>,
    health: HealthFlag,
    metrics: Metrics,
}

impl Group {
    fn assign(&self, partitions: &TopicPartitionList) {
        for element in partitions.elements() {
            let assignment = Assignment {
                partition: element.partition(),
                epoch: self.epochs.fetch_add(1, Ordering::Relaxed),
                buffer: Arc::default(),
                lost: CancellationToken::new(),
            };
            let before = self.lock().insert(assignment.partition, assignment.clone());
            if let Some(before) = before {
                before.lost.cancel();
            }
            // The receiver lives as long as the program; without it there is nothing left to do anyway.
            let _program_ends = self.assigned.send(assignment);
        }
        self.metrics.assigned_partitions.set(self.lock().len() as i64);
    }

    fn revoke(&self, partitions: impl Iterator<Item = i32>) {
        for partition in partitions {
            if let Some(assignment) = self.lock().remove(&partition) {
                assignment.lost.cancel();
            }
        }
        self.metrics.assigned_partitions.set(self.lock().len() as i64);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<i32, Assignment>> {
        self.assignments.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct GroupContext(Arc<Group>);

impl ClientContext for GroupContext {
    fn error(&self, error: KafkaError, reason: &str) {
        self.0.health.set_failing(format!("{error}: {reason}"));
    }
}

impl ConsumerContext for GroupContext {
    fn pre_rebalance(&self, consumer: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        match rebalance {
            Rebalance::Assign(partitions) => {
                tracing::info!(partitions = ?numbers(partitions), "partitions assigned");
                self.0.assign(partitions);
            }
            Rebalance::Revoke(partitions) => {
                tracing::info!(partitions = ?numbers(partitions), lost = consumer.assignment_lost(), "partitions revoked");
                self.0.revoke(numbers(partitions).into_iter());
            }
            Rebalance::Error(error) => {
                tracing::warn!(%error, "a rebalance failed; all partitions are given up");
                let all: Vec<i32> = self.0.lock().keys().copied().collect();
                self.0.revoke(all.into_iter());
            }
        }
    }
}

fn numbers(partitions: &TopicPartitionList) -> Vec<i32> {
    partitions.elements().iter().map(|element| element.partition()).collect()
}

struct Thread {
    consumer: BaseConsumer<GroupContext>,
    topic: String,
    group: Arc<Group>,
    commands: mpsc::Receiver<Command>,
    buffer_bytes: usize,
    /// Paused partitions and the epoch in which they were.
    paused: HashMap<i32, u64>,
}

impl Thread {
    fn run(mut self, stop: &CancellationToken) {
        while !stop.is_cancelled() {
            self.poll();
            self.obey();
            self.balance();
        }
        // Dropping the consumer leaves the group, so that others need not wait for the session to time out.
        let all: Vec<i32> = self.group.lock().keys().copied().collect();
        self.group.revoke(all.into_iter());
    }

    fn poll(&self) {
        for taken in 0..POLLS_IN_A_ROW {
            let wait = if taken == 0 { POLL_WAIT } else { Duration::ZERO };
            match self.consumer.poll(wait) {
                Some(Ok(message)) => self.keep(&message),
                Some(Err(error)) => {
                    self.group.health.set_failing(error.to_string());
                    tracing::warn!(%error, "Kafka");
                    return;
                }
                None => return,
            }
        }
    }

    fn keep(&self, message: &BorrowedMessage<'_>) {
        let assignments = self.group.lock();
        let Some(assignment) = assignments.get(&message.partition()) else {
            return; // A record of a partition that was just revoked: its next owner reads it.
        };
        assignment
            .buffer
            .push(Record { offset: message.offset(), value: message.payload().map(<[u8]>::to_vec) });
    }

    /// Pauses partitions whose buffers are full, and lets them run again when half of it is gone.
    fn balance(&mut self) {
        let assignments: Vec<Assignment> = self.group.lock().values().cloned().collect();
        let bound = (self.buffer_bytes / assignments.len().max(1)).max(PARTITION_BYTES_MIN);
        let (mut pause, mut resume, mut total) = (TopicPartitionList::new(), TopicPartitionList::new(), 0);
        self.paused.retain(|partition, epoch| {
            assignments.iter().any(|a| a.partition == *partition && a.epoch == *epoch)
        });
        for Assignment { partition, epoch, buffer, lost: _ } in &assignments {
            let fill = buffer.fill();
            total += fill.bytes;
            let is_paused = self.paused.contains_key(partition);
            if !is_paused && fill.bytes > bound && !fill.needs_more {
                pause.add_partition(&self.topic, *partition);
                self.paused.insert(*partition, *epoch);
            } else if is_paused && (fill.bytes < bound / 2 || fill.needs_more) {
                resume.add_partition(&self.topic, *partition);
                self.paused.remove(partition);
            }
        }
        self.group.metrics.buffered_bytes.set(total as i64);
        self.group.metrics.paused_partitions.set(self.paused.len() as i64);
        for (list, result) in
            [(&pause, self.consumer.pause(&pause)), (&resume, self.consumer.resume(&resume))]
        {
            if let Err(error) = result {
                tracing::warn!(%error, partitions = ?numbers(list), "pausing or resuming partitions");
            }
        }
    }

    fn obey(&self) {
        let mut commits = Vec::new();
        for command in self.commands.try_iter() {
            match command {
                Command::Commit { partition, epoch, offset, metadata, reply } => {
                    commits.push((partition, epoch, offset, metadata, reply));
                }
                Command::Committed { partition, reply } => answer(reply, self.committed(partition)),
                Command::Watermarks { partitions, reply } => answer(reply, self.watermarks(&partitions)),
            }
        }
        self.commit(commits);
    }

    /// Commits of several partitions are one request.
    #[allow(clippy::type_complexity, reason = "the pieces of Command::Commit, taken apart once")]
    fn commit(&self, commits: Vec<(i32, u64, i64, String, oneshot::Sender<Result<(), KafkaFailure>>)>) {
        let mut list = TopicPartitionList::new();
        let mut replies = Vec::new();
        for (partition, epoch, offset, metadata, reply) in commits {
            let owned = self.group.lock().get(&partition).is_some_and(|assignment| assignment.epoch == epoch);
            let mut element = list_element(&mut list, &self.topic, partition, owned);
            let prepared = match &mut element {
                Some(element) => {
                    element.set_offset(Offset::Offset(offset)).map(|()| element.set_metadata(&metadata))
                }
                None => {
                    answer(reply, Err(KafkaFailure::NotOwned));
                    continue;
                }
            };
            match prepared {
                Ok(_) => replies.push(reply),
                Err(error) => answer(reply, Err(error.into())),
            }
        }
        if replies.is_empty() {
            return;
        }
        let result = self.consumer.commit(&list, CommitMode::Sync);
        if result.is_ok() {
            self.group.health.set_ok();
        }
        for reply in replies {
            answer(reply, result.clone().map_err(KafkaFailure::from));
        }
    }

    fn committed(&self, partition: i32) -> Result<Committed, KafkaFailure> {
        let mut list = TopicPartitionList::new();
        list.add_partition(&self.topic, partition);
        let committed = self.consumer.committed_offsets(list, OFFSETS_WAIT)?;
        let metadata = self.consumer.fetch_metadata(Some(&self.topic), OFFSETS_WAIT)?;
        let partitions = metadata.topics().iter().map(|topic| topic.partitions().len() as i64).sum();
        let element = committed.find_partition(&self.topic, partition).ok_or(KafkaFailure::NotOwned)?;
        element.error()?;
        let offset = match element.offset() {
            Offset::Offset(offset) => Some(offset),
            _ => None,
        };
        self.group.health.set_ok();
        Ok(Committed { offset, metadata: element.metadata().to_owned(), partitions })
    }

    fn watermarks(&self, partitions: &[i32]) -> Result<Vec<Watermarks>, KafkaFailure> {
        let all = partitions.iter().map(|&partition| {
            let (low, high) = self.consumer.fetch_watermarks(&self.topic, partition, OFFSETS_WAIT)?;
            Ok(Watermarks { partition, low, high })
        });
        let all = all.collect::<Result<_, KafkaFailure>>()?;
        self.group.health.set_ok();
        Ok(all)
    }
}

fn list_element<'a>(
    list: &'a mut TopicPartitionList,
    topic: &str,
    partition: i32,
    owned: bool,
) -> Option<rdkafka::topic_partition_list::TopicPartitionListElem<'a>> {
    owned.then(|| list.add_partition(topic, partition))
}

/// Whoever asked may be gone by now; then nobody is interested.
fn answer<T>(reply: oneshot::Sender<T>, value: T) {
    let _asker_is_gone = reply.send(value);
}
