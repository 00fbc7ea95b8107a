//! The laws of timelines, shares and splits: over anchors, zones, intervals, 30 years, and random lives of subscriptions.

use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;

use super::{
    BillingAnchor, BillingPeriod, ChangeSpec, Proration, QuantitySpec, Share, TermsSpec, TimelineError, When,
    random_life::{
        ANCHORS, FROM_SECOND, INTERVALS, PRORATIONS, YEARS_30_SECONDS, ZONES, interval_of, life, second,
        terms,
    },
    split, timeline,
};
use crate::{
    catalogue::IntervalUnit,
    decimal::{Amount, Decimal, Quantity},
    money::{Currency, RoundingPoint},
    period::Period,
};

/// The timeline, or None where the terms have more periods than a timeline holds.
pub(super) fn laid_out(spec: &TermsSpec, until: Timestamp) -> Option<Vec<BillingPeriod>> {
    match timeline(&spec.to_terms().expect("valid terms"), &interval_of, until) {
        Ok(periods) => Some(periods),
        Err(TimelineError::TooManyPeriods { until: _ }) => None,
        Err(error) => panic!("{error}: {spec:?}"),
    }
}

/// All that holds for every timeline.
fn check(spec: &TermsSpec, until: Timestamp, periods: &[BillingPeriod]) {
    let billing_start = spec.to_terms().expect("valid terms").billing_start();
    let Some(last) = periods.last() else {
        assert!(spec.end.is_some() || !spec.changes.is_empty() || until <= billing_start, "{spec:?}");
        return;
    };
    assert_eq!(periods[0].period.start, billing_start, "{spec:?}");
    for (index, billed) in periods.iter().enumerate() {
        assert_eq!(billed.first, index == 0);
        check_period(spec, billed);
    }
    for pair in periods.windows(2) {
        let (billed, next) = (&pair[0], &pair[1]);
        assert_eq!(billed.period.end, next.period.start, "periods do not tile: {spec:?}");
        let foreseen = billed.next.as_ref().expect("a period follows");
        assert_eq!(foreseen.scheduled, next.scheduled, "{spec:?}");
        assert_eq!(foreseen.segment.period.start, next.period.start, "{spec:?}");
        assert!(foreseen.segment.period.end >= next.period.end, "{spec:?}");
    }
    assert!(last.period.start < until, "{spec:?}");
    assert!(last.next.is_none() || last.period.end >= until, "periods are missing: {spec:?}");
    assert!(spec.end.is_none_or(|end| last.period.end <= end), "{spec:?}");
}

fn check_period(spec: &TermsSpec, billed: &BillingPeriod) {
    let Period { start, end } = billed.period;
    assert!(start < end, "an empty period: {spec:?}");
    assert!(billed.scheduled.start <= start && end <= billed.scheduled.end, "{billed:?} {spec:?}");
    assert_eq!(billed.segments.first().expect("a segment").period.start, start, "{spec:?}");
    assert_eq!(billed.segments.last().expect("a segment").period.end, end, "{spec:?}");
    for pair in billed.segments.windows(2) {
        assert_eq!(pair[0].period.end, pair[1].period.start, "segments do not tile: {spec:?}");
        let mut same = pair[1].clone();
        (same.period, same.share) = (pair[0].period, pair[0].share);
        assert_ne!(pair[0], same, "neighbours that differ in nothing: {spec:?}");
    }
    assert!(billed.segments.iter().all(|segment| segment.period.start < segment.period.end), "{spec:?}");
    let whole = billed.period == billed.scheduled;
    if whole || spec.proration == Proration::None {
        assert_eq!(sum(billed), Share::WHOLE, "shares do not sum to one: {billed:?} {spec:?}");
    }
    if spec.proration == Proration::BySecond {
        assert_eq!(
            sum(billed),
            Share::new(billed.period.micros(), billed.scheduled.micros()).expect("a part")
        );
    }
}

fn sum(billed: &BillingPeriod) -> Share {
    let shares = billed.segments.iter().map(|segment| segment.share);
    shares.fold(Share::NOTHING, |sum, share| sum.checked_add(share).expect("no more than the whole"))
}

