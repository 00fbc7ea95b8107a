//! Every name in the file that means something elsewhere in the file. One that means nothing would not fail later: it would
//! be a discount for nobody. Plans are looked up by [`crate::periods`]; overrides, and what prices ask of meters, by
//! [`crate::catalogue_file`].

use std::collections::{BTreeMap, BTreeSet};

use meridian_billing::{
    catalogue::PlanSpec,
    ids::{PlanName, PriceName},
    subscription::SubscriptionSpec,
};

use crate::SimulateError;

/// Seats are of a price; a list of prices names at least one that is there (others may be of plans that are not in the file).
pub fn check_prices(
    place: &str,
    subscription: &SubscriptionSpec,
    plans: &BTreeMap<PlanName, PlanSpec>,
) -> Result<(), SimulateError> {
    let known: BTreeSet<&str> =
        plans.values().flat_map(|plan| &plan.prices).map(|price| price.name.as_str()).collect();
    let unknown = |field: String, name: &str| {
        let problem = format!("no plan in the file has a price {name:?}");
        Err(SimulateError::new(format!("{place}: spec.{field}"), problem))
    };
    let changed = subscription.changes.iter().enumerate().flat_map(|(index, change)| {
        let quantities = change.quantities.as_deref().unwrap_or_default();
        quantities
            .iter()
            .enumerate()
            .map(move |(at, seats)| (format!("changes[{index}].quantities[{at}]"), seats))
    });
    let first = subscription.quantities.iter().enumerate();
    for (field, seats) in first.map(|(index, seats)| (format!("quantities[{index}]"), seats)).chain(changed) {
        if !known.contains(seats.price.as_str()) {
            return unknown(format!("{field}.price"), &seats.price);
        }
    }
    for (field, prices) in lists(subscription) {
        match prices.first() {
            Some(first) if !prices.iter().any(|price| known.contains(price.as_str())) => {
                return unknown(field, first.as_str());
            }
            Some(_) | None => {}
        }
    }
    Ok(())
}

/// Every list of prices, with its field.
fn lists(subscription: &SubscriptionSpec) -> Vec<(String, &[PriceName])> {
    let coupons = subscription.coupons.iter().map(|coupon| &coupon.prices).enumerate();
    let rates = subscription.tax_rates.iter().map(|rate| &rate.prices).enumerate();
    let grants = subscription.grants.iter().map(|grant| &grant.prices).enumerate();
    let all = [
        ("coupons", coupons.collect::<Vec<_>>()),
        ("taxRates", rates.collect()),
        ("grants", grants.collect()),
    ];
    all.into_iter()
        .flat_map(|(list, prices)| {
            prices.into_iter().filter_map(move |(index, prices)| {
                prices.as_deref().map(|prices| (format!("{list}[{index}].prices"), prices))
            })
        })
        .collect()
}
