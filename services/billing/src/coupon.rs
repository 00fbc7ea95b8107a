//! Coupons: what they say ([`CouponSpec`]), when they may be redeemed and in which periods they count, and what they take off
//! the lines of an invoice ([`apply`]).
//!
//! Coupons apply in the order given, each to what the ones before it left: two coupons of 50 % take 75 %, and no order takes
//! more than there is. Each discount is rounded once, over all of its lines, and then split over them to the cent, so that
//! taxes and credit notes know every line's part. A line that is negative (a credit for unused time) takes no discount: what
//! it gives back may have been paid in full. Where it was discounted, invoice/paid.rs takes that discount back.
//!
//! Counting redemptions is the store's; this file only says whether one more is allowed. It never looks at a clock.
//! Neighbours: allocation.rs (the split), money.rs (the rounding), tax.rs (what comes after).

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{
    allocation::{AllocationError, allocate},
    catalogue::{SpecError, SpecErrorCode, read_shape},
    decimal::{Amount, Decimal, Overflow},
    ids::{CouponName, PriceName},
    money::{Currency, RoundingPoint},
};

/// A coupon as it is written down. Exactly one of `percent` and `amount` is set; [`CouponSpec::terms`] hands it out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CouponSpec {
    pub name: CouponName,
    /// "20" takes a fifth; more than 0, at most 100.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub percent: Option<Decimal>,
    /// Taken off once an invoice, as far as there is something to take it off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub amount: Option<Amount>,
    /// Of `amount`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub currency: Option<Currency>,
    #[serde(default)]
    pub duration: CouponDuration,
    /// For how many billing periods a `Repeating` coupon counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub periods: Option<u32>,
    /// The prices whose lines it takes from; absent: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prices: Option<Vec<PriceName>>,
    /// From this instant on nobody redeems it any more; who has it keeps it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub redeem_by: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_redemptions: Option<u32>,
}

/// In which billing periods, counted from the redemption, a coupon counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub enum CouponDuration {
    /// In the first.
    #[default]
    Once,
    /// In the first `periods`.
    Repeating,
    /// In all.
    Forever,
}

/// What a coupon takes off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CouponTerms {
    Percent(Decimal),
    Amount(Amount, Currency),
}

/// Why a coupon is not redeemed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RedemptionError {
    #[error("coupon {coupon} could be redeemed before {redeem_by} only")]
    TooLate { coupon: CouponName, redeem_by: Timestamp },
    #[error("coupon {coupon} was redeemed {max_redemptions} times already, which is its limit")]
    UsedUp { coupon: CouponName, max_redemptions: u32 },
}

impl CouponSpec {
    pub fn from_json(spec: &serde_json::Value) -> Result<Self, SpecError> {
        let coupon: Self = read_shape(spec)?;
        coupon.validate()?;
        Ok(coupon)
    }

    pub fn validate(&self) -> Result<(), SpecError> {
        self.terms()?;
        match (self.duration, self.periods) {
            (CouponDuration::Repeating, None) => {
                return Err(SpecError::new(
                    "periods",
                    SpecErrorCode::Missing,
                    "say for how many periods a Repeating coupon counts",
                ));
            }
            (CouponDuration::Once | CouponDuration::Forever, Some(_)) => {
                return Err(SpecError::new(
                    "periods",
                    SpecErrorCode::Conflicting,
                    "only a Repeating coupon has a number of periods: leave it out, or set duration: Repeating",
                ));
            }
            (CouponDuration::Repeating, Some(0)) => {
                return Err(SpecError::new("periods", SpecErrorCode::OutOfRange, "must be at least 1"));
            }
            (CouponDuration::Repeating, Some(_)) | (CouponDuration::Once | CouponDuration::Forever, None) => {
            }
        }
        if self.max_redemptions == Some(0) {
            return Err(SpecError::new("maxRedemptions", SpecErrorCode::OutOfRange, "must be at least 1"));
        }
        check_prices(self.prices.as_deref())
    }

    /// The one of percent and amount that is set.
    pub fn terms(&self) -> Result<CouponTerms, SpecError> {
        match (self.percent, self.amount, self.currency) {
            (Some(percent), None, None) => {
                if percent <= Decimal::ZERO || percent > Decimal::from_integer(100) {
                    return Err(SpecError::new(
                        "percent",
                        SpecErrorCode::OutOfRange,
                        "must be more than 0 and at most 100",
                    ));
                }
                Ok(CouponTerms::Percent(percent))
            }
            (None, Some(amount), Some(currency)) => {
                check_grantable("amount", amount, currency)?;
                Ok(CouponTerms::Amount(amount, currency))
            }
            (None, Some(_), None) => {
                Err(SpecError::new("currency", SpecErrorCode::Missing, "say which currency the amount is in"))
            }
            (Some(_), None, Some(_)) => Err(SpecError::new(
                "currency",
                SpecErrorCode::Conflicting,
                "a percentage has no currency: leave it out",
            )),
            (Some(_), Some(_), _) => Err(SpecError::new(
                "amount",
                SpecErrorCode::Conflicting,
                "a coupon has a percent or an amount, not both",
            )),
            (None, None, _) => Err(SpecError::new(
                "percent",
                SpecErrorCode::Missing,
                "a coupon needs a percent or an amount",
            )),
        }
    }

    /// Whether the coupon counts in the period that many periods after the one in which it was redeemed (0: that one itself).
    pub fn applies_in(&self, periods_since_redemption: u32) -> bool {
        match self.duration {
            CouponDuration::Once => periods_since_redemption == 0,
            CouponDuration::Repeating => {
                self.periods.is_some_and(|periods| periods_since_redemption < periods)
            }
            CouponDuration::Forever => true,
        }
    }

