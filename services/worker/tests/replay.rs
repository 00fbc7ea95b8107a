//! The history of every version of every workflow, replayed by this release's code: workflows that were started by an
//! earlier release go on under this one. No server is needed. New files come from tests/stores/histories.rs.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{fs, path::Path};

use meridian_worker::workflows::{
    AggregateUsageWorkflow, BillingCycle, CloseBillingPeriod, CloseBillingPeriods, GenerateInvoice,
};
use temporalio_client::WorkflowHistory;
use temporalio_sdk::workflow_replayer::{WorkflowReplayer, WorkflowReplayerOptions};

async fn replay(history: &[u8]) -> Result<(), String> {
    let options = WorkflowReplayerOptions::new()
        .register_workflow::<CloseBillingPeriod>()
        .and_then(|options| options.register_workflow::<CloseBillingPeriods>())
        .and_then(|options| options.register_workflow::<GenerateInvoice>())
        .and_then(|options| options.register_workflow::<AggregateUsageWorkflow>())
        .and_then(|options| options.register_workflow::<BillingCycle>())
        .expect("registered")
        .build();
    let history = WorkflowHistory::from_json(history).map_err(|error| format!("{error:?}"))?;
    let replayer = WorkflowReplayer::new(options).map_err(|error| format!("{error:?}"))?;
    replayer.replay_workflow(history).await.map_err(|error| format!("{error:?}"))
}

#[tokio::test]
async fn saved_histories_of_every_version_replay() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("histories");
    let mut files: Vec<_> = fs::read_dir(&directory)
        .expect("the saved histories")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "json"))
        .collect();
    files.sort();
    // The sweep's first version started each period by itself; its second one starts pages.
    for name in ["BillingCycle-1", "BillingCycle-2", "CloseBillingPeriod-1", "CloseBillingPeriods-1"] {
        assert!(
            files.iter().any(|file| file.ends_with(format!("{name}.json"))),
            "{name} has no saved history"
        );
    }
    for file in files {
        let history = fs::read(&file).expect("a history");
        replay(&history).await.unwrap_or_else(|error| panic!("{} does not replay: {error}", file.display()));
    }
}

#[tokio::test]
async fn a_changed_order_of_steps_is_noticed() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("histories/CloseBillingPeriod-1.json");
    let history = fs::read_to_string(file).expect("a history");
    let changed = history.replace("aggregate-usage", "rate-period");
    assert_ne!(history, changed);
    assert!(replay(changed.as_bytes()).await.is_err(), "a history of other steps was replayed");
}
