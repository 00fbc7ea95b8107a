//! Every name in the file that means something elsewhere in the file. One that means nothing would not fail later: it would
//! be a discount for nobody or usage at the wrong price. Plans are looked up by [`crate::periods`]; overrides by
//! [`crate::catalogue_file`].

use std::collections::{BTreeMap, BTreeSet};

use meridian_billing::{
    catalogue::{MeterSpec, PlanSpec, PriceModel, PriceSpec},
    ids::{MeterName, PlanName, PriceName},
    subscription::SubscriptionSpec,
};

use crate::SimulateError;

/// The properties that a price tells apart are those that its meter groups by.
pub fn check_dimensions(
    plan: &PlanName,
    spec: &PlanSpec,
    meters: &BTreeMap<MeterName, MeterSpec>,
) -> Result<(), SimulateError> {
    for (index, price) in spec.prices.iter().enumerate() {
        let meter = price.meter_ref.as_ref().and_then(|meter| MeterName::new(meter.name.as_str()).ok());
        let Some((name, meter)) = meter.and_then(|name| meters.get_key_value(&name)) else { continue };
        for (field, property) in dimensions(price) {
            if !meter.group_by.contains(property) {
                let problem = format!("Meter {name} does not group by {property:?}: add it to its groupBy");
                return Err(SimulateError::new(
                    format!("Plan {plan}: spec.prices[{index}].{field}"),
                    problem,
                ));
            }
        }
    }
    Ok(())
}

/// With the fields that name them.
fn dimensions(price: &PriceSpec) -> Vec<(String, &String)> {
    let matrix = match price.model() {
        Ok(PriceModel::Matrix(matrix)) => matrix.dimensions.as_slice(),
        Ok(_) | Err(_) => &[],
    };
    let bucket = price.bucket.as_ref().map(|bucket| bucket.group_by.as_slice()).unwrap_or_default();
    let named = |field: &'static str, properties| {
        let place = move |(index, property)| (format!("{field}[{index}]"), property);
        <[String]>::iter(properties).enumerate().map(place).collect::<Vec<_>>()
    };
    [named("matrix.dimensions", matrix), named("bucket.groupBy", bucket)].concat()
}

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
