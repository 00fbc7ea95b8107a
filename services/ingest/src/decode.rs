//! From a request's bytes to event drafts, whatever the dialect. Pure.
//!
//! A batch is split into raw values first: one bad event is one refusal, its neighbours pass, and numbers keep the
//! digits that they were sent with. What is not JSON at all has no events and refuses the whole request.

mod aliases;
mod cloudevents;
mod native;
mod split;

use http::{HeaderMap, header};
use meridian_billing::event::{EventDraft, Rejection};
use serde::Serialize;

use crate::refusal::Refusal;

use split::Split;

/// How a request speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// `{type, id?, source?, customer?, time?, properties?}`
    Native,
    /// Alias: `{metricName, metricValue, unit?, timestamp?, metadata?, idempotencyKey?}`
    Metric,
    /// Alias: `{metric, amount, customerId?}`
    Track,
    /// `application/cloudevents+json`
    CloudEvent,
    /// `application/cloudevents-batch+json`
    CloudEventBatch,
    /// Attributes in `ce-` headers, the body is the data.
    CloudEventBinary,
}

/// What the route says; `Events` leaves the choice to the headers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route {
    Events,
    Metric,
    Track,
}

/// An event as it was sent, before it is checked.
#[derive(Clone, Debug, PartialEq)]
pub struct Draft {
    pub event: EventDraft,
    /// Named in the body. The event's tenant is the credential's, always; a body that names another is refused.
    pub tenant: Option<String>,
    pub project: Option<String>,
}

/// Why one event is refused: a stable code, the field, and what to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct EventRefusal {
    pub code: &'static str,
    /// Empty: the whole event.
    pub field: String,
    pub detail: String,
}

/// Text of a parser may quote the input; the sender knows it and the answer must stay small.
const DETAIL_CHARS_MAX: usize = 240;

impl EventRefusal {
    pub fn new(code: &'static str, field: &str, detail: impl Into<String>) -> EventRefusal {
        let detail: String = detail.into();
        let detail = match detail.char_indices().nth(DETAIL_CHARS_MAX) {
            Some((end, _)) => format!("{}…", &detail[..end]),
            None => detail,
        };
        EventRefusal { code, field: field.to_owned(), detail }
    }
}

impl From<Rejection> for EventRefusal {
    fn from(rejection: Rejection) -> Self {
        let field: String = rejection.field.chars().take(DETAIL_CHARS_MAX).collect();
        EventRefusal::new(rejection.code.as_str(), &field, rejection.detail)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    Single,
    Batch,
}

/// A request taken apart: at least one event.
#[derive(Debug, PartialEq)]
pub struct Decoded {
    pub shape: Shape,
    pub drafts: Vec<Result<Draft, EventRefusal>>,
}

/// Which dialect the headers and the route speak.
pub fn dialect(route: Route, headers: &HeaderMap) -> Result<Dialect, Refusal> {
    match route {
        Route::Metric => json_only(headers).map(|()| Dialect::Metric),
        Route::Track => json_only(headers).map(|()| Dialect::Track),
        Route::Events => match media_type(headers).as_deref() {
            Some("application/cloudevents+json") => Ok(Dialect::CloudEvent),
            Some("application/cloudevents-batch+json") => Ok(Dialect::CloudEventBatch),
            _ if cloudevents::is_binary(headers) => Ok(Dialect::CloudEventBinary),
            _ => json_only(headers).map(|()| Dialect::Native),
        },
    }
}

/// Takes a body apart. `headers` matter to binary CloudEvents only.
pub fn decode(
    dialect: Dialect,
    headers: &HeaderMap,
    body: &[u8],
    events_max: usize,
) -> Result<Decoded, Refusal> {
    let text = std::str::from_utf8(body)
        .map_err(|error| Refusal::MalformedJson(format!("byte {} is not UTF-8", error.valid_up_to())))?;
    if dialect == Dialect::CloudEventBinary {
        let draft = cloudevents::binary(headers, text)?;
        return Ok(Decoded { shape: Shape::Single, drafts: vec![draft] });
    }
    let read: fn(&str) -> Result<Draft, EventRefusal> = match dialect {
        Dialect::Native => native::draft,
        Dialect::Metric => aliases::metric,
        Dialect::Track => aliases::track,
        Dialect::CloudEvent | Dialect::CloudEventBatch | Dialect::CloudEventBinary => cloudevents::structured,
    };
    match split::split(text, events_max)? {
        Split::One(event) => Ok(Decoded { shape: Shape::Single, drafts: vec![read(event)] }),
        Split::Many { count, .. } if count > events_max => {
            Err(Refusal::TooManyEvents { count, max: events_max })
        }
        Split::Many { count: 0, .. } => Err(Refusal::NoEvents),
        Split::Many { events, .. } => {
            let drafts = events.into_iter().map(|event| read(event.get())).collect();
            Ok(Decoded { shape: Shape::Batch, drafts })
        }
    }
}

/// JSON, or nothing said: `curl -d` says form, which is told apart so that the mistake is named.
fn json_only(headers: &HeaderMap) -> Result<(), Refusal> {
    match media_type(headers) {
        None => Ok(()),
        Some(media_type) if media_type == "application/json" => Ok(()),
        Some(other) => Err(Refusal::UnsupportedMediaType(other)),
    }
}

fn media_type(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(header::CONTENT_TYPE)?.to_str().unwrap_or("(unreadable)");
    let essence = value.split(';').next().unwrap_or_default().trim();
    Some(essence.chars().take(100).collect::<String>().to_ascii_lowercase())
}

#[cfg(test)]
mod tests;
