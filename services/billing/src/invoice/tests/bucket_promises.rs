//! Commitments per bucket: what is promised for a part of a bucket, and what counts as spent under a price's maximum.

use super::*;

fn promised(bucket: &str, commitment: &str) -> PlanSpec {
    plan(
        "USD",
        &format!(
            "[{{name: n, meterRef: {{name: m}}, bucket: {{size: {bucket}}}, perUnit: {{amount: '1'}},
                commitment: {{{commitment}, trueUp: true, per: Bucket}}}}]"
        ),
    )
}

#[test]
fn a_bucket_that_a_boundary_cuts_is_promised_for_its_part() {
    // Weeks begin on 23 February, of which one day is in March, then on 2, 9, 16, 23 and 30 March, of which two are.
    assert_eq!(
        check(&input(promised("Week", "amount: '7'"), &[("m", "0")])),
        ["n usage 0 0.00 2026-03", "n commitment 1 31.00 2026-03", "total 31.00 USD"]
    );
    // 7 weeks and 3/7 of a week: not a cent is rounded before they are added up.
    assert_eq!(
        check(&input(promised("Week", "amount: '1'"), &[("m", "0")]))[1],
        "n commitment 1 4.43 2026-03"
    );
    assert_eq!(
        check(&input(promised("Hour", "amount: '0.005'"), &[("m", "0")]))[1],
        "n commitment 1 3.72 2026-03"
    );
}

#[test]
fn a_day_that_an_upgrade_cuts_is_promised_once() {
    let old = terms("small", promised("Day", "amount: '2'"));
    let new = terms("large", promised("Day", "amount: '3'"));
    let mut segments = halves(old, new.clone());
    let noon: jiff::Timestamp = "2026-03-16T12:00:00Z".parse().expect("a time");
    (segments[0].period.end, segments[1].period.start) = (noon, noon);
    let days = of_segments(segments, new, &[("m", "0")]);
    assert_eq!(
        check(&days),
        [
            "n usage 0 0.00 2026-03",
            "n commitment 1 31.00 2026-03",
            "n usage 0 0.00 2026-03",
            "n commitment 1 46.50 2026-03",
            "total 77.50 USD"
        ]
    );
}

/// Two days of a price with a maximum of 5, by what was used on each of them.
fn two_days(size: &str, rest: &str, used: [&str; 2]) -> Vec<String> {
    let prices = format!(
        "[{{name: n, meterRef: {{name: m}}, bucket: {{size: {size}}}, perUnit: {{amount: '1'}}, maximum: '5',
            commitment: {{amount: '2', overageFactor: '2', trueUp: true, {rest}}}}}]"
    );
    let days = period(("2026-03-01T00:00:00Z", "2026-03-03T00:00:00Z"));
    let terms = terms("starter", plan("USD", &prices));
    let mut input = of_segments(vec![whole(terms.clone(), days)], terms, &[("m", "0")]);
    let starts = [days.start, "2026-03-02T00:00:00Z".parse().expect("a time")];
    let bucket = |(start, used): (jiff::Timestamp, &str)| BucketUsage {
        start,
        group: Vec::new(),
        quantity: used.parse().expect("a decimal"),
    };
    input.usage[0].usage = Usage::Buckets(starts.into_iter().zip(used).map(bucket).collect());
    check(&input)
}

#[test]
fn what_is_beyond_a_maximum_is_not_spent() {
    // Of 10 on the first day 5 are paid, 3 beyond the promise; the second day lacks 2.
    assert_eq!(
        two_days("Day", "per: Bucket", ["10", "0"]),
        [
            "n usage 10 10.00 2026-03",
            "n maximum 1 -5.00 2026-03",
            "n commitment 1 2.00 2026-03",
            "n overage 1 3.00 2026-03",
            "total 10.00 USD"
        ]
    );
    // It takes the same part off each day: 2.50 of each are left.
    assert_eq!(
        two_days("Day", "per: Bucket", ["10", "10"]),
        [
            "n usage 20 20.00 2026-03",
            "n maximum 1 -15.00 2026-03",
            "n overage 1 1.00 2026-03",
            "total 6.00 USD"
        ]
    );
    // Before the percentage: half of 5 x 10/12 and of 5 x 2/12 are spent, 2.0833 and 0.4167.
    assert_eq!(
        two_days("Day", "per: Bucket}, discount: {percent: '50'", ["10", "2"]),
        [
            "n usage 12 12.00 2026-03",
            "n maximum 1 -7.00 2026-03",
            "n discount 1 -2.50 2026-03",
            "n commitment 1 1.58 2026-03",
            "n overage 1 0.08 2026-03",
            "total 4.16 USD"
        ]
    );
    let noon = "timeOfDay: {from: '00:00', to: '12:00'}";
    assert_eq!(
        two_days("Hour", noon, ["10", "0"]),
        [
            "n usage 10 10.00 2026-03",
            "n maximum 1 -5.00 2026-03",
            "n overage 1 3.00 2026-03",
            "total 8.00 USD"
        ]
    );
}
