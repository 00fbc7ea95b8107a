//! Many due periods billed together: their terms, usage, totals and invoices are each read or written in a number of questions
//! that does not grow with them. What each one costs is rated as for one period alone (rating.rs).
//!
//! Again after a crash it finds what is issued and goes on with the rest. A period that cannot be billed is left out with its
//! reason in the log; its own workflow will show it.

use std::collections::BTreeMap;

use anyhow::anyhow;
use jiff::Timestamp;
use meridian_billing::ids::TenantId;
use meridian_rating::Asked;
use meridian_records::{AggregatedUsage, InvoiceDraft, PeriodTerms, SaveOutcome};
use meridian_usage_store::{PeriodUsage, PeriodUsageQuery};

use super::{BillingActivities, rating};
use crate::{
    crash,
    failure::StepError,
    wire::{ClosedPeriods, DueCursor, PeriodsAsOf},
};

/// So often a chunk is tried together. What keeps all of them from it may be one of them, so then each is tried by itself;
/// a store that is away is waited for together.
const ATTEMPTS_TOGETHER_MAX: u32 = 10;

pub(super) async fn close(
    with: &BillingActivities,
    asked: PeriodsAsOf,
    attempt: u32,
) -> Result<ClosedPeriods, StepError> {
    let PeriodsAsOf { due, stored_before_us } = asked;
    let _turn = with.turns.acquire().await.expect("turns are never closed");
    match together(with, &due, rating::instant(stored_before_us)?).await {
        Ok(closed) => Ok(closed),
        Err(error) if attempt < ATTEMPTS_TOGETHER_MAX || error.is_of_a_store_that_is_away() => Err(error),
        Err(error) => {
            tracing::warn!(periods = due.len(), attempt, %error, "periods cannot be closed together");
            Ok(ClosedPeriods { closed: 0, left: due })
        }
    }
}

async fn together(
    with: &BillingActivities,
    due: &[DueCursor],
    stored_before: Timestamp,
) -> Result<ClosedPeriods, StepError> {
    let mut left = Vec::new();
    let laid = laid_out(with, due, stored_before, &mut left).await?;
    let laid = without_late_usage(with, laid, stored_before, &mut left).await?;
    let rated = rated(with, laid, stored_before, &mut left).await?;
    let mut closed = 0;
    for (tenant, rated) in rated {
        closed += issued(with, tenant, rated, &mut left).await?;
        crash::point("close-periods/issued");
    }
    Ok(ClosedPeriods { closed, left })
}

/// A due period with its terms, and what they ask of usage.
struct LaidOut {
    due: DueCursor,
    terms: PeriodTerms,
    asked: Asked,
}

/// A due period with its invoice, to be saved.
struct Rated {
    due: DueCursor,
    totals: Vec<AggregatedUsage>,
    draft: InvoiceDraft,
}

/// Terms are read tenant by tenant: each in its own scope.
async fn laid_out(
    with: &BillingActivities,
    due: &[DueCursor],
    stored_before: Timestamp,
    left: &mut Vec<DueCursor>,
) -> Result<Vec<LaidOut>, StepError> {
    let mut by_tenant: BTreeMap<&TenantId, Vec<&DueCursor>> = BTreeMap::new();
    for due in due {
        by_tenant.entry(&due.tenant).or_default().push(due);
    }
    let mut laid = Vec::with_capacity(due.len());
    for (tenant, due) in by_tenant {
        let periods: Vec<_> = due.iter().map(|due| (due.subscription.clone(), due.period.start)).collect();
        let terms = rating::scoped(with, tenant.clone()).period_terms_of(&periods).await?;
        for (due, terms) in due.into_iter().zip(terms) {
            let of = terms.map_err(StepError::from).and_then(|terms| lay_out(due, terms, stored_before));
            laid.extend(or_left(due, of, left));
        }
    }
    Ok(laid)
}

