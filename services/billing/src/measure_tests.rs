//! Usage in every shape, as a table: meter in YAML, events as (time, value, region), the answer as text.

use proptest::prelude::*;

use super::*;
use crate::catalogue::BucketSize;

fn meter(rest: &str) -> MeterSpec {
    let yaml = format!("{{regionRef: {{name: eu}}, eventType: e, groupBy: [region], {rest}}}");
    serde_saphyr::from_str(&yaml).expect("a meter in YAML")
}

fn sum() -> MeterSpec {
    meter("aggregation: Sum, valueProperty: v")
}

fn event((index, (time, value, region)): (usize, &(&str, &str, &str))) -> Contribution {
    let group =
        [("region".to_owned(), (*region).to_owned())].into_iter().filter(|(_, region)| !region.is_empty());
    Contribution {
        quantity: value.parse().expect("a decimal"),
        unique_value: Some((*value).to_owned()),
        group: group.collect(),
        time_us: time.parse::<Timestamp>().expect("a time").as_microsecond(),
        source: String::new(),
        id: format!("{index:04}"),
    }
}

fn period(start: &str, end: &str) -> Period {
    Period { start: start.parse().expect("a time"), end: end.parse().expect("a time") }
}

fn march() -> Period {
    period("2026-03-01T00:00:00Z", "2026-04-01T00:00:00Z")
}

fn check(meter: &MeterSpec, shape: &UsageShape, spans: &[Period], events: &[(&str, &str, &str)]) -> String {
    check_in(meter, shape, spans, None, events)
}

fn check_in(
    meter: &MeterSpec,
    shape: &UsageShape,
    spans: &[Period],
    whole: Option<Period>,
    events: &[(&str, &str, &str)],
) -> String {
    let events: Vec<Contribution> = events.iter().enumerate().map(event).collect();
    let events: Vec<&Contribution> = events.iter().collect();
    let window = Window { spans, whole, since: spans[0].start };
    let measured = measure(meter, shape, window, "UTC", &events).expect("measures");
    let shown = match measured.usage {
        Usage::Total(quantity) => quantity.to_string(),
        Usage::Buckets(buckets) => {
            let shown = |bucket: &BucketUsage| {
                format!("{}{}={}", &bucket.start.to_string()[5..13], bucket.group.join("/"), bucket.quantity)
            };
            buckets.iter().map(shown).collect::<Vec<_>>().join(" ")
        }
        Usage::Groups(groups) => {
            let shown = |group: &GroupUsage| format!("{}={}", group.values.join("/"), group.quantity);
            groups.iter().map(shown).collect::<Vec<_>>().join(" ")
        }
        Usage::Transactions(runs) => {
            runs.iter().map(|run| format!("{}×{}", run.quantity, run.count)).collect::<Vec<_>>().join(" ")
        }
    };
    format!("{} events: {shown}", measured.events)
}

const EVENTS: [(&str, &str, &str); 5] = [
    ("2026-02-28T23:59:59.999999Z", "100", "eu"),
    ("2026-03-01T00:00:00Z", "1", "eu"),
    ("2026-03-01T10:30:00Z", "2", "us"),
    ("2026-03-02T10:30:00Z", "2", ""),
    ("2026-04-01T00:00:00Z", "1000", "eu"),
];

#[test]
fn what_lies_in_the_period_counts_its_end_excluded() {
    assert_eq!(check(&sum(), &UsageShape::Total, &[march()], &EVENTS), "3 events: 5");
    assert_eq!(check(&sum(), &UsageShape::Total, &[march()], &[]), "0 events: 0");
}

#[test]
fn buckets_and_groups_tell_events_apart() {
    let days = |group_by: &[&str]| UsageShape::Buckets {
        size: BucketSize::Day,
        group_by: group_by.iter().map(|name| (*name).to_owned()).collect(),
    };
    assert_eq!(check(&sum(), &days(&[]), &[march()], &EVENTS), "3 events: 03-01T00=3 03-02T00=2");
    assert_eq!(
        check(&sum(), &days(&["region"]), &[march()], &EVENTS),
        "3 events: 03-01T00eu=1 03-01T00us=2 03-02T00=2"
    );
    let groups = UsageShape::Groups { dimensions: vec!["region".to_owned()] };
    assert_eq!(check(&sum(), &groups, &[march()], &EVENTS), "3 events: =2 eu=1 us=2");
    let max = meter("aggregation: Max, valueProperty: v");
    assert_eq!(check(&max, &days(&[]), &[march()], &EVENTS), "3 events: 03-01T00=2 03-02T00=2");
}

