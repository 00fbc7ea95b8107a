//! Metered prices: the line of the usage, and beside it what the price's minimum, maximum, discount and commitment say.
//!
//! An invoice that follows others of the same period (thresholds) charges what all usage comes to less what the usage that was
//! billed before came to, each rounded: so the lines of a period add up to the same amount, to the cent, however often it was
//! billed on the way. What can only be told at the end (minimum, commitment) is charged by the invoice of the period alone.

use super::{
    Line, LineRole,
    charges::Charge,
    commitment,
    input::{InvoiceInput, InvoiceKind, PriceUsage},
    line::{LineError, beside, currency_of, discount_of, price_error, title},
};
use crate::{
    catalogue::PriceSpec,
    decimal::{Amount, Overflow, Quantity},
    money::{Currency, RoundingPoint},
    price::{Priced, TraceStep, Usage, price_usage},
};

/// What a price's usage comes to, with everything that only this price decides, rounded.
struct Rated {
    priced: Priced,
    usage: Amount,
    maximum: Option<(Amount, TraceStep)>,
    discount: Option<(Amount, TraceStep)>,
    /// The sum of the above.
    charged: Amount,
}

pub(super) fn lines(
    input: &InvoiceInput,
    charge: &Charge<'_>,
    given: &PriceUsage,
) -> Result<Vec<Line>, LineError> {
    let name = &charge.name;
    let overflow = |overflow: Overflow| price_error(name, overflow.into());
    let currency = currency_of(input)?;
    let whole = rated(currency, charge, &given.usage)?;
    let before = given.billed_before.as_ref().map(|usage| rated(currency, charge, usage)).transpose()?;
    let used = given.usage.total().map_err(overflow)?;
    let billed = match &given.billed_before {
        Some(usage) => usage.total().map_err(overflow)?,
        None => Quantity::ZERO,
    };
    let mut trace = whole.priced.trace.clone();
    let mut amount = whole.usage;
    if let Some(before) = &before {
        let taken = Amount(before.usage.0.negated());
        amount = amount.checked_add(taken).map_err(overflow)?;
        trace.push(TraceStep::BilledBefore { quantity: billed, amount: taken });
    }
    let line = Line {
        plan: Some(charge.plan.clone()),
        price: name.clone(),
        role: LineRole::Usage,
        description: description(charge.price, given, used.checked_sub(billed).map_err(overflow)?),
        meter: charge
            .price
            .meter_ref
            .as_ref()
            .and_then(|meter| crate::ids::MeterName::new(meter.name.as_str()).ok()),
        meter_version: Some(given.meter_version),
        period: charge.hull(),
        quantity: used.checked_sub(billed).map_err(overflow)?,
        unit_amount: whole.priced.unit_amount,
        amount,
        trace,
    };
    let mut lines = Vec::new();
    // Of a part of a period it is a part, as the lines of minimums and commitments say too.
    let maximum = charge.share().and_then(|share| share.of(charge.price.maximum.unwrap_or_default()));
    let maximum = currency.round(maximum.map_err(overflow)?, RoundingPoint::InvoiceLine).map_err(overflow)?;
    let percent = charge.price.discount.as_ref().and_then(|discount| discount.percent).unwrap_or_default();
    let parts = [
        (
            LineRole::Maximum,
            format!("maximum of {}", currency.format(maximum)),
            &whole.maximum,
            before.as_ref().map(|before| &before.maximum),
        ),
        (
            LineRole::Discount,
            format!("{percent} % off"),
            &whole.discount,
            before.as_ref().map(|before| &before.discount),
        ),
    ];
    for (role, words, whole, before) in parts {
        lines.extend(difference(charge.price, &line, role, &words, whole, before).map_err(overflow)?);
    }
    if input.kind == InvoiceKind::Period {
        lines.extend(at_the_end(input, currency, charge, &line, &whole)?);
    }
    lines.insert(0, line);
    Ok(lines)
}

/// What earlier invoices of this period charged for the price.
pub(super) fn billed_before(
    input: &InvoiceInput,
    charge: &Charge<'_>,
    given: &PriceUsage,
) -> Result<Amount, LineError> {
    match &given.billed_before {
        Some(usage) => Ok(rated(currency_of(input)?, charge, usage)?.charged),
        None => Ok(Amount::ZERO),
    }
}

