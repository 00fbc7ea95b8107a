//! A meter's past: events of its type that came before the meter did, while other meters counted them.
//!
//! A partition writes down since when its batches count a meter (*begin*), before the first batch that does. Raw events of
//! the type that were stored before are the meter's past; it is counted in bounded pieces between batches, in the order of the
//! table's key. Both are batches like any other: an intent, an insert with a token, a commit. What a piece consists of is a
//! function of its intent, because nothing is ever stored under an instant before the beginning any more. So it happens
//! exactly once, and a crash in the middle is finished by whoever comes next. Events that no meter counted are in quarantine,
//! and their release counts them (`release`): they are not part of the past.
//!
//! A new owner must not store a batch by a catalogue that is older than the one the owner before it began meters by: it asks
//! for the catalogue when it takes over (`prepare`).

use std::{collections::HashMap, sync::Arc};

use meridian_billing::event::UsageEvent;
use meridian_usage_store::{
    Backfill, BackfillQuery, StoredEvent, UsageStoreError,
    rows::{BackfillRow, QuarantinedRow, RawPlace},
};

use crate::{
    catalogue::{Catalogue, Meter, Meters, Subscriptions},
    decide::{Counted, Decision, ReadEvent, quarantined, reason, value},
    flush::{Pause, Stopped, chain, prepare},
    intent::{Intent, Work},
    partition::Worker,
};

/// Raw events of one piece: so few that batches beside it keep their rhythm.
const PIECE_EVENTS: u32 = 10_000;

/// A piece: which meter's, from where, to where; `None` is to the end.
struct Piece {
    meter_id: String,
    after: RawPlace,
    through: Option<RawPlace>,
    events: Vec<StoredEvent>,
}

impl Worker {
    /// Writes down that meters which this partition did not count are counted from now on.
    pub(crate) async fn begin_meters(&mut self, position: i64, meters: &Arc<Meters>) -> Result<(), Stopped> {
        if meters.all().iter().all(|meter| self.backfills.contains_key(&meter.id)) {
            return Ok(());
        }
        self.keep_meters(meters).await?;
        let stored_at_us = self.next_stored_at();
        let intent = Intent { stored_at_us, meters: meters.hash().to_owned(), work: Work::Begin };
        self.carry_out_beginning(position, intent, meters).await
    }

    /// Now, or again after a crash.
    pub(crate) async fn carry_out_beginning(
        &mut self,
        position: i64,
        intent: Intent,
        meters: &Meters,
    ) -> Result<(), Stopped> {
        let begun_at_us = intent.stored_at_us;
        let has_past = self
            .stored(|| self.store.has_raw_events(&self.topic, self.assignment.partition, begun_at_us))
            .await?;
        let backfills = beginnings(meters, &self.backfills, begun_at_us, has_past);
        let known: Vec<Backfill> = backfills.iter().map(known).collect();
        let decision = Decision { backfills, ..Decision::default() };
        let prepared = prepare(&self.topic, self.assignment.partition, position, intent, decision);
        self.carry_out(prepared).await?;
        self.backfills.extend(known.into_iter().map(|backfill| (backfill.meter_id.clone(), backfill)));
        Ok(())
    }

    /// One piece of some meter's past; false when none is left.
    pub(crate) async fn backfill_piece(
        &mut self,
        position: i64,
        catalogue: &Catalogue,
    ) -> Result<bool, Stopped> {
        let meters = catalogue.meters.clone();
        let left = |meter: &&Meter| self.backfills.get(&meter.id).is_some_and(|backfill| !backfill.done);
        let Some(meter) = meters.all().iter().find(left) else { return Ok(false) };
        let _permit = self.permit().await;
        let after = self.backfills[&meter.id].through.clone();
        let events = self.past(meter, &after, None, Some(PIECE_EVENTS)).await?;
        let full = events.len() == PIECE_EVENTS as usize;
        let through = events.last().filter(|_| full).map(StoredEvent::place);
        self.keep_meters(&meters).await?;
        let intent = Intent {
            stored_at_us: self.next_stored_at(),
            meters: meters.hash().to_owned(),
            work: Work::Backfill {
                meter_id: meter.id.clone(),
                after: after.clone(),
                through: through.clone(),
            },
        };
        let piece = Piece { meter_id: meter.id.clone(), after, through, events };
        self.carry_out_piece(position, intent, piece, &meters, &catalogue.subscriptions).await?;
        Ok(true)
    }

    /// The piece that an intent names, after a crash.
    pub(crate) async fn backfill_again(
        &mut self,
        position: i64,
        intent: Intent,
        meters: &Arc<Meters>,
    ) -> Result<(), Stopped> {
        let Work::Backfill { meter_id, after, through } = intent.work.clone() else { return Ok(()) };
        let Some(meter) = meters.by_id(&meter_id).filter(|_| self.backfills.contains_key(&meter_id)) else {
            tracing::error!(
                meter_id,
                "the meter of a piece that was begun is not known; its past is counted anew"
            );
            return Ok(());
        };
        let subscriptions = self.fresh_catalogue().await?.subscriptions.clone();
        let _permit = self.permit().await;
        let events = self.past(meter, &after, through.as_ref(), None).await?;
        let piece = Piece { meter_id, after, through, events };
        self.carry_out_piece(position, intent, piece, meters, &subscriptions).await
    }