#[test]
fn transactions_come_in_order_of_time() {
    assert_eq!(check(&sum(), &UsageShape::Transactions, &[march()], &EVENTS), "3 events: 1×1 2×2");
    let reversed: Vec<_> = EVENTS.iter().rev().copied().collect();
    assert_eq!(check(&sum(), &UsageShape::Transactions, &[march()], &reversed), "3 events: 1×1 2×2");
}

#[test]
fn a_level_that_is_never_reset_is_carried_into_the_period_and_its_buckets() {
    let seats = meter("aggregation: Sum, valueProperty: v, reset: Never");
    assert_eq!(check(&seats, &UsageShape::Total, &[march()], &EVENTS), "3 events: 105");
    let two_days = period("2026-03-01T00:00:00Z", "2026-03-03T00:00:00Z");
    let days = UsageShape::Buckets { size: BucketSize::Day, group_by: Vec::new() };
    assert_eq!(check(&seats, &days, &[two_days], &EVENTS), "3 events: 03-01T00=103 03-02T00=105");
    let groups = UsageShape::Groups { dimensions: vec!["region".to_owned()] };
    assert_eq!(check(&seats, &groups, &[march()], &EVENTS), "3 events: =2 eu=101 us=2");
}

#[test]
fn time_between_two_spans_does_not_count() {
    let spans = [
        period("2026-03-01T00:00:00Z", "2026-03-01T10:00:00Z"),
        period("2026-03-02T00:00:00Z", "2026-03-03T00:00:00Z"),
    ];
    assert_eq!(check(&sum(), &UsageShape::Total, &spans, &EVENTS), "2 events: 3");
    let level = meter("aggregation: WeightedSum, valueProperty: v");
    // 10 hours of 1; then a day of 2, which is set between the spans and once more within the second: 58 of 34 hours.
    let expected = "2 events: 1.705882352941176471";
    assert_eq!(check(&level, &UsageShape::Total, &spans, &EVENTS), expected);
    // The same 58 of the 744 hours of March, each part rounded.
    let expected = "2 events: 0.077956989247311828";
    assert_eq!(check_in(&level, &UsageShape::Total, &spans, Some(march()), &EVENTS), expected);
}

#[test]
fn a_level_in_a_part_of_a_period_counts_for_that_part_of_it() {
    let level = meter("aggregation: WeightedSum, valueProperty: v, reset: Never");
    let april = period("2026-04-01T00:00:00Z", "2026-05-01T00:00:00Z");
    let halves =
        [("2026-04-01T00:00:00Z", "2026-04-16T00:00:00Z"), ("2026-04-16T00:00:00Z", "2026-05-01T00:00:00Z")]
            .map(|(start, end)| period(start, end));
    let before = [("2026-03-20T00:00:00Z", "90", "eu")];
    let within = [("2026-04-16T00:00:00Z", "90", "eu")];
    let of = |spans: &[Period], shape: &UsageShape, events: &[(&str, &str, &str)]| {
        check_in(&level, shape, spans, Some(april), events)
    };
    for half in halves {
        assert_eq!(of(&[half], &UsageShape::Total, &before), "0 events: 45");
        let groups = UsageShape::Groups { dimensions: vec!["region".to_owned()] };
        assert_eq!(of(&[half], &groups, &before), "0 events: eu=45");
    }
    assert_eq!(of(&[april], &UsageShape::Total, &before), "0 events: 90");
    // Whether the subscription begins with the level or the level begins within it.
    assert_eq!(of(&[halves[1]], &UsageShape::Total, &within), "1 events: 45");
    assert_eq!(of(&[april], &UsageShape::Total, &within), "1 events: 45");
    // A bucket is a whole of its own.
    let days = UsageShape::Buckets { size: BucketSize::Day, group_by: Vec::new() };
    let last_day = [period("2026-04-30T00:00:00Z", "2026-05-01T00:00:00Z")];
    assert_eq!(of(&last_day, &days, &before), "0 events: 04-30T00=90");
}

