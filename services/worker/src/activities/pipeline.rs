//! Waiting at the pipeline gate; gate.rs decides.

use std::time::Duration;

use anyhow::anyhow;
use jiff::Timestamp;
use temporalio_sdk::activities::ActivityContext;
use tokio::time::{Instant, sleep};

use super::BillingActivities;
use crate::{
    crash,
    failure::StepError,
    gate::{Gate, Look},
    wire::{AwaitPipeline, PipelinePassed},
};

const LOOK_EVERY: Duration = Duration::from_millis(500);
/// An attempt ends before its timeout and says what it waited for; the next one goes on at the same stage.
const ATTEMPT_MAX: Duration = Duration::from_secs(540);

pub(super) async fn wait(
    with: &BillingActivities,
    ctx: &ActivityContext,
    asked: AwaitPipeline,
) -> Result<PipelinePassed, StepError> {
    let begun = Instant::now();
    let mut gate = resumed(ctx, asked);
    loop {
        let through_us = with.records.processed_through(&gate.awaited(with.sources)).await?;
        let now_us = Timestamp::now().as_microsecond();
        match gate.look(through_us, now_us, with.clock_skew.as_micros() as i64) {
            Look::Passed { stored_before_us } => {
                crash::point("pipeline/passed");
                return Ok(PipelinePassed { stored_before_us });
            }
            Look::Next(next) => {
                gate = next;
                beat(ctx, gate).await?;
            }
            Look::Wait(_) if begun.elapsed() > ATTEMPT_MAX => return Err(late(gate, through_us)),
            Look::Wait(_) => {
                beat(ctx, gate).await?;
                tokio::select! {
                    () = ctx.cancelled() => return Err(StepError::stopped()),
                    () = sleep(LOOK_EVERY) => {}
                }
            }
        }
    }
}

/// The stage that an attempt before this one had reached, or the first. A heartbeat of another shape is another release's:
/// beginning anew is always right.
fn resumed(ctx: &ActivityContext, asked: AwaitPipeline) -> Gate {
    ctx.heartbeat_details()
        .deserialize::<Gate>()
        .ok()
        .flatten()
        .unwrap_or_else(|| Gate::new(asked.acknowledged_before_us))
}

async fn beat(ctx: &ActivityContext, gate: Gate) -> Result<(), StepError> {
    ctx.record_heartbeat(gate).await.map_err(|error| StepError::Retry(error.into()))
}

fn late(gate: Gate, through_us: Option<i64>) -> StepError {
    let at =
        |us: i64| Timestamp::from_microsecond(us).map_or_else(|_| us.to_string(), |time| time.to_string());
    let sources = match gate {
        Gate::Outbox { .. } => "the outboxes of ingest",
        Gate::Moved { .. } | Gate::Cutoff { .. } => "the partitions of Kafka",
    };
    let through = through_us.map_or_else(
        || "at least one of them never reported".to_owned(),
        |us| format!("the slowest is through up to {}", at(us)),
    );
    StepError::Retry(anyhow!(
        "the pipeline is not through yet: {sources} must be processed up to {}, {through}; see whether ingest and the \
         consumer are running and what their lag is",
        at(gate.until_us())
    ))
}
