//! What is billed: periods, their segments, and what the next period will be. Made by timeline.rs, read by invoice.rs, and
//! stored with an invoice's input, so the shapes are part of what recomputes byte for byte. No rule lives here but one:
//! a paused segment is charged nothing.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{
    proration::Position,
    share::Share,
    terms::{AddOn, Terms},
};
use crate::{
    decimal::Quantity,
    ids::{PlanName, PriceName},
    period::{Period, PeriodError},
};

/// One period as it is billed, by one invoice.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BillingPeriod {
    /// Cut where billing starts, where the subscription ends, or where a plan of another interval begins.
    pub period: Period,
    /// The schedule's whole period that it is part of.
    pub scheduled: Period,
    /// In order of time; they tile `period`. Neighbours differ in something.
    pub segments: Vec<Segment>,
    /// No invoice came before this period's.
    pub first: bool,
    /// The plans that were in force when the period before ended: what is charged once was charged with them.
    pub plans_before: Vec<PlanName>,
    /// None when the subscription ends with this period.
    pub next: Option<NextPeriod>,
}

/// The next period as this one's invoice foresees it, to charge in advance: whole but for an end that is known, under the terms
/// that changes before this period's end leave in force at its start. A change at that very instant counts only where it
/// starts the next period's schedule, so that `scheduled` and `segment.period.start` are always those of the next period;
/// what comes later is prorated by the next period's own invoice.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NextPeriod {
    pub scheduled: Period,
    /// All of the next period, as one segment.
    pub segment: Segment,
}

/// A part of a period throughout which the same terms are in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Segment {
    pub period: Period,
    pub plan: PlanName,
    pub add_ons: Vec<AddOn>,
    /// How often a price's flat amount is charged; prices that are not here, once.
    pub quantities: BTreeMap<PriceName, Quantity>,
    pub state: SegmentState,
    /// Of the scheduled period, paused or not; [`Segment::charged_share`] is what is charged for.
    pub share: Share,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SegmentState {
    Active,
    Paused,
}

impl BillingPeriod {
    /// The same period with its segments cut at these instants, as where a plan's next version begins to hold at once. Instants
    /// that lie on no segment's inside cut nothing.
    pub fn cut(self, at: &[Timestamp], terms: &Terms) -> Result<Self, PeriodError> {
        let Self { period, scheduled, segments, first, plans_before, next } = self;
        let mut cut = Vec::with_capacity(segments.len());
        for segment in segments {
            let inside = |at: &&Timestamp| segment.period.start < **at && **at < segment.period.end;
            let mut ends: Vec<Timestamp> = at.iter().filter(inside).copied().collect();
            ends.sort();
            ends.dedup();
            let mut start = segment.period.start;
            for end in ends.into_iter().chain([segment.period.end]) {
                let part = Period { start, end };
                let position = if start == period.start { Position::First } else { Position::Later };
                let share = terms.proration.share(&part, &scheduled, position, &terms.zone)?;
                cut.push(Segment { period: part, share, ..segment.clone() });
                start = end;
            }
        }
        Ok(Self { period, scheduled, segments: cut, first, plans_before, next })
    }
}

impl Segment {
    /// The share of flat amounts that this segment is charged: nothing while paused.
    pub fn charged_share(&self) -> Share {
        match self.state {
            SegmentState::Active => self.share,
            SegmentState::Paused => Share::NOTHING,
        }
    }
}
