//! Credit notes as a table, and that crediting in parts ends where crediting at once does.

use proptest::prelude::*;

use super::*;

fn amount(text: &str) -> Amount {
    text.parse().expect("a decimal")
}

fn tax(name: &str, inclusive: bool, of: Amount) -> LineTax {
    LineTax { name: TaxRateName::new(name).expect("a name"), inclusive, amount: of }
}

/// Line 0: 100 with 19 of VAT on top. Line 1: 10.01 with 1.60 of VAT in it and 0.07 of city tax on top. Line 2: a credit.
fn invoice() -> CreditNoteInput {
    CreditNoteInput {
        currency: "EUR".parse().expect("a currency"),
        lines: vec![
            InvoicedLine { amount: amount("100"), taxes: vec![tax("vat", false, amount("19"))] },
            InvoicedLine {
                amount: amount("10.01"),
                taxes: vec![tax("vat-in", true, amount("1.60")), tax("city", false, amount("0.07"))],
            },
            InvoicedLine { amount: amount("-5"), taxes: vec![tax("vat", false, amount("-0.95"))] },
        ],
        earlier: vec![],
        requests: vec![],
    }
}

fn request(invoice: &CreditNoteInput, requests: &[(usize, &str)]) -> Result<CreditNote, CreditNoteError> {
    let requests =
        requests.iter().map(|(line, of)| CreditRequest { line: *line, amount: amount(of) }).collect();
    compute(&CreditNoteInput { requests, ..invoice.clone() })
}

fn shown(note: Result<CreditNote, CreditNoteError>) -> String {
    let taxes = |taxes: &[LineTax]| {
        taxes.iter().map(|tax| format!(" {} {}", tax.name, tax.amount)).collect::<String>()
    };
    match note {
        Ok(note) => {
            let lines: Vec<_> = note
                .lines
                .iter()
                .map(|line| format!("{}: {}{}", line.line, line.amount, taxes(&line.taxes)))
                .collect();
            format!("{} | {}{} = {}", lines.join(", "), note.amount, taxes(&note.taxes), note.total)
        }
        Err(error) => error.to_string(),
    }
}

#[test]
fn a_line_takes_its_part_of_the_taxes_along() {
    for (requests, expected) in [
        (&[(0, "100")][..], "0: 100 vat 19 | 100 vat 19 = 119"),
        (&[(0, "50")], "0: 50 vat 9.5 | 50 vat 9.5 = 59.5"),
        (&[(1, "10.01")], "1: 10.01 vat-in 1.6 city 0.07 | 10.01 city 0.07 vat-in 1.6 = 10.08"),
        (
            &[(1, "5"), (0, "0.01")],
            "1: 5 vat-in 0.8 city 0.03, 0: 0.01 vat 0 | 5.01 city 0.03 vat 0 vat-in 0.8 = 5.04",
        ),
    ] {
        assert_eq!(shown(request(&invoice(), requests)), expected, "{requests:?}");
    }
}

#[test]
fn notes_never_give_back_more_than_is_left() {
    let mut invoice = invoice();
    invoice.earlier = vec![request(&invoice, &[(0, "60")]).expect("a note")];
    assert_eq!(
        shown(request(&invoice, &[(0, "40.01")])),
        "line 0: 40.01 is more than the 40 that are left of it"
    );
    let second = request(&invoice, &[(0, "40")]).expect("a note");
    assert_eq!(shown(Ok(second.clone())), "0: 40 vat 7.6 | 40 vat 7.6 = 47.6");
    invoice.earlier.push(second);
    assert_eq!(
        shown(request(&invoice, &[(0, "0.01")])),
        "line 0: 0.01 is more than the 0 that are left of it"
    );
}

#[test]
fn what_cannot_be_credited_is_refused() {
    for (requests, expected) in [
        (&[][..], "the note names no line"),
        (&[(3, "1")], "the invoice has no line 3"),
        (&[(0, "1"), (1, "1"), (0, "1")], "line 0 is named twice"),
        (&[(0, "0")], "line 0: 0 is no amount to give back: it must be more than 0"),
        (&[(0, "-1")], "line 0: -1 is no amount to give back: it must be more than 0"),
        (&[(0, "0.005")], "line 0: 0.005 has parts of minor units"),
        (&[(2, "1")], "line 2: 1 is more than the 0 that are left of it"),
    ] {
        assert_eq!(shown(request(&invoice(), requests)), expected, "{requests:?}");
    }
    let mut other = invoice();
    other.earlier = vec![request(&other, &[(0, "1")]).expect("a note")];
    other.currency = "USD".parse().expect("a currency");
    assert_eq!(shown(request(&other, &[(0, "1")])), "an earlier note is in EUR, the invoice is in USD");
}

#[test]
fn an_invoice_asks_for_its_prices_after_discounts_and_credits_with_their_shares_of_its_taxes() {
    let charged = |net: &str, discounts: &str, credits: &str| Charged {
        plan: "starter".parse().expect("a name"),
        price: "calls".parse().expect("a name"),
        net: amount(net),
        discounts: amount(discounts),
        credits: amount(credits),
        tax: amount("77"),
    };
    let applied = |name: &str, inclusive: bool, shares: &[&str]| AppliedTax {
        name: TaxRateName::new(name).expect("a name"),
        percent: "19".parse().expect("a decimal"),
        inclusive,
        base: amount("77"),
        amount: amount("77"),
        shares: shares.iter().map(|share| amount(share)).collect(),
    };
    let lines = InvoicedLine::of_invoice(
        &[charged("120", "13", "7"), charged("10.01", "0", "0")],
        &[applied("vat", false, &["19", "0"]), applied("city", true, &["0.07", "1.60"])],
    );
    let expected = vec![
        InvoicedLine {
            amount: amount("100"),
            taxes: vec![tax("vat", false, amount("19")), tax("city", true, amount("0.07"))],
        },
        InvoicedLine { amount: amount("10.01"), taxes: vec![tax("city", true, amount("1.60"))] },
    ];
    assert_eq!(lines, Ok(expected));
}

fn cents(cents: i64) -> Amount {
    Amount::from_units(i128::from(cents) * 10_i128.pow(16)).expect("fits")
}

proptest! {
    #[test]
    fn crediting_in_parts_ends_at_the_line_and_its_taxes(
        parts in prop::collection::vec(1i64..3000, 1..8), vat in 0i64..3000, city in 0i64..50,
    ) {
        let whole: i64 = parts.iter().sum();
        let taxes = vec![tax("vat", false, cents(vat)), tax("city", true, cents(city))];
        let mut input = CreditNoteInput {
            currency: "EUR".parse().expect("a currency"),
            lines: vec![InvoicedLine { amount: cents(whole), taxes }],
            earlier: vec![],
            requests: vec![],
        };
        for part in &parts {
            input.requests = vec![CreditRequest { line: 0, amount: cents(*part) }];
            let note = compute(&input).expect("a note");
            prop_assert!(note.taxes.iter().all(|tax| !tax.amount.is_negative()));
            input.earlier.push(note);
        }
        let given = |name: &str| Amount::checked_sum(
            input.earlier.iter().flat_map(|note| &note.taxes).filter(|tax| tax.name.as_str() == name).map(|tax| tax.amount));
        prop_assert_eq!(given("vat"), Ok(cents(vat)));
        prop_assert_eq!(given("city"), Ok(cents(city)));
        prop_assert_eq!(Amount::checked_sum(input.earlier.iter().map(|note| note.total)), Ok(cents(whole + vat)));
    }
}
