//! The usage event: one canonical form from the receive path to the raw table.
//!
//! An [`EventDraft`] is what somebody sent, in whatever dialect; [`EventDraft::validate`] checks it statically (no store is
//! asked) and makes the [`UsageEvent`]. Its canonical JSON is the Kafka value, the buffer item's `event` attribute and the
//! source of the raw table's row. Identity is (tenant, source, id) and never the time: the same id sent again with another
//! time or payload is a conflict, of which the first one wins.
//!
//! Times are UTC microseconds since 1970. `time` is when the usage happened, `received_at` when we took it.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, value::RawValue};
use xxhash_rust::xxh3::{xxh3_64, xxh3_128};

use crate::{
    ids::{CustomerKey, InvalidId, ProjectId, TenantId, check_key},
    properties::{self, PropertyError},
};

/// A checked event. Field order is the order of the canonical JSON.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct UsageEvent {
    pub tenant: TenantId,
    pub project: ProjectId,
    /// Who made the id: identity is within a source. Never holds '#', the separator of storage keys.
    pub source: String,
    pub id: String,
    #[serde(rename = "type")]
    pub event_type: String,
    /// Empty: the tenant itself (ruling C11).
    pub customer: CustomerKey,
    #[serde(rename = "time")]
    pub time_us: i64,
    #[serde(rename = "received_at")]
    pub received_at_us: i64,
    pub properties: BTreeMap<String, Value>,
}

/// What the payload hash covers: everything but `received_at`, which differs from one delivery to the next.
#[derive(Serialize)]
struct Payload<'a> {
    tenant: &'a TenantId,
    project: &'a ProjectId,
    source: &'a str,
    id: &'a str,
    #[serde(rename = "type")]
    event_type: &'a str,
    customer: &'a CustomerKey,
    time: i64,
    properties: &'a BTreeMap<String, Value>,
}

impl UsageEvent {
    pub fn canonical_json(&self) -> String {
        serde_json::to_string(self)
            .expect("strings, integers and JSON values with string keys always serialize")
    }

    pub fn from_canonical_json(json: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(json)
    }

    /// xxh3-128 over `tenant \0 source \0 id`. No part can hold a NUL, so no two identities share a text.
    pub fn identity_hash(&self) -> u128 {
        identity_hash(self.tenant.as_str(), &self.source, &self.id)
    }

    /// The Kafka key: the identity hash as 32 hex digits, so that duplicates meet on one partition.
    pub fn kafka_key(&self) -> String {
        format!("{:032x}", self.identity_hash())
    }

    /// xxh3-64 of the canonical JSON without `received_at`, the event's own time included.
    pub fn payload_hash(&self) -> u64 {
        let Self {
            tenant,
            project,
            source,
            id,
            event_type,
            customer,
            time_us,
            received_at_us: _,
            properties,
        } = self;
        let payload =
            Payload { tenant, project, source, id, event_type, customer, time: *time_us, properties };
        let json = serde_json::to_vec(&payload)
            .expect("strings, integers and JSON values with string keys always serialize");
        xxh3_64(&json)
    }
}

/// See [`UsageEvent::identity_hash`].
pub fn identity_hash(tenant: &str, source: &str, id: &str) -> u128 {
    xxh3_128(format!("{tenant}\0{source}\0{id}").as_bytes())
}

/// Bounds of the receive path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EventLimits {
    /// Oldest `time`, before now.
    pub age_max_us: i64,
    /// Latest `time`, after now: clocks differ, a day covers a wrong time zone.
    pub ahead_max_us: i64,
    /// Size of the canonical JSON.
    pub size_bytes_max: usize,
    pub properties_max: usize,
}

const DAY_US: i64 = 86_400_000_000;
/// Today in seconds or milliseconds, read as microseconds, is within a hundred days of 1970.
const SECONDS_OR_MILLISECONDS_BELOW: u64 = 100 * DAY_US.unsigned_abs();

impl Default for EventLimits {
    /// A leap year back (the buffer's retention), a day ahead, 64 KiB, 256 properties.
    fn default() -> Self {
        Self {
            age_max_us: 366 * DAY_US,
            ahead_max_us: DAY_US,
            size_bytes_max: 64 * 1024,
            properties_max: 256,
        }
    }
}

