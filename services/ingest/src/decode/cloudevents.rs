//! CloudEvents 1.0: structured, batched and binary. `subject` is the customer, `data` the properties; extension
//! attributes are transport and are not kept, except `tenant` and `project`, which are held against the credential.
//! https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/formats/json-format.md
//! https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/bindings/http-protocol-binding.md

use http::HeaderMap;
use meridian_billing::event::{EventDraft, parse_time};
use serde::{Deserialize, de::IgnoredAny};
use serde_json::value::RawValue;

use crate::refusal::Refusal;

use super::{
    Draft, EventRefusal,
    native::{malformed, object, time},
};

#[derive(Deserialize)]
struct CloudEvent<'a> {
    specversion: Option<String>,
    id: Option<String>,
    source: Option<String>,
    r#type: Option<String>,
    subject: Option<String>,
    #[serde(borrow)]
    time: Option<&'a RawValue>,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
    data_base64: Option<IgnoredAny>,
    tenant: Option<String>,
    project: Option<String>,
}

pub(super) fn structured(text: &str) -> Result<Draft, EventRefusal> {
    let event: CloudEvent<'_> = serde_json::from_str(text).map_err(malformed)?;
    check_version(event.specversion.as_deref())?;
    if event.data_base64.is_some() {
        return Err(EventRefusal::new(
            "invalid_property",
            "data_base64",
            "is not taken: send data as a JSON object",
        ));
    }
    Ok(Draft {
        event: EventDraft {
            id: event.id,
            source: Some(required("source", event.source)?),
            event_type: required("type", event.r#type)?,
            customer: event.subject,
            time_us: time(event.time)?,
            properties: object(event.data).map_err(under_data)?,
        },
        tenant: event.tenant,
        project: event.project,
    })
}

/// Whether the headers carry a CloudEvent of their own.
pub(super) fn is_binary(headers: &HeaderMap) -> bool {
    headers.contains_key("ce-specversion") || headers.contains_key("ce-type")
}

/// A whole request is one event: a header that cannot be read refuses the request.
pub(super) fn binary(headers: &HeaderMap, data: &str) -> Result<Result<Draft, EventRefusal>, Refusal> {
    let attribute = |name: &str| -> Result<Option<String>, Refusal> {
        let Some(value) = headers.get(format!("ce-{name}")) else { return Ok(None) };
        let unreadable = || Refusal::BadHeader(format!("the header ce-{name} is not percent-encoded UTF-8"));
        percent_decoded(value.as_bytes()).map(Some).ok_or_else(unreadable)
    };
    let (version, id, source) = (attribute("specversion")?, attribute("id")?, attribute("source")?);
    let (event_type, subject, time) = (attribute("type")?, attribute("subject")?, attribute("time")?);
    let (tenant, project) = (attribute("tenant")?, attribute("project")?);
    Ok((|| {
        check_version(version.as_deref())?;
        let data = if data.trim().is_empty() { None } else { Some(data) };
        let data: Option<&RawValue> = data.map(serde_json::from_str).transpose().map_err(malformed)?;
        Ok(Draft {
            event: EventDraft {
                id,
                source: Some(required("source", source)?),
                event_type: required("type", event_type)?,
                customer: subject,
                time_us: time
                    .map(|text| parse_time(&serde_json::Value::from(text).to_string()))
                    .transpose()?,
                properties: object(data).map_err(under_data)?,
            },
            tenant,
            project,
        })
    })())
}

fn check_version(version: Option<&str>) -> Result<(), EventRefusal> {
    match version {
        Some("1.0") => Ok(()),
        Some(_) => Err(EventRefusal::new("malformed_event", "specversion", "must be \"1.0\"")),
        None => Err(EventRefusal::new("malformed_event", "specversion", "is missing")),
    }
}

fn required(name: &'static str, value: Option<String>) -> Result<String, EventRefusal> {
    value.ok_or_else(|| EventRefusal::new("malformed_event", name, "is missing"))
}

fn under_data(refusal: EventRefusal) -> EventRefusal {
    EventRefusal { field: refusal.field.replacen("properties", "data", 1), ..refusal }
}

/// RFC 3986 percent-decoding, as the HTTP binding encodes header values; none when the result is not UTF-8.
fn percent_decoded(bytes: &[u8]) -> Option<String> {
    let digit = |at: usize| bytes.get(at).and_then(|b| (*b as char).to_digit(16));
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        if bytes[at] == b'%' {
            let (high, low) = (digit(at + 1)?, digit(at + 2)?);
            decoded.push((high * 16 + low) as u8);
            at += 3;
        } else {
            decoded.push(bytes[at]);
            at += 1;
        }
    }
    String::from_utf8(decoded).ok()
}
