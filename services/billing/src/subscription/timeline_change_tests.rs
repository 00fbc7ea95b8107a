//! What changes do to a timeline, as text in the form that timeline_tests.rs says.

use super::{
    tests::{check, error, interval_of, terms, time},
    *,
};
use crate::subscription::Share;

#[test]
fn what_changes_during_the_trial_is_in_force_at_its_end() {
    check(
        "{planRef: {name: yearly}, start: 2026-01-05T00:00:00Z, trial: {days: 14}, anchor: Anniversary, changes: [
            {at: 2026-01-06T00:00:00Z, planRef: {name: basic}, quantities: [{price: seats, quantity: '3'}]},
            {at: 2026-01-07T00:00:00Z, quantities: [{price: seats, quantity: '5'}], when: NextPeriod}]}",
        "2026-02-01",
        &["first 2026-01-19..2026-02-19: basic seats=5 1/1 → 2026-02-19..2026-03-19: basic seats=5 1/1"],
    );
}

#[test]
fn an_upgrade_makes_a_segment_and_the_shares_sum_to_one() {
    check(
        "{planRef: {name: basic}, start: 2026-03-01T00:00:00Z, changes: [{at: 2026-03-11T00:00:00Z, planRef: {name: pro}}]}",
        "2026-04-01",
        &[
            "first 2026-03-01..2026-04-01: basic 10/31, 2026-03-11 pro 21/31 → 2026-04-01..2026-05-01: pro 1/1",
        ],
    );
}

#[test]
fn a_change_for_the_next_period_waits_for_the_boundary_after_it() {
    let expected = [
        "first 2026-03-01..2026-04-01: pro 1/1 → 2026-04-01..2026-05-01: basic 1/1",
        "2026-04-01..2026-05-01: basic 1/1 → 2026-05-01..2026-06-01: basic 1/1",
    ];
    for at in ["2026-03-01T00:00:00Z", "2026-03-11T00:00:00Z", "2026-03-31T23:59:59.999999Z"] {
        let yaml = format!(
            "{{planRef: {{name: pro}}, start: 2026-03-01T00:00:00Z, changes: [{{at: {at}, planRef: {{name: basic}}, when: NextPeriod}}]}}"
        );
        check(&yaml, "2026-05-01", &expected);
    }
}

#[test]
fn a_change_at_a_boundary_begins_the_period_but_was_not_foreseen() {
    check(
        "{planRef: {name: basic}, start: 2026-03-01T00:00:00Z, changes: [{at: 2026-04-01T00:00:00Z, planRef: {name: pro}}]}",
        "2026-05-01",
        &[
            "first 2026-03-01..2026-04-01: basic 1/1 → 2026-04-01..2026-05-01: basic 1/1",
            "2026-04-01..2026-05-01: pro 1/1 → 2026-05-01..2026-06-01: pro 1/1",
        ],
    );
}

#[test]
fn quantities_are_replaced_by_price_and_add_ons_as_a_list() {
    check(
        "{planRef: {name: basic}, start: 2026-04-01T00:00:00Z,
          quantities: [{price: seats, quantity: '4'}, {price: sites, quantity: '0.5'}], addOns: [{planRef: {name: support}}],
          changes: [{at: 2026-04-16T00:00:00Z, quantities: [{price: seats, quantity: '7'}]},
                    {at: 2026-04-22T00:00:00Z, addOns: [{planRef: {name: pro}, quantity: '2'}]},
                    {at: 2026-04-28T00:00:00Z, addOns: []}]}",
        "2026-05-01",
        &[
            "first 2026-04-01..2026-05-01: basic seats=4 sites=0.5 +support×1 1/2, \
           2026-04-16 basic seats=7 sites=0.5 +support×1 1/5, 2026-04-22 basic seats=7 sites=0.5 +pro×2 1/5, \
           2026-04-28 basic seats=7 sites=0.5 1/10 → 2026-05-01..2026-06-01: basic seats=7 sites=0.5 1/1",
        ],
    );
}

