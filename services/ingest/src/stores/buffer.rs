//! The buffer as two stores: events under their event keys, and the outbox.

use futures::future::BoxFuture;
use meridian_buffer::{Buffer, EventRecord, PutError};
use tokio::time::Instant;

use super::{Store, StoreFault};

pub struct BufferEvents(pub Buffer);
pub struct BufferOutbox(pub Buffer);

impl Store for BufferEvents {
    fn put<'a>(
        &'a self,
        records: &'a [EventRecord],
        deadline: Instant,
    ) -> BoxFuture<'a, Vec<Result<(), StoreFault>>> {
        Box::pin(async move { faults(self.0.put_records(records, deadline).await) })
    }

    fn probe(&self) -> BoxFuture<'_, Result<(), String>> {
        Box::pin(async move { self.0.check_write().await.map_err(|error| error.to_string()) })
    }
}

impl Store for BufferOutbox {
    fn put<'a>(
        &'a self,
        records: &'a [EventRecord],
        deadline: Instant,
    ) -> BoxFuture<'a, Vec<Result<(), StoreFault>>> {
        Box::pin(async move { faults(self.0.put_outbox(records, deadline).await) })
    }

    fn probe(&self) -> BoxFuture<'_, Result<(), String>> {
        Box::pin(async move { self.0.check_write().await.map_err(|error| error.to_string()) })
    }
}

fn faults(answers: Vec<Result<(), PutError>>) -> Vec<Result<(), StoreFault>> {
    let mut logged = false;
    let mut fault = |error: PutError| {
        // Once a request: a batch of a thousand fails for one reason.
        if !std::mem::replace(&mut logged, true) {
            tracing::debug!(%error, "the buffer did not confirm an event");
        }
        match error {
            PutError::TooLarge { .. } | PutError::Refused(_) => StoreFault::Refused,
            PutError::Overloaded => StoreFault::QueueFull,
            PutError::Deadline => StoreFault::Deadline,
            PutError::Throttled => StoreFault::Throttled,
            PutError::Unavailable(_) => StoreFault::Unavailable,
        }
    };
    answers.into_iter().map(|answer| answer.map_err(&mut fault)).collect()
}