    /// Whether it may be redeemed once more. `redemptions` is what the store counted, under the same lock that adds this one.
    pub fn check_redemption(&self, at: Timestamp, redemptions: u32) -> Result<(), RedemptionError> {
        let coupon = || self.name.clone();
        if let Some(redeem_by) = self.redeem_by.filter(|redeem_by| at >= *redeem_by) {
            return Err(RedemptionError::TooLate { coupon: coupon(), redeem_by });
        }
        if let Some(max_redemptions) = self.max_redemptions.filter(|max| redemptions >= *max) {
            return Err(RedemptionError::UsedUp { coupon: coupon(), max_redemptions });
        }
        Ok(())
    }

    /// Its fixed amount was given in the period already: it only says still what it is for.
    fn is_used_up(&self) -> bool {
        self.amount == Some(Amount::ZERO)
    }

    pub(crate) fn covers(&self, line: &DiscountableLine) -> bool {
        self.prices
            .as_ref()
            .is_none_or(|prices| line.price.as_ref().is_some_and(|price| prices.contains(price)))
    }
}

/// A list of prices that narrows something down names at least one, and none twice.
pub(crate) fn check_prices(prices: Option<&[PriceName]>) -> Result<(), SpecError> {
    let Some(prices) = prices else { return Ok(()) };
    if prices.is_empty() {
        return Err(SpecError::new(
            "prices",
            SpecErrorCode::OutOfRange,
            "name at least one price, or leave the list out for all of them",
        ));
    }
    for (index, price) in prices.iter().enumerate() {
        if prices[..index].contains(price) {
            return Err(SpecError::new(
                format!("prices[{index}]"),
                SpecErrorCode::InvalidName,
                format!("\"{price}\" is in the list twice"),
            ));
        }
    }
    Ok(())
}

/// An amount that is given away is positive and can be paid in its currency.
pub(crate) fn check_grantable(field: &str, amount: Amount, currency: Currency) -> Result<(), SpecError> {
    if amount <= Amount::ZERO {
        return Err(SpecError::new(field, SpecErrorCode::OutOfRange, "must be more than 0"));
    }
    if !currency.is_in_minor_units(amount) {
        let detail =
            format!("{currency} has {} digits after the decimal point at most", currency.minor_units());
        return Err(SpecError::new(field, SpecErrorCode::OutOfRange, detail));
    }
    Ok(())
}

/// A line of an invoice, as far as coupons see it. The amount is rounded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiscountableLine {
    /// None: it is a plan's as a whole, and no list of prices names it.
    pub price: Option<PriceName>,
    pub amount: Amount,
}

/// What one coupon took off.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Discount {
    pub coupon: CouponName,
    /// Positive, in minor units; zero when nothing was left for it.
    pub amount: Amount,
    /// Of each line, in their order; they sum to `amount`.
    pub shares: Vec<Amount>,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CouponError {
    #[error("coupon {coupon} is not valid: {source}")]
    Spec { coupon: CouponName, source: SpecError },
    #[error("coupon {coupon} is in {given}, the invoice is in {expected}")]
    Currency { coupon: CouponName, given: Currency, expected: Currency },
    #[error("line {index} has an amount that was not rounded: {amount}")]
    UnroundedLine { index: usize, amount: Amount },
    #[error("coupon {coupon}: {source}")]
    Allocation { coupon: CouponName, source: AllocationError },
    #[error(transparent)]
    Overflow(#[from] Overflow),
}

/// What the coupons take off the lines: one discount for each coupon, in their order. See the module's head.
pub fn apply(
    coupons: &[CouponSpec],
    lines: &[DiscountableLine],
    currency: Currency,
) -> Result<Vec<Discount>, CouponError> {
    if let Some((index, line)) =
        lines.iter().enumerate().find(|(_, line)| !currency.is_in_minor_units(line.amount))
    {
        return Err(CouponError::UnroundedLine { index, amount: line.amount });
    }
    let mut left: Vec<Amount> = lines.iter().map(|line| line.amount.max(Amount::ZERO)).collect();
    coupons
        .iter()
        .map(|coupon| {
            let discount = discount(coupon, lines, &left, currency)?;
            for (left, share) in left.iter_mut().zip(&discount.shares) {
                *left = left.checked_sub(*share)?;
            }
            Ok(discount)
        })
        .collect()
}

/// What one coupon takes of what is left of each line.
fn discount(
    coupon: &CouponSpec,
    lines: &[DiscountableLine],
    left: &[Amount],
    currency: Currency,
) -> Result<Discount, CouponError> {
    let name = &coupon.name;
    if coupon.is_used_up() {
        return Ok(Discount {
            coupon: name.clone(),
            amount: Amount::ZERO,
            shares: vec![Amount::ZERO; lines.len()],
        });
    }
    let terms = coupon.terms().map_err(|source| CouponError::Spec { coupon: name.clone(), source })?;
    let covered: Vec<Amount> = lines
        .iter()
        .zip(left)
        .map(|(line, left)| if coupon.covers(line) { *left } else { Amount::ZERO })
        .collect();
    let base = Amount::checked_sum(covered.iter().copied())?;
    let amount = match terms {
        CouponTerms::Percent(percent) => currency.round(base.percent(percent)?, RoundingPoint::Discount)?,
        CouponTerms::Amount(amount, given) if given == currency => amount.min(base),
        CouponTerms::Amount(_, given) => {
            return Err(CouponError::Currency { coupon: name.clone(), given, expected: currency });
        }
    };
    let shares = allocate(amount, &covered, currency)
        .map_err(|source| CouponError::Allocation { coupon: name.clone(), source })?;
    Ok(Discount { coupon: name.clone(), amount, shares })
}

#[cfg(test)]
#[path = "coupon_tests.rs"]
mod tests;
