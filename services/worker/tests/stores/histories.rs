//! Saves the histories that `tests/replay.rs` replays: `UPDATE_HISTORIES=1` on the first run of a new version of a workflow.
//! Without it the fresh histories are replayed at once, so that this release's own workflows are known to be deterministic.

use std::path::Path;

use meridian_worker::{
    wire::Cycle,
    workflows::{BillingCycle, CloseBillingPeriod},
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
    world.wait_for_invoices(2).await;

    for (name, id) in [("CloseBillingPeriod-1", july.workflow_id()), ("BillingCycle-1", "sweep".to_owned())] {
        let handle = world.client.get_workflow_handle::<UntypedWorkflow>(world.scoped(&id));
        let history =
            handle.fetch_history(WorkflowFetchHistoryOptions::default()).to_json().await.expect("a history");
        if std::env::var_os("UPDATE_HISTORIES").is_some() {
            let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("histories").join(format!("{name}.json"));
            std::fs::write(&file, &history).expect("written");
        }
        let options = WorkflowReplayerOptions::new()
            .register_workflow::<CloseBillingPeriod>()
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
