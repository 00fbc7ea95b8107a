//! Flat: one amount a period, whatever is used.

use super::TraceStep;
use crate::catalogue::FlatSpec;

pub(super) fn trace(flat: &FlatSpec) -> Vec<TraceStep> {
    vec![TraceStep::Flat { amount: flat.amount }]
}

#[cfg(test)]
mod tests {
    use crate::price::check::cases;

    #[test]
    fn flat_is_the_same_at_any_usage() {
        cases("{name: base, flat: {amount: '100'}}", &[("0", "100 = flat 100"), ("12000", "100 = flat 100")]);
        cases("{name: base, flat: {amount: '0', billed: InAdvance}}", &[("0", "0 = flat 0")]);
        cases(
            "{name: base, flat: {amount: '0.123456789012345678'}}",
            &[("0", "0.123456789012345678 = flat 0.123456789012345678")],
        );
    }
}
