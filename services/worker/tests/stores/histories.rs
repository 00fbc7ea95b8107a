//! Saves the histories that `tests/replay.rs` replays: `UPDATE_HISTORIES=1` on the first run of a new version of a workflow.
//! Without it the fresh histories are replayed at once, so that this release's own workflows are known to be deterministic.

use std::path::Path;

use meridian_worker::{
    wire::{ClosePeriods, Cycle},
    workflows::{BillingCycle, CloseBillingPeriod, CloseBillingPeriods},
};
use temporalio_client::{
    UntypedWorkflow, WorkflowFetchHistoryOptions, WorkflowGetResultOptions, WorkflowHistory,
    WorkflowStartOptions,
};
use temporalio_sdk::workflow_replayer::{WorkflowReplayer, WorkflowReplayerOptions};

use crate::world::World;

#[tokio::test(flavor = "multi_thread")]
async fn fresh_histories_replay() {
    let world = World::start().await;
    world.worker(&[]);
    world.use_calls(12_000).await;
    let july = world.july();
    world.close(&july).await.expect("closed");
    let options = WorkflowStartOptions::new(world.name.clone(), world.scoped("sweep")).build();
    let sweep =
        world.client.start_workflow(BillingCycle::run, Cycle::default(), options).await.expect("started");
    sweep.get_result(WorkflowGetResultOptions::default()).await.expect("swept");
    // August, which the sweep started.
    world.closed_many(world.due_august()).await;
    assert_eq!(world.invoices().await.len(), 2);

    let august = ClosePeriods { due: vec![world.due_august()] };
    for (name, id) in [
        ("CloseBillingPeriod-1", world.scoped(&july.workflow_id())),
        ("CloseBillingPeriods-1", august.workflow_id()),
        ("BillingCycle-2", world.scoped("sweep")),
    ] {
        let handle = world.client.get_workflow_handle::<UntypedWorkflow>(id);
        let history =
            handle.fetch_history(WorkflowFetchHistoryOptions::default()).to_json().await.expect("a history");
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("histories").join(format!("{name}.json"));
        // What a release was saved with stays: that is the point of it.
        if std::env::var_os("UPDATE_HISTORIES").is_some() && !file.exists() {
            std::fs::write(&file, &history).expect("written");
        }
        let options = WorkflowReplayerOptions::new()
            .register_workflow::<CloseBillingPeriod>()
            .expect("registered")
            .register_workflow::<CloseBillingPeriods>()
            .expect("registered")
            .register_workflow::<BillingCycle>()
            .expect("registered")
            .build();
        let history = WorkflowHistory::from_json(&history).expect("a history");
        WorkflowReplayer::new(options)
            .expect("a replayer")
            .replay_workflow(history)
            .await
            .expect("it replays");
    }
    world.end().await;
}
