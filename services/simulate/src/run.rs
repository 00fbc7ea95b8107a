//! Period after period becomes its invoices; what one leaves to the next (advance charges, credits, coupons) goes with it.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};
use meridian_billing::{
    ENGINE_VERSION,
    catalogue::{Billed, ResetPolicy},
    decimal::Amount,
    ids::{CustomerKey, InvoiceId, SubscriptionId, TenantId},
    invoice::{
        self, Adjustments, AdvanceCharge, ComputedInvoice, InvoiceError, InvoiceInput, InvoiceKind, Metered,
        Progress, burnable, charged_ahead, usage_amount,
    },
    ledger::{Balance, BurnRequest, Debt, Ledger, materialise},
    measure::stands_within_its_period,
    period::Period,
    subscription::{SubscriptionSpec, ZeroInvoices, next_threshold},
};

use crate::{
    SimulateError,
    catalogue_file::Catalogue,
    charged_usage::{Known, charges},
    periods::BilledPeriod,
    usage_file::{MeterUsage, UsageKind},
};

/// One invoice for each period, in order, one more each time that a threshold was reached, and one at the start if that is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Simulation {
    pub invoices: Vec<Simulated>,
    pub balances: Vec<Balance>,
    pub debts: Vec<Debt>,
    /// Contributions whose time lies in none of the periods.
    pub outside: usize,
    /// What no price bills, though it is of the periods: a sentence for each entry of the usage.
    pub unbilled: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Simulated {
    /// What the invoice is about: the period (as it was known then, for an invoice at its start), or what had gone by of it when a
    /// threshold was reached.
    pub period: Period,
    pub kind: InvoiceKind,
    pub invoice: ComputedInvoice,
}

pub fn simulate(
    catalogue: &Catalogue,
    usage: &[MeterUsage],
    periods: &[BilledPeriod],
) -> Result<Simulation, SimulateError> {
    check_meters(catalogue, usage)?;
    let mut shown = periods.iter().filter(|billed| billed.shown);
    let only_period = match (shown.next(), shown.next()) {
        (Some(one), None) => Some(one.period),
        (None | Some(_), _) => None,
    };
    let known = Known::new(catalogue, usage, only_period);
    let mut course = Course::new(catalogue, periods)?;
    let mut invoices = Vec::new();
    for (index, billed) in periods.iter().enumerate() {
        let made = course.bill(&known, index, billed)?;
        invoices.extend(made.into_iter().filter(|_| billed.shown));
    }
    if course.skips_zero() {
        invoices.retain(|made| made.invoice.lines.iter().any(|line| !line.amount.is_zero()));
    }
    let end = periods.last().map_or(Timestamp::UNIX_EPOCH, |billed| billed.period.end);
    let balances = course.ledger.balances(end).map_err(|error| in_grants(&error))?;
    let debts = course.ledger.debts(end).map_err(|error| in_grants(&error))?;
    let Lost { outside, unbilled } = lost(catalogue, usage, periods, only_period)?;
    Ok(Simulation { invoices, balances, debts, outside, unbilled })
}

/// Usage that no price counts is a mistake in a name, not a gift.
fn check_meters(catalogue: &Catalogue, usage: &[MeterUsage]) -> Result<(), SimulateError> {
    let priced: BTreeSet<&str> = catalogue.plans.values().flat_map(|plan| plan.meter_names()).collect();
    for MeterUsage { meter, place, kind: _, billed_before: _ } in usage {
        if !priced.contains(meter.as_str()) {
            let counted = priced.iter().copied().collect::<Vec<_>>().join(", ");
            let problem = format!(
                "no price of Plan {} counts meter {meter}; it counts {}",
                catalogue.plan,
                if counted.is_empty() { "none" } else { &counted }
            );
            return Err(SimulateError::new(format!("{place}.meter"), problem));
        }
    }
    Ok(())
}

/// Usage that nobody is billed for.
struct Lost {
    outside: usize,
    unbilled: Vec<String>,
}

