//! Credit grants as they are written down ([`GrantSpec`]), and as they stand in a ledger ([`GrantTerms`]): a recurring grant is
//! written once and stands there once for each recurrence ([`materialise`]).

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{
    catalogue::{IntervalSpec, SpecError, SpecErrorCode, read_shape},
    coupon::{check_grantable, check_prices},
    decimal::{Amount, Decimal, Overflow},
    ids::{GrantName, PriceName},
    money::{Currency, RoundingPoint},
    period::{Anchor, PeriodError, Schedule},
};

/// The priority of a grant that names none.
pub const PRIORITY_DEFAULT: u8 = 100;
/// Most recurrences of one grant that are made at once: a grant a day for 27 years.
pub const RECURRENCES_MAX: usize = 10_000;

/// A grant as it is written down.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct GrantSpec {
    pub name: GrantName,
    pub amount: Amount,
    /// Absent: whatever currency the customer is billed in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub currency: Option<Currency>,
    /// Lower burns first.
    #[serde(default = "default_priority")]
    pub priority: u8,
    /// From this instant on it can be spent; the anchor of its recurrences.
    pub effective_at: Timestamp,
    /// From this instant on it cannot be spent, and does not recur.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
    /// How long it, or each recurrence of it, can be spent. Absent: until the next recurrence, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_after: Option<IntervalSpec>,
    /// It is given again so often.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub every: Option<IntervalSpec>,
    /// What of a recurrence that was not spent is added to the next one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollover: Option<RolloverSpec>,
    /// The prices whose lines it pays for; absent: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prices: Option<Vec<PriceName>>,
}

fn default_priority() -> u8 {
    PRIORITY_DEFAULT
}

/// How much of what is left rolls over: `percent` of it (absent: all), at most `max` (absent: no limit). At least one is set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RolloverSpec {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max: Option<Amount>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub percent: Option<Decimal>,
}

/// One grant, or one recurrence of one: its name and the instant from which on it can be spent.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct GrantId {
    pub name: GrantName,
    pub effective_at: Timestamp,
}

impl fmt::Display for GrantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.name, self.effective_at)
    }
}

/// A grant as it stands in a ledger.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct GrantTerms {
    pub grant: GrantId,
    pub amount: Amount,
    pub priority: u8,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
    /// What is left at `expires_at` goes to the grant of the same name that begins then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollover: Option<RolloverSpec>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prices: Option<Vec<PriceName>>,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GrantError {
    #[error("grant {name} is not valid: {source}")]
    Spec { name: GrantName, source: SpecError },
    #[error("grant {0} is in the list twice")]
    Duplicate(GrantName),
    #[error("grant {name}: {source}")]
    Period { name: GrantName, source: PeriodError },
    #[error("grant {0} recurs more than 10,000 times until then")]
    TooManyRecurrences(GrantName),
}

impl GrantSpec {
    pub fn from_json(spec: &serde_json::Value) -> Result<Self, SpecError> {
        let grant: Self = read_shape(spec)?;
        grant.validate()?;
        Ok(grant)
    }

    /// Without a currency, the digits of amounts are checked where the customer's is known ([`materialise`]).
    pub fn validate(&self) -> Result<(), SpecError> {
        match self.currency {
            Some(currency) => self.validate_amounts(currency)?,
            None if self.amount <= Amount::ZERO => {
                return Err(SpecError::new("amount", SpecErrorCode::OutOfRange, "must be more than 0"));
            }
            None => {}
        }
        if self.expires_at.is_some_and(|expires_at| expires_at <= self.effective_at) {
            return Err(SpecError::new("expiresAt", SpecErrorCode::OutOfRange, "must be after effectiveAt"));
        }
        for (field, interval) in [("every", self.every), ("expiresAfter", self.expires_after)] {
            if interval.is_some_and(|interval| interval.count == 0) {
                let field = format!("{field}.count");
                return Err(SpecError::new(field, SpecErrorCode::OutOfRange, "must be at least 1"));
            }
        }
        if self.every.is_none() && self.expires_at.is_some() && self.expires_after.is_some() {
            return Err(SpecError::new(
                "expiresAfter",
                SpecErrorCode::Conflicting,
                "a grant that does not recur ends once: use expiresAt or expiresAfter",
            ));
        }
        self.validate_rollover()?;
        check_prices(self.prices.as_deref())
    }

