//! The exact percentile of a multiset, by nearest rank: of n values in ascending order, the one at place ⌈p/100 · n⌉. It is
//! always a value that occurred, never one between two (Hyndman and Fan 1996, "Sample Quantiles in Statistical Packages",
//! definition 1).

use std::collections::BTreeMap;

use crate::decimal::{Decimal, Overflow, Quantity};

/// The percentile of `values` (how often each occurred); None of no values. `percentile` is above 0 and at most 100.
pub(super) fn nearest_rank(
    values: &BTreeMap<Quantity, u64>,
    percentile: Decimal,
) -> Result<Option<Quantity>, Overflow> {
    let total = values.values().try_fold(0_u64, |total, count| total.checked_add(*count)).ok_or(Overflow)?;
    let hundred_percent = Decimal::from_integer(100).units().unsigned_abs();
    let share = u128::try_from(percentile.units()).map_err(|_| Overflow)?;
    // Whole numbers throughout: a rank that is off by one is another invoice.
    let rank = share.checked_mul(u128::from(total)).ok_or(Overflow)?.div_ceil(hundred_percent);
    let mut reached = 0_u128;
    for (value, count) in values {
        reached += u128::from(*count);
        if reached >= rank && *count > 0 {
            return Ok(Some(*value));
        }
    }
    if total == 0 { Ok(None) } else { Err(Overflow) }
}
