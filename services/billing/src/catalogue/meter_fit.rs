//! Whether a plan's prices fit the meters that they count. A price that asks its meter for what the meter does not have would
//! not fail when it is billed: it would bill something else. A dimension that the meter does not group by is "" in every
//! event, so that all usage costs the default; single transactions that do not add up to the meter's quantity are another
//! quantity.
//!
//! A spec by itself cannot say this, so that it is no part of `validate`: whoever has both calls it, the operator and the
//! region when either of the two is applied, `simulate` when a file is read. A meter that is not there is not judged here.

use super::{
    AggregationKind, MeterSpec, PlanSpec, PriceModel, PriceSpec, ResetPolicy, SpecError, SpecErrorCode,
};

/// The first price that does not fit, by its field in the plan. `meter_of` finds meters by name.
pub fn check_meter_fit<'a>(
    plan: &PlanSpec,
    meter_of: impl Fn(&str) -> Option<&'a MeterSpec>,
) -> Result<(), SpecError> {
    for (index, price) in plan.prices.iter().enumerate() {
        let Some(name) = price.meter_ref.as_ref().map(|meter| meter.name.as_str()) else { continue };
        let Some(meter) = meter_of(name) else { continue };
        check_price(price, name, meter).map_err(|error| error.below(&format!("prices[{index}]")))?;
    }
    Ok(())
}

fn check_price(price: &PriceSpec, name: &str, meter: &MeterSpec) -> Result<(), SpecError> {
    if let Some(bucket) = &price.bucket {
        check_grouped("bucket.groupBy", &bucket.group_by, name, meter)?;
    }
    match price.model()? {
        PriceModel::Matrix(matrix) => check_grouped("matrix.dimensions", &matrix.dimensions, name, meter),
        PriceModel::Percentage(percentage) if percentage.looks_at_transactions() => {
            check_adds_up(name, meter).map_err(|error| error.below("percentage"))
        }
        PriceModel::Flat(_)
        | PriceModel::PerUnit(_)
        | PriceModel::Package(_)
        | PriceModel::Graduated(_)
        | PriceModel::Volume(_)
        | PriceModel::Percentage(_)
        | PriceModel::GraduatedPercentage(_)
        | PriceModel::Dynamic(_) => Ok(()),
    }
}

/// The properties that a price tells apart are among those that its meter groups by.
fn check_grouped(field: &str, properties: &[String], name: &str, meter: &MeterSpec) -> Result<(), SpecError> {
    match properties.iter().enumerate().find(|(_, property)| !meter.group_by.contains(property)) {
        Some((index, property)) => {
            let detail = format!("Meter {name} does not group by {property:?}: count a Meter that does");
            Err(SpecError::new(format!("{field}[{index}]"), SpecErrorCode::MeterMisfit, detail))
        }
        None => Ok(()),
    }
}

