//! The end-to-end tests: one behaviour a file, each in a namespace of its own, on a real Kubernetes with the operator
//! installed. Run by `./test e2e`; by hand see e2e/README.md. They run one after another (`--test-threads=1`): each
//! brings up a whole region, and two at once would measure each other.
#![cfg(feature = "cluster-tests")]

mod bad_input;
mod bad_spec;
mod clickhouse_gone;
mod dedicated_region;
mod deletion_delete;
mod deletion_retain;
mod kafka_gone;
mod killed_pods;
mod network_isolation;
mod operator_killed;
mod region_comes_up;
mod same_id_twice;
mod usage_becomes_an_invoice;

use meridian_e2e::{ClickHouse, Ledger, Limit, eventually};

/// The claim that every fault test ends with: each acknowledged event is stored, raw and processed, exactly once.
async fn every_acked_event_is_stored_once(
    clickhouse: &ClickHouse,
    ledger: &Ledger,
    prefix: &str,
    limit: Limit,
) -> anyhow::Result<()> {
    for table in ["raw_events", "processed_events"] {
        let what = format!("{} acknowledged events are in {table}", ledger.acked.len());
        eventually(&what, limit, async || {
            let stored = clickhouse.ids(table, prefix).await?;
            let lost: Vec<_> = ledger.acked.difference(&stored).take(3).collect();
            let missing = ledger.acked.difference(&stored).count();
            anyhow::ensure!(missing == 0, "{missing} are missing, such as {lost:?}");
            Ok(())
        })
        .await?;
        let stored = clickhouse.ids(table, prefix).await?.len() as u64;
        let rows = clickhouse.rows(table, prefix).await?;
        anyhow::ensure!(rows == stored, "{table}: {rows} rows for {stored} ids: events were stored twice");
    }
    let rolled_up =
        clickhouse.number("SELECT sum(events) FROM usage_by_minute WHERE meter = 'api-calls'").await?;
    let processed =
        clickhouse.number("SELECT count() FROM processed_events WHERE meter = 'api-calls'").await?;
    anyhow::ensure!(rolled_up == processed, "the rollup counts {rolled_up}, the processed table {processed}");
    println!(
        "    {} events acknowledged in {} batches ({} degraded), {} refused, {} unanswered: each stored once",
        ledger.acked.len(),
        ledger.batches,
        ledger.degraded,
        ledger.refused,
        ledger.broken
    );
    Ok(())
}
