//! Which drafts become events. Pure: the clock and new ids are arguments.
//!
//! The tenant is the credential's, whatever a body says. Identity (ruling C3): the event's own id, else its
//! idempotency key, else the `Idempotency-Key` header (with the index in a batch), else an id of ours, and then the
//! answer says that the event is not idempotent.

use std::sync::Arc;

use meridian_billing::event::{EventLimits, EventOrigin};
use meridian_buffer::EventRecord;

use crate::decode::{Decoded, Draft, EventRefusal, Shape};

/// A request's events, judged: `verdicts` in the order in which they were sent, `records` what is to be stored.
#[derive(Debug)]
pub struct Judged {
    pub records: Vec<EventRecord>,
    pub verdicts: Vec<Verdict>,
}

#[derive(Clone, Debug)]
pub enum Verdict {
    /// To be stored: `Judged::records[record]`.
    Good {
        record: usize,
        idempotent: bool,
    },
    Bad {
        id: Option<Arc<str>>,
        refusal: EventRefusal,
    },
}

/// What a request brings besides its events.
pub struct Circumstances<'a> {
    pub origin: &'a EventOrigin,
    pub limits: &'a EventLimits,
    pub received_at_us: i64,
    /// The `Idempotency-Key` header.
    pub idempotency_key: Option<&'a str>,
}

pub fn judge(
    decoded: Decoded,
    circumstances: &Circumstances<'_>,
    mut new_id: impl FnMut() -> String,
) -> Judged {
    let mut judged = Judged { records: Vec::with_capacity(decoded.drafts.len()), verdicts: Vec::new() };
    for (index, draft) in decoded.drafts.into_iter().enumerate() {
        let verdict = match draft {
            Err(refusal) => Verdict::Bad { id: None, refusal },
            Ok(mut draft) => {
                let idempotent = draft.event.id.is_some() || circumstances.idempotency_key.is_some();
                let id = draft.event.id.take();
                let id = id.or_else(|| header_id(circumstances.idempotency_key, decoded.shape, index));
                let id: String = id.unwrap_or_else(&mut new_id);
                draft.event.id = Some(id.clone());
                match accept(draft, circumstances) {
                    Ok(record) => {
                        judged.records.push(record);
                        Verdict::Good { record: judged.records.len() - 1, idempotent }
                    }
                    // An id of ours means nothing to the sender of an event that was not taken.
                    Err(refusal) => Verdict::Bad { id: idempotent.then(|| bounded(id)), refusal },
                }
            }
        };
        judged.verdicts.push(verdict);
    }
    judged
}

fn accept(draft: Draft, circumstances: &Circumstances<'_>) -> Result<EventRecord, EventRefusal> {
    let Circumstances { origin, limits, received_at_us, .. } = circumstances;
    let other = |named: &Option<String>, own: &str| named.as_deref().is_some_and(|named| named != own);
    if other(&draft.tenant, origin.tenant.as_str()) {
        return Err(EventRefusal::new("wrong_tenant", "tenant", "is not the tenant of this API key"));
    }
    if other(&draft.project, origin.project.as_str()) {
        return Err(EventRefusal::new("wrong_project", "project", "is not the project of this API key"));
    }
    let event = draft.event.validate(origin, limits, *received_at_us)?;
    Ok(EventRecord::of(&event))
}

/// Every event of a batch needs an id of its own.
fn header_id(key: Option<&str>, shape: Shape, index: usize) -> Option<String> {
    key.map(|key| match shape {
        Shape::Single => key.to_owned(),
        Shape::Batch => format!("{key}:{index}"),
    })
}

/// An id that was refused may be of any length; the answer repeats only so much of it.
fn bounded(id: String) -> Arc<str> {
    id.chars().take(256).collect::<String>().into()
}

#[cfg(test)]
mod tests;
