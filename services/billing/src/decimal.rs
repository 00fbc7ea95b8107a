//! Exact decimals: a checked `i128` counted in units of 10⁻¹⁸, the shape of Postgres' NUMERIC(38,18) and ClickHouse's
//! Decimal(38,18). At most 20 digits before the point and 18 after it.
//!
//! Nothing here rounds silently and nothing wraps: what does not fit is an error with a name. Multiplication and division go
//! through a 256-bit intermediate and round half away from zero at the 18th place, the only place where precision is cut
//! before money.rs rounds to minor units. `bigdecimal` appears at the edges only (database columns).

use std::{fmt, str::FromStr};

use bigdecimal::BigDecimal;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Digits after the point.
pub const SCALE: u32 = 18;
/// Digits before the point that are accepted from outside.
pub const INTEGER_DIGITS_MAX: usize = 20;
const ONE: i128 = 10_i128.pow(SCALE);
/// 10³⁸ − 1: the largest magnitude that NUMERIC(38,18) holds.
const MAX: i128 = 10_i128.pow(38) - 1;

/// Why a text is no decimal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ParseDecimalError {
    #[error("is not a decimal number (digits, an optional '-' in front and one '.')")]
    NotANumber,
    #[error("has more than 20 digits before the decimal point")]
    TooManyIntegerDigits,
    #[error("has more than 18 digits after the decimal point")]
    TooManyDecimals,
}

/// The result does not fit 38 digits at scale 18, or a divisor was zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the result does not fit 20 digits before and 18 after the decimal point")]
pub struct Overflow;

/// A signed decimal, counted in 10⁻¹⁸.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Decimal(i128);

impl Decimal {
    pub const ZERO: Self = Self(0);
    pub const ONE: Self = Self(ONE);
    /// 99999999999999999999.999999999999999999
    pub const MAX: Self = Self(MAX);

    /// From units of 10⁻¹⁸, as ClickHouse's Decimal(38,18) sends them.
    pub fn from_units(units: i128) -> Result<Self, Overflow> {
        if units.unsigned_abs() > MAX.unsigned_abs() { Err(Overflow) } else { Ok(Self(units)) }
    }

    /// In units of 10⁻¹⁸.
    pub fn units(self) -> i128 {
        self.0
    }

    pub fn from_integer(value: i64) -> Self {
        Self(i128::from(value) * ONE)
    }

    pub fn is_zero(self) -> bool {
        self.0 == 0
    }

    pub fn is_negative(self) -> bool {
        self.0 < 0
    }

    pub fn is_integer(self) -> bool {
        self.0 % ONE == 0
    }

    pub fn checked_add(self, other: Self) -> Result<Self, Overflow> {
        self.0.checked_add(other.0).ok_or(Overflow).and_then(Self::from_units)
    }

    pub fn checked_sub(self, other: Self) -> Result<Self, Overflow> {
        self.0.checked_sub(other.0).ok_or(Overflow).and_then(Self::from_units)
    }

    pub fn negated(self) -> Self {
        Self(-self.0)
    }

    /// The product, half away from zero at the 18th decimal.
    pub fn checked_mul(self, other: Self) -> Result<Self, Overflow> {
        let (high, low) = wide_product(self.0.unsigned_abs(), other.0.unsigned_abs());
        let magnitude = divide_half_up(high, low, ONE.unsigned_abs()).ok_or(Overflow)?;
        signed(magnitude, self.is_negative() != other.is_negative())
    }

    /// The quotient, half away from zero at the 18th decimal. Dividing by zero is an error, never infinity.
    pub fn checked_div(self, divisor: Self) -> Result<Self, Overflow> {
        if divisor.is_zero() {
            return Err(Overflow);
        }
        let (high, low) = wide_product(self.0.unsigned_abs(), ONE.unsigned_abs());
        let magnitude = divide_half_up(high, low, divisor.0.unsigned_abs()).ok_or(Overflow)?;
        signed(magnitude, self.is_negative() != divisor.is_negative())
    }

    /// `self × factor ÷ divisor` with one rounding, half away from zero at the 18th decimal: the product in between is exact, so
    /// that a percentage or a share does not lose twice. Dividing by zero is an error.
    pub fn checked_mul_div(self, factor: Self, divisor: Self) -> Result<Self, Overflow> {
        if divisor.is_zero() {
            return Err(Overflow);
        }
        let (high, low) = wide_product(self.0.unsigned_abs(), factor.0.unsigned_abs());
        let magnitude = divide_half_up(high, low, divisor.0.unsigned_abs()).ok_or(Overflow)?;
        let negative = [self, factor, divisor].iter().filter(|value| value.is_negative()).count() % 2 == 1;
        signed(magnitude, negative)
    }

