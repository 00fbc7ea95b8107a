//! Questions to the store of usage that more than one route asks.

use meridian_billing::{ids::TenantId, meter::FinishError, period::Period};
use meridian_records::MeterRow;
use meridian_usage_store::{MeteredKey, MeteredUsage, UsageStore};

use crate::problem::Problem;

pub(crate) fn untold(error: FinishError) -> Problem {
    Problem::invalid("meter", format!("the usage cannot be told: {error}"))
}

/// What one customer used of one meter in [start, end), exactly, as of now.
pub(crate) async fn total(
    store: &UsageStore,
    tenant: &TenantId,
    customer: &str,
    meter: &MeterRow,
    period: Period,
) -> Result<MeteredUsage, Problem> {
    let key = MeteredKey {
        tenant: tenant.to_string(),
        customer: customer.to_owned(),
        meter: meter.name.to_string(),
        spec: meter.spec.clone(),
        period,
    };
    let metered = store.metered_usage(&[key], None).await?;
    metered.into_iter().next().ok_or_else(|| Problem::not_found("usage"))
}