#[test]
fn a_level_that_each_period_resets_stands_through_its_buckets_and_parts() {
    let level = meter("aggregation: WeightedSum, valueProperty: v");
    let day = period("2026-03-01T00:00:00Z", "2026-03-02T00:00:00Z");
    let rest = period("2026-03-01T20:00:00Z", "2026-03-02T00:00:00Z");
    // What was before the day is nothing to it.
    let events = [
        ("2026-02-28T23:00:00Z", "7", "eu"),
        ("2026-03-01T21:30:00Z", "6", "eu"),
        ("2026-03-01T22:00:00Z", "4", "eu"),
    ];
    let of = |spans: &[Period], shape: &UsageShape, since: Period| {
        let events: Vec<Contribution> = events.iter().enumerate().map(event).collect();
        let events: Vec<&Contribution> = events.iter().collect();
        let window = Window { spans, whole: Some(day), since: since.start };
        measure(&level, shape, window, "UTC", &events).expect("measures")
    };
    let hours = UsageShape::Buckets { size: BucketSize::Hour, group_by: Vec::new() };
    let buckets = |measured: Measured| match measured.usage {
        Usage::Buckets(buckets) => {
            buckets.iter().map(|bucket| bucket.quantity.to_string()).collect::<Vec<_>>()
        }
        other => panic!("{other:?}"),
    };
    assert_eq!(buckets(of(&[day], &hours, day)), ["3", "4", "4"]);
    assert_eq!(buckets(of(&[rest], &hours, day)), ["3", "4", "4"]);
    let last = period("2026-03-01T23:00:00Z", "2026-03-02T00:00:00Z");
    assert_eq!(buckets(of(&[last], &hours, day)), ["4"], "it began within the period, before the price");
    assert_eq!(of(&[last], &hours, day).events, 0);
    assert_eq!(buckets(of(&[last], &hours, last)), Vec::<String>::new());
    // 11 of the 24 hours' sum.
    let total =
        |spans: &[Period]| of(spans, &UsageShape::Total, day).usage.total().expect("fits").to_string();
    assert_eq!(total(&[day]), "0.458333333333333333");
    assert_eq!(total(&[last]), "0.166666666666666667");
}

#[test]
fn a_bucket_that_a_pause_cuts_is_one_bucket() {
    let spans = [
        period("2026-03-01T00:00:00Z", "2026-03-10T00:00:00Z"),
        period("2026-03-20T00:00:00Z", "2026-04-01T00:00:00Z"),
    ];
    let events = [
        ("2026-03-05T00:00:00Z", "5", "eu"),
        ("2026-03-15T00:00:00Z", "100", "eu"),
        ("2026-03-25T00:00:00Z", "7", "eu"),
        ("2026-03-25T00:00:01Z", "5", "eu"),
    ];
    let month = UsageShape::Buckets { size: BucketSize::Month, group_by: Vec::new() };
    for (aggregation, expected) in [
        ("Max", "7"),
        ("Min", "5"),
        ("Sum", "17"),
        ("UniqueCount", "2"),
        ("Average", "5.666666666666666667"),
        ("Latest", "5"),
    ] {
        let meter = meter(&format!("aggregation: {aggregation}, valueProperty: v"));
        assert_eq!(
            check(&meter, &month, &spans, &events),
            format!("3 events: 03-01T00={expected}"),
            "{aggregation}"
        );
    }
    // A level is what it is in the total of the same time.
    let seats = meter("aggregation: Sum, valueProperty: v, reset: Never");
    assert_eq!(check(&seats, &month, &spans, &events), "3 events: 03-01T00=17");
    assert_eq!(check(&seats, &UsageShape::Total, &spans, &events), "3 events: 17");
}

