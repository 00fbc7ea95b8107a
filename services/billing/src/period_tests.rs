//! Periods as tables of local boundaries, and the property that they tile for every anchor, zone and interval.

use proptest::prelude::*;

use super::*;

fn schedule(unit: IntervalUnit, count: u32, anchor: Anchor, zone: &str) -> Schedule {
    Schedule::new(IntervalSpec { unit, count }, anchor, zone).expect("a schedule")
}

fn start(at: &str) -> Anchor {
    Anchor::Start { at: at.parse().expect("a time") }
}

/// The first boundaries from `from` on, in local time.
fn boundaries(schedule: &Schedule, from: &str, count: usize) -> Vec<String> {
    let mut period = schedule.containing(from.parse().expect("a time")).expect("a period");
    let mut shown = Vec::new();
    for _ in 0..count {
        shown.push(schedule.zone.to_datetime(period.start).to_string());
        period = schedule.next(&period).expect("a next period");
    }
    shown
}

#[test]
fn a_month_end_clamps_and_comes_back() {
    let monthly = schedule(IntervalUnit::Month, 1, start("2027-01-31T10:00:00Z"), "UTC");
    assert_eq!(
        boundaries(&monthly, "2027-01-31T10:00:00Z", 5),
        [
            "2027-01-31T10:00:00",
            "2027-02-28T10:00:00",
            "2027-03-31T10:00:00",
            "2027-04-30T10:00:00",
            "2027-05-31T10:00:00"
        ]
    );
    let quarterly = schedule(IntervalUnit::Quarter, 1, start("2026-11-30T00:00:00Z"), "UTC");
    assert_eq!(
        boundaries(&quarterly, "2026-12-01T00:00:00Z", 4),
        ["2026-11-30T00:00:00", "2027-02-28T00:00:00", "2027-05-30T00:00:00", "2027-08-30T00:00:00"]
    );
    let yearly = schedule(IntervalUnit::Year, 1, start("2024-02-29T00:00:00Z"), "UTC");
    assert_eq!(
        boundaries(&yearly, "2024-02-29T00:00:00Z", 5),
        [
            "2024-02-29T00:00:00",
            "2025-02-28T00:00:00",
            "2026-02-28T00:00:00",
            "2027-02-28T00:00:00",
            "2028-02-29T00:00:00"
        ]
    );
}

#[test]
fn a_calendar_anchor_starts_at_local_midnight_of_the_unit() {
    for (unit, count, zone, at, expected) in [
        (IntervalUnit::Month, 1, "UTC", "2026-03-31T23:59:59.999999Z", "2026-03-01T00:00:00"),
        (IntervalUnit::Month, 1, "UTC", "2026-04-01T00:00:00Z", "2026-04-01T00:00:00"),
        (IntervalUnit::Month, 1, "Asia/Kolkata", "2026-03-31T18:30:00Z", "2026-04-01T00:00:00"),
        (IntervalUnit::Month, 1, "Asia/Kolkata", "2026-03-31T18:29:59Z", "2026-03-01T00:00:00"),
        (IntervalUnit::Day, 1, "America/New_York", "2026-07-04T03:59:59Z", "2026-07-03T00:00:00"),
        (IntervalUnit::Week, 1, "UTC", "2026-11-21T12:00:00Z", "2026-11-16T00:00:00"),
        (IntervalUnit::Quarter, 1, "UTC", "2026-11-21T12:00:00Z", "2026-10-01T00:00:00"),
        (IntervalUnit::Year, 1, "UTC", "1969-12-31T23:59:59Z", "1969-01-01T00:00:00"),
        (IntervalUnit::Month, 2, "UTC", "2026-04-15T00:00:00Z", "2026-03-01T00:00:00"),
        (IntervalUnit::Day, 3, "UTC", "1970-01-03T23:00:00Z", "1970-01-01T00:00:00"),
        (IntervalUnit::Day, 3, "UTC", "1969-12-31T23:00:00Z", "1969-12-29T00:00:00"),
    ] {
        let schedule = schedule(unit, count, Anchor::Calendar, zone);
        assert_eq!(boundaries(&schedule, at, 1), [expected], "{count} {unit:?} {zone} {at}");
    }
}