    fn validate_amounts(&self, currency: Currency) -> Result<(), SpecError> {
        check_grantable("amount", self.amount, currency)?;
        match self.rollover.as_ref().and_then(|rollover| rollover.max) {
            Some(max) => check_grantable("rollover.max", max, currency),
            None => Ok(()),
        }
    }

    fn validate_rollover(&self) -> Result<(), SpecError> {
        let Some(RolloverSpec { max, percent }) = &self.rollover else { return Ok(()) };
        let fail = |field: &str, code, detail| Err(SpecError::new(field, code, detail));
        if self.every.is_none() {
            return fail(
                "rollover",
                SpecErrorCode::Conflicting,
                "a grant that does not recur has nothing to roll over to: set every, or leave rollover out",
            );
        }
        if self.expires_after.is_some() {
            return fail(
                "rollover",
                SpecErrorCode::Conflicting,
                "what rolls over does so when the next recurrence begins: leave expiresAfter out",
            );
        }
        if max.is_none() && percent.is_none() {
            return fail("rollover", SpecErrorCode::Missing, "give max, percent or both");
        }
        if max.is_some_and(|max| max <= Amount::ZERO) {
            return fail("rollover.max", SpecErrorCode::OutOfRange, "must be more than 0");
        }
        if percent.is_some_and(|percent| percent <= Decimal::ZERO || percent > Decimal::from_integer(100)) {
            return fail(
                "rollover.percent",
                SpecErrorCode::OutOfRange,
                "must be more than 0 and at most 100",
            );
        }
        Ok(())
    }

    /// When it is given next after an instant: at its beginning, or at that of its next recurrence. None: never again. The zone
    /// is that of [`materialise`], which issues a grant at exactly these instants.
    pub fn next_given(&self, zone: &str, after: Timestamp) -> Result<Option<Timestamp>, GrantError> {
        if self.effective_at > after {
            return Ok(Some(self.effective_at));
        }
        let Some(every) = self.every else { return Ok(None) };
        let period = |source| GrantError::Period { name: self.name.clone(), source };
        let schedule = Schedule::new(every, Anchor::Start { at: self.effective_at }, zone).map_err(period)?;
        let next = schedule.containing(after).map_err(period)?.end;
        Ok(self.expires_at.is_none_or(|end| next < end).then_some(next))
    }

    fn terms(&self, effective_at: Timestamp, expires_at: Option<Timestamp>, rolls_over: bool) -> GrantTerms {
        GrantTerms {
            grant: GrantId { name: self.name.clone(), effective_at },
            amount: self.amount,
            priority: self.priority,
            expires_at,
            rollover: self.rollover.clone().filter(|_| rolls_over),
            prices: self.prices.clone(),
        }
    }
}

impl RolloverSpec {
    /// What of `unused` goes on, in minor units.
    pub(super) fn of(&self, unused: Amount, currency: Currency) -> Result<Amount, Overflow> {
        let part = match self.percent {
            Some(percent) => currency.round(unused.percent(percent)?, RoundingPoint::Rollover)?,
            None => unused,
        };
        Ok(self.max.map_or(part, |max| part.min(max)))
    }
}