    /// The value × numerator / denominator, half away from zero at the 18th decimal: one rounding, however large the
    /// terms of the fraction are.
    pub fn checked_mul_ratio(self, numerator: u64, denominator: u64) -> Result<Self, Overflow> {
        if denominator == 0 {
            return Err(Overflow);
        }
        let (high, low) = wide_product(self.0.unsigned_abs(), u128::from(numerator));
        let magnitude = divide_half_up(high, low, u128::from(denominator)).ok_or(Overflow)?;
        signed(magnitude, self.is_negative())
    }

    /// How many whole `size`s fit below (`Down`) or cover (`Up`) a value that is not negative: exact, no rounding of a quotient.
    pub fn whole_multiples(self, size: Self, rounding: WholeRounding) -> Result<Self, Overflow> {
        if size.0 <= 0 || self.is_negative() {
            return Err(Overflow);
        }
        let (whole, rest) = (self.0 / size.0, self.0 % size.0);
        let count = match rounding {
            WholeRounding::Down => whole,
            WholeRounding::Up if rest == 0 => whole,
            WholeRounding::Up => whole + 1,
        };
        count.checked_mul(ONE).ok_or(Overflow).and_then(Self::from_units)
    }

    /// Rounded to `decimals` places, half away from zero. More than 18 places change nothing.
    pub fn rounded(self, decimals: u32) -> Result<Self, Overflow> {
        if decimals >= SCALE {
            return Ok(self);
        }
        let step = 10_u128.pow(SCALE - decimals);
        let magnitude = self.0.unsigned_abs();
        let rest = magnitude % step;
        let down = magnitude - rest;
        let rounded = if rest >= step / 2 { down + step } else { down };
        signed(rounded, self.is_negative())
    }

    /// With at least `decimals` digits after the point: `120` at 2 is `120.00`. Never cuts a digit.
    pub fn to_string_padded(self, decimals: usize) -> String {
        let mut text = self.to_string();
        let present = match text.find('.') {
            Some(point) => text.len() - point - 1,
            None if decimals == 0 => return text,
            None => {
                text.push('.');
                0
            }
        };
        text.extend(std::iter::repeat_n('0', decimals.saturating_sub(present)));
        text
    }

    /// Like parsing, but an exponent is understood as well (`1.5e3`), as JSON numbers have it. Exact or an error.
    pub fn parse_scientific(text: &str) -> Result<Self, ParseDecimalError> {
        let Some((mantissa, exponent)) = text.split_once(['e', 'E']) else { return text.parse() };
        let (negative, mantissa) = mantissa.strip_prefix('-').map_or((false, mantissa), |rest| (true, rest));
        let (integer, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let is_digits = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
        if integer.is_empty() || !is_digits(integer) || !is_digits(fraction) {
            return Err(ParseDecimalError::NotANumber);
        }
        let exponent: i64 = exponent.parse().map_err(|_| ParseDecimalError::NotANumber)?;
        let digits = format!("{integer}{fraction}");
        let significant = digits.trim_end_matches('0');
        // The power of ten of the last significant digit.
        let last = exponent
            .saturating_sub(fraction.len() as i64)
            .saturating_add((digits.len() - significant.len()) as i64);
        let significant = significant.trim_start_matches('0');
        if significant.is_empty() {
            return Ok(Self::ZERO);
        }
        if last < -i64::from(SCALE) {
            return Err(ParseDecimalError::TooManyDecimals);
        }
        if last.saturating_add(significant.len() as i64) > INTEGER_DIGITS_MAX as i64 {
            return Err(ParseDecimalError::TooManyIntegerDigits);
        }
        // At most 38 digits in all now, so this fits.
        let units = significant.bytes().fold(0_i128, |units, digit| units * 10 + i128::from(digit - b'0'));
        let units = units * 10_i128.pow((last + i64::from(SCALE)) as u32);
        Ok(Self(if negative { -units } else { units }))
    }

    /// For a NUMERIC(38,18) column.
    pub fn to_bigdecimal(self) -> BigDecimal {
        BigDecimal::new(self.0.into(), i64::from(SCALE))
    }

    /// From a NUMERIC column. A value that 18 decimals cannot hold exactly is refused, not cut.
    pub fn from_bigdecimal(value: &BigDecimal) -> Result<Self, ParseDecimalError> {
        // The exponent is bounded first: a hostile 1e1000000000 must not be written out.
        let (_, scale) = value.as_bigint_and_exponent();
        if !(-64..=4096).contains(&scale) {
            return Err(if scale < 0 {
                ParseDecimalError::TooManyIntegerDigits
            } else {
                ParseDecimalError::TooManyDecimals
            });
        }
        let plain = value.to_plain_string();
        if plain.contains('.') {
            plain.trim_end_matches('0').trim_end_matches('.').parse()
        } else {
            plain.parse()
        }
    }
}

/// Which way a part of a package or unit goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum WholeRounding {
    Up,
    Down,
}

