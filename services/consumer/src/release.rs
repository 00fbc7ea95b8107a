//! Quarantined events that can be decided now: a meter was made for their type, or a release reads what an older one could not.
//!
//! Each owner looks through its partition's quarantine when it takes over and whenever the meters change (`settle`), in bounded
//! pieces between batches. A piece is a batch like any other: an intent (from one place of the quarantine to another, under which
//! meters), inserts with a token, a commit. What it consists of is a function of the intent: the rows between the two
//! places that were not released before it. So it happens exactly once, and a crash in the middle is finished by whoever
//! comes next. The quarantined row stays as it is; a row in `quarantine_releases` says what became of it.
//!
//! Events whose bytes could not be read (`malformed`) stay: there is nothing to decide. Producing corrected bytes to the
//! topic, or to the receive path, is their replay.

use meridian_billing::event::UsageEvent;
use meridian_usage_store::{
    ReleaseCandidate, ReleaseQuery,
    rows::{QuarantinedRow, ReleaseRow},
};

use crate::{
    catalogue::{Catalogue, Meter, Meters, Subscriptions},
    decide::{Counted, Decision, ReadEvent, reason, value},
    flush::{Stopped, prepare},
    intent::{Intent, Place, Work},
    partition::{Sweep, Worker},
};

/// Quarantined rows of one piece.
const PIECE_ROWS: u32 = 2_000;

impl Worker {
    /// One piece of the quarantine; false when all of it was looked through by these meters.
    pub(crate) async fn release_piece(
        &mut self,
        position: i64,
        catalogue: &Catalogue,
    ) -> Result<bool, Stopped> {
        let meters = catalogue.meters.clone();
        let after = match &self.sweeping {
            Some(Sweep { meters: hash, through: Some(place) }) if hash == meters.hash() => place.clone(),
            Some(Sweep { meters: hash, through: None }) if hash == meters.hash() => return Ok(false),
            _ => Place::default(),
        };
        let stored_at_us = self.next_stored_at();
        let candidates = self.candidates(&meters, &after, None, stored_at_us).await?;
        let through = candidates.last().map(place);
        if let Some(through) = &through {
            let decision = decide_again(candidates, &meters, &catalogue.subscriptions);
            if !decision.releases.is_empty() {
                let count = decision.releases.len();
                self.keep_meters(&meters).await?;
                let work = Work::Release { after, through: through.clone() };
                let intent = Intent { stored_at_us, meters: meters.hash().to_owned(), work };
                self.carry_out_release(position, intent, decision).await?;
                tracing::info!(
                    partition = self.assignment.partition,
                    count,
                    "quarantined events decided by the new catalogue"
                );
            }
        }
        self.sweeping = Some(Sweep { meters: meters.hash().to_owned(), through });
        Ok(true)
    }

    /// The piece that an intent names, after a crash.
    pub(crate) async fn release_again(
        &mut self,
        position: i64,
        intent: Intent,
        meters: &Meters,
    ) -> Result<(), Stopped> {
        let Work::Release { after, through } = &intent.work else { return Ok(()) };
        let candidates = self.candidates(meters, after, Some(through), intent.stored_at_us).await?;
        let subscriptions = self.fresh_catalogue().await?.subscriptions.clone();
        let decision = decide_again(candidates, meters, &subscriptions);
        self.carry_out_release(position, intent, decision).await
    }

    async fn carry_out_release(
        &mut self,
        position: i64,
        intent: Intent,
        decision: Decision,
    ) -> Result<(), Stopped> {
        let _permit = self.permit().await;
        let prepared = prepare(&self.topic, self.assignment.partition, position, intent, decision);
        self.carry_out(prepared).await
    }

    async fn candidates(
        &self,
        meters: &Meters,
        after: &Place,
        through: Option<&Place>,
        released_before_us: i64,
    ) -> Result<Vec<ReleaseCandidate>, Stopped> {
        let query = ReleaseQuery {
            topic: self.topic.clone(),
            partition: self.assignment.partition,
            event_types: meters.event_types(),
            after: (after.stored_at_us, after.offset, after.meter.clone()),
            through: through.map(|place| (place.stored_at_us, place.offset, place.meter.clone())),
            released_before_us,
            limit: PIECE_ROWS,
        };
        self.stored(|| self.store.release_candidates(&query)).await
    }
}

fn place(candidate: &ReleaseCandidate) -> Place {
    Place { stored_at_us: candidate.stored_at_us, offset: candidate.offset, meter: candidate.meter.clone() }
}

/// Pure, like `decide`: rows for what can be decided now. What stays as it is leaves no row.
pub fn decide_again(
    candidates: Vec<ReleaseCandidate>,
    meters: &Meters,
    subscriptions: &Subscriptions,
) -> Decision {
    let mut decision = Decision::default();
    for candidate in candidates {
        // These bytes were an event once; a release that cannot read them any more leaves them where they are.
        let Ok(event) = UsageEvent::from_canonical_json(&candidate.payload) else { continue };
        if reason::is_final(&candidate.reason) {
            continue;
        }
        let read = ReadEvent { identity: event.identity_hash(), payload_hash: event.payload_hash(), event };
        let counting = meters.counting(read.event.tenant.as_str(), &read.event.event_type);
        let unknown = candidate.reason == reason::UNKNOWN_METER;
        let deciding: Vec<&Meter> =
            counting.into_iter().filter(|m| unknown || m.name == candidate.meter).collect();
        let counted: Vec<Counted> =
            deciding.iter().map(|meter| value(meter, &read, candidate.offset, subscriptions)).collect();
        release(candidate, counted, &mut decision);
    }
    decision
}

/// Takes over what the meters said of one quarantined row, unless it is what was said before.
fn release(candidate: ReleaseCandidate, counted: Vec<Counted>, decision: &mut Decision) {
    let unchanged = |row: &QuarantinedRow| row.reason == candidate.reason && row.meter == candidate.meter;
    let stays = counted.is_empty()
        || counted.iter().any(|c| matches!(c, Counted::Quarantined(row) if unchanged(row)));
    if stays {
        return;
    }
    let mut outcome = "not-counted";
    for counted in counted {
        match counted {
            Counted::Row(row) => {
                outcome = "processed";
                decision.processed.push(*row);
            }
            Counted::Quarantined(row) => {
                if outcome == "not-counted" {
                    outcome = "quarantined-again";
                }
                decision.quarantined.push(*row);
            }
            Counted::Excluded => {}
        }
    }
    decision.releases.push(ReleaseRow {
        quarantined_at_us: candidate.stored_at_us,
        meter: candidate.meter,
        outcome: outcome.to_owned(),
        offset: candidate.offset,
    });
}
