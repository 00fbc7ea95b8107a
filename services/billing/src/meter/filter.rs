//! Whether an event holds a meter's filters. Their shape, and what makes no sense, is in catalogue/filter_spec.rs.
//!
//! A numeric comparison with a value that is no number, or none that 38 digits hold, is undecided: neither true nor false.
//! Undecided follows Kleene's three-valued logic: a group is undecided only when its decided members leave the answer open,
//! and an event whose answer stays open is quarantined. So the order in which filters are written changes nothing, and no
//! event goes uncounted because a producer changed a number into a text.

use super::value::{self, QuarantineReason};
use crate::{
    catalogue::{ConditionSpec, FilterOperator, FilterSpec},
    decimal::Decimal,
    event::UsageEvent,
};

/// Whether each of `filters` holds; an error is why that cannot be said.
pub(super) fn all_hold(filters: &[FilterSpec], event: &UsageEvent) -> Result<bool, QuarantineReason> {
    settle(filters, event, false)
}

fn any_holds(filters: &[FilterSpec], event: &UsageEvent) -> Result<bool, QuarantineReason> {
    settle(filters, event, true)
}

/// One member that is `decisive` decides the group; else one that is undecided leaves it open.
fn settle(filters: &[FilterSpec], event: &UsageEvent, decisive: bool) -> Result<bool, QuarantineReason> {
    let mut undecided = None;
    for filter in filters {
        match holds(filter, event) {
            Ok(answer) if answer == decisive => return Ok(decisive),
            Ok(_) => {}
            Err(reason) => undecided = undecided.or(Some(reason)),
        }
    }
    undecided.map_or(Ok(!decisive), Err)
}

fn holds(filter: &FilterSpec, event: &UsageEvent) -> Result<bool, QuarantineReason> {
    match filter {
        FilterSpec::Condition(condition) => condition_holds(condition, event),
        FilterSpec::AnyOf(filters) => any_holds(filters, event),
        FilterSpec::AllOf(filters) => all_hold(filters, event),
    }
}

fn condition_holds(condition: &ConditionSpec, event: &UsageEvent) -> Result<bool, QuarantineReason> {
    let ConditionSpec { property, operator, values } = condition;
    let text = || value::text(event, property);
    let listed = || text().is_some_and(|text| values.contains(&text));
    Ok(match operator {
        FilterOperator::In | FilterOperator::Eq => listed(),
        FilterOperator::NotIn | FilterOperator::NotEq => !listed(),
        FilterOperator::Prefix => {
            text().is_some_and(|text| values.iter().any(|start| text.starts_with(start)))
        }
        FilterOperator::Gt => compared(condition, event)?.is_some_and(|(number, bound)| number > bound),
        FilterOperator::Gte => compared(condition, event)?.is_some_and(|(number, bound)| number >= bound),
        FilterOperator::Lt => compared(condition, event)?.is_some_and(|(number, bound)| number < bound),
        FilterOperator::Lte => compared(condition, event)?.is_some_and(|(number, bound)| number <= bound),
    })
}

/// The event's number and the condition's; None for an event without the property.
fn compared(
    condition: &ConditionSpec,
    event: &UsageEvent,
) -> Result<Option<(Decimal, Decimal)>, QuarantineReason> {
    let Some(value) = value::present(event, &condition.property) else { return Ok(None) };
    let bound = condition.values.first().and_then(|bound| bound.parse().ok());
    // A valid spec has one value and it is a decimal.
    let bound = bound.ok_or_else(|| QuarantineReason::NotANumber {
        property: condition.property.clone(),
        found: format!("compared with {:?}", condition.values),
    })?;
    Ok(Some((value::decimal(&condition.property, value)?, bound)))
}
