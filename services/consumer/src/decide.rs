//! A batch becomes rows. Pure: the same records, known ids, meters and subscriptions give the same rows on any machine.
//!
//! For each record, in the order of the partition:
//! - it cannot be read → quarantine (`malformed`), with its bytes as they came;
//! - its id is known with the same payload → a duplicate, counted and left out;
//! - its id is known with another payload → a conflict: recorded, never billed;
//! - otherwise it is new: a raw row, and for each meter of its type what it is worth, or why it is worth nothing.
//!
//! "Known" means known at another place. While a batch is made again after a crash, its own ids may be marked already; found
//! at their own place they are new, as they were the first time.

use std::collections::HashMap;

use meridian_billing::{event::UsageEvent, meter::quantity_of};
use meridian_usage_store::rows::{
    BackfillRow, ConflictRow, ProcessedEventRow, QuarantinedRow, RawEventRow, ReleaseRow,
};

use crate::catalogue::{Meter, Meters, Subscriptions};

/// A record of the topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    pub offset: i64,
    /// `None` is a tombstone, which nobody should write here.
    pub value: Option<Vec<u8>>,
}

/// Where an id was first seen, and the hash of what it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Known {
    pub partition: i32,
    pub offset: i64,
    pub payload_hash: u64,
}

/// Is the batch made for the first time?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attempt {
    First,
    /// After a crash or by a successor: ids found at their own place are its own marks.
    Again,
}

/// A record that was read: its event and the hashes that everything goes by.
#[derive(Debug, Clone)]
pub struct ReadRecord {
    pub offset: i64,
    pub outcome: Result<ReadEvent, Unreadable>,
}

#[derive(Debug, Clone)]
pub struct ReadEvent {
    pub event: UsageEvent,
    pub identity: u128,
    pub payload_hash: u64,
}

/// The bytes of a record and why they are no event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unreadable {
    pub value: Vec<u8>,
    pub problem: String,
}

/// Reasons of ours; a meter's own reasons have the codes of `meridian_billing::meter::QuarantineReason`.
pub mod reason {
    pub const MALFORMED: &str = "malformed";
    pub const UNKNOWN_METER: &str = "unknown_meter";
    pub const TIME_OUT_OF_RANGE: &str = "time-out-of-range";
    /// What was stored of it is not what came: only a meter's past can meet such an event.
    pub const ALTERED: &str = "altered";

    /// No meter could ever decide otherwise.
    pub fn is_final(reason: &str) -> bool {
        matches!(reason, MALFORMED | TIME_OUT_OF_RANGE | ALTERED)
    }
}

/// Times that every table can hold: 1970 up to 2100, in microseconds.
const TIMES_US: std::ops::Range<i64> = 0..4_102_444_800_000_000;

/// The rows of a batch, the ids to mark, and what to count.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Decision {
    pub raw: Vec<RawEventRow>,
    pub processed: Vec<ProcessedEventRow>,
    pub quarantined: Vec<QuarantinedRow>,
    pub conflicts: Vec<ConflictRow>,
    /// Only when quarantined rows are decided again (`release`).
    pub releases: Vec<ReleaseRow>,
    /// Only when meters are begun or their past is counted (`backfill`).
    pub backfills: Vec<BackfillRow>,
    pub marks: Vec<(u128, Known)>,
    pub duplicates: u64,
}

/// Reads the records of a batch. Apart from `decide`, because the ids must be known before they can be looked up.
pub fn read(records: Vec<Record>) -> Vec<ReadRecord> {
    records
        .into_iter()
        .map(|record| ReadRecord { offset: record.offset, outcome: read_value(record.value) })
        .collect()
}

fn read_value(value: Option<Vec<u8>>) -> Result<ReadEvent, Unreadable> {
    let value = value
        .ok_or_else(|| Unreadable { value: Vec::new(), problem: "the record has no value".to_owned() })?;
    match UsageEvent::from_canonical_json(&value) {
        Ok(event) => {
            let (identity, payload_hash) = (event.identity_hash(), event.payload_hash());
            Ok(ReadEvent { event, identity, payload_hash })
        }
        Err(error) => Err(Unreadable { value, problem: error.to_string() }),
    }
}

/// What decides a batch besides its records.
pub struct Circumstances<'a> {
    pub partition: i32,
    pub attempt: Attempt,
    /// Ids of the batch that the index knows.
    pub known: &'a HashMap<u128, Known>,
    pub meters: &'a Meters,
    pub subscriptions: &'a Subscriptions,
}

pub fn decide(records: Vec<ReadRecord>, circumstances: &Circumstances<'_>) -> Decision {
    let mut decision = Decision::default();
    let mut seen: HashMap<u128, Known> = HashMap::with_capacity(records.len());
    for ReadRecord { offset, outcome } in records {
        let read = match outcome {
            Ok(read) => read,
            Err(unreadable) => {
                decision.quarantined.push(malformed(offset, unreadable));
                continue;
            }
        };
        let here = Known { partition: circumstances.partition, offset, payload_hash: read.payload_hash };
        let first =
            seen.get(&read.identity).copied().or_else(|| circumstances.known_elsewhere(read.identity, here));
        match first {
            Some(first) if first.payload_hash == read.payload_hash => decision.duplicates += 1,
            Some(first) => decision.conflicts.push(conflict(&read, offset, first)),
            None => {
                seen.insert(read.identity, here);
                decision.marks.push((read.identity, here));
                let (processed, quarantined) = count(&read, offset, circumstances);
                decision.processed.extend(processed);
                decision.quarantined.extend(quarantined);
                decision.raw.push(raw(read, offset));
            }
        }
    }
    decision
}

