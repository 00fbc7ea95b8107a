//! What contributions come to, as tables; the merge laws on random splits.

use jiff::Timestamp;
use proptest::prelude::*;

use super::*;

const ALL: [AggregationKind; 9] = AggregationKind::ALL;
/// The window of the tables: 100 seconds from second 1,000.
const START_S: i64 = 1_000;
const END_S: i64 = 1_100;

fn meter(yaml: &str) -> MeterSpec {
    let meter: MeterSpec =
        serde_saphyr::from_str(&format!("{{regionRef: {{name: eu}}, eventType: call, aggregation: {yaml}}}"))
            .expect("a meter in YAML");
    meter.validate().expect("a valid meter");
    meter
}

/// A meter of this kind that needs no more said.
fn plain(kind: AggregationKind) -> MeterSpec {
    match kind {
        AggregationKind::Count => meter("Count"),
        AggregationKind::Percentile => meter("Percentile, valueProperty: n, percentile: '90'"),
        AggregationKind::Sum
        | AggregationKind::Max
        | AggregationKind::Min
        | AggregationKind::Average
        | AggregationKind::Latest
        | AggregationKind::UniqueCount
        | AggregationKind::WeightedSum => meter(&format!("{}, valueProperty: n", kind.as_str())),
    }
}

fn window() -> Period {
    let at = |second| Timestamp::from_second(second).expect("a time");
    Period { start: at(START_S), end: at(END_S) }
}

fn q(text: &str) -> Quantity {
    text.parse().expect("a quantity")
}

fn contribution(kind: AggregationKind, time_us: i64, id: &str, value: &str) -> Contribution {
    let value: Quantity = q(value);
    let (quantity, unique_value) = match kind {
        AggregationKind::Count => (Quantity::ONE, None),
        AggregationKind::UniqueCount => (Quantity::ONE, Some(value.to_string())),
        AggregationKind::Sum
        | AggregationKind::Max
        | AggregationKind::Min
        | AggregationKind::Average
        | AggregationKind::Latest
        | AggregationKind::WeightedSum
        | AggregationKind::Percentile => (value, None),
    };
    Contribution {
        quantity,
        unique_value,
        group: BTreeMap::new(),
        time_us,
        source: "key".to_owned(),
        id: id.to_owned(),
    }
}

fn fold(kind: AggregationKind, parts: impl IntoIterator<Item = Partial>) -> Partial {
    parts.into_iter().try_fold(Partial::empty(kind), Partial::merge).expect("small numbers")
}

/// Events as (second of the window, id, value).
fn used(meter: &MeterSpec, events: &[(i64, &str, &str)]) -> Partial {
    let kind = meter.aggregation;
    fold(
        kind,
        events.iter().map(|(second, id, value)| {
            Partial::of(kind, &contribution(kind, (START_S + second) * 1_000_000, id, value))
        }),
    )
}

/// What the events come to after `level`, and what they leave to the next window.
fn check(meter: &MeterSpec, level: &str, events: &[(i64, &str, &str)]) -> (String, String) {
    let used = used(meter, events);
    let said = |result: Result<Quantity, FinishError>| {
        result.map_or_else(|error| error.to_string(), |quantity| quantity.to_string())
    };
    (said(used.finish_from(q(level), meter, window())), said(used.carry(q(level), meter)))
}

#[test]
fn each_aggregation_reads_the_same_events_its_own_way() {
    let events = [(10, "a", "4"), (30, "b", "2"), (20, "c", "9"), (60, "d", "2")];
    for (kind, expected) in [
        ("Count", "4"),
        ("Sum, valueProperty: n", "17"),
        ("Sum, valueProperty: n, multiplier: '0.001'", "0.017"),
        ("Max, valueProperty: n", "9"),
        ("Min, valueProperty: n", "2"),
        ("Average, valueProperty: n", "4.25"),
        ("Latest, valueProperty: n", "2"),
        ("UniqueCount, valueProperty: n", "3"),
        // 10 s of 0, 10 s of 4, 10 s of 9, 70 s of 2.
        ("WeightedSum, valueProperty: n", "2.7"),
        ("Percentile, valueProperty: n, percentile: '50'", "2"),
        ("Percentile, valueProperty: n, percentile: '50.000000000000000001'", "4"),
        ("Percentile, valueProperty: n, percentile: '75'", "4"),
        ("Percentile, valueProperty: n, percentile: '99.9'", "9"),
    ] {
        assert_eq!(check(&meter(kind), "0", &events).0, expected, "{kind}");
    }
}

