//! Matrix: each combination of values has its price; what no row names costs the default.

use super::{GroupUsage, PriceError, TraceStep, unit};
use crate::catalogue::{MatrixSpec, PriceSpec};

pub(super) fn trace(
    price: &PriceSpec,
    matrix: &MatrixSpec,
    groups: &[GroupUsage],
) -> Result<Vec<TraceStep>, PriceError> {
    let mut steps = Vec::new();
    for group in groups {
        let quantity = match &price.unit {
            Some(unit) => unit::converted(unit, group.quantity)?,
            None => group.quantity,
        };
        if quantity.is_zero() {
            continue;
        }
        let found = matrix.rows.iter().enumerate().find(|(_, row)| row.values == group.values);
        let (row, unit_amount) =
            found.map_or((0, matrix.default), |(index, row)| (index as u32 + 1, row.unit_amount));
        let amount = quantity.times(unit_amount)?;
        steps.push(TraceStep::Row { row, values: group.values.clone(), quantity, unit_amount, amount });
    }
    Ok(steps)
}

#[cfg(test)]
mod tests {
    use crate::price::check::groups;

    const MATRIX: &str = "{name: n, meterRef: {name: n}, matrix: {dimensions: [region, size], default: '9', rows: [
        {values: [eu, large], unitAmount: '2'}, {values: [eu, small], unitAmount: '1'}, {values: ['', small], unitAmount: '0'}]}}";

    #[test]
    fn each_row_has_its_price_and_the_rest_has_the_default() {
        assert_eq!(
            groups(
                MATRIX,
                &[
                    (&["", "small"], "5"),
                    (&["eu", "large"], "3"),
                    (&["eu", "small"], "0"),
                    (&["us", "large"], "0.5")
                ]
            ),
            "10.5 = row 3: 5 × 0 = 0 + row 1: 3 × 2 = 6 + row 0: 0.5 × 9 = 4.5"
        );
        assert_eq!(groups(MATRIX, &[]), "0 =");
    }

    #[test]
    fn units_are_converted_in_each_row() {
        let price = MATRIX.replace("matrix:", "unit: {divideBy: '10', rounding: Up}, matrix:");
        assert_eq!(
            groups(&price, &[(&["eu", "large"], "11"), (&["eu", "small"], "1")]),
            "5 = row 1: 2 × 2 = 4 + row 2: 1 × 1 = 1"
        );
    }
}