proptest! {
    #[test]
    fn parts_of_a_period_measure_what_all_of_it_does(
        events in prop::collection::vec((-1_000_000i64..2_678_400, 0u32..10_000), 0..20),
        mut cuts in prop::collection::vec(1i64..2_678_399_999_999, 0..5),
        cents in 1u32..1000,
        reset in prop::sample::select(vec!["Never", "EachPeriod"]),
    ) {
        let level = meter(&format!("aggregation: WeightedSum, valueProperty: v, reset: {reset}"));
        let (start, end) = (march().start.as_microsecond(), march().end.as_microsecond());
        let events: Vec<Contribution> = events.iter().enumerate().map(|(index, (second, value))| Contribution {
            quantity: Quantity::from_integer(i64::from(*value)),
            unique_value: None,
            group: Default::default(),
            time_us: start + second * 1_000_000,
            source: String::new(),
            id: index.to_string(),
        }).collect();
        let events: Vec<&Contribution> = events.iter().collect();
        let of = |spans: &[Period]| {
            let window = Window { spans, whole: Some(march()), since: march().start };
            measure(&level, &UsageShape::Total, window, "UTC", &events).expect("measures").usage.total().expect("fits")
        };
        cuts.sort();
        cuts.dedup();
        let bounds: Vec<i64> = [start].into_iter().chain(cuts.iter().map(|cut| start + cut)).chain([end]).collect();
        let spans: Vec<Period> = bounds.windows(2).map(|pair| Period::from_microseconds(pair[0], pair[1]).expect("a period")).collect();
        let whole = of(&[march()]);
        let parts = spans.iter().fold(Quantity::ZERO, |sum, span| sum.checked_add(of(&[*span])).expect("fits"));
        prop_assert_eq!(of(&spans), parts);
        // Each part is rounded at the 18th decimal, which no cent sees.
        let apart = whole.checked_sub(parts).expect("fits").0;
        prop_assert!(apart.units().unsigned_abs() <= spans.len() as u128, "{whole} {parts}");
        let cost = |quantity: Quantity| {
            let usd: crate::money::Currency = "USD".parse().expect("a currency");
            let price = crate::decimal::Amount(Decimal::from_integer(i64::from(cents)).checked_mul_ratio(1, 100).expect("fits"));
            // A millionth below half a cent: what is exactly half of one may go either way.
            let exact = quantity.times(price).expect("fits").checked_add("0.000001".parse().expect("a decimal")).expect("fits");
            usd.round(exact, crate::money::RoundingPoint::InvoiceLine).expect("fits")
        };
        prop_assert_eq!(cost(whole), cost(parts));
    }

    #[test]
    fn a_bucket_of_all_of_the_time_is_the_total(
        events in prop::collection::vec((0i64..2_678_400, 0u32..1000), 0..30),
        pause in 0i64..2_678_400, resumed in 0i64..2_678_400,
    ) {
        let at = |second: i64| march().start + jiff::SignedDuration::from_secs(second);
        let (pause, resumed) = (pause.min(resumed), pause.max(resumed));
        let spans = [Period { start: march().start, end: at(pause) }, Period { start: at(resumed), end: march().end }];
        let spans: Vec<Period> = spans.into_iter().filter(|span| span.start < span.end).collect();
        let events: Vec<Contribution> = events.iter().enumerate().map(|(index, (second, value))| Contribution {
            quantity: Quantity::from_integer(i64::from(*value)),
            unique_value: Some(value.to_string()),
            group: std::collections::BTreeMap::new(),
            time_us: at(*second).as_microsecond(),
            source: String::new(),
            id: index.to_string(),
        }).collect();
        let events: Vec<&Contribution> = events.iter().collect();
        for rest in ["Count", "Sum", "Max", "Min", "Average", "Latest", "UniqueCount", "WeightedSum", "Percentile"] {
            let rest = match rest {
                "Count" => "aggregation: Count".to_owned(),
                "Percentile" => "aggregation: Percentile, valueProperty: v, percentile: '95'".to_owned(),
                other => format!("aggregation: {other}, valueProperty: v"),
            };
            let window = Window { spans: &spans, whole: Some(march()), since: march().start };
            let of = |shape: UsageShape| measure(&meter(&rest), &shape, window, "UTC", &events).expect("measures").usage.total().expect("fits");
            let month = UsageShape::Buckets { size: BucketSize::Month, group_by: Vec::new() };
            prop_assert_eq!(of(month), of(UsageShape::Total), "{}", rest);
        }
    }

    #[test]
    fn buckets_and_groups_of_a_sum_add_up_to_its_total(
        events in prop::collection::vec((0i64..2_678_400, 0u32..1000, 0usize..3), 0..60),
        size in prop::sample::select(vec![BucketSize::Minute, BucketSize::Hour, BucketSize::Day, BucketSize::Week, BucketSize::Month]),
    ) {
        let start = march().start;
        let events: Vec<Contribution> = events.iter().enumerate().map(|(index, (second, value, region))| Contribution {
            quantity: Quantity::from_integer(i64::from(*value)),
            unique_value: None,
            group: [("region".to_owned(), ["", "eu", "us"][*region].to_owned())].into(),
            time_us: start.as_microsecond() + second * 1_000_000,
            source: String::new(),
            id: index.to_string(),
        }).collect();
        let events: Vec<&Contribution> = events.iter().collect();
        let window = Window { spans: &[march()], whole: Some(march()), since: march().start };
        let of = |shape: UsageShape| measure(&sum(), &shape, window, "Asia/Kolkata", &events).expect("measures").usage.total().expect("fits");
        let total = of(UsageShape::Total);
        prop_assert_eq!(of(UsageShape::Buckets { size, group_by: vec!["region".to_owned()] }), total);
        prop_assert_eq!(of(UsageShape::Groups { dimensions: vec!["region".to_owned()] }), total);
        prop_assert_eq!(of(UsageShape::Transactions), total);
    }
}
