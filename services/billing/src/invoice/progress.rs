//! Several invoices of one period: one at the subscription's start, and usage that reached a threshold is billed before the period
//! ends. Each later invoice charges what those before it did not. Neighbours: usage.rs prices `billed_before`, subscription/threshold.rs says when.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::{
    Adjustments, AdvanceCharge, ComputedInvoice, DiscountedUsage, InvoiceError, InvoiceInput, InvoiceKind,
    LineError, LineRole, Metered, PlanCap, PriceUsage, adjustments::discounted_usage, charged_ahead, compute,
    metered,
};
use crate::{
    ENGINE_VERSION,
    decimal::Amount,
    ids::{CouponName, PlanName},
    period::Period,
};

/// What earlier invoices of a period charged and gave.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Progress {
    /// What the latest of them counted; it holds what the ones before it counted.
    counted: Vec<Counted>,
    /// What coupons of a fixed amount gave already.
    given: BTreeMap<CouponName, Amount>,
    /// What the maximums of plans took off; negative.
    capped: BTreeMap<PlanName, Amount>,
    /// What the invoice at the subscription's start charged.
    at_start: Vec<AdvanceCharge>,
    invoices: u32,
}

/// What an invoice counted for one price. A change within the period leaves several of one name, each of its own time.
#[derive(Debug, Clone, PartialEq)]
struct Counted {
    /// When its price began to hold. Later changes may end that time earlier than the invoice knew, and begin others.
    from: Option<Timestamp>,
    usage: PriceUsage,
    /// What was charged for it so far, where coupons took something off.
    discounted: Option<DiscountedUsage>,
}

impl Progress {
    /// The next invoice of the period, in their order.
    pub fn add(&mut self, input: &InvoiceInput, invoice: &ComputedInvoice) -> Result<(), InvoiceError> {
        let of_coupons = |line: &&super::Line| line.role == LineRole::Discount && line.plan.is_none();
        for line in invoice.lines.iter().filter(of_coupons) {
            let name = CouponName::new(line.price.as_str())
                .map_err(|problem| InvoiceError::Adjustment(problem.to_string()))?;
            let given = self.given.entry(name).or_default();
            *given = given.checked_sub(line.amount)?;
        }
        // By this release's engine, whichever computed it.
        let input = &InvoiceInput { engine_version: ENGINE_VERSION, ..input.clone() };
        self.invoices += 1;
        if input.kind == InvoiceKind::Opening {
            self.at_start = charged_ahead(input)?;
            return Ok(());
        }
        let lines = super::lines(input)?;
        let of_plans = lines.lines[lines.of_plans.clone()].iter();
        for line in of_plans.filter(|line| line.role == LineRole::Maximum) {
            let Some(plan) = &line.plan else { continue };
            let capped = self.capped.entry(plan.clone()).or_default();
            *capped = capped.checked_add(line.amount)?;
        }
        // An engine before this one billed prices that began to hold after the cutoff as well.
        let discounted = discounted_usage(input, &lines)?.into_iter().chain(std::iter::repeat(None));
        self.counted = spans(input)?
            .zip(&input.usage)
            .zip(discounted)
            .map(|((spans, usage), discounted)| Counted {
                from: spans.first().map(|span| span.start),
                usage: usage.clone(),
                discounted,
            })
            .collect();
        Ok(())
    }

    /// How many invoices of the period there are already.
    pub fn invoices(&self) -> u32 {
        self.invoices
    }

    /// What is left for one more invoice: usage that was not billed, what the invoice at the start did not charge, what maximums of
    /// plans did not take off, and of a coupon's fixed amount, which is given once a period however many invoices the period has,
    /// what was not given. What the period before charged in advance is there already.
    pub fn take_off(&self, input: &mut InvoiceInput) -> Result<(), InvoiceError> {
        let spans: Vec<Vec<Period>> = spans(input)?.collect();
        for (place, before) in self.matched(&spans, &input.usage) {
            input.usage[place].billed_before = Some(before.usage.usage.clone());
            input.usage[place].discounted_before.clone_from(&before.discounted);
        }
        input.charged_in_advance.extend(self.at_start.iter().cloned());
        if self.invoices > 0 {
            let caps =
                self.capped.iter().map(|(plan, amount)| PlanCap { plan: plan.clone(), amount: *amount });
            input.capped_before = Some(caps.collect());
        }
        for coupon in &mut input.adjustments.coupons {
            if let (Some(amount), Some(given)) = (&mut coupon.amount, self.given.get(&coupon.name)) {
                *amount = amount.checked_sub(*given)?.max(Amount::ZERO);
            }
        }
        Ok(())
    }

    /// Of each price that was counted, the place in `usage` of the one that it is taken off, no two of them the same: the price
    /// that begins to hold at the same instant, or else the one that holds then now.
    fn matched(&self, spans: &[Vec<Period>], usage: &[PriceUsage]) -> Vec<(usize, &Counted)> {
        let mut free: Vec<bool> = vec![true; usage.len()];
        let mut left: Vec<&Counted> = self.counted.iter().collect();
        let mut matched = Vec::new();
        for is_same_time in [begin_at as fn(&[Period], Timestamp) -> bool, hold_at] {
            left.retain(|counted| {
                let is_of = |(place, told): &(usize, &PriceUsage)| {
                    free[*place]
                        && told.plan == counted.usage.plan
                        && told.price == counted.usage.price
                        && counted.from.is_some_and(|from| is_same_time(&spans[*place], from))
                };
                let Some((place, _)) = usage.iter().enumerate().find(is_of) else { return true };
                free[place] = false;
                matched.push((place, *counted));
                false
            });
        }
        matched
    }
}

fn begin_at(spans: &[Period], at: Timestamp) -> bool {
    spans.first().is_some_and(|span| span.start == at)
}

fn hold_at(spans: &[Period], at: Timestamp) -> bool {
    spans.iter().any(|span| span.contains(at))
}

/// When each price holds that usage is told for, in the order of `input.usage`.
fn spans(input: &InvoiceInput) -> Result<impl Iterator<Item = Vec<Period>>, LineError> {
    let spans: Vec<_> = metered(&input.segments)?.into_iter().map(|Metered { spans, .. }| spans).collect();
    match input.usage.get(spans.len()) {
        Some(unknown) => Err(LineError::UnknownUsage(unknown.price.clone())),
        None => Ok(spans.into_iter()),
    }
}

/// What all usage of the input comes to, billed before or not, without discounts by coupons, credits and taxes: what is held
/// against a threshold.
pub fn usage_amount(input: &InvoiceInput) -> Result<Amount, InvoiceError> {
    let mut whole = input.clone();
    whole.kind = InvoiceKind::Progressive;
    whole.adjustments = Adjustments::default();
    whole.capped_before = None;
    for usage in &mut whole.usage {
        *usage = usage.whole();
    }
    Ok(compute(&whole)?.total)
}
