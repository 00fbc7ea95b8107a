//! The schedules: sweeps for due periods every quarter of an hour, and at the start of each month, when most periods end; sweeps
//! for thresholds as often; and every night credit ledgers are brought up to date and all invoices computed again.
//! They are made, or brought to what is written here, at every start of a worker; several workers do the same and agree.

use std::time::Duration;

use anyhow::Context;
use temporalio_client::{
    Client,
    schedules::{CreateScheduleOptions, ScheduleAction, ScheduleError, ScheduleOverlapPolicy, ScheduleSpec},
};

use crate::{
    wire::{AdvanceLedgersInput, Cycle, VerifyInvoicesInput},
    workflows::{AdvanceLedgers, BillThresholds, BillingCycle, VerifyInvoices},
};

/// A sweep that the server missed while it was away is caught up within this time; later the next one does it anyway.
const CATCH_UP: Duration = Duration::from_secs(3600);
/// gRPC's ALREADY_EXISTS.
const ALREADY_EXISTS: i32 = 6;

/// The name holds the region: regions may share a Temporal server.
pub fn sweep_id(region: &str) -> String {
    format!("billing-cycle/{region}")
}

pub fn monthly_id(region: &str) -> String {
    format!("billing-cycle-monthly/{region}")
}

pub fn thresholds_id(region: &str) -> String {
    format!("bill-thresholds/{region}")
}

pub fn verify_id(region: &str) -> String {
    format!("verify-invoices/{region}")
}

pub fn ledgers_id(region: &str) -> String {
    format!("advance-ledgers/{region}")
}

pub async fn keep(
    client: &Client,
    region: &str,
    task_queue: &str,
    sweep_every: Duration,
) -> anyhow::Result<()> {
    // The schedule's own id as prefix: two schedules with one prefix in one second would lose the second run.
    let cycle =
        |id: &str| ScheduleAction::start_workflow(BillingCycle::run, Cycle::default(), task_queue, id);
    let at = |cron: &str| ScheduleSpec::builder().cron_strings(vec![cron.to_owned()]).build();
    let id = sweep_id(region);
    keep_one(client, &id, cycle(&id), ScheduleSpec::from_interval(sweep_every)).await?;
    // Five past midnight UTC on the 1st: the minute itself belongs to events that are just arriving.
    let id = monthly_id(region);
    keep_one(client, &id, cycle(&id), at("5 0 1 * *")).await?;
    let id = thresholds_id(region);
    let thresholds = ScheduleAction::start_workflow(BillThresholds::run, Cycle::default(), task_queue, &id);
    keep_one(client, &id, thresholds, ScheduleSpec::from_interval(sweep_every)).await?;
    let id = verify_id(region);
    let nothing_yet = VerifyInvoicesInput::default();
    let verify = ScheduleAction::start_workflow(VerifyInvoices::run, nothing_yet, task_queue, &id);
    keep_one(client, &id, verify, at("30 3 * * *")).await?;
    let id = ledgers_id(region);
    let nothing_yet = AdvanceLedgersInput::default();
    let advance = ScheduleAction::start_workflow(AdvanceLedgers::run, nothing_yet, task_queue, &id);
    keep_one(client, &id, advance, at("10 0 * * *")).await
}

async fn keep_one(
    client: &Client,
    id: &str,
    action: ScheduleAction,
    spec: ScheduleSpec,
) -> anyhow::Result<()> {
    let options = CreateScheduleOptions::builder()
        .action(action.clone())
        .spec(spec.clone())
        .overlap_policy(ScheduleOverlapPolicy::Skip)
        .build();
    match client.create_schedule(id, options).await {
        Ok(_) => tracing::info!(schedule = id, "schedule made"),
        Err(ScheduleError::Rpc(status)) if status.code() as i32 == ALREADY_EXISTS => {}
        Err(error) => return Err(error).with_context(|| format!("making the schedule {id}")),
    }
    // Creating cannot set the catch-up window, and a schedule of an earlier release may say something else.
    let update = move |schedule: &mut temporalio_client::schedules::ScheduleUpdate| {
        schedule
            .set_spec(spec)
            .set_action(action)
            .set_overlap_policy(ScheduleOverlapPolicy::Skip)
            .set_catchup_window(CATCH_UP)
            .set_pause_on_failure(false);
    };
    client
        .get_schedule_handle(id)
        .update(update, Default::default())
        .await
        .with_context(|| format!("bringing the schedule {id} up to date"))
}
