//! From the lines of the prices to a total: coupons, credits, taxes.
//!
//! They look at what each price comes to, not at single lines: a usage line and what its maximum or its own discount takes off
//! are one amount ([`Charged`]), so that a coupon does not give a share of what is not asked for. A plan's maximum is spread
//! over its prices by their weight. What is given back (a negative amount) takes no discount and no credit, and lowers the tax.
//!
//! Credits are facts, not computed here: a ledger decides once which grant pays what ([`burnable`] is what it is asked to
//! pay), and the invoice is computed with its answer, now and whenever it is computed again.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{ComputedInvoice, InvoiceError, InvoiceInput, Line, LineRole, PriceLines};
use crate::{
    allocation::allocate,
    coupon::{self, CouponSpec, Discount, DiscountableLine},
    decimal::{Amount, Overflow, Quantity},
    ids::{PlanName, PriceName},
    ledger::{Burn, BurnableLine, Burned},
    money::Currency,
    price::TraceStep,
    tax::{self, TaxRateSpec, TaxRounding, TaxableLine, Taxes},
};

/// What is taken off and added after the lines of the prices.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Adjustments {
    /// Those that hold in this period, in the order in which they were redeemed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub coupons: Vec<CouponSpec>,
    /// What the customer's ledger took over of [`burnable`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credits: Option<Burned>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tax_rates: Vec<TaxRateSpec>,
    #[serde(default)]
    pub tax_rounding: TaxRounding,
}

impl Adjustments {
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// What one price comes to on an invoice, from its lines to what is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Charged {
    pub plan: PlanName,
    pub price: PriceName,
    /// Its lines together, its own discount and its share of the plan's maximum off.
    pub net: Amount,
    /// What coupons take off; not negative.
    pub discounts: Amount,
    /// What credits pay or carry; not negative.
    pub credits: Amount,
    /// Its share of all taxes, those within the amount too.
    pub tax: Amount,
}

/// What grants are asked to pay: each price's amount after discounts, in the order in which a [`Burned`] answers.
pub fn burnable(input: &InvoiceInput) -> Result<Vec<BurnableLine>, InvoiceError> {
    let lines = super::lines(input)?;
    let charged = discounted(input, lines.currency, charged(&lines)?)?.0;
    charged
        .iter()
        .map(|charged| Ok(BurnableLine { price: charged.price.clone(), amount: left(charged)? }))
        .collect()
}

pub(super) fn settle(input: &InvoiceInput, lines: PriceLines) -> Result<ComputedInvoice, InvoiceError> {
    let (charged, discounts) = discounted(input, lines.currency, charged(&lines)?)?;
    let PriceLines { currency, mut lines, of_plans: _ } = lines;
    let charged = credited(input, charged)?;
    let (charged, taxes) = taxed(input, currency, charged)?;
    for discount in discounts.iter().filter(|discount| !discount.amount.is_zero()) {
        lines.push(coupon_line(input, currency, discount)?);
    }
    if let Some(burned) = &input.adjustments.credits {
        for burn in &burned.burns {
            lines.push(grant_line(input, burn)?);
        }
        lines.extend(carried_lines(input, &charged, burned)?);
    }
    for applied in taxes.taxes.iter().filter(|applied| !applied.inclusive && !applied.amount.is_zero()) {
        lines.push(tax_line(input, applied)?);
    }
    let sum = |wanted: fn(LineRole) -> bool| {
        Amount::checked_sum(lines.iter().filter(|line| wanted(line.role)).map(|line| line.amount))
    };
    let subtotal = sum(|role| !matches!(role, LineRole::Discount | LineRole::Credit | LineRole::Tax))?;
    let discounts = sum(|role| role == LineRole::Discount)?.negated();
    let credits = sum(|role| role == LineRole::Credit)?.negated();
    Ok(ComputedInvoice {
        currency,
        subtotal,
        discounts,
        credits,
        tax: taxes.added,
        total: subtotal.checked_sub(discounts)?.checked_sub(credits)?.checked_add(taxes.added)?,
        taxes: taxes.taxes,
        charged,
        lines,
    })
}

