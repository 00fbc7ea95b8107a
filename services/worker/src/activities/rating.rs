//! From a period's terms and usage to an invoice. Reads both, lets `meridian-billing` compute, saves what it returns.

use std::collections::BTreeMap;

use anyhow::anyhow;
use jiff::{SignedDuration, Timestamp};
use meridian_billing::{
    catalogue::AggregationKind,
    decimal::{Decimal, Quantity},
    ids::{MeterName, SubscriptionId, TenantId},
    invoice::{Computation, MeterUsage},
};
use meridian_records::{By, Invoice, InvoiceDraft, MeterRow, PeriodTerms, SaveOutcome, Scope, TenantRecords};
use meridian_usage_store::{PeriodKey, PeriodQuery, UsageTotal};

use super::BillingActivities;
use crate::{
    crash,
    failure::StepError,
    wire::{AggregatedUsage, CheckPeriod, ClosablePeriod, ClosedPeriod, IssueInvoice, PeriodAsOf},
};

pub(super) async fn check_period(
    with: &BillingActivities,
    check: CheckPeriod,
) -> Result<ClosablePeriod, StepError> {
    let CheckPeriod { close, requested_at_us } = check;
    let terms = terms(with, close.tenant, &close.subscription, close.period_start_us).await?;
    let requested_at = instant(requested_at_us)?;
    if requested_at < terms.period.end {
        let error = anyhow!("the period ends at {}: it cannot be closed before", terms.period.end);
        return Err(StepError::permanent("PeriodNotOver", error));
    }
    let closable_at = if close.on_demand {
        terms.period.end
    } else {
        // A subscription that was made with a start in the past has its grace from when it was made.
        let grace = SignedDuration::try_from(with.close_grace).unwrap_or(SignedDuration::MAX);
        let from = terms.period.end.max(terms.subscription.created_at);
        from.checked_add(grace).map_err(|error| StepError::permanent("PeriodNotOver", error))?
    };
    Ok(ClosablePeriod { period: terms.period, closable_at_us: closable_at.as_microsecond() })
}

pub(super) async fn aggregate_usage(
    with: &BillingActivities,
    asked: PeriodAsOf,
) -> Result<AggregatedUsage, StepError> {
    let terms = terms(with, asked.tenant.clone(), &asked.subscription, asked.period_start_us).await?;
    let stored_before = instant(asked.stored_before_us)?;
    let metered = metered(with, &terms, asked.stored_before_us).await?;
    let totals: Vec<_> = metered
        .iter()
        .map(|(meter, usage)| meridian_records::AggregatedUsage {
            customer_id: terms.customer.id.clone(),
            meter_id: meter.id.clone(),
            period_start: terms.period.start,
            period_end: terms.period.end,
            quantity: usage.quantity,
            events: i64::try_from(usage.events).unwrap_or(i64::MAX),
            stored_before,
        })
        .collect();
    scoped(with, asked.tenant).save_aggregated_usage(&totals).await?;
    Ok(AggregatedUsage { meters: totals.len() as u32, stored_before_us: asked.stored_before_us })
}

pub(super) async fn rate_period(
    with: &BillingActivities,
    asked: PeriodAsOf,
) -> Result<ClosedPeriod, StepError> {
    let terms = terms(with, asked.tenant.clone(), &asked.subscription, asked.period_start_us).await?;
    let metered = metered(with, &terms, asked.stored_before_us).await?;
    let usage = metered.into_iter().map(|(meter, usage)| (meter.name.clone(), usage)).collect();
    let input = terms.invoice_input(usage, instant(asked.stored_before_us)?);
    let computation = Computation::of(input)?;
    let draft = InvoiceDraft::of(&computation, &terms);
    let saved = scoped(with, asked.tenant).save_invoice(&draft, &by("a billing period was closed")).await?;
    crash::point("rate-period/saved");
    with.metrics.invoice(match saved.outcome {
        SaveOutcome::Created => "created",
        SaveOutcome::Refreshed => "refreshed",
        SaveOutcome::Kept => "kept",
    });
    Ok(closed(saved.invoice))
}

pub(super) async fn issue_invoice(
    with: &BillingActivities,
    asked: IssueInvoice,
) -> Result<ClosedPeriod, StepError> {
    let records = scoped(with, asked.tenant);
    let issued =
        records.issue_invoice(&asked.invoice, Timestamp::now(), &by("a billing period was closed")).await?;
    crash::point("issue-invoice/issued");
    with.metrics.invoice("issued");
    Ok(closed(issued))
}

async fn terms(
    with: &BillingActivities,
    tenant: TenantId,
    subscription: &SubscriptionId,
    period_start_us: i64,
) -> Result<PeriodTerms, StepError> {
    Ok(scoped(with, tenant).period_terms(subscription, Some(instant(period_start_us)?)).await?)
}

/// What each meter of the plan counted, zero included: one question for all of them.
async fn metered(
    with: &BillingActivities,
    terms: &PeriodTerms,
    stored_before_us: i64,
) -> Result<Vec<(MeterRow, MeterUsage)>, StepError> {
    // Several prices may count the same meter.
    let meters: BTreeMap<MeterName, &MeterRow> =
        terms.charges.iter().map(|(charge, meter)| (charge.meter.clone(), meter)).collect();
    let keys = meters.keys().map(|meter| PeriodKey {
        tenant: terms.subscription.tenant.to_string(),
        customer: terms.subscription.customer.to_string(),
        meter: meter.to_string(),
        start_us: terms.period.start.as_microsecond(),
        end_us: terms.period.end.as_microsecond(),
    });
    let query = PeriodQuery { keys: keys.collect(), stored_before_us: Some(stored_before_us) };
    if query.keys.is_empty() {
        return Ok(Vec::new());
    }
    let totals = with.usage.period_usage(&query).await?;
    meters
        .into_values()
        .zip(totals)
        .map(|(meter, total)| {
            let usage = MeterUsage {
                quantity: quantity(meter, &total)?,
                events: total.events,
                meter_version: meter.version,
                unit: meter.spec.unit.clone(),
            };
            Ok((meter.clone(), usage))
        })
        .collect()
}

/// The total that the meter's aggregation means.
fn quantity(meter: &MeterRow, total: &UsageTotal) -> Result<Quantity, StepError> {
    let counted = |count: u64| Decimal::from_units(i128::from(count) * Decimal::ONE.units()).ok();
    let quantity = match meter.spec.aggregation {
        AggregationKind::Count => counted(total.events),
        AggregationKind::Sum => total.sum,
        AggregationKind::Max => Some(total.max.unwrap_or(Decimal::ZERO)),
        AggregationKind::UniqueCount => counted(total.unique),
    };
    quantity.map(Quantity).ok_or_else(|| {
        let error =
            anyhow!("the usage of meter {} has more than 20 digits before the decimal point", meter.name);
        StepError::permanent("UsageTooLarge", error)
    })
}

fn closed(invoice: Invoice) -> ClosedPeriod {
    ClosedPeriod {
        state: invoice.state.as_str().to_owned(),
        number: invoice.number,
        currency: invoice.currency.to_string(),
        total: invoice.currency.format(invoice.total),
        lines: invoice.lines.len() as u32,
        invoice: invoice.id,
    }
}

fn scoped(with: &BillingActivities, tenant: TenantId) -> TenantRecords {
    with.records.tenant(Scope::of(tenant))
}

fn by(reason: &str) -> By {
    By::new("worker", reason)
}

fn instant(us: i64) -> Result<Timestamp, StepError> {
    Timestamp::from_microsecond(us).map_err(|error| StepError::permanent("InvalidInput", error))
}
