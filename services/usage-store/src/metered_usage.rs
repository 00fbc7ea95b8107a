//! What meters came to in periods: the quantities that rating and the usage endpoint show. Fetches what each meter's
//! aggregation needs, set by set, and lets `meridian-billing` finish it.
//!
//! | aggregation | read from | level carried in (`reset: Never`) |
//! |---|---|---|
//! | Count, Max, Min, Average, UniqueCount | totals of the roll-ups (`period_usage`) | none |
//! | Sum | the same | the total of all time before the period, from the roll-ups |
//! | Latest, WeightedSum | events (`readings`) | the last event before the period |
//! | Percentile | events, by distinct value | none |
//!
//! So a set of keys costs at most four questions for each chunk, whatever the number of its meters; those that no key calls
//! for are not asked. Exact as of `stored_before_us`, like the totals.

use clickhouse::Client;
use meridian_billing::{
    catalogue::{AggregationKind, MeterSpec, ResetPolicy},
    decimal::{Decimal, Overflow, Quantity},
    meter::{FinishError, Partial},
    period::Period,
};

use crate::{
    error::UsageStoreError,
    period_usage::{Asked, PeriodKey, TotalFigures, UsageTotal, totals},
    readings::{Answer, ReadingsKey, Wanted},
    store::UsageStore,
};

/// Whose usage of which meter, when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MeteredKey {
    pub tenant: String,
    /// "" is the tenant itself (ruling C11).
    pub customer: String,
    /// The meter's name, and what it is.
    pub meter: String,
    pub spec: MeterSpec,
    pub period: Period,
}

/// What the meter came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MeteredUsage {
    /// Events counted in the period; those of a level that was carried in are not among them.
    pub events: u64,
    /// An error is for whoever rates it: the usage is there, and no quantity says it.
    pub quantity: Result<Quantity, FinishError>,
}

impl UsageStore {
    /// One for each key, in the order of the keys. `stored_before_us` None is live: everything that is stored now.
    pub async fn metered_usage(
        &self,
        keys: &[MeteredKey],
        stored_before_us: Option<i64>,
    ) -> Result<Vec<MeteredUsage>, UsageStoreError> {
        self.metered_usage_each(keys, stored_before_us).await?.into_iter().collect()
    }

    /// The same where an answer that cannot be read is that of its own key and of no other.
    pub async fn metered_usage_each(
        &self,
        keys: &[MeteredKey],
        stored_before_us: Option<i64>,
    ) -> Result<Vec<Result<MeteredUsage, UsageStoreError>>, UsageStoreError> {
        let plan = Plan::of(keys);
        let in_periods = totals(&self.client, &plan.totals, figures_of(keys), stored_before_us).await?;
        let before = totals(&self.client, &plan.totals_before, LEVEL, stored_before_us).await?;
        let readings = self.readings(&self.client, &plan.readings, stored_before_us).await?;
        let readings_before = self.readings(&self.client, &plan.readings_before, stored_before_us).await?;
        let (mut totals, mut totals_before) = (in_periods.into_iter(), before.into_iter());
        let (mut readings, mut readings_before) = (readings.into_iter(), readings_before.into_iter());
        let measured = keys.iter().map(|MeteredKey { tenant: _, customer: _, meter, spec, period }| {
            let needs = Needs::of(spec);
            let level = match needs.level {
                LevelBefore::Nothing => Ok(Quantity::ZERO),
                LevelBefore::Total => total_level(&totals_before.next().ok_or_else(missing)?),
                LevelBefore::Last => Ok(readings_before.next().ok_or_else(missing)?.last_level()),
            };
            let (events, counted) = match needs.usage {
                Usage::Totals => {
                    let figures = totals.next().ok_or_else(missing)?.figures;
                    (figures.events, Counted::of_total(meter, spec, &figures)?)
                }
                Usage::Readings(_) => {
                    let values = readings.next().ok_or_else(missing)?;
                    (values.events(), Counted::of_values(meter, spec, values)?)
                }
            };
            let (quantity, _) = counted.measured(level, spec, *period);
            Ok(MeteredUsage { events, quantity })
        });
        Ok(measured.collect())
    }

