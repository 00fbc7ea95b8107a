//! Group commit: events of many requests share BatchWriteItem calls, and each request is answered when its own
//! items are confirmed. A call per event would cost more than all the rest of ingest together: each is a signed
//! HTTPS request.
//!
//! A batch leaves when it is full, or when nothing is under way, or after `linger`. So a single event on an idle
//! system waits for nobody, and under load the calls under way form the batches.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot},
    time::Instant,
};

use crate::{
    error::PutError,
    options::Tuning,
    write::{BATCH_ITEMS_MAX, Item, Pending, Writer},
};

type Outcome = Result<(), PutError>;

#[derive(Clone)]
pub(crate) struct GroupCommit {
    queue: mpsc::UnboundedSender<Vec<Queued>>,
    writer: Writer,
    /// What bounds the queue: a permit for each event not yet answered.
    room: Arc<Semaphore>,
}

/// An item on its way, and the request that waits for it.
struct Queued {
    item: Item,
    deadline: Instant,
    waiter: Waiter,
}

impl GroupCommit {
    pub fn start(writer: Writer, tuning: Tuning) -> GroupCommit {
        let (queue, arrivals) = mpsc::unbounded_channel();
        let room = Arc::new(Semaphore::new(tuning.events_queued_max));
        tokio::spawn(Committer::new(arrivals, writer.clone(), tuning).run());
        GroupCommit { queue, writer, room }
    }

    pub async fn put(&self, items: Vec<Item>, deadline: Instant) -> Vec<Outcome> {
        let Ok(permit) = self.room.clone().try_acquire_many_owned(items.len() as u32) else {
            return vec![Err(PutError::Overloaded); items.len()];
        };
        let (reply, answered) = Reply::new(items.len(), permit);
        let mut queued = Vec::with_capacity(items.len());
        for (index, item) in items.into_iter().enumerate() {
            let waiter = Waiter { reply: reply.clone(), index };
            match item.check() {
                Ok(()) => queued.push(Queued { item, deadline, waiter }),
                Err(error) => waiter.settle(Err(error)),
            }
        }
        // The committer lives as long as a handle does; were it gone, the deadline would answer.
        let _ = self.queue.send(queued);
        let _ = tokio::time::timeout_at(deadline, answered).await;
        reply.outcomes()
    }
}

