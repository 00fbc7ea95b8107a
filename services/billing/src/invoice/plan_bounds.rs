//! The least and the most that all prices of a plan cost together in a period.
//!
//! Held against what the plan costs for this period: its lines here, what earlier invoices charged for the period in advance
//! or, by thresholds, on the way, and not what this one charges in advance for the next.

use super::{
    Line, LineRole,
    charges::Charge,
    input::{InvoiceInput, InvoiceKind},
    line::{LineError, currency_of, price_error},
    paid::Paid,
};
use crate::{
    catalogue::PlanSpec,
    decimal::{Amount, Overflow, Quantity},
    ids::{PlanName, PriceName},
    money::RoundingPoint,
    period::Period,
    price::TraceStep,
    subscription::{SegmentState, Share},
};

/// An invoice on the way keeps to the maximum too, and each takes off what the ones before it did not: or a coupon or a credit
/// would be spent on what is given back at the end. What is missing to a minimum is known at the end alone.
pub(super) fn lines(
    input: &InvoiceInput,
    charges: &[Charge<'_>],
    lines: &[Line],
    paid: &[Paid],
) -> Result<Vec<Line>, LineError> {
    let currency = currency_of(input)?;
    let mut bounds = Vec::new();
    for (plan, spec, share) in plans(input)? {
        if spec.minimum.is_none() && spec.maximum.is_none() && input.capped_before.is_none() {
            continue;
        }
        let overflow = |overflow| in_plan(plan, overflow);
        let bound = |bound: Option<Amount>| {
            bound
                .map(|bound| currency.round(share.of(bound)?, RoundingPoint::InvoiceLine))
                .transpose()
                .map_err(overflow)
        };
        let of_plan = Spend::of(input, plan, lines, paid).map_err(overflow)?;
        let hull = charges.iter().find(|charge| charge.plan == plan).map_or(input.period, Charge::hull);
        let title = spec.description.as_deref().unwrap_or(plan.as_str());
        let mut push = |role, words: &str, amount: Amount, trace| -> Result<(), LineError> {
            bounds.push(line(plan, role, format!("{title}: {words}"), hull, amount, trace)?);
            Ok(())
        };
        let maximum = bound(spec.maximum)?;
        let (amount, trace) = of_plan.beyond(maximum).map_err(overflow)?;
        if !amount.is_zero() {
            let words = match maximum {
                Some(maximum) => format!("maximum of {}", currency.format(maximum)),
                None => "maximum that holds no more".to_owned(),
            };
            push(LineRole::Maximum, &words, amount, trace)?;
        }
        if let Some(minimum) = bound(spec.minimum)?.filter(|_| input.kind == InvoiceKind::Period) {
            let charged = of_plan.charged;
            let amount = minimum.checked_sub(charged).map_err(overflow)?;
            if amount > Amount::ZERO {
                let trace = vec![TraceStep::Minimum { minimum, charged, amount }];
                let words = format!("minimum of {}", currency.format(minimum));
                push(LineRole::Minimum, &words, amount, trace)?;
            }
        }
    }
    Ok(bounds)
}

/// What a plan costs for the period so far.
struct Spend {
    charged: Amount,
    taken: Taken,
}

/// What earlier invoices of the period took off by the plan's maximum.
enum Taken {
    /// So much, negative. The maximum may be another one by now.
    Amount(Amount),
    /// What the maximum makes of what was charged before.
    Beyond(Amount),
}

impl Spend {
    fn of(input: &InvoiceInput, plan: &PlanName, lines: &[Line], paid: &[Paid]) -> Result<Self, Overflow> {
        let here = lines.iter().filter(|line| line.plan.as_ref() == Some(plan)).map(|line| line.amount);
        let before = paid.iter().filter(|paid| paid.plan == *plan).map(|paid| paid.amount);
        let before = Amount::checked_sum(before)?;
        let charged = Amount::checked_sum(here.chain([before]))?;
        let is_on_the_way = input.usage.iter().any(|usage| usage.billed_before.is_some());
        let taken = match &input.capped_before {
            Some(caps) => {
                let of_plan = caps.iter().filter(|cap| cap.plan == *plan);
                Taken::Amount(Amount::checked_sum(of_plan.map(|cap| cap.amount))?)
            }
            // What was charged in advance was held against the maximum by no invoice, until one on the way is there.
            None if is_on_the_way => Taken::Beyond(before),
            None => Taken::Amount(Amount::ZERO),
        };
        Ok(Self { charged, taken })
    }

    /// What is beyond the maximum, negative, less what earlier invoices took off.
    fn beyond(&self, maximum: Option<Amount>) -> Result<(Amount, Vec<TraceStep>), Overflow> {
        let beyond = |charged| match maximum {
            Some(maximum) => maximum.checked_sub(charged).map(|rest| rest.min(Amount::ZERO)),
            None => Ok(Amount::ZERO),
        };
        let amount = beyond(self.charged)?;
        let taken = match self.taken {
            Taken::Amount(taken) => taken,
            Taken::Beyond(before) => beyond(before)?,
        };
        let step = |maximum| TraceStep::Maximum { maximum, charged: self.charged, amount };
        let mut trace: Vec<TraceStep> = maximum.map(step).into_iter().collect();
        if !taken.is_zero() {
            trace.push(TraceStep::BilledBefore { quantity: Quantity::ZERO, amount: taken.negated() });
        }
        Ok((amount.checked_sub(taken)?, trace))
    }
}

/// Each plan of the period with the share of it in which it held. Of several versions the last one's bounds hold.
fn plans(input: &InvoiceInput) -> Result<Vec<(&PlanName, &PlanSpec, Share)>, LineError> {
    let mut plans: Vec<(&PlanName, &PlanSpec, Share)> = Vec::new();
    for segment in input.segments.iter().filter(|segment| segment.state == SegmentState::Active) {
        for plan in std::iter::once(&segment.terms.plan).chain(&segment.terms.add_ons) {
            match plans.iter_mut().find(|(name, _, _)| **name == plan.name) {
                Some((_, spec, share)) => {
                    *spec = &plan.spec;
                    *share =
                        share.checked_add(segment.share).map_err(|overflow| in_plan(&plan.name, overflow))?;
                }
                None => plans.push((&plan.name, &plan.spec, segment.share)),
            }
        }
    }
    Ok(plans)
}

fn line(
    plan: &PlanName,
    role: LineRole,
    description: String,
    period: Period,
    amount: Amount,
    trace: Vec<TraceStep>,
) -> Result<Line, LineError> {
    Ok(Line {
        plan: Some(plan.clone()),
        price: named(plan)?,
        role,
        description,
        meter: None,
        meter_version: None,
        period,
        quantity: Quantity::ONE,
        unit_amount: Some(amount),
        amount,
        trace,
    })
}

/// A plan's name is fit to be a price's: both are DNS names.
fn named(plan: &PlanName) -> Result<PriceName, LineError> {
    PriceName::new(plan.as_str()).map_err(|problem| {
        let code = crate::catalogue::SpecErrorCode::InvalidName;
        crate::catalogue::SpecError::new("plan", code, problem.to_string()).into()
    })
}

fn in_plan(plan: &PlanName, overflow: Overflow) -> LineError {
    match named(plan) {
        Ok(name) => price_error(&name, overflow.into()),
        Err(error) => error,
    }
}