    /// The level that all time of one key leaves, live.
    pub(crate) async fn level(
        &self,
        client: &Client,
        wanted: LevelBefore,
        key: PeriodKey,
    ) -> Result<Result<Quantity, FinishError>, UsageStoreError> {
        match wanted {
            LevelBefore::Nothing => Ok(Ok(Quantity::ZERO)),
            LevelBefore::Total => {
                let total = totals(client, &[key], LEVEL, None).await?.pop().ok_or_else(missing)?;
                Ok(total_level(&total))
            }
            LevelBefore::Last => {
                let keys = [ReadingsKey { key, wanted: Wanted::Last }];
                let answer = self.readings(client, &keys, None).await?.pop().ok_or_else(missing)?;
                Ok(Ok(answer.last_level()))
            }
        }
    }
}

/// What a level is made of.
const LEVEL: Asked = Asked { sum: true, max: false, min: false, unique: false };

/// What [`Counted::of_total`] looks at for these keys.
fn figures_of(keys: &[MeteredKey]) -> Asked {
    let mut asked = Asked::default();
    for key in keys {
        match key.spec.aggregation {
            AggregationKind::Sum | AggregationKind::Average => asked.sum = true,
            AggregationKind::Max => asked.max = true,
            AggregationKind::Min => asked.min = true,
            AggregationKind::UniqueCount => asked.unique = true,
            AggregationKind::Count
            | AggregationKind::Latest
            | AggregationKind::WeightedSum
            | AggregationKind::Percentile => {}
        }
    }
    asked
}

fn total_level(total: &UsageTotal) -> Result<Quantity, FinishError> {
    Ok(total.figures.sum.map(Quantity).ok_or(Overflow)?)
}

fn missing() -> UsageStoreError {
    unreadable("fewer answers than keys".to_owned())
}

fn unreadable(problem: String) -> UsageStoreError {
    UsageStoreError::Unreadable { doing: "reading the usage of meters", problem }
}

