//! Package: usage is sold in whole packages. `Up` charges a begun package, `Down` gives it away. Free units come off first.

use super::TraceStep;
use crate::{
    catalogue::{PackageRounding, PackageSpec},
    decimal::{Overflow, Quantity, WholeRounding},
};

pub(super) fn trace(package: &PackageSpec, usage: Quantity) -> Result<Vec<TraceStep>, Overflow> {
    let quantity = usage.saturating_sub(package.free_units.unwrap_or_default())?;
    if quantity.is_zero() {
        return Ok(Vec::new());
    }
    let rounding = match package.rounding {
        PackageRounding::Up => WholeRounding::Up,
        PackageRounding::Down => WholeRounding::Down,
    };
    let packages = Quantity(quantity.0.whole_multiples(package.size.0, rounding)?);
    let amount = packages.times(package.amount)?;
    Ok(vec![TraceStep::Packages { quantity, packages, package_amount: package.amount, amount }])
}

#[cfg(test)]
mod tests {
    use crate::price::check::cases;

    #[test]
    fn a_begun_package_is_charged_when_rounding_up() {
        cases(
            "{name: sms, meterRef: {name: sms}, package: {size: '100', amount: '1.5'}}",
            &[
                ("0", "0 ="),
                ("0.000000000000000001", "1.5 = 1 packages for 0.000000000000000001 × 1.5 = 1.5"),
                ("1", "1.5 = 1 packages for 1 × 1.5 = 1.5"),
                ("100", "1.5 = 1 packages for 100 × 1.5 = 1.5"),
                ("100.000000000000000001", "3 = 2 packages for 100.000000000000000001 × 1.5 = 3"),
                ("101", "3 = 2 packages for 101 × 1.5 = 3"),
            ],
        );
    }

    #[test]
    fn a_begun_package_is_free_when_rounding_down() {
        cases(
            "{name: sms, meterRef: {name: sms}, package: {size: '100', amount: '1.5', rounding: Down}}",
            &[
                ("99.999999999999999999", "0 = 0 packages for 99.999999999999999999 × 1.5 = 0"),
                ("100", "1.5 = 1 packages for 100 × 1.5 = 1.5"),
                ("199", "1.5 = 1 packages for 199 × 1.5 = 1.5"),
            ],
        );
    }

    #[test]
    fn included_and_free_units_come_off_before_packages_are_counted() {
        cases(
            "{name: sms, meterRef: {name: sms}, included: '50', package: {size: '0.5', amount: '2', freeUnits: '10'}}",
            &[
                ("50", "0 = included 50"),
                ("60", "0 = included 50"),
                ("60.1", "2 = included 50 + 1 packages for 0.1 × 2 = 2"),
                ("61", "4 = included 50 + 2 packages for 1 × 2 = 4"),
            ],
        );
    }
}