fn rated(currency: Currency, charge: &Charge<'_>, usage: &Usage) -> Result<Rated, LineError> {
    let name = &charge.name;
    let priced = price_usage(charge.price, usage).map_err(|source| price_error(name, source))?;
    let overflow = |overflow: Overflow| price_error(name, overflow.into());
    let round = |amount| currency.round(amount, RoundingPoint::InvoiceLine).map_err(overflow);
    let usage = round(priced.amount)?;
    let mut charged = usage;
    let maximum = match charge.price.maximum {
        Some(maximum) => {
            let maximum = round(charge.share().and_then(|share| share.of(maximum)).map_err(overflow)?)?;
            let amount = maximum.checked_sub(charged).map_err(overflow)?;
            let step = TraceStep::Maximum { maximum, charged, amount };
            Some((amount, step)).filter(|(amount, _)| amount.is_negative())
        }
        None => None,
    };
    if let Some((amount, _)) = &maximum {
        charged = charged.checked_add(*amount).map_err(overflow)?;
    }
    let percent = charge.price.discount.as_ref().and_then(|discount| discount.percent);
    let discount = match percent {
        // The minimum comes before the discount, and is known at the end only: see `at_the_end`.
        Some(percent) => {
            let amount = discount_of(currency, percent, charged).map_err(overflow)?;
            Some((amount, TraceStep::Discount { percent, charged, amount }))
        }
        None => None,
    };
    if let Some((amount, _)) = &discount {
        charged = charged.checked_add(*amount).map_err(overflow)?;
    }
    Ok(Rated { priced, usage, maximum, discount, charged })
}

/// A line for what changed since the usage that was billed before; none for nothing.
fn difference(
    price: &PriceSpec,
    line: &Line,
    role: LineRole,
    words: &str,
    whole: &Option<(Amount, TraceStep)>,
    before: Option<&Option<(Amount, TraceStep)>>,
) -> Result<Option<Line>, Overflow> {
    let taken = before.and_then(|before| before.as_ref()).map_or(Amount::ZERO, |(amount, _)| *amount);
    let reached = whole.as_ref().map_or(Amount::ZERO, |(amount, _)| *amount);
    let amount = reached.checked_sub(taken)?;
    if amount.is_zero() {
        return Ok(None);
    }
    let mut trace: Vec<TraceStep> = whole.iter().map(|(_, step)| step.clone()).collect();
    if !taken.is_zero() {
        trace.push(TraceStep::BilledBefore { quantity: Quantity::ZERO, amount: Amount(taken.0.negated()) });
    }
    Ok(Some(beside(line, role, format!("{}: {words}", title(price)), amount, trace)))
}

/// Minimum and commitment: of the whole period's charge, whatever was billed before.
fn at_the_end(
    input: &InvoiceInput,
    currency: Currency,
    charge: &Charge<'_>,
    line: &Line,
    whole: &Rated,
) -> Result<Vec<Line>, LineError> {
    let overflow = |overflow: Overflow| price_error(&charge.name, overflow.into());
    let round = |amount| currency.round(amount, RoundingPoint::InvoiceLine).map_err(overflow);
    let mut lines = Vec::new();
    let mut charged = whole.charged;
    if let Some(minimum) = charge.price.minimum {
        let minimum = round(charge.share().and_then(|share| share.of(minimum)).map_err(overflow)?)?;
        let missing = minimum.checked_sub(whole.usage).map_err(overflow)?;
        if !missing.is_negative() && !missing.is_zero() {
            let step = TraceStep::Minimum { minimum, charged: whole.usage, amount: missing };
            let description = format!("{}: minimum of {}", title(charge.price), currency.format(minimum));
            let filled = beside(line, LineRole::Minimum, description, missing, vec![step]);
            let discount =
                rest_of_discount(currency, charge.price, &filled, minimum, whole).map_err(overflow)?;
            for line in std::iter::once(filled).chain(discount) {
                charged = charged.checked_add(line.amount).map_err(overflow)?;
                lines.push(line);
            }
        }
    }
    if let Some(promised) = &charge.price.commitment {
        let at_most = whole.maximum.as_ref().map(|(beyond, _)| whole.usage.checked_add(*beyond));
        let at_most = at_most.transpose().map_err(overflow)?;
        let spent = commitment::Spent { priced: &whole.priced, at_most, charged };
        lines.extend(commitment::lines(input, currency, charge, promised, line, &spent)?);
    }
    Ok(lines)
}

/// What the discount of a whole minimum is beyond that of the usage: so the two lines are the percentage of the minimum, to the
/// cent.
fn rest_of_discount(
    currency: Currency,
    price: &PriceSpec,
    filled: &Line,
    minimum: Amount,
    whole: &Rated,
) -> Result<Option<Line>, Overflow> {
    let Some(percent) = price.discount.as_ref().and_then(|discount| discount.percent) else {
        return Ok(None);
    };
    let given = whole.discount.as_ref().map_or(Amount::ZERO, |(amount, _)| *amount);
    let amount = discount_of(currency, percent, minimum)?.checked_sub(given)?;
    if amount.is_zero() {
        return Ok(None);
    }
    let trace = vec![TraceStep::Discount { percent, charged: filled.amount, amount }];
    Ok(Some(beside(filled, LineRole::Discount, format!("{}: {percent} % off", title(price)), amount, trace)))
}

/// "API calls: 12000 call, 10000 included"
fn description(price: &PriceSpec, given: &PriceUsage, quantity: Quantity) -> String {
    let unit = given.unit.as_ref().map(|unit| format!(" {unit}")).unwrap_or_default();
    let included = price.included.map(|included| format!(", {included} included")).unwrap_or_default();
    format!("{}: {quantity}{unit}{included}", title(price))
}
