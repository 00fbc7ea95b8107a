//! aggregated_usage: what each customer used of each meter in each period, as last computed. A cache for people and
//! reports; invoices are computed from ClickHouse, and this can always be computed again.

use jiff::Timestamp;
use meridian_billing::decimal::Quantity;

use crate::{
    TenantRecords,
    error::{Doing, StoreError},
    instant::Instant,
};

#[derive(Debug, Clone, PartialEq)]
pub struct AggregatedUsage {
    /// `cus_…`
    pub customer_id: String,
    /// `mtr_…`
    pub meter_id: String,
    pub period_start: Timestamp,
    pub period_end: Timestamp,
    pub quantity: Quantity,
    pub events: i64,
    /// Only events stored before this instant are counted.
    pub stored_before: Timestamp,
}

impl TenantRecords {
    /// A total with an earlier cutoff than the stored one is not written.
    /// Of two that are of the same customer, meter and period (two of its subscriptions count it), one is written.
    pub async fn save_aggregated_usage(&self, totals: &[AggregatedUsage]) -> Result<(), StoreError> {
        const DOING: &str = "saving usage totals";
        let mut transaction = self.scope.begin(&self.pool).await?;
        // One statement, however many totals there are: a column is an array.
        sqlx::query(
            "INSERT INTO aggregated_usage
                 (tenant, customer_id, metric_id, period_start, period_end, quantity, events, stored_before)
             SELECT DISTINCT ON (customer_id, metric_id, period_start, period_end) $1, total.*
             FROM unnest($2::text[], $3::text[], $4::timestamptz[], $5::timestamptz[], $6::numeric[], $7::bigint[],
                 $8::timestamptz[])
                 AS total (customer_id, metric_id, period_start, period_end, quantity, events, stored_before)
             ORDER BY customer_id, metric_id, period_start, period_end, stored_before DESC
             ON CONFLICT (tenant, customer_id, metric_id, period_start, period_end) DO UPDATE SET
                 quantity = excluded.quantity, events = excluded.events, stored_before = excluded.stored_before,
                 computed_at = now()
             WHERE aggregated_usage.stored_before <= excluded.stored_before",
        )
        .bind(self.scope.tenant().as_str())
        .bind(totals.iter().map(|total| total.customer_id.as_str()).collect::<Vec<_>>())
        .bind(totals.iter().map(|total| total.meter_id.as_str()).collect::<Vec<_>>())
        .bind(totals.iter().map(|total| Instant(total.period_start)).collect::<Vec<_>>())
        .bind(totals.iter().map(|total| Instant(total.period_end)).collect::<Vec<_>>())
        .bind(totals.iter().map(|total| total.quantity.to_bigdecimal()).collect::<Vec<_>>())
        .bind(totals.iter().map(|total| total.events).collect::<Vec<_>>())
        .bind(totals.iter().map(|total| Instant(total.stored_before)).collect::<Vec<_>>())
        .execute(&mut *transaction)
        .await
        .doing(DOING)?;
        transaction.commit().await.doing(DOING)
    }
}
