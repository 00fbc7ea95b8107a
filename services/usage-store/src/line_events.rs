//! The events behind an invoice line, page by page: the way back from money to what was sent.

use std::{collections::HashMap, str::FromStr};

use clickhouse::Row;
use meridian_billing::decimal::Decimal;
use serde::Deserialize;

use crate::{
    error::UsageStoreError,
    period_usage::instant,
    scope::Scope,
    store::{UsageStore, answered},
};

/// Events of one page.
pub const PAGE_EVENTS_MAX: u32 = 1_000;

/// Which events: `[start, end)` by their time, stored up to the line's cutoff (`None`: all).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LineQuery {
    pub meter: String,
    /// "" is the tenant itself.
    pub customer: String,
    pub start_us: i64,
    pub end_us: i64,
    /// `None`: from the beginning. What was stored before was charged by another line.
    pub stored_from_us: Option<i64>,
    pub stored_before_us: Option<i64>,
}

/// Where a page ended. Its text is opaque to clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EventCursor {
    time_us: i64,
    identity: u128,
}

impl std::fmt::Display for EventCursor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:x}.{:032x}", self.time_us, self.identity)
    }
}

impl FromStr for EventCursor {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let unreadable = "is not a cursor of this list";
        let (time, identity) = text.split_once('.').ok_or(unreadable)?;
        let time_us = i64::from_str_radix(time, 16).map_err(|_| unreadable)?;
        let identity = u128::from_str_radix(identity, 16).map_err(|_| unreadable)?;
        Ok(Self { time_us, identity })
    }
}

/// One event as the meter counted it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LineEvent {
    pub source: String,
    pub id: String,
    pub project: String,
    pub time_us: i64,
    pub received_at_us: i64,
    pub stored_at_us: i64,
    pub quantity: Decimal,
    pub unique_value: Option<String>,
    /// A JSON object of the meter's group-by properties, or "".
    pub group_values: String,
    pub subscription: String,
    /// What was sent, a canonical JSON object.
    pub properties: String,
    /// Where the record is in Kafka.
    pub kafka_partition: i32,
    pub kafka_offset: i64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LineEventsPage {
    /// In the order of their time.
    pub events: Vec<LineEvent>,
    /// `None` on the last page.
    pub next: Option<EventCursor>,
}

impl UsageStore {
    /// At most `limit` events (up to [`PAGE_EVENTS_MAX`]) after the cursor.
    pub async fn line_events(
        &self,
        scope: &Scope,
        query: &LineQuery,
        after: Option<EventCursor>,
        limit: u32,
    ) -> Result<LineEventsPage, UsageStoreError> {
        let doing = "reading the events of a line";
        let limit = limit.clamp(1, PAGE_EVENTS_MAX);
        let from = query.stored_from_us.map(|us| format!("AND stored_at >= {}", instant(us)));
        let before = query.stored_before_us.map(|us| format!("AND stored_at < {}", instant(us)));
        let stored: String = from.into_iter().chain(before).collect::<Vec<_>>().join(" ");
        let after = after
            .map(|at| {
                format!("AND (time, identity) > ({}, toUInt128('{}'))", instant(at.time_us), at.identity)
            })
            .unwrap_or_default();
        let sql = format!(
            "SELECT source, id, project, toUnixTimestamp64Micro(time) AS time_us,
                    toUnixTimestamp64Micro(received_at) AS received_at_us, toUnixTimestamp64Micro(stored_at) AS stored_at_us,
                    reinterpretAsInt128(quantity) AS units, unique_value, group_values, subscription, kafka_partition,
                    kafka_offset, identity
             FROM processed_events
             WHERE tenant = ? AND meter = ? AND customer = ? AND time >= {from} AND time < {to} {stored} {after}
             ORDER BY time, identity LIMIT {more}",
            from = instant(query.start_us),
            to = instant(query.end_us),
            more = limit + 1,
        );
        let question = scope.client(&self.client).query(&sql).bind(scope.tenant().as_str());
        let question = question.bind(&query.meter).bind(&query.customer);
        let mut rows = answered(doing, question.fetch_all::<EventRow>()).await?;
        let more = rows.len() > limit as usize;
        rows.truncate(limit as usize);
        let next =
            rows.last().filter(|_| more).map(|r| EventCursor { time_us: r.time_us, identity: r.identity });
        let mut properties = self.properties_of(scope, &rows).await?;
        let events = rows
            .into_iter()
            .map(|row| {
                let sent = properties.remove(&row.identity).unwrap_or_default();
                row.event(sent, doing)
            })
            .collect::<Result<_, _>>()?;
        Ok(LineEventsPage { events, next })
    }

    /// What was sent, for the events of one page: from the raw table by identity, of which the bloom filter knows the place.
    async fn properties_of(
        &self,
        scope: &Scope,
        rows: &[EventRow],
    ) -> Result<HashMap<u128, String>, UsageStoreError> {
        let (Some(first), Some(last)) = (rows.first(), rows.last()) else { return Ok(HashMap::new()) };
        let identities: Vec<String> =
            rows.iter().map(|row| format!("toUInt128('{}')", row.identity)).collect();
        let sql = format!(
            "SELECT identity, properties FROM raw_events
             WHERE tenant = ? AND time >= {} AND time <= {} AND identity IN ({})",
            instant(first.time_us),
            instant(last.time_us),
            identities.join(", ")
        );
        let question = scope.client(&self.client).query(&sql).bind(scope.tenant().as_str());
        let found = answered("reading what was sent", question.fetch_all::<(u128, String)>()).await?;
        Ok(found.into_iter().collect())
    }
}

#[derive(Row, Deserialize)]
struct EventRow {
    source: String,
    id: String,
    project: String,
    time_us: i64,
    received_at_us: i64,
    stored_at_us: i64,
    units: i128,
    unique_value: Option<String>,
    group_values: String,
    subscription: String,
    kafka_partition: i32,
    kafka_offset: i64,
    identity: u128,
}

impl EventRow {
    fn event(self, properties: String, doing: &'static str) -> Result<LineEvent, UsageStoreError> {
        let quantity = Decimal::from_units(self.units)
            .map_err(|error| UsageStoreError::Unreadable { doing, problem: format!("quantity: {error}") })?;
        Ok(LineEvent {
            source: self.source,
            id: self.id,
            project: self.project,
            time_us: self.time_us,
            received_at_us: self.received_at_us,
            stored_at_us: self.stored_at_us,
            quantity,
            unique_value: self.unique_value,
            group_values: self.group_values,
            subscription: self.subscription,
            properties,
            kafka_partition: self.kafka_partition,
            kafka_offset: self.kafka_offset,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_survives_its_text() {
        let cursor = EventCursor { time_us: 1_795_000_000_000_123, identity: u128::MAX - 5 };
        assert_eq!(cursor.to_string().parse(), Ok(cursor));
        assert!("x.y".parse::<EventCursor>().is_err());
        assert!("12".parse::<EventCursor>().is_err());
    }
}
