//! Credit notes: an issued invoice does not change, so what was asked for too much goes back by a document of its own.
//!
//! A note names lines of its invoice and how much of each goes back; all notes of an invoice together never give back more of
//! a line than it asked for. Each line takes the same part of its taxes along. That part is rounded over all notes so far, less
//! what the earlier ones gave back: crediting a line in parts, however many, ends at exactly the tax that it had.
//!
//! This file never decides whether money is returned or kept as a balance, and gives no numbers. Neighbours: tax.rs made the
//! taxes' shares of the lines.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    decimal::{Amount, Overflow},
    ids::TaxRateName,
    invoice::Charged,
    money::{Currency, RoundingPoint},
    tax::AppliedTax,
};

/// All that a credit note depends on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CreditNoteInput {
    pub currency: Currency,
    /// The lines of the invoice, in its order.
    pub lines: Vec<InvoicedLine>,
    /// The notes of this invoice so far; a note that was voided is not among them.
    #[serde(default)]
    pub earlier: Vec<CreditNote>,
    pub requests: Vec<CreditRequest>,
}

/// A line of the invoice as it was asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct InvoicedLine {
    /// After discounts and credits, in minor units: inclusive taxes in it, exclusive ones not.
    pub amount: Amount,
    /// Its shares of the invoice's taxes.
    #[serde(default)]
    pub taxes: Vec<LineTax>,
}

/// A tax's share of a line, on an invoice or a note.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LineTax {
    pub name: TaxRateName,
    pub inclusive: bool,
    pub amount: Amount,
}

/// Gives back a part of a line, or all of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CreditRequest {
    /// The line's place on the invoice, from 0.
    pub line: usize,
    /// Of the line's amount: positive, in minor units, exclusive taxes not in it.
    pub amount: Amount,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CreditNote {
    pub currency: Currency,
    pub lines: Vec<CreditNoteLine>,
    /// The sum of the lines, positive.
    pub amount: Amount,
    /// Each tax that goes back, by name.
    pub taxes: Vec<LineTax>,
    /// All that goes back: the lines and their exclusive taxes.
    pub total: Amount,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CreditNoteLine {
    pub line: usize,
    pub amount: Amount,
    pub taxes: Vec<LineTax>,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CreditNoteError {
    #[error("the note names no line")]
    Empty,
    #[error("the invoice has no line {line}")]
    UnknownLine { line: usize },
    #[error("line {line} is named twice")]
    DuplicateLine { line: usize },
    #[error("line {line}: {amount} is no amount to give back: it must be more than 0")]
    NotPositive { line: usize, amount: Amount },
    #[error("line {line}: {amount} has parts of minor units")]
    NotInMinorUnits { line: usize, amount: Amount },
    #[error("line {line}: {amount} is more than the {left} that are left of it")]
    TooMuch { line: usize, amount: Amount, left: Amount },
    #[error("an earlier note is in {given}, the invoice is in {expected}")]
    Currency { given: Currency, expected: Currency },
    #[error(transparent)]
    Overflow(#[from] Overflow),
}

impl InvoicedLine {
    /// What an invoice asked for each price: the lines that its notes name, in the order of `charged`.
    pub fn of_invoice(charged: &[Charged], taxes: &[AppliedTax]) -> Result<Vec<Self>, Overflow> {
        charged
            .iter()
            .enumerate()
            .map(|(index, charged)| {
                let Charged { plan: _, price: _, net, discounts, credits, tax: _ } = charged;
                let taxes = taxes.iter().filter_map(|tax| {
                    let amount = *tax.shares.get(index)?;
                    let share = LineTax { name: tax.name.clone(), inclusive: tax.inclusive, amount };
                    (!amount.is_zero()).then_some(share)
                });
                let amount = net.checked_sub(*discounts)?.checked_sub(*credits)?;
                Ok(Self { amount, taxes: taxes.collect() })
            })
            .collect()
    }
}

/// The credit note for these requests, its lines in their order.
pub fn compute(input: &CreditNoteInput) -> Result<CreditNote, CreditNoteError> {
    let CreditNoteInput { currency, lines: _, earlier, requests } = input;
    if requests.is_empty() {
        return Err(CreditNoteError::Empty);
    }
    if let Some(note) = earlier.iter().find(|note| note.currency != *currency) {
        return Err(CreditNoteError::Currency { given: note.currency, expected: *currency });
    }
    let lines = requests
        .iter()
        .enumerate()
        .map(|(index, request)| {
            if requests[..index].iter().any(|earlier| earlier.line == request.line) {
                return Err(CreditNoteError::DuplicateLine { line: request.line });
            }
            credit_line(input, request)
        })
        .collect::<Result<Vec<_>, _>>()?;
    let amount = Amount::checked_sum(lines.iter().map(|line| line.amount))?;
    let taxes = sum_by_name(lines.iter().flat_map(|line| &line.taxes))?;
    let exclusive = taxes.iter().filter(|tax| !tax.inclusive).map(|tax| tax.amount);
    let total = Amount::checked_sum(exclusive.chain([amount]))?;
    Ok(CreditNote { currency: *currency, lines, amount, taxes, total })
}

fn credit_line(input: &CreditNoteInput, request: &CreditRequest) -> Result<CreditNoteLine, CreditNoteError> {
    let CreditRequest { line, amount } = *request;
    let invoiced = input.lines.get(line).ok_or(CreditNoteError::UnknownLine { line })?;
    if amount <= Amount::ZERO {
        return Err(CreditNoteError::NotPositive { line, amount });
    }
    if !input.currency.is_in_minor_units(amount) {
        return Err(CreditNoteError::NotInMinorUnits { line, amount });
    }
    let earlier: Vec<&CreditNoteLine> =
        input.earlier.iter().flat_map(|note| &note.lines).filter(|credited| credited.line == line).collect();
    let before = Amount::checked_sum(earlier.iter().map(|credited| credited.amount))?;
    let left = invoiced.amount.checked_sub(before)?.max(Amount::ZERO);
    if amount > left {
        return Err(CreditNoteError::TooMuch { line, amount, left });
    }
    let credited = before.checked_add(amount)?;
    let taxes = invoiced
        .taxes
        .iter()
        .map(|tax| {
            let part = tax.amount.0.checked_mul_div(credited.0, invoiced.amount.0).map(Amount)?;
            let part = input.currency.round(part, RoundingPoint::CreditNoteTax)?;
            let same = |given: &&LineTax| given.name == tax.name;
            let given = earlier.iter().flat_map(|credited| &credited.taxes).filter(same);
            let before = Amount::checked_sum(given.map(|given| given.amount))?;
            Ok(LineTax {
                name: tax.name.clone(),
                inclusive: tax.inclusive,
                amount: part.checked_sub(before)?,
            })
        })
        .collect::<Result<_, Overflow>>()?;
    Ok(CreditNoteLine { line, amount, taxes })
}

fn sum_by_name<'a>(taxes: impl Iterator<Item = &'a LineTax>) -> Result<Vec<LineTax>, Overflow> {
    let mut sums: BTreeMap<(&TaxRateName, bool), Amount> = BTreeMap::new();
    for LineTax { name, inclusive, amount } in taxes {
        let sum = sums.entry((name, *inclusive)).or_default();
        *sum = sum.checked_add(*amount)?;
    }
    Ok(sums
        .into_iter()
        .map(|((name, inclusive), amount)| LineTax { name: name.clone(), inclusive, amount })
        .collect())
}

#[cfg(test)]
#[path = "credit_note_tests.rs"]
mod tests;
