//! The usage of each metered price of a period, from what the file says.

use jiff::Timestamp;
use meridian_billing::{
    catalogue::{AggregationKind, MeterSpec},
    decimal::Quantity,
    ids::MeterName,
    invoice::{BilledSegment, Metered, PriceUsage, metered},
    measure::measure,
    meter::Contribution,
    price::{Usage, UsageShape},
};

use crate::{
    SimulateError,
    catalogue_file::Catalogue,
    usage_file::{MeterUsage, UsageKind},
};

/// All usage of the file, with a time for everything that has one.
pub struct Known<'a> {
    catalogue: &'a Catalogue,
    usage: &'a [MeterUsage],
    zone: String,
    /// Where events without a time lie: in the one period, if there is one.
    only_period: Option<Timestamp>,
}

impl<'a> Known<'a> {
    pub fn new(catalogue: &'a Catalogue, usage: &'a [MeterUsage], only_period: Option<Timestamp>) -> Self {
        let zone = catalogue.subscription.as_ref().map_or("UTC", |subscription| &subscription.time_zone);
        Self { catalogue, usage, zone: zone.to_owned(), only_period }
    }

    pub fn zone(&self) -> &str {
        &self.zone
    }

    /// What every metered price of the period is told: usage before `until`, if that is given.
    pub fn of_period(
        &self,
        segments: &[BilledSegment],
        until: Option<Timestamp>,
    ) -> Result<Vec<PriceUsage>, SimulateError> {
        let charges = metered(segments)
            .map_err(|error| SimulateError::new(format!("Plan: spec.{}", error.field), error.detail))?;
        charges.iter().map(|charge| self.of_charge(charge, &charges, until)).collect()
    }

    fn of_charge(
        &self,
        charge: &Metered,
        all: &[Metered],
        until: Option<Timestamp>,
    ) -> Result<PriceUsage, SimulateError> {
        let Metered { plan, price, meter, shape, spans, whole } = charge;
        let spec = self.catalogue.meters.get(meter);
        let contributions: Vec<Contribution> = self
            .contributions(meter)?
            .into_iter()
            .filter(|contribution| until.is_none_or(|until| contribution.time_us < until.as_microsecond()))
            .collect();
        let contributions: Vec<&Contribution> = contributions.iter().collect();
        let in_usage =
            |error: &dyn std::fmt::Display| SimulateError::new(format!("usage of meter {meter}"), error);
        let given = self.given(charge, all, spec, !contributions.is_empty())?;
        let (usage, events) = match (spec, given) {
            (Some(spec), given) if given.is_none() || !contributions.is_empty() => {
                let measured = measure(spec, shape, spans, *whole, &self.zone, &contributions)
                    .map_err(|error| in_usage(&error))?;
                let usage = match (measured.usage, given) {
                    (Usage::Total(counted), Some(given)) => {
                        Usage::Total(counted.checked_add(given).map_err(|error| in_usage(&error))?)
                    }
                    (usage, _) => usage,
                };
                (usage, measured.events)
            }
            (_, Some(given)) => (Usage::Total(given), 0),
            (Some(_) | None, None) => (nothing(shape), 0),
        };
        Ok(PriceUsage {
            plan: plan.clone(),
            price: price.clone(),
            usage,
            billed_before: self.billed_before(charge)?,
            discounted_before: None,
            events,
            meter_version: 1,
            unit: spec.and_then(|spec| spec.unit.clone()),
        })
    }

    /// Everything that the file says of the meter's events and buckets.
    fn contributions(&self, meter: &MeterName) -> Result<Vec<Contribution>, SimulateError> {
        let mut all = Vec::new();
        for MeterUsage { meter: of, place, kind, billed_before: _ } in self.usage {
            let UsageKind::Contributions(contributions) = kind else { continue };
            if of != meter {
                continue;
            }
            for (index, (time, contribution)) in contributions.iter().enumerate() {
                let Some(at) = time.or(self.only_period) else {
                    let field = format!("{place}.events[{index}].time");
                    return Err(SimulateError::new(field, "is needed where there are several periods"));
                };
                all.push(Contribution { time_us: at.as_microsecond(), ..contribution.clone() });
            }
        }
        Ok(all)
    }

