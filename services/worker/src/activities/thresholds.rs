//! Billing a part of a running period: at the subscription's start what is charged in advance, then usage when it reached a
//! threshold.

use jiff::Timestamp;
use meridian_billing::{
    decimal::{Amount, Overflow},
    ids::TenantId,
    invoice::{Computation, usage_amount},
    subscription::next_threshold,
};
use meridian_records::InvoiceDraft;

use super::{BillingActivities, cursor, page_of, rating};
use crate::{
    crash,
    failure::StepError,
    wire::{BilledThreshold, ClosedPeriod, DuePage, FindDue, PeriodAsOf},
};

/// Running periods that one step of a sweep returns: each is a workflow that the sweep starts.
const RUNNING_PAGE_MAX: u32 = 200;

pub(super) async fn find(with: &BillingActivities, find: FindDue) -> Result<DuePage, StepError> {
    let after = find.after.map(cursor);
    let running = with.records.running_to_bill(Timestamp::now(), after.as_ref(), RUNNING_PAGE_MAX).await?;
    Ok(page_of(running, RUNNING_PAGE_MAX))
}

/// Once more for the same cutoff finds what the first attempt billed, and bills nothing.
pub(super) async fn bill(with: &BillingActivities, asked: PeriodAsOf) -> Result<BilledThreshold, StepError> {
    let terms = rating::terms(with, asked.tenant.clone(), &asked.subscription, asked.period_start_us).await?;
    let stored_before = rating::instant(asked.stored_before_us)?;
    let shown = |amount: Amount| amount.to_string();
    let mut billed = BilledThreshold { reached: shown(Amount::ZERO), threshold: None, invoice: None };
    if let Some(input) = terms.opening_input(stored_before) {
        let opening = Computation::of(input)?;
        if !opening.invoice.lines.is_empty() {
            let draft = InvoiceDraft::of(&opening, &terms);
            billed.invoice = Some(issue(with, asked.tenant, &draft, "the subscription started").await?);
            return Ok(billed);
        }
    }
    if terms.subscription.terms.thresholds.is_empty() {
        return Ok(billed);
    }
    let usage = with.rating().price_usage(&terms, stored_before).await?;
    let input = terms.threshold_input(usage, stored_before)?;
    let reached = usage_amount(&input)?;
    let threshold = next_threshold(&terms.subscription.terms.thresholds, terms.billed_on_the_way)
        .map_err(|overflow: Overflow| StepError::permanent("CannotBeRated", overflow))?;
    billed.reached = shown(reached);
    billed.threshold = threshold.map(shown);
    if threshold.is_none_or(|threshold| reached < threshold) || stored_before >= terms.period.end {
        return Ok(billed);
    }
    let draft = InvoiceDraft::of(&Computation::of(input)?, &terms);
    billed.invoice = Some(issue(with, asked.tenant, &draft, "usage reached a threshold").await?);
    Ok(billed)
}

async fn issue(
    with: &BillingActivities,
    tenant: TenantId,
    draft: &InvoiceDraft,
    why: &str,
) -> Result<ClosedPeriod, StepError> {
    let records = rating::scoped(with, tenant);
    let by = rating::by(why);
    let saved = records.save_invoice(draft, &by).await?;
    crash::point("bill-threshold/saved");
    let issued = records.issue_invoice(&saved.invoice.id, Timestamp::now(), &by).await?;
    with.metrics.invoice("issued");
    Ok(rating::closed(issued))
}
