//! The usage of each metered price of a period, from what the file says.

use std::borrow::Cow;

use jiff::Timestamp;
use meridian_billing::{
    catalogue::{AggregationKind, MeterSpec},
    decimal::{Decimal, Quantity},
    ids::MeterName,
    invoice::{Metered, PriceUsage, check_add_ons, metered},
    measure::{Window, measure},
    meter::Contribution,
    period::Period,
    price::{Usage, UsageShape},
};

use crate::{
    SimulateError,
    catalogue_file::Catalogue,
    periods::BilledPeriod,
    usage_file::{MeterUsage, UsageKind},
};

/// All usage of the file, with a time for everything that has one.
pub struct Known<'a> {
    catalogue: &'a Catalogue,
    usage: &'a [MeterUsage],
    zone: String,
    /// The one period whose invoice is asked for, if it is one: of it are quantities, and events without a time.
    only_period: Option<Period>,
}

impl<'a> Known<'a> {
    pub fn new(catalogue: &'a Catalogue, usage: &'a [MeterUsage], only_period: Option<Period>) -> Self {
        let zone = catalogue.subscription.as_ref().map_or("UTC", |subscription| &subscription.time_zone);
        Self { catalogue, usage, zone: zone.to_owned(), only_period }
    }

    pub fn zone(&self) -> &str {
        &self.zone
    }

    /// What every metered price of the period is told: usage before `until`, if that is given.
    pub fn of_period(
        &self,
        billed: &BilledPeriod,
        until: Option<Timestamp>,
    ) -> Result<Vec<PriceUsage>, SimulateError> {
        let charges = charges(billed)?;
        charges.iter().map(|charge| self.of_charge(charge, billed.period, until)).collect()
    }

