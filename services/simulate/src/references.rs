//! Every name in the file that means something elsewhere in the file. One that means nothing would not fail later: it would
//! be a discount for nobody. Plans are looked up by [`crate::periods`]; overrides, and what prices ask of meters, by
//! [`crate::catalogue_file`].

use std::collections::{BTreeMap, BTreeSet};

use meridian_billing::{
    catalogue::PlanSpec,
    ids::{PlanName, PriceName},
    subscription::{QuantitySpec, SubscriptionSpec},
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
    for (field, seats) in seats(subscription) {
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

/// Seats multiply a flat amount; of a price that counts usage they would say nothing. `plans` are as overrides leave them.
pub fn check_seats(
    place: &str,
    subscription: &SubscriptionSpec,
    plans: &BTreeMap<PlanName, PlanSpec>,
) -> Result<(), SimulateError> {
    let prices = || plans.values().flat_map(|plan| &plan.prices);
    for (field, seats) in seats(subscription) {
        if !prices().any(|price| price.name == seats.price && price.flat.is_some()) {
            let problem =
                format!("price {:?} counts usage: only a flat amount is taken several times", seats.price);
            return Err(SimulateError::new(format!("{place}: spec.{field}.price"), problem));
        }
    }
    Ok(())
}

/// Every quantity, with its field.
fn seats(subscription: &SubscriptionSpec) -> Vec<(String, &QuantitySpec)> {
    let changes = subscription.changes.iter().enumerate();
    let changed = changes.map(|(index, change)| {
        (format!("changes[{index}]."), change.quantities.as_deref().unwrap_or_default())
    });
    std::iter::once((String::new(), subscription.quantities.as_slice()))
        .chain(changed)
        .flat_map(|(of, list)| {
            list.iter().enumerate().map(move |(at, seats)| (format!("{of}quantities[{at}]"), seats))
        })
        .collect()
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