fn signed(magnitude: u128, negative: bool) -> Result<Decimal, Overflow> {
    let units = i128::try_from(magnitude).map_err(|_| Overflow)?;
    Decimal::from_units(if negative { -units } else { units })
}

/// The 256-bit product as (high, low), by schoolbook multiplication of 64-bit halves.
fn wide_product(a: u128, b: u128) -> (u128, u128) {
    const LOW: u128 = u64::MAX as u128;
    let (a_high, a_low, b_high, b_low) = (a >> 64, a & LOW, b >> 64, b & LOW);
    let low_low = a_low * b_low;
    let low_high = a_low * b_high;
    let high_low = a_high * b_low;
    let high_high = a_high * b_high;
    let middle = (low_low >> 64) + (low_high & LOW) + (high_low & LOW);
    (high_high + (low_high >> 64) + (high_low >> 64) + (middle >> 64), (low_low & LOW) | (middle << 64))
}

/// (high, low) / divisor, rounded half up; None when the quotient needs more than 128 bits. The divisor is below 2¹²⁷.
fn divide_half_up(high: u128, low: u128, divisor: u128) -> Option<u128> {
    if high >= divisor {
        return None;
    }
    let (quotient, rest) =
        if high == 0 { (low / divisor, low % divisor) } else { divide_wide(high, low, divisor) };
    // rest < divisor < 2^127, so doubling it cannot overflow.
    if rest * 2 >= divisor { quotient.checked_add(1) } else { Some(quotient) }
}

/// a × b ÷ divisor as (quotient, rest), nothing rounded; None when the quotient needs more than 128 bits or the divisor is
/// zero. The divisor is at most the units of [`Decimal::MAX`].
pub(crate) fn multiply_and_divide(a: u128, b: u128, divisor: u128) -> Option<(u128, u128)> {
    let (high, low) = wide_product(a, b);
    if high >= divisor {
        return None;
    }
    Some(if high == 0 { (low / divisor, low % divisor) } else { divide_wide(high, low, divisor) })
}

/// Binary long division of a 256-bit number whose high half is below the divisor.
fn divide_wide(high: u128, low: u128, divisor: u128) -> (u128, u128) {
    if let Ok(small) = u64::try_from(divisor) {
        return divide_by_limb(high, low, small);
    }
    let (mut rest, mut quotient) = (high, 0_u128);
    for bit in (0..128).rev() {
        rest = (rest << 1) | ((low >> bit) & 1);
        quotient <<= 1;
        if rest >= divisor {
            rest -= divisor;
            quotient |= 1;
        }
    }
    (quotient, rest)
}

/// The common case, a divisor of 64 bits (10¹⁸ is one): two limb divisions instead of 128 steps.
fn divide_by_limb(high: u128, low: u128, divisor: u64) -> (u128, u128) {
    let divisor = u128::from(divisor);
    // The high half is below the divisor, so it fits 64 bits and no step overflows.
    let upper = (high << 64) | (low >> 64);
    let lower = ((upper % divisor) << 64) | (low & u128::from(u64::MAX));
    (((upper / divisor) << 64) | (lower / divisor), lower % divisor)
}

impl FromStr for Decimal {
    type Err = ParseDecimalError;

    /// Strict: `-?digits[.digits]`, at most 20 and 18 of them; no exponent, no sign '+', no blanks, no separators.
    fn from_str(text: &str) -> Result<Self, ParseDecimalError> {
        let (negative, digits) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let (integer, fraction) = match digits.split_once('.') {
            Some((_, "")) => return Err(ParseDecimalError::NotANumber),
            Some((integer, fraction)) => (integer, fraction),
            None => (digits, ""),
        };
        let all_digits = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
        if integer.is_empty() || !all_digits(integer) || !all_digits(fraction) {
            return Err(ParseDecimalError::NotANumber);
        }
        // Leading zeros carry nothing; trailing zeros beyond 18 places do not either, but are refused to keep one spelling bound.
        let integer = integer.trim_start_matches('0');
        if integer.len() > INTEGER_DIGITS_MAX {
            return Err(ParseDecimalError::TooManyIntegerDigits);
        }
        if fraction.len() > SCALE as usize {
            return Err(ParseDecimalError::TooManyDecimals);
        }
        let mut units: i128 = 0;
        for digit in integer.bytes().chain(fraction.bytes()) {
            units = units * 10 + i128::from(digit - b'0');
        }
        units *= 10_i128.pow(SCALE - fraction.len() as u32);
        Ok(Self(if negative { -units } else { units }))
    }
}