/// Whose credential sent the event: never taken from the body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventOrigin {
    pub tenant: TenantId,
    pub project: ProjectId,
    /// `source` of events that name none: the API key's name.
    pub default_source: String,
}

/// An event as it was sent. `id` is filled in by the receive path when the body has none (ruling C3).
#[derive(Debug, Clone, PartialEq, Default)]
pub struct EventDraft {
    pub id: Option<String>,
    pub source: Option<String>,
    pub event_type: String,
    pub customer: Option<String>,
    /// Absent: the time of receipt.
    pub time_us: Option<i64>,
    pub properties: BTreeMap<String, Value>,
}

/// Why an event is refused. Codes are stable; a new reason is a new code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RejectionCode {
    MalformedEvent,
    MissingId,
    InvalidId,
    InvalidSource,
    InvalidType,
    InvalidCustomer,
    InvalidTime,
    TooOld,
    TooFarAhead,
    InvalidProperty,
    NumberOutOfRange,
    TooManyProperties,
    TooLarge,
}

impl RejectionCode {
    pub const ALL: [Self; 13] = [
        Self::MalformedEvent,
        Self::MissingId,
        Self::InvalidId,
        Self::InvalidSource,
        Self::InvalidType,
        Self::InvalidCustomer,
        Self::InvalidTime,
        Self::TooOld,
        Self::TooFarAhead,
        Self::InvalidProperty,
        Self::NumberOutOfRange,
        Self::TooManyProperties,
        Self::TooLarge,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::MalformedEvent => "malformed_event",
            Self::MissingId => "missing_id",
            Self::InvalidId => "invalid_id",
            Self::InvalidSource => "invalid_source",
            Self::InvalidType => "invalid_type",
            Self::InvalidCustomer => "invalid_customer",
            Self::InvalidTime => "invalid_time",
            Self::TooOld => "too_old",
            Self::TooFarAhead => "too_far_ahead",
            Self::InvalidProperty => "invalid_property",
            Self::NumberOutOfRange => "number_out_of_range",
            Self::TooManyProperties => "too_many_properties",
            Self::TooLarge => "too_large",
        }
    }
}

/// A refusal, fit to be sent back: a stable code, the field, and a sentence that says what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize)]
#[error("{field}: {detail}")]
pub struct Rejection {
    pub code: RejectionCode,
    /// `id`, `time`, `properties.bytes` …; empty when it is about the whole event.
    pub field: String,
    pub detail: String,
}

impl Rejection {
    pub fn new(code: RejectionCode, field: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { code, field: field.into(), detail: detail.into() }
    }

    fn key(code: RejectionCode, field: &str, problem: InvalidId) -> Self {
        Self::new(code, field, problem.problem)
    }
}

impl From<PropertyError> for Rejection {
    fn from(error: PropertyError) -> Self {
        let code = match error {
            PropertyError::NotAnObject | PropertyError::TooDeep { .. } | PropertyError::NotUnicode { .. } => {
                RejectionCode::InvalidProperty
            }
            PropertyError::NumberOutOfRange { .. } => RejectionCode::NumberOutOfRange,
        };
        Self::new(code, error.field(), error.to_string())
    }
}

/// The native dialect. `time` is RFC 3339 with an offset, or integer microseconds since 1970.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NativeEvent<'a> {
    id: Option<String>,
    source: Option<String>,
    r#type: String,
    customer: Option<String>,
    #[serde(borrow)]
    time: Option<&'a RawValue>,
    #[serde(borrow)]
    properties: Option<&'a RawValue>,
}

impl EventDraft {
    /// Reads one event of the native dialect from its own JSON text. Split a batch into raw values first, so that one bad
    /// event is one rejection and numbers keep the digits they were sent with.
    pub fn from_json(text: &str) -> Result<Self, Rejection> {
        let native: NativeEvent<'_> = serde_json::from_str(text)
            .map_err(|error| Rejection::new(RejectionCode::MalformedEvent, "", error.to_string()))?;
        Ok(Self {
            id: native.id,
            source: native.source,
            event_type: native.r#type,
            customer: native.customer,
            time_us: native.time.map(|time| parse_time(time.get())).transpose()?,
            properties: native
                .properties
                .map(|object| properties::from_json(object.get()))
                .transpose()?
                .unwrap_or_default(),
        })
    }

