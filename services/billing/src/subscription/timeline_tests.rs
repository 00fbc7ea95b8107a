//! Timelines as text: one line a period, `start..end [of the scheduled period]: segments → the next period as foreseen`.
//! A segment is `[from] plan [price=quantity] [+add-on×quantity] [paused] share`; midnights in UTC show their date alone.

use super::*;
use crate::{
    catalogue::IntervalUnit,
    subscription::{Share, TermsSpec},
};

/// Plans of the tests, by their names.
pub(super) fn interval_of(plan: &PlanName) -> Option<IntervalSpec> {
    let (unit, count) = match plan.as_str() {
        "basic" | "pro" | "support" => (IntervalUnit::Month, 1),
        "three-months" => (IntervalUnit::Month, 3),
        "quarterly" => (IntervalUnit::Quarter, 1),
        "yearly" | "yearly-pro" => (IntervalUnit::Year, 1),
        "weekly" => (IntervalUnit::Week, 1),
        "daily" => (IntervalUnit::Day, 1),
        _ => return None,
    };
    Some(IntervalSpec { unit, count })
}

pub(super) fn time(text: &str) -> Timestamp {
    let full = if text.contains('T') { text.to_owned() } else { format!("{text}T00:00:00Z") };
    full.parse().expect("a time")
}

pub(super) fn terms(yaml: &str) -> Terms {
    let spec: TermsSpec = serde_saphyr::from_str(yaml).expect("the shape of terms");
    spec.to_terms().expect("valid terms")
}

fn lines(yaml: &str, until: &str) -> Vec<String> {
    let periods = timeline(&terms(yaml), &interval_of, time(until)).expect("a timeline");
    periods.iter().map(show).collect()
}

pub(super) fn check(yaml: &str, until: &str, expected: &[&str]) {
    assert_eq!(lines(yaml, until), expected, "{yaml}");
}

pub(super) fn error(yaml: &str, until: &str) -> String {
    timeline(&terms(yaml), &interval_of, time(until)).expect_err("no timeline").to_string()
}

fn show(billed: &BillingPeriod) -> String {
    let segments: Vec<String> =
        billed.segments.iter().map(|s| show_segment(s, billed.period.start)).collect();
    let next = match &billed.next {
        Some(next) => format!(
            "{}: {}",
            show_period(&next.segment.period, &next.scheduled),
            show_segment(&next.segment, next.segment.period.start)
        ),
        None => "end".to_owned(),
    };
    let first = if billed.first { "first " } else { "" };
    format!("{first}{}: {} → {next}", show_period(&billed.period, &billed.scheduled), segments.join(", "))
}

fn show_time(at: Timestamp) -> String {
    at.to_string().replace("T00:00:00Z", "")
}

fn show_period(period: &Period, scheduled: &Period) -> String {
    let show = |period: &Period| format!("{}..{}", show_time(period.start), show_time(period.end));
    if period == scheduled { show(period) } else { format!("{} of {}", show(period), show(scheduled)) }
}

fn show_segment(segment: &Segment, begins: Timestamp) -> String {
    let mut words = Vec::new();
    if segment.period.start != begins {
        words.push(show_time(segment.period.start));
    }
    words.push(segment.plan.to_string());
    words.extend(segment.quantities.iter().map(|(price, quantity)| format!("{price}={quantity}")));
    words.extend(segment.add_ons.iter().map(|add_on| format!("+{}×{}", add_on.plan, add_on.quantity)));
    if segment.state == SegmentState::Paused {
        words.push("paused".to_owned());
    }
    words.push(format!("{}/{}", segment.share.numerator(), segment.share.denominator()));
    words.join(" ")
}

#[test]
fn a_calendar_subscription_begins_with_a_part_and_goes_on_with_wholes() {
    check(
        "{planRef: {name: basic}, start: 2026-01-16T00:00:00Z}",
        "2026-03-01",
        &[
            "first 2026-01-16..2026-02-01 of 2026-01-01..2026-02-01: basic 16/31 → 2026-02-01..2026-03-01: basic 1/1",
            "2026-02-01..2026-03-01: basic 1/1 → 2026-03-01..2026-04-01: basic 1/1",
        ],
    );
}

#[test]
fn a_period_that_begins_before_until_is_given_whole() {
    let yaml = "{planRef: {name: basic}, start: 2026-01-01T00:00:00Z}";
    assert_eq!(lines(yaml, "2026-01-01").len(), 0);
    assert_eq!(lines(yaml, "2026-01-01T00:00:00.000001Z").len(), 1);
    assert_eq!(lines(yaml, "2026-02-01").len(), 1);
    assert_eq!(lines(yaml, "2026-02-01T00:00:00.000001Z").len(), 2);
}

