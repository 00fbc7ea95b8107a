//! Fractions and splits as tables; the laws are in properties.rs.

use super::*;

fn share(numerator: u64, denominator: u64) -> Share {
    Share::new(numerator, denominator).expect("a share")
}

fn amount(text: &str) -> Amount {
    text.parse().expect("a decimal")
}

fn parts(whole: &str, shares: &[(u64, u64)], currency: &str) -> Vec<String> {
    let shares: Vec<Share> =
        shares.iter().map(|(numerator, denominator)| share(*numerator, *denominator)).collect();
    let currency = currency.parse().expect("a currency");
    split(amount(whole), &shares, currency).expect("fits").into_iter().map(|part| part.to_string()).collect()
}

#[test]
fn a_share_is_kept_in_lowest_terms() {
    assert_eq!(share(14, 28), share(1, 2));
    assert_eq!(share(0, 28), Share::NOTHING);
    assert_eq!(share(28, 28), Share::WHOLE);
    assert_eq!((share(21, 28).numerator(), share(21, 28).denominator()), (3, 4));
    assert_eq!(share(10, 31).rest(), share(21, 31));
    assert_eq!((Share::NOTHING.rest(), Share::WHOLE.rest()), (Share::WHOLE, Share::NOTHING));
    assert!(Share::NOTHING.is_nothing() && !share(1, u64::MAX).is_nothing());
}

#[test]
fn what_is_no_part_of_a_whole_is_no_share() {
    for (numerator, denominator) in [(0, 0), (1, 0), (2, 1), (u64::MAX, u64::MAX - 1)] {
        assert_eq!(Share::new(numerator, denominator), Err(NoShare { numerator, denominator }));
    }
    assert!(serde_json::from_str::<Share>(r#"{"numerator":3,"denominator":2}"#).is_err());
    assert_eq!(
        serde_json::from_str::<Share>(r#"{"numerator":2,"denominator":4}"#).expect("a share"),
        share(1, 2)
    );
    assert_eq!(
        serde_json::to_string(&share(2, 4)).expect("serializes"),
        r#"{"numerator":1,"denominator":2}"#
    );
}

#[test]
fn shares_add_up_to_the_whole_and_no_further() {
    assert_eq!(share(1, 6).checked_add(share(1, 10)), Ok(share(4, 15)));
    assert_eq!(share(1, 3).checked_add(share(2, 3)), Ok(Share::WHOLE));
    assert_eq!(share(2, 3).checked_add(share(1, 2)), Err(Overflow));
    let (big, bigger) = (share(1, u64::MAX - 1), share(1, u64::MAX));
    assert_eq!(big.checked_add(bigger), Err(Overflow));
    assert_eq!(big.rest().checked_add(bigger.rest()), Err(Overflow));
}

#[test]
fn a_share_of_an_amount_keeps_18_decimals() {
    assert_eq!(share(14, 31).of(amount("30")), Ok(amount("13.548387096774193548")));
    assert_eq!(share(2, 3).of(amount("-1")), Ok(amount("-0.666666666666666667")));
    assert_eq!(Share::NOTHING.of(amount("30")), Ok(Amount::ZERO));
    assert_eq!(Share::WHOLE.of(amount("30.01")), Ok(amount("30.01")));
}

#[test]
fn what_is_cut_goes_to_the_parts_that_lost_most() {
    let thirds = [(1, 3), (1, 3), (1, 3)];
    assert_eq!(parts("100", &thirds, "USD"), ["33.34", "33.33", "33.33"]);
    assert_eq!(parts("-100", &thirds, "USD"), ["-33.34", "-33.33", "-33.33"]);
    assert_eq!(parts("200", &thirds, "USD"), ["66.67", "66.67", "66.66"]);
    assert_eq!(parts("100", &thirds, "JPY"), ["34", "33", "33"]);
    assert_eq!(parts("0.002", &thirds, "KWD"), ["0.001", "0.001", "0"]);
    assert_eq!(parts("10", &[(10, 31), (21, 31)], "USD"), ["3.23", "6.77"]);
    assert_eq!(parts("1", &[(1, 10), (3, 10), (6, 10)], "JPY"), ["0", "0", "1"]);
    assert_eq!(parts("0", &thirds, "USD"), ["0", "0", "0"]);
}

#[test]
fn the_whole_is_rounded_before_it_is_split() {
    assert_eq!(parts("10.005", &[(1, 1)], "USD"), ["10.01"]);
    assert_eq!(parts("10.005", &[(1, 2), (1, 2)], "USD"), ["5.01", "5"]);
}

#[test]
fn shares_of_a_part_sum_to_the_rounded_part() {
    // A period that was cut after 10 and 5 of 31 days: 15/31 of 10 is 4.84.
    assert_eq!(parts("10", &[(10, 31), (5, 31)], "USD"), ["3.23", "1.61"]);
    // Half a cent is rounded to a cent, and a share of nothing gets none of it.
    assert_eq!(parts("0.01", &[(0, 1), (1, 4), (1, 4)], "USD"), ["0", "0.01", "0"]);
    assert_eq!(parts("0.01", &[(1, 5), (1, 5)], "USD"), ["0", "0"]);
    assert_eq!(parts("10", &[], "USD"), Vec::<String>::new());
}

#[test]
fn more_than_the_whole_is_not_split() {
    let usd = "USD".parse().expect("a currency");
    assert_eq!(split(amount("10"), &[share(2, 3), share(2, 3)], usd), Err(Overflow));
}