#[test]
fn changes_of_one_instant_take_effect_in_order_and_make_one_segment() {
    check(
        "{planRef: {name: basic}, start: 2026-04-01T00:00:00Z, changes: [
            {at: 2026-04-16T00:00:00Z, quantities: [{price: seats, quantity: '7'}]},
            {at: 2026-04-16T00:00:00Z, quantities: [{price: seats, quantity: '8'}], planRef: {name: yearly}},
            {at: 2026-04-16T00:00:00Z, planRef: {name: pro}},
            {at: 2026-04-16T00:00:00Z, pause: true},
            {at: 2026-04-16T00:00:00Z, resume: true}]}",
        "2026-05-01",
        &[
            "first 2026-04-01..2026-05-01: basic 1/2, 2026-04-16 pro seats=8 1/2 → 2026-05-01..2026-06-01: pro seats=8 1/1",
        ],
    );
}

#[test]
fn a_change_that_changes_nothing_makes_no_segment() {
    check(
        "{planRef: {name: basic}, start: 2026-04-01T00:00:00Z, changes: [{at: 2026-04-16T00:00:00Z, planRef: {name: basic}}]}",
        "2026-05-01",
        &["first 2026-04-01..2026-05-01: basic 1/1 → 2026-05-01..2026-06-01: basic 1/1"],
    );
}

#[test]
fn another_interval_cuts_the_period_and_starts_its_schedule() {
    let changes = "changes: [{at: 2026-03-11T12:00:00Z, planRef: {name: yearly}}]";
    check(
        &format!(
            "{{planRef: {{name: basic}}, start: 2026-03-01T00:00:00Z, anchor: Anniversary, proration: ByDay, {changes}}}"
        ),
        "2027-01-01",
        &[
            "first 2026-03-01..2026-03-11T12:00:00Z of 2026-03-01..2026-04-01: basic 10/31 → \
             2026-03-11T12:00:00Z..2027-03-11T12:00:00Z: yearly 1/1",
            "2026-03-11T12:00:00Z..2027-03-11T12:00:00Z: yearly 1/1 → 2027-03-11T12:00:00Z..2028-03-11T12:00:00Z: yearly 1/1",
        ],
    );
    check(
        &format!("{{planRef: {{name: basic}}, start: 2026-03-01T00:00:00Z, proration: ByDay, {changes}}}"),
        "2027-01-01",
        &[
            "first 2026-03-01..2026-03-11T12:00:00Z of 2026-03-01..2026-04-01: basic 10/31 → \
             2026-03-11T12:00:00Z..2027-01-01 of 2026-01-01..2027-01-01: yearly 296/365",
            "2026-03-11T12:00:00Z..2027-01-01 of 2026-01-01..2027-01-01: yearly 296/365 → 2027-01-01..2028-01-01: yearly 1/1",
        ],
    );
}

#[test]
fn another_interval_at_a_boundary_is_foreseen_whether_it_waited_or_not() {
    for change in ["at: 2026-03-11T12:00:00Z, when: NextPeriod", "at: 2026-04-01T00:00:00Z"] {
        check(
            &format!(
                "{{planRef: {{name: basic}}, start: 2026-03-01T00:00:00Z, anchor: Anniversary, changes: [{{{change}, planRef: {{name: quarterly}}}}]}}"
            ),
            "2026-05-01",
            &[
                "first 2026-03-01..2026-04-01: basic 1/1 → 2026-04-01..2026-07-01: quarterly 1/1",
                "2026-04-01..2026-07-01: quarterly 1/1 → 2026-07-01..2026-10-01: quarterly 1/1",
            ],
        );
    }
}

#[test]
fn a_cut_is_a_boundary_for_changes_that_wait() {
    check(
        "{planRef: {name: basic}, start: 2026-03-01T00:00:00Z, anchor: Anniversary, changes: [
            {at: 2026-03-05T00:00:00Z, quantities: [{price: seats, quantity: '9'}], when: NextPeriod},
            {at: 2026-03-11T00:00:00Z, planRef: {name: yearly}}]}",
        "2026-04-01",
        &[
            "first 2026-03-01..2026-03-11 of 2026-03-01..2026-04-01: basic 10/31 → 2026-03-11..2027-03-11: yearly seats=9 1/1",
            "2026-03-11..2027-03-11: yearly seats=9 1/1 → 2027-03-11..2028-03-11: yearly seats=9 1/1",
        ],
    );
}