impl fmt::Display for Decimal {
    /// Canonical: no exponent, no trailing zeros, no "-0".
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let magnitude = self.0.unsigned_abs();
        let (integer, fraction) = (magnitude / ONE.unsigned_abs(), magnitude % ONE.unsigned_abs());
        let sign = if self.is_negative() { "-" } else { "" };
        if fraction == 0 {
            return write!(f, "{sign}{integer}");
        }
        let digits = format!("{fraction:018}");
        write!(f, "{sign}{integer}.{}", digits.trim_end_matches('0'))
    }
}

impl Serialize for Decimal {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Decimal {
    /// Strings only: a JSON number would pass through a double on its way here.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl serde::de::Visitor<'_> for Text {
            type Value = Decimal;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a decimal number as a string, such as \"0.01\"")
            }
            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Decimal, E> {
                text.parse().map_err(|problem| E::custom(format_args!("{text:?} {problem}")))
            }
        }
        deserializer.deserialize_str(Text)
    }
}

macro_rules! decimal_kind {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub Decimal);

        impl $name {
            pub const ZERO: Self = Self(Decimal::ZERO);

            pub fn from_units(units: i128) -> Result<Self, Overflow> {
                Decimal::from_units(units).map(Self)
            }

            pub fn units(self) -> i128 {
                self.0.units()
            }

            pub fn from_integer(value: i64) -> Self {
                Self(Decimal::from_integer(value))
            }

            pub fn is_zero(self) -> bool {
                self.0.is_zero()
            }

            pub fn is_negative(self) -> bool {
                self.0.is_negative()
            }

            pub fn checked_add(self, other: Self) -> Result<Self, Overflow> {
                self.0.checked_add(other.0).map(Self)
            }

            pub fn checked_sub(self, other: Self) -> Result<Self, Overflow> {
                self.0.checked_sub(other.0).map(Self)
            }

            pub fn negated(self) -> Self {
                Self(self.0.negated())
            }

            pub fn to_bigdecimal(self) -> BigDecimal {
                self.0.to_bigdecimal()
            }

            pub fn from_bigdecimal(value: &BigDecimal) -> Result<Self, ParseDecimalError> {
                Decimal::from_bigdecimal(value).map(Self)
            }
        }

        impl FromStr for $name {
            type Err = ParseDecimalError;
            fn from_str(text: &str) -> Result<Self, ParseDecimalError> {
                text.parse().map(Self)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

decimal_kind!(
    /// How much was used, in the meter's unit.
    Quantity
);
decimal_kind!(
    /// Money, or a price per unit, in the currency's major unit (dollars, not cents). Not rounded until money.rs does it.
    Amount
);

impl Amount {
    pub fn min(self, other: Self) -> Self {
        Ord::min(self, other)
    }

    /// `percent` of it ("20" is a fifth), half away from zero at the 18th decimal.
    pub fn percent(self, percent: Decimal) -> Result<Self, Overflow> {
        self.0.checked_mul_div(percent, Decimal::from_integer(100)).map(Self)
    }

    /// The sum of all of them; the order does not matter unless a partial sum overflows.
    pub fn checked_sum(amounts: impl IntoIterator<Item = Self>) -> Result<Self, Overflow> {
        amounts.into_iter().try_fold(Self::ZERO, Self::checked_add)
    }
}

impl Quantity {
    pub const ONE: Self = Self(Decimal::ONE);

    /// quantity × price per unit, half away from zero at the 18th decimal.
    pub fn times(self, unit_amount: Amount) -> Result<Amount, Overflow> {
        self.0.checked_mul(unit_amount.0).map(Amount)
    }

    pub fn min(self, other: Self) -> Self {
        Ord::min(self, other)
    }

    /// The smaller of nothing and the difference is nothing: what is left after `other` was used up.
    pub fn saturating_sub(self, other: Self) -> Result<Self, Overflow> {
        self.checked_sub(other).map(|rest| if rest.is_negative() { Self::ZERO } else { rest })
    }
}

#[path = "decimal_mean.rs"]
mod mean;

#[cfg(test)]
#[path = "decimal_tests.rs"]
mod tests;
