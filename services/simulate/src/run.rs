//! Usage falls into periods, and each period becomes an invoice.

use std::collections::BTreeMap;

use jiff::Timestamp;
use meridian_billing::{
    ENGINE_VERSION,
    catalogue::AggregationKind,
    decimal::Quantity,
    ids::{CustomerKey, MeterName, SubscriptionId, TenantId},
    invoice::{self, ComputedInvoice, InvoiceInput},
    meter::Partial,
    period::Period,
};

use crate::{
    SimulateError,
    catalogue_file::Catalogue,
    periods::Billed,
    usage_file::{MeterUsage, UsageKind},
};

/// One invoice for each period, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Simulation {
    pub invoices: Vec<(Period, ComputedInvoice)>,
    /// Contributions whose time lies in none of the periods.
    pub outside: usize,
}

pub fn simulate(
    catalogue: &Catalogue,
    usage: &[MeterUsage],
    periods: &[Billed],
) -> Result<Simulation, SimulateError> {
    check_meters(catalogue, usage)?;
    let mut used = vec![BTreeMap::new(); periods.len()];
    let mut outside = 0;
    for usage in usage {
        outside += fall(catalogue, usage, periods, &mut used)?;
    }
    let invoices = periods
        .iter()
        .zip(used)
        .map(|(billed, used)| Ok((billed.period, bill(catalogue, billed, &used)?)))
        .collect::<Result<_, SimulateError>>()?;
    Ok(Simulation { invoices, outside })
}

/// Usage that no price counts is a mistake in a name, not a gift.
fn check_meters(catalogue: &Catalogue, usage: &[MeterUsage]) -> Result<(), SimulateError> {
    let priced = catalogue.plan_spec.meter_names();
    for MeterUsage { meter, place, kind: _ } in usage {
        if !priced.contains(&meter.as_str()) {
            let problem = format!(
                "no price of Plan {} counts meter {meter}; it counts {}",
                catalogue.plan,
                if priced.is_empty() { "none".to_owned() } else { priced.join(", ") }
            );
            return Err(SimulateError::new(format!("{place}.meter"), problem));
        }
    }
    Ok(())
}

/// What is known of the meters in one period: the aggregate, and how many events are in it.
type Used = BTreeMap<MeterName, (Partial, u64)>;

/// Adds `usage` to the periods that it lies in; returns how much of it lies in none.
fn fall(
    catalogue: &Catalogue,
    usage: &MeterUsage,
    periods: &[Billed],
    used: &mut [Used],
) -> Result<usize, SimulateError> {
    let MeterUsage { meter, place, kind } = usage;
    let aggregation = catalogue.meters.get(meter).map_or(AggregationKind::Sum, |spec| spec.aggregation);
    let mut add = |index: usize, partial: Partial, events: u64| -> Result<(), SimulateError> {
        let known = used[index].remove(meter);
        let (before, count) = known.unwrap_or_else(|| (empty_like(&partial), 0));
        let merged = before.merge(partial).map_err(|error| SimulateError::new(place, error))?;
        used[index].insert(meter.clone(), (merged, count + events));
        Ok(())
    };
    match kind {
        UsageKind::Quantity(quantity) => {
            if periods.len() != 1 {
                let problem = format!(
                    "which of the {} periods is it of? Give events with times, or one period with --period",
                    periods.len()
                );
                return Err(SimulateError::new(format!("{place}.quantity"), problem));
            }
            // A quantity is what the meter came to: several of them add up, whatever the meter does with events.
            add(0, Partial::Sum(*quantity), 0)?;
            Ok(0)
        }
        UsageKind::Contributions(all) => {
            let mut outside = 0;
            for (index, (time, contribution)) in all.iter().enumerate() {
                match period_of(*time, periods) {
                    Ok(Some(period)) => add(period, Partial::of(aggregation, contribution), 1)?,
                    Ok(None) => outside += 1,
                    Err(problem) => {
                        return Err(SimulateError::new(format!("{place}.events[{index}].time"), problem));
                    }
                }
            }
            Ok(outside)
        }
    }
}

fn empty_like(partial: &Partial) -> Partial {
    Partial::empty(match partial {
        Partial::Count(_) => AggregationKind::Count,
        Partial::Sum(_) => AggregationKind::Sum,
        Partial::Max(_) => AggregationKind::Max,
        Partial::UniqueCount(_) => AggregationKind::UniqueCount,
    })
}

fn period_of(time: Option<Timestamp>, periods: &[Billed]) -> Result<Option<usize>, &'static str> {
    match (time, periods) {
        (Some(time), periods) => Ok(periods.iter().position(|billed| billed.period.contains(time))),
        (None, [_]) => Ok(Some(0)),
        (None, _) => Err("is needed where there are several periods"),
    }
}

fn bill(catalogue: &Catalogue, billed: &Billed, used: &Used) -> Result<ComputedInvoice, SimulateError> {
    let Catalogue { plan, plan_spec, meters, subscription: _ } = catalogue;
    let mut usage = BTreeMap::new();
    for name in plan_spec.meter_names() {
        let name = MeterName::new(name).map_err(|error| SimulateError::new("meterRef", error.problem))?;
        let (quantity, events) = match used.get(&name) {
            Some((partial, events)) => {
                let overflow = |error| SimulateError::new(format!("usage of meter {name}"), error);
                (partial.finish().map_err(overflow)?, *events)
            }
            None => (Quantity::ZERO, 0),
        };
        let unit = meters.get(&name).and_then(|meter| meter.unit.clone());
        usage.insert(name, invoice::MeterUsage { quantity, events, meter_version: 1, unit });
    }
    let known = |error: meridian_billing::ids::InvalidId| SimulateError::new(error.kind, error.problem);
    let input = InvoiceInput {
        engine_version: ENGINE_VERSION,
        catalogue_version: 1,
        tenant: TenantId::new("simulation").map_err(known)?,
        customer: CustomerKey::tenant_itself(),
        subscription: SubscriptionId::new("simulation").map_err(known)?,
        plan: plan.clone(),
        plan_version: 1,
        plan_spec: plan_spec.clone(),
        period: billed.period,
        first_period: billed.first,
        next_period: billed.next,
        stored_before: billed.period.end,
        usage,
    };
    invoice::compute(&input).map_err(|error| SimulateError::new(format!("Plan {plan}"), error))
}