#[test]
fn a_waiting_change_of_interval_that_is_taken_back_at_the_boundary_moves_no_anchor() {
    check(
        "{planRef: {name: basic}, start: 2026-01-31T00:00:00Z, anchor: Anniversary, changes: [
            {at: 2026-02-05T00:00:00Z, planRef: {name: yearly}, when: NextPeriod},
            {at: 2026-02-28T00:00:00Z, planRef: {name: pro}}]}",
        "2026-03-01",
        &[
            "first 2026-01-31..2026-02-28: basic 1/1 → 2026-02-28..2026-03-31: pro 1/1",
            "2026-02-28..2026-03-31: pro 1/1 → 2026-03-31..2026-04-30: pro 1/1",
        ],
    );
}

#[test]
fn an_interval_with_the_same_boundaries_cuts_nothing() {
    check(
        "{planRef: {name: quarterly}, start: 2026-01-01T00:00:00Z, changes: [{at: 2026-01-10T00:00:00Z, planRef: {name: three-months}}]}",
        "2026-04-01",
        &[
            "first 2026-01-01..2026-04-01: quarterly 1/10, 2026-01-10 three-months 9/10 → 2026-04-01..2026-07-01: three-months 1/1",
        ],
    );
}

#[test]
fn pausing_over_whole_periods_gives_periods_with_paused_segments_only() {
    check(
        "{planRef: {name: basic}, start: 2026-04-01T00:00:00Z, changes: [
            {at: 2026-04-16T00:00:00Z, pause: true}, {at: 2026-06-07T00:00:00Z, resume: true}]}",
        "2026-07-01",
        &[
            "first 2026-04-01..2026-05-01: basic 1/2, 2026-04-16 basic paused 1/2 → 2026-05-01..2026-06-01: basic paused 1/1",
            "2026-05-01..2026-06-01: basic paused 1/1 → 2026-06-01..2026-07-01: basic paused 1/1",
            "2026-06-01..2026-07-01: basic paused 1/5, 2026-06-07 basic 4/5 → 2026-07-01..2026-08-01: basic 1/1",
        ],
    );
}

#[test]
fn a_paused_segment_is_charged_nothing() {
    let terms = terms(
        "{planRef: {name: basic}, start: 2026-04-01T00:00:00Z, changes: [{at: 2026-04-16T00:00:00Z, pause: true}]}",
    );
    let periods = timeline(&terms, &interval_of, time("2026-04-02")).expect("a timeline");
    let charged: Vec<Share> = periods[0].segments.iter().map(Segment::charged_share).collect();
    assert_eq!(charged, [Share::new(1, 2).expect("a share"), Share::NOTHING]);
}

#[test]
fn a_change_of_interval_at_the_instant_of_a_cancellation_starts_nothing_or_one_period() {
    let yaml = |cancel: &str| {
        format!(
            "{{planRef: {{name: basic}}, start: 2026-03-01T00:00:00Z, anchor: Anniversary, changes: [
                {{at: 2026-03-11T00:00:00Z, planRef: {{name: yearly}}}}, {{at: 2026-03-11T00:00:00Z, cancel: {cancel}}}]}}"
        )
    };
    let march = "first 2026-03-01..2026-03-11 of 2026-03-01..2026-04-01: basic 10/31";
    check(&yaml("AtOnce"), "2027-01-01", &[&format!("{march} → end")]);
    check(
        &yaml("AtPeriodEnd"),
        "2029-01-01",
        &[
            &format!("{march} → 2026-03-11..2027-03-11: yearly 1/1"),
            "2026-03-11..2027-03-11: yearly 1/1 → end",
        ],
    );
}

#[test]
fn a_turn_that_finds_nothing_to_turn_is_an_error() {
    let yaml = |changes: &str| {
        format!("{{planRef: {{name: basic}}, start: 2026-03-01T00:00:00Z, changes: [{changes}]}}")
    };
    assert_eq!(
        error(&yaml("{at: 2026-03-11T00:00:00Z, resume: true}"), "2026-04-01"),
        "changes[0].resume: the subscription is not paused at 2026-03-11T00:00:00Z, when this takes effect"
    );
    assert_eq!(
        error(
            &yaml(
                "{at: 2026-03-11T00:00:00Z, pause: true, when: NextPeriod}, {at: 2026-03-12T00:00:00Z, pause: true}"
            ),
            "2026-04-01"
        ),
        "changes[0].pause: the subscription is paused already at 2026-04-01T00:00:00Z, when this takes effect"
    );
    let waits =
        "{at: 2026-03-11T00:00:00Z, pause: true, when: NextPeriod}, {at: 2026-03-12T00:00:00Z, resume: true}";
    assert_eq!(
        error(&yaml(waits), "2026-04-01"),
        "changes[1].resume: the subscription is not paused at 2026-03-12T00:00:00Z, when this takes effect"
    );
}

