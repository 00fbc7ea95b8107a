//! Several invoices of one period: usage that reached a threshold is billed before the period ends, and each later invoice
//! charges what those before it did not. Neighbours: usage.rs prices `billed_before`, subscription/threshold.rs says when.

use std::collections::BTreeMap;

use super::{
    Adjustments, ComputedInvoice, InvoiceError, InvoiceInput, InvoiceKind, LineRole, PriceUsage, compute,
};
use crate::{decimal::Amount, ids::CouponName};

/// What earlier invoices of a period charged and gave.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Progress {
    /// What the latest of them counted; it holds what the ones before it counted.
    usage: Vec<PriceUsage>,
    /// What coupons of a fixed amount gave already.
    given: BTreeMap<CouponName, Amount>,
    invoices: u32,
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
        self.usage.clone_from(&input.usage);
        self.invoices += 1;
        Ok(())
    }

    /// How many invoices of the period there are already.
    pub fn invoices(&self) -> u32 {
        self.invoices
    }

    /// What is left for one more invoice: usage that was not billed, and of a coupon's fixed amount, which is given once a period
    /// however many invoices the period has, what was not given.
    pub fn take_off(&self, input: &mut InvoiceInput) -> Result<(), InvoiceError> {
        for usage in &mut input.usage {
            let same = |before: &&PriceUsage| before.plan == usage.plan && before.price == usage.price;
            if let Some(before) = self.usage.iter().find(same) {
                usage.billed_before = Some(before.usage.clone());
            }
        }
        for coupon in &mut input.adjustments.coupons {
            if let (Some(amount), Some(given)) = (&mut coupon.amount, self.given.get(&coupon.name)) {
                *amount = amount.checked_sub(*given)?;
            }
        }
        input.adjustments.coupons.retain(|coupon| coupon.amount.is_none_or(|amount| amount > Amount::ZERO));
        Ok(())
    }
}

/// What all usage of the input comes to, billed before or not, without discounts by coupons, credits and taxes: what is held
/// against a threshold.
pub fn usage_amount(input: &InvoiceInput) -> Result<Amount, InvoiceError> {
    let mut whole = input.clone();
    whole.kind = InvoiceKind::Progressive;
    whole.adjustments = Adjustments::default();
    for usage in &mut whole.usage {
        usage.billed_before = None;
    }
    Ok(compute(&whole)?.total)
}