/// What is left of a price to pay, before taxes that are added.
fn left(charged: &Charged) -> Result<Amount, Overflow> {
    charged.net.checked_sub(charged.discounts)?.checked_sub(charged.credits)
}

/// What each price comes to, in the order of the lines.
fn charged(lines: &PriceLines) -> Result<Vec<Charged>, InvoiceError> {
    let PriceLines { currency, lines, of_plans } = lines;
    let mut sums = Sums::default();
    let mut capped = Vec::new();
    for (index, line) in lines.iter().enumerate() {
        let Some(plan) = &line.plan else { continue };
        if line.role == LineRole::Maximum && of_plans.contains(&index) {
            capped.push((plan, line));
        } else {
            sums.add(plan, line)?;
        }
    }
    for (plan, line) in capped {
        if sums.charged.iter().any(|charged| charged.plan == *plan && charged.net > Amount::ZERO) {
            spread(*currency, &mut sums.charged, plan, line.amount)?;
        } else {
            // All that it is taken off was on earlier invoices.
            sums.add(plan, line)?;
        }
    }
    Ok(sums.charged)
}

/// What each price comes to so far.
#[derive(Default)]
struct Sums<'a> {
    charged: Vec<Charged>,
    /// Where each is.
    places: BTreeMap<(&'a PlanName, &'a PriceName), usize>,
}

impl<'a> Sums<'a> {
    fn add(&mut self, plan: &'a PlanName, line: &'a Line) -> Result<(), InvoiceError> {
        match self.places.get(&(plan, &line.price)) {
            Some(place) => {
                let known = &mut self.charged[*place];
                known.net = known.net.checked_add(line.amount)?;
            }
            None => {
                self.places.insert((plan, &line.price), self.charged.len());
                self.charged.push(Charged {
                    plan: plan.clone(),
                    price: line.price.clone(),
                    net: line.amount,
                    discounts: Amount::ZERO,
                    credits: Amount::ZERO,
                    tax: Amount::ZERO,
                });
            }
        }
        Ok(())
    }
}

/// Takes a plan's maximum off its prices, by the weight of each.
fn spread(
    currency: Currency,
    all: &mut [Charged],
    plan: &PlanName,
    taken: Amount,
) -> Result<(), InvoiceError> {
    let weights: Vec<Amount> = all
        .iter()
        .map(|charged| if charged.plan == *plan { charged.net.max(Amount::ZERO) } else { Amount::ZERO })
        .collect();
    let shares =
        allocate(taken, &weights, currency).map_err(|error| InvoiceError::Adjustment(error.to_string()))?;
    for (charged, share) in all.iter_mut().zip(shares) {
        charged.net = charged.net.checked_add(share)?;
    }
    Ok(())
}

fn discounted(
    input: &InvoiceInput,
    currency: Currency,
    mut charged: Vec<Charged>,
) -> Result<(Vec<Charged>, Vec<Discount>), InvoiceError> {
    let lines: Vec<DiscountableLine> = charged
        .iter()
        .map(|charged| DiscountableLine { price: charged.price.clone(), amount: charged.net })
        .collect();
    let discounts = coupon::apply(&input.adjustments.coupons, &lines, currency)
        .map_err(|error| InvoiceError::Adjustment(error.to_string()))?;
    for discount in &discounts {
        for (charged, share) in charged.iter_mut().zip(&discount.shares) {
            charged.discounts = charged.discounts.checked_add(*share)?;
        }
    }
    Ok((charged, discounts))
}

/// The ledger's answer belongs to exactly these amounts, and pays no more than them.
fn credited(input: &InvoiceInput, mut charged: Vec<Charged>) -> Result<Vec<Charged>, InvoiceError> {
    let Some(burned) = &input.adjustments.credits else { return Ok(charged) };
    let answers = burned.burns.iter().map(|burn| &burn.shares).chain([&burned.carried]);
    for shares in answers {
        if shares.len() != charged.len() {
            return Err(InvoiceError::Adjustment("the ledger's answer is to other amounts".to_owned()));
        }
        for (charged, share) in charged.iter_mut().zip(shares) {
            charged.credits = charged.credits.checked_add(*share)?;
        }
    }
    for charged in &charged {
        if !charged.credits.is_zero() && left(charged)?.is_negative() {
            let problem = format!("credits pay more for price {} than it comes to", charged.price);
            return Err(InvoiceError::Adjustment(problem));
        }
    }
    Ok(charged)
}