#[test]
fn a_boundary_belongs_to_the_period_that_it_starts() {
    let monthly = schedule(IntervalUnit::Month, 1, Anchor::Calendar, "Europe/Berlin");
    let boundary: Timestamp = "2026-10-31T23:00:00Z".parse().expect("a time");
    let after = monthly.containing(boundary).expect("a period");
    assert_eq!(after.start, boundary);
    assert!(after.contains(boundary) && !after.contains(after.end));
    assert!(monthly.is_boundary(boundary).expect("in range"));
    let before = monthly.containing(boundary - jiff::SignedDuration::from_micros(1)).expect("a period");
    assert_eq!(before.end, boundary);
    assert!(!monthly.is_boundary(boundary - jiff::SignedDuration::from_micros(1)).expect("in range"));
}

#[test]
fn clock_changes_make_a_day_of_23_or_25_hours() {
    let daily = schedule(IntervalUnit::Day, 1, Anchor::Calendar, "Europe/Berlin");
    for (at, hours) in
        [("2026-03-29T12:00:00Z", 23), ("2026-10-25T12:00:00Z", 25), ("2026-06-01T12:00:00Z", 24)]
    {
        let day = daily.containing(at.parse().expect("a time")).expect("a period");
        assert_eq!(day.end.duration_since(day.start).as_hours(), hours, "{at}");
    }
}

#[test]
fn a_boundary_in_a_gap_moves_behind_it_and_in_a_repeated_hour_takes_the_first() {
    let gap = schedule(IntervalUnit::Day, 1, start("2026-03-28T01:30:00Z"), "Europe/Berlin");
    assert_eq!(
        boundaries(&gap, "2026-03-28T01:30:00Z", 3),
        ["2026-03-28T02:30:00", "2026-03-29T03:30:00", "2026-03-30T02:30:00"]
    );
    let fold = schedule(IntervalUnit::Day, 1, start("2026-10-24T00:30:00Z"), "Europe/Berlin");
    let day = fold.containing("2026-10-25T00:30:00Z".parse().expect("a time")).expect("a period");
    assert_eq!(day.start.to_string(), "2026-10-25T00:30:00Z");
}

#[test]
fn an_anchor_in_the_second_pass_of_a_repeated_hour_is_still_a_boundary() {
    let at = "2026-10-25T01:30:00Z";
    let monthly = schedule(IntervalUnit::Month, 1, start(at), "Europe/Berlin");
    assert_eq!(monthly.containing(at.parse().expect("a time")).expect("a period").start.to_string(), at);
    let before = monthly.containing("2026-10-25T00:30:00Z".parse().expect("a time")).expect("a period");
    assert_eq!(before.end.to_string(), at);
}

#[test]
fn a_day_that_a_zone_skipped_is_no_period() {
    // Samoa went from 29 to 31 December 2011.
    let daily = schedule(IntervalUnit::Day, 1, Anchor::Calendar, "Pacific/Apia");
    assert_eq!(
        boundaries(&daily, "2011-12-29T12:00:00Z", 3),
        ["2011-12-29T00:00:00", "2011-12-31T00:00:00", "2012-01-01T00:00:00"]
    );
}

#[test]
fn what_makes_no_schedule_is_named() {
    let interval = IntervalSpec { unit: IntervalUnit::Month, count: 1 };
    let unknown = Schedule::new(interval, Anchor::Calendar, "Mars/Olympus").expect_err("no such zone");
    assert_eq!(unknown, PeriodError::UnknownTimeZone("Mars/Olympus".to_owned()));
    let none = Schedule::new(IntervalSpec { count: 0, ..interval }, Anchor::Calendar, "UTC")
        .expect_err("an empty interval");
    assert_eq!(none, PeriodError::EmptyInterval);
    let late = schedule(IntervalUnit::Year, 10, Anchor::Calendar, "UTC").containing(Timestamp::MAX);
    assert_eq!(late, Err(PeriodError::OutOfRange));
}

