//! By which rules a period is billed, handed to the engine: what must be read of usage, and the engine's input once it was.
//! read_terms.rs reads the terms.

use std::collections::BTreeMap;

use jiff::Timestamp;
use meridian_billing::{
    ENGINE_VERSION,
    catalogue::MeterSpec,
    ids::MeterName,
    invoice::{
        Adjustments, AdvanceCharge, InvoiceError, InvoiceInput, InvoiceKind, Metered, PriceUsage,
        charged_ahead, metered,
    },
};

use super::{ChargedAhead, PeriodTerms, SubscriptionError};
use crate::{Charge, MeterRow};

/// The meters that charges count, by name, each with its version.
pub fn meters(charges: &[(Charge, MeterRow)]) -> BTreeMap<MeterName, (MeterSpec, i32)> {
    let meter =
        |(charge, meter): &(Charge, MeterRow)| (charge.meter.clone(), (meter.spec.clone(), meter.version));
    charges.iter().map(meter).collect()
}

impl PeriodTerms {
    /// What a shell must read before it can ask for the invoice: each metered price and what it asks of usage.
    pub fn metered(&self) -> Result<Vec<Metered>, SubscriptionError> {
        Ok(metered(&self.segments)?)
    }

    /// The meters that the prices count, by name, each with its version.
    pub fn meters(&self) -> BTreeMap<MeterName, (MeterSpec, i32)> {
        meters(&self.charges)
    }

    /// The engine's input: these terms, and what each metered price was told up to the cutoff.
    pub fn invoice_input(
        &self,
        usage: Vec<PriceUsage>,
        stored_before: Timestamp,
    ) -> Result<InvoiceInput, SubscriptionError> {
        self.less_what_is_billed(self.input(InvoiceKind::Period, usage, stored_before))
    }

    /// The engine's input for the invoice at the subscription's start, once that is over and as long as nothing else of the period is
    /// billed; None where there is none.
    pub fn opening_input(&self, stored_before: Timestamp) -> Option<InvoiceInput> {
        let is_running = self.period.start < stored_before && stored_before < self.period.end;
        let at_start = self.at_start.clone().filter(|_| is_running)?;
        let input = self.input(InvoiceKind::Opening, Vec::new(), stored_before);
        Some(InvoiceInput { next: Some(at_start), ..input })
    }

    /// The engine's input for usage up to the cutoff, because it reached a threshold.
    pub fn threshold_input(
        &self,
        usage: Vec<PriceUsage>,
        stored_before: Timestamp,
    ) -> Result<InvoiceInput, SubscriptionError> {
        // A plan's maximum is about what was charged in advance too: the invoice of the period relies on that the parts kept to it.
        self.less_what_is_billed(self.input(InvoiceKind::Progressive, usage, stored_before))
    }

    fn less_what_is_billed(&self, mut input: InvoiceInput) -> Result<InvoiceInput, SubscriptionError> {
        input.charged_in_advance = self.charged_in_advance(&input)?;
        self.progress.take_off(&mut input).map_err(unbillable)?;
        Ok(input)
    }

    /// What the period before charged in advance for this one, or what it will charge: then as far as its invoice can be known, with
    /// the coupons that hold in it.
    fn charged_in_advance(&self, input: &InvoiceInput) -> Result<Vec<AdvanceCharge>, SubscriptionError> {
        match &self.charged_ahead {
            ChargedAhead::Known(charges) => Ok(charges.clone()),
            ChargedAhead::Expected(terms) => charged_ahead(&InvoiceInput {
                kind: InvoiceKind::Period,
                next: Some((**terms).clone()),
                adjustments: self
                    .index
                    .checked_sub(1)
                    .map(|index| self.adjustments(index))
                    .unwrap_or_default(),
                ..input.clone()
            })
            .map_err(unbillable),
        }
    }

    /// Which of the invoices of the period's parts would be the next one.
    pub(crate) fn next_part(&self) -> i32 {
        i32::try_from(self.progress.invoices()).unwrap_or(i32::MAX - 1) + 1
    }

    fn input(&self, kind: InvoiceKind, usage: Vec<PriceUsage>, stored_before: Timestamp) -> InvoiceInput {
        InvoiceInput {
            engine_version: ENGINE_VERSION,
            catalogue_version: self.catalogue_version,
            tenant: self.subscription.tenant.clone(),
            customer: self.subscription.customer.clone(),
            subscription: self.subscription.id.clone(),
            time_zone: self.subscription.time_zone.clone(),
            period: self.period,
            kind,
            segments: self.segments.clone(),
            plans_before: self.plans_before.clone(),
            charged_in_advance: Vec::new(),
            capped_before: None,
            next: self.next.clone(),
            stored_before,
            usage,
            late: Vec::new(),
            adjustments: self.adjustments(self.index),
        }
    }

    /// Those of the period that is so many after the subscription's first.
    fn adjustments(&self, index: u32) -> Adjustments {
        let custom = &self.subscription.terms;
        let from_the_start = custom.coupons.iter().filter(|coupon| coupon.applies_in(index));
        let redeemed = self.redeemed.iter().filter_map(|(coupon, since)| {
            // Before its redemption it does not count.
            let periods = index.checked_sub(*since)?;
            coupon.applies_in(periods).then_some(coupon)
        });
        Adjustments {
            coupons: from_the_start.chain(redeemed).cloned().collect(),
            credits: None,
            tax_rates: custom.tax_rates.clone(),
            tax_rounding: custom.tax_rounding,
        }
    }
}

pub(super) fn unbillable(error: InvoiceError) -> SubscriptionError {
    SubscriptionError::Unbillable(error.to_string())
}
