//! The two documented aliases (ruling C2). Both name a metric and a quantity: the metric is the event's type, the
//! quantity becomes the property `value`, the unit the property `unit`.

use meridian_billing::event::EventDraft;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{
    Draft, EventRefusal,
    native::{Properties, malformed, object, time},
};

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Metric<'a> {
    metric_name: String,
    #[serde(borrow)]
    metric_value: &'a RawValue,
    unit: Option<String>,
    #[serde(borrow)]
    timestamp: Option<&'a RawValue>,
    #[serde(borrow)]
    metadata: Option<&'a RawValue>,
    idempotency_key: Option<String>,
    customer_id: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Track<'a> {
    metric: String,
    #[serde(borrow)]
    amount: &'a RawValue,
    customer_id: Option<String>,
    #[serde(borrow)]
    timestamp: Option<&'a RawValue>,
    #[serde(borrow)]
    metadata: Option<&'a RawValue>,
    idempotency_key: Option<String>,
}

/// POST /api/v1/ingest
pub(super) fn metric(text: &str) -> Result<Draft, EventRefusal> {
    let sent: Metric<'_> = serde_json::from_str(text).map_err(malformed)?;
    let mut properties = object(sent.metadata).map_err(|refusal| under("metadata", refusal))?;
    set(&mut properties, "value", quantity("metricValue", sent.metric_value)?)?;
    if let Some(unit) = sent.unit {
        set(&mut properties, "unit", unit.into())?;
    }
    Ok(draft(sent.metric_name, sent.idempotency_key, sent.customer_id, time(sent.timestamp)?, properties))
}

/// POST /api/track
pub(super) fn track(text: &str) -> Result<Draft, EventRefusal> {
    let sent: Track<'_> = serde_json::from_str(text).map_err(malformed)?;
    let mut properties = object(sent.metadata).map_err(|refusal| under("metadata", refusal))?;
    set(&mut properties, "value", quantity("amount", sent.amount)?)?;
    Ok(draft(sent.metric, sent.idempotency_key, sent.customer_id, time(sent.timestamp)?, properties))
}

fn draft(
    event_type: String,
    id: Option<String>,
    customer: Option<String>,
    time_us: Option<i64>,
    properties: Properties,
) -> Draft {
    let event = EventDraft { id, source: None, event_type, customer, time_us, properties };
    Draft { event, tenant: None, project: None }
}

/// A number, or a string of one for digits that a double does not hold.
fn quantity(field: &'static str, json: &RawValue) -> Result<serde_json::Value, EventRefusal> {
    let refuse = |detail: &str| EventRefusal::new("invalid_property", field, detail);
    // Read as a property, so that the digits stay and 1e400 is refused.
    let wrapped = format!("{{\"value\":{}}}", json.get());
    let mut read = meridian_billing::properties::from_json(&wrapped)
        .map_err(|_| EventRefusal::new("number_out_of_range", field, "is beyond what can be represented"))?;
    let value = read.remove("value").ok_or_else(|| refuse("is missing"))?;
    let is_number = match &value {
        serde_json::Value::Number(_) => true,
        serde_json::Value::String(text) => {
            text.starts_with(|c: char| c.is_ascii_digit() || c == '-')
                && text.parse::<f64>().is_ok_and(f64::is_finite)
        }
        _ => false,
    };
    if is_number { Ok(value) } else { Err(refuse("must be a number, or a string of one")) }
}

fn set(properties: &mut Properties, name: &str, value: serde_json::Value) -> Result<(), EventRefusal> {
    match properties.insert(name.to_owned(), value) {
        None => Ok(()),
        Some(_) => Err(EventRefusal::new(
            "invalid_property",
            &format!("metadata.{name}"),
            "is where the quantity and its unit go: give it another name",
        )),
    }
}

fn under(name: &str, refusal: EventRefusal) -> EventRefusal {
    EventRefusal { field: refusal.field.replacen("properties", name, 1), ..refusal }
}
