//! Buckets of time within a period, by the calendar of a zone: each instant lies in exactly one bucket of a size.
//!
//! Days, weeks and months are those of [`crate::period`]. Hours and minutes begin where the local clock shows a full hour or
//! minute, so that a bucket of a zone with half-hour offsets is an hour of its own clock. A clock change by a part of an hour cuts
//! the hour that it happens in: what was before it and what comes after are buckets, and shorter.

use jiff::{SignedDuration, Timestamp, tz::TimeZone};

use crate::{
    catalogue::{BucketSize, IntervalSpec, IntervalUnit},
    period::{Anchor, Period, PeriodError, Schedule, zone},
};

/// All buckets of one size in one zone.
#[derive(Debug, Clone)]
pub struct Buckets {
    lengths: Lengths,
}

#[derive(Debug, Clone)]
enum Lengths {
    Civil(Schedule),
    Clock { zone: TimeZone, length: SignedDuration },
}

impl Buckets {
    pub fn new(size: BucketSize, zone_name: &str) -> Result<Self, PeriodError> {
        let clock = |minutes| {
            Ok(Lengths::Clock { zone: zone(zone_name)?, length: SignedDuration::from_mins(minutes) })
        };
        let civil = |unit| {
            Ok(Lengths::Civil(Schedule::new(IntervalSpec { unit, count: 1 }, Anchor::Calendar, zone_name)?))
        };
        let lengths = match size {
            BucketSize::Minute => clock(1),
            BucketSize::Hour => clock(60),
            BucketSize::Day => civil(IntervalUnit::Day),
            BucketSize::Week => civil(IntervalUnit::Week),
            BucketSize::Month => civil(IntervalUnit::Month),
        };
        lengths.map(|lengths| Self { lengths })
    }

    /// Where the bucket begins that `at` lies in.
    pub fn start_of(&self, at: Timestamp) -> Result<Timestamp, PeriodError> {
        match &self.lengths {
            Lengths::Civil(schedule) => Ok(schedule.containing(at)?.start),
            Lengths::Clock { zone, length } => {
                let full = at.checked_sub(into(at, zone, *length)).map_err(|_| PeriodError::OutOfRange)?;
                let cuts = zone.preceding(after(at)?).map(|change| change.timestamp());
                let mut since_full = cuts.take_while(|cut| *cut > full);
                Ok(since_full.find(|cut| is_cut(*cut, zone, *length)).unwrap_or(full))
            }
        }
    }

    /// Where the bucket that begins at `start` ends, and the next one begins.
    pub fn end_of(&self, start: Timestamp) -> Result<Timestamp, PeriodError> {
        match &self.lengths {
            Lengths::Civil(schedule) => Ok(schedule.containing(start)?.end),
            Lengths::Clock { zone, length } => {
                let left = *length - into(start, zone, *length);
                let full = start.checked_add(left).map_err(|_| PeriodError::OutOfRange)?;
                let cuts = zone.following(start).map(|change| change.timestamp());
                let mut until_full = cuts.take_while(|cut| *cut < full);
                Ok(until_full.find(|cut| is_cut(*cut, zone, *length)).unwrap_or(full))
            }
        }
    }

    /// The starts of all buckets that begin in the period, and of the one that its start lies in.
    pub fn within(&self, period: Period) -> Result<Vec<Timestamp>, PeriodError> {
        let mut starts = Vec::new();
        let mut start = self.start_of(period.start)?;
        while start < period.end {
            starts.push(start);
            start = self.end_of(start)?;
        }
        Ok(starts)
    }
}

/// How long ago the local clock showed a full length, had it not been changed since.
fn into(at: Timestamp, zone: &TimeZone, length: SignedDuration) -> SignedDuration {
    let since_midnight = zone.to_datetime(at).time().duration_since(jiff::civil::Time::midnight());
    let nanos = since_midnight.as_nanos() % length.as_nanos();
    SignedDuration::from_nanos(i64::try_from(nanos).expect("less than an hour"))
}

/// Whether full lengths are at other instants after this change of the clock than before it. A change of names alone, and one by
/// whole lengths, leave them where they were.
fn is_cut(change: Timestamp, zone: &TimeZone, length: SignedDuration) -> bool {
    let offset = |at| i64::from(zone.to_offset(at).seconds());
    let moved = offset(change) - offset(change - SignedDuration::from_nanos(1));
    moved % length.as_secs() != 0
}

fn after(at: Timestamp) -> Result<Timestamp, PeriodError> {
    at.checked_add(SignedDuration::from_nanos(1)).map_err(|_| PeriodError::OutOfRange)
}

