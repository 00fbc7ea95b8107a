//! Dynamic: the events carry the price. What the meter counts is itself an amount of money (a cost that is passed on), and it
//! is charged times a multiplier.

use super::TraceStep;
use crate::{
    catalogue::DynamicSpec,
    decimal::{Amount, Overflow, Quantity},
};

pub(super) fn trace(dynamic: &DynamicSpec, quantity: Quantity) -> Result<Vec<TraceStep>, Overflow> {
    if quantity.is_zero() {
        return Ok(Vec::new());
    }
    let amount = Amount(quantity.0.checked_mul(dynamic.multiplier)?);
    Ok(vec![TraceStep::Dynamic { quantity, multiplier: dynamic.multiplier, amount }])
}

#[cfg(test)]
mod tests {
    use crate::price::check::cases;

    #[test]
    fn what_the_events_cost_is_passed_on_with_a_markup() {
        cases(
            "{name: n, meterRef: {name: cost}, dynamic: {multiplier: '1.2'}}",
            &[("0", "0 ="), ("10.05", "12.06 = 10.05 × 1.2 = 12.06")],
        );
        cases("{name: n, meterRef: {name: cost}, dynamic: {}}", &[("7", "7 = 7 × 1 = 7")]);
    }

    #[test]
    fn an_included_amount_is_not_passed_on() {
        cases(
            "{name: n, meterRef: {name: cost}, included: '10', dynamic: {multiplier: '2'}}",
            &[("15", "10 = included 10 + 5 × 2 = 10")],
        );
    }
}