impl GroupCommit {
    /// Writes one probe item past the queue, which may be full of what a hung store has not answered.
    pub async fn check(&self, deadline: Instant) -> Outcome {
        let outcome = Arc::new(Mutex::new(Err(PutError::Deadline)));
        let settled = outcome.clone();
        let settle = move |o: Outcome| *settled.lock().unwrap_or_else(PoisonError::into_inner) = o;
        self.writer.write(vec![Pending { item: Item::probe(), settle }], deadline).await;
        outcome.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// The task that cuts batches.
struct Committer {
    arrivals: mpsc::UnboundedReceiver<Vec<Queued>>,
    waiting: VecDeque<Queued>,
    writer: Writer,
    tuning: Tuning,
    /// One permit for each call that may be under way.
    calls: Arc<Semaphore>,
}

impl Committer {
    fn new(arrivals: mpsc::UnboundedReceiver<Vec<Queued>>, writer: Writer, tuning: Tuning) -> Committer {
        let calls = Arc::new(Semaphore::new(tuning.batches_in_flight));
        Committer { arrivals, waiting: VecDeque::new(), writer, tuning, calls }
    }

    /// Ends when every handle is gone and what they queued has been sent.
    async fn run(mut self) {
        loop {
            if self.waiting.is_empty() {
                let Some(items) = self.arrivals.recv().await else { return };
                self.waiting.extend(items);
            }
            let Ok(call) = self.calls.clone().acquire_owned().await else { return };
            self.gather().await;
            self.send(call);
        }
    }

    /// Fills the next batch as far as that costs nobody time.
    async fn gather(&mut self) {
        let leave_by = Instant::now() + self.tuning.linger;
        while self.waiting.len() < BATCH_ITEMS_MAX {
            if let Ok(items) = self.arrivals.try_recv() {
                self.waiting.extend(items);
                continue;
            }
            let alone = self.calls.available_permits() + 1 == self.tuning.batches_in_flight;
            if alone {
                return;
            }
            match tokio::time::timeout_at(leave_by, self.arrivals.recv()).await {
                Ok(Some(items)) => self.waiting.extend(items),
                Ok(None) | Err(_) => return,
            }
        }
    }

    fn send(&mut self, call: OwnedSemaphorePermit) {
        let (batch, deadline) = cut(&mut self.waiting, Instant::now());
        let Some(deadline) = deadline else { return };
        let writer = self.writer.clone();
        tokio::spawn(async move {
            writer.write(batch, deadline).await;
            drop(call);
        });
    }
}

/// Takes the next batch: at most 25 distinct keys. BatchWriteItem refuses a batch that names a key twice, so an
/// item that is there already only adds a waiter; equal keys mean equal payloads. What nobody waits for any more
/// is answered and not sent.
fn cut(
    waiting: &mut VecDeque<Queued>,
    now: Instant,
) -> (Vec<Pending<impl FnMut(Outcome) + Send + 'static>>, Option<Instant>) {
    let mut batch: Vec<(Item, Vec<Waiter>)> = Vec::with_capacity(BATCH_ITEMS_MAX);
    let mut deadline: Option<Instant> = None;
    while let Some(next) = waiting.pop_front() {
        if next.deadline <= now {
            next.waiter.settle(Err(PutError::Deadline));
            continue;
        }
        let twin = batch.iter().position(|(item, _)| item.key == next.item.key);
        match twin {
            Some(at) => batch[at].1.push(next.waiter),
            None if batch.len() == BATCH_ITEMS_MAX => {
                waiting.push_front(next);
                break;
            }
            None => batch.push((next.item, vec![next.waiter])),
        }
        deadline = deadline.max(Some(next.deadline));
    }
    let batch = batch
        .into_iter()
        .map(|(item, waiters)| Pending {
            item,
            settle: move |outcome: Outcome| waiters.iter().for_each(|w| w.settle(outcome.clone())),
        })
        .collect();
    (batch, deadline)
}

/// One event's place in its request's answer.
struct Waiter {
    reply: Arc<Reply>,
    index: usize,
}

impl Waiter {
    fn settle(&self, outcome: Outcome) {
        self.reply.settle(self.index, outcome);
    }
}

/// The answer of one request as it fills up.
struct Reply {
    state: Mutex<ReplyState>,
    /// Given back when the last waiter is gone, not when the caller stops waiting: a hung store keeps its queue
    /// bounded.
    _room: OwnedSemaphorePermit,
}

struct ReplyState {
    outcomes: Vec<Option<Outcome>>,
    open: usize,
    answered: Option<oneshot::Sender<()>>,
}

impl Reply {
    fn new(events: usize, room: OwnedSemaphorePermit) -> (Arc<Reply>, oneshot::Receiver<()>) {
        let (sender, answered) = oneshot::channel();
        let answered_at_once = events == 0;
        let state = ReplyState {
            outcomes: vec![None; events],
            open: events,
            answered: (!answered_at_once).then_some(sender),
        };
        (Arc::new(Reply { state: Mutex::new(state), _room: room }), answered)
    }

    fn settle(&self, index: usize, outcome: Outcome) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.outcomes[index] = Some(outcome);
        state.open -= 1;
        if state.open == 0
            && let Some(answered) = state.answered.take()
        {
            // The caller may have given up at its deadline.
            let _ = answered.send(());
        }
    }

    /// What is known now; an event without an answer ran into the deadline.
    fn outcomes(&self) -> Vec<Outcome> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.outcomes.iter().map(|o| o.clone().unwrap_or(Err(PutError::Deadline))).collect()
    }
}
