//! Taxes on the lines of an invoice, after discounts and credits.
//!
//! - Exclusive rates are added to the price; several on one line are each taken of the same base and never of one another.
//! - Inclusive rates are in the price already; several on one line are taken out together, so the base is
//!   amount ÷ (1 + the sum of their rates), and base and taxes are the amount again, to the cent.
//! - Where a line has both kinds, the exclusive ones are taken of the base that is left when the inclusive ones are out.
//! - [`TaxRounding::Invoice`]: what a rate comes to on all lines is summed exactly and rounded once. [`TaxRounding::Line`]: it is
//!   rounded on each line, and the rounded ones are summed. Both are lawful in the EU and in most of the US; the customer's
//!   country or contract decides, so the invoice says which. Either way each line carries its share of each tax in minor units,
//!   and the shares sum to the tax: credit_note.rs gives them back.
//! - A negative line reduces the tax.
//!
//! This file never knows which rates a customer owes. Neighbours: coupon.rs before it, allocation.rs (the shares).

use serde::{Deserialize, Serialize};

use crate::{
    allocation::round_to_sum,
    catalogue::{SpecError, SpecErrorCode, read_shape},
    coupon::check_prices,
    decimal::{Amount, Decimal, Overflow},
    ids::{PriceName, TaxRateName},
    money::{Currency, RoundingPoint},
};

/// A tax rate as it is written down.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TaxRateSpec {
    pub name: TaxRateName,
    /// "19" is 19 %; 0 to 100. A rate of zero is shown on the invoice with its base, as reverse charge wants it.
    pub percent: Decimal,
    /// Whether prices hold this tax already.
    #[serde(default)]
    pub inclusive: bool,
    /// The prices that are taxed; absent: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prices: Option<Vec<PriceName>>,
}

/// Where the tax of a rate is rounded to minor units. See the module's head.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub enum TaxRounding {
    #[default]
    Invoice,
    Line,
}

impl TaxRateSpec {
    pub fn from_json(spec: &serde_json::Value) -> Result<Self, SpecError> {
        let rate: Self = read_shape(spec)?;
        rate.validate()?;
        Ok(rate)
    }

    pub fn validate(&self) -> Result<(), SpecError> {
        if self.percent.is_negative() || self.percent > Decimal::from_integer(100) {
            return Err(SpecError::new("percent", SpecErrorCode::OutOfRange, "must be 0 to 100"));
        }
        check_prices(self.prices.as_deref())
    }

    fn covers(&self, line: &TaxableLine) -> bool {
        self.prices
            .as_ref()
            .is_none_or(|prices| line.price.as_ref().is_some_and(|price| prices.contains(price)))
    }
}

/// A line of an invoice, as far as taxes see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaxableLine {
    /// None: it is a plan's as a whole, and no list of prices names it.
    pub price: Option<PriceName>,
    /// What is asked for after discounts and credits, in minor units: inclusive taxes in it, exclusive ones not.
    pub amount: Amount,
}

/// What one rate comes to on an invoice.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AppliedTax {
    pub name: TaxRateName,
    pub percent: Decimal,
    pub inclusive: bool,
    /// The lines that it covers, without any inclusive tax.
    pub base: Amount,
    pub amount: Amount,
    /// Of each line of the invoice, in their order, zero where the rate does not cover it; they sum to `amount`.
    pub shares: Vec<Amount>,
}

