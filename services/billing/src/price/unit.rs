//! From the unit that a meter counts to the unit that a plan sells: bytes become GB, started seconds become minutes.

use super::TransactionRun;
use crate::{
    catalogue::{UnitRounding, UnitSpec},
    decimal::{Decimal, Overflow, Quantity, WholeRounding},
};

/// Whole units come from the exact quotient, not from a rounded one: 10⁻¹⁸ beyond a boundary is beyond it.
pub(super) fn converted(unit: &UnitSpec, metered: Quantity) -> Result<Quantity, Overflow> {
    let whole = |rounding| metered.0.whole_multiples(unit.divide_by.0, rounding);
    let converted = match unit.rounding {
        UnitRounding::None => metered.0.checked_div(unit.divide_by.0)?,
        UnitRounding::Up => whole(WholeRounding::Up)?,
        UnitRounding::Down => whole(WholeRounding::Down)?,
        UnitRounding::HalfUp => {
            let below = whole(WholeRounding::Down)?;
            let rest = metered.0.checked_sub(below.checked_mul(unit.divide_by.0)?)?;
            if rest.checked_add(rest)? >= unit.divide_by.0 { below.checked_add(Decimal::ONE)? } else { below }
        }
    };
    Ok(Quantity(converted))
}

pub(super) fn converted_runs(
    unit: Option<&UnitSpec>,
    runs: &[TransactionRun],
) -> Result<Vec<TransactionRun>, Overflow> {
    let Some(unit) = unit else { return Ok(runs.to_vec()) };
    runs.iter()
        .map(|run| Ok(TransactionRun { quantity: converted(unit, run.quantity)?, count: run.count }))
        .collect()
}

#[cfg(test)]
mod tests {
    use crate::price::check::cases;

    fn with(rounding: &str) -> String {
        format!(
            "{{name: n, meterRef: {{name: bytes}}, unit: {{divideBy: '1000', rounding: {rounding}}}, perUnit: {{amount: '2'}}}}"
        )
    }

    #[test]
    fn parts_of_a_unit_stay_parts_unless_the_plan_rounds() {
        cases(&with("None"), &[("1500", "3 = unit 1.5 + 1.5 × 2 = 3"), ("0", "0 = unit 0")]);
        cases(
            &with("Up"),
            &[
                ("1000", "2 = unit 1 + 1 × 2 = 2"),
                ("1000.000000000000000001", "4 = unit 2 + 2 × 2 = 4"),
                ("0", "0 = unit 0"),
            ],
        );
        cases(&with("Down"), &[("1999.999999999999999999", "2 = unit 1 + 1 × 2 = 2"), ("999", "0 = unit 0")]);
        cases(
            &with("HalfUp"),
            &[
                ("1499.999999999999999999", "2 = unit 1 + 1 × 2 = 2"),
                ("1500", "4 = unit 2 + 2 × 2 = 4"),
                ("499", "0 = unit 0"),
            ],
        );
    }

    #[test]
    fn what_is_included_is_said_in_the_unit_that_is_sold() {
        cases(
            "{name: n, meterRef: {name: m}, unit: {divideBy: '1000', rounding: Up}, included: '2', perUnit: {amount: '1'}}",
            &[("3500", "2 = unit 4 + included 2 + 2 × 1 = 2")],
        );
    }

    #[test]
    fn free_units_of_a_discount_come_off_what_is_not_included() {
        cases(
            "{name: n, meterRef: {name: m}, included: '2', discount: {units: '3'}, perUnit: {amount: '1'}}",
            &[
                ("2", "0 = included 2"),
                ("4", "0 = included 2 + discounted 2"),
                ("6", "1 = included 2 + discounted 3 + 1 × 1 = 1"),
            ],
        );
    }

    #[test]
    fn credits_become_money_by_their_rate() {
        cases(
            "{name: n, meterRef: {name: m}, pricingUnit: {name: credits, rate: '0.05'}, perUnit: {amount: '3'}}",
            &[("10", "1.5 = 10 × 3 = 30 + credits 30 × 0.05 = -28.5"), ("0", "0 = credits 0 × 0.05 = 0")],
        );
    }
}
