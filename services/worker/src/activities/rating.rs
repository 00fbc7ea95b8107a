//! From a period's terms and usage to an invoice. Reads both, lets `meridian-billing` compute, saves what it returns.

use std::collections::BTreeMap;

use anyhow::anyhow;
use jiff::{SignedDuration, Timestamp};
use meridian_billing::{
    decimal::Quantity,
    ids::{MeterName, SubscriptionId, TenantId},
    invoice::{Computation, InvoiceInput},
    meter::FinishError,
};
use meridian_records::{By, Invoice, InvoiceDraft, MeterRow, PeriodTerms, SaveOutcome, Scope, TenantRecords};
use meridian_usage_store::{MeteredKey, MeteredUsage};

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
    let keys = meter_keys(&terms);
    let metered = with.usage.metered_usage(&keys, Some(asked.stored_before_us)).await?;
    let totals = totals(&terms, metered, stored_before)?;
    scoped(with, asked.tenant).save_aggregated_usage(&totals).await?;
    Ok(AggregatedUsage { meters: totals.len() as u32, stored_before_us: asked.stored_before_us })
}

pub(super) async fn rate_period(
    with: &BillingActivities,
    asked: PeriodAsOf,
) -> Result<ClosedPeriod, StepError> {
    let mut terms = terms(with, asked.tenant.clone(), &asked.subscription, asked.period_start_us).await?;
    let input = with.rating().invoice_input(&mut terms, instant(asked.stored_before_us)?).await?;
    let draft = draft(input, &terms)?;
    let saved = scoped(with, asked.tenant).save_invoice(&draft, &by("a billing period was closed")).await?;
    crash::point("rate-period/saved");
    with.metrics.invoice(counted_as(saved.outcome));
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

pub(super) async fn terms(
    with: &BillingActivities,
    tenant: TenantId,
    subscription: &SubscriptionId,
    period_start_us: i64,
) -> Result<PeriodTerms, StepError> {
    Ok(scoped(with, tenant).period_terms(subscription, Some(instant(period_start_us)?)).await?)
}

/// The draft of the period's invoice.
pub(super) fn draft(input: InvoiceInput, terms: &PeriodTerms) -> Result<InvoiceDraft, StepError> {
    Ok(InvoiceDraft::of(&Computation::of(input)?, terms))
}

pub(super) fn counted_as(outcome: SaveOutcome) -> &'static str {
    match outcome {
        SaveOutcome::Created => "created",
        SaveOutcome::Refreshed => "refreshed",
        SaveOutcome::Kept => "kept",
    }
}

/// The meters of the plans, by name. Several prices may count the same one.
fn meters(terms: &PeriodTerms) -> BTreeMap<&MeterName, &MeterRow> {
    terms.charges.iter().map(|(charge, meter)| (&charge.meter, meter)).collect()
}

/// What to ask of each meter of the plans, so that all of them are asked at once.
pub(super) fn meter_keys(terms: &PeriodTerms) -> Vec<MeteredKey> {
    let key = |(name, meter): (&MeterName, &MeterRow)| MeteredKey {
        tenant: terms.subscription.tenant.to_string(),
        customer: terms.subscription.customer.to_string(),
        meter: name.to_string(),
        spec: meter.spec.clone(),
        period: terms.period,
    };
    meters(terms).into_iter().map(key).collect()
}

/// What each meter of the plans came to, zero included; `metered` answers [`meter_keys`].
pub(super) fn totals(
    terms: &PeriodTerms,
    metered: Vec<MeteredUsage>,
    stored_before: Timestamp,
) -> Result<Vec<meridian_records::AggregatedUsage>, StepError> {
    meters(terms)
        .into_values()
        .zip(metered)
        .map(|(meter, MeteredUsage { events, quantity })| {
            Ok(meridian_records::AggregatedUsage {
                customer_id: terms.customer.id.clone(),
                meter_id: meter.id.clone(),
                period_start: terms.period.start,
                period_end: terms.period.end,
                quantity: rateable(meter, quantity)?,
                events: i64::try_from(events).unwrap_or(i64::MAX),
                stored_before,
            })
        })
        .collect()
}

/// Usage that no quantity says stops the period with a name for what is wrong: it is never billed as something else.
fn rateable(meter: &MeterRow, quantity: Result<Quantity, FinishError>) -> Result<Quantity, StepError> {
    quantity.map_err(|error| {
        let kind = match &error {
            FinishError::Overflow(_) => "UsageTooLarge",
            FinishError::BelowZero { .. } => "UsageBelowZero",
            FinishError::OtherAggregation { .. }
            | FinishError::NoPercentile
            | FinishError::EmptyWindow
            | FinishError::OutsideWindow { .. } => "UsageUnreadable",
        };
        StepError::permanent(kind, anyhow!("the usage of meter {}: {error}", meter.name))
    })
}

pub(super) fn closed(invoice: Invoice) -> ClosedPeriod {
    ClosedPeriod {
        state: invoice.state.as_str().to_owned(),
        number: invoice.number,
        currency: invoice.currency.to_string(),
        total: invoice.currency.format(invoice.total),
        lines: invoice.lines.len() as u32,
        invoice: invoice.id,
    }
}

pub(super) fn scoped(with: &BillingActivities, tenant: TenantId) -> TenantRecords {
    with.records.tenant(Scope::of(tenant))
}

pub(super) fn by(reason: &str) -> By {
    By::new("worker", reason)
}

pub(super) fn instant(us: i64) -> Result<Timestamp, StepError> {
    Timestamp::from_microsecond(us).map_err(|error| StepError::permanent("InvalidInput", error))
}
