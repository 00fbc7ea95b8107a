//! The gate before an invoice: how far every source is processed.

use crate::region::Region;

#[tokio::test]
async fn the_gate_is_the_least_source_and_closed_while_one_is_unknown() {
    let region = Region::start().await;
    let records = &region.records;
    let sources = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    let expected = sources(&["kafka/0", "kafka/1", "outbox/0"]);
    records.report_progress("kafka/0", 1_700_000_000_000_005).await.expect("reported");
    records.report_progress("kafka/1", 1_700_000_000_000_003).await.expect("reported");
    assert_eq!(records.processed_through(&expected).await.expect("asked"), None);
    records.report_progress("outbox/0", 1_700_000_000_000_009).await.expect("reported");
    assert_eq!(records.processed_through(&expected).await.expect("asked"), Some(1_700_000_000_000_003));
    assert_eq!(
        records.processed_through(&sources(&["kafka/0", "kafka/0"])).await.expect("asked"),
        Some(1_700_000_000_000_005)
    );
    region.end().await;
}

#[tokio::test]
async fn progress_never_goes_back() {
    let region = Region::start().await;
    region.records.report_progress("outbox/0", 2_000_000).await.expect("reported");
    region.records.report_progress("outbox/0", 1_000_000).await.expect("reported");
    let through = region.records.processed_through(&["outbox/0".to_owned()]).await.expect("asked");
    assert_eq!(through, Some(2_000_000));
    region.end().await;
}
