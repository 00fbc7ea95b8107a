//! What the metered prices of periods are told of usage, each in the shape that it asks for.
//!
//! Totals of one span come from roll-ups (`metered_usage`). Everything that looks closer (buckets, groups, single
//! transactions, a period that pauses cut, a level in a part of a period) is measured from events by
//! [`meridian_billing::measure`], the same code that says what usage means; `contributions` fetches them. One question for all
//! prices of a chunk of periods that are read in the same way, never one a customer. What is wrong with one period's usage is the
//! answer for that period alone.

use std::collections::BTreeMap;

use jiff::Timestamp;
use meridian_billing::{
    catalogue::{AggregationKind, MeterSpec},
    ids::MeterName,
    invoice::{Metered, PriceUsage},
    measure::{MeasureError, Window, measure, stands_within_its_period},
    meter::Contribution,
    period::Period,
    price::{Usage, UsageShape},
};

use crate::{
    contributions::{Contributions, Look},
    error::UsageStoreError,
    metered_usage::{MeteredKey, MeteredUsage},
    store::UsageStore,
};

const DOING: &str = "reading the usage of prices";

/// Whose usage, as of when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PriceUsageQuery<'a> {
    pub tenant: &'a str,
    /// "" is the tenant itself (ruling C11).
    pub customer: &'a str,
    /// The subscription's zone, by which buckets are cut.
    pub time_zone: &'a str,
    /// What the prices ask for: [`meridian_billing::invoice::metered`].
    pub metered: &'a [Metered],
    /// The meters that they name, each with its version.
    pub meters: &'a BTreeMap<MeterName, (MeterSpec, i32)>,
    pub stored_before_us: Option<i64>,
}

/// Why a price cannot be told its usage. It stops the invoice: usage is never billed as something else.
#[derive(Debug, thiserror::Error)]
pub enum PriceUsageError {
    #[error("price {price} counts meter {meter}, which is not in the catalogue")]
    NoMeter { price: String, meter: MeterName },
    #[error("the usage of meter {meter}: {source}")]
    Unmeasurable { meter: MeterName, source: MeasureError },
    #[error(transparent)]
    Store(#[from] UsageStoreError),
}

/// The usage of one query's prices, in their order.
type Told = Result<Vec<PriceUsage>, PriceUsageError>;

/// What prices ask of a period, and the totals of meters that are wanted beside them as of the same cutoff.
#[derive(Debug, Clone)]
pub struct PeriodUsageQuery<'a> {
    pub prices: PriceUsageQuery<'a>,
    pub totals: Vec<MeteredKey>,
}

/// The answer to a [`PeriodUsageQuery`], in the order of its prices and of its totals.
#[derive(Debug)]
pub struct PeriodUsage {
    pub prices: Result<Vec<PriceUsage>, PriceUsageError>,
    pub totals: Vec<Result<MeteredUsage, UsageStoreError>>,
}

impl UsageStore {
    /// One answer for each metered price, in their order.
    pub async fn price_usage(&self, query: &PriceUsageQuery<'_>) -> Result<Vec<PriceUsage>, PriceUsageError> {
        let query = PeriodUsageQuery { prices: query.clone(), totals: Vec::new() };
        let told = self.period_usage_of(&[query]).await?.pop();
        told.map_or_else(|| Err(unreadable("a query without an answer").into()), |told| told.prices)
    }

    /// The same for many periods at once, with totals beside it: one answer for each query, in their order. Those as of one cutoff
    /// are asked together, and what a price and a total have in common is asked once.
    pub async fn period_usage_of(
        &self,
        queries: &[PeriodUsageQuery<'_>],
    ) -> Result<Vec<PeriodUsage>, UsageStoreError> {
        let mut by_cutoff: BTreeMap<Option<i64>, Vec<usize>> = BTreeMap::new();
        for (index, query) in queries.iter().enumerate() {
            by_cutoff.entry(query.prices.stored_before_us).or_default().push(index);
        }
        let mut told: Vec<Option<PeriodUsage>> = queries.iter().map(|_| None).collect();
        for (stored_before_us, places) in by_cutoff {
            let together: Vec<&PeriodUsageQuery<'_>> = places.iter().map(|place| &queries[*place]).collect();
            for (place, answer) in places.iter().zip(self.told(&together, stored_before_us).await?) {
                told[*place] = Some(answer);
            }
        }
        told.into_iter().map(|told| told.ok_or_else(|| unreadable("a query without an answer"))).collect()
    }

    /// Of queries as of one cutoff.
    async fn told(
        &self,
        queries: &[&PeriodUsageQuery<'_>],
        stored_before_us: Option<i64>,
    ) -> Result<Vec<PeriodUsage>, UsageStoreError> {
        let asked: Vec<Result<Vec<Ask<'_>>, PriceUsageError>> =
            queries.iter().map(|query| asks(&query.prices)).collect();
        let all = || asked.iter().flatten().flatten();
        let mut keys: Vec<MeteredKey> = all().filter_map(Ask::key).collect();
        let of_prices = keys.len();
        keys.extend(queries.iter().flat_map(|query| query.totals.iter().cloned()));
        let looks: Vec<Look<'_>> = all().filter_map(Ask::look).collect();
        let mut totals = self.metered_usage_each(&keys, stored_before_us).await?;
        let mut beside = totals.split_off(of_prices).into_iter();
        let looked = self.contributions(&looks, stored_before_us).await?;
        let mut answers = Answers { totals: totals.into_iter(), looked: looked.into_iter() };
        // Every answer is taken, in the order of the questions, whatever becomes of those before it.
        let told = queries.iter().zip(asked).map(|(query, asks)| PeriodUsage {
            prices: asks.and_then(|asks| answers.of_all(&asks)),
            totals: beside.by_ref().take(query.totals.len()).collect(),
        });
        Ok(told.collect())
    }
}

fn unreadable(problem: &str) -> UsageStoreError {
    UsageStoreError::Unreadable { doing: DOING, problem: problem.to_owned() }
}

/// A metered price with its meter.
struct Ask<'a> {
    query: &'a PriceUsageQuery<'a>,
    metered: &'a Metered,
    spec: &'a MeterSpec,
    version: i32,
}

fn asks<'a>(query: &'a PriceUsageQuery<'a>) -> Result<Vec<Ask<'a>>, PriceUsageError> {
    let ask = |metered: &'a Metered| {
        let (spec, version) = query.meters.get(&metered.meter).ok_or_else(|| PriceUsageError::NoMeter {
            price: metered.price.to_string(),
            meter: metered.meter.clone(),
        })?;
        Ok(Ask { query, metered, spec, version: *version })
    };
    query.metered.iter().map(ask).collect()
}

