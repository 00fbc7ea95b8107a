//! Amounts of usage at which a period is billed before its end, so that nobody runs up more than they agreed to owe.

use serde::{Deserialize, Serialize};

use super::document::{ADJUSTMENTS_MAX, too_many};
use crate::{
    catalogue::{SpecError, SpecErrorCode},
    decimal::{Amount, Overflow},
};

/// An amount of usage in a period, before discounts, credits and taxes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ThresholdSpec {
    pub amount: Amount,
    /// After the highest of the others: again and again, so far apart. At most one threshold recurs.
    #[serde(default)]
    pub recurring: bool,
}

/// The amount of usage at which the next invoice within a period is due, after `billed` of it; none without thresholds.
pub fn next_threshold(thresholds: &[ThresholdSpec], billed: Amount) -> Result<Option<Amount>, Overflow> {
    let mut fixed: Vec<Amount> = thresholds
        .iter()
        .filter(|threshold| !threshold.recurring)
        .map(|threshold| threshold.amount)
        .collect();
    fixed.sort();
    if let Some(next) = fixed.iter().find(|amount| **amount > billed) {
        return Ok(Some(*next));
    }
    let Some(step) = thresholds.iter().find(|threshold| threshold.recurring) else {
        return Ok(None);
    };
    let last = fixed.last().copied().unwrap_or_default();
    let beyond = billed.checked_sub(last)?.max(Amount::ZERO);
    // Counted in whole units of the decimals: a small step may lie billions of times in what is billed.
    let steps = beyond.units() / step.amount.units() + 1;
    let way = steps.checked_mul(step.amount.units()).ok_or(Overflow)?;
    Ok(Some(last.checked_add(Amount::from_units(way)?)?))
}

pub(super) fn validate(thresholds: &[ThresholdSpec]) -> Result<(), SpecError> {
    if thresholds.len() > ADJUSTMENTS_MAX {
        return Err(too_many("thresholds"));
    }
    let mut recurring = 0;
    for (index, threshold) in thresholds.iter().enumerate() {
        if threshold.amount <= Amount::ZERO {
            let field = format!("thresholds[{index}].amount");
            return Err(SpecError::new(field, SpecErrorCode::OutOfRange, "must be above zero"));
        }
        recurring += usize::from(threshold.recurring);
        if recurring > 1 {
            let field = format!("thresholds[{index}].recurring");
            return Err(SpecError::new(field, SpecErrorCode::Conflicting, "one threshold recurs already"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn thresholds(yaml: &str) -> Vec<ThresholdSpec> {
        serde_saphyr::from_str(yaml).expect("thresholds in YAML")
    }

    fn amount(text: &str) -> Amount {
        text.parse().expect("a decimal")
    }

    #[test]
    fn thresholds_follow_one_another_and_then_recur() {
        let all = thresholds("[{amount: '500'}, {amount: '100'}, {amount: '200', recurring: true}]");
        for (billed, next) in
            [("0", "100"), ("99.99", "100"), ("100", "500"), ("500", "700"), ("700", "900"), ("1234", "1300")]
        {
            assert_eq!(next_threshold(&all, amount(billed)).expect("fits"), Some(amount(next)), "{billed}");
        }
        let small = thresholds("[{amount: '0.000000000000000001', recurring: true}]");
        for (billed, next) in
            [("5", "5.000000000000000001"), ("0", "0.000000000000000001"), ("-1", "0.000000000000000001")]
        {
            assert_eq!(next_threshold(&small, amount(billed)).expect("fits"), Some(amount(next)), "{billed}");
        }
        let once = thresholds("[{amount: '100'}]");
        assert_eq!(next_threshold(&once, amount("100")).expect("fits"), None);
        assert_eq!(next_threshold(&[], amount("0")).expect("fits"), None);
    }
}
