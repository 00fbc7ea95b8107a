//! Plan: a currency, an interval, and prices. What a price is stands in price_spec.rs.

use serde::{Deserialize, Serialize};

use super::{
    NameRef, PriceSpec, SpecError, SpecErrorCode, check_distinct_names, price_spec::check_bounds, read_shape,
};
use crate::{decimal::Amount, money::Currency};

/// `Plan.spec`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PlanSpec {
    pub region_ref: NameRef,
    /// One tenant's own plan; absent: the region's shared catalogue.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant_ref: Option<NameRef>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    pub currency: Currency,
    pub interval: IntervalSpec,
    pub prices: Vec<PriceSpec>,
    /// The least that all prices together cost in a period; what is missing becomes a line of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub minimum: Option<Amount>,
    /// The most that all prices together cost in a period; what is beyond is taken off by a line of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub maximum: Option<Amount>,
    /// Who is billed by the version of the plan that says this. It bills nothing itself, and is a part of the version all the
    /// same: a change of it alone makes a version, by which those move whom the version before left where they were.
    #[serde(default, skip_serializing_if = "UpdatePolicy::is_default")]
    pub update_policy: UpdatePolicy,
}

/// Whom a version of a plan moves. What that comes to for a subscription is in subscription/plan_versions.rs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub enum UpdatePolicy {
    /// Nobody: it is for subscriptions that take the plan after it was made.
    New,
    /// Running subscriptions too, from the start of their next period.
    #[default]
    NextPeriod,
    /// Running subscriptions too, at once: the running period is split at the instant at which the version was made.
    Immediate,
}

impl UpdatePolicy {
    pub const ALL: [Self; 3] = [Self::New, Self::NextPeriod, Self::Immediate];

    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum IntervalUnit {
    Day,
    Week,
    Month,
    Quarter,
    Year,
}

/// How long a billing period is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct IntervalSpec {
    pub unit: IntervalUnit,
    #[serde(default = "one")]
    pub count: u32,
}

fn one() -> u32 {
    1
}

/// Most prices of a plan.
pub const PRICES_MAX: usize = 100;
/// Longest interval, in its unit: no period is longer than ten years.
const COUNT_MAX: [(IntervalUnit, u32); 5] = [
    (IntervalUnit::Day, 3650),
    (IntervalUnit::Week, 520),
    (IntervalUnit::Month, 120),
    (IntervalUnit::Quarter, 40),
    (IntervalUnit::Year, 10),
];

impl PlanSpec {
    pub fn from_json(spec: &serde_json::Value) -> Result<Self, SpecError> {
        let plan: Self = read_shape(spec)?;
        plan.validate()?;
        Ok(plan)
    }

    pub fn validate(&self) -> Result<(), SpecError> {
        self.interval.validate()?;
        if self.prices.is_empty() || self.prices.len() > PRICES_MAX {
            return Err(SpecError::new("prices", SpecErrorCode::OutOfRange, "a plan has 1 to 100 prices"));
        }
        check_distinct_names("prices", self.prices.iter().map(|price| price.name.as_str()))?;
        for (index, price) in self.prices.iter().enumerate() {
            price.validate().map_err(|error| error.below(&format!("prices[{index}]")))?;
        }
        check_bounds(self.minimum, self.maximum)
    }

    /// The meters that this plan's prices count, each once, in order of name.
    pub fn meter_names(&self) -> Vec<&str> {
        let names: std::collections::BTreeSet<&str> = self
            .prices
            .iter()
            .filter_map(|price| price.meter_ref.as_ref())
            .map(|meter| meter.name.as_str())
            .collect();
        names.into_iter().collect()
    }

    /// What of the plan decides invoices: two versions that are equal in this, and count the same meters, bill alike. A
    /// field that a plan gets tomorrow is a part of it, until somebody says here that it bills nothing.
    pub fn as_billed(&self) -> Self {
        let mut billed = Self { description: None, update_policy: UpdatePolicy::default(), ..self.clone() };
        billed.prices.sort_by(|a, b| a.name.cmp(&b.name));
        billed
    }
}

impl IntervalSpec {
    fn validate(&self) -> Result<(), SpecError> {
        let longest = COUNT_MAX.iter().find(|(unit, _)| *unit == self.unit).map_or(0, |(_, count)| *count);
        if self.count == 0 || self.count > longest {
            let detail = format!("must be 1 to {longest} for {:?}", self.unit);
            return Err(SpecError::new("interval.count", SpecErrorCode::OutOfRange, detail));
        }
        Ok(())
    }
}
