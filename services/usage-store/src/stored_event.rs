//! A raw event as it is read back: what was sent, and the hash that was taken of it when it came.

use std::collections::BTreeMap;

use clickhouse::Row;
use meridian_billing::{
    event::UsageEvent,
    ids::{CustomerKey, ProjectId, TenantId},
};
use serde::Deserialize;
use serde_json::Value;

use crate::rows::RawPlace;

/// What of `raw_events` makes a [`StoredEvent`], in its order.
pub(crate) const COLUMNS: &str =
    "toString(tenant), toString(project), toString(source), id, toString(type), customer, toUnixTimestamp64Micro(time),
     toUnixTimestamp64Micro(received_at), properties, identity, payload_hash, kafka_offset";

/// A row of `raw_events`.
#[derive(Debug, Clone, PartialEq, Eq, Row, Deserialize)]
pub struct StoredEvent {
    pub tenant: String,
    pub project: String,
    pub source: String,
    pub id: String,
    pub event_type: String,
    pub customer: String,
    pub time_us: i64,
    pub received_at_us: i64,
    /// A JSON object.
    pub properties: String,
    pub identity: u128,
    pub payload_hash: u64,
    pub offset: i64,
}

/// A row that no event of ours was stored as.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the raw event {id:?} cannot be read: {problem}")]
pub struct UnreadableEvent {
    pub id: String,
    pub problem: String,
}

impl StoredEvent {
    /// The event. Whether it is still what was sent, its payload's hash says.
    pub fn event(&self) -> Result<UsageEvent, UnreadableEvent> {
        let properties: BTreeMap<String, Value> =
            serde_json::from_str(&self.properties).map_err(|error| self.unreadable(&error))?;
        Ok(UsageEvent {
            tenant: TenantId::new(self.tenant.clone()).map_err(|error| self.unreadable(&error))?,
            project: ProjectId::new(self.project.clone()).map_err(|error| self.unreadable(&error))?,
            source: self.source.clone(),
            id: self.id.clone(),
            event_type: self.event_type.clone(),
            customer: CustomerKey::new(self.customer.clone()).map_err(|error| self.unreadable(&error))?,
            time_us: self.time_us,
            received_at_us: self.received_at_us,
            properties,
        })
    }

    pub fn place(&self) -> RawPlace {
        RawPlace { tenant: self.tenant.clone(), time_us: self.time_us, identity: self.identity }
    }

    fn unreadable(&self, problem: &dyn std::fmt::Display) -> UnreadableEvent {
        UnreadableEvent { id: self.id.clone(), problem: problem.to_string() }
    }
}
