//! The catalogue as it is written down: the `spec` of Meter, Plan and Tenant, the same shape in Kubernetes, on the API's
//! control port and in `simulate` files (camelCase, amounts as decimal strings, unknown fields refused).
//!
//! `from_json` reads and checks a spec in one step and names the field of the first thing that is wrong; what it returns is
//! valid. Nothing here knows versions, owners or stores. Neighbours: crds/ carries the same shapes with their schemas.

mod filter_spec;
mod meter_fit;
mod meter_spec;
mod plan_spec;
mod price_models;
mod price_spec;
mod tenant_spec;
#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize, de::DeserializeOwned};

pub use filter_spec::{ConditionSpec, FilterOperator, FilterSpec};
pub use meter_fit::check_meter_fit;
pub use meter_spec::{AggregationKind, MeterSpec, ResetPolicy};
pub use plan_spec::{IntervalSpec, IntervalUnit, PlanSpec, UpdatePolicy};
pub use price_models::{
    Billed, BlockSpec, DynamicSpec, FlatSpec, MatrixRowSpec, MatrixSpec, PackageRounding, PackageSpec,
    PerUnitSpec, PercentageSpec, RateTierSpec, RateTiersSpec, TierSpec, TieredSpec,
};
pub use price_spec::{
    BucketSize, BucketSpec, CommitmentSpec, CommitmentWindow, DiscountSpec, PriceModel, PriceSpec,
    PricingUnitSpec, TimeOfDaySpec, UnitRounding, UnitSpec,
};
pub use tenant_spec::{ApiKeySpec, TenantSpec};

/// A reference to an object of the same namespace.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NameRef {
    pub name: String,
}

/// What kind of mistake a spec holds. The codes are stable: clients and conditions key on them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SpecErrorCode {
    /// Not the shape at all: a missing, unknown or mistyped field, a bad decimal, an unknown currency.
    Malformed,
    /// A name is empty, too long, or twice in a list.
    InvalidName,
    /// The time zone is not in the IANA database.
    UnknownTimeZone,
    /// A field is missing that another one calls for.
    Missing,
    /// Fields exclude each other.
    Conflicting,
    /// A number is out of its range.
    OutOfRange,
    /// Tiers are not ascending, overlap, leave a gap, or the last one is closed.
    TierOrder,
    /// A price that counts usage names no meter, or one that does not names one.
    PriceWithoutMeter,
    /// A price asks its meter for something that the meter does not have.
    MeterMisfit,
}

/// The first thing that is wrong with a spec: where, what, and what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {detail}")]
pub struct SpecError {
    /// Path below `spec`, such as `prices[0].graduated.tiers[1].upTo`.
    pub field: String,
    pub code: SpecErrorCode,
    pub detail: String,
}

impl SpecError {
    pub fn new(field: impl Into<String>, code: SpecErrorCode, detail: impl Into<String>) -> Self {
        Self { field: field.into(), code, detail: detail.into() }
    }

    /// Something that a field names is not there.
    pub fn missing(field: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::new(field, SpecErrorCode::Missing, detail)
    }

    /// The same error, one level further down the path.
    pub(crate) fn below(mut self, parent: &str) -> Self {
        self.field = match self.field.as_str() {
            "" => parent.to_owned(),
            field if field.starts_with('[') => format!("{parent}{field}"),
            field => format!("{parent}.{field}"),
        };
        self
    }
}

/// Reads the shape; the path of a mistake comes from the deserializer.
pub(crate) fn read_shape<T: DeserializeOwned>(spec: &serde_json::Value) -> Result<T, SpecError> {
    serde_path_to_error::deserialize(spec).map_err(|error| {
        let path = error.path().to_string();
        let field = if path == "." { String::new() } else { path };
        SpecError::new(field, SpecErrorCode::Malformed, error.into_inner().to_string())
    })
}

/// A free text that names something of the events: a type, a property.
fn check_text(field: &str, text: &str) -> Result<(), SpecError> {
    crate::ids::check_key("", text)
        .map_err(|problem| SpecError::new(field, SpecErrorCode::InvalidName, problem.problem))
}

/// The names in a list must be DNS names and distinct.
fn check_distinct_names<'a>(list: &str, names: impl Iterator<Item = &'a str>) -> Result<(), SpecError> {
    let mut seen = std::collections::BTreeSet::new();
    for (index, name) in names.enumerate() {
        let field = format!("{list}[{index}].name");
        if let Err(problem) = crate::ids::PriceName::new(name) {
            return Err(SpecError::new(field, SpecErrorCode::InvalidName, problem.problem));
        }
        if !seen.insert(name) {
            return Err(SpecError::new(
                field,
                SpecErrorCode::InvalidName,
                format!("{name:?} is in the list twice"),
            ));
        }
    }
    Ok(())
}
