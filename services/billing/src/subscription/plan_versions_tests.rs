//! Histories of plans as tables, and the laws that hold for any of them. Instants are days; what a version bills is a letter.

use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;

use super::{HeldPlan, VersionMade, cuts, version_in_force};
use crate::catalogue::UpdatePolicy;

fn day(day: i64) -> Timestamp {
    Timestamp::UNIX_EPOCH + SignedDuration::from_hours(24 * day)
}

fn held(taken: i64, start: i64) -> HeldPlan {
    HeldPlan { taken_at: day(taken), period_start: day(start) }
}

/// Versions 1, 2, 3, … such as `NextPeriod 0 a, New 10 b`: policy, day, what it bills.
fn history(text: &str) -> Vec<VersionMade<char>> {
    let version = |(index, words): (usize, &str)| {
        let mut words = words.split_whitespace();
        let mut next = || words.next().expect("policy, day and letter");
        let policy = next();
        VersionMade {
            number: i32::try_from(index).expect("few") + 1,
            policy: serde_json::from_value(policy.into()).expect("a policy"),
            made_at: day(next().parse().expect("a day")),
            bills: next().chars().next().expect("a letter"),
        }
    };
    text.split(',').enumerate().map(version).collect()
}

fn number_in_force(versions: &[VersionMade<char>], held: HeldPlan, at: Timestamp) -> i32 {
    version_in_force(versions, held, at).expect("a plan has a version").number
}

fn days_of_cuts(versions: &[VersionMade<char>], held: HeldPlan, until: i64) -> Vec<(i64, i32)> {
    cuts(versions, held, day(until))
        .into_iter()
        .map(|cut| (cut.at.as_second() / 86_400, cut.version.number))
        .collect()
}

#[test]
fn a_period_begins_with_what_reaches_the_subscription() {
    for (versions, taken, start, expected) in [
        // NextPeriod: from the first period that starts at or after the version.
        ("NextPeriod 0 a, NextPeriod 40 b", 5, 30, 1),
        ("NextPeriod 0 a, NextPeriod 40 b", 5, 40, 2),
        ("NextPeriod 0 a, NextPeriod 40 b", 5, 60, 2),
        // New: who had the plan stays, however long; who takes it at that instant or later is billed by it.
        ("NextPeriod 0 a, New 40 b", 39, 90, 1),
        ("NextPeriod 0 a, New 40 b", 40, 40, 2),
        ("NextPeriod 0 a, New 40 b", 41, 60, 2),
        // A later version for everybody moves who was left behind, over the New one.
        ("NextPeriod 0 a, New 40 b, NextPeriod 70 c", 5, 60, 1),
        ("NextPeriod 0 a, New 40 b, NextPeriod 70 c", 5, 90, 3),
        ("NextPeriod 0 a, New 40 b, NextPeriod 70 c", 50, 60, 2),
        ("NextPeriod 0 a, New 40 b, New 70 c", 50, 90, 2),
        // The policy alone was changed: now those move, too.
        ("NextPeriod 0 a, New 40 b, NextPeriod 50 b", 5, 60, 3),
        // A first version that is New bills those who have no other.
        ("New 10 a", 5, 30, 1),
        ("New 10 a, New 20 b", 5, 30, 1),
        ("New 10 a, NextPeriod 20 b", 5, 30, 2),
        // Billing began before the plan: the newest that reaches the subscription.
        ("NextPeriod 50 a", 60, 0, 1),
        ("NextPeriod 50 a, NextPeriod 55 b, NextPeriod 70 c", 60, 0, 3),
        ("NextPeriod 50 a, New 55 b, New 70 c", 60, 0, 2),
        ("NextPeriod 50 a, Immediate 70 b", 60, 0, 2),
        // Billing began before the subscription was made: each period by what was there then.
        ("NextPeriod 0 a, New 40 b", 100, 30, 1),
        ("NextPeriod 0 a, New 40 b", 100, 60, 2),
        // Immediate is NextPeriod where a period begins after it.
        ("NextPeriod 0 a, Immediate 40 b", 5, 60, 2),
    ] {
        let versions = history(versions);
        let found = number_in_force(&versions, held(taken, start), day(start));
        assert_eq!(found, expected, "{versions:?} taken {taken}, period from {start}");
    }
}

#[test]
fn an_immediate_version_cuts_the_running_period_where_it_bills_something_else() {
    for (versions, taken, expected) in [
        ("NextPeriod 0 a, NextPeriod 40 b", 5, vec![]),
        ("NextPeriod 0 a, New 40 b", 5, vec![]),
        ("NextPeriod 0 a, Immediate 40 b", 5, vec![(40, 2)]),
        ("NextPeriod 0 a, Immediate 40 b, Immediate 45 c", 5, vec![(40, 2), (45, 3)]),
        // At the start of the period it is what the period begins with; at its end it is the next one's.
        ("NextPeriod 0 a, Immediate 30 b", 5, vec![]),
        ("NextPeriod 0 a, Immediate 60 b", 5, vec![]),
        // It bills what is in force already.
        ("NextPeriod 0 a, Immediate 40 a", 5, vec![]),
        ("NextPeriod 0 a, NextPeriod 40 b, Immediate 45 a", 5, vec![]),
        // The policy alone was changed: who was to wait does not.
        ("NextPeriod 0 a, NextPeriod 40 b, Immediate 45 b", 5, vec![(45, 3)]),
        ("NextPeriod 0 a, New 40 b, Immediate 45 b", 5, vec![(45, 3)]),
        ("NextPeriod 0 a, New 20 b, Immediate 45 b", 25, vec![]),
        // What waits for the next period does not come with one that was at once.
        ("NextPeriod 0 a, Immediate 40 b, NextPeriod 45 c", 5, vec![(40, 2)]),
        // Two of one instant: the newer alone, and nothing where it takes back what the older did.
        ("NextPeriod 0 a, Immediate 40 b, Immediate 40 c", 5, vec![(40, 3)]),
        ("NextPeriod 0 a, Immediate 40 b, Immediate 40 a", 5, vec![]),
        // Instants in the other order than the numbers: nobody moves back.
        ("NextPeriod 0 a, Immediate 45 b, Immediate 40 c", 5, vec![(40, 3)]),
        // The period began with a version from the future already.
        ("NextPeriod 50 a, Immediate 55 b", 60, vec![]),
    ] {
        let versions = history(versions);
        assert_eq!(days_of_cuts(&versions, held(taken, 30), 60), expected, "{versions:?} taken {taken}");
    }
}

