//! Plans, zones and random lives of subscriptions, for the laws in properties.rs.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use proptest::{prelude::*, strategy::ValueTree};

use super::{
    AddOnSpec, BillingAnchor, Cancel, ChangeSpec, Proration, QuantitySpec, SegmentState, TermsSpec,
    TrialSpec, When, properties::laid_out,
};
use crate::{
    catalogue::{IntervalSpec, IntervalUnit, NameRef},
    decimal::Quantity,
    ids::PlanName,
};

/// Half-hour changes, no changes, southern changes, a skipped day, big offsets, midnights that come twice, and the usual ones.
pub(super) const ZONES: [&str; 12] = [
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
/// Plans are named by their place here: p0 is a day.
pub(super) const INTERVALS: [(IntervalUnit, u32); 10] = [
    (IntervalUnit::Day, 1),
    (IntervalUnit::Day, 10),
    (IntervalUnit::Week, 1),
    (IntervalUnit::Week, 2),
    (IntervalUnit::Month, 1),
    (IntervalUnit::Month, 3),
    (IntervalUnit::Month, 5),
    (IntervalUnit::Quarter, 1),
    (IntervalUnit::Year, 1),
    (IntervalUnit::Year, 3),
];
pub(super) const ANCHORS: [BillingAnchor; 2] = [BillingAnchor::Calendar, BillingAnchor::Anniversary];
pub(super) const PRORATIONS: [Proration; 3] = [Proration::BySecond, Proration::ByDay, Proration::None];
pub(super) const YEARS_30_SECONDS: i64 = 10_957 * 86_400;
/// 1 January 1998, so that 30 years hold Samoa's missing day and Newfoundland's midnights.
pub(super) const FROM_SECOND: i64 = 883_612_800;

pub(super) fn interval_of(plan: &PlanName) -> Option<IntervalSpec> {
    let index: usize = plan.as_str().strip_prefix('p')?.parse().ok()?;
    INTERVALS.get(index).map(|(unit, count)| IntervalSpec { unit: *unit, count: *count })
}

pub(super) fn plan_ref(interval: usize) -> NameRef {
    NameRef { name: format!("p{interval}") }
}

pub(super) fn second(second: i64) -> Timestamp {
    Timestamp::from_second(second).expect("a time")
}

pub(super) fn terms(
    interval: usize,
    start: Timestamp,
    zone: &str,
    anchor: BillingAnchor,
    proration: Proration,
) -> TermsSpec {
    TermsSpec {
        plan_ref: plan_ref(interval),
        start,
        end: None,
        time_zone: zone.to_owned(),
        anchor,
        trial: None,
        quantities: vec![],
        add_ons: vec![],
        proration,
        changes: vec![],
    }
}

/// What a random change does, before it is dated.
#[derive(Debug, Clone)]
enum Act {
    Plan(usize),
    Seats(u8),
    AddOn(Option<u8>),
    Turn,
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        (0..INTERVALS.len()).prop_map(Act::Plan),
        (0u8..5).prop_map(Act::Seats),
        prop::option::of(0u8..3).prop_map(Act::AddOn),
        Just(Act::Turn),
    ]
}

/// A random life: changes at random instants, often the same one and often on a midnight, an end or a cancellation.
pub(super) fn life() -> impl Strategy<Value = TermsSpec> {
    let when = prop_oneof![3 => Just(When::Immediate), 1 => Just(When::NextPeriod)];
    let changes = prop::collection::vec((0i64..1_000 * 86_400, 0u8..4, act(), when), 0..8);
    let place = (0..INTERVALS.len(), 0..YEARS_30_SECONDS, prop::sample::select(&ZONES[..]));
    let policy = (prop::sample::select(&ANCHORS[..]), prop::sample::select(&PRORATIONS[..]));
    let cancel = prop::option::of(prop::sample::select(vec![Cancel::AtOnce, Cancel::AtPeriodEnd]));
    let bounds = (prop::option::of(1u32..60), prop::option::of(1i64..1_500), cancel);
    (place, policy, bounds, changes).prop_map(
        |(place, (anchor, proration), (trial, end, cancel), changes)| {
            let (interval, start, zone) = place;
            let mut spec = terms(interval, second(FROM_SECOND + start), zone, anchor, proration);
            spec.trial = trial.map(|days| TrialSpec { days: Some(days), end: None });
            spec.changes = dated(changes, spec.start, interval, cancel);
            spec.end = end.map(|days| spec.start + SignedDuration::from_hours(24 * days));
            if let Some(end) = spec.end {
                spec.changes.retain(|change| change.at < end);
            }
            spec
        },
    )
}

