//! Usage as JSON: for each meter a quantity, or events, or buckets.

use std::collections::BTreeMap;

use jiff::Timestamp;
use meridian_billing::{
    catalogue::{AggregationKind, MeterSpec, ResetPolicy},
    decimal::{Decimal, Quantity},
    event::{UsageEvent, parse_time},
    ids::{CustomerKey, MeterName, ProjectId, TenantId},
    meter::{Contribution, quantity_of},
    properties,
};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::SimulateError;

/// The usage of one meter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MeterUsage {
    pub meter: MeterName,
    /// Where it stands in the file: `usage[2]`.
    pub place: String,
    pub kind: UsageKind,
    /// How much of the meter's total an earlier invoice of the same period billed.
    pub billed_before: Option<Quantity>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UsageKind {
    /// What the meter counted in the one period that is simulated.
    Quantity(Quantity),
    /// What each event adds, and when. Events that the meter's filters leave out are not here.
    Events(Contributions),
    /// What the meter made of some time, its multiplier included.
    Buckets(Contributions),
}

pub type Contributions = Vec<(Option<Timestamp>, Contribution)>;

impl UsageKind {
    /// What it says of single times.
    pub fn contributions(&self) -> &[(Option<Timestamp>, Contribution)] {
        match self {
            Self::Quantity(_) => &[],
            Self::Events(contributions) | Self::Buckets(contributions) => contributions,
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Entry<'a> {
    meter: String,
    #[serde(borrow, default)]
    quantity: Option<&'a RawValue>,
    #[serde(borrow, default)]
    events: Option<Vec<Event<'a>>>,
    #[serde(borrow, default)]
    buckets: Option<Vec<Bucket<'a>>>,
    #[serde(borrow, default)]
    billed_before: Option<&'a RawValue>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Event<'a> {
    #[serde(borrow, default)]
    time: Option<&'a RawValue>,
    #[serde(borrow, default)]
    properties: Option<&'a RawValue>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Bucket<'a> {
    start: Timestamp,
    #[serde(borrow)]
    value: &'a RawValue,
    #[serde(default)]
    group: BTreeMap<String, String>,
}

/// Reads the whole file. Events are counted by their meter's own rules, so `meters` must hold it.
pub fn read(text: &str, meters: &BTreeMap<MeterName, MeterSpec>) -> Result<Vec<MeterUsage>, SimulateError> {
    let entries: Vec<&RawValue> =
        serde_json::from_str(text).map_err(|error| SimulateError::new("usage", error))?;
    entries.into_iter().enumerate().map(|(index, entry)| read_entry(index, entry.get(), meters)).collect()
}

fn read_entry(
    index: usize,
    text: &str,
    meters: &BTreeMap<MeterName, MeterSpec>,
) -> Result<MeterUsage, SimulateError> {
    let place = format!("usage[{index}]");
    let entry: Entry<'_> = serde_path_to_error::deserialize(&mut serde_json::Deserializer::from_str(text))
        .map_err(|error| {
            let path = error.path().to_string();
            let field = if path == "." { place.clone() } else { format!("{place}.{path}") };
            SimulateError::new(field, error.into_inner())
        })?;
    let meter = MeterName::new(entry.meter)
        .map_err(|error| SimulateError::new(format!("{place}.meter"), error.problem))?;
    let spec = || {
        meters.get(&meter).ok_or_else(|| {
            let problem =
                format!("there is no Meter {meter} in the file, and only it says what counts: add it, or give a quantity");
            SimulateError::new(format!("{place}.meter"), problem)
        })
    };
    let kind = match (entry.quantity, entry.events, entry.buckets) {
        (Some(quantity), None, None) => {
            UsageKind::Quantity(number(&format!("{place}.quantity"), quantity.get())?)
        }
        (None, Some(events), None) => UsageKind::Events(count(index, &place, &events, spec()?)?),
        (None, None, Some(buckets)) => UsageKind::Buckets(sum_up(&place, &meter, buckets, spec()?)?),
        _ => return Err(SimulateError::new(place, "give one of quantity, events and buckets")),
    };
    let billed_before =
        entry.billed_before.map(|json| number(&format!("{place}.billedBefore"), json.get())).transpose()?;
    Ok(MeterUsage { meter, place, kind, billed_before })
}

/// A decimal as a string or a JSON number, exact either way, and not negative.
fn number(field: &str, json: &str) -> Result<Quantity, SimulateError> {
    let quantity = number_of_any_sign(field, json)?;
    if quantity.is_negative() {
        return Err(SimulateError::new(field, format!("{json}: usage must not be negative")));
    }
    Ok(quantity)
}

fn number_of_any_sign(field: &str, json: &str) -> Result<Quantity, SimulateError> {
    let text = match serde_json::from_str::<String>(json) {
        Ok(text) => text,
        Err(_) => json.to_owned(),
    };
    let decimal = Decimal::parse_scientific(text.trim())
        .map_err(|error| SimulateError::new(field, format!("{json}: {error}")))?;
    Ok(Quantity(decimal))
}

/// `entry` and the place in its list are the event's identity: of events of one time, the later one in the file is the later.
fn count(
    entry: usize,
    place: &str,
    events: &[Event<'_>],
    meter: &MeterSpec,
) -> Result<Contributions, SimulateError> {
    let mut counted = Vec::new();
    for (index, event) in events.iter().enumerate() {
        let place = format!("{place}.events[{index}]");
        let time_us = event
            .time
            .map(|time| parse_time(time.get()))
            .transpose()
            .map_err(|error| SimulateError::new(format!("{place}.time"), error.detail))?;
        if time_us.is_none() && goes_by_time(meter.aggregation) {
            let problem = format!("is needed: {} goes by the events' times", meter.aggregation.as_str());
            return Err(SimulateError::new(format!("{place}.time"), problem));
        }
        let time = time_us
            .map(Timestamp::from_microsecond)
            .transpose()
            .map_err(|error| SimulateError::new(format!("{place}.time"), error))?;
        let properties = match event.properties {
            Some(object) => properties::from_json(object.get())
                .map_err(|error| SimulateError::new(format!("{place}.{}", error.field()), &error))?,
            None => BTreeMap::new(),
        };
        let event = UsageEvent {
            tenant: TenantId::new("simulation").map_err(|error| SimulateError::new(&place, error.problem))?,
            project: ProjectId::default_project(),
            source: format!("{entry:010}"),
            id: format!("{index:010}"),
            event_type: meter.event_type.clone(),
            customer: CustomerKey::tenant_itself(),
            time_us: time_us.unwrap_or_default(),
            received_at_us: time_us.unwrap_or_default(),
            properties,
        };
        let contribution = quantity_of(meter, &event)
            .map_err(|reason| SimulateError::new(format!("{place}.properties"), reason))?;
        counted.extend(contribution.map(|contribution| (time, contribution)));
    }
    Ok(counted)
}

/// A bucket is what its meter made of the events of some time: it adds to the period by the same law.
fn sum_up(
    place: &str,
    name: &MeterName,
    buckets: Vec<Bucket<'_>>,
    meter: &MeterSpec,
) -> Result<Contributions, SimulateError> {
    let refused = |problem: &str| Err(SimulateError::new(format!("{place}.buckets"), problem));
    match meter.aggregation {
        AggregationKind::Count | AggregationKind::Sum | AggregationKind::Max | AggregationKind::Min => {}
        AggregationKind::UniqueCount => {
            return refused(
                "numbers of unique values cannot be added, one value may be in two buckets: give events",
            );
        }
        AggregationKind::Average => {
            return refused("averages of some time do not say of how many events they are: give events");
        }
        AggregationKind::Latest | AggregationKind::WeightedSum => {
            return refused("a bucket does not say when in it the level changed: give events");
        }
        AggregationKind::Percentile => {
            return refused("a percentile of percentiles is no percentile: give events");
        }
    }
    let contribution = |(index, bucket): (usize, Bucket<'_>)| {
        let Bucket { start, value, group } = bucket;
        if let Some(property) = group.keys().find(|property| !meter.group_by.contains(property)) {
            let known = match meter.group_by.as_slice() {
                [] => "nothing".to_owned(),
                properties => properties.join(", "),
            };
            let field = format!("{place}.buckets[{index}].group.{property}");
            return Err(SimulateError::new(
                field,
                format!("Meter {name} does not group by it; it groups by {known}"),
            ));
        }
        let field = format!("{place}.buckets[{index}].value");
        let quantity = match meter.reset {
            ResetPolicy::EachPeriod => number(&field, value.get())?,
            ResetPolicy::Never => number_of_any_sign(&field, value.get())?,
        };
        let (source, id) = (String::new(), String::new());
        let time_us = start.as_microsecond();
        Ok((Some(start), Contribution { quantity, unique_value: None, group, time_us, source, id }))
    };
    buckets.into_iter().enumerate().map(contribution).collect()
}

/// Whether an event without a time says nothing, even where there is only one period.
fn goes_by_time(aggregation: AggregationKind) -> bool {
    match aggregation {
        AggregationKind::Latest | AggregationKind::WeightedSum => true,
        AggregationKind::Count
        | AggregationKind::Sum
        | AggregationKind::Max
        | AggregationKind::Min
        | AggregationKind::Average
        | AggregationKind::UniqueCount
        | AggregationKind::Percentile => false,
    }
}