#[test]
fn a_quarter_is_three_months_but_a_week_is_not_seven_days() {
    let interval = |unit, count| IntervalSpec { unit, count };
    let month = interval(IntervalUnit::Month, 3);
    assert!(same_boundaries(month, interval(IntervalUnit::Quarter, 1)));
    assert!(same_boundaries(interval(IntervalUnit::Quarter, 8), interval(IntervalUnit::Year, 2)));
    assert!(!same_boundaries(month, interval(IntervalUnit::Month, 4)));
    assert!(!same_boundaries(interval(IntervalUnit::Week, 1), interval(IntervalUnit::Day, 7)));
    assert!(!same_boundaries(interval(IntervalUnit::Day, 3), month));
}

/// From 1998 for 30 years: each period ends where the next begins, has a length, and holds its own instants.
fn tiles(schedule: &Schedule) {
    let (from, until): (Timestamp, Timestamp) =
        ("1998-01-17T05:00:00Z".parse().expect("a time"), "2028-01-17T05:00:00Z".parse().expect("a time"));
    let mut period = schedule.containing(from).expect("a period");
    assert!(period.contains(from));
    while period.end < until {
        let next = schedule.next(&period).expect("a next period");
        assert!(period.start < period.end, "{period:?} is empty in {schedule:?}");
        assert_eq!(period.end, next.start, "a gap or an overlap in {schedule:?}");
        let last = period.end - jiff::SignedDuration::from_micros(1);
        assert_eq!(schedule.containing(last), Ok(period), "{schedule:?}");
        assert_eq!(schedule.containing(period.start), Ok(period), "{schedule:?}");
        period = next;
    }
}

/// Half-hour changes, no changes, southern changes, a skipped day, big offsets, and the usual ones.
const ZONES: [&str; 12] = [
    "UTC",
    "Europe/Berlin",
    "America/New_York",
    "America/Sao_Paulo",
    "Asia/Kolkata",
    "Asia/Tehran",
    "Asia/Kathmandu",
    "Australia/Lord_Howe",
    "Pacific/Apia",
    "Pacific/Kiritimati",
    "Africa/Casablanca",
    "America/St_Johns",
];
const INTERVALS: [(IntervalUnit, u32); 9] = [
    (IntervalUnit::Day, 1),
    (IntervalUnit::Day, 10),
    (IntervalUnit::Week, 1),
    (IntervalUnit::Week, 2),
    (IntervalUnit::Month, 1),
    (IntervalUnit::Month, 5),
    (IntervalUnit::Quarter, 1),
    (IntervalUnit::Year, 1),
    (IntervalUnit::Year, 3),
];

#[test]
fn calendar_periods_tile_for_every_zone_and_interval_over_30_years() {
    for zone in ZONES {
        for (unit, count) in INTERVALS {
            tiles(&schedule(unit, count, Anchor::Calendar, zone));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn anniversary_periods_tile_for_any_anchor(
        zone in prop::sample::select(&ZONES[..]),
        (unit, count) in prop::sample::select(&INTERVALS[1..]),
        day in 0i64..10_957,
        second in prop::sample::select(vec![0i64, 1, 3_599, 5_400, 9_000, 43_200, 86_399]),
    ) {
        let at = Timestamp::from_second(883_612_800 + day * 86_400 + second).expect("a time");
        tiles(&schedule(unit, count, Anchor::Start { at }, zone));
    }

    #[test]
    fn anniversaries_of_awkward_days_tile(
        zone in prop::sample::select(&ZONES[..]),
        (unit, count) in prop::sample::select(&INTERVALS[4..]),
        date in prop::sample::select(vec!["2024-02-29", "2023-01-29", "2023-01-30", "2023-01-31", "2023-08-31", "2020-12-31"]),
    ) {
        tiles(&schedule(unit, count, start(&format!("{date}T23:30:00Z")), zone));
    }
}
