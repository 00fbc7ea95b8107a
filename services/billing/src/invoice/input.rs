//! All that an invoice depends on. It is stored beside the invoice, so that the invoice can be computed again.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Adjustments, CouponShare, DiscountedUsage, LateUsage};
use crate::{
    catalogue::{PlanSpec, SpecError},
    decimal::{Amount, Quantity},
    ids::{CustomerKey, PlanName, PriceName, SubscriptionId, TenantId},
    ledger::CreditShare,
    period::Period,
    price::Usage,
    subscription::{SegmentState, Share},
};

/// All that an invoice depends on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InvoiceInput {
    pub engine_version: u32,
    pub catalogue_version: i64,
    pub tenant: TenantId,
    pub customer: CustomerKey,
    pub subscription: SubscriptionId,
    /// The IANA name by which buckets and times of day are cut.
    pub time_zone: String,
    pub period: Period,
    pub kind: InvoiceKind,
    /// The terms that held in the period, one after the other; together they are the period.
    pub segments: Vec<BilledSegment>,
    /// Plans in force just before the period: what is charged once was charged with them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub plans_before: Vec<PlanName>,
    /// What earlier invoices charged in advance for time in this period.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub charged_in_advance: Vec<AdvanceCharge>,
    /// What the maximums of plans took off earlier invoices of this period. None: there are none, or it is what these maximums
    /// make of what was billed before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capped_before: Option<Vec<PlanCap>>,
    /// None when the subscription ends with this period. For the invoice at its start it is the first period.
    pub next: Option<NextTerms>,
    /// The cutoff: only events stored before this instant are counted.
    pub stored_before: Timestamp,
    /// One entry for each of [`super::metered`], in its order, zero usage included. At a threshold those that begin to hold after
    /// the cutoff may be left out.
    pub usage: Vec<PriceUsage>,
    /// What became known of earlier periods after their invoices.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub late: Vec<LateUsage>,
    #[serde(default, skip_serializing_if = "Adjustments::is_empty")]
    pub adjustments: Adjustments,
}

impl InvoiceInput {
    /// Whether a price that begins to hold at this instant is on the invoice: at a threshold, what begins at the cutoff or later is
    /// not, though usage may be told of it already (a level that goes on, an event that is ahead of its time).
    pub(super) fn counts_from(&self, start: Timestamp) -> bool {
        match self.kind {
            InvoiceKind::Period => true,
            InvoiceKind::Progressive => start < self.stored_before,
            InvoiceKind::Opening => false,
        }
    }

    /// Without what the prices that are not on the invoice were told, so that a later invoice does not take it for billed.
    pub fn only_what_counts(mut self) -> Result<Self, SpecError> {
        // Prices stand in the order in which they begin to hold.
        let begins =
            |metered: &super::Metered| metered.spans.first().map_or(self.period.start, |span| span.start);
        let counted = super::metered(&self.segments)?;
        let counted = counted.iter().filter(|metered| self.counts_from(begins(metered))).count();
        self.usage.truncate(counted);
        Ok(self)
    }
}

/// What an invoice is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InvoiceKind {
    /// The whole period, when it is over: all lines.
    Period,
    /// Usage up to now, because a threshold was reached: usage lines only, of the prices that hold by then. The invoice of the period
    /// charges the rest.
    Progressive,
    /// At the subscription's start: what its first period is charged in advance, and once. The invoice of the period charges the
    /// rest.
    Opening,
}

/// A part of the period in which the terms did not change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BilledSegment {
    pub period: Period,
    /// The schedule's whole period that it is a part of; the same for all segments. None: it was not kept, and a level was
    /// averaged over each price's own time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scheduled: Option<Period>,
    pub terms: Terms,
    /// How much of a whole period's amounts this part is charged.
    pub share: Share,
    pub state: SegmentState,
}

/// By what a subscription is billed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Terms {
    pub plan: PlanTerms,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub add_ons: Vec<PlanTerms>,
    /// By how much the flat amount of a price is multiplied (seats); one where nothing is said.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub quantities: BTreeMap<PriceName, Quantity>,
}

/// One plan as it holds for a subscription: of one version, with the subscription's overrides in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlanTerms {
    pub name: PlanName,
    pub version: i32,
    pub spec: PlanSpec,
    /// How often the add-on was taken; it multiplies the flat amounts.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub quantity: Quantity,
}

fn one() -> Quantity {
    Quantity::ONE
}

fn is_one(quantity: &Quantity) -> bool {
    *quantity == Quantity::ONE
}

/// What an earlier invoice charged for one price, for time in this period.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AdvanceCharge {
    pub plan: PlanName,
    pub price: PriceName,
    /// As on its line, and net of the price's own discount.
    pub amount: Amount,
    /// What coupons took off it: what is given back of the amount was paid without it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub discounts: Vec<CouponShare>,
    /// What of the rest was not paid in money.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub credits: Vec<CreditShare>,
    /// Whether the invoice at the subscription's start charged it, which is one of this period.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub at_start: bool,
}

/// What a plan's maximum took off.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlanCap {
    pub plan: PlanName,
    /// As on its lines: negative.
    pub amount: Amount,
}

/// What is charged in advance: the next period, or the first one at the subscription's start.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NextTerms {
    pub period: Period,
    pub terms: Terms,
    /// Less than whole where the subscription is known to end within the next period.
    pub share: Share,
}

/// What one metered price is told of usage.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PriceUsage {
    pub plan: PlanName,
    pub price: PriceName,
    pub usage: Usage,
    /// What an earlier invoice of this period charged already: a part of `usage`, of the same shape.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub billed_before: Option<Usage>,
    /// Where coupons took something off what was charged for that, or credits paid some of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub discounted_before: Option<DiscountedUsage>,
    pub events: u64,
    pub meter_version: i32,
    /// For people: "call".
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<String>,
}

impl PriceUsage {
    /// The same as if nothing of it had been billed before.
    pub fn whole(&self) -> Self {
        Self { billed_before: None, discounted_before: None, ..self.clone() }
    }

    /// A total, for a price that asks for no more.
    pub fn total(metered: &super::Metered, quantity: Quantity, events: u64, meter_version: i32) -> Self {
        let super::Metered { plan, price, .. } = metered;
        Self {
            plan: plan.clone(),
            price: price.clone(),
            usage: Usage::Total(quantity),
            billed_before: None,
            discounted_before: None,
            events,
            meter_version,
            unit: None,
        }
    }
}
