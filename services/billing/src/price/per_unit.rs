//! Per unit: each unit at one price, parts of a unit in proportion.

use super::TraceStep;
use crate::{
    catalogue::PerUnitSpec,
    decimal::{Overflow, Quantity},
};

pub(super) fn trace(per_unit: &PerUnitSpec, quantity: Quantity) -> Result<Vec<TraceStep>, Overflow> {
    if quantity.is_zero() {
        return Ok(Vec::new());
    }
    let amount = quantity.times(per_unit.amount)?;
    Ok(vec![TraceStep::Units { quantity, unit_amount: per_unit.amount, amount }])
}

#[cfg(test)]
mod tests {
    use crate::price::check::{cases, overflows};

    const CALLS: &str =
        "{name: calls, meterRef: {name: api-calls}, included: '10000', perUnit: {amount: '0.01'}}";

    #[test]
    fn what_is_included_is_free_and_the_rest_is_not() {
        cases(
            CALLS,
            &[
                ("0", "0 ="),
                ("1", "0 = included 1"),
                ("9999.5", "0 = included 9999.5"),
                ("10000", "0 = included 10000"),
                // 10⁻²⁰ is below the 18th decimal.
                ("10000.000000000000000001", "0 = included 10000 + 0.000000000000000001 × 0.01 = 0"),
                ("10001", "0.01 = included 10000 + 1 × 0.01 = 0.01"),
                ("12000", "20 = included 10000 + 2000 × 0.01 = 20"),
            ],
        );
    }

    #[test]
    fn a_fraction_of_a_unit_is_a_fraction_of_its_price() {
        cases(
            "{name: traffic, meterRef: {name: gb}, perUnit: {amount: '0.000000000012'}}",
            &[
                ("0.5", "0.000000000006 = 0.5 × 0.000000000012 = 0.000000000006"),
                ("1", "0.000000000012 = 1 × 0.000000000012 = 0.000000000012"),
            ],
        );
        cases("{name: free, meterRef: {name: gb}, perUnit: {amount: '0'}}", &[("7", "0 = 7 × 0 = 0")]);
    }

    #[test]
    fn the_largest_quantity_times_a_small_price_is_exact() {
        cases(
            "{name: n, meterRef: {name: n}, perUnit: {amount: '0.1'}}",
            &[(
                "99999999999999999999.99",
                "9999999999999999999.999 = 99999999999999999999.99 × 0.1 = 9999999999999999999.999",
            )],
        );
    }

    #[test]
    fn what_does_not_fit_is_an_error_and_not_a_number() {
        overflows("{name: n, meterRef: {name: n}, perUnit: {amount: '2'}}", "99999999999999999999");
    }
}
