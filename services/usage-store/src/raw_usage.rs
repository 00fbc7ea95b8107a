//! What a meter comes to when it is computed from what was sent, beside what the store says it comes to.
//!
//! `prove` asks whether the roll-ups are what was processed. This asks the question before it: whether what was processed is what
//! the meter, as it is now, makes of the raw events. Nothing that the consumer decided is believed: each raw event's payload is
//! read again, checked against the hash that was taken when it came, and given to the meter. So the two sides differ
//! while a new meter's past is being counted, where the meter was another one when the events came, and where something was lost
//! or changed.
//!
//! It reads every event of the type and customer in the range, and of a meter that is never reset all before it: for audits,
//! never for invoices. Bounded by [`RAW_EVENTS_MAX`].

use meridian_billing::{
    catalogue::{MeterSpec, ResetPolicy},
    decimal::Quantity,
    event::UsageEvent,
    ids::CustomerKey,
    meter::{Contribution, MergeError, Partial, quantity_of},
    period::Period,
};

use crate::{
    error::{Doing, UsageStoreError},
    metered_usage::{MeteredKey, MeteredUsage},
    period_usage::{TIME_MAX_US, instant},
    scope::Scope,
    store::{UsageStore, answered},
    stored_event::{COLUMNS, StoredEvent},
};

/// Most raw events that one proof reads.
pub const RAW_EVENTS_MAX: u64 = 1_000_000;
const DOING: &str = "reading raw events";

/// Whose usage of which meter, when, as of when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UsageProofQuery {
    pub meter: String,
    pub spec: MeterSpec,
    pub customer: CustomerKey,
    pub period: Period,
    /// Live, a batch that is being stored is raw already and not processed yet.
    pub stored_before_us: Option<i64>,
}

/// The same usage, twice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UsageProof {
    /// As it would be billed.
    pub from_rollups: MeteredUsage,
    pub from_raw: MeteredUsage,
    /// Raw events that the meter counts and cannot use: they are in quarantine, and on neither side.
    pub unusable: u64,
    /// Raw events whose content is not what their hash was taken of: must be 0.
    pub altered: u64,
}

impl UsageProof {
    pub fn equal(&self) -> bool {
        self.from_rollups == self.from_raw && self.altered == 0
    }
}

/// Why there is no proof.
#[derive(Debug, thiserror::Error)]
pub enum UsageProofError {
    #[error("the proof would read more than {RAW_EVENTS_MAX} events: take a shorter range")]
    TooManyEvents,
    #[error("the usage cannot be told: {0}")]
    Unmeasurable(#[from] MergeError),
    #[error(transparent)]
    Store(#[from] UsageStoreError),
}

impl UsageStore {
    /// Reads both sides. The period may begin and end anywhere.
    pub async fn prove_usage(
        &self,
        scope: &Scope,
        query: &UsageProofQuery,
    ) -> Result<UsageProof, UsageProofError> {
        let UsageProofQuery { meter, spec, customer, period, stored_before_us } = query;
        let key = MeteredKey {
            tenant: scope.tenant().to_string(),
            customer: customer.to_string(),
            meter: meter.clone(),
            spec: spec.clone(),
            period: *period,
        };
        let tally = self.tally(scope, query).await?;
        let rollups = self.metered_usage(&[key], *stored_before_us).await?;
        let from_rollups = rollups.into_iter().next().ok_or_else(|| unreadable("no answer to a key"))?;
        Ok(tally.beside(from_rollups, spec, *period))
    }

    async fn tally(&self, scope: &Scope, query: &UsageProofQuery) -> Result<Tally, UsageProofError> {
        let text = question(query);
        let client = scope.client(&self.client);
        let question = client
            .query(&text)
            .bind(scope.tenant().as_str())
            .bind(&query.spec.event_type)
            .bind(query.customer.as_str());
        let mut rows = question.fetch::<StoredEvent>().doing(DOING)?;
        let (mut tally, mut read) = (Tally::new(&query.spec), 0_u64);
        while let Some(row) = answered(DOING, rows.next()).await? {
            read += 1;
            if read > RAW_EVENTS_MAX {
                return Err(UsageProofError::TooManyEvents);
            }
            let event = row.event().map_err(unreadable)?;
            tally.take(&event, row.payload_hash, &query.spec, query.period)?;
        }
        Ok(tally)
    }
}

fn unreadable(problem: impl ToString) -> UsageStoreError {
    UsageStoreError::Unreadable { doing: DOING, problem: problem.to_string() }
}

/// The question's text. What varies in it are numbers of ours; names are bound.
fn question(query: &UsageProofQuery) -> String {
    let start_us = match query.spec.reset {
        ResetPolicy::EachPeriod => query.period.start.as_microsecond().clamp(0, TIME_MAX_US),
        ResetPolicy::Never => 0,
    };
    let end_us = query.period.end.as_microsecond().clamp(start_us, TIME_MAX_US);
    let stored = query.stored_before_us.map(|us| us.clamp(0, TIME_MAX_US));
    let stored = stored.map(|us| format!("AND stored_at < {}", instant(us))).unwrap_or_default();
    format!(
        "SELECT {COLUMNS}
         FROM raw_events
         WHERE tenant = ? AND type = ? AND customer = ? AND time >= {} AND time < {} {stored}
         LIMIT {}",
        instant(start_us),
        instant(end_us),
        RAW_EVENTS_MAX + 1
    )
}

/// What the meter makes of the events so far, in whatever order they come.
struct Tally {
    before: Partial,
    within: Partial,
    events: u64,
    unusable: u64,
    altered: u64,
}

impl Tally {
    fn new(spec: &MeterSpec) -> Self {
        let empty = || Partial::empty(spec.aggregation);
        Self { before: empty(), within: empty(), events: 0, unusable: 0, altered: 0 }
    }

    fn take(
        &mut self,
        event: &UsageEvent,
        payload_hash: u64,
        spec: &MeterSpec,
        period: Period,
    ) -> Result<(), MergeError> {
        if event.payload_hash() != payload_hash {
            // A time that no table holds is stored as the nearest that one does; its event was quarantined for it.
            let moved = event.time_us == 0 || event.time_us == TIME_MAX_US - 1;
            self.altered += u64::from(!moved);
            return Ok(());
        }
        match quantity_of(spec, event) {
            Ok(Some(contribution)) => self.count(&contribution, spec, period),
            Ok(None) => Ok(()),
            Err(_quarantined_with_its_reason) => {
                self.unusable += 1;
                Ok(())
            }
        }
    }

    fn count(&mut self, counted: &Contribution, spec: &MeterSpec, period: Period) -> Result<(), MergeError> {
        let partial = Partial::of(spec.aggregation, counted);
        let sum = if counted.time_us < period.start.as_microsecond() {
            &mut self.before
        } else {
            self.events += 1;
            &mut self.within
        };
        let before = std::mem::replace(sum, Partial::empty(spec.aggregation));
        *sum = before.merge(partial)?;
        Ok(())
    }

    fn beside(self, from_rollups: MeteredUsage, spec: &MeterSpec, period: Period) -> UsageProof {
        let Self { before, within, events, unusable, altered } = self;
        let level = before.carry(Quantity::ZERO, spec);
        let quantity = level.and_then(|level| within.finish_from(level, spec, period));
        UsageProof { from_rollups, from_raw: MeteredUsage { events, quantity }, unusable, altered }
    }
}