/// What of the usage no price was told: it lies in no period, or in time in which no price counts its meter (before or after the
/// plan that does, or in a pause). What comes before a price is not lost where it makes a level.
fn lost(
    catalogue: &Catalogue,
    usage: &[MeterUsage],
    periods: &[BilledPeriod],
    only_period: Option<Period>,
) -> Result<Lost, SimulateError> {
    let mut charged = Vec::new();
    for billed in periods {
        charged.extend(charges(billed)?.into_iter().map(|charge| (billed.period, charge)));
    }
    let mut lost = Lost { outside: 0, unbilled: Vec::new() };
    for MeterUsage { meter, place, kind, billed_before: _ } in usage {
        let counting = || charged.iter().filter(|(_, charge)| charge.meter == *meter);
        if let UsageKind::Quantity(quantity) = kind {
            let told = counting().any(|(period, _)| Some(*period) == only_period);
            if !told && !quantity.is_zero() {
                let sentence = format!("{place}.quantity is not billed: no price counts meter {meter} then");
                lost.unbilled.push(sentence);
            }
        }
        let spec = catalogue.meters.get(meter);
        let never = spec.is_some_and(|meter| meter.reset == ResetPolicy::Never);
        let stands = spec.is_some_and(stands_within_its_period);
        let counts = |time: Timestamp| {
            let makes_its_level = |charge: &Metered, span: &Period| {
                time < span.start && (never || (stands && charge.since <= time))
            };
            counting().any(|(_, charge)| {
                charge.spans.iter().any(|span| span.contains(time) || makes_its_level(charge, span))
            })
        };
        let mut uncounted = 0;
        for (time, _) in kind.contributions() {
            let time = time.or(only_period.map(|period| period.start));
            match time {
                Some(time) if counts(time) => {}
                Some(time) if !periods.iter().any(|billed| billed.period.contains(time)) => lost.outside += 1,
                Some(_) | None => uncounted += 1,
            }
        }
        if uncounted > 0 {
            let sentence = format!(
                "{uncounted} events or buckets of {place} are not billed: no price counts meter {meter} then"
            );
            lost.unbilled.push(sentence);
        }
    }
    Ok(lost)
}

/// When a period is billed.
#[derive(Debug, Clone, Copy)]
enum Moment {
    Start,
    /// The instant at which a threshold was reached.
    Threshold(Timestamp),
    End,
}

/// What goes from period to period.
struct Course<'a> {
    subscription: Option<&'a SubscriptionSpec>,
    ledger: Ledger,
    /// What was charged in advance for the next period.
    advance: Vec<AdvanceCharge>,
}

impl<'a> Course<'a> {
    fn new(catalogue: &'a Catalogue, periods: &[BilledPeriod]) -> Result<Self, SimulateError> {
        let currency = catalogue.plan_spec().currency;
        let mut ledger = Ledger::new(currency);
        let subscription = catalogue.subscription.as_ref();
        if let (Some(subscription), Some(last)) = (subscription, periods.last()) {
            let grants =
                materialise(&subscription.grants, currency, &subscription.time_zone, last.period.end);
            for grant in grants.map_err(|error| in_grants(&error))? {
                ledger.issue(grant).map_err(|error| in_grants(&error))?;
            }
        }
        Ok(Self { subscription, ledger, advance: Vec::new() })
    }

    fn skips_zero(&self) -> bool {
        self.subscription.is_some_and(|subscription| subscription.zero_invoices == ZeroInvoices::Skip)
    }

    /// The invoices of one period, those on the way first.
    fn bill(
        &mut self,
        known: &Known<'_>,
        index: usize,
        billed: &BilledPeriod,
    ) -> Result<Vec<Simulated>, SimulateError> {
        let mut progress = Progress::default();
        let mut made = Vec::new();
        if let Some(opening) = &billed.at_start {
            let (_, invoice) = self.invoice(known, index, billed, Moment::Start, &mut progress)?;
            if !invoice.lines.is_empty() {
                made.push(Simulated { period: opening.period, kind: InvoiceKind::Opening, invoice });
            }
        }
        for at in self.thresholds(known, index, billed, &progress)? {
            let (_, invoice) = self.invoice(known, index, billed, Moment::Threshold(at), &mut progress)?;
            made.push(Simulated {
                period: Period { start: billed.period.start, end: at },
                kind: InvoiceKind::Progressive,
                invoice,
            });
        }
        let (input, invoice) = self.invoice(known, index, billed, Moment::End, &mut progress)?;
        self.advance = charged_ahead(&input).map_err(|error| in_plan(&input, &error))?;
        made.push(Simulated { period: billed.period, kind: InvoiceKind::Period, invoice });
        Ok(made)
    }

    /// The instants within the period at which its usage had reached the next threshold.
    fn thresholds(
        &self,
        known: &Known<'_>,
        index: usize,
        billed: &BilledPeriod,
        progress: &Progress,
    ) -> Result<Vec<Timestamp>, SimulateError> {
        let Some(subscription) = self.subscription.filter(|subscription| !subscription.thresholds.is_empty())
        else {
            return Ok(Vec::new());
        };
        let mut reached = Vec::new();
        let mut before = Amount::ZERO;
        for at in known.times(billed)? {
            // What happened at this instant counts: usage before the next microsecond.
            let at = at.checked_add(SignedDuration::from_micros(1)).map_err(|error| in_grants(&error))?;
            if at >= billed.period.end {
                break;
            }
            let mut input = self.input(known, index, billed, Moment::Threshold(at))?;
            progress.take_off(&mut input).map_err(|error| in_plan(&input, &error))?;
            let amount = usage_amount(&input).map_err(|error| in_plan(&input, &error))?;
            let next = next_threshold(&subscription.thresholds, before).map_err(|error| in_grants(&error))?;
            if next.is_some_and(|next| amount >= next) {
                reached.push(at);
                before = amount;
            }
        }
        Ok(reached)
    }