    fn of_charge(
        &self,
        charge: &Metered,
        period: Period,
        until: Option<Timestamp>,
    ) -> Result<PriceUsage, SimulateError> {
        let Metered { plan, price, meter, shape, spans, whole, since } = charge;
        let spec = self.catalogue.meters.get(meter);
        self.check_times(charge, period)?;
        self.check_buckets(charge)?;
        let contributions: Vec<Contribution> = self
            .contributions(meter)?
            .into_iter()
            .filter(|contribution| until.is_none_or(|until| contribution.time_us < until.as_microsecond()))
            .collect();
        let contributions: Vec<&Contribution> = contributions.iter().collect();
        let in_usage =
            |error: &dyn std::fmt::Display| SimulateError::new(format!("usage of meter {meter}"), error);
        let given = self.given(charge, period, spec, !contributions.is_empty())?;
        let (usage, events) = match (spec, given) {
            (Some(spec), given) if given.is_none() || !contributions.is_empty() => {
                let window = Window { spans, whole: *whole, since: *since };
                let measured =
                    measure(&self.as_counted(meter, spec), shape, window, &self.zone, &contributions)
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
            billed_before: self.billed_before(charge, period)?,
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
            if of != meter {
                continue;
            }
            let factor = match kind {
                UsageKind::Quantity(_) | UsageKind::Buckets(_) => None,
                UsageKind::Events(_) => self.multiplied_before(meter),
            };
            for (index, (time, contribution)) in kind.contributions().iter().enumerate() {
                let Some(at) = time.or(self.only_period.map(|period| period.start)) else {
                    let field = format!("{place}.events[{index}].time");
                    return Err(SimulateError::new(field, "is needed where there are several periods"));
                };
                let counted = contribution.quantity.0;
                let counted = factor.map_or(Ok(counted), |factor| counted.checked_mul(factor));
                let quantity = counted.map(Quantity).map_err(|error| SimulateError::new(place, error))?;
                all.push(Contribution { time_us: at.as_microsecond(), quantity, ..contribution.clone() });
            }
        }
        Ok(all)
    }

    /// Buckets are what the meter made of some time: its multiplier is in them, and must not come upon them again. Where a file has
    /// buckets of a meter, its events are multiplied one by one, and the sum of both is not.
    fn multiplied_before(&self, meter: &MeterName) -> Option<Decimal> {
        let has_buckets = self
            .usage
            .iter()
            .any(|usage| usage.meter == *meter && matches!(usage.kind, UsageKind::Buckets(_)));
        self.catalogue.meters.get(meter).and_then(|spec| spec.multiplier).filter(|_| has_buckets)
    }

    fn as_counted<'m>(&self, meter: &MeterName, spec: &'m MeterSpec) -> Cow<'m, MeterSpec> {
        match self.multiplied_before(meter) {
            Some(_) => Cow::Owned(MeterSpec { multiplier: None, ..spec.clone() }),
            None => Cow::Borrowed(spec),
        }
    }

    /// A bucket is the sum of nobody knows how many payments.
    fn check_buckets(&self, charge: &Metered) -> Result<(), SimulateError> {
        let buckets = self
            .usage
            .iter()
            .find(|usage| usage.meter == charge.meter && matches!(usage.kind, UsageKind::Buckets(_)));
        match (&charge.shape, buckets) {
            (UsageShape::Transactions, Some(usage)) => {
                Err(SimulateError::new(format!("{}.buckets", usage.place), looks_closer(charge)))
            }
            (
                UsageShape::Transactions
                | UsageShape::Total
                | UsageShape::Buckets { .. }
                | UsageShape::Groups { .. },
                _,
            ) => Ok(()),
        }
    }

    /// An event without a time lies somewhere in the one period: that says nothing to a price that asks where.
    fn check_times(&self, charge: &Metered, period: Period) -> Result<(), SimulateError> {
        let has_thresholds =
            self.catalogue.subscription.as_ref().is_some_and(|spec| !spec.thresholds.is_empty());
        let reason = match &charge.shape {
            _ if self.only_period != Some(period) => return Ok(()),
            UsageShape::Buckets { .. } => format!("price {} is charged by buckets of time", charge.price),
            _ if charge.spans != [period] => "the terms change within the period".to_owned(),
            _ if has_thresholds => "thresholds are reached at a time".to_owned(),
            UsageShape::Total | UsageShape::Groups { .. } | UsageShape::Transactions => return Ok(()),
        };
        for MeterUsage { meter, place, kind, billed_before: _ } in self.usage {
            let without = kind.contributions().iter().position(|(time, _)| time.is_none());
            if let (true, Some(index)) = (*meter == charge.meter, without) {
                let field = format!("{place}.events[{index}].time");
                return Err(SimulateError::new(field, format!("is needed: {reason}")));
            }
        }
        Ok(())
    }

    /// The sum of the quantities that the file gives for the meter; none where it gives none.
    fn given(
        &self,
        charge: &Metered,
        period: Period,
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
            let Some(only) = self.only_period else {
                return wrong(
                    "which of the periods is it of? Give events with times, or one period with --period"
                        .to_owned(),
                );
            };
            if only != period {
                continue;
            }
            if charge.shape != UsageShape::Total {
                return wrong(looks_closer(charge));
            }
            // It is of all of the period, and nobody knows how much of it is of a part.
            if charge.spans != [period] {
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

    fn billed_before(&self, charge: &Metered, period: Period) -> Result<Option<Usage>, SimulateError> {
        let mut sum: Option<Quantity> = None;
        for MeterUsage { meter, place, kind: _, billed_before } in self.usage {
            let Some(quantity) = billed_before.filter(|_| *meter == charge.meter) else { continue };
            let field = format!("{place}.billedBefore");
            if charge.shape != UsageShape::Total || self.only_period.is_none() {
                let problem = "says something of one period's total only: use thresholds of a Subscription";
                return Err(SimulateError::new(field, problem));
            }
            if self.only_period != Some(period) {
                continue;
            }
            let before = sum.unwrap_or_default();
            sum = Some(before.checked_add(quantity).map_err(|error| SimulateError::new(field, error))?);
        }
        Ok(sum.map(Usage::Total))
    }

    /// When usage changed within the period, in order, each time once.
    pub fn times(&self, billed: &BilledPeriod) -> Result<Vec<Timestamp>, SimulateError> {
        let charges = charges(billed)?;
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

/// The metered prices of a period, each with the time in which it held.
pub fn charges(billed: &BilledPeriod) -> Result<Vec<Metered>, SimulateError> {
    check_add_ons(&billed.segments).and_then(|()| metered(&billed.segments)).map_err(|error| {
        // Plans are valid when they are read; what is wrong with them together is the subscription's.
        SimulateError::new(format!("Subscription: spec.{}", error.field), error.detail)
    })
}

fn looks_closer(charge: &Metered) -> String {
    let price = &charge.price;
    match charge.shape {
        UsageShape::Transactions => format!("price {price} looks at single payments: give events"),
        UsageShape::Total | UsageShape::Buckets { .. } | UsageShape::Groups { .. } => {
            format!("price {price} looks closer than at a total: give events or buckets")
        }
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
