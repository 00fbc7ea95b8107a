//! What is inserted: one struct for each table, fields in the order of the table. Times in UTC microseconds.

use meridian_billing::decimal::Decimal;

/// Where in Kafka a row comes from: enough to find its record again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KafkaPosition {
    pub topic: String,
    pub partition: i32,
    pub offset: i64,
}

/// `raw_events`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawEventRow {
    pub tenant: String,
    pub project: String,
    pub source: String,
    pub id: String,
    pub event_type: String,
    pub customer: String,
    pub time_us: i64,
    pub received_at_us: i64,
    /// A canonical JSON object.
    pub properties: String,
    pub identity: u128,
    pub payload_hash: u64,
    pub offset: i64,
}

/// `processed_events`: one for each event and meter that counts it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProcessedEventRow {
    pub tenant: String,
    pub project: String,
    pub customer: String,
    pub meter: String,
    pub meter_version: i64,
    /// "" while the customer has no subscription at the event's time.
    pub subscription: String,
    pub plan_version: String,
    /// Names of the prices of that plan version that the meter feeds.
    pub prices: Vec<String>,
    pub quantity: Decimal,
    /// The value that a meter of distinct values counts; absent for every other aggregation.
    pub unique_value: Option<String>,
    /// A canonical JSON object of the meter's group-by properties; "" for a meter without any.
    pub group_values: String,
    pub source: String,
    pub id: String,
    pub time_us: i64,
    pub received_at_us: i64,
    pub identity: u128,
    pub offset: i64,
}

/// `quarantined_events`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QuarantinedRow {
    /// "" when the record could not be read at all.
    pub tenant: String,
    /// Kebab-case, from a closed list (`meridian-consumer`, `decide`).
    pub reason: String,
    /// For a person: which property, which value.
    pub detail: String,
    /// The meter that could not use the event; "" when no meter counts its type.
    pub meter: String,
    pub event_type: String,
    pub source: String,
    pub id: String,
    /// The record's value as it came.
    pub payload: Vec<u8>,
    pub offset: i64,
}

/// `quarantine_releases`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReleaseRow {
    pub quarantined_at_us: i64,
    pub meter: String,
    /// `processed`, `not-counted` or `quarantined-again`.
    pub outcome: String,
    pub offset: i64,
}

/// `meter_backfills`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackfillRow {
    /// `mtr_…`
    pub meter_id: String,
    pub meter: String,
    /// Batches of the partition that are stored from this instant on count the meter themselves.
    pub begun_at_us: i64,
    /// Raw events up to here are counted, inclusive.
    pub through: RawPlace,
    /// Raw events that this piece read.
    pub events: u64,
    /// Nothing is left.
    pub done: bool,
}

/// A place among the raw events of one type, in the order in which they are stored.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct RawPlace {
    pub tenant: String,
    pub time_us: i64,
    pub identity: u128,
}

/// `event_conflicts`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConflictRow {
    pub tenant: String,
    pub source: String,
    pub id: String,
    /// The event that came second, canonical JSON.
    pub payload: Vec<u8>,
    pub payload_hash: u64,
    pub first_payload_hash: u64,
    pub first_partition: i32,
    pub first_offset: i64,
    pub offset: i64,
}
