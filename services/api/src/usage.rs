//! Questions to the store of usage that more than one route asks.

use jiff::Timestamp;
use meridian_billing::{ids::TenantId, invoice::PriceUsage, meter::FinishError, period::Period};
use meridian_records::{MeterRow, PeriodTerms};
use meridian_usage_store::{MeteredKey, MeteredUsage, PriceUsageError, PriceUsageQuery, UsageStore};

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

/// What each metered price of a period is told, stored before the cutoff.
pub(crate) async fn of_terms(
    store: &UsageStore,
    terms: &PeriodTerms,
    stored_before: Timestamp,
) -> Result<Vec<PriceUsage>, Problem> {
    let query = PriceUsageQuery {
        tenant: terms.subscription.tenant.as_str(),
        customer: terms.subscription.customer.as_str(),
        time_zone: &terms.subscription.time_zone,
        metered: &terms.metered()?,
        meters: &terms.meters(),
        stored_before_us: Some(stored_before.as_microsecond()),
    };
    store.price_usage(&query).await.map_err(|error| match error {
        PriceUsageError::Store(error) => error.into(),
        PriceUsageError::NoMeter { .. } | PriceUsageError::Unmeasurable { .. } => {
            Problem::invalid("meter", format!("the usage cannot be told: {error}"))
        }
    })
}
