//! One event, an array of events, or `{"events": […]}`: told apart in one pass, with no more events kept than are
//! taken. The count goes on past the bound, so that the refusal can name it.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use crate::refusal::Refusal;

pub(super) enum Split<'a> {
    One(&'a str),
    Many { events: Vec<&'a RawValue>, count: usize },
}

pub(super) fn split(text: &str, events_max: usize) -> Result<Split<'_>, Refusal> {
    let malformed =
        |error: serde_json::Error| Refusal::MalformedJson(error.to_string().chars().take(240).collect());
    let mut json = serde_json::Deserializer::from_str(text);
    let many = json.deserialize_any(Envelope { events_max }).map_err(malformed)?;
    json.end().map_err(malformed)?;
    Ok(match many {
        Some(Many { events, count }) => Split::Many { events, count },
        None => Split::One(text),
    })
}

struct Many<'a> {
    events: Vec<&'a RawValue>,
    count: usize,
}

struct Envelope {
    events_max: usize,
}

impl<'de> Visitor<'de> for Envelope {
    type Value = Option<Many<'de>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an event, an array of events, or {\"events\": [...]}")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Self::Value, A::Error> {
        Bounded { events_max: self.events_max }.visit_seq(seq).map(Some)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut many = None;
        let mut others = false;
        while let Some(key) = map.next_key::<std::borrow::Cow<'de, str>>()? {
            if key == "events" && many.is_none() {
                many = Some(map.next_value_seed(Bounded { events_max: self.events_max })?);
            } else {
                others = true;
                map.next_value::<IgnoredAny>()?;
            }
        }
        // What stands beside the events would be dropped in silence.
        if many.is_some() && others {
            return Err(A::Error::custom("an object with \"events\" has no other members"));
        }
        Ok(many)
    }
}

struct Bounded {
    events_max: usize,
}

impl<'de> DeserializeSeed<'de> for Bounded {
    type Value = Many<'de>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Many<'de>, D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Bounded {
    type Value = Many<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of events")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Many<'de>, A::Error> {
        let mut events = Vec::new();
        while events.len() < self.events_max {
            match seq.next_element::<&'de RawValue>()? {
                Some(event) => events.push(event),
                None => return Ok(Many { count: events.len(), events }),
            }
        }
        let mut count = events.len();
        while seq.next_element::<IgnoredAny>()?.is_some() {
            count += 1;
        }
        Ok(Many { events, count })
    }
}
