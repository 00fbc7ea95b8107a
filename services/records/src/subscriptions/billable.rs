//! What terms may not say because no invoice could be made of it: found when they are made, and not when the first period is over.

use meridian_billing::{
    catalogue::{PlanSpec, SpecError, SpecErrorCode},
    decimal::{Amount, Quantity},
    ids::PlanName,
    money::Currency,
    subscription::{AddOnSpec, CustomTerms, QuantitySpec},
};
use serde_json::Value;

use super::{BILLED_FROM, BILLED_UNTIL, PlanVersion};

/// So much more than one line's amount an invoice must be able to say: lines add up, and taxes come on top.
const ROOM: i64 = 1_000;

/// `base` is the plan that it begins with; `versions` are the plans that the terms name, as they are now, and `own` the same as they
/// hold for the subscription.
pub(super) fn check(
    custom: &CustomTerms,
    base: &PlanName,
    versions: &[PlanVersion],
    own: &[PlanSpec],
) -> Result<(), SpecError> {
    if let Some(field) = serde_json::to_value(custom).ok().and_then(|terms| with_nul(&terms)) {
        return Err(SpecError::new(field, SpecErrorCode::Malformed, "must not contain the character U+0000"));
    }
    for (index, change) in custom.changes.iter().enumerate() {
        if !(BILLED_FROM..=BILLED_UNTIL).contains(&change.at) {
            let detail = format!("must be between {BILLED_FROM} and {BILLED_UNTIL}");
            return Err(SpecError::new(format!("changes[{index}].at"), SpecErrorCode::OutOfRange, detail));
        }
    }
    let base = versions.iter().find(|version| version.name == *base);
    if let Some(currency) = base.map(|version| version.spec.currency) {
        one_currency(custom, versions, currency)?;
    }
    quantities_fit(custom, own)
}

/// The path of the first text with a character that Postgres does not store.
fn with_nul(value: &Value) -> Option<String> {
    // Each step with what goes before it; the whole without the first dot.
    fn steps(value: &Value) -> Option<String> {
        match value {
            Value::String(text) => text.contains('\0').then(String::new),
            Value::Array(items) => {
                let mut items = items.iter().enumerate();
                items.find_map(|(index, item)| Some(format!("[{index}]{}", steps(item)?)))
            }
            Value::Object(fields) => {
                fields.iter().find_map(|(name, field)| Some(format!(".{name}{}", steps(field)?)))
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => None,
        }
    }
    steps(value).map(|path| path.trim_start_matches('.').to_owned())
}

/// An invoice is in one currency.
fn one_currency(custom: &CustomTerms, versions: &[PlanVersion], currency: Currency) -> Result<(), SpecError> {
    let conflict = |field: String, other: Currency| {
        let detail = format!("is in {other}, but the subscription's plan is in {currency}");
        SpecError::new(field, SpecErrorCode::Conflicting, detail)
    };
    if let Some(other) = versions.iter().find(|version| version.spec.currency != currency) {
        let named = |name: &str| name == other.name.as_str();
        let changes = || custom.changes.iter().enumerate();
        let field = changes()
            .find(|(_, change)| change.plan_ref.as_ref().is_some_and(|plan| named(&plan.name)))
            .map(|(index, _)| format!("changes[{index}].planRef"))
            .or_else(|| {
                let added = |add_ons: &[AddOnSpec]| add_ons.iter().any(|add_on| named(&add_on.plan_ref.name));
                changes()
                    .find(|(_, change)| change.add_ons.as_deref().is_some_and(added))
                    .map(|(index, _)| format!("changes[{index}].addOns"))
            })
            .unwrap_or_else(|| "addOns".to_owned());
        return Err(conflict(field, other.spec.currency));
    }
    let foreign = custom
        .coupons
        .iter()
        .enumerate()
        .find_map(|(index, coupon)| Some((index, coupon.currency.filter(|own| *own != currency)?)));
    foreign.map_or(Ok(()), |(index, other)| Err(conflict(format!("coupons[{index}].currency"), other)))
}

/// What a flat price comes to by its quantity is an amount.
fn quantities_fit(custom: &CustomTerms, own: &[PlanSpec]) -> Result<(), SpecError> {
    let of_changes = custom.changes.iter().enumerate().flat_map(|(change, spec)| {
        let taken = spec.quantities.iter().flatten().enumerate();
        taken.map(move |(index, taken)| (format!("changes[{change}].quantities[{index}].quantity"), taken))
    });
    let from_the_start = custom.quantities.iter().enumerate();
    let from_the_start =
        from_the_start.map(|(index, taken)| (format!("quantities[{index}].quantity"), taken));
    for (field, QuantitySpec { price: of, quantity }) in from_the_start.chain(of_changes) {
        let prices = own.iter().flat_map(|plan| &plan.prices).filter(|price| price.name == *of);
        for amount in prices.filter_map(|price| Some(price.flat.as_ref()?.amount)) {
            if !fits(*quantity, amount) {
                let detail = format!("so many times {amount} is more than an invoice can say");
                return Err(SpecError::new(field, SpecErrorCode::OutOfRange, detail));
            }
        }
    }
    Ok(())
}

fn fits(quantity: Quantity, amount: Amount) -> bool {
    quantity.times(amount).and_then(|amount| Quantity::from_integer(ROOM).times(amount)).is_ok()
}
