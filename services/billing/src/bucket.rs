//! Buckets of time within a period, by the calendar of a zone: each instant lies in exactly one bucket of a size.
//!
//! Days, weeks and months are those of [`crate::period`]. Hours and minutes begin where the local clock shows a full hour or
//! minute, so that a bucket of a zone with half-hour offsets is an hour of its own clock; an hour that a clock change cuts is
//! shorter.

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
                let local = zone.to_datetime(at);
                let since_midnight = local.time().duration_since(jiff::civil::Time::midnight());
                let into = since_midnight.as_nanos() % length.as_nanos();
                let into = i64::try_from(into).map_err(|_| PeriodError::OutOfRange)?;
                at.checked_sub(SignedDuration::from_nanos(into)).map_err(|_| PeriodError::OutOfRange)
            }
        }
    }

    /// Where the bucket that begins at `start` ends, and the next one begins.
    pub fn end_of(&self, start: Timestamp) -> Result<Timestamp, PeriodError> {
        match &self.lengths {
            Lengths::Civil(schedule) => Ok(schedule.containing(start)?.end),
            Lengths::Clock { zone: _, length } => {
                let after = start.checked_add(*length).map_err(|_| PeriodError::OutOfRange)?;
                // After a clock change of less than the length, the next full hour is earlier.
                let aligned = self.start_of(after)?;
                Ok(if aligned > start { aligned } else { after })
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
    fn a_half_hour_change_leaves_no_instant_without_a_bucket() {
        let buckets = Buckets::new(BucketSize::Hour, "Australia/Lord_Howe").expect("a zone");
        let period = Period { start: at("2026-04-03T13:00:00Z"), end: at("2026-04-05T13:30:00Z") };
        let starts = buckets.within(period).expect("in range");
        assert!(starts.windows(2).all(|pair| pair[0] < pair[1]));
        for minute in 0..(48 * 60) {
            let at = period.start + SignedDuration::from_mins(minute);
            let start = buckets.start_of(at).expect("in range");
            assert!(start <= at && at.duration_since(start) < SignedDuration::from_mins(60), "{at}");
        }
    }
}
