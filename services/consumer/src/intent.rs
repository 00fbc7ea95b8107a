//! What a batch leaves in Kafka before it stores anything: enough for any successor to make exactly the same batch.
//!
//! It is the metadata of the offset commit at the batch's first offset, and not a row in Postgres, because Kafka checks the
//! group's generation in the same request: writing the intent *is* the proof of still owning the partition. It also needs no
//! third store on the way of an event. Kafka keeps at most 4,096 bytes of metadata; this takes about 100.

use std::fmt;

use meridian_usage_store::rows::RawPlace;

/// The longest metadata that we write. A meter's name is at most 63 bytes, so that none comes near Kafka's limit.
pub const INTENT_BYTES_MAX: usize = 512;

/// A batch that was begun.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Intent {
    /// `stored_at` of every row of the batch, microseconds.
    pub stored_at_us: i64,
    /// Hash of the meters by which it is decided; the meters themselves are in ClickHouse (`meter_snapshots`).
    pub meters: String,
    pub work: Work,
}

/// What the batch consists of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Work {
    /// The records from the committed offset to `last`, inclusive.
    Records { last: i64 },
    /// The quarantined rows after one place to another, inclusive; the committed offset stays.
    Release { after: Place, through: Place },
    /// The meters that the partition's batches did not count yet are counted from now on; the committed offset stays.
    Begin,
    /// A meter's past: the raw events after one place to another, inclusive, or all that are left.
    Backfill { meter_id: String, after: RawPlace, through: Option<RawPlace> },
}

/// A place in a partition's quarantine: rows are ordered by it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Place {
    pub stored_at_us: i64,
    pub offset: i64,
    pub meter: String,
}

/// Metadata that this program did not write, or a later release of it did.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the committed offset carries metadata that this release cannot read: {text:?}")]
pub struct UnreadableIntent {
    pub text: String,
}

impl fmt::Display for Intent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "v1 {} {} ", self.stored_at_us, self.meters)?;
        match &self.work {
            Work::Records { last } => write!(f, "records {last}"),
            Work::Release { after, through } => write!(f, "release {after} {through}"),
            Work::Begin => write!(f, "begin"),
            Work::Backfill { meter_id, after, through } => {
                let through = through.as_ref().map_or_else(|| END.to_owned(), raw_place_text);
                write!(f, "backfill {meter_id} {} {through}", raw_place_text(after))
            }
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.stored_at_us, self.offset, self.meter)
    }
}

/// Where no place is named: to the last one.
const END: &str = "end";

fn raw_place_text(place: &RawPlace) -> String {
    format!("{}/{}/{:032x}", place.tenant, place.time_us, place.identity)
}

impl Intent {
    /// `None` for the empty metadata of a finished batch.
    pub fn read(metadata: &str) -> Result<Option<Self>, UnreadableIntent> {
        if metadata.is_empty() {
            return Ok(None);
        }
        parse(metadata)
            .map(Some)
            .ok_or_else(|| UnreadableIntent { text: metadata.chars().take(100).collect() })
    }
}

fn parse(metadata: &str) -> Option<Intent> {
    let mut words = metadata.split(' ');
    if words.next()? != "v1" {
        return None;
    }
    let stored_at_us = words.next()?.parse().ok()?;
    let meters = words.next()?.to_owned();
    let work = match words.next()? {
        "records" => Work::Records { last: words.next()?.parse().ok()? },
        "release" => Work::Release { after: place(words.next()?)?, through: place(words.next()?)? },
        "begin" => Work::Begin,
        "backfill" => Work::Backfill {
            meter_id: words.next()?.to_owned(),
            after: raw_place(words.next()?)?,
            through: match words.next()? {
                END => None,
                place => Some(raw_place(place)?),
            },
        },
        _ => return None,
    };
    words.next().is_none().then_some(Intent { stored_at_us, meters, work })
}

fn place(text: &str) -> Option<Place> {
    let mut parts = text.splitn(3, '/');
    Some(Place {
        stored_at_us: parts.next()?.parse().ok()?,
        offset: parts.next()?.parse().ok()?,
        meter: parts.next()?.to_owned(),
    })
}

fn raw_place(text: &str) -> Option<RawPlace> {
    let mut parts = text.splitn(3, '/');
    Some(RawPlace {
        tenant: parts.next()?.to_owned(),
        time_us: parts.next()?.parse().ok()?,
        identity: u128::from_str_radix(parts.next()?, 16).ok()?,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn places() -> impl Strategy<Value = Place> {
        (any::<i64>(), any::<i64>(), "[a-z0-9.-]{0,63}").prop_map(|(stored_at_us, offset, meter)| Place {
            stored_at_us,
            offset,
            meter,
        })
    }

    fn raw_places() -> impl Strategy<Value = RawPlace> {
        ("[a-z0-9-]{0,63}", any::<i64>(), any::<u128>()).prop_map(|(tenant, time_us, identity)| RawPlace {
            tenant,
            time_us,
            identity,
        })
    }

    fn intents() -> impl Strategy<Value = Intent> {
        let work = prop_oneof![
            any::<i64>().prop_map(|last| Work::Records { last }),
            (places(), places()).prop_map(|(after, through)| Work::Release { after, through }),
            Just(Work::Begin),
            ("mtr_[0-9a-z]{26}", raw_places(), prop::option::of(raw_places()))
                .prop_map(|(meter_id, after, through)| Work::Backfill { meter_id, after, through }),
        ];
        (any::<i64>(), "[0-9a-f]{32}", work).prop_map(|(stored_at_us, meters, work)| Intent {
            stored_at_us,
            meters,
            work,
        })
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back_and_fits(intent in intents()) {
            let metadata = intent.to_string();
            prop_assert!(metadata.len() <= INTENT_BYTES_MAX, "{}", metadata.len());
            prop_assert_eq!(Intent::read(&metadata), Ok(Some(intent)));
        }

        #[test]
        fn anything_else_is_named_and_never_taken_for_an_intent(text in "[ -~]{1,40}") {
            prop_assume!(!text.starts_with("v1 "));
            prop_assert!(Intent::read(&text).is_err());
        }
    }

    #[test]
    fn a_finished_batch_leaves_nothing() {
        assert_eq!(Intent::read(""), Ok(None));
    }
}
