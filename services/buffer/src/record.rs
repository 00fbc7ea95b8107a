//! An event as the buffer writes it and as it reads it back.

use std::sync::Arc;

use meridian_billing::event::UsageEvent;

use crate::{
    key::{self, ItemKey},
    write::Item,
};

/// The buffer keeps events for one year from receipt (requirement F10; ruling C4).
const KEPT_SECONDS: i64 = 366 * 24 * 3600;

/// What is needed to write an event: its identity, the hash of its payload and its canonical JSON, made once and
/// shared by both stores.
#[derive(Clone, Debug)]
pub struct EventRecord {
    pub tenant: Arc<str>,
    pub source: Arc<str>,
    pub id: Arc<str>,
    pub received_at_us: i64,
    /// `UsageEvent::identity_hash`
    pub identity: u128,
    /// `UsageEvent::payload_hash`
    pub payload: u64,
    /// Canonical JSON.
    pub json: Arc<str>,
}

impl EventRecord {
    pub fn of(event: &UsageEvent) -> EventRecord {
        EventRecord {
            tenant: event.tenant.as_str().into(),
            source: event.source.as_str().into(),
            id: event.id.as_str().into(),
            received_at_us: event.received_at_us,
            identity: event.identity_hash(),
            payload: event.payload_hash(),
            json: event.canonical_json().into(),
        }
    }

    /// The Kafka key: 32 hex digits of the identity.
    pub fn identity_hex(&self) -> String {
        format!("{:032x}", self.identity)
    }

    pub(crate) fn event_item(&self) -> Item {
        let shard = key::event_shard(self.identity);
        Item {
            key: ItemKey {
                partition: key::event_partition(&self.tenant, self.received_at_us, shard),
                sort: format!("{}#{}#{:016x}", self.source, self.id, self.payload),
            },
            json: self.json.clone(),
            identity: None,
            expires_at: Some(self.received_at_us.div_euclid(1_000_000) + KEPT_SECONDS),
        }
    }

    /// Outbox items never expire: they leave only after Kafka has confirmed them.
    pub(crate) fn outbox_item(&self) -> Item {
        Item {
            key: ItemKey {
                partition: key::outbox_partition(key::outbox_shard(self.identity)),
                sort: format!("{}#{}#{}#{:016x}", self.tenant, self.source, self.id, self.payload),
            },
            json: self.json.clone(),
            identity: Some(self.identity_hex()),
            expires_at: None,
        }
    }
}

/// An event read back: its canonical JSON, as it was accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredEvent {
    pub sort_key: String,
    pub json: String,
}
