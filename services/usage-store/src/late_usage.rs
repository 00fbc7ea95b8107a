//! Who used something of earlier periods that became known after their invoices: one question for many customers.

use clickhouse::Row;
use serde::Deserialize;

use crate::{
    error::UsageStoreError,
    period_usage::{KEYS_QUERY_SIZE_MAX, TIME_MAX_US, seconds},
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
    /// For each key when its earliest late usage was, to the minute; None where there is none. By the roll-ups and their hours of
    /// storing: what was stored within the hour of `stored_from` may be named though it was looked at.
    pub async fn late_usage(
        &self,
        keys: &[LateUsageKey],
        stored_before_us: i64,
    ) -> Result<Vec<Option<i64>>, UsageStoreError> {
        let mut late = vec![None; keys.len()];
        if keys.is_empty() {
            return Ok(late);
        }
        let whole = |us: i64| us.clamp(0, TIME_MAX_US) / HOUR_US * HOUR_US;
        let listed = keys.iter().enumerate().map(|(n, key)| {
            serde_json::json!([n, key.tenant, key.customer, key.period_start_us, whole(key.stored_from_us)])
        });
        let latest = keys.iter().map(|key| key.period_start_us).max().unwrap_or(0).clamp(0, TIME_MAX_US);
        let earliest = keys.iter().map(|key| whole(key.stored_from_us)).min().unwrap_or(0);
        let sql = format!(
            "WITH keys AS (
                SELECT k.1 AS n, k.2 AS tenant, k.3 AS customer, k.4 AS start, k.5 AS stored_from
                FROM (SELECT arrayJoin(JSONExtract(?, 'Array(Tuple(UInt32, String, String, Int64, Int64))')) AS k))
             SELECT keys.n, toInt64(toUnixTimestamp(min(r.minute))) * 1000000
             FROM usage_by_minute AS r
             INNER JOIN keys ON r.tenant = keys.tenant AND r.customer = keys.customer
             WHERE (r.tenant, r.customer) IN (SELECT tenant, customer FROM keys)
               AND r.minute < {} AND r.stored_hour >= {} AND r.stored_hour < {}
               AND toInt64(toUnixTimestamp(r.minute)) * 1000000 < keys.start
               AND toInt64(toUnixTimestamp(r.stored_hour)) * 1000000 >= keys.stored_from
             GROUP BY keys.n",
            seconds(latest),
            seconds(earliest),
            seconds(stored_before_us.clamp(0, TIME_MAX_US)),
        );
        let client = self.client.clone().with_setting("max_query_size", KEYS_QUERY_SIZE_MAX.to_string());
        let listed = serde_json::Value::from_iter(listed).to_string();
        let question = client.query(&sql).bind(listed);
        for row in answered("looking for late usage", question.fetch_all::<LateRow>()).await? {
            if let Some(found) = late.get_mut(row.n as usize) {
                *found = Some(row.from_us);
            }
        }
        Ok(late)
    }
}
