//! Partition and sort keys. Pure.

use jiff::{Timestamp, tz::TimeZone};

/// Partitions a tenant's minute is spread over.
pub const EVENT_SHARDS: u8 = 16;
/// Partitions of the outbox. Each is a progress source `outbox/<shard>`.
pub const OUTBOX_SHARDS: u8 = 4;
/// What the DynamoDB API takes, in bytes.
pub(crate) const PARTITION_KEY_BYTES_MAX: usize = 2048;
pub(crate) const SORT_KEY_BYTES_MAX: usize = 1024;

const MINUTE_US: i64 = 60_000_000;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct ItemKey {
    pub partition: String,
    pub sort: String,
}

/// `tenant#20260131T2359#7`
pub(crate) fn event_partition(tenant: &str, received_at_us: i64, shard: u8) -> String {
    let at = Timestamp::from_microsecond(received_at_us).unwrap_or(Timestamp::UNIX_EPOCH);
    let at = at.to_zoned(TimeZone::UTC);
    format!(
        "{tenant}#{:04}{:02}{:02}T{:02}{:02}#{shard}",
        at.year(),
        at.month(),
        at.day(),
        at.hour(),
        at.minute()
    )
}

pub(crate) fn event_shard(identity: u128) -> u8 {
    (identity % u128::from(EVENT_SHARDS)) as u8
}

pub(crate) fn outbox_shard(identity: u128) -> u8 {
    (identity % u128::from(OUTBOX_SHARDS)) as u8
}

pub(crate) fn outbox_partition(shard: u8) -> String {
    format!("outbox#{shard}")
}

/// Whole minutes of receipt, half open: the unit in which the buffer can be read back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MinuteRange {
    first: i64,
    end: i64,
}

impl MinuteRange {
    /// The minutes that contain [start, end), times of receipt in UTC microseconds.
    pub fn covering(start_us: i64, end_us: i64) -> MinuteRange {
        let end = if end_us > start_us {
            (end_us - 1).div_euclid(MINUTE_US) + 1
        } else {
            start_us.div_euclid(MINUTE_US)
        };
        MinuteRange { first: start_us.div_euclid(MINUTE_US), end }
    }

    /// The first microsecond of every minute, in order.
    pub(crate) fn minutes(self) -> impl Iterator<Item = i64> {
        (self.first..self.end).map(|minute| minute * MINUTE_US)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-01-31T23:59:59.999999Z
    const LATE: i64 = 1_769_903_999_999_999;

    #[test]
    fn the_partition_names_tenant_minute_of_receipt_and_shard() {
        assert_eq!(event_partition("acme", LATE, 7), "acme#20260131T2359#7");
        assert_eq!(event_partition("acme", LATE + 1, 7), "acme#20260201T0000#7");
        assert_eq!(event_partition("acme", -1, 0), "acme#19691231T2359#0");
    }

    #[test]
    fn a_range_covers_every_minute_it_touches_and_none_beside() {
        let count = |start, end| MinuteRange::covering(start, end).minutes().count();
        assert_eq!(count(0, 60_000_000), 1);
        assert_eq!(count(0, 60_000_001), 2);
        assert_eq!(count(59_999_999, 60_000_001), 2);
        assert_eq!(count(5, 5), 0);
        assert_eq!(count(7, 3), 0);
        assert_eq!(MinuteRange::covering(61_000_000, 62_000_000).minutes().collect::<Vec<_>>(), [60_000_000]);
    }
}