    async fn carry_out_piece(
        &mut self,
        position: i64,
        intent: Intent,
        piece: Piece,
        meters: &Arc<Meters>,
        subscriptions: &Arc<Subscriptions>,
    ) -> Result<(), Stopped> {
        let begun_at_us = self.backfills[&piece.meter_id].begun_at_us;
        let (topic, partition) = (self.topic.clone(), self.assignment.partition);
        let (meters, subscriptions) = (meters.clone(), subscriptions.clone());
        let (prepared, row) = tokio::task::spawn_blocking(move || {
            let decision = decide_past(piece, begun_at_us, &meters, &subscriptions);
            let row = decision.backfills[0].clone();
            (prepare(&topic, partition, position, intent, decision), row)
        })
        .await?;
        self.carry_out(prepared).await?;
        let BackfillRow { meter, events, done, .. } = &row;
        tracing::info!(partition, meter, events, done, "events of before a meter were counted for it");
        self.backfills.insert(row.meter_id.clone(), known(&row));
        Ok(())
    }

    async fn past(
        &self,
        meter: &Meter,
        after: &RawPlace,
        through: Option<&RawPlace>,
        limit: Option<u32>,
    ) -> Result<Vec<StoredEvent>, Stopped> {
        let query = BackfillQuery {
            topic: self.topic.clone(),
            partition: self.assignment.partition,
            meter: meter.name.clone(),
            tenant: meter.tenant.clone(),
            event_type: meter.spec.event_type.clone(),
            begun_at_us: self.backfills[&meter.id].begun_at_us,
            after: after.clone(),
            through: through.cloned(),
            limit,
        };
        self.stored(|| self.store.backfill_candidates(&query)).await
    }

    /// Asks ClickHouse until it answers, unless the program drains.
    pub(crate) async fn stored<T, F>(&self, ask: impl Fn() -> F) -> Result<T, Stopped>
    where
        F: Future<Output = Result<T, UsageStoreError>>,
    {
        let mut pause = Pause::default();
        loop {
            match ask().await {
                Ok(answer) => return Ok(answer),
                Err(error) => {
                    self.clickhouse_health.set_failing(chain(&error));
                    tracing::warn!(error = %chain(&error), "what is stored cannot be read; trying again");
                }
            }
            self.wait(&mut pause).await?;
        }
    }
}

/// A row for each meter that was not begun before.
fn beginnings(
    meters: &Meters,
    begun: &HashMap<String, Backfill>,
    begun_at_us: i64,
    has_past: bool,
) -> Vec<BackfillRow> {
    let new = meters.all().iter().filter(|meter| !begun.contains_key(&meter.id));
    new.map(|meter| BackfillRow {
        meter_id: meter.id.clone(),
        meter: meter.name.clone(),
        begun_at_us,
        through: RawPlace::default(),
        events: 0,
        done: !has_past,
    })
    .collect()
}

fn known(row: &BackfillRow) -> Backfill {
    Backfill {
        meter_id: row.meter_id.clone(),
        begun_at_us: row.begun_at_us,
        through: row.through.clone(),
        done: row.done,
    }
}

/// Pure, like `decide`: what one meter makes of the events of a piece, and how far it is then.
fn decide_past(piece: Piece, begun_at_us: i64, meters: &Meters, subscriptions: &Subscriptions) -> Decision {
    let Piece { meter_id, after, through, events } = piece;
    let mut decision = Decision::default();
    let read = events.len() as u64;
    let done = through.is_none();
    let last = through.or_else(|| events.last().map(StoredEvent::place)).unwrap_or(after);
    let meter = meters.by_id(&meter_id);
    for stored in events {
        let counting = meters.counting(&stored.tenant, &stored.event_type);
        // A tenant's own meter of the same name hides a shared one.
        let Some(meter) = counting.into_iter().find(|meter| meter.id == meter_id) else { continue };
        match sent(&stored) {
            Ok(event) => match value(meter, &event, stored.offset, subscriptions) {
                Counted::Row(row) => decision.processed.push(*row),
                Counted::Quarantined(row) => decision.quarantined.push(*row),
                Counted::Excluded => {}
            },
            Err(problem) => decision.quarantined.push(altered(stored, problem, meter)),
        }
    }
    decision.backfills.push(BackfillRow {
        meter: meter.map(|meter| meter.name.clone()).unwrap_or_default(),
        meter_id,
        begun_at_us,
        through: last,
        events: read,
        done,
    });
    decision
}

/// The event as it was sent, or why it is not that any more.
fn sent(stored: &StoredEvent) -> Result<ReadEvent, String> {
    let event: UsageEvent = stored.event().map_err(|error| error.to_string())?;
    let payload_hash = event.payload_hash();
    if payload_hash != stored.payload_hash {
        return Err("what is stored of the event is not what was sent".to_owned());
    }
    Ok(ReadEvent { identity: stored.identity, payload_hash, event })
}

fn altered(stored: StoredEvent, problem: String, meter: &Meter) -> QuarantinedRow {
    match stored.event() {
        Ok(event) => quarantined(&event, stored.offset, reason::ALTERED, problem, &meter.name),
        Err(_) => QuarantinedRow {
            tenant: stored.tenant,
            reason: reason::ALTERED.to_owned(),
            detail: problem,
            meter: meter.name.clone(),
            event_type: stored.event_type,
            source: stored.source,
            id: stored.id,
            payload: stored.properties.into_bytes(),
            offset: stored.offset,
        },
    }
}

#[cfg(test)]
mod tests;
