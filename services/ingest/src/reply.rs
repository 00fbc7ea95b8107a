//! The answer to a request of events: one result for each, and which stores hold what was accepted (ruling C1).

use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use meridian_buffer::EventRecord;
use serde::Serialize;

use crate::{
    decode::EventRefusal,
    judge::{Judged, Verdict},
    refusal::Refusal,
    stores::Kept,
};

pub const DYNAMODB: &str = "dynamodb";
pub const KAFKA: &str = "kafka";

/// The body of a 202, and of a 422 when no event was good.
#[derive(Debug, Serialize)]
pub struct Reply<'a> {
    pub accepted: usize,
    pub rejected: usize,
    /// The stores that hold every accepted event.
    pub durability: Vec<&'static str>,
    /// A store is missing for at least one accepted event. It gets there later; nothing is to be done.
    pub degraded: bool,
    pub results: Vec<EventResult<'a>>,
}

#[derive(Debug, Serialize)]
pub struct EventResult<'a> {
    pub index: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<&'a str>,
    pub status: Status,
    /// False: the id is ours, and sending the event again would count it again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub idempotent: Option<bool>,
    /// Only where stores differ from the reply's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub durability: Option<Vec<&'static str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub field: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<&'a str>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    Accepted,
    /// The event itself is wrong: sending it again unchanged is refused again.
    Rejected,
    /// The event is good and no store confirmed it: send it again.
    NotStored,
}

/// What became of a request, in numbers: for the metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    pub accepted: usize,
    pub rejected: usize,
    pub not_stored: usize,
    pub without_kafka: usize,
    pub without_dynamodb: usize,
}

impl Tally {
    pub fn of(judged: &Judged, kept: &[Kept]) -> Tally {
        let mut tally = Tally { rejected: judged.verdicts.len() - judged.records.len(), ..Tally::default() };
        for kept in kept {
            if !kept.durable() {
                tally.not_stored += 1;
                continue;
            }
            tally.accepted += 1;
            tally.without_kafka += usize::from(!kept.kafka);
            tally.without_dynamodb += usize::from(!kept.dynamodb);
        }
        tally
    }
}

/// 202 when at least one event is accepted; 503 when good events could not be stored and none was; 422 when every
/// event was wrong.
pub fn respond(judged: &Judged, kept: &[Kept], tally: &Tally) -> Response {
    if tally.accepted == 0 && tally.not_stored > 0 {
        return Refusal::NotStored.into_response();
    }
    let status = if tally.accepted > 0 { StatusCode::ACCEPTED } else { StatusCode::UNPROCESSABLE_ENTITY };
    let body = serde_json::to_vec(&reply(judged, kept, tally)).expect("strings and numbers always serialize");
    let json = HeaderValue::from_static("application/json");
    (status, [(header::CONTENT_TYPE, json)], body).into_response()
}

pub fn reply<'a>(judged: &'a Judged, kept: &[Kept], tally: &Tally) -> Reply<'a> {
    let mut durability = Vec::with_capacity(2);
    if tally.accepted > 0 && tally.without_dynamodb == 0 {
        durability.push(DYNAMODB);
    }
    if tally.accepted > 0 && tally.without_kafka == 0 {
        durability.push(KAFKA);
    }
    let everywhere = kept.iter().all(|k| !k.durable() || k.stores() == durability);
    let results = judged.verdicts.iter().enumerate().map(|(index, verdict)| match verdict {
        Verdict::Bad { id, refusal } => rejected(index, id.as_deref(), refusal),
        Verdict::Good { record, idempotent } => {
            let (record, kept) = (&judged.records[*record], kept[*record]);
            stored(index, record, *idempotent, kept, everywhere)
        }
    });
    Reply {
        accepted: tally.accepted,
        rejected: judged.verdicts.len() - tally.accepted,
        degraded: tally.without_dynamodb + tally.without_kafka > 0,
        durability,
        results: results.collect(),
    }
}

fn stored(
    index: usize,
    record: &EventRecord,
    idempotent: bool,
    kept: Kept,
    everywhere: bool,
) -> EventResult<'_> {
    let durable = kept.durable();
    EventResult {
        index,
        id: Some(&record.id),
        status: if durable { Status::Accepted } else { Status::NotStored },
        idempotent: Some(idempotent),
        durability: (durable && !everywhere).then(|| kept.stores()),
        code: (!durable).then_some("not_stored"),
        field: None,
        detail: (!durable).then_some("no durable store confirmed this event; send it again with the same id"),
    }
}

fn rejected<'a>(index: usize, id: Option<&'a str>, refusal: &'a EventRefusal) -> EventResult<'a> {
    EventResult {
        index,
        id,
        status: Status::Rejected,
        idempotent: None,
        durability: None,
        code: Some(refusal.code),
        field: (!refusal.field.is_empty()).then_some(refusal.field.as_str()),
        detail: Some(&refusal.detail),
    }
}
