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
    period::{Period, zone},
    price::{Priced, TraceStep},
    subscription::Share,
};

/// What a price's usage came to in the period.
pub(super) struct Spent<'a> {
    pub priced: &'a Priced,
    /// What is left of that under the price's maximum, where it takes something off.
    pub at_most: Option<Amount>,
    /// All that the price costs, minimum and discount included.
    pub charged: Amount,
}

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
    spent: &Spent<'_>,
) -> Result<Vec<Line>, LineError> {
    let overflow = |overflow: Overflow| price_error(&charge.name, overflow.into());
    let windows = match (commitment.per, &charge.price.bucket) {
        (CommitmentWindow::Bucket, Some(bucket)) => bucket_windows(input, charge, commitment, bucket, spent)?,
        (CommitmentWindow::Period | CommitmentWindow::Bucket, _) => {
            let promised = charge.share().and_then(|share| share.of(commitment.amount)).map_err(overflow)?;
            let promised = currency.round(promised, RoundingPoint::InvoiceLine).map_err(overflow)?;
            let charged = match (&commitment.time_of_day, &charge.price.bucket) {
                (Some(_), Some(_)) => in_time_of_day(input, charge, commitment, spent)?,
                _ => spent.charged,
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

/// One window for each bucket of the time in which the price held, empty ones too. Of a bucket that begins or ends at another time
/// than the price, or that a pause cuts, as much is promised as was there of it.
fn bucket_windows(
    input: &InvoiceInput,
    charge: &Charge<'_>,
    commitment: &CommitmentSpec,
    bucket: &BucketSpec,
    spent: &Spent<'_>,
) -> Result<Vec<Window>, LineError> {
    let unknown = |error: crate::period::PeriodError| LineError::Buckets {
        price: charge.name.clone(),
        problem: error.to_string(),
    };
    let overflow = |overflow: Overflow| price_error(&charge.name, overflow.into());
    let buckets = Buckets::new(bucket.size, &input.time_zone).map_err(unknown)?;
    let spans = charge.spans();
    let mut starts = BTreeSet::new();
    for span in &spans {
        starts.extend(buckets.within(*span).map_err(unknown)?);
    }
    let mut windows = Vec::new();
    let mut charged = charged_by_start(charge, spent)?;
    for start in starts {
        let of_window = charged.remove(&start).unwrap_or_default();
        if counts(input, charge, commitment, start)? {
            let whole = Period { start, end: buckets.end_of(start).map_err(unknown)? };
            let promised = covered(whole, &spans).and_then(|share| share.of(commitment.amount));
            windows.push(Window { promised: promised.map_err(overflow)?, charged: of_window });
        }
    }
    Ok(windows)
}

/// How much of a bucket's time the spans cover.
fn covered(bucket: Period, spans: &[Period]) -> Result<Share, Overflow> {
    let covered = spans.iter().filter_map(|span| span.within(&bucket)).map(|part| part.micros()).sum();
    Share::new(covered, bucket.micros()).map_err(|_| Overflow)
}

/// What was charged at the times of day that count.
fn in_time_of_day(
    input: &InvoiceInput,
    charge: &Charge<'_>,
    commitment: &CommitmentSpec,
    spent: &Spent<'_>,
) -> Result<Amount, LineError> {
    let mut sum = Amount::ZERO;
    for (start, amount) in charged_by_start(charge, spent)? {
        if counts(input, charge, commitment, start)? {
            sum = sum.checked_add(amount).map_err(|overflow| price_error(&charge.name, overflow.into()))?;
        }
    }
    Ok(sum)
}

/// The groups of a bucket together: what is really spent in it, in money, under the price's maximum and after its own discount.
fn charged_by_start(
    charge: &Charge<'_>,
    spent: &Spent<'_>,
) -> Result<BTreeMap<jiff::Timestamp, Amount>, LineError> {
    let overflow = |overflow: Overflow| price_error(&charge.name, overflow.into());
    let mut charged = BTreeMap::new();
    for step in &spent.priced.trace {
        if let TraceStep::Bucket { start, amount, .. } = step {
            let sum: &mut Amount = charged.entry(*start).or_default();
            let amount = spent.of(charge.price, *amount).map_err(overflow)?;
            *sum = sum.checked_add(amount).map_err(overflow)?;
        }
    }
    Ok(charged)
}

impl Spent<'_> {
    /// What is spent of an amount of one bucket. A maximum takes the same part off each of them, as a percentage does.
    fn of(&self, price: &PriceSpec, amount: Amount) -> Result<Amount, Overflow> {
        let mut money = match &price.pricing_unit {
            Some(unit) => Amount(amount.0.checked_mul(unit.rate.0)?),
            None => amount,
        };
        if let Some(at_most) = self.at_most {
            money = Amount(money.0.checked_mul_div(at_most.0, self.priced.amount.0)?);
        }
        match price.discount.as_ref().and_then(|discount| discount.percent) {
            Some(percent) => money.checked_sub(money.percent(percent)?),
            None => Ok(money),
        }
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
