//! What earlier invoices charged for this period, and what coupons took off it: so that what is given back is what was paid.
//!
//! A charge is given back by a negative line. Where it was discounted, the same part of its discount is taken back, whatever the
//! coupons of this invoice are: one that was for the first period alone does not make a refund larger than the payment.
//!
//! - Charged in advance: what is given back takes its part of each coupon along.
//! - Billed within the period, at its start or at a threshold: a percentage, likewise. A coupon of a fixed amount is for the whole
//!   period: it stays as far as the period has something left that it may be taken off, of whichever price (see `take_fixed_back` in
//!   adjustments.rs).
//!
//! What then is left of it goes back the way it was paid: the part that credits paid, or that was carried, is no money.

use serde::{Deserialize, Serialize};

use super::{
    InvoiceError, LineError, PriceUsage,
    charges::Charge,
    input::{AdvanceCharge, InvoiceInput},
    usage,
};
use crate::{
    allocation::allocate,
    decimal::{Amount, Overflow},
    ids::{CouponName, PlanName, PriceName},
    ledger::CreditShare,
    money::{Currency, RoundingPoint},
    period::Period,
};

/// What a coupon took off an amount that was charged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CouponShare {
    pub coupon: CouponName,
    /// Positive, in minor units.
    pub amount: Amount,
    /// Whether the coupon is a fixed amount, which is given once a period whatever is billed in it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub fixed: bool,
}

/// What coupons took off what was charged for some usage.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DiscountedUsage {
    /// What was charged, before coupons; what a plan's maximum took off is off.
    pub amount: Amount,
    pub discounts: Vec<CouponShare>,
    /// What of the rest was not paid in money.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub credits: Vec<CreditShare>,
}

/// What one price was charged before.
#[derive(Debug, Clone)]
pub(super) struct Paid {
    pub plan: PlanName,
    pub price: PriceName,
    pub how: How,
    /// As the price alone says.
    pub amount: Amount,
    /// What a plan's maximum took off is off.
    pub net: Amount,
    /// What coupons took off `net`.
    pub discounts: Vec<CouponShare>,
    /// What of the rest was not paid in money.
    pub credits: Vec<CreditShare>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum How {
    InAdvance,
    /// By the invoice at the subscription's start.
    AtStart,
    /// By invoices at thresholds; the time of the price's line.
    OnTheWay(Period),
}

impl Paid {
    pub fn in_advance(charged: &AdvanceCharge) -> Self {
        let AdvanceCharge { plan, price, amount, discounts, credits, at_start } = charged.clone();
        let how = if at_start { How::AtStart } else { How::InAdvance };
        Self { plan, price, how, amount, net: amount, discounts, credits }
    }

    pub fn on_the_way(
        input: &InvoiceInput,
        charge: &Charge<'_>,
        given: &PriceUsage,
    ) -> Result<Self, LineError> {
        let amount = usage::billed_before(input, charge, given)?;
        let (net, discounts, credits) = match &given.discounted_before {
            Some(DiscountedUsage { amount, discounts, credits }) => {
                (*amount, discounts.clone(), credits.clone())
            }
            None => (amount, Vec::new(), Vec::new()),
        };
        let how = How::OnTheWay(charge.hull());
        Ok(Self {
            plan: charge.plan.clone(),
            price: charge.name.clone(),
            how,
            amount,
            net,
            discounts,
            credits,
        })
    }

    /// What coupons have back where so much (positive) of the amount is given back, but for fixed ones of the same period.
    pub fn taken_back(
        &self,
        given_back: Amount,
        currency: Currency,
    ) -> Result<Vec<CouponShare>, InvoiceError> {
        let given_back = given_back.min(self.net);
        let all = |fixed: Option<bool>| {
            let of_kind =
                self.discounts.iter().filter(|share| fixed.is_none_or(|fixed| share.fixed == fixed));
            Amount::checked_sum(of_kind.map(|share| share.amount))
        };
        if given_back <= Amount::ZERO {
            return Ok(Vec::new());
        }
        match self.how {
            How::InAdvance => self.split(self.part(all(None)?, given_back, currency)?, None, currency),
            How::AtStart | How::OnTheWay(_) => {
                self.split(self.part(all(Some(false))?, given_back, currency)?, Some(false), currency)
            }
        }
    }

    /// What was asked for of it, in money or not: what coupons took off is off.
    pub fn asked(&self) -> Result<Amount, Overflow> {
        self.net.checked_sub(Amount::checked_sum(self.discounts.iter().map(|share| share.amount))?)
    }