#[test]
fn no_events_are_zero() {
    for kind in ALL {
        assert_eq!(check(&plain(kind), "0", &[]), ("0".to_owned(), "0".to_owned()), "{kind:?}");
    }
}

#[test]
fn a_level_is_carried_in_and_on_only_when_it_is_never_reset() {
    let events = [(40, "a", "5"), (80, "b", "1")];
    for (kind, events, quantity, left) in [
        ("Sum, valueProperty: n", &events[..], "6", "0"),
        ("Sum, valueProperty: n, reset: Never", &events, "9", "9"),
        ("Sum, valueProperty: n, reset: Never, multiplier: '2'", &events, "18", "9"),
        ("Sum, valueProperty: n, reset: Never", &[], "3", "3"),
        ("Latest, valueProperty: n", &events, "1", "0"),
        ("Latest, valueProperty: n, reset: Never", &events, "1", "1"),
        ("Latest, valueProperty: n, reset: Never", &[], "3", "3"),
        ("WeightedSum, valueProperty: n", &events, "2.2", "0"),
        // 40 s of 3, 40 s of 5, 20 s of 1.
        ("WeightedSum, valueProperty: n, reset: Never", &events, "3.4", "1"),
        ("WeightedSum, valueProperty: n, reset: Never", &[], "3", "3"),
        ("Max, valueProperty: n", &events, "5", "0"),
    ] {
        assert_eq!(check(&meter(kind), "3", events), (quantity.to_owned(), left.to_owned()), "{kind}");
    }
}

#[test]
fn decrements_lower_a_running_sum_but_not_below_zero_at_the_end() {
    let seats = meter("Sum, valueProperty: n, reset: Never");
    let ok = |quantity: &str| (quantity.to_owned(), quantity.to_owned());
    assert_eq!(check(&seats, "3", &[(1, "a", "5"), (2, "b", "-7.5")]), ok("0.5"));
    assert_eq!(check(&seats, "3", &[(1, "a", "-3")]), ok("0"));
    // The decrement is the earlier event; only the end counts.
    assert_eq!(check(&seats, "0", &[(1, "a", "-3"), (2, "b", "4")]), ok("1"));
    let below = "the level at the end is -1: more was taken away than was there".to_owned();
    assert_eq!(check(&seats, "3", &[(1, "a", "-4")]), (below, "-1".to_owned()));
}

#[test]
fn of_readings_at_one_time_the_last_by_source_and_id_is_the_level() {
    for kind in ["Latest", "WeightedSum"] {
        let meter = meter(&format!("{kind}, valueProperty: n"));
        for events in [[(0, "b", "7"), (0, "a", "9")], [(0, "a", "9"), (0, "b", "7")]] {
            assert_eq!(check(&meter, "0", &events).0, "7", "{kind}");
        }
        // Text order: "10" is before "9".
        assert_eq!(check(&meter, "0", &[(0, "10", "1"), (0, "9", "2")]).0, "2", "{kind}");
    }
}

#[test]
fn a_reading_counts_from_its_microsecond_on() {
    let weighted = meter("WeightedSum, valueProperty: n, reset: Never");
    let at = |time_us, level| {
        let kind = AggregationKind::WeightedSum;
        let used = Partial::of(kind, &contribution(kind, time_us, "a", level));
        used.finish_from(q("3"), &weighted, window()).map(|quantity| quantity.to_string())
    };
    let (start_us, end_us) = (START_S * 1_000_000, END_S * 1_000_000);
    // At the start nothing of the level before is left; a microsecond of it is 3 / 100,000,000.
    assert_eq!(at(start_us, "0"), Ok("0".to_owned()));
    assert_eq!(at(start_us + 1, "0"), Ok("0.00000003".to_owned()));
    assert_eq!(at(end_us - 1, "4"), Ok("3.00000001".to_owned()));
    let outside = |time_us| Err(FinishError::OutsideWindow { time_us });
    assert_eq!(at(end_us, "4"), outside(end_us));
    assert_eq!(at(start_us - 1, "4"), outside(start_us - 1));
}

#[test]
fn a_constant_level_is_itself_to_the_last_digit() {
    let weighted = meter("WeightedSum, valueProperty: n, reset: Never");
    let level = "99999999999999999999.999999999999999999";
    assert_eq!(check(&weighted, level, &[(33, "a", level)]).0, level);
}

#[test]
fn an_empty_window_has_no_level() {
    let weighted = plain(AggregationKind::WeightedSum);
    let empty = Period { start: window().start, end: window().start };
    let nothing = Partial::empty(AggregationKind::WeightedSum);
    assert_eq!(nothing.finish(&weighted, empty), Err(FinishError::EmptyWindow));
}