#[test]
fn an_add_on_has_the_interval_of_the_plan_that_it_is_billed_beside() {
    let expected = "add-on support: its plan's interval is not that of plan yearly, in whose periods it would be billed from";
    let yaml = "{planRef: {name: yearly}, start: 2026-03-01T00:00:00Z, addOns: [{planRef: {name: support}}]}";
    assert_eq!(error(yaml, "2026-04-01"), format!("{expected} 2026-03-01T00:00:00Z"));
    let yaml = "{planRef: {name: basic}, start: 2026-03-01T00:00:00Z, addOns: [{planRef: {name: support}}], \
                changes: [{at: 2026-03-11T00:00:00Z, planRef: {name: yearly}}]}";
    assert_eq!(error(yaml, "2026-04-01"), format!("{expected} 2026-03-11T00:00:00Z"));
    check(
        "{planRef: {name: basic}, start: 2026-03-01T00:00:00Z, anchor: Anniversary, addOns: [{planRef: {name: support}}],
          changes: [{at: 2026-04-01T00:00:00Z, planRef: {name: yearly}, addOns: [{planRef: {name: yearly-pro}}]}]}",
        "2026-03-02",
        &["first 2026-03-01..2026-04-01: basic +support×1 1/1 → 2026-04-01..2027-04-01: yearly +yearly-pro×1 1/1"],
    );
}

#[test]
fn a_period_is_cut_where_a_plans_next_version_holds_at_once_and_the_shares_still_sum_to_one() {
    for (proration, expected) in
        [("BySecond", "10/31 5/31 16/31"), ("ByDay", "10/31 5/31 16/31"), ("None", "1/1 0/1 0/1")]
    {
        let yaml = format!(
            "{{planRef: {{name: basic}}, start: 2026-03-01T00:00:00Z, proration: {proration}, changes: [
                {{at: 2026-03-11T00:00:00Z, quantities: [{{price: seats, quantity: '3'}}]}}]}}"
        );
        let terms = terms(&yaml);
        let billed = timeline(&terms, &interval_of, time("2026-04-01")).expect("periods").remove(0);
        let outside = [time("2026-02-11"), time("2026-03-01"), time("2026-03-11"), time("2026-04-01")];
        assert_eq!(billed.clone().cut(&outside, &terms).expect("in range"), billed, "cuts nothing");
        let at = [time("2026-03-16"), time("2026-03-16")];
        let cut = billed.clone().cut(&at, &terms).expect("in range");
        let shares: Vec<String> = cut
            .segments
            .iter()
            .map(|segment| format!("{}/{}", segment.share.numerator(), segment.share.denominator()))
            .collect();
        assert_eq!(shares.join(" "), expected, "{proration}");
        assert_eq!(cut.segments[1].period.end, cut.segments[2].period.start);
        assert_eq!(
            cut.segments[2].quantities, billed.segments[1].quantities,
            "the terms are the same on both sides"
        );
    }
}

#[test]
fn plans_are_known_to_have_charged_once_they_were_active() {
    let terms = terms(
        "{planRef: {name: basic}, start: 2026-03-01T00:00:00Z, addOns: [{planRef: {name: pro}}], changes: [
            {at: 2026-03-01T00:00:00Z, pause: true}, {at: 2026-04-11T00:00:00Z, resume: true},
            {at: 2026-05-11T00:00:00Z, addOns: []}]}",
    );
    let periods = timeline(&terms, &interval_of, time("2026-07-01")).expect("periods");
    let before: Vec<String> = periods
        .iter()
        .map(|billed| billed.plans_before.iter().map(|plan| plan.as_str()).collect::<Vec<_>>().join("+"))
        .collect();
    assert_eq!(before, ["", "", "basic+pro", "basic"]);
}