impl Circumstances<'_> {
    fn known_elsewhere(&self, identity: u128, here: Known) -> Option<Known> {
        let known = self.known.get(&identity).copied()?;
        let own_mark = (known.partition, known.offset) == (here.partition, here.offset);
        match self.attempt {
            Attempt::Again if own_mark => None,
            Attempt::Again | Attempt::First => Some(known),
        }
    }
}

/// What an event is worth to each meter of its type.
fn count(
    read: &ReadEvent,
    offset: i64,
    circumstances: &Circumstances<'_>,
) -> (Vec<ProcessedEventRow>, Vec<QuarantinedRow>) {
    let event = &read.event;
    if !TIMES_US.contains(&event.time_us) || !TIMES_US.contains(&event.received_at_us) {
        let detail = format!("time {} µs is outside 1970 to 2100", event.time_us);
        return (Vec::new(), vec![quarantined(event, offset, reason::TIME_OUT_OF_RANGE, detail, "")]);
    }
    let meters = circumstances.meters.counting(event.tenant.as_str(), &event.event_type);
    if meters.is_empty() {
        let detail = format!("no meter counts events of type {:?}", event.event_type);
        return (Vec::new(), vec![quarantined(event, offset, reason::UNKNOWN_METER, detail, "")]);
    }
    let (mut rows, mut exceptions) = (Vec::new(), Vec::new());
    for meter in meters {
        match value(meter, read, offset, circumstances.subscriptions) {
            Counted::Row(row) => rows.push(*row),
            Counted::Excluded => {}
            Counted::Quarantined(row) => exceptions.push(*row),
        }
    }
    (rows, exceptions)
}

/// What one meter makes of an event.
pub(crate) enum Counted {
    Row(Box<ProcessedEventRow>),
    /// A filter says no: the event stays raw.
    Excluded,
    Quarantined(Box<QuarantinedRow>),
}

pub(crate) fn value(meter: &Meter, read: &ReadEvent, offset: i64, subscriptions: &Subscriptions) -> Counted {
    let event = &read.event;
    let contribution = match quantity_of(&meter.spec, event) {
        Ok(Some(contribution)) => contribution,
        Ok(None) => return Counted::Excluded,
        Err(problem) => {
            let row = quarantined(event, offset, problem.code(), problem.to_string(), &meter.name);
            return Counted::Quarantined(Box::new(row));
        }
    };
    let line = subscriptions.line(event.tenant.as_str(), event.customer.as_str(), event.time_us, &meter.id);
    Counted::Row(Box::new(ProcessedEventRow {
        tenant: event.tenant.to_string(),
        project: event.project.to_string(),
        customer: event.customer.to_string(),
        meter: meter.name.clone(),
        meter_version: meter.version,
        subscription: line.subscription,
        plan_version: line.plan_version,
        prices: line.prices,
        group_values: contribution.group_json(&meter.spec),
        quantity: contribution.quantity.0,
        unique_value: contribution.unique_value,
        source: event.source.clone(),
        id: event.id.clone(),
        time_us: event.time_us,
        received_at_us: event.received_at_us,
        identity: read.identity,
        offset,
    }))
}

fn raw(read: ReadEvent, offset: i64) -> RawEventRow {
    let event = read.event;
    let properties = serde_json::to_string(&event.properties)
        .expect("a map of JSON values with text keys always serializes");
    RawEventRow {
        tenant: event.tenant.into_string(),
        project: event.project.into_string(),
        source: event.source,
        id: event.id,
        event_type: event.event_type,
        customer: event.customer.into_string(),
        time_us: event.time_us.clamp(TIMES_US.start, TIMES_US.end - 1),
        received_at_us: event.received_at_us.clamp(TIMES_US.start, TIMES_US.end - 1),
        properties,
        identity: read.identity,
        payload_hash: read.payload_hash,
        offset,
    }
}

fn conflict(read: &ReadEvent, offset: i64, first: Known) -> ConflictRow {
    ConflictRow {
        tenant: read.event.tenant.to_string(),
        source: read.event.source.clone(),
        id: read.event.id.clone(),
        payload: read.event.canonical_json().into_bytes(),
        payload_hash: read.payload_hash,
        first_payload_hash: first.payload_hash,
        first_partition: first.partition,
        first_offset: first.offset,
        offset,
    }
}

fn malformed(offset: i64, unreadable: Unreadable) -> QuarantinedRow {
    QuarantinedRow {
        tenant: String::new(),
        reason: reason::MALFORMED.to_owned(),
        detail: unreadable.problem,
        meter: String::new(),
        event_type: String::new(),
        source: String::new(),
        id: String::new(),
        payload: unreadable.value,
        offset,
    }
}

pub(crate) fn quarantined(
    event: &UsageEvent,
    offset: i64,
    reason: &str,
    detail: String,
    meter: &str,
) -> QuarantinedRow {
    QuarantinedRow {
        tenant: event.tenant.to_string(),
        reason: reason.to_owned(),
        detail,
        meter: meter.to_owned(),
        event_type: event.event_type.clone(),
        source: event.source.clone(),
        id: event.id.clone(),
        payload: event.canonical_json().into_bytes(),
        offset,
    }
}

#[cfg(test)]
mod tests;