    /// Static checks only; `received_at_us` is now. Returns the event that may be stored.
    pub fn validate(
        self,
        origin: &EventOrigin,
        limits: &EventLimits,
        received_at_us: i64,
    ) -> Result<UsageEvent, Rejection> {
        let id = self.id.ok_or_else(|| Rejection::new(RejectionCode::MissingId, "id", "is missing"))?;
        check_key("id", &id).map_err(|problem| Rejection::key(RejectionCode::InvalidId, "id", problem))?;
        let source = self.source.unwrap_or_else(|| origin.default_source.clone());
        check_source(&source)?;
        check_key("type", &self.event_type)
            .map_err(|problem| Rejection::key(RejectionCode::InvalidType, "type", problem))?;
        let customer = CustomerKey::new(self.customer.unwrap_or_default())
            .map_err(|problem| Rejection::key(RejectionCode::InvalidCustomer, "customer", problem))?;
        let time_us = self.time_us.unwrap_or(received_at_us);
        check_time(time_us, limits, received_at_us)?;
        if self.properties.len() > limits.properties_max {
            let detail = format!(
                "has {} properties, at most {} are taken",
                self.properties.len(),
                limits.properties_max
            );
            return Err(Rejection::new(RejectionCode::TooManyProperties, "properties", detail));
        }
        for name in self.properties.keys() {
            check_key("property", name).map_err(|problem| {
                Rejection::new(
                    RejectionCode::InvalidProperty,
                    "properties",
                    format!("a property's name {}", problem.problem),
                )
            })?;
        }
        let event = UsageEvent {
            tenant: origin.tenant.clone(),
            project: origin.project.clone(),
            source,
            id,
            event_type: self.event_type,
            customer,
            time_us,
            received_at_us,
            properties: self.properties,
        };
        check_size(&event, limits)?;
        Ok(event)
    }
}

/// A time as the native dialect writes it, in microseconds.
pub fn parse_time(json: &str) -> Result<i64, Rejection> {
    let invalid = |detail: String| Rejection::new(RejectionCode::InvalidTime, "time", detail);
    if let Ok(microseconds) = json.parse::<i64>() {
        return Ok(microseconds);
    }
    let hint =
        "give RFC 3339 with an offset, such as \"2026-03-01T00:00:00Z\", or integer microseconds since 1970";
    let text: String = serde_json::from_str(json).map_err(|_| invalid(hint.to_owned()))?;
    let time: Timestamp = text.parse().map_err(|_| invalid(format!("{text:?} is not a time: {hint}")))?;
    Ok(time.as_microsecond())
}

/// '#' separates source and id in storage keys: with it in a source, two identities could share one key and one be lost.
fn check_source(source: &str) -> Result<(), Rejection> {
    check_key("source", source)
        .map_err(|problem| Rejection::key(RejectionCode::InvalidSource, "source", problem))?;
    if source.contains('#') {
        return Err(Rejection::new(
            RejectionCode::InvalidSource,
            "source",
            "must not hold '#': write it as %23",
        ));
    }
    Ok(())
}

fn check_time(time_us: i64, limits: &EventLimits, received_at_us: i64) -> Result<(), Rejection> {
    let age_us = received_at_us.saturating_sub(time_us);
    if age_us > limits.age_max_us {
        let detail = format!(
            "is more than {} days old{}",
            limits.age_max_us / DAY_US,
            if time_us.unsigned_abs() < SECONDS_OR_MILLISECONDS_BELOW {
                ": a number must be in microseconds, not seconds or milliseconds"
            } else {
                ""
            }
        );
        return Err(Rejection::new(RejectionCode::TooOld, "time", detail));
    }
    if age_us < -limits.ahead_max_us {
        let detail = format!("is more than {} hours in the future", limits.ahead_max_us / (DAY_US / 24));
        return Err(Rejection::new(RejectionCode::TooFarAhead, "time", detail));
    }
    Ok(())
}

fn check_size(event: &UsageEvent, limits: &EventLimits) -> Result<(), Rejection> {
    let size = event.canonical_json().len();
    if size > limits.size_bytes_max {
        let detail = format!("is {size} bytes, at most {} are taken", limits.size_bytes_max);
        return Err(Rejection::new(RejectionCode::TooLarge, "", detail));
    }
    Ok(())
}

#[cfg(test)]
#[path = "event_tests.rs"]
mod tests;