/// 30 years of this interval, or as many as a timeline holds.
fn until(interval: usize, start: Timestamp) -> Timestamp {
    let days = match INTERVALS[interval] {
        (IntervalUnit::Day, count) => (900 * i64::from(count)).min(10_957),
        (IntervalUnit::Week, count) => (900 * 7 * i64::from(count)).min(10_957),
        (IntervalUnit::Month | IntervalUnit::Quarter | IntervalUnit::Year, _) => 10_957,
    };
    start + SignedDuration::from_secs(days * 86_400)
}

#[test]
fn periods_tile_and_shares_sum_to_one_for_every_anchor_zone_and_interval_over_30_years() {
    for zone in ZONES {
        for anchor in ANCHORS {
            for proration in PRORATIONS {
                for interval in 0..INTERVALS.len() {
                    // Daily periods do not reach far: begin before the days that Samoa and Newfoundland are odd on.
                    let start = second(if interval == 0 { 1_268_000_000 } else { FROM_SECOND + 12_345 });
                    let spec = terms(interval, start, zone, anchor, proration);
                    let until = until(interval, start);
                    let periods = laid_out(&spec, until).expect("not too many periods");
                    check(&spec, until, &periods);
                }
            }
        }
    }
}

#[test]
fn anniversaries_of_leap_day_and_month_ends_stay_on_their_day_where_the_month_has_it() {
    for (start, day) in [("2024-02-29", 29), ("2023-08-31", 31), ("2023-01-30", 30), ("2023-01-29", 29)] {
        for zone in ZONES {
            for interval in [4, 5, 6, 7, 8, 9] {
                let zone_found = crate::period::zone(zone).expect("a zone");
                let local: jiff::civil::Date = start.parse().expect("a date");
                let noon = local.at(12, 0, 0, 0);
                let start = zone_found.to_ambiguous_timestamp(noon).compatible().expect("a time");
                let spec = terms(interval, start, zone, BillingAnchor::Anniversary, Proration::ByDay);
                let until = until(interval, start);
                let periods = laid_out(&spec, until).expect("not too many periods");
                check(&spec, until, &periods);
                for billed in &periods {
                    let begins = zone_found.to_datetime(billed.period.start);
                    let expected = begins.date().days_in_month().min(day);
                    assert_eq!((begins.day(), begins.hour()), (expected, 12), "{zone} {spec:?}");
                }
            }
        }
    }
}

fn currency(code: &str) -> Currency {
    code.parse().expect("a currency")
}

fn total(parts: &[Amount]) -> Amount {
    parts.iter().fold(Amount::ZERO, |sum, part| sum.checked_add(*part).expect("fits"))
}

fn amount(thousandths: i64) -> Amount {
    Amount(Decimal::from_units(i128::from(thousandths) * 10_i128.pow(15)).expect("fits"))
}

