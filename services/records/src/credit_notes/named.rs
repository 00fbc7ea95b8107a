//! From the names that people write to the places that the rules count by, and back. Pure.

use meridian_billing::{
    credit_note::{self, CreditNoteLine as NoteLine, CreditRequest},
    invoice::Charged,
};

use super::{CreditNoteError, CreditNoteLine, PriceCredit};

/// Which of what the invoice charged each request means.
pub(super) fn placed(
    charged: &[Charged],
    requests: &[PriceCredit],
) -> Result<Vec<CreditRequest>, CreditNoteError> {
    requests
        .iter()
        .enumerate()
        .map(|(request, PriceCredit { plan, price, amount })| {
            let meant = |known: &Charged| {
                known.price == *price && plan.as_ref().is_none_or(|plan| known.plan == *plan)
            };
            let mut places = charged.iter().enumerate().filter(|(_, known)| meant(known));
            let (line, _) = places
                .next()
                .ok_or_else(|| CreditNoteError::NoSuchPrice { request, price: price.clone() })?;
            match places.next() {
                None => Ok(CreditRequest { line, amount: *amount }),
                Some(_) => Err(CreditNoteError::SeveralPlans { request, price: price.clone() }),
            }
        })
        .collect()
}

/// The refusal with the place of the request in it: who asked does not know the invoice's places.
pub(super) fn in_their_words(
    error: credit_note::CreditNoteError,
    requests: &[CreditRequest],
) -> credit_note::CreditNoteError {
    use credit_note::CreditNoteError as Rule;
    let first = |line| requests.iter().position(|request| request.line == line).unwrap_or(line);
    let last = |line| requests.iter().rposition(|request| request.line == line).unwrap_or(line);
    match error {
        Rule::UnknownLine { line } => Rule::UnknownLine { line: first(line) },
        Rule::DuplicateLine { line } => Rule::DuplicateLine { line: last(line) },
        Rule::NotPositive { line, amount } => Rule::NotPositive { line: first(line), amount },
        Rule::NotInMinorUnits { line, amount } => Rule::NotInMinorUnits { line: first(line), amount },
        Rule::TooMuch { line, amount, left } => Rule::TooMuch { line: first(line), amount, left },
        other @ (Rule::Empty | Rule::Currency { given: _, expected: _ } | Rule::Overflow(_)) => other,
    }
}

/// A note's lines by name. None: one of them is no place of this invoice.
pub(super) fn by_name(charged: &[Charged], lines: Vec<NoteLine>) -> Option<Vec<CreditNoteLine>> {
    lines
        .into_iter()
        .map(|NoteLine { line, amount, taxes }| {
            let Charged { plan, price, net: _, discounts: _, credits: _, tax: _ } = charged.get(line)?;
            Some(CreditNoteLine { plan: plan.clone(), price: price.clone(), amount, taxes })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use meridian_billing::decimal::Amount;

    use super::*;

    fn amount(text: &str) -> Amount {
        text.parse().expect("an amount")
    }

    /// base of starter, calls of starter, calls of extra.
    fn charged() -> Vec<Charged> {
        [("starter", "base"), ("starter", "calls"), ("extra", "calls")]
            .map(|(plan, price)| Charged {
                plan: plan.parse().expect("a name"),
                price: price.parse().expect("a name"),
                net: amount("7"),
                discounts: Amount::ZERO,
                credits: Amount::ZERO,
                tax: Amount::ZERO,
            })
            .into()
    }

    fn check(requests: &[(&str, &str)]) -> Result<Vec<usize>, String> {
        let requests: Vec<PriceCredit> = requests
            .iter()
            .map(|(plan, price)| PriceCredit {
                plan: (!plan.is_empty()).then(|| plan.parse().expect("a name")),
                price: price.parse().expect("a name"),
                amount: amount("3"),
            })
            .collect();
        let placed = placed(&charged(), &requests).map_err(|error| error.to_string())?;
        assert!(placed.iter().all(|request| request.amount == amount("3")));
        Ok(placed.iter().map(|request| request.line).collect())
    }

    #[test]
    fn a_request_means_one_price_of_one_plan() {
        assert_eq!(check(&[("extra", "calls"), ("", "base")]), Ok(vec![2, 0]));
        for (requests, expected) in [
            (&[("", "base"), ("", "calls")][..], "line 1: several plans have a price calls: name the plan"),
            (&[("extra", "base")], "line 0: the invoice charges nothing for price base"),
            (&[("", "seats")], "line 0: the invoice charges nothing for price seats"),
        ] {
            assert_eq!(check(requests), Err(expected.to_owned()), "{requests:?}");
        }
    }

    #[test]
    fn a_refusal_names_the_request_and_not_the_place_on_the_invoice() {
        use credit_note::CreditNoteError as Rule;
        let asked = |lines: &[usize]| -> Vec<CreditRequest> {
            lines.iter().map(|line| CreditRequest { line: *line, amount: amount("3") }).collect()
        };
        let too_much = |line| Rule::TooMuch { line, amount: amount("3"), left: amount("1") };
        assert_eq!(in_their_words(too_much(2), &asked(&[0, 2])), too_much(1));
        let twice = Rule::DuplicateLine { line: 1 };
        assert_eq!(in_their_words(twice, &asked(&[1, 0, 1])), Rule::DuplicateLine { line: 2 });
    }
}