#[test]
fn percentiles_are_nearest_ranks() {
    // The table of Wikipedia's "Percentile", worked example of the nearest-rank method.
    let five = [(1, "a", "15"), (2, "b", "20"), (3, "c", "35"), (4, "d", "40"), (5, "e", "50")];
    let ten: Vec<_> =
        (0..10).map(|n| (n, "x", ["1", "2", "3", "4", "5", "6", "7", "8", "9", "10"][n as usize])).collect();
    for (events, percentile, expected) in [
        (&five[..], "5", "15"),
        (&five, "30", "20"),
        (&five, "40", "20"),
        (&five, "50", "35"),
        (&five, "100", "50"),
        (&ten, "90", "9"),
        (&ten, "90.000000000000000001", "10"),
        (&ten, "0.000000000000000001", "1"),
        (&ten, "99.9", "10"),
    ] {
        let meter = meter(&format!("Percentile, valueProperty: n, percentile: '{percentile}'"));
        assert_eq!(check(&meter, "0", events).0, expected, "p{percentile}");
    }
}

#[test]
fn a_percentile_of_many_values_is_an_error_rather_than_a_wrong_rank() {
    let meter = meter("Percentile, valueProperty: n, percentile: '99.9'");
    let many = Partial::Percentile(BTreeMap::from([(q("1"), u64::MAX)]));
    assert_eq!(many.finish(&meter, window()), Err(FinishError::Overflow(Overflow)));
    assert_eq!(many.clone().merge(many), Err(MergeError::Overflow(Overflow)));
}

#[test]
fn a_mean_or_product_is_rounded_once_at_the_18th_decimal() {
    let events = [(1, "a", "1"), (2, "b", "1"), (3, "c", "0")];
    assert_eq!(check(&plain(AggregationKind::Average), "0", &events).0, "0.666666666666666667");
    let tiny = meter("Sum, valueProperty: n, multiplier: '0.25'");
    assert_eq!(check(&tiny, "0", &[(1, "a", "0.000000000000000002")]).0, "0.000000000000000001");
}

#[test]
fn different_aggregations_neither_merge_nor_finish_each_other() {
    for (one, other) in ALL.into_iter().flat_map(|one| ALL.map(|other| (one, other))) {
        let merged = Partial::empty(one).merge(Partial::empty(other));
        let finished = Partial::empty(one).finish(&plain(other), window());
        if one == other {
            assert_eq!(merged, Ok(Partial::empty(one)));
            assert_eq!(finished, Ok(Quantity::ZERO));
        } else {
            assert_eq!(merged, Err(MergeError::DifferentAggregations));
            assert_eq!(finished, Err(FinishError::OtherAggregation { meter: other, usage: one }));
        }
    }
}

#[test]
fn what_does_not_fit_is_an_error() {
    let most = Partial::Sum(Quantity(Decimal::MAX));
    assert_eq!(most.clone().merge(most.clone()), Err(MergeError::Overflow(Overflow)));
    let running = meter("Sum, valueProperty: n, reset: Never, multiplier: '2'");
    for result in [most.finish(&running, window()), most.carry(Quantity::ONE, &running)] {
        assert_eq!(result, Err(FinishError::Overflow(Overflow)));
    }
    let average = Partial::Average { sum: Quantity(Decimal::MAX), count: 1 };
    assert_eq!(average.clone().merge(average), Err(MergeError::Overflow(Overflow)));
}

/// An event as (second of the window, value). Values and times repeat, so that ties do.
type Event = (i64, u32);

fn contributions(kind: AggregationKind, events: &[(usize, Event)]) -> Vec<Partial> {
    let one = |(index, (second, value)): &(usize, Event)| {
        let time_us = (START_S + second) * 1_000_000;
        Partial::of(kind, &contribution(kind, time_us, &format!("{index:03}"), &value.to_string()))
    };
    events.iter().map(one).collect()
}