    /// What goes back to the grants that paid it, and what is owed no more, where so much (positive) is given back of what was asked
    /// for.
    pub fn credited_back(
        &self,
        given_back: Amount,
        currency: Currency,
    ) -> Result<Vec<CreditShare>, InvoiceError> {
        let asked = self.asked()?;
        let given_back = given_back.min(asked);
        let all = Amount::checked_sum(self.credits.iter().map(|share| share.amount))?;
        if given_back <= Amount::ZERO || all <= Amount::ZERO {
            return Ok(Vec::new());
        }
        let weights: Vec<Amount> = self.credits.iter().map(|share| share.amount.max(Amount::ZERO)).collect();
        let exact = all.0.checked_mul_div(given_back.0, asked.0).map(Amount)?;
        let shares = allocate(currency.round(exact, RoundingPoint::InvoiceLine)?, &weights, currency)
            .map_err(|error| InvoiceError::Adjustment(error.to_string()))?;
        let shares = self.credits.iter().zip(shares).filter(|(_, amount)| !amount.is_zero());
        Ok(shares.map(|(share, amount)| CreditShare { amount, ..share.clone() }).collect())
    }

    pub fn is_at_threshold(&self) -> bool {
        match self.how {
            How::OnTheWay(_) => true,
            How::InAdvance | How::AtStart => false,
        }
    }

    /// Whether an invoice of the same period charged it, with the same coupons.
    pub fn is_of_same_period(&self) -> bool {
        match self.how {
            How::OnTheWay(_) | How::AtStart => true,
            How::InAdvance => false,
        }
    }

    /// What a fixed coupon took off it in the same period.
    pub fn fixed_share(&self, coupon: &CouponName) -> Amount {
        let shares = self.discounts.iter().filter(|share| share.fixed && share.coupon == *coupon);
        match self.how {
            How::InAdvance => Amount::ZERO,
            How::AtStart | How::OnTheWay(_) => shares.map(|share| share.amount).next().unwrap_or_default(),
        }
    }

    /// The part of a discount of the amount that is given back with so much of the amount.
    fn part(&self, discount: Amount, given_back: Amount, currency: Currency) -> Result<Amount, Overflow> {
        let exact = discount.0.checked_mul_div(given_back.0, self.net.0).map(Amount)?;
        currency.round(exact, RoundingPoint::Discount)
    }

    fn split(
        &self,
        back: Amount,
        fixed: Option<bool>,
        currency: Currency,
    ) -> Result<Vec<CouponShare>, InvoiceError> {
        let of_kind = |share: &&CouponShare| fixed.is_none_or(|fixed| share.fixed == fixed);
        let of_kind: Vec<&CouponShare> = self.discounts.iter().filter(of_kind).collect();
        let weights: Vec<Amount> = of_kind.iter().map(|share| share.amount.max(Amount::ZERO)).collect();
        let shares = allocate(back, &weights, currency)
            .map_err(|error| InvoiceError::Adjustment(error.to_string()))?;
        let shares = of_kind.into_iter().zip(shares).filter(|(_, amount)| !amount.is_zero());
        Ok(shares.map(|(share, amount)| CouponShare { amount, ..share.clone() }).collect())
    }
}

/// The shares of several invoices together, one for each grant; none where they come to nothing.
pub(super) fn credits_together(
    before: &[CreditShare],
    more: impl IntoIterator<Item = CreditShare>,
) -> Result<Vec<CreditShare>, Overflow> {
    let mut all: Vec<CreditShare> = before.to_vec();
    for share in more {
        match all.iter_mut().find(|known| known.grant == share.grant) {
            Some(known) => known.amount = known.amount.checked_add(share.amount)?,
            None => all.push(share),
        }
    }
    all.retain(|share| !share.amount.is_zero());
    Ok(all)
}

/// The shares of several invoices together, one for each coupon; none where they come to nothing.
pub(super) fn together(
    before: &[CouponShare],
    more: impl IntoIterator<Item = CouponShare>,
) -> Result<Vec<CouponShare>, Overflow> {
    let mut all: Vec<CouponShare> = before.to_vec();
    for share in more {
        match all.iter_mut().find(|known| known.coupon == share.coupon) {
            Some(known) => known.amount = known.amount.checked_add(share.amount)?,
            None => all.push(share),
        }
    }
    all.retain(|share| !share.amount.is_zero());
    Ok(all)
}
