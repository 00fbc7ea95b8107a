//! What could not be processed, for its tenant to see: outstanding rows with their reasons, newest last.

use std::str::FromStr;

use clickhouse::Row;
use serde::Deserialize;

use crate::{
    error::UsageStoreError,
    period_usage::instant,
    scope::Scope,
    store::{UsageStore, answered},
};

/// Rows of one page.
pub const PAGE_QUARANTINE_MAX: u32 = 500;

/// Where a page ended. Its text is opaque to clients. Meter names are DNS names, so '.' at the front cannot confuse it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QuarantineCursor {
    stored_at_us: i64,
    partition: i32,
    offset: i64,
    meter: String,
}

impl std::fmt::Display for QuarantineCursor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}.{}.{}", self.stored_at_us, self.partition, self.offset, self.meter)
    }
}

impl FromStr for QuarantineCursor {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let unreadable = "is not a cursor of this list";
        let mut parts = text.splitn(4, '.');
        let mut next = || parts.next().ok_or(unreadable);
        Ok(Self {
            stored_at_us: next()?.parse().map_err(|_| unreadable)?,
            partition: next()?.parse().map_err(|_| unreadable)?,
            offset: next()?.parse().map_err(|_| unreadable)?,
            meter: next()?.to_owned(),
        })
    }
}

/// One quarantined event (and meter, where one counts its type).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QuarantinedEvent {
    pub reason: String,
    pub detail: String,
    pub meter: String,
    pub event_type: String,
    pub source: String,
    pub id: String,
    pub payload: Vec<u8>,
    pub stored_at_us: i64,
    pub kafka_partition: i32,
    pub kafka_offset: i64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QuarantinePage {
    pub events: Vec<QuarantinedEvent>,
    pub next: Option<QuarantineCursor>,
}

impl UsageStore {
    /// What is still quarantined of a tenant; what was processed later is left out.
    pub async fn quarantine(
        &self,
        scope: &Scope,
        after: Option<&QuarantineCursor>,
        limit: u32,
    ) -> Result<QuarantinePage, UsageStoreError> {
        let doing = "reading the quarantine";
        let limit = limit.clamp(1, PAGE_QUARANTINE_MAX);
        let cursor = after
            .map(|at| {
                let (stored, partition, offset) = (instant(at.stored_at_us), at.partition, at.offset);
                format!("AND (q.stored_at, q.kafka_partition, q.kafka_offset, q.meter) > ({stored}, {partition}, {offset}, ?)")
            })
            .unwrap_or_default();
        let sql = format!(
            "SELECT toString(q.reason) AS reason, q.detail AS detail, toString(q.meter) AS meter, toString(q.type) AS event_type,
                    toString(q.source) AS source, q.id AS id, q.payload AS payload,
                    toUnixTimestamp64Micro(q.stored_at) AS stored_at_us, q.kafka_partition AS kafka_partition,
                    q.kafka_offset AS kafka_offset
             FROM quarantined_events AS q
             LEFT ANTI JOIN quarantine_releases AS r
               ON q.kafka_topic = r.kafka_topic AND q.kafka_partition = r.kafka_partition
              AND q.stored_at = r.quarantined_at AND q.kafka_offset = r.kafka_offset AND q.meter = r.meter
             WHERE q.tenant = ? {cursor}
             ORDER BY q.stored_at, q.kafka_partition, q.kafka_offset, q.meter LIMIT {more}",
            more = limit + 1,
        );
        let mut question = scope.client(&self.client).query(&sql).bind(scope.tenant().as_str());
        if let Some(after) = after {
            question = question.bind(&after.meter);
        }
        let rows = answered(doing, question.fetch_all::<QuarantineRow>()).await?;
        let more = rows.len() > limit as usize;
        let events: Vec<QuarantinedEvent> =
            rows.into_iter().take(limit as usize).map(QuarantineRow::event).collect();
        let next = events.last().filter(|_| more).map(|event| QuarantineCursor {
            stored_at_us: event.stored_at_us,
            partition: event.kafka_partition,
            offset: event.kafka_offset,
            meter: event.meter.clone(),
        });
        Ok(QuarantinePage { events, next })
    }
}

#[derive(Row, Deserialize)]
struct QuarantineRow {
    reason: String,
    detail: String,
    meter: String,
    event_type: String,
    source: String,
    id: String,
    #[serde(with = "byte_string")]
    payload: Vec<u8>,
    stored_at_us: i64,
    kafka_partition: i32,
    kafka_offset: i64,
}

impl QuarantineRow {
    fn event(self) -> QuarantinedEvent {
        QuarantinedEvent {
            reason: self.reason,
            detail: self.detail,
            meter: self.meter,
            event_type: self.event_type,
            source: self.source,
            id: self.id,
            payload: self.payload,
            stored_at_us: self.stored_at_us,
            kafka_partition: self.kafka_partition,
            kafka_offset: self.kafka_offset,
        }
    }
}

/// A ClickHouse String that need not be UTF-8: what could not be read may be anything.
pub(crate) mod byte_string {
    use serde::{Deserializer, de::Visitor};

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        struct Bytes;
        impl<'de> Visitor<'de> for Bytes {
            type Value = Vec<u8>;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("bytes")
            }
            fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Vec<u8>, E> {
                Ok(bytes.to_vec())
            }
            fn visit_byte_buf<E>(self, bytes: Vec<u8>) -> Result<Vec<u8>, E> {
                Ok(bytes)
            }
        }
        deserializer.deserialize_byte_buf(Bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_survives_its_text_whatever_the_meter() {
        for meter in ["", "api-calls", "a.b"] {
            let cursor = QuarantineCursor { stored_at_us: 5, partition: 3, offset: 9, meter: meter.into() };
            assert_eq!(cursor.to_string().parse(), Ok(cursor));
        }
        assert!("5.x".parse::<QuarantineCursor>().is_err());
    }
}
