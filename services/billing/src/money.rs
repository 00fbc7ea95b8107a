//! Currencies and rounding. Money is rounded in exactly one function, [`Currency::round`], half away from zero to the
//! currency's minor units, and only at the points that [`RoundingPoint`] names.
//!
//! Minor units: ISO 4217, list one (the "Minor unit" column published by SIX, the maintenance agency, 1 January 2026). Codes without a minor
//! unit there (gold, SDR, testing codes) are not currencies that anybody is billed in and are refused.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::decimal::{Amount, Overflow, SCALE};

/// Codes by their number of minor units.
const MINOR_UNITS: &[(u8, &str)] = &[
    (0, "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF"),
    (
        2,
        "AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BMD BND BOB BOV BRL BSD BTN BWP BYN BZD CAD CDF CHE CHF CHW CNY \
         COP COU CRC CUP CVE CZK DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GTQ GYD HKD HNL HTG HUF IDR ILS INR \
         IRR JMD KES KGS KHR KPW KYD KZT LAK LBP LKR LRD LSL MAD MDL MGA MKD MMK MNT MOP MRU MUR MVR MWK MXN MXV MYR MZN NAD \
         NGN NIO NOK NPR NZD PAB PEN PGK PHP PKR PLN QAR RON RSD RUB SAR SBD SCR SDG SEK SGD SHP SLE SOS SRD SSP STN SVC SYP \
         SZL THB TJS TMT TOP TRY TTD TWD TZS UAH USD USN UYU UZS VED VES WST XAD XCD XCG YER ZAR ZMW ZWG",
    ),
    (3, "BHD IQD JOD KWD LYD OMR TND"),
    (4, "CLF UYW"),
];

/// The text is no ISO 4217 code of a currency with minor units.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a currency of ISO 4217 (three capital letters, such as \"USD\")")]
pub struct UnknownCurrency(pub String);

/// Where an amount is rounded to minor units. Between these points amounts keep 18 decimals.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RoundingPoint {
    /// Each invoice line, once, after its price model ran. Subtotal and total are sums of rounded lines and need no rounding.
    InvoiceLine,
    /// Each coupon's discount, once, over all the lines that it covers: what the coupon says is said of their sum. Its shares
    /// of the lines are split from the rounded amount (allocation.rs) and not rounded again.
    Discount,
    /// Each tax rate, once over the invoice or once a line: which of the two, the law of the place decides (tax.rs).
    Tax,
    /// The tax that goes back with all that was credited of a line so far, so that crediting in parts ends at the line's tax.
    CreditNoteTax,
    /// The part of an unused credit grant that a rollover in percent keeps: a balance can be spent, so it is in minor units.
    Rollover,
}

/// A currency of ISO 4217.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Currency {
    code: &'static str,
    minor_units: u8,
}

impl Currency {
    pub fn code(self) -> &'static str {
        self.code
    }

    /// Digits after the point: 2 for USD, 0 for JPY, 3 for KWD.
    pub fn minor_units(self) -> u32 {
        u32::from(self.minor_units)
    }

    /// The one place where money is rounded. `_at` makes each caller name its point.
    pub fn round(self, amount: Amount, _at: RoundingPoint) -> Result<Amount, Overflow> {
        amount.0.rounded(self.minor_units()).map(Amount)
    }

    /// Whether the amount can be paid in this currency as it is: nothing beyond its minor units.
    pub fn is_in_minor_units(self, amount: Amount) -> bool {
        amount.units() % self.minor_unit() == 0
    }

    /// The smallest amount of this currency, in units of 10⁻¹⁸: a cent is 10¹⁶.
    pub(crate) fn minor_unit(self) -> i128 {
        10_i128.pow(SCALE - self.minor_units())
    }

    /// With the currency's digits after the point: `120.00` in USD. An unrounded amount shows all of its digits.
    pub fn format(self, amount: Amount) -> String {
        amount.0.to_string_padded(usize::from(self.minor_units))
    }

    /// Every currency that can be billed in, for schemas and tests.
    pub fn all() -> impl Iterator<Item = Currency> {
        MINOR_UNITS.iter().flat_map(|(minor_units, codes)| {
            codes.split(' ').map(|code| Currency { code, minor_units: *minor_units })
        })
    }
}

impl FromStr for Currency {
    type Err = UnknownCurrency;
    fn from_str(text: &str) -> Result<Self, UnknownCurrency> {
        Self::all().find(|currency| currency.code == text).ok_or_else(|| UnknownCurrency(text.to_owned()))
    }
}

impl fmt::Display for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code)
    }
}

impl Serialize for Currency {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.code)
    }
}

impl<'de> Deserialize<'de> for Currency {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn currency(code: &str) -> Currency {
        code.parse().expect("a known currency")
    }

    #[test]
    fn minor_units_follow_iso_4217() {
        for (code, digits) in
            [("USD", 2), ("EUR", 2), ("JPY", 0), ("KWD", 3), ("CLF", 4), ("CLP", 0), ("HUF", 2), ("ISK", 0)]
        {
            assert_eq!(currency(code).minor_units(), digits, "{code}");
        }
        assert_eq!(Currency::all().count(), 165);
        for code in ["XXX", "XAU", "usd", "", "US", "USDT", "HRK"] {
            assert_eq!(code.parse::<Currency>(), Err(UnknownCurrency(code.to_owned())));
        }
    }

    #[test]
    fn codes_are_three_capitals_and_unique() {
        let codes: std::collections::BTreeSet<_> = Currency::all().map(Currency::code).collect();
        assert_eq!(codes.len(), Currency::all().count());
        assert!(codes.iter().all(|c| c.len() == 3 && c.bytes().all(|b| b.is_ascii_uppercase())), "{codes:?}");
    }

    #[test]
    fn halves_go_away_from_zero_in_each_currency() {
        let cases = [
            ("USD", "0.005", "0.01"),
            ("USD", "-0.005", "-0.01"),
            ("USD", "0.004999999999999999", "0.00"),
            ("USD", "1.015", "1.02"),
            ("USD", "120", "120.00"),
            ("JPY", "0.5", "1"),
            ("JPY", "2.5", "3"),
            ("KWD", "0.0005", "0.001"),
            ("CLF", "0.00005", "0.0001"),
        ];
        for (code, given, expected) in cases {
            let rounded = currency(code)
                .round(given.parse().expect("decimal"), RoundingPoint::InvoiceLine)
                .expect("fits");
            assert_eq!(currency(code).format(rounded), expected, "{code} {given}");
        }
    }
}