/// Minutes after local midnight.
pub fn minute_of_day(at: Timestamp, zone: &TimeZone) -> u16 {
    let time = zone.to_datetime(at).time();
    u16::from(time.hour().unsigned_abs()) * 60 + u16::from(time.minute().unsigned_abs())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().expect("a time")
    }

    fn start(size: BucketSize, zone: &str, time: &str) -> String {
        Buckets::new(size, zone).expect("a zone").start_of(at(time)).expect("in range").to_string()
    }

    #[test]
    fn buckets_begin_where_the_local_clock_is_full() {
        for (size, zone, time, expected) in [
            (BucketSize::Minute, "UTC", "2026-03-01T10:20:59.999Z", "2026-03-01T10:20:00Z"),
            (BucketSize::Hour, "UTC", "2026-03-01T10:20:59Z", "2026-03-01T10:00:00Z"),
            (BucketSize::Hour, "Asia/Kolkata", "2026-03-01T10:20:59Z", "2026-03-01T09:30:00Z"),
            (BucketSize::Day, "Asia/Kolkata", "2026-03-01T19:00:00Z", "2026-03-01T18:30:00Z"),
            (BucketSize::Week, "UTC", "2026-03-01T10:00:00Z", "2026-02-23T00:00:00Z"),
            (BucketSize::Month, "America/New_York", "2026-03-01T04:59:59Z", "2026-02-01T05:00:00Z"),
        ] {
            assert_eq!(start(size, zone, time), expected, "{size:?} {zone} {time}");
        }
    }

    #[test]
    fn a_day_of_23_or_25_hours_has_so_many_buckets_of_an_hour() {
        for (zone, day, next, hours) in [
            ("Europe/Berlin", "2026-03-28T23:00:00Z", "2026-03-29T22:00:00Z", 23),
            ("Europe/Berlin", "2026-10-24T22:00:00Z", "2026-10-25T23:00:00Z", 25),
            ("UTC", "2026-03-29T00:00:00Z", "2026-03-30T00:00:00Z", 24),
        ] {
            let buckets = Buckets::new(BucketSize::Hour, zone).expect("a zone");
            let starts = buckets.within(Period { start: at(day), end: at(next) }).expect("in range");
            assert_eq!(starts.len(), hours, "{zone} {day}");
            assert!(starts.windows(2).all(|pair| pair[0] < pair[1]));
            assert!(starts.iter().all(|start| buckets.start_of(*start).expect("in range") == *start));
        }
    }

    #[test]
    fn an_hour_that_a_half_hour_change_cuts_is_shorter() {
        for (zone, from, expected) in [
            // 02:00 becomes 01:30.
            (
                "Australia/Lord_Howe",
                "2026-04-04T14:00:00Z",
                ["2026-04-04T14:00:00Z", "2026-04-04T15:00:00Z", "2026-04-04T15:30:00Z"],
            ),
            // 02:00 becomes 02:30.
            (
                "Australia/Lord_Howe",
                "2026-10-03T14:30:00Z",
                ["2026-10-03T14:30:00Z", "2026-10-03T15:30:00Z", "2026-10-03T16:00:00Z"],
            ),
            // Midnight becomes 23:30.
            (
                "Asia/Pyongyang",
                "2015-08-14T14:00:00Z",
                ["2015-08-14T14:00:00Z", "2015-08-14T15:00:00Z", "2015-08-14T15:30:00Z"],
            ),
            // 23:30 becomes midnight: half of the hour before is cut off.
            (
                "Asia/Singapore",
                "1981-12-31T15:30:00Z",
                ["1981-12-31T15:30:00Z", "1981-12-31T16:00:00Z", "1981-12-31T17:00:00Z"],
            ),
        ] {
            let buckets = Buckets::new(BucketSize::Hour, zone).expect("a zone");
            let mut start = buckets.start_of(at(from)).expect("in range");
            for expected in expected {
                assert_eq!(start, at(expected), "{zone}");
                start = buckets.end_of(start).expect("in range");
            }
        }
    }

    const SIZES: [BucketSize; 5] =
        [BucketSize::Minute, BucketSize::Hour, BucketSize::Day, BucketSize::Week, BucketSize::Month];

    /// The buckets around an instant: it lies in its own, and the next one begins where it ends.
    fn tiles_around(size: BucketSize, zone: &str, time: Timestamp) {
        let buckets = Buckets::new(size, zone).expect("a zone");
        let start = buckets.start_of(time).expect("in range");
        let end = buckets.end_of(start).expect("in range");
        let shown = format!("{size:?} {zone} {time}: {start} to {end}");
        assert!(start <= time && time < end, "{shown}");
        assert_eq!(buckets.start_of(start).expect("in range"), start, "{shown}");
        let before_end = end - SignedDuration::from_micros(1);
        assert_eq!(buckets.start_of(before_end).expect("in range"), start, "{shown}");
        assert_eq!(buckets.start_of(end).expect("in range"), end, "{shown}");
    }

    #[test]
    fn buckets_tile_around_every_clock_change_of_every_zone() {
        for zone in jiff::tz::TimeZoneDatabase::bundled().available() {
            let changes = crate::period::zone(zone.as_str()).expect("a zone");
            let from: Timestamp = at("2004-01-01T00:00:00Z");
            for change in
                changes.following(from).take_while(|change| change.timestamp() < at("2029-01-01T00:00:00Z"))
            {
                for minutes in [-31, -1, 0, 15, 31] {
                    let time = change.timestamp() + SignedDuration::from_mins(minutes);
                    for size in [BucketSize::Hour, BucketSize::Day] {
                        tiles_around(size, zone.as_str(), time);
                    }
                }
            }
        }
    }

    proptest::proptest! {
        #[test]
        fn every_instant_lies_in_its_bucket(zone in 0usize..600, micros in 0i64..4_000_000_000_000_000) {
            let all = jiff::tz::TimeZoneDatabase::bundled();
            let zone = all.available().nth(zone % all.available().count()).expect("a zone").to_string();
            let time = Timestamp::from_microsecond(micros).expect("a time");
            for size in SIZES {
                tiles_around(size, &zone, time);
            }
        }
    }
}