    fn invoice(
        &mut self,
        known: &Known<'_>,
        index: usize,
        billed: &BilledPeriod,
        moment: Moment,
        progress: &mut Progress,
    ) -> Result<(InvoiceInput, ComputedInvoice), SimulateError> {
        let mut input = self.input(known, index, billed, moment)?;
        progress.take_off(&mut input).map_err(|error| in_plan(&input, &error))?;
        self.burn(&mut input, format!("{index}-{}", progress.invoices() + 1))?;
        let invoice = computed(&input)?;
        progress.add(&input, &invoice).map_err(|error| in_plan(&input, &error))?;
        Ok((input, invoice))
    }

    /// As of the period's last instant, so that a grant which ends with the period pays for its usage; before the period is over,
    /// as of what the invoice saw.
    fn burn(&mut self, input: &mut InvoiceInput, id: String) -> Result<(), SimulateError> {
        let Some(subscription) = self.subscription.filter(|subscription| !subscription.grants.is_empty())
        else {
            return Ok(());
        };
        let lines = burnable(input).map_err(|error| in_plan(input, &error))?;
        let at = match input.kind {
            InvoiceKind::Period => input.period.end.checked_sub(SignedDuration::from_micros(1)),
            InvoiceKind::Progressive | InvoiceKind::Opening => Ok(input.stored_before),
        };
        let request = BurnRequest {
            invoice: InvoiceId::new(id).map_err(|error| in_grants(&error))?,
            billed: Billed::InArrears,
            at: at.map_err(|error| in_grants(&error))?,
            currency: self.ledger.currency(),
            lines,
            overage: subscription.overage,
            replaces: None,
        };
        let burned = self.ledger.burn(request).map_err(|error| in_grants(&error))?;
        input.adjustments.credits = Some(burned);
        Ok(())
    }

    fn input(
        &self,
        known: &Known<'_>,
        index: usize,
        billed: &BilledPeriod,
        moment: Moment,
    ) -> Result<InvoiceInput, SimulateError> {
        let (kind, stored_before, until) = match moment {
            Moment::Start => (InvoiceKind::Opening, billed.period.start, None),
            Moment::Threshold(at) => (InvoiceKind::Progressive, at, Some(at)),
            Moment::End => (InvoiceKind::Period, billed.period.end, None),
        };
        let (usage, next) = match kind {
            InvoiceKind::Opening => (Vec::new(), billed.at_start.clone()),
            InvoiceKind::Period | InvoiceKind::Progressive => {
                (known.of_period(billed, until)?, billed.next.clone())
            }
        };
        let id = |error: meridian_billing::ids::InvalidId| SimulateError::new(error.kind, error.problem);
        let input = InvoiceInput {
            engine_version: ENGINE_VERSION,
            catalogue_version: 1,
            tenant: TenantId::new("simulation").map_err(id)?,
            customer: CustomerKey::tenant_itself(),
            subscription: SubscriptionId::new("simulation").map_err(id)?,
            time_zone: known.zone().to_owned(),
            period: billed.period,
            kind,
            segments: billed.segments.clone(),
            plans_before: billed.plans_before.clone(),
            charged_in_advance: self.advance.clone(),
            capped_before: None,
            next,
            stored_before,
            usage,
            late: Vec::new(),
            adjustments: self.adjustments(index),
        };
        input.only_what_counts().map_err(|error| SimulateError::new("Plan", error))
    }

    fn adjustments(&self, index: usize) -> Adjustments {
        let Some(subscription) = self.subscription else { return Adjustments::default() };
        let since = u32::try_from(index).unwrap_or(u32::MAX);
        Adjustments {
            coupons: subscription.coupons.iter().filter(|coupon| coupon.applies_in(since)).cloned().collect(),
            credits: None,
            tax_rates: subscription.tax_rates.clone(),
            tax_rounding: subscription.tax_rounding,
        }
    }
}

fn computed(input: &InvoiceInput) -> Result<ComputedInvoice, SimulateError> {
    invoice::compute(input).map_err(|error| in_plan(input, &error))
}

fn in_plan(input: &InvoiceInput, error: &InvoiceError) -> SimulateError {
    if let InvoiceError::Adjustment(problem) = error {
        // Coupons, credits and taxes are the subscription's.
        return SimulateError::new("Subscription: spec", problem);
    }
    let plan = input.segments.first().map(|segment| segment.terms.plan.name.to_string()).unwrap_or_default();
    SimulateError::new(format!("Plan {plan}"), error)
}

fn in_grants(error: &dyn std::fmt::Display) -> SimulateError {
    SimulateError::new("Subscription: spec", error)
}