/// The taxes of an invoice.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Taxes {
    pub rounding: TaxRounding,
    /// In the order of the rates; a rate that covers no line is left out.
    pub taxes: Vec<AppliedTax>,
    /// All of them.
    pub tax: Amount,
    /// The exclusive ones: what the total has on top of the lines.
    pub added: Amount,
    /// All taxes of each line; they sum to `tax`.
    pub per_line: Vec<Amount>,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TaxError {
    #[error("tax rate {rate} is not valid: {source}")]
    Spec { rate: TaxRateName, source: SpecError },
    #[error("tax rate {0} is in the list twice")]
    Duplicate(TaxRateName),
    #[error("line {index} has an amount that was not rounded: {amount}")]
    UnroundedLine { index: usize, amount: Amount },
    #[error(transparent)]
    Overflow(#[from] Overflow),
}

/// The taxes on the lines. See the module's head for the rules.
pub fn apply(
    rates: &[TaxRateSpec],
    rounding: TaxRounding,
    lines: &[TaxableLine],
    currency: Currency,
) -> Result<Taxes, TaxError> {
    check(rates, lines, currency)?;
    let rates: Vec<&TaxRateSpec> =
        rates.iter().filter(|rate| lines.iter().any(|line| rate.covers(line))).collect();
    let included = included_percents(&rates, lines)?;
    // Inclusive first: their rounded shares decide the base of the exclusive ones.
    let inclusive = rates
        .iter()
        .filter(|rate| rate.inclusive)
        .map(|rate| shares(&inclusive_exact(rate, lines, &included)?, rounding, currency))
        .collect::<Result<Vec<_>, Overflow>>()?;
    let bases = bases(lines, &inclusive)?;
    let mut inclusive = inclusive.into_iter();
    let taxes = rates
        .iter()
        .map(|rate| {
            let shares = if rate.inclusive {
                inclusive.next().expect("one for each inclusive rate, in their order")
            } else {
                shares(&exclusive_exact(rate, lines, &bases)?, rounding, currency)?
            };
            applied(rate, lines, &bases, shares)
        })
        .collect::<Result<Vec<_>, Overflow>>()?;
    let per_line = (0..lines.len())
        .map(|line| Amount::checked_sum(taxes.iter().map(|tax| tax.shares[line])))
        .collect::<Result<_, _>>()?;
    Ok(Taxes {
        rounding,
        tax: Amount::checked_sum(taxes.iter().map(|tax| tax.amount))?,
        added: Amount::checked_sum(taxes.iter().filter(|tax| !tax.inclusive).map(|tax| tax.amount))?,
        per_line,
        taxes,
    })
}

fn check(rates: &[TaxRateSpec], lines: &[TaxableLine], currency: Currency) -> Result<(), TaxError> {
    for (index, rate) in rates.iter().enumerate() {
        rate.validate().map_err(|source| TaxError::Spec { rate: rate.name.clone(), source })?;
        if rates[..index].iter().any(|earlier| earlier.name == rate.name) {
            return Err(TaxError::Duplicate(rate.name.clone()));
        }
    }
    match lines.iter().enumerate().find(|(_, line)| !currency.is_in_minor_units(line.amount)) {
        Some((index, line)) => Err(TaxError::UnroundedLine { index, amount: line.amount }),
        None => Ok(()),
    }
}

/// Of each line: 100 and the inclusive percentages that cover it.
fn included_percents(rates: &[&TaxRateSpec], lines: &[TaxableLine]) -> Result<Vec<Decimal>, Overflow> {
    lines
        .iter()
        .map(|line| {
            rates
                .iter()
                .filter(|rate| rate.inclusive && rate.covers(line))
                .try_fold(Decimal::from_integer(100), |sum, rate| sum.checked_add(rate.percent))
        })
        .collect()
}

/// What of each line is this inclusive tax, not rounded.
fn inclusive_exact(
    rate: &TaxRateSpec,
    lines: &[TaxableLine],
    included: &[Decimal],
) -> Result<Vec<Amount>, Overflow> {
    lines
        .iter()
        .zip(included)
        .map(|(line, included)| {
            if rate.covers(line) {
                line.amount.0.checked_mul_div(rate.percent, *included).map(Amount)
            } else {
                Ok(Amount::ZERO)
            }
        })
        .collect()
}

/// What this exclusive tax comes to on each line, not rounded.
fn exclusive_exact(
    rate: &TaxRateSpec,
    lines: &[TaxableLine],
    bases: &[Amount],
) -> Result<Vec<Amount>, Overflow> {
    lines
        .iter()
        .zip(bases)
        .map(|(line, base)| if rate.covers(line) { base.percent(rate.percent) } else { Ok(Amount::ZERO) })
        .collect()
}

/// Each line without its inclusive taxes, in minor units.
fn bases(lines: &[TaxableLine], inclusive: &[Vec<Amount>]) -> Result<Vec<Amount>, Overflow> {
    lines
        .iter()
        .enumerate()
        .map(|(index, line)| {
            inclusive.iter().try_fold(line.amount, |base, shares| base.checked_sub(shares[index]))
        })
        .collect()
}

/// Exact taxes of the lines, rounded where the invoice rounds.
fn shares(exact: &[Amount], rounding: TaxRounding, currency: Currency) -> Result<Vec<Amount>, Overflow> {
    match rounding {
        TaxRounding::Line => exact.iter().map(|amount| currency.round(*amount, RoundingPoint::Tax)).collect(),
        TaxRounding::Invoice => {
            let total = currency.round(Amount::checked_sum(exact.iter().copied())?, RoundingPoint::Tax)?;
            round_to_sum(exact, total, currency)
        }
    }
}

fn applied(
    rate: &TaxRateSpec,
    lines: &[TaxableLine],
    bases: &[Amount],
    shares: Vec<Amount>,
) -> Result<AppliedTax, Overflow> {
    let covered = lines.iter().zip(bases).filter(|(line, _)| rate.covers(line)).map(|(_, base)| *base);
    Ok(AppliedTax {
        name: rate.name.clone(),
        percent: rate.percent,
        inclusive: rate.inclusive,
        base: Amount::checked_sum(covered)?,
        amount: Amount::checked_sum(shares.iter().copied())?,
        shares,
    })
}

#[cfg(test)]
#[path = "tax_tests.rs"]
mod tests;