    /// The sum of the quantities that the file gives for the meter; none where it gives none.
    fn given(
        &self,
        charge: &Metered,
        all: &[Metered],
        spec: Option<&MeterSpec>,
        counted: bool,
    ) -> Result<Option<Quantity>, SimulateError> {
        let mut sum = None;
        for MeterUsage { meter, place, kind, billed_before: _ } in self.usage {
            let UsageKind::Quantity(quantity) = kind else { continue };
            if *meter != charge.meter {
                continue;
            }
            let wrong = |problem: String| Err(SimulateError::new(format!("{place}.quantity"), problem));
            if self.only_period.is_none() {
                return wrong(
                    "which of the periods is it of? Give events with times, or one period with --period"
                        .to_owned(),
                );
            }
            if charge.shape != UsageShape::Total {
                let problem =
                    format!("price {} looks closer than at a total: give events or buckets", charge.price);
                return wrong(problem);
            }
            let times =
                all.iter().filter(|other| other.plan != charge.plan && other.price == charge.price).count();
            if times > 0 || all.iter().filter(|other| other.price == charge.price).count() > 1 {
                return wrong("the terms change within the period: give events with times".to_owned());
            }
            let adds_up = spec
                .is_none_or(|spec| matches!(spec.aggregation, AggregationKind::Sum | AggregationKind::Count));
            if counted && !adds_up {
                return wrong(
                    "a quantity and events together mean something only where quantities add up".to_owned(),
                );
            }
            let before: Quantity = sum.unwrap_or_default();
            sum = Some(before.checked_add(*quantity).map_err(|error| SimulateError::new(place, error))?);
        }
        Ok(sum)
    }

    fn billed_before(&self, charge: &Metered) -> Result<Option<Usage>, SimulateError> {
        let mut sum: Option<Quantity> = None;
        for MeterUsage { meter, place, kind: _, billed_before } in self.usage {
            let Some(quantity) = billed_before.filter(|_| *meter == charge.meter) else { continue };
            let field = format!("{place}.billedBefore");
            if charge.shape != UsageShape::Total || self.only_period.is_none() {
                let problem = "says something of one period's total only: use thresholds of a Subscription";
                return Err(SimulateError::new(field, problem));
            }
            let before = sum.unwrap_or_default();
            sum = Some(before.checked_add(quantity).map_err(|error| SimulateError::new(field, error))?);
        }
        Ok(sum.map(Usage::Total))
    }

    /// When usage changed within the period, in order, each time once.
    pub fn times(&self, segments: &[BilledSegment]) -> Result<Vec<Timestamp>, SimulateError> {
        let charges = metered(segments)
            .map_err(|error| SimulateError::new(format!("Plan: spec.{}", error.field), error.detail))?;
        let mut times = std::collections::BTreeSet::new();
        for charge in &charges {
            for contribution in self.contributions(&charge.meter)? {
                let at = Timestamp::from_microsecond(contribution.time_us)
                    .map_err(|error| SimulateError::new("usage", error))?;
                if charge.spans.iter().any(|span| span.contains(at)) {
                    times.insert(at);
                }
            }
        }
        Ok(times.into_iter().collect())
    }
}

/// No usage, in the shape that was asked for.
fn nothing(shape: &UsageShape) -> Usage {
    match shape {
        UsageShape::Total => Usage::Total(Quantity::ZERO),
        UsageShape::Buckets { .. } => Usage::Buckets(Vec::new()),
        UsageShape::Groups { .. } => Usage::Groups(Vec::new()),
        UsageShape::Transactions => Usage::Transactions(Vec::new()),
    }
}