/// What the aggregation means, computed without partial results, from events in the order of their ids.
fn from_scratch(kind: AggregationKind, events: &[(usize, Event)]) -> String {
    let mut by_time: Vec<(i64, usize, u64)> =
        events.iter().map(|(index, (second, value))| (*second, *index, u64::from(*value))).collect();
    by_time.sort_unstable();
    let mut values: Vec<u64> = by_time.iter().map(|(_, _, value)| *value).collect();
    values.sort_unstable();
    let sum: u64 = values.iter().sum();
    let divided = |sum: u64, by: u64| {
        let decimal = |value: u64| Decimal::from_integer(value as i64);
        decimal(sum).checked_div(decimal(by.max(1))).expect("fits").to_string()
    };
    let largest = |values: &[u64]| values.last().copied().unwrap_or(0).to_string();
    match kind {
        AggregationKind::Count => values.len().to_string(),
        AggregationKind::Sum => sum.to_string(),
        AggregationKind::Max => largest(&values),
        AggregationKind::Min => values.first().copied().unwrap_or(0).to_string(),
        AggregationKind::Average => divided(sum, values.len() as u64),
        AggregationKind::Latest => by_time.last().map_or(0, |(_, _, value)| *value).to_string(),
        AggregationKind::UniqueCount => values.iter().collect::<BTreeSet<_>>().len().to_string(),
        AggregationKind::WeightedSum => {
            // Second by second: whole seconds are as fine as these events get.
            let level_at = |second: i64| {
                by_time.iter().rev().find(|(time, _, _)| *time <= second).map_or(0, |(_, _, value)| *value)
            };
            divided((0..END_S - START_S).map(level_at).sum(), (END_S - START_S) as u64)
        }
        // The smallest value that nine tenths of all do not exceed.
        AggregationKind::Percentile => values
            .iter()
            .find(|value| values.iter().filter(|other| other <= value).count() * 10 >= values.len() * 9)
            .map_or("0".to_owned(), u64::to_string),
    }
}

proptest! {
    #[test]
    fn splitting_and_shuffling_usage_changes_nothing(
        (events, shuffled) in prop::collection::vec((0i64..100, 0u32..50), 0..40).prop_flat_map(|events| {
            let events: Vec<_> = events.into_iter().enumerate().collect();
            (Just(events.clone()), Just(events).prop_shuffle())
        }),
        cuts in prop::collection::vec(0usize..40, 0..6),
    ) {
        for kind in ALL {
            let parts = contributions(kind, &shuffled);
            let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut % (parts.len() + 1)).chain([0, parts.len()]).collect();
            cuts.sort_unstable();
            let split = cuts.windows(2).map(|cut| fold(kind, parts[cut[0]..cut[1]].iter().cloned()));
            let merged = fold(kind, split);
            let whole = fold(kind, contributions(kind, &events));
            prop_assert_eq!(&merged, &whole);
            let quantity = merged.finish(&plain(kind), window()).expect("fits");
            prop_assert_eq!(quantity.to_string(), from_scratch(kind, &events), "{:?}", kind);
        }
    }

    /// A level that is never reset does not depend on where the windows were cut: carrying it over a boundary and reading the
    /// second window gives what one pass over all events gives.
    #[test]
    fn a_level_carried_over_a_boundary_is_the_level_of_one_pass(
        events in prop::collection::vec((0i64..100, 0u32..50), 0..40),
        cut in 1i64..100,
        level in 0u32..50,
    ) {
        let events: Vec<_> = events.into_iter().enumerate().collect();
        let (before, after): (Vec<_>, Vec<_>) = events.iter().cloned().partition(|(_, (second, _))| *second < cut);
        let level = Quantity::from_integer(i64::from(level));
        let at = |second| Timestamp::from_second(START_S + second).expect("a time");
        let (first, second) = (Period { start: at(0), end: at(cut) }, Period { start: at(cut), end: at(100) });
        for kind in ["Sum", "Latest", "WeightedSum"] {
            let meter = meter(&format!("{kind}, valueProperty: n, reset: Never"));
            let kind = meter.aggregation;
            let (before, after) = (fold(kind, contributions(kind, &before)), fold(kind, contributions(kind, &after)));
            let whole = fold(kind, contributions(kind, &events));
            let carried = before.carry(level, &meter).expect("fits");
            prop_assert_eq!(after.carry(carried, &meter), whole.carry(level, &meter));
            let (one, two) = (before.finish_from(level, &meter, first), after.finish_from(carried, &meter, second));
            let (one, two) = (one.expect("fits"), two.expect("fits"));
            let all = whole.finish_from(level, &meter, window()).expect("fits");
            if kind == AggregationKind::WeightedSum {
                // The means, weighted by the lengths of their windows, up to the rounding of each.
                let parts = [(one.0, cut as u64), (two.0, 100 - cut as u64)];
                let mean = Decimal::weighted_mean(parts, 100).expect("fits");
                let off = mean.checked_sub(all.0).expect("fits").units().abs();
                prop_assert!(off <= 1, "{} and {}", mean, all);
            } else {
                prop_assert_eq!(two, all);
            }
        }
    }
}