fn taxed(
    input: &InvoiceInput,
    currency: Currency,
    mut charged: Vec<Charged>,
) -> Result<(Vec<Charged>, Taxes), InvoiceError> {
    let lines = charged
        .iter()
        .map(|charged| Ok(TaxableLine { price: charged.price.clone(), amount: left(charged)? }))
        .collect::<Result<Vec<_>, Overflow>>()?;
    let Adjustments { coupons: _, credits: _, tax_rates, tax_rounding } = &input.adjustments;
    let taxes = tax::apply(tax_rates, *tax_rounding, &lines, currency)
        .map_err(|error| InvoiceError::Adjustment(error.to_string()))?;
    for (charged, tax) in charged.iter_mut().zip(&taxes.per_line) {
        charged.tax = *tax;
    }
    Ok((charged, taxes))
}

fn coupon_line(input: &InvoiceInput, currency: Currency, discount: &Discount) -> Result<Line, InvoiceError> {
    let coupon = input.adjustments.coupons.iter().find(|coupon| coupon.name == discount.coupon);
    let what = match coupon.map(|coupon| (coupon.percent, coupon.amount)) {
        Some((Some(percent), _)) => format!("{percent} % off"),
        Some((None, Some(amount))) => format!("{} off", currency.format(amount)),
        Some((None, None)) | None => "off".to_owned(),
    };
    let amount = discount.amount.negated();
    let description = format!("Coupon {}: {what}", discount.coupon);
    line(
        input,
        discount.coupon.as_str(),
        LineRole::Discount,
        description,
        amount,
        TraceStep::Coupon { amount },
    )
}

fn grant_line(input: &InvoiceInput, burn: &Burn) -> Result<Line, InvoiceError> {
    let amount = burn.amount.negated();
    let description = format!("Credit {}", burn.grant.name);
    let step = TraceStep::Credit { effective_at: burn.grant.effective_at, amount };
    line(input, burn.grant.name.as_str(), LineRole::Credit, description, amount, step)
}

/// What no grant covered and the ledger carries: not asked for now.
fn carried_lines(
    input: &InvoiceInput,
    charged: &[Charged],
    burned: &Burned,
) -> Result<Vec<Line>, InvoiceError> {
    let carried = charged.iter().zip(&burned.carried).filter(|(_, carried)| !carried.is_zero());
    carried
        .map(|(charged, carried)| {
            let amount = carried.negated();
            let description = format!("{}: carried, for the next credits to pay", charged.price);
            line(
                input,
                charged.price.as_str(),
                LineRole::Credit,
                description,
                amount,
                TraceStep::Carried { amount },
            )
        })
        .collect()
}

fn tax_line(input: &InvoiceInput, applied: &tax::AppliedTax) -> Result<Line, InvoiceError> {
    let tax::AppliedTax { name, percent, inclusive: _, base, amount, shares: _ } = applied;
    let step = TraceStep::Tax { percent: *percent, base: *base, amount: *amount };
    line(input, name.as_str(), LineRole::Tax, format!("{name} {percent} %"), *amount, step)
}

/// A line that comes from no price.
fn line(
    input: &InvoiceInput,
    name: &str,
    role: LineRole,
    description: String,
    amount: Amount,
    step: TraceStep,
) -> Result<Line, InvoiceError> {
    Ok(Line {
        plan: None,
        // Names of coupons, grants and tax rates keep to the rules of a price's name.
        price: PriceName::new(name).map_err(|problem| InvoiceError::Adjustment(problem.to_string()))?,
        role,
        description,
        meter: None,
        meter_version: None,
        period: input.period,
        quantity: Quantity::ONE,
        unit_amount: Some(amount),
        amount,
        trace: vec![step],
    })
}