#[test]
fn an_anniversary_on_the_31st_clamps_and_comes_back() {
    check(
        "{planRef: {name: basic}, start: 2027-01-31T10:00:00Z, anchor: Anniversary}",
        "2027-03-31",
        &[
            "first 2027-01-31T10:00:00Z..2027-02-28T10:00:00Z: basic 1/1 → 2027-02-28T10:00:00Z..2027-03-31T10:00:00Z: basic 1/1",
            "2027-02-28T10:00:00Z..2027-03-31T10:00:00Z: basic 1/1 → 2027-03-31T10:00:00Z..2027-04-30T10:00:00Z: basic 1/1",
        ],
    );
}

#[test]
fn a_yearly_anniversary_on_leap_day_comes_back_every_leap_year() {
    let lines =
        lines("{planRef: {name: yearly}, start: 2024-02-29T00:00:00Z, anchor: Anniversary}", "2028-03-01");
    let starts: Vec<&str> = lines.iter().map(|line| &line.trim_start_matches("first ")[..10]).collect();
    assert_eq!(starts, ["2024-02-29", "2025-02-28", "2026-02-28", "2027-02-28", "2028-02-29"]);
}

#[test]
fn an_end_cuts_the_last_period_and_is_foreseen() {
    check(
        "{planRef: {name: basic}, start: 2026-01-01T00:00:00Z, end: 2026-02-15T00:00:00Z}",
        "2027-01-01",
        &[
            "first 2026-01-01..2026-02-01: basic 1/1 → 2026-02-01..2026-02-15 of 2026-02-01..2026-03-01: basic 1/2",
            "2026-02-01..2026-02-15 of 2026-02-01..2026-03-01: basic 1/2 → end",
        ],
    );
    check(
        "{planRef: {name: basic}, start: 2026-01-01T00:00:00Z, end: 2026-02-01T00:00:00Z}",
        "2027-01-01",
        &["first 2026-01-01..2026-02-01: basic 1/1 → end"],
    );
}

#[test]
fn nothing_is_billed_before_the_trials_end() {
    check(
        "{planRef: {name: basic}, start: 2026-01-05T00:00:00Z, trial: {days: 14}, anchor: Anniversary}",
        "2026-02-01",
        &["first 2026-01-19..2026-02-19: basic 1/1 → 2026-02-19..2026-03-19: basic 1/1"],
    );
    check(
        "{planRef: {name: basic}, start: 2026-01-05T00:00:00Z, trial: {end: 2026-01-17T00:00:00Z}}",
        "2026-02-01",
        &[
            "first 2026-01-17..2026-02-01 of 2026-01-01..2026-02-01: basic 15/31 → 2026-02-01..2026-03-01: basic 1/1",
        ],
    );
}

#[test]
fn a_trial_of_days_ends_at_the_same_local_time() {
    // The clock goes forward on 29 March.
    let terms = terms(
        "{planRef: {name: basic}, start: 2026-03-20T11:00:00Z, trial: {days: 14}, timeZone: Europe/Berlin}",
    );
    assert_eq!(terms.billing_start(), time("2026-04-03T10:00:00Z"));
}

#[test]
fn a_subscription_that_ends_during_its_trial_has_no_period() {
    for ending in [
        "changes: [{at: 2026-01-10T00:00:00Z, cancel: AtOnce}]",
        "changes: [{at: 2026-01-10T00:00:00Z, cancel: AtPeriodEnd}]",
        "changes: [{at: 2026-01-19T00:00:00Z, cancel: AtOnce}]",
        "end: 2026-01-10T00:00:00Z",
        "end: 2026-01-19T00:00:00Z",
    ] {
        let yaml = format!(
            "{{planRef: {{name: basic}}, start: 2026-01-05T00:00:00Z, trial: {{days: 14}}, {ending}}}"
        );
        check(&yaml, "2027-01-01", &[]);
    }
}

#[test]
fn a_cancellation_ends_at_once_or_with_its_period() {
    let yaml = |at: &str, cancel: &str| {
        format!(
            "{{planRef: {{name: basic}}, start: 2026-03-01T00:00:00Z, changes: [{{at: {at}, cancel: {cancel}}}]}}"
        )
    };
    let march = "first 2026-03-01..2026-04-01: basic 1/1 → end";
    check(&yaml("2026-03-11T00:00:00Z", "AtPeriodEnd"), "2027-01-01", &[march]);
    check(&yaml("2026-03-01T00:00:00Z", "AtPeriodEnd"), "2027-01-01", &[march]);
    check(
        &yaml("2026-03-11T00:00:00Z", "AtOnce"),
        "2027-01-01",
        &["first 2026-03-01..2026-03-11 of 2026-03-01..2026-04-01: basic 10/31 → end"],
    );
    check(&yaml("2026-03-01T00:00:00Z", "AtOnce"), "2027-01-01", &[]);
    check(&yaml("2026-04-01T00:00:00Z", "AtOnce"), "2027-01-01", &[march]);
    check(
        &yaml("2026-04-01T00:00:00Z", "AtPeriodEnd"),
        "2027-01-01",
        &[
            "first 2026-03-01..2026-04-01: basic 1/1 → 2026-04-01..2026-05-01: basic 1/1",
            "2026-04-01..2026-05-01: basic 1/1 → end",
        ],
    );
}

