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
    pub async fn save_aggregated_usage(&self, totals: &[AggregatedUsage]) -> Result<(), StoreError> {
        const DOING: &str = "saving usage totals";
        let mut transaction = self.scope.begin(&self.pool).await?;
        for total in totals {
            sqlx::query(
                "INSERT INTO aggregated_usage
                     (tenant, customer_id, metric_id, period_start, period_end, quantity, events, stored_before)
                 VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
                 ON CONFLICT (tenant, customer_id, metric_id, period_start, period_end) DO UPDATE SET
                     quantity = excluded.quantity, events = excluded.events, stored_before = excluded.stored_before,
                     computed_at = now()
                 WHERE aggregated_usage.stored_before <= excluded.stored_before",
            )
            .bind(self.scope.tenant().as_str())
            .bind(&total.customer_id)
            .bind(&total.meter_id)
            .bind(Instant(total.period_start))
            .bind(Instant(total.period_end))
            .bind(total.quantity.to_bigdecimal())
            .bind(total.events)
            .bind(Instant(total.stored_before))
            .execute(&mut *transaction)
            .await
            .doing(DOING)?;
        }
        transaction.commit().await.doing(DOING)
    }
}