impl<'a> Ask<'a> {
    /// The span whose total is all that the price asks for; None where it looks closer.
    fn total(&self) -> Option<Period> {
        let Metered { shape, spans, whole, since, .. } = self.metered;
        match (shape, spans.as_slice()) {
            // Of a mean over more than the span, the store knows no part; nor of a level that began before it.
            (UsageShape::Total, [span]) if !is_part(self.spec, *span, *whole, *since) => Some(*span),
            (
                UsageShape::Total
                | UsageShape::Transactions
                | UsageShape::Buckets { .. }
                | UsageShape::Groups { .. },
                _,
            ) => None,
        }
    }

    fn key(&self) -> Option<MeteredKey> {
        Some(MeteredKey {
            period: self.total()?,
            tenant: self.query.tenant.to_owned(),
            customer: self.query.customer.to_owned(),
            meter: self.metered.meter.to_string(),
            spec: self.spec.clone(),
        })
    }

    fn look(&self) -> Option<Look<'a>> {
        let Self { query, metered, spec, version: _ } = *self;
        let look = Look { tenant: query.tenant, customer: query.customer, metered, spec };
        self.total().is_none().then_some(look)
    }

    fn unmeasurable(&self, source: impl Into<MeasureError>) -> PriceUsageError {
        PriceUsageError::Unmeasurable { meter: self.metered.meter.clone(), source: source.into() }
    }

    fn measured(&self, rows: &Contributions) -> Result<(Usage, u64), PriceUsageError> {
        let within = |row: &(Contribution, u64)| {
            self.metered.spans.iter().any(|span| {
                span.start.as_microsecond() <= row.0.time_us && row.0.time_us < span.end.as_microsecond()
            })
        };
        let events = rows.iter().filter(|row| within(row)).map(|(_, events)| events).sum();
        let contributions: Vec<&Contribution> = rows.iter().map(|(contribution, _)| contribution).collect();
        let Metered { shape, spans, whole, since, .. } = self.metered;
        let window = Window { spans, whole: *whole, since: *since };
        let measured = measure(self.spec, shape, window, self.query.time_zone, &contributions);
        Ok((measured.map_err(|source| self.unmeasurable(source))?.usage, events))
    }
}

/// Whether what the span comes to depends on what it is a part of.
fn is_part(meter: &MeterSpec, span: Period, whole: Option<Period>, since: Timestamp) -> bool {
    let of_mean =
        meter.aggregation == AggregationKind::WeightedSum && whole.is_some_and(|whole| whole != span);
    of_mean || stands_within_its_period(meter) && since != span.start
}

/// What the store answered, in the order of the asks.
struct Answers<T, L> {
    totals: T,
    looked: L,
}

impl<T, L> Answers<T, L>
where
    T: Iterator<Item = Result<MeteredUsage, UsageStoreError>>,
    L: Iterator<Item = Result<Contributions, UsageStoreError>>,
{
    fn of_all(&mut self, asks: &[Ask<'_>]) -> Told {
        let told: Vec<Result<PriceUsage, PriceUsageError>> = asks.iter().map(|ask| self.of(ask)).collect();
        told.into_iter().collect()
    }

    fn of(&mut self, ask: &Ask<'_>) -> Result<PriceUsage, PriceUsageError> {
        let missing = || unreadable("a price without an answer");
        let (usage, events) = if ask.total().is_some() {
            let MeteredUsage { events, quantity } = self.totals.next().ok_or_else(missing)??;
            (Usage::Total(quantity.map_err(|source| ask.unmeasurable(source))?), events)
        } else {
            ask.measured(&self.looked.next().ok_or_else(missing)??)?
        };
        Ok(PriceUsage {
            plan: ask.metered.plan.clone(),
            price: ask.metered.price.clone(),
            usage,
            billed_before: None,
            discounted_before: None,
            events,
            meter_version: ask.version,
            unit: ask.spec.unit.clone(),
        })
    }
}