/// Who used something of earlier periods that became known since is billed by itself: each of those periods is looked at.
async fn without_late_usage(
    with: &BillingActivities,
    laid: Vec<LaidOut>,
    stored_before: Timestamp,
    left: &mut Vec<DueCursor>,
) -> Result<Vec<LaidOut>, StepError> {
    let terms: Vec<&PeriodTerms> = laid.iter().map(|laid| &laid.terms).collect();
    let late = with.rating().late_since(&terms, stored_before).await?;
    let (late, plain): (Vec<_>, Vec<_>) = laid.into_iter().zip(late).partition(|(_, late)| late.is_some());
    left.extend(late.into_iter().map(|(laid, _)| laid.due));
    Ok(plain.into_iter().map(|(laid, _)| laid).collect())
}

fn lay_out(due: &DueCursor, terms: PeriodTerms, stored_before: Timestamp) -> Result<LaidOut, StepError> {
    if stored_before < terms.period.end {
        let error = anyhow!("the period ends at {}: it cannot be closed before", terms.period.end);
        return Err(StepError::permanent("PeriodNotOver", error));
    }
    Ok(LaidOut { due: due.clone(), asked: Asked::of(&terms)?, terms })
}

/// Usage and totals of all of them, whatever their tenants; then what each one costs.
async fn rated(
    with: &BillingActivities,
    laid: Vec<LaidOut>,
    stored_before: Timestamp,
    left: &mut Vec<DueCursor>,
) -> Result<BTreeMap<TenantId, Vec<Rated>>, StepError> {
    let queries: Vec<PeriodUsageQuery<'_>> = laid
        .iter()
        .map(|LaidOut { terms, asked, .. }| PeriodUsageQuery {
            prices: asked.query(terms, stored_before),
            totals: rating::meter_keys(terms),
        })
        .collect();
    let usage = with.usage.period_usage_of(&queries).await?;
    let mut rated: BTreeMap<TenantId, Vec<Rated>> = BTreeMap::new();
    for (laid, usage) in laid.iter().zip(usage) {
        let of = rate(laid, usage, stored_before);
        if let Some(of) = or_left(&laid.due, of, left) {
            rated.entry(laid.due.tenant.clone()).or_default().push(of);
        }
    }
    Ok(rated)
}

fn rate(laid: &LaidOut, usage: PeriodUsage, stored_before: Timestamp) -> Result<Rated, StepError> {
    let PeriodUsage { prices, totals } = usage;
    let totals = totals.into_iter().collect::<Result<Vec<_>, _>>()?;
    Ok(Rated {
        due: laid.due.clone(),
        totals: rating::totals(&laid.terms, totals, stored_before)?,
        draft: rating::draft(laid.terms.invoice_input(prices?, stored_before)?, &laid.terms)?,
    })
}

/// How many of the tenant's periods are closed now.
async fn issued(
    with: &BillingActivities,
    tenant: TenantId,
    rated: Vec<Rated>,
    left: &mut Vec<DueCursor>,
) -> Result<u64, StepError> {
    let (mut due, mut totals, mut drafts) = (Vec::new(), Vec::new(), Vec::new());
    for rated in rated {
        due.push(rated.due);
        totals.extend(rated.totals);
        drafts.push(rated.draft);
    }
    let records = rating::scoped(with, tenant);
    records.save_aggregated_usage(&totals).await?;
    let by = rating::by("billing periods were closed");
    let answers = records.save_and_issue(&drafts, Timestamp::now(), &by).await?;
    let mut closed = 0;
    for (due, answer) in due.iter().zip(answers) {
        let Some(issued) = or_left(due, answer.map_err(StepError::from), left) else { continue };
        closed += 1;
        with.metrics.invoice(rating::counted_as(issued.outcome));
        if issued.outcome != SaveOutcome::Kept {
            with.metrics.invoice("issued");
        }
    }
    Ok(closed)
}

/// One that cannot be billed here is left to itself.
fn or_left<T>(due: &DueCursor, result: Result<T, StepError>, left: &mut Vec<DueCursor>) -> Option<T> {
    result
        .inspect_err(|error| {
            let DueCursor { tenant, subscription, period } = due;
            let (start, code) = (period.start, error.code());
            tracing::warn!(%tenant, %subscription, %start, code, %error, "a period is closed by itself");
            left.push(due.clone());
        })
        .ok()
}
