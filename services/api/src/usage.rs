//! Questions to the store of usage that more than one route asks.

use std::collections::BTreeMap;

use jiff::Timestamp;
use meridian_billing::{
    decimal::Overflow,
    ids::{MeterName, TenantId},
    invoice::MeterUsage,
    period::Period,
};
use meridian_records::PeriodTerms;
use meridian_usage_store::{PeriodKey, PeriodQuery, UsageStore, UsageTotal};

use crate::problem::Problem;

pub(crate) fn too_large(overflow: Overflow) -> Problem {
    Problem::invalid("meter", format!("the usage cannot be told: {overflow}"))
}

/// What one customer used of one meter in [start, end), exactly, as of now.
pub(crate) async fn total(
    store: &UsageStore,
    tenant: &TenantId,
    customer: &str,
    meter: &str,
    period: Period,
) -> Result<UsageTotal, Problem> {
    let key = PeriodKey {
        tenant: tenant.to_string(),
        customer: customer.to_owned(),
        meter: meter.to_owned(),
        start_us: period.start.as_microsecond(),
        end_us: period.end.as_microsecond(),
    };
    let totals = store.period_usage(&PeriodQuery { keys: vec![key], stored_before_us: None }).await?;
    totals.into_iter().next().ok_or_else(|| Problem::not_found("usage"))
}

/// Usage of every meter of a period's plan, in one question, stored before the cutoff.
pub(crate) async fn of_terms(
    store: &UsageStore,
    terms: &PeriodTerms,
    stored_before: Timestamp,
) -> Result<BTreeMap<MeterName, MeterUsage>, Problem> {
    // Two prices may count the same meter: it is asked for once.
    let meters: BTreeMap<&MeterName, _> =
        terms.charges.iter().map(|(_, meter)| (&meter.name, meter)).collect();
    let key = |name: &MeterName| PeriodKey {
        tenant: terms.subscription.tenant.to_string(),
        customer: terms.subscription.customer.to_string(),
        meter: name.to_string(),
        start_us: terms.period.start.as_microsecond(),
        end_us: terms.period.end.as_microsecond(),
    };
    let keys: Vec<PeriodKey> = meters.keys().map(|name| key(name)).collect();
    let query = PeriodQuery { keys, stored_before_us: Some(stored_before.as_microsecond()) };
    let totals = store.period_usage(&query).await?;
    let usage = meters.into_iter().zip(totals).map(|((name, meter), total)| {
        let usage = MeterUsage {
            quantity: total.quantity(meter.spec.aggregation).map_err(too_large)?,
            events: total.events,
            meter_version: meter.version,
            unit: meter.spec.unit.clone(),
        };
        Ok((name.clone(), usage))
    });
    usage.collect()
}
