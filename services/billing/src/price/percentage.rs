//! Percentage: a share of the value of each transaction, and a fee for each.
//!
//! Transactions come in order of time. A transaction is free while fewer than `freeTransactions` came before it and
//! `freeAmount` is not used up, whichever ends first. The one that uses it up is free in part: it pays the rate on the rest
//! of its value, and the fee. What a transaction that is not wholly free pays lies between `minPerTransaction` and
//! `maxPerTransaction`. Where none of this looks at single transactions, the total is enough ([`of_total`]).

use super::{TraceStep, TransactionRun};
use crate::{
    catalogue::PercentageSpec,
    decimal::{Amount, Decimal, Overflow, Quantity},
};

/// `rate` % of a value.
pub(super) fn percent_of(value: Quantity, rate: Decimal) -> Result<Amount, Overflow> {
    Amount(value.0).percent(rate)
}

pub(super) fn of_total(percentage: &PercentageSpec, value: Quantity) -> Result<Vec<TraceStep>, Overflow> {
    let free = percentage.free_amount.unwrap_or_default().min(value);
    let charged = value.checked_sub(free)?;
    let mut steps = Vec::new();
    if !free.is_zero() {
        steps.push(TraceStep::Free { quantity: free, transactions: 0 });
    }
    if !charged.is_zero() {
        let amount = percent_of(charged, percentage.rate)?;
        steps.push(TraceStep::Percentage { quantity: charged, rate: percentage.rate, amount });
    }
    Ok(steps)
}

/// What a period's transactions come to, kept in sums: the trace does not grow with their number.
#[derive(Default)]
struct Sums {
    free: Quantity,
    free_transactions: u64,
    charged: Quantity,
    charged_transactions: u64,
    bounded: Quantity,
    bounded_transactions: u64,
    /// What they pay.
    bounds: Amount,
}

pub(super) fn of_transactions(
    percentage: &PercentageSpec,
    runs: &[TransactionRun],
) -> Result<Vec<TraceStep>, Overflow> {
    let mut sums = Sums::default();
    let mut before = 0_u64;
    for run in runs {
        let mut left = run.count;
        // Transactions that may be free are looked at one by one; all that follow in a run are alike.
        while left > 0 && may_be_free(percentage, before, sums.free) {
            add(percentage, &mut sums, run.quantity, 1, true)?;
            (left, before) = (left - 1, before + 1);
        }
        if left > 0 {
            add(percentage, &mut sums, run.quantity, left, false)?;
            before += left;
        }
    }
    steps(percentage, &sums)
}

fn may_be_free(percentage: &PercentageSpec, before: u64, free: Quantity) -> bool {
    match (percentage.free_transactions, percentage.free_amount) {
        (None | Some(0), None) => false,
        (None | Some(0), Some(amount)) => free < amount,
        (Some(transactions), None) => before < u64::from(transactions),
        (Some(transactions), Some(amount)) => before < u64::from(transactions) && free < amount,
    }
}

fn add(
    percentage: &PercentageSpec,
    sums: &mut Sums,
    value: Quantity,
    count: u64,
    may_be_free: bool,
) -> Result<(), Overflow> {
    let free = match (may_be_free, percentage.free_amount) {
        (false, _) => Quantity::ZERO,
        (true, None) => value,
        (true, Some(amount)) => amount.saturating_sub(sums.free)?.min(value),
    };
    let charged = value.checked_sub(free)?;
    sums.free = sums.free.checked_add(free)?;
    if may_be_free && charged.is_zero() {
        sums.free_transactions += count;
        return Ok(());
    }
    let times = Decimal::from_integer(i64::try_from(count).map_err(|_| Overflow)?);
    sums.charged = sums.charged.checked_add(Quantity(charged.0.checked_mul(times)?))?;
    sums.charged_transactions = sums.charged_transactions.checked_add(count).ok_or(Overflow)?;
    let alone = percent_of(charged, percentage.rate)?
        .checked_add(percentage.fixed_per_transaction.unwrap_or_default())?;
    let bounded = percentage.min_per_transaction.map_or(alone, |minimum| minimum.max(alone));
    let bounded = percentage.max_per_transaction.map_or(bounded, |maximum| maximum.min(bounded));
    if bounded != alone {
        sums.bounded = sums.bounded.checked_add(Quantity(charged.0.checked_mul(times)?))?;
        sums.bounds = sums.bounds.checked_add(Amount(bounded.0.checked_mul(times)?))?;
        sums.bounded_transactions += count;
    }
    Ok(())
}

fn steps(percentage: &PercentageSpec, sums: &Sums) -> Result<Vec<TraceStep>, Overflow> {
    let mut steps = Vec::new();
    if !sums.free.is_zero() || sums.free_transactions > 0 {
        steps.push(TraceStep::Free { quantity: sums.free, transactions: sums.free_transactions });
    }
    if sums.charged_transactions == 0 {
        return Ok(steps);
    }
    let amount = percent_of(sums.charged, percentage.rate)?;
    steps.push(TraceStep::Percentage { quantity: sums.charged, rate: percentage.rate, amount });
    if let Some(fixed_amount) = percentage.fixed_per_transaction.filter(|amount| !amount.is_zero()) {
        let times = i64::try_from(sums.charged_transactions).map_err(|_| Overflow)?;
        let amount = Amount(fixed_amount.0.checked_mul(Decimal::from_integer(times))?);
        steps.push(TraceStep::Transactions { transactions: sums.charged_transactions, fixed_amount, amount });
    }
    if sums.bounded_transactions > 0 {
        let so_far = Amount::checked_sum(steps.iter().map(TraceStep::amount))?;
        let amount = exact(percentage, sums)?.checked_sub(so_far)?;
        steps.push(TraceStep::TransactionBounds { transactions: sums.bounded_transactions, amount });
    }
    Ok(steps)
}