/// Where a meter's usage in a period is read, and where the level that it begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Needs {
    pub usage: Usage,
    pub level: LevelBefore,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Usage {
    Totals,
    Readings(Wanted),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LevelBefore {
    Nothing,
    Total,
    Last,
}

impl Needs {
    pub fn of(meter: &MeterSpec) -> Self {
        let (usage, level) = match meter.aggregation {
            AggregationKind::Count
            | AggregationKind::Max
            | AggregationKind::Min
            | AggregationKind::Average
            | AggregationKind::UniqueCount => (Usage::Totals, LevelBefore::Nothing),
            AggregationKind::Sum => (Usage::Totals, LevelBefore::Total),
            AggregationKind::Latest => (Usage::Readings(Wanted::Last), LevelBefore::Last),
            AggregationKind::WeightedSum => (Usage::Readings(Wanted::EachTime), LevelBefore::Last),
            AggregationKind::Percentile => (Usage::Readings(Wanted::EachValue), LevelBefore::Nothing),
        };
        match meter.reset {
            ResetPolicy::EachPeriod => Self { usage, level: LevelBefore::Nothing },
            ResetPolicy::Never => Self { usage, level },
        }
    }
}

/// The keys of each question. A key's answers come in the order of the keys that need them.
///
/// All time before a period is asked apart from the periods: the earliest instant of a question bounds what it reads.
#[derive(Debug, Default, PartialEq, Eq)]
struct Plan {
    totals: Vec<PeriodKey>,
    totals_before: Vec<PeriodKey>,
    readings: Vec<ReadingsKey>,
    readings_before: Vec<ReadingsKey>,
}

impl Plan {
    fn of(keys: &[MeteredKey]) -> Self {
        let mut plan = Self::default();
        for key in keys {
            let needs = Needs::of(&key.spec);
            let (start_us, end_us) = (key.period.start.as_microsecond(), key.period.end.as_microsecond());
            match needs.usage {
                Usage::Totals => plan.totals.push(key.within(start_us, end_us)),
                Usage::Readings(wanted) => {
                    plan.readings.push(ReadingsKey { key: key.within(start_us, end_us), wanted });
                }
            }
            match needs.level {
                LevelBefore::Nothing => {}
                LevelBefore::Total => plan.totals_before.push(key.within(0, start_us)),
                LevelBefore::Last => {
                    let key = key.within(0, start_us);
                    plan.readings_before.push(ReadingsKey { key, wanted: Wanted::Last });
                }
            }
        }
        plan
    }
}

impl MeteredKey {
    fn within(&self, start_us: i64, end_us: i64) -> PeriodKey {
        PeriodKey {
            tenant: self.tenant.clone(),
            customer: self.customer.clone(),
            meter: self.meter.clone(),
            start_us,
            end_us,
        }
    }
}

/// What was counted in one period, as the store can say it.
pub(crate) enum Counted {
    Partial(Partial),
    /// Of UniqueCount: the set itself stays in the store, its size is the answer.
    Distinct(u64),
    /// A sum that no decimal holds.
    TooLarge,
}

impl Counted {
    /// It fails only where a figure is missing that the meter must have.
    pub fn of_total(meter: &str, spec: &MeterSpec, figures: &TotalFigures) -> Result<Self, UsageStoreError> {
        let TotalFigures { events, sum, max, min, unique } = *figures;
        let partial = match (spec.aggregation, sum.map(Quantity)) {
            (AggregationKind::Count, _) => whole(events).map(Partial::Count).ok(),
            (AggregationKind::Sum, sum) => sum.map(Partial::Sum),
            (AggregationKind::Max, _) => Some(Partial::Max(Quantity(max.unwrap_or(Decimal::ZERO)))),
            (AggregationKind::Min, _) if min.is_none() && events > 0 => {
                let problem =
                    format!("the smallest value of meter {meter} was not kept when its usage was rolled up");
                return Err(unreadable(problem));
            }
            (AggregationKind::Min, _) => Some(Partial::Min(min.map(Quantity))),
            (AggregationKind::Average, sum) => sum.map(|sum| Partial::Average { sum, count: events }),
            (AggregationKind::UniqueCount, _) => return Ok(Self::Distinct(unique)),
            (AggregationKind::Latest | AggregationKind::WeightedSum | AggregationKind::Percentile, _) => {
                return Err(unreadable(format!("meter {meter} is read from events")));
            }
        };
        Ok(partial.map_or(Self::TooLarge, Self::Partial))
    }

    pub fn of_values(meter: &str, spec: &MeterSpec, values: Answer) -> Result<Self, UsageStoreError> {
        match spec.aggregation {
            AggregationKind::Latest => Ok(Self::Partial(Partial::Latest(values.into_readings().pop_last()))),
            AggregationKind::WeightedSum => Ok(Self::Partial(Partial::WeightedSum(values.into_readings()))),
            AggregationKind::Percentile => Ok(Self::Partial(Partial::Percentile(values.into_values()))),
            AggregationKind::Count
            | AggregationKind::Sum
            | AggregationKind::Max
            | AggregationKind::Min
            | AggregationKind::Average
            | AggregationKind::UniqueCount => Err(unreadable(format!("meter {meter} is read from totals"))),
        }
    }

    /// The quantity of the period after `level`, and the level that it leaves.
    pub fn measured(
        &self,
        level: Result<Quantity, FinishError>,
        spec: &MeterSpec,
        period: Period,
    ) -> (Result<Quantity, FinishError>, Result<Quantity, FinishError>) {
        let level = match level {
            Ok(level) => level,
            Err(error) => return (Err(error.clone()), Err(error)),
        };
        match self {
            Self::Partial(partial) => (partial.finish_from(level, spec, period), partial.carry(level, spec)),
            Self::Distinct(count) => (whole(*count).map_err(FinishError::from), Ok(Quantity::ZERO)),
            Self::TooLarge => (Err(Overflow.into()), Err(Overflow.into())),
        }
    }
}

fn whole(count: u64) -> Result<Quantity, Overflow> {
    i64::try_from(count).map(Quantity::from_integer).map_err(|_| Overflow)
}

/// A meter of the type `call` that needs no more said.
#[cfg(test)]
pub(crate) fn plain_meter(aggregation: AggregationKind, reset: ResetPolicy) -> MeterSpec {
    let spec = MeterSpec {
        region_ref: meridian_billing::catalogue::NameRef { name: "eu".into() },
        tenant_ref: None,
        event_type: "call".into(),
        aggregation,
        value_property: aggregation.reads_a_value().then(|| "size".into()),
        percentile: (aggregation == AggregationKind::Percentile).then(|| Decimal::from_integer(50)),
        multiplier: None,
        reset,
        group_by: vec![],
        filters: vec![],
        unit: None,
        description: None,
    };
    spec.validate().expect("a valid meter");
    spec
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(aggregation: AggregationKind, reset: ResetPolicy) -> MeteredKey {
        let spec = plain_meter(aggregation, reset);
        let period = Period::from_microseconds(7_000_000, 17_000_000).expect("a period");
        MeteredKey { tenant: "acme".into(), customer: String::new(), meter: "m".into(), spec, period }
    }

    fn figures() -> TotalFigures {
        let decimal = |text: &str| Some(text.parse().expect("a decimal"));
        TotalFigures { events: 4, sum: decimal("9"), max: decimal("5"), min: decimal("0.5"), unique: 3 }
    }

    /// What a meter makes of a total after a level of 100.
    fn said(aggregation: AggregationKind, reset: ResetPolicy, figures: &TotalFigures) -> String {
        let MeteredKey { tenant: _, customer: _, meter, spec, period } = key(aggregation, reset);
        match Counted::of_total(&meter, &spec, figures) {
            Err(error) => error.to_string(),
            Ok(counted) => match counted.measured(Ok(Quantity::from_integer(100)), &spec, period).0 {
                Ok(quantity) => quantity.to_string(),
                Err(error) => error.to_string(),
            },
        }
    }

    #[test]
    fn each_aggregation_takes_its_own_figure() {
        for (aggregation, reset, used, nothing) in [
            (AggregationKind::Count, ResetPolicy::EachPeriod, "4", "0"),
            (AggregationKind::Sum, ResetPolicy::EachPeriod, "9", "0"),
            (AggregationKind::Sum, ResetPolicy::Never, "109", "100"),
            (AggregationKind::Max, ResetPolicy::EachPeriod, "5", "0"),
            (AggregationKind::Min, ResetPolicy::EachPeriod, "0.5", "0"),
            (AggregationKind::Average, ResetPolicy::EachPeriod, "2.25", "0"),
            (AggregationKind::UniqueCount, ResetPolicy::EachPeriod, "3", "0"),
        ] {
            assert_eq!(said(aggregation, reset, &figures()), used, "{aggregation:?} {reset:?}");
            assert_eq!(said(aggregation, reset, &TotalFigures::NONE), nothing, "{aggregation:?} {reset:?}");
        }
    }

    #[test]
    fn a_figure_that_is_not_known_is_no_number() {
        let each = ResetPolicy::EachPeriod;
        let too_large = TotalFigures { sum: None, ..figures() };
        for aggregation in [AggregationKind::Sum, AggregationKind::Average] {
            assert_eq!(said(aggregation, each, &too_large), Overflow.to_string());
        }
        let old = TotalFigures { min: None, ..figures() };
        assert!(
            said(AggregationKind::Min, each, &old).contains("the smallest value of meter m was not kept")
        );
    }

    #[test]
    fn only_what_a_meter_needs_is_asked() {
        let asked = |aggregation, reset| {
            let plan = Plan::of(&[key(aggregation, reset)]);
            let all = [plan.totals, plan.totals_before].into_iter().map(|keys| keys.len());
            let readings = [plan.readings, plan.readings_before].into_iter().map(|keys| keys.len());
            all.chain(readings).collect::<Vec<_>>()
        };
        for aggregation in AggregationKind::ALL {
            let from_events = matches!(
                Needs::of(&key(aggregation, ResetPolicy::EachPeriod).spec).usage,
                Usage::Readings(_)
            );
            let expected = if from_events { [0, 0, 1, 0] } else { [1, 0, 0, 0] };
            assert_eq!(asked(aggregation, ResetPolicy::EachPeriod), expected, "{aggregation:?}");
        }
        assert_eq!(asked(AggregationKind::Sum, ResetPolicy::Never), [1, 1, 0, 0]);
        assert_eq!(asked(AggregationKind::Latest, ResetPolicy::Never), [0, 0, 1, 1]);
        assert_eq!(asked(AggregationKind::WeightedSum, ResetPolicy::Never), [0, 0, 1, 1]);
        let plan = Plan::of(&[key(AggregationKind::Sum, ResetPolicy::Never)]);
        let ranges = [&plan.totals[0], &plan.totals_before[0]].map(|key| (key.start_us, key.end_us));
        assert_eq!(ranges, [(7_000_000, 17_000_000), (0, 7_000_000)]);
    }
}