#[test]
fn who_takes_the_plan_within_a_period_begins_with_what_is_there_then() {
    let versions = history("NextPeriod 0 a, NextPeriod 40 b, New 42 c, Immediate 50 d");
    for (taken, expected, cut) in [(35, 1, (50, 4)), (41, 2, (50, 4)), (42, 3, (50, 4))] {
        assert_eq!(number_in_force(&versions, held(taken, taken), day(taken)), expected, "{taken}");
        assert_eq!(days_of_cuts(&versions, held(taken, taken), 60), [cut], "{taken}");
    }
    assert_eq!(days_of_cuts(&versions, held(35, 35), 50), [], "the plan was left before");
}

#[test]
fn a_plan_without_versions_bills_nobody() {
    assert_eq!(version_in_force::<char>(&[], held(5, 30), day(30)), None);
    assert_eq!(cuts::<char>(&[], held(5, 30), day(60)), []);
}

/// Up to eight versions with days in any order, as two writers at a time may leave them.
fn any_history() -> impl Strategy<Value = Vec<VersionMade<char>>> {
    let version = (0..UpdatePolicy::ALL.len(), 0i64..30, prop::sample::select(vec!['a', 'b', 'c']));
    prop::collection::vec(version, 1..8).prop_map(|versions| {
        let made = |(index, (policy, at, bills)): (usize, (usize, i64, char))| VersionMade {
            number: i32::try_from(index).expect("few") + 1,
            made_at: day(at),
            policy: UpdatePolicy::ALL[policy],
            bills,
        };
        versions.into_iter().enumerate().map(made).collect()
    })
}

/// What held before versions had policies: the newest made at or before the period's start, or the newest of all.
fn rule_before_policies(versions: &[VersionMade<char>], start: Timestamp) -> i32 {
    let newest = versions.iter().max_by_key(|version| (version.made_at <= start, version.number));
    newest.expect("a version").number
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn next_period_alone_is_the_rule_from_before_there_were_policies(
        mut versions in any_history(), taken in 0i64..30, start in 0i64..30, into in 0i64..30,
    ) {
        versions.iter_mut().for_each(|version| version.policy = UpdatePolicy::NextPeriod);
        let found = number_in_force(&versions, held(taken, start), day(start + into));
        prop_assert_eq!(found, rule_before_policies(&versions, day(start)));
        prop_assert_eq!(days_of_cuts(&versions, held(taken, start), 99), []);
    }

    #[test]
    fn a_new_version_never_reaches_an_earlier_subscriber(
        versions in any_history(), taken in 0i64..30, start in 0i64..30, into in 0i64..30,
    ) {
        let found = version_in_force(&versions, held(taken, start), day(start + into)).expect("a version");
        prop_assert!(found.policy != UpdatePolicy::New || found.made_at <= day(taken) || found.number == 1);
    }

    #[test]
    fn the_answer_changes_at_cuts_and_nowhere_else(
        versions in any_history(), taken in 0i64..30, start in 0i64..30, length in 1i64..30,
    ) {
        let held = held(taken, start);
        let cuts = days_of_cuts(&versions, held, start + length);
        for at in start + 1..start + length {
            let before = number_in_force(&versions, held, day(at - 1));
            let now = number_in_force(&versions, held, day(at));
            match cuts.iter().find(|(cut, _)| *cut == at) {
                Some((_, number)) => prop_assert_eq!(now, *number),
                None => prop_assert_eq!(now, before),
            }
        }
    }

    #[test]
    fn each_cut_is_within_the_period_by_a_newer_immediate_version_that_bills_something_else(
        versions in any_history(), taken in 0i64..30, start in 0i64..30, length in 1i64..30,
    ) {
        let held = held(taken, start);
        let mut in_force = version_in_force(&versions, held, day(start)).expect("a version");
        for cut in cuts(&versions, held, day(start + length)) {
            prop_assert!(day(start) < cut.at && cut.at < day(start + length) && cut.at == cut.version.made_at);
            prop_assert_eq!(cut.version.policy, UpdatePolicy::Immediate);
            prop_assert!(cut.version.number > in_force.number && cut.version.bills != in_force.bills);
            in_force = cut.version;
        }
    }

    #[test]
    fn the_order_of_the_versions_in_hand_says_nothing(
        versions in any_history(), taken in 0i64..30, start in 0i64..30, into in 0i64..30,
    ) {
        let mut turned = versions.clone();
        turned.reverse();
        let (held, at) = (held(taken, start), day(start + into));
        prop_assert_eq!(number_in_force(&versions, held, at), number_in_force(&turned, held, at));
        prop_assert_eq!(days_of_cuts(&versions, held, 99), days_of_cuts(&turned, held, 99));
    }
}