impl GrantTerms {
    /// What makes these terms unfit for a ledger.
    pub(super) fn check(&self, currency: Currency) -> Result<(), &'static str> {
        if self.amount <= Amount::ZERO {
            return Err("its amount must be more than 0");
        }
        if !currency.is_in_minor_units(self.amount) {
            return Err("its amount has more digits than its currency");
        }
        if self.expires_at.is_some_and(|expires_at| expires_at <= self.grant.effective_at) {
            return Err("it ends before it begins");
        }
        if self.rollover.is_some() && self.expires_at.is_none() {
            return Err("it never ends, so it cannot roll over");
        }
        let Some(rollover) = &self.rollover else { return Ok(()) };
        if !rollover.max.is_none_or(|max| max > Amount::ZERO && currency.is_in_minor_units(max)) {
            return Err("its rollover must be more than 0 and have the digits of its currency");
        }
        let hundred = Decimal::from_integer(100);
        if !rollover.percent.is_none_or(|percent| percent > Decimal::ZERO && percent <= hundred) {
            return Err("its rollover must be more than 0 and at most 100 percent");
        }
        Ok(())
    }

    pub fn covers(&self, price: &PriceName) -> bool {
        self.prices.as_ref().is_none_or(|prices| prices.contains(price))
    }

    /// Whether it has taken effect and has not ended: half-open, as periods are.
    pub fn is_in_force(&self, at: Timestamp) -> bool {
        self.grant.effective_at <= at && !self.has_ended(at)
    }

    pub fn has_ended(&self, at: Timestamp) -> bool {
        self.expires_at.is_some_and(|expires_at| expires_at <= at)
    }

    /// Sorts into the order of burning; one that never expires comes last.
    pub(super) fn burn_rank(&self) -> (u8, Timestamp, Timestamp, &GrantName) {
        let GrantId { name, effective_at } = &self.grant;
        (self.priority, self.expires_at.unwrap_or(Timestamp::MAX), *effective_at, name)
    }

    /// What its rollover goes to.
    pub(super) fn successor(&self) -> Option<(GrantId, &RolloverSpec)> {
        let (rollover, effective_at) = (self.rollover.as_ref()?, self.expires_at?);
        Some((GrantId { name: self.grant.name.clone(), effective_at }, rollover))
    }
}

/// The grants that take effect at or before `until`, each recurrence by itself, in the order of the specs. Grants in other
/// currencies are left out: they belong to another ledger. Recurrences lie where billing periods with that anchor would
/// (period.rs), in the customer's zone. The same call with a later `until` gives the same grants, and more.
pub fn materialise(
    specs: &[GrantSpec],
    currency: Currency,
    zone: &str,
    until: Timestamp,
) -> Result<Vec<GrantTerms>, GrantError> {
    let mut grants = Vec::new();
    for (index, spec) in specs.iter().enumerate() {
        let invalid = |source| GrantError::Spec { name: spec.name.clone(), source };
        spec.validate().map_err(invalid)?;
        if specs[..index].iter().any(|earlier| earlier.name == spec.name) {
            return Err(GrantError::Duplicate(spec.name.clone()));
        }
        if spec.currency.is_some_and(|given| given != currency) {
            continue;
        }
        spec.validate_amounts(currency).map_err(invalid)?;
        grants.extend(recurrences(spec, zone, until)?);
    }
    Ok(grants)
}

fn recurrences(spec: &GrantSpec, zone: &str, until: Timestamp) -> Result<Vec<GrantTerms>, GrantError> {
    let period = |source| GrantError::Period { name: spec.name.clone(), source };
    let end_after = |start: Timestamp| -> Result<Option<Timestamp>, GrantError> {
        let Some(interval) = spec.expires_after else { return Ok(None) };
        let schedule = Schedule::new(interval, Anchor::Start { at: start }, zone).map_err(period)?;
        Ok(Some(schedule.containing(start).map_err(period)?.end))
    };
    let Some(every) = spec.every else {
        if spec.effective_at > until {
            return Ok(Vec::new());
        }
        let expires_at = spec.expires_at.or(end_after(spec.effective_at)?);
        return Ok(vec![spec.terms(spec.effective_at, expires_at, false)]);
    };
    let schedule = Schedule::new(every, Anchor::Start { at: spec.effective_at }, zone).map_err(period)?;
    let mut grants = Vec::new();
    let mut recurrence = schedule.containing(spec.effective_at).map_err(period)?;
    let recurs_at = |at: Timestamp| spec.expires_at.is_none_or(|end| at < end);
    while recurrence.start <= until && recurs_at(recurrence.start) {
        if grants.len() == RECURRENCES_MAX {
            return Err(GrantError::TooManyRecurrences(spec.name.clone()));
        }
        let own_end = end_after(recurrence.start)?.unwrap_or(recurrence.end);
        let end = spec.expires_at.map_or(own_end, |end| end.min(own_end));
        grants.push(spec.terms(recurrence.start, Some(end), recurs_at(recurrence.end)));
        recurrence = schedule.next(&recurrence).map_err(period)?;
    }
    Ok(grants)
}
