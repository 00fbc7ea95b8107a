//! What a price must know of usage, and what it is told.
//!
//! Most prices want one number. Some look closer: at buckets of time, at groups, at single transactions. [`UsageShape`] is
//! what a price asks for, so that whoever reads usage reads no more than that; [`Usage`] is the answer. An answer of
//! another shape is an error, never a guess.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{
    catalogue::{BucketSize, PriceModel, PriceSpec, SpecError},
    decimal::{Overflow, Quantity},
};

/// The question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UsageShape {
    Total,
    /// By calendar bucket, and within it by these properties.
    Buckets {
        size: BucketSize,
        group_by: Vec<String>,
    },
    /// By the values of these properties.
    Groups {
        dimensions: Vec<String>,
    },
    /// Each event's value, in order of time.
    Transactions,
}

/// The answer, in the meter's unit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Usage {
    Total(Quantity),
    /// In order of start and group; empty buckets are left out.
    Buckets(Vec<BucketUsage>),
    /// In order of values.
    Groups(Vec<GroupUsage>),
    /// In order of time (then source and id), runs of equal values together.
    Transactions(Vec<TransactionRun>),
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BucketUsage {
    pub start: Timestamp,
    /// One value for each property of the bucket's `groupBy`; "" where the event has none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub group: Vec<String>,
    pub quantity: Quantity,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GroupUsage {
    pub values: Vec<String>,
    pub quantity: Quantity,
}

/// `count` transactions, one after the other, of `quantity` each.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TransactionRun {
    pub quantity: Quantity,
    pub count: u64,
}

impl UsageShape {
    /// What this price asks for; none for a flat price.
    pub fn of(price: &PriceSpec) -> Result<Option<Self>, SpecError> {
        let shape = match price.model()? {
            PriceModel::Flat(_) => return Ok(None),
            PriceModel::Matrix(matrix) => Self::Groups { dimensions: matrix.dimensions.clone() },
            PriceModel::Percentage(percentage) if percentage.looks_at_transactions() => Self::Transactions,
            PriceModel::PerUnit(_)
            | PriceModel::Package(_)
            | PriceModel::Graduated(_)
            | PriceModel::Volume(_)
            | PriceModel::Percentage(_)
            | PriceModel::GraduatedPercentage(_)
            | PriceModel::Dynamic(_) => match &price.bucket {
                Some(bucket) => Self::Buckets { size: bucket.size, group_by: bucket.group_by.clone() },
                None => Self::Total,
            },
        };
        Ok(Some(shape))
    }
}

impl Usage {
    /// What the parts come to: what an invoice line shows as its quantity.
    pub fn total(&self) -> Result<Quantity, Overflow> {
        self.parts().try_fold(Quantity::ZERO, |total, (quantity, count)| {
            let count = i64::try_from(count).map(Quantity::from_integer).map_err(|_| Overflow)?;
            total.checked_add(Quantity(quantity.0.checked_mul(count.0)?))
        })
    }

    /// A negative part, if there is one: no price knows what it would mean.
    pub(super) fn negative(&self) -> Option<Quantity> {
        self.parts().map(|(quantity, _)| quantity).find(|quantity| quantity.is_negative())
    }

    /// Each part, and how often it is there.
    fn parts(&self) -> Box<dyn Iterator<Item = (Quantity, u64)> + '_> {
        match self {
            Self::Total(quantity) => Box::new(std::iter::once((*quantity, 1))),
            Self::Buckets(buckets) => Box::new(buckets.iter().map(|bucket| (bucket.quantity, 1))),
            Self::Groups(groups) => Box::new(groups.iter().map(|group| (group.quantity, 1))),
            Self::Transactions(runs) => Box::new(runs.iter().map(|run| (run.quantity, run.count))),
        }
    }

    /// For messages: the field by which usage of this shape is given.
    pub(super) fn shape(&self) -> &'static str {
        match self {
            Self::Total(_) => "a total",
            Self::Buckets(_) => "buckets",
            Self::Groups(_) => "groups",
            Self::Transactions(_) => "transactions",
        }
    }
}
