//! What time does to credit ledgers, page by page. Which grant ends when is the core's; the records append.

use jiff::Timestamp;
use meridian_records::{DueLedger, FailedLedger, LedgerKey};

use super::BillingActivities;
use crate::{
    failure::StepError,
    wire::{AdvancedLedgers, AdvancedPage, LedgerCursor, LedgerPage},
};

const PAGE_MAX: u32 = 200;

pub(super) async fn page(with: &BillingActivities, asked: LedgerPage) -> Result<AdvancedPage, StepError> {
    let after = asked.after.map(due);
    let sweep = with.records.advance_ledgers(Timestamp::now(), after.as_ref(), PAGE_MAX).await?;
    for FailedLedger { ledger: LedgerKey { tenant, customer_id, currency }, error } in &sweep.failed {
        tracing::error!(%tenant, customer_id, %currency, %error, "a credit ledger could not be brought up to date");
    }
    let report = AdvancedLedgers {
        ledgers: sweep.advanced.len() as u64,
        entries: sweep.advanced.iter().map(|advanced| advanced.entries as u64).sum(),
        failed: sweep.failed.len() as u64,
    };
    Ok(AdvancedPage { report, next: sweep.next.map(cursor) })
}

fn due(cursor: LedgerCursor) -> DueLedger {
    let LedgerCursor { due_at, tenant, customer_id, currency } = cursor;
    DueLedger { due_at, ledger: LedgerKey { tenant, customer_id, currency } }
}

fn cursor(due: DueLedger) -> LedgerCursor {
    let DueLedger { due_at, ledger: LedgerKey { tenant, customer_id, currency } } = due;
    LedgerCursor { due_at, tenant, customer_id, currency }
}
