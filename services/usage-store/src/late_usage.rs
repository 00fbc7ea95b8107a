//! Who used something of earlier periods that became known after their invoices: one question for many customers.

use clickhouse::Row;
use serde::Deserialize;

use crate::{
    error::UsageStoreError,
    period_usage::{KEYS_QUERY_SIZE_MAX, TIME_MAX_US, instant, seconds},
    store::{UsageStore, answered},
};

const HOUR_US: i64 = 3_600_000_000;

/// A customer with a period to bill, and until when its earlier ones were looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LateUsageKey {
    pub tenant: String,
    /// "" is the tenant itself.
    pub customer: String,
    /// Usage before this is of earlier periods.
    pub period_start_us: i64,
    /// What was stored before this was looked at.
    pub stored_from_us: i64,
}

#[derive(Row, Deserialize)]
struct LateRow {
    n: u32,
    from_us: i64,
}

impl UsageStore {
    /// For each key when its earliest late usage was, to the minute; None where there is none. Whole hours of storing come from the
    /// roll-ups, the hour in which the last look was from the events; what was stored in the hour of `stored_before` after it may
    /// be named as well.
    pub async fn late_usage(
        &self,
        keys: &[LateUsageKey],
        stored_before_us: i64,
    ) -> Result<Vec<Option<i64>>, UsageStoreError> {
        let mut late = vec![None; keys.len()];
        if keys.is_empty() {
            return Ok(late);
        }
        let listed = keys.iter().enumerate().map(|(n, key)| {
            let LateUsageKey { tenant, customer, period_start_us, stored_from_us } = key;
            serde_json::json!([
                n,
                tenant,
                customer,
                period_start_us,
                stored_from_us,
                next_hour(*stored_from_us)
            ])
        });
        let listed = serde_json::Value::from_iter(listed).to_string();
        let client = self.client.clone().with_setting("max_query_size", KEYS_QUERY_SIZE_MAX.to_string());
        let sql = question(keys, stored_before_us.clamp(0, TIME_MAX_US));
        let question = client.query(&sql).bind(listed);
        for row in answered("looking for late usage", question.fetch_all::<LateRow>()).await? {
            if let Some(found) = late.get_mut(row.n as usize) {
                *found = Some(row.from_us);
            }
        }
        Ok(late)
    }
}

/// The first whole hour that does not begin before.
fn next_hour(us: i64) -> i64 {
    (us.clamp(0, TIME_MAX_US) + HOUR_US - 1) / HOUR_US * HOUR_US
}

/// The constant bounds narrow what is read by the tables' order and partitions; the join then holds each row against its key.
fn question(keys: &[LateUsageKey], stored_before_us: i64) -> String {
    let latest = keys.iter().map(|key| key.period_start_us).max().unwrap_or(0).clamp(0, TIME_MAX_US);
    let looked = || keys.iter().map(|key| key.stored_from_us.clamp(0, TIME_MAX_US));
    let (first, last) = (looked().min().unwrap_or(0), looked().max().unwrap_or(0));
    format!(
        "WITH keys AS (
            SELECT k.1 AS n, k.2 AS tenant, k.3 AS customer, k.4 AS start, k.5 AS stored_from, k.6 AS next_hour
            FROM (SELECT arrayJoin(JSONExtract(?, 'Array(Tuple(UInt32, String, String, Int64, Int64, Int64))')) AS k))
         SELECT n, min(at) FROM (
            SELECT keys.n AS n, toInt64(toUnixTimestamp(min(r.minute))) * 1000000 AS at
            FROM usage_by_minute AS r
            INNER JOIN keys ON r.tenant = keys.tenant AND r.customer = keys.customer
            WHERE (r.tenant, r.customer) IN (SELECT tenant, customer FROM keys)
              AND r.minute < {latest_minute} AND r.stored_hour >= {first_hour} AND r.stored_hour < {before_hour}
              AND toInt64(toUnixTimestamp(r.minute)) * 1000000 < keys.start
              AND toInt64(toUnixTimestamp(r.stored_hour)) * 1000000 >= keys.next_hour
            GROUP BY n
            UNION ALL
            SELECT keys.n AS n, toUnixTimestamp64Micro(min(p.time)) AS at
            FROM processed_events AS p
            INNER JOIN keys ON p.tenant = keys.tenant AND p.customer = keys.customer
            WHERE (p.tenant, p.customer) IN (SELECT tenant, customer FROM keys)
              AND p.time < {latest} AND p.stored_at >= {first} AND p.stored_at < {last} AND p.stored_at < {before}
              AND toUnixTimestamp64Micro(p.time) < keys.start
              AND toUnixTimestamp64Micro(p.stored_at) >= keys.stored_from
              AND toUnixTimestamp64Micro(p.stored_at) < keys.next_hour
            GROUP BY n)
         GROUP BY n",
        latest_minute = seconds(latest),
        first_hour = seconds(next_hour(first)),
        before_hour = seconds(stored_before_us),
        latest = instant(latest),
        first = instant(first),
        last = instant(next_hour(last)),
        before = instant(stored_before_us),
    )
}