/// What all of them pay. A bound is an exact amount, whatever its share of the value was rounded to.
fn exact(percentage: &PercentageSpec, sums: &Sums) -> Result<Amount, Overflow> {
    let value = sums.charged.checked_sub(sums.bounded)?;
    let count = sums.charged_transactions.checked_sub(sums.bounded_transactions).ok_or(Overflow)?;
    let times = Decimal::from_integer(i64::try_from(count).map_err(|_| Overflow)?);
    let fixed = percentage.fixed_per_transaction.unwrap_or_default().0.checked_mul(times)?;
    percent_of(value, percentage.rate)?.checked_add(Amount(fixed))?.checked_add(sums.bounds)
}

#[cfg(test)]
mod tests {
    use crate::price::check::{cases, transactions};

    fn percentage(fields: &str) -> String {
        format!("{{name: n, meterRef: {{name: n}}, percentage: {{{fields}}}}}")
    }

    #[test]
    fn a_rate_alone_needs_no_more_than_the_total() {
        cases(
            &percentage("rate: '1.3'"),
            &[("0", "0 ="), ("800", "10.4 = 1.3 % of 800 = 10.4"), ("0.5", "0.0065 = 1.3 % of 0.5 = 0.0065")],
        );
        cases(
            &percentage("rate: '1.3', freeAmount: '250'"),
            &[("250", "0 = free 250 of 0"), ("800", "7.15 = free 250 of 0 + 1.3 % of 550 = 7.15")],
        );
    }

    #[test]
    fn whichever_free_part_ends_first_ends_both() {
        let four = ["50", "100", "250", "400"];
        for (fields, expected) in [
            (
                "rate: '1.3', fixedPerTransaction: '2', freeTransactions: 3, freeAmount: '250'",
                "11.15 = free 250 of 2 + 1.3 % of 550 = 7.15 + 2 transactions × 2 = 4",
            ),
            (
                "rate: '1.3', fixedPerTransaction: '2', freeTransactions: 3",
                "7.2 = free 400 of 3 + 1.3 % of 400 = 5.2 + 1 transactions × 2 = 2",
            ),
            (
                "rate: '1.3', fixedPerTransaction: '2', freeAmount: '250'",
                "11.15 = free 250 of 2 + 1.3 % of 550 = 7.15 + 2 transactions × 2 = 4",
            ),
            (
                "rate: '1.3', fixedPerTransaction: '2', freeTransactions: 1, freeAmount: '250'",
                "15.75 = free 50 of 1 + 1.3 % of 750 = 9.75 + 3 transactions × 2 = 6",
            ),
            ("rate: '1.3', fixedPerTransaction: '2'", "18.4 = 1.3 % of 800 = 10.4 + 4 transactions × 2 = 8"),
            ("rate: '0', fixedPerTransaction: '2', freeTransactions: 9", "0 = free 800 of 4"),
            // The third transaction is covered to the last cent: it is free, fee and all.
            (
                "rate: '1', fixedPerTransaction: '2', freeAmount: '400'",
                "6 = free 400 of 3 + 1 % of 400 = 4 + 1 transactions × 2 = 2",
            ),
        ] {
            assert_eq!(transactions(&percentage(fields), &four), expected, "{fields}");
        }
    }

    #[test]
    fn each_transaction_pays_at_least_and_at_most() {
        let price = percentage(
            "rate: '1', fixedPerTransaction: '0.5', minPerTransaction: '1', maxPerTransaction: '3'",
        );
        assert_eq!(
            transactions(&price, &["10", "100", "1000", "1000"]),
            // 0.6 → 1, 1.5, 10.5 → 3 twice
            "8.5 = 1 % of 2110 = 21.1 + 4 transactions × 0.5 = 2 + bounds of 3 = -14.6"
        );
        assert_eq!(transactions(&price, &[]), "0 =");
        // Each pays half a cent, though 7 % of its value has more digits than a decimal.
        let price = percentage("rate: '7', maxPerTransaction: '0.005'");
        assert!(transactions(&price, &["0.666666666666666667"; 5]).starts_with("0.025 = "));
    }

    #[test]
    fn a_free_transaction_pays_no_minimum() {
        let price = percentage("rate: '1', freeTransactions: 1, minPerTransaction: '5'");
        assert_eq!(
            transactions(&price, &["1000", "100"]),
            "5 = free 1000 of 1 + 1 % of 100 = 1 + bounds of 1 = 4"
        );
    }

    #[test]
    fn a_transaction_of_nothing_pays_its_fee() {
        let price = percentage("rate: '1', fixedPerTransaction: '2'");
        assert_eq!(transactions(&price, &["0"]), "2 = 1 % of 0 = 0 + 1 transactions × 2 = 2");
    }
}
