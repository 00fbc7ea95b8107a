//! Shares of single segments by day, where zones make days that are none.

use super::*;

fn at(text: &str) -> Timestamp {
    text.parse().expect("a time")
}

fn days(start: &str, end: &str, zone: &str) -> u64 {
    let zone = crate::period::zone(zone).expect("a zone");
    days_ended(&Period { start: at(start), end: at(end) }, &zone).expect("in range")
}

#[test]
fn a_day_counts_for_the_segment_that_it_ends_in() {
    for (start, end, zone, expected) in [
        ("2026-03-01T00:00:00Z", "2026-03-11T00:00:00Z", "UTC", 10),
        ("2026-03-01T00:00:00Z", "2026-03-10T23:59:59.999999Z", "UTC", 9),
        ("2026-03-01T00:00:00Z", "2026-03-11T12:00:00Z", "UTC", 10),
        ("2026-03-11T12:00:00Z", "2026-03-11T18:00:00Z", "UTC", 0),
        ("2027-01-31T10:00:00Z", "2027-02-28T10:00:00Z", "UTC", 28),
        // In Kolkata a day ends at 18:30 UTC.
        ("2026-03-01T00:00:00Z", "2026-03-01T18:29:59Z", "Asia/Kolkata", 0),
        ("2026-03-01T00:00:00Z", "2026-03-01T18:30:00Z", "Asia/Kolkata", 1),
        // The clock goes forward over midnight: the day begins at 01:00.
        ("2018-11-03T03:00:00Z", "2018-11-04T03:00:00Z", "America/Sao_Paulo", 1),
        // Samoa had no 30 December 2011.
        ("2011-12-29T10:00:00Z", "2011-12-31T10:00:00Z", "Pacific/Apia", 3),
    ] {
        assert_eq!(days(start, end, zone), expected, "{start}..{end} {zone}");
    }
}

#[test]
fn a_clock_that_goes_back_over_midnight_counts_no_day_twice() {
    // Newfoundland, 7 November 2010: at 00:01 (02:31 UTC) the clock went back to 23:01 of the 6th.
    let zone = "America/St_Johns";
    let (midnight, back, again) = ("2010-11-07T02:30:00Z", "2010-11-07T02:31:00Z", "2010-11-07T03:30:00Z");
    assert_eq!(days("2010-11-06T12:00:00Z", midnight, zone), 1);
    assert_eq!(days(midnight, back, zone), 0);
    assert_eq!(days(back, again, zone), 0);
    assert_eq!(days(midnight, "2010-11-08T03:30:00Z", zone), 1);
}

#[test]
fn a_scheduled_period_in_which_no_day_ends_is_shared_by_time() {
    let zone = crate::period::zone("America/St_Johns").expect("a zone");
    let scheduled = Period { start: at("2010-11-07T02:30:00Z"), end: at("2010-11-07T03:30:00Z") };
    let segment = Period { end: at("2010-11-07T02:45:00Z"), ..scheduled };
    let share = Proration::ByDay.share(&segment, &scheduled, Position::First, &zone).expect("a share");
    assert_eq!(share, Share::new(1, 4).expect("a share"));
}