/// Dates the acts in order, pausing and resuming in turn; add-ons have the interval of the last plan that was named.
fn dated(
    mut acts: Vec<(i64, u8, Act, When)>,
    start: Timestamp,
    interval: usize,
    cancel: Option<Cancel>,
) -> Vec<ChangeSpec> {
    for (offset, round, _, _) in &mut acts {
        match round {
            0 => *offset -= *offset % 86_400,
            1 => *offset -= *offset % (90 * 86_400),
            _ => {}
        }
    }
    acts.sort_by_key(|(offset, _, _, _)| *offset);
    let (mut interval, mut paused) = (interval, false);
    let mut changes: Vec<ChangeSpec> = Vec::new();
    for (offset, _, act, when) in acts {
        let mut change = ChangeSpec {
            at: start + SignedDuration::from_secs(offset),
            plan_ref: None,
            quantities: None,
            add_ons: None,
            pause: None,
            resume: None,
            cancel: None,
            when,
        };
        match act {
            Act::Plan(next) => {
                interval = next;
                change.plan_ref = Some(plan_ref(next));
                change.add_ons = Some(vec![]);
            }
            Act::Seats(seats) => {
                let quantity = Quantity::from_integer(i64::from(seats));
                change.quantities = Some(vec![QuantitySpec { price: "seats".to_owned(), quantity }]);
            }
            // An add-on comes with its plan, so that changes that wait cannot part the two.
            Act::AddOn(quantity) => {
                let quantity = quantity.map(|quantity| Quantity::from_integer(i64::from(quantity)));
                change.plan_ref = Some(plan_ref(interval));
                change.add_ons = Some(vec![AddOnSpec { plan_ref: plan_ref(interval), quantity }]);
            }
            Act::Turn => {
                // Turns that wait could come after later ones.
                change.when = When::Immediate;
                (change.pause, change.resume) = if paused { (None, Some(true)) } else { (Some(true), None) };
                paused = !paused;
            }
        }
        changes.push(change);
    }
    if let (Some(cancel), Some(last)) = (cancel, changes.last().cloned()) {
        let unchanged = ChangeSpec {
            plan_ref: None,
            quantities: None,
            add_ons: None,
            pause: None,
            resume: None,
            cancel: Some(cancel),
            when: When::Immediate,
            at: last.at,
        };
        changes.push(unchanged);
    }
    changes
}

#[test]
fn a_random_life_has_all_that_a_life_can_have() {
    // Guards the generator: the laws above would hold for lives in which nothing happens.
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let mut seen: BTreeMap<&str, u32> = BTreeMap::new();
    for _ in 0..200 {
        let spec = life().new_tree(&mut runner).expect("a life").current();
        let until = spec.start + SignedDuration::from_hours(24 * 1_000);
        let periods = laid_out(&spec, until).unwrap_or_default();
        let segments = || periods.iter().flat_map(|billed| &billed.segments);
        let mut count = |what, happened: bool| *seen.entry(what).or_default() += u32::from(happened);
        count("several segments", periods.iter().any(|billed| billed.segments.len() > 1));
        count("paused", segments().any(|segment| segment.state == SegmentState::Paused));
        count("another schedule", periods.windows(2).any(|pair| pair[0].period.end != pair[0].scheduled.end));
        count("ended", periods.last().is_some_and(|billed| billed.next.is_none()));
        count("add-on", segments().any(|segment| !segment.add_ons.is_empty()));
    }
    for (what, times) in &seen {
        assert!(*times >= 5, "{what} happened {times} times in 200 lives: {seen:?}");
    }
}
