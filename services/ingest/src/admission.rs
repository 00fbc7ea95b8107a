//! Back-pressure: how much may be under way at once in this process. Nothing here waits: what does not fit is
//! refused at once with 503 and Retry-After, so that memory stays bounded and a client knows early.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::{config::Limits, refusal::Refusal};

/// Body bytes are counted in units of this size.
const BODY_UNIT_BYTES: usize = 1024;

#[derive(Clone)]
pub struct Admission {
    requests: Arc<Semaphore>,
    events: Arc<Semaphore>,
    body_units: Arc<Semaphore>,
}

/// A place that is given back when it is dropped.
#[must_use]
#[derive(Debug)]
pub struct Place(#[allow(dead_code, reason = "held for its drop")] Option<OwnedSemaphorePermit>);

impl Admission {
    pub fn new(limits: &Limits) -> Admission {
        Admission {
            requests: Arc::new(Semaphore::new(limits.requests_in_flight_max)),
            events: Arc::new(Semaphore::new(limits.events_in_flight_max)),
            body_units: Arc::new(Semaphore::new(limits.body_bytes_in_flight_max / BODY_UNIT_BYTES)),
        }
    }

    pub fn request(&self) -> Result<Place, Refusal> {
        take(&self.requests, 1)
    }

    pub fn events(&self, count: usize) -> Result<Place, Refusal> {
        take(&self.events, count)
    }

    /// Room for one body; empty at first, it grows as the body does.
    pub fn body(&self) -> BodyRoom {
        BodyRoom { units: self.body_units.clone(), held: None, held_bytes: 0 }
    }
}

fn take(of: &Arc<Semaphore>, count: usize) -> Result<Place, Refusal> {
    if count == 0 {
        return Ok(Place(None));
    }
    let count = u32::try_from(count).map_err(|_| Refusal::Overloaded)?;
    let permit = of.clone().try_acquire_many_owned(count).map_err(|_| Refusal::Overloaded)?;
    Ok(Place(Some(permit)))
}

/// What one body holds of the bytes that all bodies share.
#[derive(Debug)]
pub struct BodyRoom {
    units: Arc<Semaphore>,
    held: Option<OwnedSemaphorePermit>,
    held_bytes: usize,
}

impl BodyRoom {
    pub fn held_bytes(&self) -> usize {
        self.held_bytes
    }

    /// Makes room for `bytes` altogether.
    pub fn reach(&mut self, bytes: usize) -> Result<(), Refusal> {
        if bytes <= self.held_bytes {
            return Ok(());
        }
        let units = (bytes - self.held_bytes).div_ceil(BODY_UNIT_BYTES);
        let more =
            self.units.clone().try_acquire_many_owned(units as u32).map_err(|_| Refusal::Overloaded)?;
        self.held_bytes += units * BODY_UNIT_BYTES;
        match &mut self.held {
            Some(held) => held.merge(more),
            None => self.held = Some(more),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tight() -> Admission {
        Admission::new(&Limits {
            requests_in_flight_max: 2,
            events_in_flight_max: 10,
            body_bytes_in_flight_max: 8 * 1024,
            ..Limits::default()
        })
    }

    #[test]
    fn a_place_is_free_again_when_its_holder_is_gone() {
        let admission = tight();
        let first = admission.request().unwrap();
        let second = admission.request().unwrap();
        assert_eq!(admission.request().unwrap_err(), Refusal::Overloaded);
        drop(first);
        assert!(admission.request().is_ok());
        drop(second);
        let events = admission.events(10).unwrap();
        assert!(admission.events(0).is_ok());
        assert_eq!(admission.events(1).unwrap_err(), Refusal::Overloaded);
        drop(events);
        assert!(admission.events(1).is_ok());
    }

    #[test]
    fn bodies_share_their_bytes_as_they_grow() {
        let admission = tight();
        let mut first = admission.body();
        let mut second = admission.body();
        first.reach(1).unwrap();
        first.reach(5 * 1024).unwrap();
        second.reach(3 * 1024).unwrap();
        assert_eq!(second.reach(3 * 1024 + 1), Err(Refusal::Overloaded));
        drop(first);
        assert_eq!(second.reach(8 * 1024), Ok(()));
    }
}