const CURRENCIES: [&str; 3] = ["JPY", "USD", "KWD"];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn any_life_of_a_subscription_tiles(spec in life(), days in 0i64..3_000) {
        let until = spec.start + SignedDuration::from_hours(24 * days);
        if let Some(periods) = laid_out(&spec, until) {
            check(&spec, until, &periods);
        }
    }

    #[test]
    fn a_longer_look_ahead_changes_no_period(spec in life(), days in 0i64..1_000, more in 0i64..1_000) {
        let until = |days| spec.start + SignedDuration::from_hours(24 * days);
        if let (Some(short), Some(long)) = (laid_out(&spec, until(days)), laid_out(&spec, until(days + more))) {
            prop_assert!(long.starts_with(&short), "{:?}", spec);
        }
    }

    #[test]
    fn a_change_beyond_a_period_and_its_end_does_not_touch_it(spec in life(), kept in 0usize..8) {
        let until = spec.start + SignedDuration::from_hours(24 * 1_500);
        let mut before = spec.clone();
        before.changes.truncate(kept);
        let Some(known_until) = spec.changes.get(kept).map(|change| change.at) else { return Ok(()) };
        if let (Some(all), Some(some)) = (laid_out(&spec, until), laid_out(&before, until)) {
            for (with, without) in all.iter().zip(&some).filter(|(_, without)| without.period.end < known_until) {
                prop_assert_eq!(with, without);
            }
        }
    }

    #[test]
    fn what_was_used_and_the_credit_for_the_rest_are_the_whole_to_the_minor_unit(
        (interval, start, zone) in (0..INTERVALS.len(), 0..YEARS_30_SECONDS, prop::sample::select(&ZONES[..])),
        anchor in prop::sample::select(&ANCHORS[..]),
        proration in prop::sample::select(&PRORATIONS[..2]),
        part in 1i64..1_000,
        (old, new) in (0i64..100_000_000, 0i64..100_000_000),
        code in prop::sample::select(&CURRENCIES[..]),
    ) {
        // A whole scheduled period, and a change of seats somewhere within it.
        let mut spec = terms(interval, second(FROM_SECOND + start), zone, anchor, proration);
        let plain = laid_out(&spec, spec.start + SignedDuration::from_micros(1)).expect("one period");
        let period = plain[0].next.as_ref().expect("a next period").segment.period;
        let at = period.start + SignedDuration::from_secs(
            i64::try_from(period.micros() / 1_000_000).expect("fits") * part / 1_000);
        spec.changes = vec![ChangeSpec {
            at,
            plan_ref: None,
            quantities: Some(vec![QuantitySpec { price: "seats".to_owned(), quantity: Quantity::from_integer(2) }]),
            add_ons: None, pause: None, resume: None, cancel: None, when: When::Immediate,
        }];
        let periods = laid_out(&spec, period.end).expect("two periods");
        let shares: Vec<Share> = periods[1].segments.iter().map(|segment| segment.charged_share()).collect();
        let [used, unused] = shares[..] else { panic!("two segments: {periods:?}") };
        prop_assert_eq!(used.rest(), unused);

        let currency = currency(code);
        for whole in [amount(old), amount(new), amount(-old)] {
            let rounded = currency.round(whole, RoundingPoint::InvoiceLine).expect("fits");
            let parts = split(whole, &[used, unused], currency).expect("fits");
            prop_assert_eq!(total(&parts), rounded);
            // Within a minor unit of the exact share.
            for (part, share) in parts.iter().zip([used, unused]) {
                let apart = part.checked_sub(share.of(rounded).expect("fits")).expect("fits").units().abs();
                prop_assert!(apart < 10_i128.pow(18 - currency.minor_units()), "{} {:?}", part, share);
            }
        }
    }

    #[test]
    fn parts_sum_to_the_whole_in_every_currency(
        weights in prop::collection::vec(0u64..1_000_000_000_000, 1..12),
        thousandths in -1_000_000_000_000i64..1_000_000_000_000,
        code in prop::sample::select(&CURRENCIES[..]),
    ) {
        let all: u64 = weights.iter().sum();
        prop_assume!(all > 0);
        let shares: Vec<Share> = weights.iter().map(|weight| Share::new(*weight, all).expect("a share")).collect();
        let (currency, whole) = (currency(code), amount(thousandths));
        let rounded = currency.round(whole, RoundingPoint::InvoiceLine).expect("fits");
        let parts = split(whole, &shares, currency).expect("fits");
        prop_assert_eq!(total(&parts), rounded);
        let minor_unit = 10_i128.pow(18 - currency.minor_units());
        for (part, share) in parts.iter().zip(&shares) {
            prop_assert_eq!(part.units() % minor_unit, 0);
            prop_assert!(!share.is_nothing() || part.is_zero());
            prop_assert!(part.is_zero() || part.is_negative() == rounded.is_negative());
        }
    }

    #[test]
    fn the_shares_of_an_amount_differ_from_it_by_no_more_than_their_rounding(
        weights in prop::collection::vec(1u64..1_000_000_000_000, 1..12),
        thousandths in any::<i64>(),
    ) {
        let all: u64 = weights.iter().sum();
        let whole = amount(thousandths);
        let parts: Vec<Amount> =
            weights.iter().map(|weight| Share::new(*weight, all).expect("a share").of(whole).expect("fits")).collect();
        let apart = total(&parts).checked_sub(whole).expect("fits").units().abs();
        prop_assert!(apart <= i128::try_from(weights.len()).expect("fits"), "{apart}");
    }
}
