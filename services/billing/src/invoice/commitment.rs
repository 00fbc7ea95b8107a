//! Commitments: spend that was promised for a price, per period or per bucket. What is missing is charged where the plan says
//! so (`trueUp`); what is beyond costs `overageFactor` times as much.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    Line, LineRole,
    charges::Charge,
    input::InvoiceInput,
    line::{LineError, beside, price_error, title},
};
use crate::{
    bucket::{Buckets, minute_of_day},
    catalogue::{BucketSpec, CommitmentSpec, CommitmentWindow, PriceSpec},
    decimal::{Amount, Decimal, Overflow},
    money::{Currency, RoundingPoint},
    period::zone,
    price::{Priced, TraceStep},
};

/// What one promise was held against.
struct Window {
    promised: Amount,
    charged: Amount,
}

pub(super) fn lines(
    input: &InvoiceInput,
    currency: Currency,
    charge: &Charge<'_>,
    commitment: &CommitmentSpec,
    line: &Line,
    priced: &Priced,
    charged: Amount,
) -> Result<Vec<Line>, LineError> {
    let overflow = |overflow: Overflow| price_error(&charge.name, overflow.into());
    let windows = match (commitment.per, &charge.price.bucket) {
        (CommitmentWindow::Bucket, Some(bucket)) => {
            bucket_windows(input, charge, commitment, bucket, priced)?
        }
        (CommitmentWindow::Period | CommitmentWindow::Bucket, _) => {
            let promised = charge.share().and_then(|share| share.of(commitment.amount)).map_err(overflow)?;
            let promised = currency.round(promised, RoundingPoint::InvoiceLine).map_err(overflow)?;
            let charged = match (&commitment.time_of_day, &charge.price.bucket) {
                (Some(_), Some(_)) => in_time_of_day(input, charge, commitment, priced)?,
                _ => charged,
            };
            vec![Window { promised, charged }]
        }
    };
    held(currency, charge, commitment, line, &windows).map_err(overflow)
}

fn held(
    currency: Currency,
    charge: &Charge<'_>,
    commitment: &CommitmentSpec,
    line: &Line,
    windows: &[Window],
) -> Result<Vec<Line>, Overflow> {
    let surcharge = commitment.overage_factor.checked_sub(Decimal::ONE)?;
    let (mut promised, mut charged) = (Amount::ZERO, Amount::ZERO);
    let (mut missing, mut beyond) = (Amount::ZERO, Amount::ZERO);
    for window in windows {
        promised = promised.checked_add(window.promised)?;
        charged = charged.checked_add(window.charged)?;
        let rest = window.promised.checked_sub(window.charged)?;
        if rest.is_negative() {
            beyond = beyond.checked_sub(rest)?;
        } else {
            missing = missing.checked_add(rest)?;
        }
    }
    let mut lines = Vec::new();
    let shown = title(charge.price);
    let amount = currency.round(missing, RoundingPoint::InvoiceLine)?;
    if commitment.true_up && !amount.is_zero() {
        let step = TraceStep::Commitment { commitment: promised, charged, amount };
        let description = format!("{shown}: missing to the commitment of {}", currency.format(promised));
        lines.push(beside(line, LineRole::Commitment, description, amount, vec![step]));
    }
    let amount = currency.round(Amount(beyond.0.checked_mul(surcharge)?), RoundingPoint::InvoiceLine)?;
    if !amount.is_zero() {
        let factor = commitment.overage_factor;
        let step = TraceStep::Overage { commitment: promised, charged, factor, amount };
        let description = format!("{shown}: beyond the commitment, at {factor} times the price");
        lines.push(beside(line, LineRole::Overage, description, amount, vec![step]));
    }
    Ok(lines)
}

/// One window for each bucket of the time in which the price held, empty ones too.
fn bucket_windows(
    input: &InvoiceInput,
    charge: &Charge<'_>,
    commitment: &CommitmentSpec,
    bucket: &BucketSpec,
    priced: &Priced,
) -> Result<Vec<Window>, LineError> {
    let unknown = |error: crate::period::PeriodError| LineError::Buckets {
        price: charge.name.clone(),
        problem: error.to_string(),
    };
    let buckets = Buckets::new(bucket.size, &input.time_zone).map_err(unknown)?;
    // A pause within a bucket leaves two spans in it, and one promise.
    let mut starts = BTreeSet::new();
    for span in charge.spans() {
        starts.extend(buckets.within(span).map_err(unknown)?);
    }
    let mut windows = Vec::new();
    let mut charged = charged_by_start(charge, priced)?;
    for start in starts {
        let of_window = charged.remove(&start).unwrap_or_default();
        if counts(input, charge, commitment, start)? {
            windows.push(Window { promised: commitment.amount, charged: of_window });
        }
    }
    Ok(windows)
}

/// What was charged at the times of day that count.
fn in_time_of_day(
    input: &InvoiceInput,
    charge: &Charge<'_>,
    commitment: &CommitmentSpec,
    priced: &Priced,
) -> Result<Amount, LineError> {
    let mut sum = Amount::ZERO;
    for (start, amount) in charged_by_start(charge, priced)? {
        if counts(input, charge, commitment, start)? {
            sum = sum.checked_add(amount).map_err(|overflow| price_error(&charge.name, overflow.into()))?;
        }
    }
    Ok(sum)
}

/// The groups of a bucket together: what is really spent in it, in money and after the price's own discount.
fn charged_by_start(
    charge: &Charge<'_>,
    priced: &Priced,
) -> Result<BTreeMap<jiff::Timestamp, Amount>, LineError> {
    let overflow = |overflow: Overflow| price_error(&charge.name, overflow.into());
    let mut charged = BTreeMap::new();
    for step in &priced.trace {
        if let TraceStep::Bucket { start, amount, .. } = step {
            let sum: &mut Amount = charged.entry(*start).or_default();
            *sum = sum.checked_add(spent(charge.price, *amount).map_err(overflow)?).map_err(overflow)?;
        }
    }
    Ok(charged)
}

fn spent(price: &PriceSpec, amount: Amount) -> Result<Amount, Overflow> {
    let money = match &price.pricing_unit {
        Some(unit) => Amount(amount.0.checked_mul(unit.rate.0)?),
        None => amount,
    };
    match price.discount.as_ref().and_then(|discount| discount.percent) {
        Some(percent) => money.checked_sub(money.percent(percent)?),
        None => Ok(money),
    }
}

fn counts(
    input: &InvoiceInput,
    charge: &Charge<'_>,
    commitment: &CommitmentSpec,
    start: jiff::Timestamp,
) -> Result<bool, LineError> {
    let Some(window) = &commitment.time_of_day else { return Ok(true) };
    let zone = zone(&input.time_zone)
        .map_err(|error| LineError::Buckets { price: charge.name.clone(), problem: error.to_string() })?;
    Ok(window.contains(minute_of_day(start, &zone))?)
}
