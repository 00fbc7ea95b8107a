//! What coupons and taxes look at. Not single lines: a usage line and what its bounds and its own discount take off are one
//! amount, so that a coupon does not give a share of what is not asked for. And not all lines of a price together: two periods of
//! a flat amount are two lines, and what is given back of one does not make the discount of the other smaller.
//!
//! A plan's maximum is spread over the prices of the period by their weight; what it gives back of earlier invoices, over what
//! they charged.

use std::{collections::BTreeMap, ops::Range};

use super::{
    InvoiceError, Line, LineRole, PriceLines,
    paid::{How, Paid},
};
use crate::{
    allocation::allocate,
    decimal::Amount,
    ids::{PlanName, PriceName},
    money::Currency,
    period::Period,
    price::TraceStep,
};

/// Lines of one price and time as one amount.
#[derive(Debug, Clone)]
pub(super) struct Portion {
    pub of: Of,
    pub plan: PlanName,
    /// For a plan's bounds, the plan's name.
    pub price: PriceName,
    pub period: Period,
    pub net: Amount,
    /// Whether it is less by what was charged in advance.
    pub settles: bool,
}

/// What a portion is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Of {
    Period,
    /// The plan as a whole, in the period.
    Plan,
    /// An earlier period.
    Late,
    /// The next period, in advance.
    Ahead,
}

impl Portion {
    /// The price as a list of prices may name it; none where it is about a plan as a whole.
    pub fn named(&self) -> Option<PriceName> {
        match self.of {
            Of::Plan => None,
            Of::Period | Of::Late | Of::Ahead => Some(self.price.clone()),
        }
    }

    fn is_of(&self, paid: &Paid) -> bool {
        match paid.how {
            How::OnTheWay(period) => period == self.period,
            How::InAdvance | How::AtStart => self.settles,
        }
    }

    /// What was charged before of what it gives back.
    pub fn paid<'a>(&'a self, paid: &'a [Paid]) -> impl Iterator<Item = &'a Paid> {
        let of_period = self.of == Of::Period;
        paid.iter().filter(move |paid| {
            of_period && paid.plan == self.plan && paid.price == self.price && self.is_of(paid)
        })
    }
}

/// All portions, in the order of the lines.
pub(super) fn portions(lines: &PriceLines) -> Result<Vec<Portion>, InvoiceError> {
    let PriceLines { currency, lines, of_plans, late, paid } = lines;
    let mut sums = Sums::default();
    let mut capped = Vec::new();
    for (index, line) in lines.iter().enumerate() {
        let Some(plan) = &line.plan else { continue };
        if line.role == LineRole::Maximum && of_plans.contains(&index) {
            capped.push((plan, line));
        } else {
            sums.add(of(index, of_plans, late), plan, line, line.amount)?;
        }
    }
    for (plan, line) in capped {
        spread(*currency, &mut sums, plan, line, paid)?;
    }
    let mut portions = sums.portions;
    lower_by_what_is_late(&mut portions)?;
    Ok(portions)
}

fn of(index: usize, of_plans: &Range<usize>, late: &Range<usize>) -> Of {
    match index {
        _ if index < of_plans.start => Of::Period,
        _ if of_plans.contains(&index) => Of::Plan,
        _ if late.contains(&index) => Of::Late,
        _ => Of::Ahead,
    }
}

/// The portions so far.
#[derive(Default)]
struct Sums<'a> {
    portions: Vec<Portion>,
    places: BTreeMap<(Of, &'a PlanName, &'a PriceName, Period), usize>,
}

impl<'a> Sums<'a> {
    fn add(
        &mut self,
        of: Of,
        plan: &'a PlanName,
        line: &'a Line,
        amount: Amount,
    ) -> Result<(), InvoiceError> {
        let settles = line.trace.iter().any(|step| matches!(step, TraceStep::ChargedInAdvance { .. }));
        self.put(of, plan, &line.price, line.period, amount, settles)
    }

    fn put(
        &mut self,
        of: Of,
        plan: &'a PlanName,
        price: &'a PriceName,
        period: Period,
        amount: Amount,
        settles: bool,
    ) -> Result<(), InvoiceError> {
        match self.places.get(&(of, plan, price, period)) {
            Some(place) => {
                let known = &mut self.portions[*place];
                known.net = known.net.checked_add(amount)?;
                known.settles |= settles;
            }
            None => {
                self.places.insert((of, plan, price, period), self.portions.len());
                let (plan, price) = (plan.clone(), price.clone());
                self.portions.push(Portion { of, plan, price, period, net: amount, settles });
            }
        }
        Ok(())
    }
}

/// Takes a plan's maximum off what its prices cost here, by the weight of each, and what is more off what they were charged
/// before. Where earlier invoices took off too much, it is the other way round: it makes what prices give back smaller.
fn spread<'a>(
    currency: Currency,
    sums: &mut Sums<'a>,
    plan: &'a PlanName,
    line: &'a Line,
    paid: &'a [Paid],
) -> Result<(), InvoiceError> {
    let weight = |portion: &Portion| match (portion.of, portion.plan == *plan) {
        (Of::Period, true) if line.amount.is_negative() => portion.net.max(Amount::ZERO),
        (Of::Period, true) => portion.net.negated().max(Amount::ZERO),
        (Of::Period | Of::Plan | Of::Late | Of::Ahead, _) => Amount::ZERO,
    };
    let weights: Vec<Amount> = sums.portions.iter().map(weight).collect();
    let most = Amount::checked_sum(weights.iter().copied())?;
    let here = line.amount.min(most).max(most.negated());
    for (portion, share) in sums.portions.iter_mut().zip(split(here, &weights, currency)?) {
        portion.net = portion.net.checked_add(share)?;
    }
    let rest = line.amount.checked_sub(here)?;
    if rest.is_zero() {
        return Ok(());
    }
    let of_plan: Vec<&Paid> =
        paid.iter().filter(|paid| paid.plan == *plan && paid.net > Amount::ZERO).collect();
    if of_plan.is_empty() || !rest.is_negative() {
        return sums.add(Of::Plan, plan, line, rest);
    }
    let weights: Vec<Amount> = of_plan.iter().map(|paid| paid.net).collect();
    for (paid, share) in of_plan.into_iter().zip(split(rest, &weights, currency)?) {
        let (period, settles) = match paid.how {
            How::OnTheWay(period) => (period, false),
            How::InAdvance | How::AtStart => (line.period, true),
        };
        sums.put(Of::Period, plan, &paid.price, period, share, settles)?;
    }
    Ok(())
}

fn split(total: Amount, weights: &[Amount], currency: Currency) -> Result<Vec<Amount>, InvoiceError> {
    allocate(total, weights, currency).map_err(|error| InvoiceError::Adjustment(error.to_string()))
}

/// What is given back of an earlier period lowers what the same price costs now, so that coupons see it: they are those of this
/// invoice.
fn lower_by_what_is_late(portions: &mut [Portion]) -> Result<(), InvoiceError> {
    let late: Vec<usize> = (0..portions.len()).filter(|place| portions[*place].of == Of::Late).collect();
    for late in late {
        for other in 0..portions.len() {
            let (given_back, asked) = (&portions[late], &portions[other]);
            let is_same = given_back.plan == asked.plan && given_back.price == asked.price;
            if asked.of == Of::Plan || !is_same {
                continue;
            }
            let moved = given_back.net.negated().min(asked.net);
            if moved > Amount::ZERO {
                portions[other].net = portions[other].net.checked_sub(moved)?;
                portions[late].net = portions[late].net.checked_add(moved)?;
            }
        }
    }
    Ok(())
}
