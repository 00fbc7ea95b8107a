//! A part of a scheduled period as an exact fraction, and a rounded amount split by such fractions.
//!
//! A fraction is kept in lowest terms and never as a decimal: 14 of 31 days has no last digit. [`Share::of`] is the fraction
//! of an amount at 18 decimals; [`split`] is the same in minor units with nothing lost or made between the parts. What a
//! segment's share is decides proration.rs; which amounts are prorated decides invoice.rs.

use serde::{Deserialize, Serialize};

use crate::{
    decimal::{Amount, Overflow},
    money::{Currency, RoundingPoint},
};

/// A fraction from nothing (0/1) to the whole (1/1), in lowest terms.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "Fraction", into = "Fraction")]
pub struct Share {
    numerator: u64,
    denominator: u64,
}

/// A fraction as it is written down.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Fraction {
    numerator: u64,
    denominator: u64,
}

/// A share is a part of one whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{numerator}/{denominator} is not between nothing and the whole")]
pub struct NoShare {
    pub numerator: u64,
    pub denominator: u64,
}

impl Share {
    pub const NOTHING: Self = Self { numerator: 0, denominator: 1 };
    pub const WHOLE: Self = Self { numerator: 1, denominator: 1 };

    pub fn new(numerator: u64, denominator: u64) -> Result<Self, NoShare> {
        if denominator == 0 || numerator > denominator {
            return Err(NoShare { numerator, denominator });
        }
        let divisor = greatest_common_divisor(numerator, denominator);
        Ok(Self { numerator: numerator / divisor, denominator: denominator / divisor })
    }

    pub fn numerator(self) -> u64 {
        self.numerator
    }

    /// Never zero.
    pub fn denominator(self) -> u64 {
        self.denominator
    }

    pub fn is_nothing(self) -> bool {
        self.numerator == 0
    }

    /// What the whole has beyond this share: the unused part beside the used one.
    pub fn rest(self) -> Self {
        Self { numerator: self.denominator - self.numerator, denominator: self.denominator }
    }

    /// Both together. More than the whole, or terms beyond 64 bits, are an overflow; neither happens to shares of the same
    /// scheduled period, which divide one length.
    pub fn checked_add(self, other: Self) -> Result<Self, Overflow> {
        let common = greatest_common_divisor(self.denominator, other.denominator);
        let denominator = u128::from(self.denominator / common) * u128::from(other.denominator);
        let one = u128::from(self.numerator) * u128::from(other.denominator / common);
        let two = u128::from(other.numerator) * u128::from(self.denominator / common);
        let numerator = u64::try_from(one.checked_add(two).ok_or(Overflow)?).map_err(|_| Overflow)?;
        let denominator = u64::try_from(denominator).map_err(|_| Overflow)?;
        Self::new(numerator, denominator).map_err(|_| Overflow)
    }

    /// This share of an amount, half away from zero at the 18th decimal. Not rounded to minor units.
    pub fn of(self, whole: Amount) -> Result<Amount, Overflow> {
        whole.0.checked_mul_ratio(self.numerator, self.denominator).map(Amount)
    }
}

impl TryFrom<Fraction> for Share {
    type Error = NoShare;
    fn try_from(fraction: Fraction) -> Result<Self, NoShare> {
        Self::new(fraction.numerator, fraction.denominator)
    }
}

impl From<Share> for Fraction {
    fn from(share: Share) -> Self {
        Self { numerator: share.numerator, denominator: share.denominator }
    }
}

fn greatest_common_divisor(mut a: u64, mut b: u64) -> u64 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

/// An amount in parts, one a share, in minor units. The whole is rounded first ([`RoundingPoint::InvoiceLine`]); the parts
/// sum to the rounded sum of the shares of it, so to the whole exactly where the shares sum to one.
///
/// Largest remainder (Hamilton's method): each part is its share cut to minor units, and what is missing to the sum goes, one
/// minor unit each, to the parts that lost most; among equals to the first. A share of nothing gets nothing. Shares that sum
/// to more than the whole are an overflow.
pub fn split(whole: Amount, shares: &[Share], currency: Currency) -> Result<Vec<Amount>, Overflow> {
    let whole = currency.round(whole, RoundingPoint::InvoiceLine)?;
    let all = shares.iter().try_fold(Share::NOTHING, |sum, share| sum.checked_add(*share))?;
    let total = currency.round(all.of(whole)?, RoundingPoint::InvoiceLine)?;
    let exact = shares.iter().map(|share| share.of(whole)).collect::<Result<Vec<_>, _>>()?;

    let minor_unit = 10_i128.pow(crate::decimal::SCALE - currency.minor_units());
    let mut parts: Vec<i128> = exact.iter().map(|part| part.units() - part.units() % minor_unit).collect();
    let missing = (total.units() - parts.iter().sum::<i128>()) / minor_unit;
    let mut losers: Vec<usize> = (0..parts.len()).collect();
    // The sort keeps the order of equals.
    losers.sort_by_key(|index| std::cmp::Reverse((exact[*index].units() % minor_unit).abs()));
    for index in losers.into_iter().zip(0..missing.abs()).map(|(index, _)| index) {
        parts[index] += missing.signum() * minor_unit;
    }
    parts.into_iter().map(Amount::from_units).collect()
}

#[cfg(test)]
#[path = "share_tests.rs"]
mod tests;
