//! Our own dialect, as `meridian_billing::event` describes it, with two additions of the receive path: an
//! `idempotencyKey` serves as id when there is none (ruling C3), and a `tenant` or `project` may be named, which is
//! then held against the credential.

use meridian_billing::{
    event::{EventDraft, parse_time},
    properties,
};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{Draft, EventRefusal};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NativeEvent<'a> {
    id: Option<String>,
    #[serde(rename = "idempotencyKey", alias = "idempotency_key")]
    idempotency_key: Option<String>,
    source: Option<String>,
    r#type: String,
    customer: Option<String>,
    tenant: Option<String>,
    project: Option<String>,
    #[serde(borrow)]
    time: Option<&'a RawValue>,
    #[serde(borrow)]
    properties: Option<&'a RawValue>,
}

pub(super) fn draft(text: &str) -> Result<Draft, EventRefusal> {
    let event: NativeEvent<'_> = serde_json::from_str(text).map_err(malformed)?;
    Ok(Draft {
        event: EventDraft {
            id: event.id.or(event.idempotency_key),
            source: event.source,
            event_type: event.r#type,
            customer: event.customer,
            time_us: time(event.time)?,
            properties: object(event.properties)?,
        },
        tenant: event.tenant,
        project: event.project,
    })
}

pub(super) fn malformed(error: serde_json::Error) -> EventRefusal {
    EventRefusal::new("malformed_event", "", error.to_string())
}

pub(super) fn time(json: Option<&RawValue>) -> Result<Option<i64>, EventRefusal> {
    Ok(json.map(|json| parse_time(json.get())).transpose()?)
}

pub(super) type Properties = std::collections::BTreeMap<String, serde_json::Value>;

pub(super) fn object(json: Option<&RawValue>) -> Result<Properties, EventRefusal> {
    let Some(json) = json else { return Ok(Properties::new()) };
    properties::from_json(json.get()).map_err(|error| meridian_billing::event::Rejection::from(error).into())
}
