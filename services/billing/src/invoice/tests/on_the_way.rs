//! Several invoices of one period come to what one invoice of it would.

use super::*;

/// The usage of each metered price, in order.
fn told(input: &InvoiceInput, quantities: &[i64]) -> Vec<PriceUsage> {
    let metered = metered(&input.segments).expect("valid");
    assert_eq!(metered.len(), quantities.len());
    metered
        .iter()
        .zip(quantities)
        .map(|(metered, quantity)| PriceUsage::total(metered, Quantity::from_integer(*quantity), 1, 3))
        .collect()
}

/// What parts and the invoice of the period come to together: each with its segments and its usage so far, the last one the
/// invoice of the period.
fn together(template: &InvoiceInput, invoices: &[(&[BilledSegment], &[i64])]) -> Amount {
    let mut progress = Progress::default();
    let mut total = Amount::ZERO;
    for (index, (segments, quantities)) in invoices.iter().enumerate() {
        let is_last = index + 1 == invoices.len();
        let kind = if is_last { InvoiceKind::Period } else { InvoiceKind::Progressive };
        let mut input = InvoiceInput { segments: segments.to_vec(), kind, ..template.clone() };
        input.usage = told(&input, quantities);
        progress.take_off(&mut input).expect("taken off");
        let invoice = compute(&input).expect("an invoice");
        progress.add(&input, &invoice).expect("added");
        total = total.checked_add(invoice.total).expect("fits");
    }
    total
}

fn version(version: i32, bounds: &str, prices: &str) -> Terms {
    let yaml = format!(
        "{{regionRef: {{name: eu}}, currency: USD, interval: {{unit: Month}}, {bounds} prices: [{prices}]}}"
    );
    let mut terms = terms("starter", serde_saphyr::from_str(&yaml).expect("a plan in YAML"));
    terms.plan.version = version;
    terms
}

fn calls(amount: &str) -> String {
    format!("{{name: calls, meterRef: {{name: m}}, perUnit: {{amount: '{amount}'}}}}")
}

fn of(segments: &[BilledSegment], terms: &Terms) -> InvoiceInput {
    let zero: Vec<(&str, &str)> = vec![("m", "0")];
    InvoiceInput { next: None, ..of_segments(segments.to_vec(), terms.clone(), &zero) }
}

#[test]
fn usage_that_a_threshold_billed_is_taken_off_once_when_the_price_changes_after_it() {
    let (old, new) = (version(1, "", &calls("1")), version(2, "", &calls("2")));
    let before = vec![whole(old.clone(), period(MARCH))];
    let after = halves(old.clone(), new.clone());
    let template = of(&after, &new);
    // 100 at a threshold; 30 more and then 40 at 2: 100 + 30 + 80.
    let total = together(&template, &[(&before, &[100]), (&after, &[130, 40])]);
    assert_eq!(total.to_string(), "210");
    // Another part after the change: 100, 30 + 20, 60.
    let total = together(&template, &[(&before, &[100]), (&after, &[130, 10]), (&after, &[130, 40])]);
    assert_eq!(total.to_string(), "210");
}

#[test]
fn a_maximum_that_changes_after_a_threshold_takes_off_what_the_new_one_says() {
    let (old, new) = (version(1, "maximum: '100',", &calls("1")), version(2, "maximum: '200',", &calls("1")));
    let before = vec![whole(old.clone(), period(MARCH))];
    let after = halves(old, new.clone());
    let template = of(&after, &new);
    // 150 are 100 at a threshold; 250 in all are 200.
    assert_eq!(together(&template, &[(&before, &[150]), (&after, &[250])]).to_string(), "200");
    assert_eq!(
        together(&template, &[(&before, &[150]), (&after, &[150]), (&after, &[250])]).to_string(),
        "200"
    );
}

const BOUNDS: [&str; 5] =
    ["", "maximum: '150',", "minimum: '150',", "minimum: '20', maximum: '90',", "maximum: '10',"];

proptest! {
    #[test]
    fn parts_of_a_period_in_which_the_plan_changes_come_to_the_whole(
        (old_cents, new_cents) in (1i64..500, 1i64..500),
        old_bounds in prop::sample::select(&BOUNDS),
        new_bounds in prop::sample::select(&BOUNDS),
        tiers in any::<bool>(),
        (first, second, third) in (0i64..200, 0i64..200, 0i64..200),
        knows in any::<bool>(),
    ) {
        let price = |cents: i64| {
            let amount = format!("{}.{:02}", cents / 100, cents % 100);
            if tiers {
                format!("{{name: calls, meterRef: {{name: m}}, graduated: {{tiers: [{{upTo: '50', unitAmount: '{amount}'}}, {{unitAmount: '0.013'}}]}}}}")
            } else {
                calls(&amount)
            }
        };
        let (old, new) = (version(1, old_bounds, &price(old_cents)), version(2, new_bounds, &price(new_cents)));
        let before = vec![whole(old.clone(), period(MARCH))];
        let after = halves(old.clone(), new.clone());
        let template = of(&after, &new);
        let early: (&[BilledSegment], Vec<i64>) = match knows && old_cents != new_cents {
            true => (&after, vec![first, 0]),
            false => (&before, vec![first]),
        };
        let same = old_cents == new_cents;
        let usage = |first: i64, second: i64| if same { vec![first + second] } else { vec![first, second] };
        let invoices: [(&[BilledSegment], &[i64]); 4] = [
            (early.0, &early.1),
            (&after, &usage(first + second, 0)),
            (&after, &usage(first + second, third)),
            (&after, &usage(first + second, third + 7)),
        ];
        let whole = together(&template, &invoices[3..]);
        for from in 0..3 {
            prop_assert_eq!(together(&template, &invoices[from..]), whole, "from {}", from);
        }
    }
}
