//! Usage of earlier periods that became known after their invoices: found among many customers by one question, and charged by
//! the single path (rating.rs), which works out what it changes of each period.

use std::collections::BTreeMap;

use jiff::Timestamp;
use meridian_billing::{
    ids::{SubscriptionId, TenantId},
    invoice::{LateUsage, metered},
};
use meridian_records::{BilledPeriod, Charge, MeterRow, PeriodTerms};
use meridian_usage_store::{LateUsageKey, PriceUsageQuery};

use super::{
    BillingActivities,
    rating::{instant, scoped, terms},
};
use crate::failure::StepError;

/// What an invoice charges of earlier periods, and what their prices count.
#[derive(Default)]
pub(super) struct Late {
    pub usage: Vec<LateUsage>,
    pub charges: Vec<(Charge, MeterRow)>,
}

/// What became known of the earlier periods of a subscription since the invoice of the last one.
pub(super) async fn of(
    with: &BillingActivities,
    current: &PeriodTerms,
    stored_before_us: i64,
) -> Result<Late, StepError> {
    let mut late = Late::default();
    let Some(Some(from_us)) = since(with, &[current], stored_before_us).await?.pop() else { return Ok(late) };
    let subscription = &current.subscription;
    let records = scoped(with, subscription.tenant.clone());
    let billed = records.billed_periods(&subscription.id, instant(from_us)?, current.period.start).await?;
    for billed in billed {
        let start_us = billed.period().start.as_microsecond();
        let own = terms(with, subscription.tenant.clone(), &subscription.id, start_us).await?;
        if let Some(usage) = of_period(with, billed, &own, stored_before_us).await? {
            late.usage.push(usage);
            late.charges.extend(own.charges);
        }
    }
    Ok(late)
}

async fn of_period(
    with: &BillingActivities,
    billed: BilledPeriod,
    terms: &PeriodTerms,
    stored_before_us: i64,
) -> Result<Option<LateUsage>, StepError> {
    let BilledPeriod { invoice, input, stored_before, charged } = billed;
    let query = PriceUsageQuery {
        tenant: input.tenant.as_str(),
        customer: input.customer.as_str(),
        time_zone: &input.time_zone,
        metered: &metered(&input.segments).map_err(|error| StepError::permanent("CannotBeRated", error))?,
        meters: &terms.meters(),
        stored_before_us: Some(stored_before_us),
    };
    let usage = with.usage.price_usage(&query).await?;
    Ok(LateUsage::of(invoice, &input, stored_before, &charged, usage)?)
}

/// For each period when the earliest usage of its subscription's earlier periods was that nobody looked at; None where there is
/// none. Questions: one for each tenant and one for all usage.
pub(super) async fn since(
    with: &BillingActivities,
    periods: &[&PeriodTerms],
    stored_before_us: i64,
) -> Result<Vec<Option<i64>>, StepError> {
    let mut by_tenant: BTreeMap<&TenantId, Vec<usize>> = BTreeMap::new();
    for (place, terms) in periods.iter().enumerate() {
        by_tenant.entry(&terms.subscription.tenant).or_default().push(place);
    }
    let (mut keys, mut places) = (Vec::new(), Vec::new());
    for (tenant, of_tenant) in by_tenant {
        let asked: Vec<(SubscriptionId, Timestamp)> = of_tenant
            .iter()
            .map(|place| (periods[*place].subscription.id.clone(), periods[*place].period.start))
            .collect();
        let cutoffs = scoped(with, tenant.clone()).cutoffs_before(&asked).await?;
        for (place, cutoff) in of_tenant.into_iter().zip(cutoffs) {
            let Some(cutoff) = cutoff else { continue };
            places.push(place);
            keys.push(LateUsageKey {
                tenant: tenant.to_string(),
                customer: periods[place].subscription.customer.to_string(),
                period_start_us: periods[place].period.start.as_microsecond(),
                stored_from_us: cutoff.as_microsecond(),
            });
        }
    }
    let mut since = vec![None; periods.len()];
    for (place, found) in places.into_iter().zip(with.usage.late_usage(&keys, stored_before_us).await?) {
        since[place] = found;
    }
    Ok(since)
}