/// Each event is a transaction of its value, so that the quantity must be the sum of these values and nothing else.
fn check_adds_up(name: &str, meter: &MeterSpec) -> Result<(), SpecError> {
    let sums = match meter.aggregation {
        AggregationKind::Count | AggregationKind::Sum => true,
        AggregationKind::Max
        | AggregationKind::Min
        | AggregationKind::Average
        | AggregationKind::Latest
        | AggregationKind::UniqueCount
        | AggregationKind::WeightedSum
        | AggregationKind::Percentile => false,
    };
    let reason = match (sums, meter.multiplier, meter.reset) {
        (false, _, _) => format!("counts by {}", meter.aggregation.as_str()),
        (true, Some(_), _) => "has a multiplier".to_owned(),
        (true, None, ResetPolicy::Never) => "is never reset".to_owned(),
        (true, None, ResetPolicy::EachPeriod) => return Ok(()),
    };
    let detail = format!(
        "fixedPerTransaction, freeTransactions, minPerTransaction and maxPerTransaction look at single events, and Meter \
         {name} {reason}, so that its quantity is not what its events add up to: count a Sum without a multiplier that is \
         reset each period, or leave them out"
    );
    Err(SpecError::new("", SpecErrorCode::MeterMisfit, detail))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(meter: &str, price: &str) -> String {
        let meter: MeterSpec = serde_saphyr::from_str(&format!(
            "{{regionRef: {{name: eu}}, eventType: e, aggregation: {meter}}}"
        ))
        .expect("a meter");
        meter.validate().expect("valid");
        let plan: PlanSpec = serde_saphyr::from_str(&format!(
            "{{regionRef: {{name: eu}}, currency: USD, interval: {{unit: Month}}, prices: [
                {{name: base, flat: {{amount: '1'}}}}, {{name: p, meterRef: {{name: m}}, {price}}}]}}"
        ))
        .expect("a plan");
        plan.validate().expect("valid");
        match check_meter_fit(&plan, |name| (name == "m").then_some(&meter)) {
            Ok(()) => "ok".to_owned(),
            Err(SpecError { field, code, detail }) => {
                assert_eq!(code, SpecErrorCode::MeterMisfit);
                format!("{field}: {}", detail.split(':').next().expect("a sentence"))
            }
        }
    }

    #[test]
    fn a_price_tells_apart_what_its_meter_groups_by() {
        let matrix = "matrix: {dimensions: [region, model], default: '1', rows: []}";
        let bucket = "perUnit: {amount: '1'}, bucket: {size: Hour, groupBy: [model]}";
        for (meter, price, expected) in [
            ("Count, groupBy: [model, region, other]", matrix, "ok"),
            (
                "Count, groupBy: [region]",
                matrix,
                "prices[1].matrix.dimensions[1]: Meter m does not group by \"model\"",
            ),
            ("Count", matrix, "prices[1].matrix.dimensions[0]: Meter m does not group by \"region\""),
            ("UniqueCount, valueProperty: user, groupBy: [model]", bucket, "ok"),
            (
                "Sum, valueProperty: model, groupBy: [region]",
                bucket,
                "prices[1].bucket.groupBy[0]: Meter m does not group by \"model\"",
            ),
            ("Max, valueProperty: n", "perUnit: {amount: '1'}, bucket: {size: Hour}", "ok"),
            ("Count", "graduated: {tiers: [{unitAmount: '1'}]}", "ok"),
        ] {
            assert_eq!(shown(meter, price), expected, "{meter} {price}");
        }
    }

    #[test]
    fn single_transactions_add_up_to_the_quantity_of_their_meter() {
        for meter in ["Count", "Sum, valueProperty: n", "Sum, valueProperty: n, reset: EachPeriod"] {
            assert_eq!(shown(meter, "percentage: {rate: '1', fixedPerTransaction: '2'}"), "ok", "{meter}");
        }
        for (meter, reason) in [
            ("Sum, valueProperty: n, multiplier: '0.01'", "has a multiplier"),
            ("Sum, valueProperty: n, reset: Never", "is never reset"),
            ("Max, valueProperty: n", "counts by Max"),
            ("Min, valueProperty: n", "counts by Min"),
            ("Average, valueProperty: n", "counts by Average"),
            ("Latest, valueProperty: n", "counts by Latest"),
            ("UniqueCount, valueProperty: n", "counts by UniqueCount"),
            ("WeightedSum, valueProperty: n", "counts by WeightedSum"),
            ("Percentile, valueProperty: n, percentile: '95'", "counts by Percentile"),
        ] {
            for single in [
                "fixedPerTransaction: '2'",
                "freeTransactions: 3",
                "minPerTransaction: '1'",
                "maxPerTransaction: '1'",
            ] {
                let found = shown(meter, &format!("percentage: {{rate: '1', {single}}}"));
                let expected = format!(
                    "prices[1].percentage: fixedPerTransaction, freeTransactions, minPerTransaction and maxPerTransaction look \
                     at single events, and Meter m {reason}, so that its quantity is not what its events add up to"
                );
                assert_eq!(found, expected, "{meter} {single}");
            }
            let share = "percentage: {rate: '1', freeAmount: '5', fixedPerTransaction: '0'}";
            assert_eq!(shown(meter, share), "ok", "{meter}");
        }
    }

    #[test]
    fn a_meter_that_is_not_there_is_not_judged() {
        let plan: PlanSpec = serde_saphyr::from_str(
            "{regionRef: {name: eu}, currency: USD, interval: {unit: Month}, prices: [
                {name: p, meterRef: {name: m}, matrix: {dimensions: [region], default: '1', rows: []}}]}",
        )
        .expect("a plan");
        assert_eq!(check_meter_fit(&plan, |_| None), Ok(()));
    }
}
