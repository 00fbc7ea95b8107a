//! How an amount came about, step by step: what an invoice line shows when somebody asks why. Steps that say nothing are left
//! out; the amounts of the others add up to the line's amount before rounding.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{
    decimal::{Amount, Decimal, Quantity},
    subscription::Share,
};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "step")]
pub enum TraceStep {
    /// One bucket of a price that prices them apart; `steps` are its own.
    Bucket {
        start: Timestamp,
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        group: Vec<String>,
        quantity: Quantity,
        amount: Amount,
        steps: Vec<TraceStep>,
    },
    /// The metered quantity in the unit that is sold.
    Unit { metered: Quantity, divide_by: Quantity, quantity: Quantity },
    /// So much of the quantity was free.
    Included { quantity: Quantity },
    /// So much more of it was free by a discount.
    DiscountedUnits { quantity: Quantity },
    /// A fixed amount.
    Flat { amount: Amount },
    /// Units at one price each.
    Units { quantity: Quantity, unit_amount: Amount, amount: Amount },
    /// Whole packages; `quantity` is the usage that they cover, after free units.
    Packages { quantity: Quantity, packages: Quantity, package_amount: Amount, amount: Amount },
    /// What fell into one tier: `quantity` units in (from, up_to], at the tier's prices.
    Tier {
        tier: u32,
        from: Quantity,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        up_to: Option<Quantity>,
        quantity: Quantity,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        unit_amount: Option<Amount>,
        /// Of a tier that is priced in blocks.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        blocks: Option<BlocksStep>,
        /// Of a tier that is priced by a percentage.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        rate: Option<Decimal>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        flat_amount: Option<Amount>,
        amount: Amount,
    },
    /// Value that costs nothing, and the transactions that are free with it.
    Free { quantity: Quantity, transactions: u64 },
    /// A percentage of a value.
    Percentage { quantity: Quantity, rate: Decimal, amount: Amount },
    /// A fee for each transaction.
    Transactions { transactions: u64, fixed_amount: Amount, amount: Amount },
    /// What the least or most that a transaction costs adds or takes.
    TransactionBounds { transactions: u64, amount: Amount },
    /// An amount that the events carry, times a factor.
    Dynamic { quantity: Quantity, multiplier: Decimal, amount: Amount },
    /// Units of one row of a matrix, or of none (`row` 0).
    Row { row: u32, values: Vec<String>, quantity: Quantity, unit_amount: Amount, amount: Amount },
    /// What an amount in a unit of the plan's own differs from its worth in money.
    PricingUnit { unit: String, charged: Amount, rate: Amount, amount: Amount },
    /// What an earlier invoice of the same period charged for `quantity` of it.
    BilledBefore { quantity: Quantity, amount: Amount },
    /// The part of a period that an amount is for.
    Prorated { whole: Amount, share: Share, amount: Amount },
    /// What an earlier invoice charged in advance.
    ChargedInAdvance { amount: Amount },
    /// What was missing to a minimum, after `charged`.
    Minimum { minimum: Amount, charged: Amount, amount: Amount },
    /// What was charged beyond a maximum, as a negative amount.
    Maximum { maximum: Amount, charged: Amount, amount: Amount },
    /// A percentage off, as a negative amount.
    Discount { percent: Decimal, charged: Amount, amount: Amount },
    /// What was missing to a commitment, after `charged`.
    Commitment { commitment: Amount, charged: Amount, amount: Amount },
    /// What spend beyond a commitment costs more.
    Overage { commitment: Amount, charged: Amount, factor: Decimal, amount: Amount },
    /// What a coupon takes off, as a negative amount.
    Coupon { amount: Amount },
    /// What a grant, or one recurrence of it, pays, as a negative amount.
    Credit { effective_at: Timestamp, amount: Amount },
    /// What is carried until the next grant, as a negative amount.
    Carried { amount: Amount },
    /// A tax that is added.
    Tax { percent: Decimal, base: Amount, amount: Amount },
}

/// Whole blocks that a tier's units are sold in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BlocksStep {
    pub blocks: Quantity,
    pub block_amount: Amount,
}

impl TraceStep {
    /// What this step adds to the line's amount.
    pub fn amount(&self) -> Amount {
        match self {
            Self::Unit { .. } | Self::Included { .. } | Self::DiscountedUnits { .. } | Self::Free { .. } => {
                Amount::ZERO
            }
            Self::Bucket { amount, .. }
            | Self::Flat { amount }
            | Self::Units { amount, .. }
            | Self::Packages { amount, .. }
            | Self::Tier { amount, .. }
            | Self::Percentage { amount, .. }
            | Self::Transactions { amount, .. }
            | Self::TransactionBounds { amount, .. }
            | Self::Dynamic { amount, .. }
            | Self::Row { amount, .. }
            | Self::PricingUnit { amount, .. }
            | Self::BilledBefore { amount, .. }
            | Self::Prorated { amount, .. }
            | Self::ChargedInAdvance { amount }
            | Self::Minimum { amount, .. }
            | Self::Maximum { amount, .. }
            | Self::Discount { amount, .. }
            | Self::Commitment { amount, .. }
            | Self::Overage { amount, .. }
            | Self::Coupon { amount }
            | Self::Credit { amount, .. }
            | Self::Carried { amount }
            | Self::Tax { amount, .. } => *amount,
        }
    }
}