#[test]
fn without_proration_the_terms_at_the_start_pay_whole() {
    check(
        "{planRef: {name: basic}, start: 2026-03-16T00:00:00Z, proration: None, changes: [
            {at: 2026-03-20T00:00:00Z, planRef: {name: pro}}, {at: 2026-04-16T00:00:00Z, cancel: AtOnce}]}",
        "2026-05-01",
        &[
            "first 2026-03-16..2026-04-01 of 2026-03-01..2026-04-01: basic 1/1, 2026-03-20 pro 0/1 → 2026-04-01..2026-05-01: pro 1/1",
            "2026-04-01..2026-04-16 of 2026-04-01..2026-05-01: pro 1/1 → end",
        ],
    );
}

#[test]
fn by_second_and_by_day_differ_on_a_day_of_25_hours() {
    // Berlin's October has 745 hours; the change is at local noon of the 31st.
    let yaml = |proration: &str| {
        format!(
            "{{planRef: {{name: basic}}, start: 2026-09-30T22:00:00Z, timeZone: Europe/Berlin, proration: {proration},
               changes: [{{at: 2026-10-31T11:00:00Z, planRef: {{name: pro}}}}]}}"
        )
    };
    let shares = |proration| {
        let periods =
            timeline(&terms(&yaml(proration)), &interval_of, time("2026-10-01")).expect("a timeline");
        periods[0].segments.iter().map(|segment| segment.share).collect::<Vec<_>>()
    };
    let share = |numerator, denominator| Share::new(numerator, denominator).expect("a share");
    assert_eq!(shares("BySecond"), [share(733, 745), share(12, 745)]);
    assert_eq!(shares("ByDay"), [share(30, 31), share(1, 31)]);
}

#[test]
fn an_unknown_plan_is_named_by_its_field_wherever_it_stands() {
    for (yaml, field) in [
        ("planRef: {name: nope}", "planRef.name"),
        (
            "planRef: {name: basic}, addOns: [{planRef: {name: pro}}, {planRef: {name: nope}}]",
            "addOns[1].planRef.name",
        ),
        (
            "planRef: {name: basic}, changes: [{at: 2090-01-01T00:00:00Z, planRef: {name: nope}}]",
            "changes[0].planRef.name",
        ),
        (
            "planRef: {name: basic}, changes: [{at: 2090-01-01T00:00:00Z, addOns: [{planRef: {name: nope}}]}]",
            "changes[0].addOns[0].planRef.name",
        ),
    ] {
        let yaml = format!("{{start: 2026-03-01T00:00:00Z, {yaml}}}");
        assert_eq!(error(&yaml, "2026-04-01"), format!("{field}: there is no plan nope"));
    }
}

#[test]
fn a_thousand_periods_are_the_most() {
    let yaml = "{planRef: {name: daily}, start: 2026-01-01T00:00:00Z}";
    // 1000 days.
    assert_eq!(lines(yaml, "2028-09-27").len(), PERIODS_MAX);
    assert_eq!(
        error(yaml, "2028-09-27T00:00:00.000001Z"),
        "there are more than 1000 periods before 2028-09-27T00:00:00.000001Z"
    );
    let ended = "{planRef: {name: daily}, start: 2026-01-01T00:00:00Z, end: 2028-09-27T00:00:00Z}";
    assert_eq!(lines(ended, "2090-01-01").len(), PERIODS_MAX);
}

#[test]
fn a_billing_period_comes_back_from_json() {
    let terms = terms(
        "{planRef: {name: basic}, start: 2026-03-16T00:00:00Z, addOns: [{planRef: {name: support}}],
          quantities: [{price: seats, quantity: '3'}], changes: [{at: 2026-03-20T00:00:00Z, pause: true}]}",
    );
    let periods = timeline(&terms, &interval_of, time("2026-05-01")).expect("a timeline");
    let json = serde_json::to_string(&periods).expect("serializes");
    assert!(json.contains(r#""state":"paused","share":{"numerator":12,"denominator":31}"#), "{json}");
    assert_eq!(serde_json::from_str::<Vec<BillingPeriod>>(&json).expect("the same shape"), periods);
}
